"""Where engine pools work: the operating point of each variant on its capacity curve, and its demand."""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.capacity import (
    NODES,
    Curve,
    MeanCost,
    curve_at,
    mean_cost,
    mixed_time,
    operating_curve,
    pure_time,
    sequence_slots,
)
from mist_dse.analytic.traffic import Traffic, arrival_scv
from mist_dse.rows import CHUNKED, STATIC, Engine, Floats, StepCost

_STIFFEST = 0.9
"""Largest elasticity of a decode step in its batch: no step is longer than in proportion to it, and beyond the rate saturates."""

_ROUNDS = 3
"""Rounds in which a batch and the steps that it makes are brought together."""


class Variants(NamedTuple):
    """Arrays of one length: what differs between the pools evaluated together."""

    replicas: Floats
    max_num_seqs: Floats
    max_num_batched_tokens: Floats
    blocks: Floats


def variants_of(engine: Engine) -> Variants:
    """The one variant that the engine itself is."""
    values = (engine.replicas, engine.max_num_seqs, engine.max_num_batched_tokens, engine.blocks)
    return Variants(*(np.array([float(value)]) for value in values))


def _arrays(variants: Variants) -> Variants:
    values = np.broadcast_arrays(*(np.atleast_1d(np.asarray(value, dtype=float)) for value in variants))
    return Variants(*values)


class Operation(NamedTuple):
    """Where each variant works: its curve's row interpolated at its own rate."""

    mean: MeanCost
    variants: Variants
    rate: Floats  # 1/s at one rank
    slots: Floats  # sequences of one rank
    demand: Floats
    batch: Floats  # of one lane
    token: Floats
    pure: Floats
    mixed: Floats
    share: Floats
    steps: Floats


def operation(cost: StepCost, engine: Engine, traffic: Traffic, variants: Variants | None = None) -> Operation:
    """The operating point of each variant, and its demand: offered over sustainable rate."""
    arrays = _arrays(variants if variants is not None else variants_of(engine))
    mean = mean_cost(cost, traffic, engine.ranks)
    slots = sequence_slots(engine, traffic, arrays.max_num_seqs, arrays.blocks)
    pairs, row = np.unique(np.stack([arrays.max_num_batched_tokens, slots]), axis=1, return_inverse=True)
    curve: Curve = operating_curve(mean, engine, traffic, pairs[0], pairs[1])
    row = row.reshape(-1)
    at_rank = np.broadcast_to(traffic.rate, arrays.replicas.shape) / (arrays.replicas * engine.ranks)
    lane = at_rank / engine.lanes
    return Operation(mean, arrays, at_rank, slots * engine.lanes, lane / curve.sustainable[row], **curve_at(curve, row, lane))


def decode_slope(op: Operation, batch: Floats) -> Floats:
    """Seconds that one more sequence adds to a decode step, over the batch's usual fluctuation."""
    decode = op.mean.decode
    place = np.clip(batch, 1, max(len(decode) - 2, 1)).astype(np.int64)
    reach = np.maximum(np.sqrt(batch).astype(np.int64), 1)
    below, above = np.maximum(place - reach, 1), np.minimum(place + reach, len(decode) - 1)
    return np.asarray((decode[above] - decode[below]) / np.maximum(above - below, 1))


def elasticity(op: Operation, batch: Floats) -> Floats:
    """Elasticity d ln T / d ln S of a decode step: the share by which sequences slow each other's leaving."""
    return np.asarray(np.clip(decode_slope(op, batch) * batch / np.maximum(op.pure, 1e-12), 0.0, _STIFFEST))


def peakedness(engine: Engine, traffic: Traffic, op: Operation, batch: Floats) -> Floats:
    """Variance over mean of the sequences of a rank.

    Of GI/G/infinity 1 + (ca2 - 1) E[min(D, D')] / E[D] (Whitt 1984); over 1 - e where stays grow with the batch as S^e: the drift that
    brings it back is weaker by that much (linear noise approximation of a birth-death process).
    """
    scv = arrival_scv(engine, traffic.scv, op.variants.replicas * engine.ranks)
    return np.asarray(traffic.clump * np.maximum(1 + (scv - 1) * traffic.overlap, 0.0) / (1 - elasticity(op, batch)))


def loaded(engine: Engine, traffic: Traffic, op: Operation) -> Operation:
    """The same point as the sequences of a finite run meet it, whose demand is that of the run without end.

    A sequence is among E[S^2] / E[S] = S + peakedness, not S + 1, where arrivals are more regular than Poisson. A run that begins and ends
    empty has the batch S x (1 - E|R - R'| / T) on the average over sequences: S(t)^2 integrated, with R what is left of a stay at a random
    time and T the span of arrivals.
    """
    if engine.policy == STATIC or traffic.decodes <= 0:
        return op
    arrived = op.rate / engine.lanes / op.steps
    carried = np.minimum(traffic.tokens * arrived / np.maximum(op.share, 1e-12), op.variants.max_num_batched_tokens)
    seen = 1 - (1 - op.share) ** engine.ranks
    before = found = _meeting(engine, op, (op.batch, np.full_like(op.batch, traffic.clump)), carried)
    batch, first = op.batch, seen * op.mixed + (1 - seen) * op.pure
    longer = np.ones_like(first)
    for _ in range(_ROUNDS):
        found = _meeting(engine, op, (batch, peakedness(engine, traffic, op, batch)), carried)
        longer = (seen * op.mixed * found[1] / before[1] + (1 - seen) * op.pure * found[0] / before[0]) / first
        batch = op.batch * longer / (1 + op.token * longer * traffic.fading / traffic.horizon)
    return op._replace(
        batch=batch,
        pure=op.pure * found[0] / before[0],
        mixed=op.mixed * found[1] / before[1],
        token=op.token * longer,
        steps=op.steps / longer,
    )


def _meeting(engine: Engine, op: Operation, batch: tuple[Floats, Floats], carried: Floats) -> tuple[Floats, Floats]:
    """(pure, mixed) step times that a sequence meets beside a batch with this mean and peakedness."""
    mean, peaked = batch
    pure, mixed = np.zeros_like(mean), np.zeros_like(mean)
    most = np.maximum(op.slots / engine.lanes, 1.0)
    for node, weight in NODES:
        beside = np.clip(peaked + mean + node * np.sqrt(mean * peaked), 1.0, most)
        pure = pure + weight * pure_time(op.mean, beside)
        with_prompts = beside if engine.policy == CHUNKED else 0.0 * beside
        mixed = mixed + weight * mixed_time(op.mean, with_prompts, carried, attention=op.mean.per_token * carried)
    return pure, mixed


def batch_variance(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Variance of the decoding sequences of a rank."""
    return np.asarray(op.batch * engine.lanes * peakedness(engine, traffic, op, op.batch))
