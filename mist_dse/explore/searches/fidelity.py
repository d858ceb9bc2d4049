"""Successive fidelity: the first few requests of the same workload decide what is not worth all of them.

Every design sees the same first requests (common random numbers). A short run discards, it never certifies: a design that another
one beats there in every objective, latencies by a margin above their noise, is not simulated in full and stays unknown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mist_dse.explore.runs.chunks import Chunks
from mist_dse.explore.runs.executor import Executor
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.spaces.goals import minimised
from mist_dse.metrics import METRICS, Objective
from mist_dse.rows import Floats, Requests
from mist_dse.specs.design import Design

MARGIN = 0.1
"""Share by which latencies must be beaten: near-front designs differ by less from one seed to the next at 4,000 requests."""


def first_requests(requests: Requests, share: float) -> Requests:
    """The first ``share`` of the requests, as they are in the whole.

    >>> from mist_dse.requests import realise
    >>> from mist_dse.specs.workload import Workload
    >>> table = realise(Workload.poisson(rate=2.0, input_tokens=100, output_tokens=10, requests=40))
    >>> len(first_requests(table, 0.1).arrival)
    4
    """
    count, whole = math.ceil(share * len(requests.arrival)), len(requests.arrival)
    kept: dict[str, Any] = {
        name: column[:count] for name, column in requests._asdict().items() if isinstance(column, np.ndarray) and len(column) == whole
    }
    if len(requests.hash_first):
        kept["hash_first"] = requests.hash_first[: count + 1]
        kept["hash_ids"] = requests.hash_ids[: int(requests.hash_first[count])]
    return requests._replace(**kept)


@dataclass(slots=True)
class ShortRuns:
    """Short runs of the designs of a search, each made once, and which designs they discard; ``share`` of the requests."""

    share: float
    objectives: Sequence[Objective]
    chunks: Chunks
    points: dict[str, Floats] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    @classmethod
    def over(cls, share: float, objectives: Sequence[Objective], evaluator: Evaluator, execute: Executor, workers: int) -> "ShortRuns":
        """Short runs with the first requests of an evaluator."""
        short = replace(evaluator, requests=first_requests(evaluator.requests, share))
        return cls(share, objectives, Chunks(evaluator=short, execute=execute, workers=workers, seconds_each=0.05 * share))

    @property
    def spent(self) -> float:
        """What the short runs have cost, in whole ones."""
        return self.share * self.chunks.fresh

    def discarded(self, designs: Mapping[str, Design]) -> set[str]:
        """Ids of those of ``designs``, by id, that are not worth a whole run."""
        if not designs:
            return set()
        self.chunks.take_in(designs)
        for key in designs:
            row = self.chunks.known[key]
            values = {goal.metric: [row.get(goal.metric) if row["feasible"] else None] for goal in self.objectives}
            self.points[key] = minimised(values, self.objectives, logarithmic=True)[0]
        every = np.array(list(self.points.values()))
        better = every + [math.log10(1 + MARGIN) if METRICS[goal.metric].unit == "s" else 0.0 for goal in self.objectives]
        found = {key for key in designs if _beaten(self.points[key], better)}
        self.dropped |= found
        return found


def _beaten(point: Floats, better: Floats) -> bool:
    """Whether some row is at least as good in every axis and better in one; an undefined point (infeasible while short) is not."""
    return bool(((better <= point).all(axis=1) & (better < point).any(axis=1)).any())
