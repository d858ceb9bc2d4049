"""In which order to simulate: by rank and now and then by distance, twins later, a few at random as an alarm.

By *rank*: fronts of the estimates, one after another; the first by the hypervolume that each design adds to those before it, the
others lonely points first. Every fourth by *distance*: how far estimates must err, on log axes, for a design to be on the front. A
rank says little where many designs share a figure, each a front behind the last (the pool that prefills decides TTFT, whatever
decodes); a distance says little where the screen errs alike for all of a kind. No design comes later than 4/3 of its place by rank,
nor than four times its place by distance.

Designs that the screen cannot tell apart form a class *after* feasibility, so that a class never hides behind an
infeasible twin. The first of a class keeps its rank, the others come one rank later. Every fiftieth proposal is drawn at
random among the designs that would come last: should one of those land on the front, the screen is wrong.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.front import crowding, front_mask, hypervolume, ranks
from mist_dse.rows import Floats, Ints

ALARM_SHARE = 0.02
"""Share of proposals drawn at random."""

SAME = 1e-6
"""Relative difference below which two screened objectives are the same."""

BY_DISTANCE = 4
"""One in so many is the next by distance."""

GAINS = 512
"""Designs ordered by the hypervolume that they add: a search of the default length has seen them all."""

NEAR = 8192
"""Designs whose distance is looked at, the first by rank."""

EXACT = ("usd_per_hour", "usd_per_mtok", "accelerators", "throughput_rps", "output_tokens_per_s")
"""Metrics that a screen knows, at least up to a factor that all designs share."""

CELLS = 1 << 24
"""Differences between designs taken at once: 130 MB."""


def screen_order(points: Floats, feasible: NDArray[np.bool_], metrics: Sequence[str] = ()) -> Ints:
    """Indices of the feasible designs with whole points, most promising first.

    ``points`` [n, m] are screened objectives to minimise, on log axes; ``metrics`` their names, of which those in `EXACT` cannot err.
    Without one that can and one that cannot the order is by rank alone.
    """
    rows = np.flatnonzero(feasible & np.isfinite(points).all(axis=1))
    if not rows.size:
        return rows
    found = points[rows]
    first, twin, members = _classes(found)
    order = _by_rank(found, first, twin, members)
    exact = [name in EXACT for name in metrics]
    if any(exact) and not all(exact):
        near = order[:NEAR]
        far = distances(found[near], exact)
        order = _in_turn(order, near[np.lexsort((np.arange(len(near)), far, twin[near]))])
    return np.asarray(rows[order])


def distances(points: Floats, exact: Sequence[bool]) -> Floats:
    """By how much each point must be better than estimated, in an axis that is not ``exact``, to be dominated by none.

    Where two points are equal in an axis, they are so because they share what decides it: they cannot differ there.

    >>> distances(np.array([[1.0, 5.0], [2.0, 4.0], [3.0, 4.5], [4.0, 4.0]]), [True, False])
    array([0. , 0. , 0.5, inf])
    """
    found = _distances(points, points[front_mask(points)], exact)
    for axis in np.flatnonzero(~np.asarray(exact, dtype=bool)):
        order = np.argsort(points[:, axis], kind="stable")
        ends = np.flatnonzero(np.diff(points[order, axis]) > SAME) + 1
        for family in np.split(order, ends):
            if len(family) > 1:
                found[family] = np.maximum(found[family], _distances(points[family], points[family], exact))
    return found


def with_alarms(order: Ints, seed: int, share: float = ALARM_SHARE, among: Ints | None = None) -> tuple[Ints, NDArray[np.bool_]]:
    """``order`` with a random design after every 1 / ``share`` - 1 of its own, of its later ones or ``among`` others (each once), and
    which entries are those."""
    every = round(1 / share) if share > 0 else len(order) + 1
    source = order if among is None else among
    alarms = min(len(order) // every, len(source))
    if not alarms:
        return order, np.zeros(len(order), dtype=bool)
    drawn = np.random.default_rng(seed).choice(source, size=alarms, replace=False)
    rest = order[~np.isin(order, drawn)]
    merged, mark = np.empty(len(rest) + alarms, dtype=order.dtype), np.zeros(len(rest) + alarms, dtype=bool)
    mark[every - 1 : alarms * every : every] = True
    merged[mark], merged[~mark] = drawn, rest
    return merged, mark


def by_gain(points: Floats, most: int = GAINS) -> Ints:
    """Rows of a front, each the one that adds most to the hypervolume of those before it (to ``most``; the others by what they last added).

    Volumes to a tenth beyond the worst of each axis, on axes of equal length. What a row adds never grows as others come before it, so
    only the largest that is out of date is taken anew: Minoux, Accelerated greedy algorithms, 1978.

    >>> by_gain(np.array([[0.0, 1.0], [0.1, 0.1], [1.0, 0.0]])).tolist()
    [1, 0, 2]
    """
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    scaled, reference = (points - low) / np.where(span > 0, span, 1.0), np.full(points.shape[1], 1.1)
    waiting = [(-float(np.prod(reference - row)), number, 0) for number, row in enumerate(scaled)]
    heapq.heapify(waiting)
    taken: list[int] = []
    volume = 0.0
    while waiting and len(taken) < most:
        gain, number, seen = waiting[0]
        if seen == len(taken):
            heapq.heappop(waiting)
            taken.append(number)
            volume -= gain
        else:
            heapq.heapreplace(waiting, (volume - hypervolume(scaled[[*taken, number]], reference), number, len(taken)))
    return np.array(taken + [number for _, number, _ in sorted(waiting)], dtype=np.int64)


def _by_rank(points: Floats, first: Ints, twin: Ints, members: Ints) -> Ints:
    rank = ranks(points[first])
    lonely = _crowding_in_ranks(points[first], rank)
    best = np.flatnonzero(rank == 0)
    lonely[best[by_gain(points[first[best]])]] = -np.arange(len(best), dtype=float)
    return np.asarray(np.lexsort((np.arange(len(points)), -lonely[members], twin, rank[members] + twin)))


def _in_turn(order: Ints, other: Ints) -> Ints:
    """``order``, every `BY_DISTANCE`-th entry the next of ``other`` instead, each once."""
    size = len(order) + len(other)
    place = np.empty(size, dtype=float)
    place[: len(order)] = np.arange(len(order)) * (BY_DISTANCE / (BY_DISTANCE - 1))
    place[len(order) :] = np.arange(len(other)) * BY_DISTANCE + BY_DISTANCE - 1.5
    merged = np.concatenate([order, other])[np.argsort(place, kind="stable")]
    _, earliest = np.unique(merged, return_index=True)
    return np.asarray(merged[np.sort(earliest)])


def _distances(points: Floats, others: Floats, exact: Sequence[bool]) -> Floats:
    """Most that any of ``others`` asks of each point: of those that dominate it, the least lead in an axis that may err."""
    found = np.zeros(len(points))
    errs = np.flatnonzero(~np.asarray(exact, dtype=bool))
    size = max(CELLS // max(others.size, 1), 1)
    for low in range(0, len(points), size):
        lead = points[low : low + size, None, :] - others[None, :, :]
        dominated = (lead >= -SAME).all(axis=2) & (lead > SAME).any(axis=2)
        least = np.where(lead[:, :, errs] > SAME, lead[:, :, errs], np.inf).min(axis=2)
        found[low : low + size] = np.where(dominated, least, 0.0).max(axis=1, initial=0.0)
    return found


def _classes(points: Floats) -> tuple[Ints, Ints, Ints]:
    """First row of each class of equal points, each row's place in its class (0 = first, 1 = another), each row's class."""
    scale = np.maximum(np.abs(points).max(axis=0), 1.0)
    keys = np.round(points / (scale * SAME)).astype(np.int64)
    order = np.lexsort(keys.T)
    new = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(axis=1)])
    members = np.empty(len(points), dtype=np.int64)
    members[order] = np.cumsum(new) - 1
    first = order[new]
    return first, (first[members] != np.arange(len(points))).astype(np.int64), members


def _crowding_in_ranks(points: Floats, rank: Ints) -> Floats:
    lonely = np.zeros(len(points))
    order = np.argsort(rank, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(rank[order])) + 1):
        lonely[rows] = crowding(points[rows])
    return lonely
