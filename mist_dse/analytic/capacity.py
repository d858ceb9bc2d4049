"""The operating curve of an engine: batch, step time and sustainable rate, as explicit functions of arrivals per step.

Mean field. Let n be the arrivals per step of one server (a lane of a rank), D decode steps and U fresh prompt tokens per
visit. Then the decoding batch is S = D n (chunked), a step carries q = U n prompt tokens, a share f = max(1 - exp(-n Nc),
q/Bs) of the steps has prompts (Nc chunks per prompt, Bs budget left beside the batch), and the step time is
tau = f T(S, q/f) + (1 - f) T(S). The rate that n stands for is n / tau: no fixed point to iterate. With prompts first
(continuous), decode steps are the share 1 - f, so S = D n / (1 - f). A static batch of b is n = b in one long "step". The
largest rate within the slots and the budget is the *sustainable* rate; an offered rate beyond it has no root: saturated.
"""

from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.step import chunk_time, column, combined, line, shared_time, together
from mist_dse.analytic.traffic import Traffic
from mist_dse.rows import CHUNKED, STATIC, Engine, Floats, Ints, StepCost

POINTS = 48
PACKED = 2000  # prompts on which packing is tried
NODES = ((-(3**0.5), 1 / 6), (0.0, 2 / 3), (3**0.5, 1 / 6))
"""Gauss-Hermite, 3 points, for the batch's fluctuation: (deviations, weight)."""
_FEW = 9.0
"""Mean batch up to which the sequences beside one are counted out: a Poisson law so short is not normal."""
_COUNTS = np.arange(28.0)
_FACTORIALS = np.concatenate(([1.0], np.cumprod(_COUNTS[1:])))


class MeanCost(NamedTuple):
    """Step cost at one mean context, and what the mean prompt adds."""

    cost: StepCost
    decode: Floats  # [S_max + 1] s
    attention: Floats  # [S_max + 1] s
    chunk: Floats  # [n] attention seconds of each visit's whole prompt
    per_token: float  # attention seconds per fresh prompt token
    ranks: int  # that step together


class Curve(NamedTuple):
    """Operating points [m, POINTS] of m (budget, slots) pairs, ascending in rate, per server (lane of a rank)."""

    rate: Floats  # 1/s
    batch: Floats  # decoding sequences, mean over time
    token: Floats  # s between two tokens of a sequence
    pure: Floats  # s, step without prompts
    mixed: Floats  # s, step with prompts
    share: Floats  # of steps that carry prompts
    steps: Floats  # 1/s while busy
    sustainable: Floats  # [m] 1/s


def mean_cost(cost: StepCost, traffic: Traffic, ranks: int = 1) -> MeanCost:
    """The step cost at the traffic's mean context; steps of decodes alone are those of ``ranks`` alike."""
    chunk = chunk_time(cost, traffic.fresh, traffic.start)
    per_token = float(chunk.sum() / max(traffic.fresh.sum(), 1e-300))
    context = traffic.context
    alike = together(cost, shared_time(cost, ranks * np.arange(len(cost.decode_step)), prompts=False)[None, :].repeat(2, axis=0))
    decode = column(alike.decode_step, cost.knots, context)
    return MeanCost(cost, decode, column(cost.decode_attention, cost.knots, context), chunk, per_token, ranks)


def pure_time(mean: MeanCost, batch: Floats) -> Floats:
    """Seconds of a pure decode step."""
    return line(mean.decode, np.minimum(batch, len(mean.decode) - 1))


def mixed_time(
    mean: MeanCost, batch: Floats, tokens: Floats, *, attention: Floats, prompts: Floats | float = 1.0, crowd: Floats | float = 1.0
) -> Floats:
    """Seconds of a step with ``tokens`` prompt tokens of ``prompts`` chunks beside ``batch`` decoding sequences.

    ``crowd``: ranks that have prompts in such a step, where all decode alike and share work.
    """
    cost, last = mean.cost, len(mean.cost.sequence_time) - 1
    device = line(cost.token_time, batch + tokens) + line(cost.sequence_time, np.minimum(batch + prompts, last)) + cost.prefill_overhead
    if cost.shared_time.size:
        device = device + shared_time(cost, mean.ranks * batch + crowd * tokens, prompts=True)
    device = device + attention + np.where(batch > 0, cost.mixing * line(mean.attention, np.minimum(batch, len(mean.attention) - 1)), 0.0)
    return combined(cost, device, cost.host_step + cost.host_sequence * (batch + prompts) + cost.host_prefill)


