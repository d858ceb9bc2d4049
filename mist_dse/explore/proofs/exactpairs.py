"""A prefill and a decode pool together: whether the first is held back at all, and how busy the second is at least.

*Not held back.* Let every prompt's blocks be kept at most ``hop`` s beyond its end (`exact.longest_hops`), and every sequence have left the
decode pool by a guessed time. If one engine then never has more blocks than it has, no hand-off waits and none is preempted; the k-th
in the queue of an engine has a slot once k - slots + 1 have left it; each step takes at most as long as one with so many sequences and
tokens (``longest``; a step under way began at most the longest of them ago), and where prompts stop decodes each that joins costs one step
of prompts. If that makes every sequence leave by the guessed time, none is the first to leave later: the guess holds, and the prefill
pool runs as alone (`exact.Stage`). Guesses grow from below. Who is on which engine is known where the pool takes hand-offs in turn, in the
order in which they are asked for; else one engine is held to have all, and must have slots for them.

*At least so busy.* A sequence decodes for certain from when it has joined at the latest until it can have ended at the earliest. A step
with at least S sequences of K tokens takes at least ``shortest`` [S, K]; a step under way began at most tau ago; so a sequence's last
token is out no sooner than when the integral of 1 / shortest reaches its steps. Later ends make busier engines: a few rounds of that, each
a floor of its own. Preconditions beside these: `exactdecoders.decoder`.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mist_dse.explore.proofs.exact import Stage
from mist_dse.explore.proofs.exactdecoders import CONTEXTS, Decoder, context_column, reordered
from mist_dse.rows import Floats, Ints, Requests

ROUNDS = 10
"""Most times that ends are derived from how busy engines are."""

SETTLED = 0.003
"""Share of a usual stay by which ends must still move for another round."""

ATTEMPTS = 10
"""Most guesses at when sequences have left, each beyond the last."""

GENEROUS = 1.3
"""First guess at stays over those of usual steps: one that is too long is proved at once, one that is too short is not."""

COARSE = 16
"""Bins taken together where least values are sought."""

PARTS = 4
"""Parts of the interval in which a first token may fall, each with its own floor of what follows."""


class Pair(NamedTuple):
    """Floors per request of a pair of pools (s after the arrival, s between tokens)."""

    ttft: Floats
    tpot: Floats
    e2e: Floats


class _Grid(NamedTuple):
    """Bins of time on every rank."""

    width: float
    bins: int
    ranks: int
    rank: Ints  # [n]
    zero: float
    known: bool  # each sequence's rank is; else one stands for all
    guess: float  # s of a step

    def place(self, when: Floats) -> Floats:
        return np.asarray((when - self.zero) / self.width)

    def total(self, first: Floats, last: Floats, weight: Floats) -> Floats:
        """Weight [ranks, bins] of what is there from bin ``first`` to before bin ``last``, on its rank."""
        size = self.bins + 1
        low = np.clip(first, 0, self.bins).astype(np.int64)
        high = np.maximum(np.clip(last, 0, self.bins).astype(np.int64), low)
        joining, leaving = (np.bincount(self.rank * size + place, weight, self.ranks * size) for place in (low, high))
        change = joining - leaving
        return np.asarray(np.cumsum(change.reshape(self.ranks, size), axis=1)[:, : self.bins])


def pair_floors(stage: Stage, hops: Floats, pool: Decoder, replicas: int, requests: Requests) -> Pair | None:
    """Floors of a pair of pools, of which that of TTFT is exact where the prefill gives the first token; None where the prefill pool may be
    held back."""
    grid = _grid(stage, pool, replicas)
    order = np.lexsort((stage.end, grid.rank))  # look-ups of neighbours are fast
    floors = _floors(
        stage._replace(start=stage.start[order], end=stage.end[order]),
        hops[order],
        reordered(pool, order),
        grid._replace(rank=grid.rank[order]),
    )
    if floors is None:
        return None
    begin, tpot, last = (np.empty(len(order)) for _ in range(3))
    begin[order], tpot[order], last[order] = floors
    return Pair(begin - requests.arrival, tpot, last - requests.arrival)


def _floors(stage: Stage, hops: Floats, pool: Decoder, grid: _Grid) -> tuple[Floats, Floats, Floats] | None:
    """Least times of the first token, between tokens and of the last; None where the prefill pool may be held back."""
    present = pool.steps > 0
    latest = _latest(stage, hops, pool, grid)
    if latest is None:
        return None
    joins, first, step = latest
    ready = joins if pool.handed else first
    begin = stage.end + pool.lead
    after = np.maximum(pool.steps - (0 if pool.handed else 1), 0.0)
    last = np.where(present, begin + np.nan_to_num(pool.tpot) * pool.gaps, stage.end)
    rates = _rates(pool, grid, ready, last, step)
    for _ in range(ROUNDS if grid.known else 1):
        later = np.where(present, np.maximum(last, _reached(grid, rates, begin, after)), stage.end)
        settled, last = float((later - last).mean()) < SETTLED * grid.guess * float(pool.steps.mean()), later
        rates = _rates(pool, grid, ready, last, step)
        if settled:
            break
    between = last - begin if pool.handed else _least_after(grid, rates, (begin, ready), after)
    tpot = np.where(pool.gaps > 0, np.fmax(between / np.maximum(pool.gaps, 1), pool.tpot), np.nan)
    return begin, tpot, last


def _grid(stage: Stage, pool: Decoder, replicas: int) -> _Grid:
    """Bins of a small share of a usual stay."""
    known = replicas == 1 or (pool.in_turn and stage.ordered)
    order = np.argsort(stage.start if pool.early else stage.end, kind="stable")
    present = pool.steps > 0
    rank = np.zeros(len(order), np.int64)
    if known:
        turn = order[present[order]]
        rank[turn] = np.arange(len(turn)) % replicas
    ranks = replicas if known else 1
    zero = float(stage.start.min())
    guess = _usual_step(pool, present.sum() / max(float(stage.end.max()) - zero, 1e-9) / ranks)
    stay = guess * float(pool.steps[present].mean()) if present.any() else guess
    width = max(stay / 36, 1e-4)
    span = float(stage.end.max()) - zero + 8 * guess * float(pool.steps.max(initial=1.0))
    return _Grid(width, min(int(span / width) + 2, 1 << 16), ranks, rank, zero, known, guess)


def _usual_step(pool: Decoder, rate: float) -> float:
    """A guess at the longest steps of an engine to which ``rate`` sequences come a second: those of half as many again as there are in the
    mean by Little's law."""
    some = pool.steps > 0
    mean = float(pool.steps[some].mean()) if some.any() else 0.0
    each = float(pool.tokens[some].mean()) if some.any() else 0.0
    count, step = 1.0, 0.0
    for _ in range(30):
        column = int(np.searchsorted(CONTEXTS[:-1], count * each))
        step = float(pool.longest[min(math.ceil(count), pool.slots), column])
        count = min(1.5 * rate * mean * step + 2, pool.slots)
    return step


