"""Starting from another run: its rows for nothing where they mean the same, its front first where they do not."""

from pathlib import Path

import pandas as pd
import pytest

from mist_dse.explore import StoreError, SweepResult, sweep
from tests.explore.spaces import VARY, space, workload


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return sweep(space(constraints=[]), workload(90), executor="serial", evaluations=30, folder=tmp_path_factory.mktemp("before") / "run")


def test_rows_of_the_same_question_cost_nothing(before: SweepResult) -> None:
    wider = space(constraints=[], vary={**VARY, "pools.*.replicas": "1..4"})
    found = sweep(wider, workload(90), executor="serial", evaluations=12, sampler={"warm_start": str(before.folder)})
    assert found.manifest["warm_start"]["rows"] == 30
    assert found.manifest["simulated"] == 12
    assert len(found.results) == 42
    old = found.results[found.results["design_id"].isin(before.results["design_id"])].reset_index(drop=True)
    assert len(old) == 30
    shared = [name for name in before.results.columns if name in old.columns]
    pd.testing.assert_frame_equal(old[shared], before.results[shared], check_dtype=False)
    alone = sweep(wider, workload(90), executor="serial", evaluations=42)
    new = ~found.results["design_id"].isin(before.results["design_id"])
    twice = found.results[new].merge(alone.results, on="design_id", suffixes=("", "_alone"))
    assert (twice["ttft_p90"] == twice["ttft_p90_alone"]).all()


def test_another_workload_gives_its_front_first_and_no_rows(before: SweepResult) -> None:
    found = sweep(
        space(constraints=[]), workload(90, rate=5.0), executor="serial", evaluations=20, sampler={"warm_start": str(before.folder)}
    )
    assert "another workload" in found.manifest["warm_start"]["reason"]
    assert found.manifest["warm_start"]["rows"] == 0
    count = len(before.front)
    assert set(found.results["design_id"][:count]) == set(before.front["design_id"])
    assert found.manifest["simulated"] == 20


def test_designs_outside_the_space_are_left_out(before: SweepResult) -> None:
    smaller = space(constraints=[], vary={**VARY, "pools.*.replicas": [1, 2]})
    found = sweep(smaller, workload(90), executor="serial", evaluations=10, sampler={"warm_start": str(before.folder)})
    replicas = before.results[["pools.prefill.replicas", "pools.decode.replicas"]].fillna(1).max(axis=1)
    assert found.manifest["warm_start"]["rows"] == (replicas <= 2).sum()
    assert found.results["pools.prefill.replicas"].max() <= 2


def test_nsga2_starts_from_it_too(before: SweepResult) -> None:
    sampler = {"name": "nsga2", "batch": 10, "warm_start": str(before.folder)}
    found = sweep(space(constraints=[]), workload(90), executor="serial", evaluations=10, sampler=sampler)
    assert set(before.results["design_id"]) <= set(found.results["design_id"])
    assert found.manifest["simulated"] == 10


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run folder"):
        sweep(space(), workload(60), executor="serial", sampler={"warm_start": str(tmp_path)})