def chunk_limit(engine: Engine, budget: Floats) -> Floats:
    """Most tokens of one prompt in one step."""
    return np.minimum(budget, engine.long_prefill_threshold) if engine.long_prefill_threshold > 0 and engine.splits_prompts else budget


def cycle_factor(cost: StepCost, engine: Engine, scv: Floats | float = 0.0) -> Floats:
    """A lane's step interval over its step time, above 1 where lanes wait to enter the pipeline.

    The entrance is held for ``stage_share`` of a step. Equal steps interleave (factor max(1, lanes share)); steps that vary
    collide, as in the mean value analysis of that many lanes at one entrance for exponential steps, in proportion to ``scv``
    (squared coefficient of variation of a step) up to 2.
    """
    share, waiting, cycle = cost.stage_share, 0.0, 1.0
    for lane in range(1, engine.lanes + 1):
        cycle = 1.0 + share * waiting
        waiting = lane * share * (1 + waiting) / cycle
    least = max(1.0, engine.lanes * share) if engine.lanes > 1 else 1.0
    return np.asarray(least + (max(cycle, least) - least) * np.minimum(scv, 2.0))


def resident_tokens(engine: Engine, traffic: Traffic) -> float:
    """KV tokens of a sequence seen at a random time of its stay, half a block of slack included."""
    prompt = traffic.fresh + traffic.start
    if engine.reserve_output and traffic.decodes > 0:
        whole = traffic.reserved
        return float((traffic.steps * whole).sum() / traffic.steps.sum()) + 0.5 * engine.block_size
    held = traffic.context if traffic.decodes > 0 else float((prompt**2).sum() / prompt.sum())
    return held + 0.5 * engine.block_size


def sequence_slots(engine: Engine, traffic: Traffic, max_num_seqs: Floats, blocks: Floats) -> Floats:
    """Sequences that one lane can hold, by its limit and by KV blocks."""
    by_memory = (blocks - engine.watermark) * engine.block_size / resident_tokens(engine, traffic)
    return np.maximum(np.minimum(max_num_seqs, by_memory), 1.0) / engine.lanes


def operating_curve(mean: MeanCost, engine: Engine, traffic: Traffic, budget: Floats, slots: Floats) -> Curve:
    """The curve of each (budget, slots) pair, arrays of one length."""
    budget, slots = np.asarray(budget, dtype=float)[:, None], np.asarray(slots, dtype=float)[:, None]
    grid = np.linspace(0.0, 1.0, POINTS)[None, :] ** 1.5 + 1e-9
    if engine.policy == STATIC:
        return _static_curve(mean, traffic, np.minimum(grid, 1.0) * static_places(traffic, budget, slots))
    return _stepwise_curve(mean, engine, traffic, (budget, slots), grid)


def _stepwise_curve(mean: MeanCost, engine: Engine, traffic: Traffic, limits: tuple[Floats, Floats], grid: Floats) -> Curve:
    budget, slots = limits
    chunked, splits = engine.policy == CHUNKED, engine.splits_prompts
    room = budget if splits else packed_budget(traffic, budget)
    chunks = chunk_count(traffic, chunk_limit(engine, budget)) if splits else np.where(traffic.tokens > 0, 1.0, 0.0)
    n = _largest_n(traffic, chunks, room, slots, chunked) * np.minimum(grid, 1.0)
    decodes, tokens = traffic.decodes, traffic.tokens * n
    if chunked:
        room = np.maximum(room - decodes * n - (decodes > 0), 1.0)
    share = np.minimum(_carrying(n * chunks, tokens / room, slots), 1.0)
    batch = decodes * n / (1.0 if chunked else np.maximum(1 - share, 1e-9))
    carried = np.minimum(tokens / np.maximum(share, 1e-12), room)
    seen = 1 - (1 - share) ** engine.ranks
    crowd = engine.ranks * share / np.maximum(seen, 1e-12)
    pure, mixed = (
        _step_times(mean, chunked, (batch, traffic.clump), (carried, crowd), slots)
        if decodes > 0
        else _prompt_times(mean, traffic, carried, crowd)
    )
    step = seen * mixed + (1 - seen) * pure if decodes > 0 else mixed
    step = step * cycle_factor(mean.cost, engine, (seen * mixed**2 + (1 - seen) * pure**2) / step**2 - 1 if decodes > 0 else 0.0)
    token = step / (1.0 if chunked else np.maximum(1 - share, 1e-9))
    return _ordered(n / step, batch=batch, token=token, pure=pure, mixed=mixed, share=share, steps=1 / step)