def _latest(stage: Stage, hops: Floats, pool: Decoder, grid: _Grid) -> tuple[Floats, Floats, float] | None:
    """When each sequence has a slot at the latest, when its first step is over, and a length that no step exceeds; None where no such times
    are found."""
    present = (pool.steps > 0).astype(float)
    first, asked = np.floor(grid.place(stage.end)), np.floor(grid.place(stage.start if pool.early else stage.end))
    joined = np.cumsum(grid.total(first, first + 1, present), axis=1)
    before = np.floor(grid.place(stage.end - hops.max())).astype(np.int64) - 1
    earlier = np.where(before >= 0, joined[grid.rank, before], 0.0)
    ahead, step, ready = _ahead(grid, pool, stage.end, hops), 0.0, stage.end + hops
    end = ready + (pool.steps + 8) * GENEROUS * grid.guess
    for _ in range(ATTEMPTS):
        last = np.ceil(grid.place(end)) + 1
        if last.max() > grid.bins:
            return None
        sequences, tokens = grid.total(first, last, present), grid.total(first, last, present * pool.tokens)
        if tokens.max() > CONTEXTS[-1] or (not grid.known and sequences.max() > pool.slots):
            return None
        cell = np.minimum(sequences, pool.slots).astype(np.int64), context_column(tokens, np.ceil)
        length = any_step = pool.longest[cell]
        needed = pool.steps + 1
        if not pool.handed:
            joining = grid.total(first, np.ceil(grid.place(ready + max(step, float(length.max())))) + 2, present)
            mixed = pool.beside[cell] + joining * pool.own
            any_step = np.maximum(length, mixed)
            extra = float((mixed - (0.0 if pool.stalls else length)).max())
            others = joined[grid.rank, last.astype(np.int64) - 1] - earlier
            needed = needed + others * max(extra, 0.0) / _least_within(length, grid.rank, first, last)
        step = max(step, float(any_step.max()))
        joins = _admitted(grid, pool, ahead, ready, end) if grid.known else ready
        near = np.clip(np.ceil(grid.place(joins + step)), 0, grid.bins - 1).astype(np.int64)
        wait = _over_steps(any_step, grid, 2 * step + 2 * grid.width, np.maximum)[grid.rank, near]
        rates = grid.width / _over_steps(length, grid, step, np.maximum)
        new = _reached(grid, rates, joins + wait, needed)
        if (new <= end).all():
            full = grid.total(asked, last, present * pool.taken).max() <= pool.blocks
            return (joins, joins + 2 * wait, step) if full else None
        end = np.where(new > end, 2 * new - end + grid.width, end)
    return None


