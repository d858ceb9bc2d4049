"""What a run says of itself: nothing taken over from other requests, nothing proved of a design that nobody has seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.explore import Space, StoreError, sweep
from mist_dse.explore.front import front_mask
from mist_dse.explore.runs.record import ASIDE
from mist_dse.requests import realise
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


def brute(asked: Space, load: Workload, names: list[str]) -> set[tuple[float, ...]]:
    """The front by evaluating every design."""
    table, drawn = asked.table(Catalog().prices("default")), realise(load)
    rows = [evaluate(table.design(index), load, requests=drawn) for index in range(len(table))]
    points = np.array([[row.metrics[name] if row.feasible else np.nan for name in names] for row in rows], dtype=float)
    return {tuple(point) for point in points[front_mask(points)]}


def test_choices_by_load_are_not_screened_and_their_front_is_true() -> None:
    """Shares of the requests depend on every pool's replicas: no pool can be screened or bounded alone."""
    vary = {
        f"pools.{pool}.{key}": values
        for pool in ("small", "large")
        for key, values in (("replicas", [1, 3]), ("router", ["round_robin", "jsq"]))
    }
    names = ["usd_per_hour", "ttft_p90"]
    asked = Space.from_dict({"base": "model_router_by_load", "vary": vary, "objectives": [f"min {name}" for name in names]})
    load = workload(80, rate=2.0)
    found = sweep(asked, load, executor="serial", sampler={"certify": 0})
    assert "shares of a choice by load" in found.manifest["screen_note"]
    size = len(asked.table(Catalog().prices("default")))
    assert (found.manifest["certificate"], found.manifest["designs_in_space"], len(found.results)) == ("exact", size, size)
    assert {tuple(point) for point in found.front[names].to_numpy(dtype=float)} == brute(asked, load, names)


def test_a_small_space_without_a_screen_is_simulated_whole() -> None:
    """Guards that stand on the devices of what they guard have as many replicas, and so a router that matters."""
    vary = {"pools.prefill.replicas": "1..3", "stages.output_guard.every": [16, 32, 64, 96, 128]}
    vary |= {"pools.guard.router": ["round_robin", "jsq"], "pools.prefill.router": ["round_robin", "jsq", "random"]}
    common = {"accelerator": "h100_sxm", "engine": "vllm"}
    chat = {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", **common}
    guard = {"hosts": ["input_guard", "output_guard"], "model": "llama-3.2-1b", "beside": "prefill", **common}
    base = {"pipeline": "guarded_chat", "topology": "hgx_pair", "pools": {"prefill": chat, "guard": guard}}
    asked = Space.from_dict({"base": base, "vary": vary, "objectives": ["min usd_per_mtok", "min ttft_p90"]})
    found = sweep(asked, workload(8, rate=2.0), executor="serial")
    size = len(asked.table(Catalog().prices("default")))
    assert size > 64
    assert found.manifest["screen_note"].endswith("all of them are simulated")
    assert (found.manifest["simulated"], found.manifest["designs_in_space"], found.manifest["certificate"]) == (size, size, "exact")


def test_a_design_that_cannot_be_ends_no_search() -> None:
    vary = {"pools.serve.router": ["round_robin", "session_affinity", "jsq"], "pools.serve.replicas": "1..2"}
    asked = Space.from_dict({"base": "kv_retrieval_chat", "vary": vary, "objectives": ["min ttft_p90", "min usd_per_hour"]})
    found = sweep(asked, replace(Catalog().workload("sessions"), name="few"), executor="serial", evaluations=6)
    wrong = found.results[found.results["pools.serve.router"] == "jsq"]
    assert (len(wrong), len(found.results)) == (1, 4)
    assert not wrong["feasible"].any()
    assert wrong["violations"].str.contains("router").all()
    assert found.results["feasible"].any()
