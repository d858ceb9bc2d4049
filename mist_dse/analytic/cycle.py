"""Steps of an engine that computes prompts, as an arrival meets them: a gated server, alone or among decode steps.

Prompts that come during a step share the next one, as far as the budget goes. Let a step take T(q) s for q prompt tokens, b = dT/dq, C be
the time from one step's start to the next one's, and l prompts/s of p tokens come. A step carries what came in the one before, or after an
idle time the one prompt that ended it:

    E[q] = E[p] (l E[C] + P0),  E[C^2] (1 - r^2) = T(E[q])^2 - (r E[C])^2 + b^2 (variance of q beside that of C),  r = b l E[p],

with P0 the chance that nothing came. A step without room for all leaves the rest to `prompts`; a prompt that is not split takes one however
long it is. Streams more even than Poisson meet long steps rather than short ones, and rarely: arrivals during a step, and P0, are those of
the gaps' law (`gaps`) over the lengths that prompts give a step. Among decode steps, the mean field's shares of steps (`capacity`) are
those of Poisson arrivals, the variance of steps grows by the same 1 / (1 - r^2), and the same law says how much more rarely others meet a
step with prompts.
"""

import math
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.capacity import cycle_factor, mixed_time, packed_budget
from mist_dse.analytic.gaps import Gaps, gaps
from mist_dse.analytic.operation import Operation
from mist_dse.analytic.queueing import weibull
from mist_dse.analytic.traffic import Traffic, arrival_scv, coarse
from mist_dse.rows import CHUNKED, JOIN_SHORTEST_QUEUE, Engine, Floats

_ROUNDS = 10  # of the iteration of a step's mean length
_STEEPEST = 0.99  # largest r, where the stationary step is bounded by the budget alone


class Cycle(NamedTuple):
    """Steps, from one start to the next, as an arrival meets them; per variant."""

    biased: Floats  # s, mean of the one that it comes in
    square: Floats  # its mean square
    found: Floats  # chance that a step is running
    slope: Floats  # s per prompt token
    full: Floats  # s, step with the whole budget
    room: Floats  # prompt tokens of a full step
    surplus: Floats  # chance that more than that waits when a step ends whose prompts all fitted
    length: Floats  # s from such a step's start to the next one's, idle time included
    mates: Floats  # prompts that come in it too
    gaps: Gaps  # between the prompts of a rank


class _Met(NamedTuple):
    """How an arrival meets the steps of those before it."""

    law: Gaps
    rate: Floats
    own: Floats  # s [v, bins], a prompt's steps
    last: Floats  # s [v, bins], the last of them
    together: Gaps  # of all ranks that step together
    ranks: int

    def lengths(self, mean: Floats, second: Floats) -> Floats:
        """Steps [v, bins] of these moments, spread as prompts are."""
        own = coarse(self.own)
        middle = own.mean(axis=1, keepdims=True)
        wide = np.sqrt(np.maximum(second - mean**2, 0.0)) / np.maximum(own.std(axis=1), 1e-12)
        return np.asarray(np.maximum(mean[:, None] + (own - middle) * wide[:, None], 0.0))

    def regularity(self) -> tuple[Floats, Floats, Floats]:
        """(chance to meet a step with prompts, its mean length, its mean square) over what they are for Poisson arrivals."""
        load = self.ranks * self.rate[:, None] * coarse(self.own)
        return _over_poisson(self.together.rows().renewals(load), load, coarse(self.last))


class _Steps(NamedTuple):
    """Steps with prompts as a function of their tokens."""

    op: Operation
    beside: Floats
    tokens: float  # of a prompt
    room: Floats
    pace: float  # interval of a rank's steps over a step's length

    def time(self, tokens: Floats) -> Floats:
        """Interval after a step of ``tokens``."""
        prompts = np.maximum(tokens / self.tokens, 1.0)
        return self.pace * mixed_time(self.op.mean, self.beside, tokens, attention=self.op.mean.per_token * tokens, prompts=prompts)

    def slope(self, tokens: Floats) -> Floats:
        """Seconds per token about ``tokens``."""
        low, high = 0.75 * tokens, 1.25 * tokens
        return np.maximum(self.time(high) - self.time(low), 1e-12 * high) / (high - low)


def cycle(engine: Engine, traffic: Traffic, op: Operation, own: Floats, last: Floats) -> Cycle:
    """The steps of a pool; ``own`` and ``last`` [v, bins]: seconds of all of a prompt's steps, and of the last of them."""
    budget = op.variants.max_num_batched_tokens
    room = np.maximum(budget - beside(engine, op), 1.0) if engine.splits_prompts else packed_budget(traffic, budget)
    pace = float(cycle_factor(op.mean.cost, engine)) / engine.lanes
    steps = _Steps(op, beside(engine, op), traffic.tokens, room, pace)
    streams = (op.variants.replicas * engine.ranks, op.variants.replicas)
    alone, together = (gaps(np.broadcast_to(arrival_scv(engine, traffic.scv, n), op.rate.shape)) for n in streams)
    found = _among_decodes if traffic.decodes > 0 else _prompts_alone
    return found(engine, traffic, op, steps, _Met(alone, op.rate, own, last, together, engine.ranks))


