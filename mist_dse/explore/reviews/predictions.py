"""How wrong the predictions of each design may be: draws of held-out residuals of the validation, for all designs at once.

A draw picks one measured server of each design's residual group and applies its errors (measured/predicted of TTFT, TPOT and E2E,
together as they were met). Designs that decode on one accelerator and engine with one kind of model may share their draw (their errors
come from the same coefficients) or have each their own; the truth lies between.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mist_dse.explore.runs.record import Row
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.workload import Workload
from mist_dse.stages import lower
from mist_dse.validate.residuals import Residuals, Subject, packaged
from mist_dse.validate.subjects import is_chat, subject_of

LATENCIES = ("ttft", "tpot", "e2e")
"""Latencies that residuals are known of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Of every design: ``group`` [n] indexes ``errors`` (log measured/predicted, [row, latency]), ``kind`` [n] what shares an error."""

    errors: tuple[Floats, ...]
    group: Ints
    kind: Ints

    def draws(self, count: int, seed: int, *, shared: bool) -> Iterator[Mapping[str, Floats]]:
        """``count`` times the factor [n] on each latency."""
        rng = np.random.default_rng(seed)
        for _ in range(count):
            lot = rng.random(self.kind.max() + 1)[self.kind] if shared else rng.random(len(self.kind))
            factors = np.empty((len(self.group), len(LATENCIES)))
            for number, rows in enumerate(self.errors):
                mine = self.group == number
                factors[mine] = np.exp(rows[(lot[mine] * len(rows)).astype(np.int64)])
            yield dict(zip(LATENCIES, factors.T, strict=True))


def predictions(designs: Sequence[Design], rows: Sequence[Row], workload: Workload, requests: Requests, *,
                table: Residuals | None = None) -> Predictions | None:  # fmt: skip
    """The errors of simulated designs with metrics ``rows``; None for pipelines that nobody has measured."""
    if not designs or not all(map(is_chat, designs)):
        return None
    known, grades = table or packaged(), _Provenance(requests, {})
    subjects = [subject_of(design, workload, row, grades.of(design)) for design, row in zip(designs, rows, strict=True)]
    found = {about: known.errors(about, LATENCIES) for about in dict.fromkeys(subjects)}
    if any(errors is None for errors in found.values()):
        return None
    kinds = [(about.family, about.accelerator, about.kind) for about in subjects]
    return Predictions(
        errors=tuple(errors for errors in found.values() if errors is not None),
        group=_numbers(subjects, list(found)),
        kind=_numbers(kinds, list(dict.fromkeys(kinds))),
    )


@dataclass(frozen=True, slots=True)
class _Provenance:
    """Where the coefficients of designs come from; designs of the same kinds of engine are lowered once."""

    requests: Requests
    known: dict[tuple[tuple[str, ...], ...], Mapping[str, Mapping[str, str]]]

    def of(self, design: Design) -> Mapping[str, Mapping[str, str]]:
        key = tuple((pool.model.name, pool.accelerator.name, pool.engine.name, str(pool.dtypes)) for pool in design.pools)
        if key not in self.known:
            lowered = lower(design, self.requests)
            self.known[key] = {} if isinstance(lowered, Infeasible) else lowered.provenance
        return self.known[key]


def _numbers(values: Sequence[Subject | tuple[str, ...]], distinct: Sequence[Subject | tuple[str, ...]]) -> Ints:
    place = {value: number for number, value in enumerate(distinct)}
    return np.array([place[value] for value in values], dtype=np.int64)
