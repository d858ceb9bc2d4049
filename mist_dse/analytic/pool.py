"""Mean-field figures of engine pools, for arrays of variants that share one step cost and one traffic.

First emission = residual of the running step + wait for the prompts ahead (one server per rank behind a router that splits
in turn, or all together behind join-shortest-queue) + wait for a slot + the prompt's own steps. Formulas, and what each
was worth in accuracy, are those of the design note on screening (section 1): Allen-Cunneen waits with the router's arrival
law, service shared among prompts that merge in a step, a cap by the finite horizon, percentiles over length bins.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.capacity import (
    Curve,
    MeanCost,
    chunk_limit,
    curve_at,
    cycle_factor,
    expected_longest,
    mean_cost,
    mixed_time,
    operating_curve,
    resident_tokens,
    sequence_slots,
    static_places,
)
from mist_dse.analytic.gathering import Gathering, gathering_wait, gathers
from mist_dse.analytic.queueing import Service, Wait, added, klb_factor, many_wait, mixture_spread, single_wait
from mist_dse.analytic.spread import LEVELS, Spread
from mist_dse.analytic.traffic import Traffic
from mist_dse.rows import CHUNKED, JOIN_SHORTEST_QUEUE, MOST_STREAMING, STATIC, Engine, Floats, StepCost

_NORMAL = (0.0, 1.2815515655446004, 2.3263478740408408)  # standard normal quantiles at LEVELS
_SHARING = 0.5  # of a step's fixed cost that merging saves a queue, against ideal merging (fitted on simulated pools)
_JITTER = 0.06  # relative deviation of a step from its mean that no term explains (fitted by eye in the design note)


class Variants(NamedTuple):
    """Arrays of one length: what differs between the pools evaluated together."""

    replicas: Floats
    max_num_seqs: Floats
    max_num_batched_tokens: Floats
    blocks: Floats


class PoolSteady(NamedTuple):
    """Stationary figures per variant; times in s."""

    demand: Floats  # offered / sustainable rate of steps, front end, and KV that outlives its visit; >= 1 saturated
    batch: Floats  # decoding sequences per rank
    step: Floats  # s between two tokens of a sequence, mean
    tpot: Spread
    first: Spread  # arrival at the pool to first emission
    wait: Floats  # first emission less the prompt's own steps, mean
    decode: Spread  # first emission to last
    residence: Floats  # arrival to last emission, mean
    utilisation: Floats  # share of time with a step running
    kv: Floats  # share of KV blocks held
    sequences: Floats  # share of max_num_seqs held
    steps: Floats  # engine steps per second of one lane

    def at(self, *index: Any) -> "PoolSteady":
        """Every figure indexed alike."""
        parts: list[Any] = [value.at(*index) if isinstance(value, Spread) else np.asarray(value[index]) for value in self]
        return PoolSteady(*parts)

    @property
    def saturated(self) -> np.ndarray:
        """Whether the offered rate cannot be sustained."""
        return self.demand >= 1


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


def pool_steady(cost: StepCost, engine: Engine, traffic: Traffic, variants: Variants | None = None) -> PoolSteady:
    """Figures of each variant of ``engine`` under ``traffic``; None = the engine itself.

    ``engine`` gives policy, router, ranks, lanes and the other fields that variants share. Beyond saturation the figures
    are those at the sustainable rate, with waits capped by the horizon: an ordering, not a prediction.
    """
    op = operation(cost, engine, traffic, variants)
    base, own, wait = first_emission(engine, traffic, op)
    first = mixture_spread(base, wait)
    first = _with_entrance(first, engine, traffic, op)
    residence = first.mean + op.token * traffic.decodes
    unseen, share = _unseen(engine, traffic)
    first = first.shifted(op.token * float(unseen.mean()))
    tpot = _tpot(traffic, op, engine.policy == STATIC).scaled(share * traffic.steps_per_gap)
    seen = traffic.steps - unseen
    decode = Spread(*(op.token * level for level in (float(seen.mean()), *np.quantile(seen, LEVELS))))
    kv, sequences = occupancy(engine, traffic, op, own)
    return PoolSteady(
        demand=np.maximum(np.maximum(op.demand, intake_demand(engine, traffic, op)), kv if traffic.hold > 0 else 0.0),
        batch=op.batch * engine.lanes,
        step=op.token,
        tpot=tpot,
        first=first,
        wait=first.mean - own,
        decode=decode,
        residence=residence,
        utilisation=_utilisation(traffic, op),
        kv=kv,
        sequences=sequences,
        steps=_utilisation(traffic, op) * op.steps,
    )


def occupancy(engine: Engine, traffic: Traffic, op: Operation, own: Floats | None = None) -> tuple[Floats, Floats]:
    """Shares of KV blocks and of sequence slots held, by Little's law; ``own``: mean seconds of a prompt's steps."""
    steps = own if own is not None else (_stairs(engine, traffic, op).mean(axis=1) if traffic.tokens > 0 else 0.0)
    served = op.rate * (op.token * traffic.decodes + steps)
    resident = resident_tokens(engine, traffic) / (op.variants.blocks * engine.block_size)
    return (served + op.rate * traffic.hold) * resident, served / op.variants.max_num_seqs


def intake_demand(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Seconds per second that a replica's serial front end is asked for."""
    seconds = engine.front_end + engine.front_end_token * float((traffic.fresh + traffic.start).mean()) if traffic.entering else 0.0
    return op.rate * engine.ranks * seconds + _streaming(engine, traffic, op)


