"""Short runs: the same first requests, discards that are right by a margin, and nothing certified by them."""

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.explore import sweep
from mist_dse.explore.runs.executor import serial
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.searches.fidelity import MARGIN, ShortRuns, first_requests
from mist_dse.requests import realise
from tests.explore.spaces import space, workload


@pytest.mark.parametrize("name", ["poisson", "sessions"])
def test_the_first_requests_are_those_of_the_whole(name: str) -> None:
    whole = realise(workload() if name == "poisson" else Catalog().workload("sessions", requests=200))
    part = first_requests(whole, 0.25)
    count = len(part.arrival)
    assert count == np.ceil(len(whole.arrival) / 4)
    for field, column in whole._asdict().items():
        if isinstance(column, np.ndarray) and len(column) == len(whole.arrival):
            assert np.array_equal(getattr(part, field), column[:count])
    if len(whole.hash_first):
        assert len(part.hash_first) == count + 1
        assert np.array_equal(part.hash_ids, whole.hash_ids[: whole.hash_first[count]])
    if name == "poisson":
        assert evaluate(space().base, workload(), requests=part).completed > 0


def test_only_designs_beaten_by_a_margin_are_discarded() -> None:
    load, asked = workload(100), space(constraints=[])
    evaluator = Evaluator(workload=load, requests=realise(load), prices=Catalog().prices("default"))
    table = asked.table(evaluator.prices)
    designs = {table.design(index).design_id: table.design(index) for index in range(0, len(table), 3)}
    runs = ShortRuns.over(0.2, asked.objectives, evaluator, serial, 1)
    dropped = runs.discarded(designs)
    assert 0 < len(dropped) < len(designs)
    rows = {
        key: evaluate(design, load, requests=first_requests(evaluator.requests, 0.2), prices=evaluator.prices)
        for key, design in designs.items()
    }
    values = {
        key: np.array([row.metrics["usd_per_mtok"], row.metrics["ttft_p90"]], dtype=float) for key, row in rows.items() if row.feasible
    }
    for key in dropped:
        assert any((other[0] <= values[key][0]) and other[1] * (1 + MARGIN) <= values[key][1] * (1 + 1e-9) for other in values.values())
    assert runs.spent == pytest.approx(0.2 * len(designs))
    assert runs.discarded(designs) == dropped  # each is run once
    assert runs.spent == pytest.approx(0.2 * len(designs))


def test_discarded_designs_are_pruned_counted_and_never_certified() -> None:
    options = {"executor": "serial", "evaluations": 60}
    found = sweep(space(constraints=[]), workload(100), sampler={"fidelities": [0.2, 1], "batch": 20}, **options)
    manifest = found.manifest
    assert manifest["short_runs"] > manifest["simulated"]
    assert manifest["discarded_by_short_runs"] == manifest["short_runs"] - manifest["simulated"] > 0
    assert manifest["simulated"] + 0.2 * manifest["short_runs"] <= 60 + 20
    whole = sweep(space(constraints=[]), workload(100), executor="serial", evaluations=10_000)
    both = found.results.merge(whole.results, on="design_id", suffixes=("", "_whole"))
    pd.testing.assert_series_equal(both["ttft_p90"], both["ttft_p90_whole"], check_names=False)
    assert manifest["certificate"] != "exact"