def decoding(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Chance that some rank of a replica decodes."""
    return np.asarray(1 - np.exp(-op.batch * engine.ranks / traffic.clump) if traffic.decodes > 0 else np.zeros_like(op.batch))


def beside(engine: Engine, op: Operation) -> Floats:
    """Sequences that decode in a step with prompts."""
    return op.batch if engine.policy == CHUNKED else np.zeros_like(op.batch)


def work_moment(traffic: Traffic, op: Operation, slope: Floats, power: int) -> Floats:
    """E[(slope p + u)^power] over prompts of p tokens, u: attention seconds beyond those of as many mean tokens."""
    tokens = traffic.fresh
    more = op.mean.chunk - op.mean.per_token * tokens
    terms = (math.comb(power, k) * slope ** (power - k) * float((tokens ** (power - k) * more**k).mean()) for k in range(power + 1))
    return np.asarray(sum(terms))


def exceeding(mean: Floats, second: Floats, level: Floats) -> Floats:
    """Chance that a Weibull variable of these moments exceeds a level."""
    scale, shape = weibull(mean, second)
    return np.asarray(np.exp(-((level / scale) ** shape)))


def _among_decodes(engine: Engine, traffic: Traffic, op: Operation, steps: _Steps, met: _Met) -> Cycle:
    """Steps with prompts among steps without."""
    pure, mixed = steps.pace * op.pure, steps.pace * op.mixed
    share = 1 - (1 - op.share) ** engine.ranks
    mean = share * mixed + (1 - share) * pure
    one, square = _pieces(engine, traffic, steps.room)
    most = _most(engine, traffic, steps.room)
    carried = np.clip(op.rate * traffic.tokens * mean / np.maximum(op.share, 1e-12), one, np.maximum(one, steps.room))
    count = -np.log1p(-np.minimum(op.share, 1 - 1e-9))
    some = np.maximum(-np.expm1(-count), 1e-12)
    slope = steps.slope(carried)
    several = (count * square * _unevenness(traffic, op, slope) + (count * one) ** 2) / some
    scv = slope**2 * np.maximum(np.minimum(several, most * carried) - carried**2, 0.0) / mixed**2
    spread = np.maximum(share * mixed**2 * (1 + scv) + (1 - share) * pure**2 - mean**2, 0.0)
    full = mixed + steps.time(steps.room) - steps.time(carried)
    longest = (full + steps.time(most) - steps.time(steps.room)) / mixed - 1
    scv = np.maximum(scv, np.minimum(scv + _echoed(traffic, op, slope, spread) / np.maximum(share * mixed**2, 1e-300), longest))
    fewer, longer, farther = met.regularity()
    chance = np.minimum(share * mixed / mean * fewer, 1.0)
    biased = chance * mixed * (1 + scv) * longer + (1 - chance) * pure
    whole = chance * mixed**2 * (1 + scv) * (1 + 2 * scv) * farther + (1 - chance) * pure**2
    mates = chance * met.law.mates(op.rate * mixed * (1 + scv) * longer) + (1 - chance) * met.law.mates(op.rate * pure)
    tokens, squares = _prompts(engine, traffic, steps.room)
    surplus = op.share * exceeding(count * tokens / some, (count * squares + (count * tokens) ** 2) / some, steps.room)
    return Cycle(biased, whole, decoding(engine, traffic, op), slope, full, steps.room, surplus, mean, mates, met.law)


def _prompts_alone(engine: Engine, traffic: Traffic, op: Operation, steps: _Steps, met: _Met) -> Cycle:
    """Steps with prompts, and none where no prompt waits."""
    one, square = _pieces(engine, traffic, steps.room)
    pieces = op.rate * traffic.tokens / one
    full = steps.time(steps.room)
    longest = steps.time(_most(engine, traffic, steps.room))
    law, mean = met.law.rows(), steps.time(one)
    second = mean**2
    for _ in range(_ROUNDS):
        lengths = met.lengths(mean, second)
        load = pieces[:, None] * lengths
        idle = _idle(law, load).mean(axis=1)
        each = _arrivals(law, load, idle[:, None])
        came = each.mean(axis=1)
        carried = np.minimum(one * (came + idle), np.maximum(one, steps.room))
        mean, slope = steps.time(carried), steps.slope(carried)
        rise = np.minimum(op.rate * traffic.tokens * slope, _STEEPEST)
        spread = came * (square + (met.law.scv - 1) * one**2) + idle * square + (one * came) ** 2 - carried**2
        second = np.clip((mean**2 * (1 - rise**2) + slope**2 * spread) / (1 - rise**2), mean**2, np.maximum(mean * longest, mean**2))
    ratio = second / mean**2 - 1
    _, longer, farther = _over_poisson(each, load, lengths)
    found = came / np.maximum(came + idle, 1e-12)
    biased, whole = second / mean * longer, mean**2 * (1 + ratio) * (1 + 2 * ratio) * farther
    if engine.router == JOIN_SHORTEST_QUEUE:
        found = found ** (np.sqrt(2 * (op.variants.replicas + 1)) - 1)
    tokens, squares = _prompts(engine, traffic, steps.room)
    came = came * op.rate / pieces
    waits = tokens * (came + idle)
    several = came * (squares + (met.law.scv - 1) * tokens**2) + idle * squares + (tokens * came) ** 2 * second / mean**2
    surplus = exceeding(waits, np.maximum(several, waits**2), steps.room)
    length = mean + idle / np.maximum(op.rate, 1e-12)
    return Cycle(biased, whole, found, slope, full, steps.room, surplus, length, met.law.mates(op.rate * biased), met.law)


def _echoed(traffic: Traffic, op: Operation, slope: Floats, spread: Floats) -> Floats:
    """Variance of steps beyond ``spread``: a longer one makes the next one longer, r times as much; 1 / (1 - r^2) in all."""
    rise = np.minimum(op.rate * traffic.tokens * slope, _STEEPEST)
    return np.asarray(spread * rise**2 / (1 - rise**2))


def _prompts(engine: Engine, traffic: Traffic, room: Floats) -> tuple[Floats | float, Floats | float]:
    """(mean, mean square) of a prompt's tokens as they compete for a budget: one that is not split takes no step but its own."""
    return (traffic.tokens, float((traffic.fresh**2).mean())) if engine.splits_prompts else _parts(traffic, room)


def _most(engine: Engine, traffic: Traffic, room: Floats) -> Floats:
    """Most tokens of a step: what fits, or one prompt that is not split."""
    return room if engine.splits_prompts else np.maximum(room, float(traffic.fresh.max()))


def _unevenness(traffic: Traffic, op: Operation, slope: Floats) -> Floats:
    """Mean square of a prompt's work over that of its tokens alone."""
    return work_moment(traffic, op, slope, 2) / (slope**2 * float((traffic.fresh**2).mean()))


def _pieces(engine: Engine, traffic: Traffic, room: Floats) -> tuple[Floats, Floats]:
    """(mean, mean square) of what a prompt brings into one step at most."""
    if engine.splits_prompts:
        return _parts(traffic, room)
    return np.full_like(room, traffic.tokens), np.full_like(room, float((traffic.fresh**2).mean()))


def _parts(traffic: Traffic, room: Floats) -> tuple[Floats, Floats]:
    """(mean, mean square) of a prompt's tokens up to ``room``."""
    fresh = traffic.binned(traffic.fresh)[None, :]
    part = np.minimum(fresh, room[:, None])
    ratio = float((traffic.fresh**2).mean()) / float((fresh**2).mean())
    return part.mean(axis=1), np.minimum((part**2).mean(axis=1) * ratio, part.mean(axis=1) * room)


def _over_poisson(came: Floats, plain: Floats, lengths: Floats) -> tuple[Floats, Floats, Floats]:
    """(arrivals, and mean and mean square of the lengths that they come in) over those if ``plain`` came."""
    chance, usual = np.maximum(came, 1e-9 * plain), np.maximum(plain.sum(axis=1), 1e-300)
    whole = np.maximum(chance.sum(axis=1), 1e-300)
    first, second = (
        (chance * lengths**k).sum(axis=1) / whole * usual / np.maximum((plain * lengths**k).sum(axis=1), 1e-300) for k in (1, 2)
    )
    return whole / usual, first, second


def _idle(law: Gaps, time: Floats) -> Floats:
    """Chance that nothing comes during a step: one that begins with an arrival, or after one half a step ago."""
    whole, rest = law.empty(time), law.empty(1.5 * time) / np.maximum(law.empty(0.5 * time), 1e-12)
    return np.asarray(rest / np.maximum(1 - whole + rest, 1e-12))


def _arrivals(law: Gaps, time: Floats, idle: Floats) -> Floats:
    """Mean arrivals in a step: one that begins with an arrival, or after one half a step ago."""
    return np.asarray(idle * law.renewals(time) + (1 - idle) * (law.renewals(1.5 * time) - law.renewals(0.5 * time)))