def _streaming(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Share of a front end that output tokens take."""
    return op.rate * engine.ranks * (engine.front_end_output * (traffic.decodes + 1.0) if traffic.entering else 0.0)


def _utilisation(traffic: Traffic, op: Operation) -> Floats:
    """Share of time with a step running: a server of sequences is idle when it holds none."""
    idle = np.exp(-op.batch) if traffic.decodes > 0 else np.maximum(1 - op.demand, 0.0)
    return np.asarray(np.minimum(1 - idle * np.maximum(1 - op.demand, 0.0) if traffic.decodes > 0 else 1 - idle, 1.0))


def _tpot(traffic: Traffic, op: Operation, static: bool) -> Spread:
    """Spread of a request's mean token interval: prompts met by chance, batch fluctuation, jitter; a gamma law's quantiles."""
    many = traffic.steps[traffic.steps > 0]
    if not len(many):
        return Spread(*(np.full_like(op.token, np.nan),) * 4)
    carried = np.maximum(traffic.tokens * op.rate * op.token / np.maximum(op.share, 1e-9), 1.0)
    rise = np.maximum(op.mixed - op.pure, 0.0) / carried if not static else np.zeros_like(carried)
    met = op.rate * op.token
    decode, place = op.mean.decode, np.clip(op.batch, 1, max(len(op.mean.decode) - 2, 1)).astype(np.int64)
    below, above = np.maximum(place // 2, 1), np.minimum(place + 1, len(decode) - 1)
    slope = (decode[above] - decode[below]) / np.maximum(above - below, 1)
    variance = met * rise**2 * float((traffic.fresh**2).mean() * (1 / many).mean()) + slope**2 * op.batch + (_JITTER * op.token) ** 2
    third = met * rise**3 * float((traffic.fresh**3).mean() * (1 / many**2).mean())
    return _pearson(op.token, np.sqrt(variance), np.clip(third / variance**1.5, 0.02, 3.0))


def _pearson(mean: Floats, deviation: Floats, skew: Floats) -> Spread:
    """Spread of the gamma law with these three moments (Wilson-Hilferty quantiles)."""
    quantiles = (mean + deviation * 2 / skew * (np.maximum(1 + skew * z / 6 - skew**2 / 36, 0) ** 3 - 1) for z in _NORMAL)
    return Spread(mean, *quantiles)


def first_emission(engine: Engine, traffic: Traffic, op: Operation) -> tuple[Floats, Floats, Wait]:
    """(own service per bin [v, bins], its mean [v], wait) from arrival at the queue to the first emission."""
    if engine.policy == STATIC:
        return _static_emission(engine, traffic, op)
    if traffic.tokens <= 0:
        own = op.token[:, None] * np.ones((1, 1))
        queue = None
    else:
        own = _stairs(engine, traffic, op)
        queue = _queue(engine, traffic, op, own)
    wait = _residual(engine, traffic, op)
    if queue is not None:
        wait = added(wait, queue)
    if traffic.decodes > 0:
        wait = added(wait, _slot_wait(engine, traffic, op))
    if traffic.decodes > 0 and traffic.tokens > 0 and gathers(engine):
        wait = added(wait, _gathering(engine, traffic, op))
    return own, own.mean(axis=1), wait


def _stairs(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Seconds of a prompt's own steps [v, bins]: full chunks, then the rest, beside the mean batch."""
    fresh = traffic.binned(traffic.fresh)[None, :]
    attention = traffic.binned(op.mean.chunk)[None, :]
    chunked = engine.policy == CHUNKED
    batch = op.batch[:, None] if chunked else np.zeros((len(op.rate), 1))
    budget = op.variants.max_num_batched_tokens[:, None]
    limit = chunk_limit(engine, np.maximum(budget - batch, 1.0)) if engine.splits_prompts else np.maximum(budget, fresh)
    full = np.maximum(np.ceil(fresh / limit) - 1, 0)
    rest = np.maximum(fresh - full * limit, 0)
    whole = mixed_time(op.mean, batch, limit, attention=np.zeros((1, 1)))
    last = mixed_time(op.mean, batch, rest, attention=attention)
    return np.where(fresh > 0, full * whole + last, 0.0)


def _queue(engine: Engine, traffic: Traffic, op: Operation, own: Floats) -> Wait:
    """Wait for the prompts ahead; prompts that merge in one step share its fixed cost."""
    chunked = engine.policy == CHUNKED
    batch = op.batch if chunked else np.zeros_like(op.batch)
    one = np.ones_like(batch)
    marginal = mixed_time(op.mean, batch, 2 * one, attention=0 * one) - mixed_time(op.mean, batch, one, attention=0 * one)
    fixed = np.maximum(mixed_time(op.mean, batch, one, attention=0 * one) - np.maximum(marginal, 0), 0.0)
    budget = np.maximum(op.variants.max_num_batched_tokens / traffic.tokens, 1.0)
    extra = np.maximum(own.mean(axis=1) - fixed, 0.0)
    merged, behind = _merged_prompts(op.rate, fixed, extra, budget)
    each = own - (fixed * (1 - 1 / (1 + _SHARING * (merged - 1))))[:, None]
    factor = float(cycle_factor(op.mean.cost, engine)) / engine.lanes
    service = Service(op.rate, *((each * factor) ** k for k in (1, 2, 3)))
    service = Service(op.rate, *(np.asarray(moment).mean(axis=1) for moment in service[1:]))
    servers = op.variants.replicas * engine.ranks
    if engine.router == JOIN_SHORTEST_QUEUE:
        queue = many_wait(Service(op.rate * servers, *service[1:]), np.full_like(op.rate, traffic.scv), servers, traffic.horizon)
    else:
        queue = single_wait(service, traffic.scv / servers, traffic.horizon)
    mates = behind * extra if traffic.decodes <= 0 else 0 * extra
    return added(queue, Wait(mates, 2 * mates**2, 1 - np.exp(-op.rate * own.mean(axis=1))))


def _merged_prompts(rate: Floats, fixed: Floats, marginal: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Mean prompts that share a step of fixed + k marginal seconds, and those of them behind a given one.

    A step takes those that came during the last one, at least one: k = max(1, N) for a Poisson count N of mean l T(k),
    iterated from 1. A prompt sees E[k^2] / E[k] in its own step, half of the others behind it.
    """
    merged = during = np.ones_like(rate)
    for _ in range(12):
        during = rate * (fixed + merged * marginal)
        merged = np.clip(during + np.exp(-during), 1.0, most)
    seen = np.clip((during + during**2 + np.exp(-during)) / merged, 1.0, most)
    return merged, 0.5 * (seen - 1)


def _residual(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """What is left of the step that an arrival finds running; ranks of an engine step together."""
    share = 1 - (1 - op.share) ** engine.ranks
    m1, m2, m3 = (share * op.mixed**k + (1 - share) * op.pure**k for k in (1, 2, 3))
    busy = 1 - np.exp(-op.batch * engine.ranks / traffic.clump) if traffic.decodes > 0 else np.zeros_like(op.batch)
    return Wait(busy * m2 / (2 * m1), busy * m3 / (3 * m1), busy)


def _slot_wait(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """Wait for one of the rank's sequence slots, each held for a whole decode."""
    stay = op.token * traffic.decodes
    ranked = traffic.steps / traffic.decodes
    service = Service(op.rate, stay, stay**2 * float((ranked**2).mean()), stay**3 * float((ranked**3).mean()))
    ranks = op.variants.replicas * engine.ranks
    if engine.router == JOIN_SHORTEST_QUEUE:
        pooled = Service(op.rate * ranks, *service[1:])
        return many_wait(pooled, np.full_like(op.rate, traffic.scv), op.slots * ranks, traffic.horizon)
    return many_wait(service, traffic.scv / ranks, op.slots, traffic.horizon)


def _static_emission(engine: Engine, traffic: Traffic, op: Operation) -> tuple[Floats, Floats, Wait]:
    """Static batches: the rest of the running batch, then the own batch's prompts; beyond one batch, a queue for places.

    With places for one the sum is Pollaczek and Khinchine's; the residual is not counted twice.
    """
    members = np.maximum(op.rate / op.steps, 1.0)
    prefill = op.mixed if traffic.tokens > 0 else np.zeros_like(op.mixed)
    longest = [expected_longest(traffic.steps**k, members) for k in (1, 2, 3)]
    m1 = prefill + op.pure * longest[0]
    m2 = prefill**2 + 2 * prefill * op.pure * longest[0] + op.pure**2 * longest[1]
    m3 = prefill**3 + 3 * prefill**2 * op.pure * longest[0] + 3 * prefill * op.pure**2 * longest[1] + op.pure**3 * longest[2]
    busy = np.minimum(op.rate * m1, 1.0)
    places = static_places(traffic, op.variants.max_num_batched_tokens, op.slots)
    ranks = op.variants.replicas * engine.ranks
    arrivals = np.full_like(op.rate, traffic.scv) / (1.0 if engine.router == JOIN_SHORTEST_QUEUE else ranks)
    queue = many_wait(Service(op.rate, m1, m2, m3), arrivals, places, traffic.horizon)
    full = np.minimum(op.rate * m1 / places, 1.0)
    beyond = Wait(full * queue.mean, full * queue.second, queue.positive)
    own = (prefill + (0.0 if traffic.tokens > 0 else op.pure))[:, None]
    scv = np.maximum(m2 / m1**2 - 1, 0.0)
    smooth = klb_factor(busy, arrivals, scv) * (arrivals + scv) / (1 + scv)
    return own, own[:, 0], added(Wait(smooth * busy * m2 / (2 * m1), smooth * busy * m3 / (3 * m1), smooth * busy), beyond)


def _unseen(engine: Engine, traffic: Traffic) -> tuple[Floats, float]:
    """Decode steps [n] that the first message takes beyond the first token, and the mean share of its steps that a visit has left."""
    unseen = np.where(traffic.fresh > 0, np.minimum(traffic.steps, engine.stream_interval - 1), 0.0)
    some = traffic.steps > 0
    return unseen, float((1 - unseen[some] / traffic.steps[some]).mean()) if some.any() else 1.0


def _gathering(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """Wait for the end of a gathering of prompts (`gathering`)."""
    none, one = np.zeros_like(op.batch), np.ones_like(op.batch)
    tokens = mixed_time(op.mean, none, 1 + traffic.tokens * one, attention=none) - mixed_time(op.mean, none, one, attention=none)
    each = np.maximum(tokens, 0.0) + op.mean.per_token * traffic.tokens
    return gathering_wait(engine, traffic, Gathering(op.rate, op.batch, op.variants.max_num_batched_tokens, op.pure, op.mixed, each))


def _with_entrance(first: Spread, engine: Engine, traffic: Traffic, op: Operation) -> Spread:
    """Adds the serial front end and the client's constant to visits that enter from the user."""
    if not traffic.entering:
        return first
    intake, wait = entrance(engine, traffic, op)
    return first.shifted(engine.client + intake.mean(axis=1)).shifted(wait.mean)


def entrance(engine: Engine, traffic: Traffic, op: Operation) -> tuple[Floats, Wait]:
    """(seconds of each visit in the serial front end [v, n], wait for it)."""
    slow = 1.0 / (1.0 - np.minimum(_streaming(engine, traffic, op), MOST_STREAMING))
    intake = (engine.front_end + engine.front_end_token * (traffic.fresh + traffic.start))[None, :] * slow[:, None]
    replica = op.rate * engine.ranks
    if intake.max() <= 0:
        return intake, Wait(*(np.zeros_like(replica) for _ in Wait._fields))
    service = Service(replica, *((intake**k).mean(axis=1) for k in (1, 2, 3)))
    return intake, single_wait(service, traffic.scv / op.variants.replicas, traffic.horizon)
