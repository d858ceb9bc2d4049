"""Pareto arithmetic on points to minimise, [n, m]: front, ranks, crowding, hypervolume (moocore).

Rows with a nan are not points: never on a front, rank -1. Equal points are kept once, the first of them.
Crowding distance: Deb et al., NSGA-II, IEEE Trans. Evol. Comp. 6(2), 2002, section III-B.
"""

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import Floats, Ints


def front_mask(points: Floats) -> NDArray[np.bool_]:
    """Which rows are on the front: dominated by none, and the first of their equals.

    >>> front_mask(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
    [True, True, False, False]
    """
    import moocore

    mask = np.zeros(len(points), dtype=bool)
    rows = _whole(points)
    if rows.size:
        mask[rows] = moocore.is_nondominated(points[rows])
    return mask


def ranks(points: Floats) -> Ints:
    """Non-dominated rank of each row, 0 = the front; equal points share a rank."""
    import moocore

    rank = np.full(len(points), -1, dtype=np.int64)
    rows = _whole(points)
    if rows.size:
        rank[rows] = moocore.pareto_rank(points[rows])
    return rank


def crowding(points: Floats) -> Floats:
    """Crowding distance of each row among all rows: large = lonely, infinite at the ends of an axis.

    >>> crowding(np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])).tolist()
    [inf, 2.0, inf]
    """
    distance = np.zeros(len(points))
    for axis in points.T:
        order = np.argsort(axis, kind="stable")
        span = axis[order[-1]] - axis[order[0]] if len(order) else 0.0
        gap = np.full(len(points), np.inf)
        if len(order) > 2:
            gap[1:-1] = (axis[order[2:]] - axis[order[:-2]]) / (span or 1.0)
        distance[order] += gap
    return distance


def hypervolume(points: Floats, reference: Floats) -> float:
    """Volume that the points dominate up to ``reference``; 0 for none."""
    import moocore

    rows = points[_whole(points)]
    rows = rows[(rows < reference).all(axis=1)]
    return float(moocore.hypervolume(rows, ref=reference)) if len(rows) else 0.0


def reference_point(points: Floats) -> Floats:
    """The worst value of each axis over all points, and a tenth of the span beyond it."""
    rows = points[_whole(points)]
    worst, best = rows.max(axis=0), rows.min(axis=0)
    return np.asarray(worst + 0.1 * np.where(worst > best, worst - best, 1.0))


def cover(points: Floats, slack: float) -> Ints:
    """Few rows of [n, m] such that each row has one of them within a factor 1 + ``slack`` in every axis (all values > 0), ascending.

    An epsilon-Pareto set: Laumanns et al., Evol. Comp. 10(3), 2002. Rows are taken by how many others they stand for.

    >>> cover(np.array([[1.0, 3.0], [1.0001, 2.0], [2.0, 1.0]]), 0.001).tolist()
    [1, 2]
    """
    stands_for: NDArray[np.bool_] = np.asarray((points[:, None, :] <= points[None, :, :] * (1 + slack)).all(axis=2))
    left, kept = np.ones(len(points), dtype=bool), []
    while left.any():
        best = int(np.argmax((stands_for & left).sum(axis=1)))
        kept.append(best)
        left &= ~stands_for[best]
    return np.array(sorted(kept), dtype=np.int64)


def _whole(points: Floats) -> Ints:
    return np.flatnonzero(np.isfinite(points).all(axis=1))