def _carrying(chunks: Floats, filled: Floats, slots: Floats) -> Floats:
    """Share of steps that carry prompts: those into which ``chunks`` a step fall at random, no fewer than their tokens fill, and no fewer
    than have room for so many in ``slots``."""
    return np.asarray(np.maximum(np.maximum(1 - np.exp(-chunks), filled), chunks / slots))


def _largest_n(traffic: Traffic, chunks: Floats, room: Floats, slots: Floats, chunked: bool) -> Floats:
    """Most arrivals per step within the slots and the budget."""
    if chunked:
        return np.minimum(slots / (traffic.decodes + chunks), room / (traffic.decodes + traffic.tokens))
    low, high = np.zeros_like(slots), np.minimum(slots / np.maximum(traffic.decodes + chunks, 1e-9), room / max(traffic.tokens, 1e-9))
    for _ in range(40):
        middle = 0.5 * (low + high)
        share = np.minimum(_carrying(middle * chunks, traffic.tokens * middle / room, slots), 1 - 1e-9)
        fits = traffic.decodes * middle / (1 - share) + chunks * middle <= slots
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return low if traffic.decodes > 0 else np.minimum(slots, room / max(traffic.tokens, 1e-9))


def chunk_count(traffic: Traffic, limit: Floats) -> Floats:
    """Mean number of chunks of a prompt, for each limit [..., 1]."""
    return np.asarray(np.ceil(traffic.fresh / limit[..., None]).mean(axis=-1))


def packed_budget(traffic: Traffic, budget: Floats) -> Floats:
    """Mean tokens of a full step of whole prompts taken in order; a first prompt longer than the budget goes alone."""
    if traffic.tokens <= 0:
        return budget
    total = np.concatenate(([0.0], np.cumsum(traffic.fresh[:PACKED]))).tolist()
    limits, row = np.unique(budget, return_inverse=True)
    packed = np.array([total[-1] / _steps_packed(total, float(limit)) for limit in limits])
    return np.asarray(packed[row.reshape(-1)].reshape(budget.shape))


def _steps_packed(total: list[float], limit: float) -> int:
    """Steps that greedy packing in order takes, from the running totals of prompt tokens."""
    at, steps = 0, 0
    while at < len(total) - 1:
        at = max(bisect_right(total, total[at] + limit) - 1, at + 1)
        steps += 1
    return steps


def _step_times(
    mean: MeanCost, chunked: bool, decoding: tuple[Floats, float], prompts: tuple[Floats, Floats], slots: Floats
) -> tuple[Floats, Floats]:
    """(pure, mixed) step times as a sequence meets them: beside itself, a batch that fluctuates like a Poisson count.

    ``decoding``: the batch, and how many come together (those of its request are beside a sequence too). ``prompts``: tokens that a
    rank with prompts carries, and how many ranks do.
    """
    (batch, clump), (carried, crowd) = decoding, prompts
    pure, mixed = np.zeros_like(batch), np.zeros_like(batch)

    def times(beside: Floats, tokens: Floats, ranks: Floats) -> tuple[Floats, Floats]:
        held = beside if chunked else 0.0 * beside
        return pure_time(mean, beside), mixed_time(mean, held, tokens, attention=mean.per_token * tokens, crowd=ranks)

    for node, weight in NODES:
        beside = np.clip(clump + batch + node * np.sqrt(batch * clump), 1.0, np.maximum(slots, 1.0))
        pure, mixed = (sum_ + weight * time for sum_, time in zip((pure, mixed), times(beside, carried, crowd), strict=True))
    few = batch <= _FEW * clump
    if few.any():
        groups, most = (batch / clump)[few][:, None], np.broadcast_to(slots, batch.shape)[few][:, None]
        chance = np.exp(-groups) * groups**_COUNTS / _FACTORIALS
        beside = np.minimum(clump * (1 + _COUNTS), np.maximum(most, 1.0))
        found = times(beside, carried[few][:, None], np.broadcast_to(crowd, batch.shape)[few][:, None])
        pure[few], mixed[few] = ((chance * time).sum(axis=1) / chance.sum(axis=1) for time in found)
    return pure, mixed


