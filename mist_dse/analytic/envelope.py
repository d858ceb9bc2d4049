"""Monotone lower envelopes of the step cost: what any schedule pays at least for a prompt, a token or a piece of work.

Every table is replaced by its running minimum from the right, so that "at least T tokens" costs at least env[T]; padding,
batch mates and context of others can then only add. Nothing here looks at load. Ranks that share work cost each at least what its own
tokens would alone.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.step import chunk_time, combined, line, plane, together
from mist_dse.rows import Engine, Floats, Ints, Load, StepCost


class Envelope(NamedTuple):
    """Lower envelopes of one engine's steps."""

    cost: StepCost
    engine: Engine
    tokens: Floats  # least device seconds of a step of at least T tokens
    sequences: Floats  # least output-head seconds of at least S sequences
    token_total: Floats  # [longest + 1] least decode seconds of all steps at own contexts 1..x
    work: float  # least seconds per prompt token in any step, for queues


def _from_right(table: Floats, axis: int = 0) -> Floats:
    return np.flip(np.minimum.accumulate(np.flip(table, axis), axis=axis), axis)


def envelope(cost: StepCost, load: Load, engine: Engine, longest: int) -> Envelope:
    """Envelopes for sequences of at most ``longest`` tokens."""
    if cost.shared_time.size:  # others may compute prompts or not, and have any number of tokens
        least = _from_right(np.minimum(cost.shared_time[0], cost.shared_time[1]))
        cost = together(cost, np.stack([least, _from_right(cost.shared_time[1])]))
    tokens, sequences = _from_right(cost.token_time), _from_right(cost.sequence_time)
    decode = _decode_floor(cost, engine, (tokens, sequences), longest)
    total = np.concatenate(([0.0], np.cumsum(decode)))
    return Envelope(cost, engine, tokens, sequences, total, _work_per_token(cost, load, engine, float(sequences[0])))


def prompt_time(floor: Envelope, fresh: Floats, start: Floats) -> Floats:
    """Least seconds from the first step that takes part of a prompt to the end of the step that completes it.

    Chunked and FCFS, every step but the last is full (or takes the whole long-prefill threshold), so the greedy stair is a
    floor; with whole prompts there is one step.
    """
    cost, engine = floor.cost, floor.engine
    limit = fresh
    if engine.splits_prompts:
        threshold = engine.long_prefill_threshold or engine.max_num_batched_tokens
        limit = np.full_like(fresh, min(threshold, engine.max_num_batched_tokens))
    full = np.maximum(np.ceil(fresh / np.maximum(limit, 1)) - 1, 0)
    host = cost.host_step + cost.host_sequence + cost.host_prefill
    attention = chunk_time(cost, fresh, start)
    each = line(floor.tokens, limit) + cost.prefill_overhead + floor.sequences[0]
    last = line(floor.tokens, fresh - full * limit) + cost.prefill_overhead + floor.sequences[min(1, len(floor.sequences) - 1)]
    stepwise = full * combined(cost, each, host) + combined(cost, last, host)
    together = combined(cost, full * each + last + attention, (full + 1) * host)
    return np.where(fresh > 0, np.maximum(stepwise, together), 0.0)


def decode_total(floor: Envelope, prompt: Floats, steps: Floats) -> Floats:
    """Least seconds of ``steps`` decode steps at own contexts prompt + 1, prompt + 2, ..."""
    last = len(floor.token_total) - 1
    begin = np.minimum(prompt.astype(np.int64), last)
    end = np.minimum((prompt + steps).astype(np.int64), last)
    return floor.token_total[end] - floor.token_total[begin]


def prompt_work(floor: Envelope, fresh: Floats, start: Floats) -> Floats:
    """Marginal seconds of a prompt in steps shared with any others: what a queue behind it waits at least."""
    host = 0.0 if floor.cost.asynchronous else floor.cost.host_sequence
    return np.where(fresh > 0, floor.work * fresh + chunk_time(floor.cost, fresh, start) + host, 0.0)


def decode_work(floor: Envelope) -> float:
    """Least seconds per decode token in any step."""
    cost, limit = floor.cost, min(floor.engine.max_num_seqs, len(floor.cost.decode_step) - 1)
    count = np.arange(1, limit + 1)
    pure = cost.decode_step[1 : limit + 1].min(axis=1)
    mixed = _mixed_floor(cost, (floor.tokens, floor.sequences), count, 0.0)
    return float((np.minimum(pure, mixed) / count).min())


def _mixed_floor(cost: StepCost, tables: tuple[Floats, Floats], count: Ints, attention: Floats | float) -> Floats:
    """Least seconds of a step with at least ``count`` decoding sequences and a prompt chunk."""
    tokens, sequences = tables
    device = line(tokens, count + 1) + sequences[np.minimum(count, len(sequences) - 1)] + cost.prefill_overhead + attention
    return combined(cost, device, cost.host_step + cost.host_sequence * (count + 1) + cost.host_prefill)


def _work_per_token(cost: StepCost, load: Load, engine: Engine, head: float) -> float:
    if not engine.splits_prompts:
        return load.token_fit
    fixed = cost.prefill_overhead + head + (0.0 if cost.asynchronous else cost.host_step + cost.host_prefill)
    count = np.arange(1, engine.max_num_batched_tokens + 1, dtype=float)
    return float(((line(cost.token_time, count) + fixed) / count).min())


def _decode_floor(cost: StepCost, engine: Engine, tables: tuple[Floats, Floats], longest: int) -> Floats:
    """Least seconds [longest] of any step in which a sequence of own context 1..longest decodes."""
    limit = min(engine.max_num_seqs, len(cost.decode_step) - 1)
    pure = _own_context_floor(cost.decode_step, cost.knots, limit, longest)
    attention = cost.mixing * _own_context_floor(cost.decode_attention, cost.knots, limit, longest)
    return np.minimum(pure, _mixed_floor(cost, tables, np.ones(1, dtype=np.int64), attention))


def _own_context_floor(table: Floats, knots: Floats, limit: int, longest: int) -> Floats:
    """Least entry [longest] of a [S, knots] table for any batch with a sequence of context 1..longest.

    A batch of S has mean context >= x / S. For S = 1 the table is read exactly; for larger batches at the left end of a
    coarse interval of x, which is lower still.
    """
    rising = _from_right(table, 1)
    own = np.arange(1, longest + 1, dtype=float)
    alone = plane(rising, knots, 1, own)
    if limit < 2:
        return alone
    left = np.unique(np.concatenate(([0.0], np.geomspace(16, max(longest, 17), 24), knots[knots < longest])))
    batches = np.arange(2, limit + 1, dtype=float)[:, None]
    many = plane(rising, knots, batches, left / batches).min(axis=0)
    return np.asarray(np.minimum(alone, many[np.searchsorted(left, own, side="right") - 1]))
