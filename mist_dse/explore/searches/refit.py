"""Correcting the screen by what simulation found: residuals per pool, adopted only where they have proved themselves.

The residual of a design is measured - estimated, on the axes of the order (log where positive). Designs that share the pool which
makes an objective share most of its error: TTFT the pool that prefills, any other latency the pool that decodes; what is left, those
that share the other one (a busy pool that prefills hands over evenly, and decodes wait less for one another). A design is corrected by
the mean residual, and for the n known designs of its pool by the share n / (n + 0.3) of their difference from it.

Guard: not before 200 simulations, and then only an objective whose residuals, each predicted from the others (leave one out),
fall by more than a fifth against the mean alone: a correction fitted to the few designs near a front can spoil a good order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.table import DesignTable, Section
from mist_dse.metrics import Objective
from mist_dse.rows import Floats, Ints

LEAST = 200
"""Simulations before which nothing is corrected."""

GROWTH = 2
"""Factor between the simulations known at two attempts: putting a large space in order takes a second."""

FALL = 0.2
"""Share by which the cross-validated residual must fall."""

PRIOR = 0.3
"""Designs that the mean residual counts for beside those of one pool."""

EXACT = 1e-6
"""Mean absolute residual below which an estimate is exact, as a rent is: nothing to correct."""


@dataclass(slots=True)
class Refit:
    """``screened``: the screen's figures of the designs of ``table`` by metric; `learn` what was measured, ask for the `order`.

    ``estimates`` [n, m]: the screen's objectives, minimised (`goals.minimised`); ``adopted`` counts the orders that were given.
    """

    table: DesignTable
    objectives: Sequence[Objective]
    screened: Mapping[str, Floats]
    feasible: NDArray[np.bool_]
    estimates: Floats = field(init=False)
    logarithmic: tuple[bool, ...] = field(init=False)
    known: dict[int, Floats] = field(default_factory=dict)
    adopted: int = 0
    tried: int = 0

    def __post_init__(self) -> None:
        self.estimates = minimised(self.screened, self.objectives)
        columns = (self.screened[goal.metric] for goal in self.objectives)
        self.logarithmic = tuple(bool((column[np.isfinite(column)] > 0).all()) for column in columns)

    def learn(self, index: int, values: Sequence[float]) -> None:
        """The objectives of a design as measured; anything infinite or missing teaches nothing."""
        point = self._point(values)
        if np.isfinite(point).all() and np.isfinite(self.estimates[index]).all():
            self.known[index] = point

    def _point(self, values: Sequence[float]) -> Floats:
        """Measured objectives on the axes of the estimates, each of them logarithmic or not."""
        axes = zip(self.objectives, values, self.logarithmic, strict=True)
        return np.array([minimised({goal.metric: [value]}, [goal], logarithmic=log)[0, 0] for goal, value, log in axes], dtype=float)

    @property
    def due(self) -> bool:
        """Whether enough is known for another attempt."""
        return len(self.known) >= max(LEAST, self.tried * GROWTH)

    def order(self) -> Ints | None:
        """The order of all designs by corrected estimates, simulated ones where they were measured; None where the guard objects."""
        self.tried = len(self.known)
        rows = np.fromiter(self.known, dtype=np.int64)
        measured = np.array(list(self.known.values()))
        left = measured - self.estimates[rows]
        corrected, better = self.estimates.copy(), False
        for axis, goal in enumerate(self.objectives):
            own = "prefill" if goal.metric.startswith("ttft") else "decode"
            for role in (own, *({"prefill", "decode"} - {own})):
                groups = _pools(self.table, role)
                helps = validated_fall(left[:, axis], groups[rows]) > FALL
                added = _correction(left[:, axis], groups[rows], groups) if helps else left[:, axis].mean()
                corrected[:, axis] += added
                left[:, axis] -= added[rows] if helps else added
                better |= helps
        if not better:
            return None
        self.adopted += 1
        corrected[rows] = measured
        return screen_order(corrected, self.feasible, [goal.metric for goal in self.objectives])


def validated_fall(residual: Floats, groups: Ints) -> float:
    """Share by which the mean absolute residual falls, each design predicted from the others; 0 where there is nothing to correct.

    >>> round(validated_fall(np.array([1.0, 1.1, -1.0, -1.1]), np.array([0, 0, 1, 1])), 2)
    0.77
    """
    total, count = residual.sum(), len(residual)
    if count < 2:
        return 0.0
    mean = (total - residual) / (count - 1)
    before = np.abs(residual - mean).mean()
    if before < EXACT:
        return 0.0
    label = np.unique(groups, return_inverse=True)[1]
    others = np.bincount(label)[label] - 1
    own = np.bincount(label, weights=residual)[label] - residual
    predicted = mean + (own - others * mean) / (others + PRIOR)
    return float(1 - np.abs(residual - predicted).mean() / before)


def _correction(residual: Floats, groups: Ints, every: Ints) -> Floats:
    """What is added to the estimates of designs of groups ``every``."""
    mean, size = float(residual.mean()), int(every.max()) + 1
    count = np.bincount(groups, minlength=size)
    summed = np.bincount(groups, weights=residual - mean, minlength=size)
    return np.asarray(mean + (summed / (count + PRIOR))[every])


def _pools(table: DesignTable, role: str) -> Ints:
    """A number for each design: the variant of its pool of that role."""
    found: list[Ints] = []
    offset = 0
    for part in table.sections:
        at = _position(part, role)
        found.append(part.variants(np.arange(len(part)))[at] + offset)
        offset += len(part.pools[at])
    return np.concatenate(found)


def _position(part: Section, role: str) -> int:
    return next((number for number, pool in enumerate(part.pools) if pool.role in (role, "both")), 0)