def _ahead(grid: _Grid, pool: Decoder, end: Floats, hops: Floats) -> Ints:
    """How many may be before each sequence in the queue of its rank: all whose prompt ends before its hand-off can have."""
    order = np.lexsort((end, grid.rank, pool.steps == 0))[: int((pool.steps > 0).sum())]
    apart = float(end.max() - end.min()) + 2 * float(hops.max()) + 1.0
    keys = end[order] - end.min() + apart * grid.rank[order]
    first = np.searchsorted(grid.rank[order], grid.rank)
    return np.asarray(np.searchsorted(keys, end - end.min() + hops + apart * grid.rank, side="right") - first - 1)


def _admitted(grid: _Grid, pool: Decoder, ahead: Ints, ready: Floats, end: Floats) -> Floats:
    """When each sequence has a slot at the latest if they have left by ``end``: once no more than slots - 1 of those ahead are left. (One
    from behind that has left would have had its slot later still.)"""
    order = np.lexsort((end, grid.rank, pool.steps == 0))[: int((pool.steps > 0).sum())]
    first = np.searchsorted(grid.rank[order], grid.rank)
    waits = ahead >= pool.slots
    place = np.where(waits, first + ahead - pool.slots, 0)
    return np.where(waits, np.maximum(ready, end[order][place]), ready)


def _least_within(values: Floats, rank: Ints, first: Floats, last: Floats) -> Floats:
    """Least of ``values`` [ranks, bins] on the rank and between the bins of each sequence, or a little beyond: a table of spans of 2^k."""
    bins = -(-values.shape[1] // COARSE)
    padded = np.pad(values, ((0, 0), (0, bins * COARSE - values.shape[1])), constant_values=np.inf)
    levels = [padded.reshape(len(values), bins, COARSE).min(axis=2)]
    while 2 ** len(levels) <= bins:
        half = 2 ** (len(levels) - 1)
        levels.append(np.minimum(levels[-1][:, :-half], levels[-1][:, half:]))
    low = np.clip(first // COARSE, 0, bins - 1).astype(np.int64)
    high = np.clip(last // COARSE, low, bins - 1).astype(np.int64)
    level = np.log2(high - low + 1).astype(np.int64)
    out = np.empty(len(rank))
    for number, table in enumerate(levels):
        mine = level == number
        out[mine] = np.minimum(table[rank[mine], low[mine]], table[rank[mine], high[mine] - 2**number + 1])
    return out


def _over_steps(values: Floats, grid: _Grid, step: float, kind: np.ufunc) -> Floats:
    """Extreme of ``values`` [ranks, bins] over the bins in which a step that is under way may have begun."""
    for _ in range(int(np.ceil(step / grid.width))):
        values = np.concatenate([values[:, :1], kind(values[:, 1:], values[:, :-1])], axis=1)
    return values


def _rates(pool: Decoder, grid: _Grid, ready: Floats, last: Floats, step: float) -> Floats:
    """Most steps per bin [ranks, bins] that any sequence can take part in."""
    first, until = np.ceil(grid.place(ready)), np.floor(grid.place(last))
    present = ((pool.steps > 0) & grid.known).astype(float)
    count, tokens = grid.total(first, until, present), grid.total(first, until, present * pool.prompt)
    count, tokens = (_over_steps(values, grid, step, np.minimum) for values in (count, tokens))
    row = np.clip(count, 1, pool.slots).astype(np.int64)
    column = context_column(tokens, np.floor)
    return np.asarray(grid.width / pool.shortest[row, column])


def _reached(grid: _Grid, rates: Floats, begin: Floats, steps: Floats) -> Floats:
    """When a sequence that begins at ``begin`` has taken so many steps at the earliest."""
    size = grid.bins + 1
    total = np.concatenate([np.zeros((grid.ranks, 1)), np.cumsum(rates, axis=1)], axis=1)
    at = np.clip(grid.place(begin), 0, grid.bins - 1)
    low = at.astype(np.int64)
    goal = total[grid.rank, low] + (at - low) * rates[grid.rank, low] + steps
    apart = float(total[:, -1].max() + steps.max(initial=0.0)) + 1.0
    place = np.searchsorted((total + apart * np.arange(grid.ranks)[:, None]).ravel(), goal + apart * grid.rank, side="right") - 1
    bins = np.clip(place - size * grid.rank, 0, grid.bins - 1)
    return np.asarray(grid.zero + grid.width * (bins + (goal - total[grid.rank, bins]) / rates[grid.rank, bins]))


def _least_after(grid: _Grid, rates: Floats, first: tuple[Floats, Floats], steps: Floats) -> Floats:
    """Least seconds from a first token, which is out somewhere between ``first``, to the last."""
    edges = np.linspace(0.0, 1.0, PARTS + 1)
    low, high = first[0], np.maximum(first[0], first[1])
    spans = [_reached(grid, rates, low + (high - low) * left, steps) - (low + (high - low) * right) for left, right in pairwise(edges)]
    return np.asarray(np.maximum(np.min(spans, axis=0), 0.0))
