"""What a finished search proves about its front.

Designs *left* are those that fit, are not saturated for certain (demand up to the screen's band) and were not simulated. A
bound excludes one if it breaks a constraint, or if a simulated feasible design is at least as good as the bound in every
objective: then it is at least as good as the design. At epsilon, as good up to a factor 1 + epsilon.

``exact``: every design left is excluded, so nothing better exists in the space. ``epsilon``: every one is at the largest of
`EPSILONS`. ``none``: some are left on the word of the screen, which estimates and does not bound. ``not certifiable``: an
objective has no bound, so that no amount of bounding could change it. The whole says nothing beyond the workload's seed.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.bounds import BOUNDED, MOST_BOUNDS, Floors, design_bounds
from mist_dse.explore.executor import Execute, serial
from mist_dse.explore.goals import minimised
from mist_dse.explore.poolscreen import BAND
from mist_dse.explore.screening import ScreenTable
from mist_dse.explore.space import Space
from mist_dse.metrics import METRICS, Limit, parse_limit
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

EPSILONS = {"0": 0.0, "0.02": 0.02}
"""Slack at which exclusions by bound are counted; below the seed noise a smaller one would mean nothing."""

ROUNDING = 1e-9
"""Relative error of sums in floating point, by which every bound is weakened."""

ROWS = 1 << 16
"""Designs compared with the front at once."""


class Asked(NamedTuple):
    """What the search was asked, and where bounds are taken."""

    space: Space
    workload: Workload
    requests: Requests
    prices: PriceBook
    execute: Execute = serial


@dataclass(frozen=True, slots=True)
class Certificate:
    """``found`` and its ``reason``; ``left``: designs neither simulated nor infeasible for certain; how many of them a bound
    ``excluded`` at each epsilon (None: bounds were not taken)."""

    found: str
    reason: str
    left: int | None = None
    excluded: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(EPSILONS))

    def as_manifest(self) -> dict[str, Any]:
        """The entries of the manifest."""
        return {"certificate": self.found, "certificate_reason": self.reason, "left_unsimulated": self.left,
                "excluded_by_bound": self.excluded}  # fmt: skip


def unscreened(space: Space) -> Certificate:
    """The certificate of a search that did not enumerate its space."""
    unbounded = _unbounded(space)
    if unbounded:
        return Certificate("not certifiable", f"no bound exists for {', '.join(unbounded)}")
    return Certificate("none", "the designs of the space were not enumerated, so nothing is known of those not simulated")


def certificate(asked: Asked, screened: ScreenTable, simulated: Ints, front: Floats) -> Certificate:
    """What designs ``simulated`` with objectives ``front`` [n, m] (as measured, in the order of the objectives) prove."""
    left = unsimulated(screened, simulated)
    if not left.size:
        return Certificate("exact", "every design that fits and is not saturated was simulated", 0, dict.fromkeys(EPSILONS, 0))
    unbounded = _unbounded(asked.space)
    if unbounded:
        return Certificate("not certifiable", f"no bound exists for {', '.join(unbounded)}", int(left.size))
    masks = excluded(asked, screened, left, front)
    if masks is None:
        reason = f"the designs left are of more than {MOST_BOUNDS:,} combinations of engines, so their bounds were not taken"
        return Certificate("none", reason, int(left.size))
    counts: dict[str, int | None] = {name: int(mask.sum()) for name, mask in masks.items()}
    for found, name in (("exact", "0"), ("epsilon", "0.02")):
        if counts[name] == left.size:
            text = f"every one of the {left.size:,} designs left is excluded by its bound at epsilon {name}"
            return Certificate(found, text, int(left.size), counts)
    reason = (
        f"{left.size - masks['0.02'].sum():,} of the {left.size:,} designs left are not excluded by their bounds, only ranked by the screen"
    )
    return Certificate("none", reason, int(left.size), counts)


def unsimulated(screened: ScreenTable, simulated: Ints) -> Ints:
    """Designs that may be feasible and were not simulated, ascending."""
    may = screened.demand <= BAND[1]
    may[simulated] = False
    return np.flatnonzero(may)


def excluded(asked: Asked, screened: ScreenTable, left: Ints, front: Floats) -> dict[str, NDArray[np.bool_]] | None:
    """Which of the designs ``left`` a bound excludes at each epsilon; None where bounds were not taken."""
    goals, limits = asked.space.objectives, _limits(asked)
    names = list(dict.fromkeys([*(goal.metric for goal in goals), *(limit.metric for limit in limits)]))
    floors = Floors(asked.workload, asked.requests)
    bounds = design_bounds(screened.table, left, names, floors=floors, prices=asked.prices, execute=asked.execute)
    if bounds is None:
        return None
    weaker = {name: values * (1 - ROUNDING if METRICS[name].direction == "min" else 1 + ROUNDING) for name, values in bounds.items()}
    broken = np.zeros(len(left), dtype=bool)
    for limit in limits:
        known = ~np.isnan(weaker[limit.metric])
        broken[known] |= limit.excess(weaker[limit.metric][known]) > 0
    points = minimised(weaker, goals, logarithmic=True)
    reached = minimised({goal.metric: front[:, column] for column, goal in enumerate(goals)}, goals, logarithmic=True)
    return {name: broken | _reached(points + np.log10(1 + slack), reached) for name, slack in EPSILONS.items()}


def _reached(points: Floats, front: Floats) -> NDArray[np.bool_]:
    """Which points some member of the front equals or beats in every axis."""
    found = np.zeros(len(points), dtype=bool)
    for low in range(0, len(points) if len(front) else 0, ROWS):
        block = points[low : low + ROWS]
        for member in front:
            found[low : low + ROWS] |= (member <= block).all(axis=1)
    return found


def _limits(asked: Asked) -> list[Limit]:
    """Limits that a bound can break: upper ones where less is better, lower ones where more is."""
    texts = (*asked.space.constraints, *(asked.workload.slo.limits if asked.workload.slo else ()))
    limits = [parse_limit(text) for text in texts]
    return [limit for limit in limits if limit.metric in BOUNDED and (limit.op[0] == "<") == (METRICS[limit.metric].direction == "min")]


def _unbounded(space: Space) -> list[str]:
    """Objectives without a bound in their direction."""
    return [goal.metric for goal in space.objectives if goal.metric not in BOUNDED or goal.direction != METRICS[goal.metric].direction]
