"""What a run says of itself: nothing taken over from other requests, nothing proved of a design that nobody has seen."""

from pathlib import Path

import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.explore import StoreError, sweep
from mist_dse.explore.runs.record import ASIDE
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from tests.explore.spaces import space, workload

FEW = {"vary": {"placement": ["colocated"], "pools.*.tp": [1, 2, 4], "pools.*.replicas": "1..4"}, "constraints": []}


def trace(path: Path, output: int) -> Workload:
    """A trace file of forty requests, written anew."""
    lines = ["arrival_s,input_tokens,output_tokens", *(f"{0.25 * number},500,{output}" for number in range(40))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Workload(name="replay", arrivals=Arrivals(kind="trace", path=str(path), requests=None))


def test_a_trace_written_anew_is_another_workload(tmp_path: Path) -> None:
    file, folder = tmp_path / "trace.csv", tmp_path / "run"
    sweep(space(**FEW), trace(file, 20), folder=folder, executor="serial")
    assert sweep(space(**FEW), trace(file, 20), resume=folder, executor="serial").manifest["status"] == "done"
    with pytest.raises(StoreError, match="another workload"):
        sweep(space(**FEW), trace(file, 200), resume=folder, executor="serial")


def test_a_design_set_aside_is_not_seen(tmp_path: Path) -> None:
    """All designs simulated is exact; with a member of the front set aside in the parts, it is not, unless a bound excludes that member."""
    whole = sweep(space(**FEW), workload(60, rate=1.0), folder=tmp_path / "run", executor="serial", evaluations=10_000)
    assert whole.manifest["certificate"] == "exact"
    lost = whole.front["design_id"].iloc[0]
    for path in (tmp_path / "run" / "parts").glob("*.parquet"):
        part = pd.read_parquet(path)
        mine = part["design_id"] == lost
        part.loc[mine, "feasible"], part.loc[mine, "violations"] = False, f"{ASIDE}its worker process died twice"
        part.to_parquet(path, index=False)
    again = sweep(space(**FEW), workload(60, rate=1.0), resume=tmp_path / "run", executor="serial", evaluations=10_000)
    assert (again.manifest["set_aside"], again.manifest["certificate"]) == (1, "none")
    assert lost not in set(again.front["design_id"])


def test_an_objective_that_the_workload_leaves_undefined_ends_no_search() -> None:
    found = sweep(
        space(**FEW, objectives=["max goodput_rps", "min usd_per_hour"]), workload(60, rate=1.0), executor="serial", evaluations=4
    )
    assert (len(found.results), len(found.front), found.manifest["status"]) == (4, 0, "done")


def test_a_small_space_under_a_closed_loop_is_simulated_whole() -> None:
    arrivals = Arrivals(kind="closed", clients=4, requests=40)
    lengths = {f"{side}_tokens": Lengths(kind="fixed", mean=mean) for side, mean in (("input", 200), ("output", 20))}
    closed = Workload(name="closed", arrivals=arrivals, **lengths)
    found = sweep(space(**FEW), closed, executor="serial")
    assert found.manifest["certificate"] == "exact"
    assert len(found.results) == len(space(**FEW).table(Catalog().prices("default")))
