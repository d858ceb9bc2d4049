"""What to simulate and in which order: a space screened, whole or as the designs of its first fronts, or why it is not."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from mist_dse.explore.errors import EmptySpaceError, LargeSpaceError, UnscreenableError
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.screening import METRICS, ScreenTable, screen
from mist_dse.explore.screens.shortlist import Shortlist, shortlist
from mist_dse.explore.searches.options import Search
from mist_dse.explore.searches.order import ALARM_SHARE, screen_order, with_alarms
from mist_dse.explore.searches.outcome import named, nothing_feasible
from mist_dse.explore.searches.refit import Refit
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.rows import Ints

EVERY = 256
"""Most designs that are all simulated, in their order, where no estimate puts them in a better one."""

WHOLE = 500_000
"""Most designs that are put in order as a whole, in seconds; of larger spaces those of the first fronts are."""

NONE: Ints = np.zeros(0, dtype=np.int64)

Phase = Callable[[str], AbstractContextManager[None]]
"""Times what happens inside, under a name."""


class Plan(NamedTuple):
    """The ``order`` in which to simulate designs of ``table``, those ``drawn`` at random among them, and the screen that it comes from;
    without a screen, the ``reason``."""

    reason: str = ""
    table: DesignTable | None = None
    order: Ints = NONE
    drawn: Ints = NONE
    screened: ScreenTable | None = None
    listed: Shortlist | None = None

    @property
    def all_of(self) -> int | None:
        """How many designs there are, where all are to be simulated, in no order."""
        return len(self.table) if self.table is not None and self.screened is None and self.listed is None else None

    @property
    def complete(self) -> bool:
        """Whether the order holds every design that can be feasible, so that nothing is left to search after it."""
        if self.listed is not None:
            return False
        if self.screened is None:
            return self.table is not None
        return len(self.order) == int((self.screened.demand < 1).sum())

    def refit(self, space: Space) -> Refit | None:
        """What corrects the order as designs are simulated; None where the screen does not give every objective."""
        if self.screened is None or any(goal.metric not in METRICS for goal in space.objectives):
            return None
        return Refit(self.screened.table, space.objectives, self.screened.metrics, self.screened.feasible)

    def indices(self, taken: Ints, variables: Mapping[str, Mapping[str, Any]]) -> Ints:
        """Indices in the screened table of the designs simulated: those ``taken`` from the order, and others by their variables."""
        if self.screened is None or len(variables) <= len(taken):
            return taken
        known = {named(values) for values in variables.values()}
        rest = np.setdiff1d(np.flatnonzero(self.screened.demand <= BAND[1]), taken)
        later = [index for index in rest.tolist() if named(self.screened.table.values(index)) in known]
        return np.concatenate([taken, np.array(later, dtype=np.int64)])


def screen_counts(plan: Plan) -> dict[str, Any]:
    """What the manifest says of the space: its designs, the grid they stem from, those screened and what the screen thought of them."""
    screened, listed = plan.screened, plan.listed
    if listed is not None:
        counts, refused = listed.counts, listed.refused
        sizes = {"screened": counts.screened, "screened_fits": counts.fits, "screened_saturated": counts.saturated,
                 "screened_feasible": counts.feasible}  # fmt: skip
    elif screened is not None:
        fits, refused = np.isfinite(screened.demand), screened.refused
        sizes = {"screened": len(screened), "screened_fits": int(fits.sum()), "screened_saturated": int((screened.demand >= 1).sum()),
                 "screened_feasible": int(screened.feasible.sum())}  # fmt: skip
    elif plan.table is not None:
        return {"designs_in_space": len(plan.table), "grid": plan.table.grid, "screened": 0, "screened_feasible": None, "pools_refused": []}
    else:
        return {"designs_in_space": None, "grid": None, "screened": 0, "screened_feasible": None, "pools_refused": []}
    assert plan.table is not None
    head = {"designs_in_space": len(plan.table), "grid": plan.table.grid}
    return {**head, **sizes, "pools_refused": [reason.constraint for reason in refused]}


def planned(space: Space, evaluator: Evaluator, search: Search, phase: Phase) -> Plan:
    """The screen and its order, where the sampler follows a screen and there is one to follow."""
    if search.tuning["name"] != "screen":
        return Plan(f"search {search.tuning['name']} takes no screen")
    blind = ""
    if evaluator.requests.clients:
        blind = "a closed loop has no rate to screen at"
    elif not any(goal.metric in METRICS for goal in space.objectives):
        blind = "no objective has an estimate to screen by"
    with phase("enumerate"):
        try:
            table = space.table(evaluator.prices)
        except LargeSpaceError as error:
            return Plan(f"{error}: NSGA-II searches instead")
    if blind:
        return _unscreened(table, search, blind)
    with phase("screen"):
        try:
            return (_listed if len(table) > WHOLE else _screened)(space, evaluator, search, table)
        except UnscreenableError as error:
            return _unscreened(table, search, error.why)


def _screened(space: Space, evaluator: Evaluator, search: Search, table: DesignTable) -> Plan:
    goals = [goal for goal in space.objectives if goal.metric in METRICS]
    wanted = [goal.metric for goal in goals]
    found = screen(space, evaluator.workload, prices=evaluator.prices, requests=evaluator.requests, metrics=wanted, table=table)
    order = screen_order(minimised(found.metrics, goals), found.feasible, wanted)
    if not order.size:
        raise EmptySpaceError(nothing_feasible(found, space.constraints))
    order, drawn = with_alarms(order, search.seed, search.tuning.get("alarm", ALARM_SHARE))
    return Plan(table=table, order=order, drawn=order[drawn], screened=found)


def _listed(space: Space, evaluator: Evaluator, search: Search, table: DesignTable) -> Plan:
    found = shortlist(space, evaluator.workload, prices=evaluator.prices, requests=evaluator.requests, table=table)
    if not len(found):
        raise EmptySpaceError(f"none of the {len(table):,} designs is feasible by the screen: {found.counts.saturated:,} are saturated")
    wanted = [goal.metric for goal in space.objectives if goal.metric in METRICS]
    order = found.index[screen_order(found.points, np.ones(len(found), dtype=bool), wanted)]
    order, drawn = with_alarms(order, search.seed, search.tuning.get("alarm", ALARM_SHARE), found.drawn)
    reason = f"of {len(table):,} designs the {len(found):,} of the first {found.fronts} fronts were put in order"
    return Plan(reason, table, order, order[drawn], listed=found)


def _unscreened(table: DesignTable, search: Search, reason: str) -> Plan:
    """All designs in their order where they are few."""
    if len(table) > (search.evaluations or EVERY):
        return Plan(f"{reason}: NSGA-II searches instead")
    return Plan(f"{reason}: all of them are simulated", table, np.arange(len(table)))
