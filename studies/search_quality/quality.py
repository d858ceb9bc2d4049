"""How much of a true front a search has found after so many simulations, which it looks up in a truth table instead of running them.

Quality: hypervolume on log axes over the box of the true front (reference: its nadir + 10%), as a share of that of the true front;
and the share of the front's members found. A share of simulations is that of all designs of the space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from spaces import OBJECTIVES, space, truth, workload

from mist_dse.catalog import Catalog
from mist_dse.explore.front import front_mask, hypervolume
from mist_dse.explore.runs.chunks import Chunks
from mist_dse.explore.runs.executor import serial
from mist_dse.explore.runs.record import Evaluator, Row
from mist_dse.explore.searches.fidelity import ShortRuns
from mist_dse.explore.searches.options import Search
from mist_dse.explore.searches.plan import Plan, planned
from mist_dse.explore.searches.samplers import ScreenSampler, named_sampler
from mist_dse.explore.searches.search import Clock
from mist_dse.explore.searches.stopping import Stopping
from mist_dse.explore.searches.study import Loop, new_study
from mist_dse.explore.searches.twins import Classes, Group, Twin
from mist_dse.requests import realise
from mist_dse.specs.design import Design

SHARES = {"large": (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05), "small": (0.005, 0.01, 0.02, 0.05)}
"""Shares of the designs simulated at which quality is printed."""

SMALL = 10_000
"""Most designs of a small space."""

TRIALS = {"tpe": 1500, "screen": 1 << 20, "screen without refit": 1 << 20}
"""Most proposals of a sampler (`MANY`: of any other): those that know nothing of limits propose ten designs in eleven beyond those of
the large spaces, genetic ones repeat themselves, and each proposal takes longer than the last, up to 40 ms."""

MANY = 4000


@dataclass(frozen=True)
class Case:
    """A space with two or three objectives under one trace, its plan and its truth."""

    name: str
    trace: str
    objectives: int

    @property
    def goals(self) -> list[str]:
        """The metrics to minimise."""
        return [goal.removeprefix("min ") for goal in OBJECTIVES[: self.objectives]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp(Evaluator):
    """Rows of designs from a truth table; with fewer requests than it was made with, by simulation."""

    table: pd.DataFrame
    index_of: Mapping[str, int]
    whole: int

    def __call__(self, designs: Sequence[Design | Twin]) -> list[Row]:
        """Rows of designs, and of those that show the outcome of another."""
        return [self.row(one) if isinstance(one, Design) else self.row(one.design) | {"same_as": one.like.design_id} for one in designs]

    def row(self, design: Design) -> Row:
        """The row of one design."""
        if len(self.requests.arrival) < self.whole:
            return super(LookUp, self).row(design)
        found = self.table.iloc[self.index_of[design.design_id]]
        if not found["feasible"]:
            return self.refusal(1.0, "saturated", design.design_id)
        known = {goal.removeprefix("min "): float(found[goal.removeprefix("min ")]) for goal in OBJECTIVES}
        return {**self.refusal(0.0, "", design.design_id), "feasible": True, **known}


class Runs(Classes):
    """Outcome classes as the truth table knows them: designs of one run."""

    def __init__(self, asked: LookUp) -> None:
        super().__init__()
        self.asked, self.shown = asked, dict[int, tuple[Design, Row]]()

    def _run(self, design: Design) -> int:
        return int(self.asked.table["run"].iloc[self.asked.index_of[design.design_id]])

    def add(self, group: Group, design: Design, row: Row) -> None:
        """A design that was simulated, with its row."""
        self.shown.setdefault(self._run(design), (design, row))

    def twin(self, group: Group, design: Design) -> Twin | None:
        """One of the same run."""
        known = self.shown.get(self._run(design))
        return None if known is None else Twin(design, *known)


class Scale:
    """The true front of a case, and what share of it designs have found."""

    def __init__(self, table: pd.DataFrame, goals: list[str]) -> None:
        points = np.log10(table[goals].to_numpy(dtype=float, copy=True))
        points[~table["feasible"].to_numpy(dtype=bool)] = np.nan
        front = points[front_mask(points)]
        low, high = front.min(axis=0), front.max(axis=0)
        self.points, self.reference = (points - low) / (high - low), np.full(len(goals), 1.1)
        place = {tuple(member): number for number, member in enumerate(np.round(front, 12))}
        self.member = np.array([place.get(tuple(point), -1) for point in np.round(points, 12)])
        self.members, self.volume = len(front), hypervolume((front - low) / (high - low), self.reference)

    def of(self, index: np.ndarray) -> tuple[float, float]:
        """Share of the hypervolume and of the members among designs ``index``."""
        found = hypervolume(self.points[index], self.reference) / self.volume
        return found, len(set(self.member[index].tolist()) - {-1}) / self.members


@cache
def index_of(name: str) -> dict[str, int]:
    """Index of each design of a space by its id."""
    table = space(name).table(Catalog().prices("default"))
    return {table.design(index).design_id: index for index in range(len(table))}


@cache
def scene(case: Case) -> tuple[LookUp, Plan, Scale]:
    """Evaluator, plan of the screen, and truth."""
    load, table, prices = workload(case.name, case.trace), truth(case.name, case.trace), Catalog().prices("default")
    drawn = realise(load)
    evaluator = LookUp(workload=load, requests=drawn, prices=prices, table=table, index_of=index_of(case.name), whole=len(drawn.arrival))
    plan = planned(space(case.name, objectives=OBJECTIVES[: case.objectives]), evaluator, Search(), Clock().phase)
    return evaluator, plan, Scale(table, case.goals)


def simulated(case: Case, sampler: str, most: int, *, seed: int = 0, short: float | None = None) -> tuple[np.ndarray, Loop]:
    """Indices of the designs whose outcome a search learns from ``most`` simulations, in their order, and the search. Samplers: those of
    ``search=``, ``screen without refit``, and ``nsga2 from the screen's front``."""
    evaluator, plan, _ = scene(case)
    asked = space(case.name, objectives=OBJECTIVES[: case.objectives])
    follows: Any = named_sampler("nsga2" if " " in sampler or sampler == "screen" else sampler, seed=seed, objectives=case.objectives)
    if " " in sampler or sampler == "screen":
        refit = plan.refit(asked) if sampler == "screen" else None
        follows = ScreenSampler(
            asked, plan.table, estimated_front(plan, case) if "front" in sampler else plan.order, after=follows, refit=refit
        )
    loop = Loop(
        space=asked,
        study=new_study(asked.objectives, follows, case.name),
        chunks=Chunks(evaluator=evaluator, execute=serial, workers=1),
        stopping=Stopping(evaluations=most),
        designs=len(evaluator.table),
        batch=96 if isinstance(follows, ScreenSampler) and "front" not in sampler else 50 if "nsga" in sampler else 8,
        classes=Runs(evaluator),
        exhausted=lambda: len(loop.study.get_trials(deepcopy=False)) >= TRIALS.get(sampler, MANY),
        listed=lambda number: number in getattr(follows, "index_of", {}),
    )
    if short is not None:
        loop.shorts = ShortRuns.over(short, asked.objectives, evaluator, serial, 1)
    loop.run()
    return np.array([evaluator.index_of[key] for key in loop.rows], dtype=np.int64), loop


def estimated_front(plan: Plan, case: Case) -> np.ndarray:
    """The designs that the screen puts on its front."""
    assert plan.screened is not None
    estimates = np.column_stack([plan.screened.metrics[goal] for goal in case.goals])
    estimates[~plan.screened.feasible] = np.nan
    return np.flatnonzero(front_mask(estimates))


def curve(case: Case, sampler: str) -> list[tuple[float, float]]:
    """Quality of a sampler at each of the shares of its space; nan beyond what a slow one is given."""
    size = len(scene(case)[0].table)
    shares = SHARES["small" if size <= SMALL else "large"]
    counts = [max(round(share * size), 1) for share in shares]
    found, loop = simulated(case, sampler, counts[-1])
    runs = np.cumsum([not row.get("same_as") for row in loop.rows.values()])
    # a sampler that ran out of proposals is shown once more, with all that it has found
    reached = sum(count <= runs[-1] for count in counts) + 1
    known = [found[: np.searchsorted(runs, count, side="right")] for count in counts]
    return [scene(case)[2].of(each) if place < reached else (float("nan"), float("nan")) for place, each in enumerate(known)]
