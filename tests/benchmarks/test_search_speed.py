"""What a search costs beside its simulations: two workers against two plain processes, and the parent's own time per evaluation.

Figures are ratios within one run, or processor time, so that a busy machine weighs little.
"""

import os
import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import yaml

from mist_dse.catalog import Catalog, load_design
from mist_dse.explore import Space, SweepResult, sweep
from mist_dse.explore.runs.record import Evaluator, Row, warm_up
from mist_dse.explore.searches.twins import ClassedEvaluator, limits
from mist_dse.requests import realise
from mist_dse.specs.design import Design
from tests.explore.spaces import packaged

pytestmark = pytest.mark.bench

OVERHEAD_MS = 2.0
"""Processor time of the parent per evaluation, everything but the evaluation included."""

EFFICIENCY = 0.9
"""Evaluations per second of two workers over those of two plain processes."""

EVALUATIONS, ROUNDS = 600, 3


class Recorded(ClassedEvaluator):
    """Rows of one real evaluation, with other numbers for each design, in no time."""

    template: dict[str, Any] = {}  # noqa: RUF012  # per process, filled by the first row

    def row(self, design: Design) -> Row:
        if not self.template:
            self.template.update(Evaluator.row(self, load_design("tp4_colocated")))
        draw = Random(design.design_id)
        values = {name: value * (1 + draw.random()) if type(value) is float else value for name, value in self.template.items()}
        return {**values, "design_id": design.design_id, "feasible": draw.random() < 0.5}


@pytest.fixture(autouse=True)
def uncertified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate follows the search and is measured by itself; of made-up rows it would have nothing to say."""
    from mist_dse.explore.proofs.certificate import Certificate
    from mist_dse.explore.searches import search

    monkeypatch.setattr(search, "_certificate", lambda *asked, **known: Certificate("none", "not asked for"))


def given() -> tuple[Space, Any]:
    catalog = Catalog()
    return Space.from_yaml(packaged(), catalog), catalog.workload("azure_conv")


def test_the_parent_spends_less_than_two_ms_per_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mist_dse.explore.searches import search

    space, workload = given()
    monkeypatch.setattr(search, "ClassedEvaluator", Recorded)
    count, spent = 10_000, {}

    def searched(evaluations: int) -> float:
        start = time.process_time()
        found = sweep(space, workload, folder=tmp_path / str(evaluations), evaluations=evaluations, executor={"name": "loky", "workers": 2})
        spent[evaluations] = len(found.results)
        return time.process_time() - start

    searched(100)  # imports, and the workers' start
    few, many = searched(200), searched(count)
    each = 1e3 * (many - few) / (spent[count] - spent[200])
    print(f"parent: {each:.2f} ms per evaluation of {spent[count]:,}, journal and tables included; screen and start {few:.1f} s")
    assert spent[count] == count
    assert (tmp_path / str(count) / "journal.log").stat().st_size > 1e6
    assert each < OVERHEAD_MS


def plain(designs: Sequence[Design], evaluator: Evaluator, base: Design, ready: Any, results: Any) -> None:
    """Evaluations one after the other in a process that does nothing else; its seconds."""
    warm_up(evaluator, base)
    ready.wait()
    start = time.perf_counter()
    for design in designs:
        evaluator.row(design)
    results.put(time.perf_counter() - start)


def two_processes(designs: Sequence[Design], evaluator: Evaluator, base: Design) -> float:
    """Seconds in which two plain processes evaluate designs, each every other one: the mean of the two."""
    context = get_context("spawn")
    ready, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=plain, args=(designs[turn::2], evaluator, base, ready, results)) for turn in range(2)]
    for process in processes:
        process.start()
    seconds = [results.get(timeout=500) for _ in processes]
    for process in processes:
        process.join(timeout=20)
    return statistics.fmean(seconds)


def unlimited() -> Space:
    """The packaged space without batch limits: each design of a search is then evaluated, and none copied from its class."""
    data = yaml.safe_load(packaged().read_text(encoding="utf-8"))
    data["vary"] = {path: values for path, values in data["vary"].items() if not limits(path)}
    return Space.from_dict(data, Catalog())


def test_two_workers_do_nine_tenths_of_two_plain_processes(tmp_path: Path) -> None:
    space, workload = unlimited(), given()[1]
    evaluator = Evaluator(workload=workload, requests=realise(workload), prices=Catalog().prices("default"), constraints=space.constraints)

    def searched(evaluations: int, number: int) -> SweepResult:
        return sweep(space, workload, folder=tmp_path / f"{evaluations}_{number}", evaluations=evaluations,
                     executor={"name": "loky", "workers": 2})  # fmt: skip

    searched(96, 0)
    ratios = []
    for number in range(ROUNDS):
        found = searched(EVALUATIONS, number)
        assert found.manifest["copied_from_class"] == 0
        assert len(found.results) == EVALUATIONS
        variables = found.results[[path for path in space.paths if path in found.results]]
        designs = [space.design({path: value for path, value in row.items() if value == value and value is not None})
                   for row in variables.astype(object).where(variables.notna(), None).to_dict("records")]  # fmt: skip
        assert [design.design_id for design in designs] == list(found.results["design_id"])
        seconds = two_processes(designs, evaluator, space.base)
        ratios.append(seconds / found.manifest["wall_s"]["simulate"])
        print(f"round {number}: {len(designs):,} evaluations, search {found.manifest['wall_s']['simulate']:.2f} s, "
              f"two plain processes {seconds:.2f} s: {ratios[-1]:.2f}; load {os.getloadavg()[0]:.1f}")  # fmt: skip
    assert np.median(ratios) >= EFFICIENCY
