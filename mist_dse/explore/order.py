"""In which order to simulate: ranks of the screen, lonely points first, twins one rank later, a few at random as an alarm.

Designs that the screen cannot tell apart form a class *after* feasibility, so that a class never hides behind an
infeasible twin. The first of a class keeps its rank, the others come one rank later. Every fiftieth proposal is drawn at
random among the designs that would come last: should one of those land on the front, the screen is wrong.
"""

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.front import crowding, ranks
from mist_dse.rows import Floats, Ints

ALARM_SHARE = 0.02
"""Share of proposals drawn at random."""

SAME = 1e-6
"""Relative difference below which two screened objectives are the same."""


def screen_order(points: Floats, feasible: NDArray[np.bool_]) -> Ints:
    """Indices of the feasible designs with whole points, most promising first.

    ``points`` [n, m] are screened objectives to minimise, on log axes.
    """
    rows = np.flatnonzero(feasible & np.isfinite(points).all(axis=1))
    if not rows.size:
        return rows
    first, twin, members = _classes(points[rows])
    rank = ranks(points[rows[first]])
    lonely = _crowding_in_ranks(points[rows[first]], rank)
    place = rank[members] + twin
    return np.asarray(rows[np.lexsort((rows, -lonely[members], twin, place))])


def with_alarms(order: Ints, seed: int, share: float = ALARM_SHARE) -> tuple[Ints, NDArray[np.bool_]]:
    """``order`` with a random later design after every 1 / ``share`` - 1 of its own, and which entries are those."""
    every = round(1 / share) if share > 0 else len(order) + 1
    alarms = len(order) // every
    if not alarms:
        return order, np.zeros(len(order), dtype=bool)
    drawn = np.random.default_rng(seed).choice(len(order), size=alarms, replace=False)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[drawn] = True
    merged, mark = np.empty_like(order), np.zeros(len(order), dtype=bool)
    mark[every - 1 : alarms * every : every] = True
    merged[mark], merged[~mark] = order[drawn], order[~chosen]
    return merged, mark


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
