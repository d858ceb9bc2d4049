"""The ask-evaluate-tell loop: an Optuna study in memory whose every simulated design is a trial.

Batches have a fixed size, so that what is proposed never depends on how many workers there are or how fast they are.
Designs met before (by design id, or read from the parts of an earlier run) are told without being run again.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.study import StudyDirection

from mist_dse.explore.executor import Execute, Lost
from mist_dse.explore.goals import minimised
from mist_dse.explore.record import Evaluator, Row, verdict
from mist_dse.explore.samplers import distributions, suggested
from mist_dse.explore.space import Space
from mist_dse.explore.stopping import Progress, Seen, Stopping
from mist_dse.metrics import Objective, parse_limit
from mist_dse.rows import Floats
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design

CHUNK_SECONDS = 0.2
"""Work in one chunk: long against its dispatch, short against a batch."""

MOST_REPEATS = 400
"""Proposals in a row without a new design after which a sampler has nothing left to propose."""


class Asked(NamedTuple):
    """One trial, the values of its active variables, its design with its id, or why there is none."""

    trial: optuna.Trial
    values: dict[str, Any]
    key: str
    design: Design | None
    refusal: Row | None


@dataclass(slots=True, kw_only=True)
class Loop:
    """A running search. ``rows`` and ``variables`` hold every evaluated design by id, in order of proposal."""

    space: Space
    study: optuna.Study
    evaluator: Evaluator
    execute: Execute
    workers: int
    stopping: Stopping
    designs: float
    batch: int
    exhausted: Callable[[], bool]
    known: dict[str, Row] = field(default_factory=dict)
    finished: Callable[[list[Row]], object] | None = None
    progress: Callable[[Progress], None] | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    seconds_each: float = 0.05
    fresh: int = 0
    working: float = 0.0

    def run(self) -> None:
        """Propose, evaluate and tell until the stopping rule holds or nothing new is proposed."""
        repeats = 0
        while not self.stopping.enough(self.seen, self.designs) and not self.exhausted() and repeats < MOST_REPEATS:
            before, size = self.seen.count, min(self.batch, self.stopping.budget(self.designs) - self.seen.count)
            self._one_batch(size)
            repeats = repeats + size if self.seen.count == before else 0

    def _one_batch(self, size: int) -> None:
        spreads = distributions(self.space)
        asked: list[Asked] = []
        for _ in range(size):
            if self.exhausted() and asked:
                break
            asked.append(self._ask(spreads))
        fresh = {item.key: item for item in asked if item.key and item.key not in self.rows}
        self.variables |= {key: item.values for key, item in fresh.items()}
        self._evaluate([item.design for key, item in fresh.items() if key not in self.known and item.design is not None])
        self.rows |= {key: self.known[key] for key in fresh}
        for item in asked:
            self._tell(item)
        new = [self.rows[key] for key in fresh]
        if new:
            self.seen.add(list(self._points(new)), [bool(row["feasible"]) for row in new])
        self._report()

    def _ask(self, spreads: dict[str, Any]) -> Asked:
        trial = self.study.ask()
        values = suggested(trial, self.space, spreads)
        try:
            design = self.space.design(values)
        except SpecError as error:
            return Asked(trial, values, "", None, self._refusal(1.0, str(error)))
        beyond = self.space.beyond(design, self.evaluator.prices)
        if beyond:
            return Asked(trial, values, "", None, self._refusal(sum(item.margin for item in beyond), beyond[0].constraint))
        return Asked(trial, values, design.design_id, design, None)

    def _refusal(self, violation: float, text: str) -> Row:
        row = verdict((), design_id="", fidelity=self.evaluator.fidelity, seed=self.evaluator.workload.seed)
        return {**row, "feasible": False, "violation": violation, "violations": text}

    def _evaluate(self, designs: list[Design]) -> None:
        size = math.ceil(CHUNK_SECONDS / max(self.seconds_each, 1e-6))
        size = max(1, min(size, math.ceil(len(designs) / (2 * self.workers))))
        chunks = [designs[start : start + size] for start in range(0, len(designs), size)]
        started = time.monotonic()
        with closing(self.execute(self.evaluator, chunks)) as results:
            for number, found in results:
                rows = self._alone(chunks[number]) if isinstance(found, Lost) else found
                if self.finished is not None:
                    self.finished(rows)
                self.known |= {row["design_id"]: row for row in rows}
                self.fresh += len(rows)
                self._report(self.working + time.monotonic() - started)
        self.working += time.monotonic() - started
        if self.fresh:
            self.seconds_each = self.workers * self.working / self.fresh

    def _alone(self, designs: Sequence[Design]) -> list[Row]:
        """Each design of a chunk that killed its worker by itself; those that kill it again are set aside as infeasible."""
        rows: list[Row] = []
        for _, found in self.execute(self.evaluator, [[design] for design in designs]) if len(designs) > 1 else ():
            rows += [] if isinstance(found, Lost) else found
        done = {row["design_id"] for row in rows}
        left = [design.design_id for design in designs if design.design_id not in done]
        return rows + [{**self._refusal(1.0, "its worker process died twice: set aside"), "design_id": key} for key in left]

    def _points(self, rows: Sequence[Row]) -> Floats:
        columns = {goal.metric: np.array([row.get(goal.metric) for row in rows], dtype=float) for goal in self.space.objectives}
        return minimised(columns, self.space.objectives, logarithmic=True)

    def _tell(self, item: Asked) -> None:
        row = item.refusal or self.rows[item.key]
        for name, value in self._constraints(row).items():
            item.trial.set_constraint(name, value)
        item.trial.set_user_attr("design_id", row["design_id"])
        if row["violations"]:
            item.trial.set_user_attr("violations", row["violations"])
        values = [_told(row.get(goal.metric), goal) for goal in self.space.objectives]
        self.study.tell(item.trial, values)

    def _constraints(self, row: Row) -> dict[str, float]:
        """Excess over each constraint, and the whole violation: <= 0 where met."""
        found = {"violation": float(row["violation"])}
        for text in self.evaluator.constraints:
            limit = parse_limit(text)
            found[text] = float(limit.excess(row.get(limit.metric)))
        return found

    def _report(self, working: float | None = None) -> None:
        if self.progress is None:
            return
        spent = working if working is not None else self.working
        rate = self.fresh / spent if spent > 0 else 0.0
        done, total = max(self.fresh, self.seen.count), self.stopping.expected(self.seen, self.designs)
        left = (total - done) / rate if rate > 0 else math.inf
        self.progress(Progress(done, total, rate, left, len(self.seen.front), self.seen.hypervolume))


def new_study(objectives: Sequence[Objective], sampler: optuna.samplers.BaseSampler, name: str) -> optuna.Study:
    """An empty study in memory; Optuna's own log stays silent."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection.MINIMIZE if goal.direction == "min" else StudyDirection.MAXIMIZE for goal in objectives]
    study = optuna.create_study(study_name=name, directions=directions, sampler=sampler)
    study.set_user_attr("objectives", [str(goal) for goal in objectives])
    return study


def _told(value: Any, goal: Objective) -> float:
    """What a study is told: the worst there is where a metric is undefined."""
    if value is None or value != value:
        return math.inf if goal.direction == "min" else -math.inf
    return float(value)
