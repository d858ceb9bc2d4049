"""The ask-evaluate-tell loop: an Optuna study in memory whose every simulated design is a trial.

Batches have a fixed size, so that what is proposed never depends on how many workers there are or how fast they are. As long as
proposals follow an order, the next batch is handed in before this one is told, and workers never wait. Designs met before, and those
whose outcome another design shows (`twins`), are told without being run; those that short runs discard (`fidelity`) are pruned.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from mist_dse.explore.runs.chunks import Chunks
from mist_dse.explore.runs.journal import named
from mist_dse.explore.runs.record import Row
from mist_dse.explore.searches.fidelity import ShortRuns
from mist_dse.explore.searches.samplers import distributions, suggested
from mist_dse.explore.searches.stopping import Progress, Seen, Stopping
from mist_dse.explore.searches.twins import Classes, Group, group
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.space import Space
from mist_dse.metrics import METRICS, Objective, parse_limit
from mist_dse.rows import Floats
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design

MOST_REPEATS = 400
"""Proposals in a row without a new design after which a sampler has nothing left to propose."""


class Asked(NamedTuple):
    """One trial, the values of its active variables, its design with its id, or why there is none."""

    trial: optuna.Trial
    values: dict[str, Any]
    key: str
    design: Design | None
    refusal: Row | None = None


class Batch(NamedTuple):
    """Trials asked for together, and those with ``fresh`` designs by id: ``begun`` are evaluated, others are known or ``waiting``."""

    asked: list[Asked]
    fresh: dict[str, Asked]
    waiting: dict[str, Asked]
    begun: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Loop:
    """A running search. ``rows`` and ``variables`` hold every evaluated design by id, in order of proposal.

    ``listed``: whether a trial, by its number, has a design of the enumerated space, which is within its limits. ``ahead``: whether
    the next proposals depend on nothing that has yet to be told; ``proved`` (None: nothing is proved): whether nothing is left to
    simulate, asked once the stopping rule holds; ``given``: ids of designs whose rows came from another run.
    """

    space: Space
    study: optuna.Study
    chunks: Chunks
    stopping: Stopping
    designs: float
    batch: int
    exhausted: Callable[[], bool]
    listed: Callable[[int], bool] = lambda number: False
    ahead: Callable[[], bool] = lambda: False
    proved: Callable[["Loop"], bool] | None = None
    classes: Classes | None = None
    shorts: ShortRuns | None = None
    given: frozenset[str] = frozenset()
    progress: Callable[[Progress], None] | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    copied: int = 0
    _proving: bool = False
    _flying: dict[str, Asked] = field(default_factory=dict)

    def run(self) -> None:
        """Propose, evaluate and tell until the stopping rule holds or nothing new is proposed."""
        repeats, under_way = 0, deque[Batch]()
        try:
            while True:
                while len(under_way) < (2 if self.ahead() else 1) and repeats < MOST_REPEATS and self._goes_on():
                    under_way.append(self._begun(self._size()))
                if not under_way:
                    return
                before, batch = len(self.rows), under_way.popleft()
                self._finish(batch)
                repeats = repeats + len(batch.asked) if len(self.rows) == before else 0
        except BaseException:
            self.rows |= {key: self.chunks.known[key] for key in self._flying if key in self.chunks.known}
            raise
        finally:
            self.chunks.close()

    def _goes_on(self) -> bool:
        flying = len(self._flying)
        if self.stopping.spent(self.seen, flying):
            return False
        if not self.exhausted() and self.seen.spent + flying < self.stopping.expected(self.seen, self.designs):
            return True
        if self.proved is None or flying:
            return False
        self._proving = True
        return not self.proved(self)

    def _size(self) -> int:
        if self.proved is not None and self.stopping.evaluations is None:
            return self.batch
        return max(1, min(self.batch, self.stopping.budget(self.designs) - int(self.seen.spent) - len(self._flying)))

    def _begun(self, size: int) -> Batch:
        """Trials asked for, and what is new of them handed in."""
        spreads, ordered = distributions(self.space), self.ahead()
        asked: list[Asked] = []
        for _ in range(size):
            if asked and (self.exhausted() or (ordered and not self.ahead())):
                break
            asked.append(self._ask(spreads))
        new = {item.key: item for item in asked if item.key and item.key not in self.rows and item.key not in self._flying}
        discarded = self._discarded(new)
        fresh = {key: item for key, item in new.items() if key not in discarded}
        self.variables |= {key: item.values for key, item in fresh.items()}
        self._class(item for key, item in fresh.items() if key in self.chunks.known)
        batch = Batch(asked, fresh, {key: item for key, item in fresh.items() if key not in self.chunks.known}, {})
        self._hand_in(batch, {group(item.values) for item in self._flying.values()} if self.classes is not None else set())
        self._flying |= fresh
        return batch

    def _discarded(self, new: dict[str, Asked]) -> set[str]:
        if self.shorts is None or self._proving:
            return set()
        found = self.shorts.discarded({key: item.design for key, item in new.items() if item.design and key not in self.chunks.known})
        self.seen.short = self.shorts.spent
        return found

    def _hand_in(self, batch: Batch, busy: set[Group]) -> None:
        """Begin what waits in a batch, one of each class that is not ``busy``: it may show the outcome of the others."""
        work: dict[str, Any] = {}
        for key, item in batch.waiting.items():
            assert item.design is not None
            if self.classes is None:
                work[key] = item.design
                continue
            mine = group(item.values)
            twin = self.classes.twin(mine, item.design)
            if twin is not None or mine not in busy:
                busy.add(mine)
                work[key] = twin or item.design
        for key in work:
            del batch.waiting[key]
        batch.begun.update(work)
        self.chunks.begin(work)

    def _finish(self, batch: Batch) -> None:
        """Wait for a batch, hand in what waited for others of it, and tell its trials in the order in which they were asked."""
        self._join(batch)
        while batch.waiting:
            self._hand_in(batch, set())
            self._join(batch)
        for key in batch.fresh:
            del self._flying[key]
        self._take_in(batch)

    def _join(self, batch: Batch) -> None:
        self.chunks.finish(batch.begun, self._report)
        self._class(batch.fresh[key] for key in batch.begun)
        batch.begun.clear()

    def _class(self, items: Iterable[Asked]) -> None:
        """Known designs, whose outcome others may share."""
        for item in items:
            if self.classes is not None and item.design is not None:
                self.classes.add(group(item.values), item.design, self.chunks.known[item.key])

    def _take_in(self, batch: Batch) -> None:
        new = [self.chunks.known[key] for key in batch.fresh]
        self.rows |= {row["design_id"]: row for row in new}
        for item in batch.asked:
            self._tell(item)
        if new:
            copied = sum(bool(row.get("same_as")) for row in new)
            self.copied += copied
            given = sum(row["design_id"] in self.given and not row.get("same_as") for row in new)
            self.seen.add(list(self._points(new)), [bool(row["feasible"]) for row in new], copied + given)
        self._report()

    def _ask(self, spreads: dict[str, Any]) -> Asked:
        trial = self.study.ask()
        values = suggested(trial, self.space, spreads)
        refusal = self.chunks.evaluator.refusal
        try:
            design = self.space.design(values)
        except SpecError as error:
            return Asked(trial, values, "", None, refusal(1.0, str(error)))
        beyond = () if self.listed(trial.number) else self.space.beyond(design, self.chunks.evaluator.prices)
        if beyond:
            return Asked(trial, values, "", None, refusal(sum(item.margin for item in beyond), beyond[0].constraint))
        return Asked(trial, values, design.design_id, design)

    def _points(self, rows: Sequence[Row]) -> Floats:
        columns = {goal.metric: np.array([row.get(goal.metric) for row in rows], dtype=float) for goal in self.space.objectives}
        return minimised(columns, self.space.objectives, logarithmic=True)

    def _tell(self, item: Asked) -> None:
        row = item.refusal or self.rows.get(item.key)
        if row is None:
            item.trial.set_user_attr("design_id", item.key)
            item.trial.set_user_attr("discarded", f"by a run of {self.shorts.share:.0%} of the requests" if self.shorts else "")
            self.study.tell(item.trial, state=TrialState.PRUNED)
            return
        for name, value in self._constraints(row).items():
            item.trial.set_constraint(name, value)
        item.trial.set_user_attr("design_id", row["design_id"])
        if row["violations"]:
            item.trial.set_user_attr("violations", row["violations"])
        if row.get("same_as"):
            item.trial.set_user_attr("same_as", row["same_as"])
        values = [_told(row.get(goal.metric), goal) for goal in self.space.objectives]
        self.study.tell(item.trial, values)

    def _constraints(self, row: Row) -> dict[str, float]:
        """Excess over each constraint, and the whole violation: <= 0 where met."""
        found = {"violation": float(row["violation"])}
        for text in self.chunks.evaluator.constraints:
            limit = parse_limit(text)
            found[text] = float(limit.excess(row.get(limit.metric)))
        return found

    def _report(self, working: float | None = None) -> None:
        if self.progress is None:
            return
        spent = working if working is not None else self.chunks.working
        rate = self.chunks.fresh / spent if spent > 0 else 0.0
        done, total = max(self.chunks.fresh - self.copied, self.seen.count), self.stopping.expected(self.seen, self.designs)
        left = (total - done) / rate if rate > 0 else math.inf
        self.progress(Progress(done, total, rate, left, len(self.seen.front), self.seen.hypervolume))


def new_study(objectives: Sequence[Objective], sampler: optuna.samplers.BaseSampler, name: str) -> optuna.Study:
    """An empty study in memory; Optuna's own log stays silent."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection.MINIMIZE if goal.direction == "min" else StudyDirection.MAXIMIZE for goal in objectives]
    study = optuna.create_study(study_name=name, directions=directions, sampler=sampler)
    named(study, [_with_unit(goal.metric) for goal in objectives])
    study.set_user_attr("objectives", [str(goal) for goal in objectives])
    return study


def _with_unit(metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{metric} [{unit}]" if unit else metric


def _told(value: Any, goal: Objective) -> float:
    """What a study is told: the worst there is where a metric is undefined."""
    if value is None or value != value:
        return math.inf if goal.direction == "min" else -math.inf
    return float(value)
