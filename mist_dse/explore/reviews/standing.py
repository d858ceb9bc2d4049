"""Where points stand against a front: the regret of each, and how much of the front's own box a set of points fills.

All points are to be minimised, [n, m]. *Regret* is the least epsilon at which no member of the front is better in every axis by
more than the factor 1 + epsilon (additive on log axes; the epsilon indicator of Zitzler et al., IEEE Trans. Evol. Comp. 7(2),
2003). The *box* of a front reaches from its ideal point to a tenth beyond its nadir.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.front import hypervolume
from mist_dse.explore.spaces.goals import minimised
from mist_dse.metrics import Limit, Objective
from mist_dse.rows import Floats

ROWS = 1 << 16
"""Points compared with a front at once."""


def members(points: Floats) -> NDArray[np.bool_]:
    """Rows that none dominates; equal rows stand together, rows with a nan never do.

    >>> members(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0], [np.nan, 0.0]])).tolist()
    [True, True, False, True, False]
    """
    import moocore

    mask = np.zeros(len(points), dtype=bool)
    rows = np.flatnonzero(np.isfinite(points).all(axis=1))
    if rows.size:
        mask[rows] = moocore.is_nondominated(points[rows], keep_weakly=True)
    return mask


def regret(points: Floats, front: Floats) -> Floats:
    """Largest distance by which some member of ``front`` is better in every axis; 0 where none is, infinite for rows with a nan.

    >>> regret(np.array([[2.0, 3.0], [1.0, 9.0]]), np.array([[1.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    worst = np.zeros(len(points))
    for low in range(0, len(points), ROWS):
        block = points[low : low + ROWS]
        for member in front:
            np.maximum(worst[low : low + ROWS], (block - member).min(axis=1), out=worst[low : low + ROWS])
    worst[~np.isfinite(points).all(axis=1)] = np.inf
    return worst


@dataclass(frozen=True, slots=True)
class Box:
    """Ideal point and span of a front; an axis without any span counts as 1 wide."""

    ideal: Floats
    span: Floats

    @classmethod
    def of(cls, front: Floats) -> "Box":
        """The box of ``front`` (at least one row)."""
        ideal, nadir = front.min(axis=0), front.max(axis=0)
        return cls(ideal, np.where(nadir > ideal, nadir - ideal, 1.0))

    def volume(self, points: Floats) -> float:
        """Share of the box that ``points`` dominate, 0 to 1."""
        scaled = np.maximum((points - self.ideal) / self.span, 0.0)
        return hypervolume(scaled, np.full(len(self.ideal), 1.1)) / 1.1 ** len(self.ideal)


def judged(values: Any, goals: Sequence[Objective], limits: Sequence[Limit], able: NDArray[np.bool_]) -> Floats:
    """Objectives of ``values`` (columns by metric) as points on log axes, nan where not ``able`` or a limit is broken."""
    points = minimised(values, goals, logarithmic=True)
    kept = able.copy()
    for limit in limits:
        kept &= limit.excess(np.asarray(values[limit.metric], dtype=float)) <= 0
    points[~kept] = np.nan
    return points
