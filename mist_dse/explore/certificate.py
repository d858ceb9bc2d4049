"""What a finished search proves about its front.

``exact``: every design that fits and is not saturated was simulated, so nothing better exists in the space. ``none``:
designs were left out on the word of the screen, which estimates and does not bound. ``not certifiable``: the same, and an
objective has no bound at all, so that no amount of bounding could change it.
"""

from typing import Any

import numpy as np

from mist_dse.explore.goals import Objective
from mist_dse.explore.screening import ScreenTable
from mist_dse.metrics import METRICS

EPSILONS = ("0", "0.02")
"""Slack at which exclusions by bound are counted; below the seed noise a smaller one would mean nothing."""


def certificate(objectives: tuple[Objective, ...], simulated: int, screened: ScreenTable | None) -> dict[str, Any]:
    """``certificate`` and its reason, and how many designs a bound excluded at each epsilon (null: bounds were not taken)."""
    open_designs = int((np.isfinite(screened.demand) & (screened.demand < 1)).sum()) if screened is not None else None
    unbounded = [goal.metric for goal in objectives if METRICS[goal.metric].bound is None]
    found, reason = "none", "designs beyond the screen's order were not simulated, and their bounds were not taken"
    if open_designs is not None and simulated >= open_designs:
        found, reason = "exact", "every design that fits and is not saturated was simulated"
    elif unbounded:
        found, reason = "not certifiable", f"no bound exists for {', '.join(unbounded)}"
    return {"certificate": found, "certificate_reason": reason, "excluded_by_bound": dict.fromkeys(EPSILONS)}