def _prompt_times(mean: MeanCost, traffic: Traffic, carried: Floats, crowd: Floats) -> tuple[Floats, Floats]:
    """Step times of a pool that only computes prompts."""
    prompts = np.maximum(carried / max(traffic.tokens, 1e-9), 1.0)
    mixed = mixed_time(mean, np.zeros_like(carried), carried, attention=mean.per_token * carried, prompts=prompts, crowd=crowd)
    return mixed, mixed


def _static_curve(mean: MeanCost, traffic: Traffic, size: Floats) -> Curve:
    """Batches prefilled in one step, whose places stay taken until the longest member ends.

    ``size`` [m, POINTS]: members; fractional below 1 = often idle.
    """
    members = np.maximum(size, 1.0)
    tokens = members * traffic.tokens
    prefill = (
        mixed_time(mean, np.zeros_like(tokens), tokens, attention=mean.per_token * tokens, prompts=members) if traffic.tokens > 0 else 0.0
    )
    pure = pure_time(mean, members)
    whole = prefill + expected_longest(traffic.steps, members) * pure
    rate = size / whole
    return _ordered(rate, batch=rate * traffic.decodes * pure, token=pure, pure=pure, mixed=prefill, share=prefill / whole, steps=1 / whole)


def static_places(traffic: Traffic, budget: Floats, slots: Floats) -> Floats:
    """Members of a full static batch: within the slots, and whole prompts within the budget."""
    return np.minimum(slots, np.maximum(packed_budget(traffic, budget) / traffic.tokens, 1.0)) if traffic.tokens > 0 else slots


def expected_longest(values: Floats, count: Floats) -> Floats:
    """Mean of the largest of ``count`` draws: sum x_(i) ((i/n)^c - ((i-1)/n)^c), on at most 256 bins."""
    ranked = np.sort(values)
    ranks = np.linspace(0, 1, min(len(ranked), 256) + 1)
    levels = np.array([part.mean() for part in np.array_split(ranked, len(ranks) - 1)])
    return np.asarray((np.diff(ranks ** count[..., None], axis=-1) * levels).sum(axis=-1))


def _ordered(rate: Floats, **rest: Floats | float) -> Curve:
    rising = np.maximum.accumulate(rate, axis=1)
    fields = {name: np.broadcast_to(np.asarray(value, dtype=float), rate.shape) for name, value in rest.items()}
    return Curve(rate=rising, sustainable=rising[:, -1], **fields)


def curve_at(curve: Curve, row: Ints, rate: Floats) -> dict[str, Floats]:
    """Fields of the curve at each ``rate`` on its ``row``, linear between points, held at the sustainable rate."""
    rates = curve.rate[row]
    high = np.clip((rates < rate[:, None]).sum(axis=1), 1, POINTS - 1)
    each = np.arange(len(high))
    left, right = rates[each, high - 1], rates[each, high]
    weight = np.clip((rate - left) / np.where(right > left, right - left, 1.0), 0.0, 1.0)
    names = ("batch", "token", "pure", "mixed", "share", "steps")
    tables = {name: getattr(curve, name) for name in names}
    return {name: table[row, high - 1] + weight * (table[row, high] - table[row, high - 1]) for name, table in tables.items()}
