"""What a finished search proves about its front.

Designs *left* are those that fit, are not saturated (the demand function decides, also within the screen's band) and were not simulated.
A bound excludes one if it breaks a constraint, or if a simulated feasible design is at least as good as the bound in every
objective: then it is at least as good as the design. At epsilon, as good up to a factor 1 + epsilon.

``exact``: every design left is excluded, so nothing better exists in the space. ``epsilon``: every one is at the largest of
`EPSILONS`. ``none``: some are left on the word of the screen, which estimates and does not bound, or a simulated design is better than
its own bound, which no bound allows: an alarm. ``not certifiable``: an objective has no bound, so that no amount of bounding could change
it. The whole says nothing beyond the workload's seed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.proofs.bounds import MOST_BOUNDS, Asked, Bounds, unbounded
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.screening import ScreenTable
from mist_dse.explore.spaces.space import Space
from mist_dse.rows import Floats, Ints

__all__ = ["EPSILONS", "Asked", "Certificate", "certificate", "excluded", "unscreened", "unsimulated"]

EPSILONS = {"0": 0.0, "0.02": 0.02}
"""Slack at which exclusions by bound are counted; below the seed noise a smaller one would mean nothing."""


MOST_PAIRS = 250
"""Most designs left that are bounded pair by pair, a few ms each, where the search was not asked to go on until it is certified."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """``found`` and its ``reason``; ``left``: designs neither simulated nor infeasible for certain; how many of them a bound
    ``excluded`` at each epsilon (None: bounds were not taken); ``simulated``: share of the designs of the space (None: not counted)."""

    found: str
    reason: str
    left: int | None = None
    excluded: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(EPSILONS))
    simulated: float | None = None

    def as_manifest(self) -> dict[str, Any]:
        """The entries of the manifest."""
        return {"certificate": self.found, "certificate_reason": self.reason, "left_unsimulated": self.left,
                "excluded_by_bound": self.excluded, "share_simulated": self.simulated}  # fmt: skip


def unscreened(space: Space, *, enumerated: bool = False) -> Certificate:
    """The certificate of a search without a screen."""
    if names := unbounded(space):
        return Certificate("not certifiable", f"no bound exists for {', '.join(names)}")
    how = "screened" if enumerated else "enumerated"
    return Certificate("none", f"the designs of the space were not {how}, so nothing is known of those not simulated")


def certificate(asked: Asked, screened: ScreenTable, simulated: Ints, front: Floats, *, measured: Floats | None = None,
                bounds: Bounds | None = None) -> Certificate:  # fmt: skip
    """What designs ``simulated`` with objectives ``front`` [n, m] (as measured, in the order of the objectives) prove.

    ``measured`` [len(simulated), m]: objectives of each of them, held against its own bound; ``bounds``: those of the search where it has
    taken them.
    """
    share = len(np.unique(simulated)) / max(len(screened), 1)
    left = unsimulated(screened, simulated)
    if not left.size:
        return Certificate("exact", "every design that fits and is not saturated was simulated", 0, dict.fromkeys(EPSILONS, 0), share)
    if names := unbounded(asked.space):
        return Certificate("not certifiable", f"no bound exists for {', '.join(names)}", int(left.size), simulated=share)
    taken = bounds if bounds is not None else Bounds.taken(asked, screened)
    if taken is None:
        reason = f"the designs left are of more than {MOST_BOUNDS:,} combinations of engines, so their bounds were not taken"
        return Certificate("none", reason, int(left.size), simulated=share)
    if measured is not None and (beyond := taken.violated(simulated, measured)).size:
        reason = f"{beyond.size:,} of {len(simulated):,} simulated designs are better than their own bound: the bounds are wrong, report it"
        return Certificate("none", reason, int(left.size), simulated=share)
    rest = {}
    for name, slack in reversed(EPSILONS.items()):
        remaining = taken.left(front, simulated, slack)
        if bounds is not None or remaining.size <= MOST_PAIRS:
            taken, remaining = taken.remaining(front, simulated, slack)
        rest[name] = int(remaining.size)
    return _by_rest(int(left.size), rest, share)


def _by_rest(left: int, rest: dict[str, int], share: float) -> Certificate:
    """The certificate where bounds leave ``rest`` of the ``left`` designs at each epsilon."""
    counts: dict[str, int | None] = {name: left - count for name, count in rest.items()}
    for found, name in (("exact", "0"), ("epsilon", "0.02")):
        if rest[name] == 0:
            return Certificate(
                found, f"every one of the {left:,} designs left is excluded by its bound at epsilon {name}", left, counts, share
            )
    reason = f"{rest['0.02']:,} of the {left:,} designs left are not excluded by their bounds, only ranked by the screen"
    return Certificate("none", reason, left, counts, share)


def unsimulated(screened: ScreenTable, simulated: Ints) -> Ints:
    """Designs that may be feasible and were not simulated, ascending."""
    may = screened.demand <= BAND[1]
    may[simulated] = False
    return np.flatnonzero(may)


def excluded(asked: Asked, screened: ScreenTable, left: Ints, front: Floats) -> dict[str, NDArray[np.bool_]] | None:
    """Which of the designs ``left`` a bound, or the demand function, excludes at each epsilon; None where bounds were not taken."""
    taken = Bounds.taken(asked, screened)
    if taken is None:
        return None
    others = np.setdiff1d(np.arange(len(screened)), left)
    return {name: ~np.isin(left, taken.left(front, others, slack)) for name, slack in EPSILONS.items()}
