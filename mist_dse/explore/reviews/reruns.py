"""Designs near a front simulated again, at other rates and with other seeds: the same designs in every run, common random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.runs.chunks import Chunks
from mist_dse.explore.runs.executor import Executor, serial
from mist_dse.explore.runs.record import Evaluator, Row
from mist_dse.explore.screens.screening import METRICS, screen
from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.space import Space
from mist_dse.requests import paced, realise
from mist_dse.rows import Requests
from mist_dse.specs.design import Design


@dataclass(frozen=True, slots=True, kw_only=True)
class Reruns:
    """Where designs are simulated again: the requests, prices and constraints of the run, and the workers."""

    evaluator: Evaluator
    execute: Executor = field(default_factory=lambda: serial)
    workers: int = 1

    def at_rates(self, designs: Sequence[Design], factors: Sequence[float]) -> list[list[Row]]:
        """Rows of ``designs`` at each multiple of the load; ``SpaceError`` for a closed loop, which has no rate."""
        if self.evaluator.requests.clients:
            raise SpaceError("a closed loop has no rate to change")
        return [self._rows(designs, replace(self.evaluator, requests=paced(self.evaluator.requests, factor))) for factor in factors]

    def with_seeds(self, designs: Sequence[Design], seeds: Sequence[int]) -> list[list[Row]]:
        """Rows of ``designs`` with each seed of the workload."""
        each = [self.evaluator.workload.with_seed(seed) for seed in seeds]
        return [self._rows(designs, replace(self.evaluator, workload=one, requests=realise(one))) for one in each]

    def _rows(self, designs: Sequence[Design], evaluator: Evaluator) -> list[Row]:
        chunks = Chunks(evaluator=evaluator, execute=self.execute, workers=self.workers)
        keys = [design.design_id for design in designs]
        try:
            chunks.take_in(dict(zip(keys, designs, strict=True)))
        finally:
            chunks.close()
        return [chunks.known[key] for key in keys]


def newcomers(space: Space, evaluator: Evaluator, factor: float, most: int) -> list[tuple[Design, dict[str, Any]]]:
    """The ``most`` designs that the screen puts first at ``factor`` times the load, with their variables; none where a space cannot be
    screened or nothing is feasible there."""
    goals = [goal for goal in space.objectives if goal.metric in METRICS]
    requests: Requests = paced(evaluator.requests, factor)
    try:
        found = screen(space, evaluator.workload, prices=evaluator.prices, requests=requests, metrics=[goal.metric for goal in goals])
    except SpaceError:  # too large, not to be screened, or nothing fits
        return []
    order = screen_order(minimised(found.metrics, goals), found.feasible)[:most] if goals else np.zeros(0, dtype=np.int64)
    return [(found.table.design(int(index)), found.table.values(int(index))) for index in order]
