"""``details.json`` of a real small sweep, held against the run's own numbers, the simulator, and what ``evaluate`` says of a design."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse import load_design
from mist_dse.app.measured import prediction_interval
from mist_dse.evaluation import evaluate, simulate
from mist_dse.explore import SweepResult, sweep
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.searches import details
from mist_dse.explore.searches.details import MOST, design_details
from mist_dse.explore.searches.meansteps import mean_steps
from mist_dse.metrics.pools import pool_usage
from mist_dse.requests import realise
from mist_dse.specs.design import Design
from mist_dse.specs.hardware import PriceBook
from tests.explore.spaces import catalog, space, workload

QUICK: dict[str, Any] = {"executor": "serial", "evaluations": 24}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return sweep(space(), workload(), folder=tmp_path_factory.mktemp("runs") / "run", **QUICK)


@pytest.fixture(scope="module")
def stored(run: SweepResult) -> dict[str, Any]:
    assert run.folder is not None
    found = json.loads((run.folder / "details.json").read_text())
    assert found["version"] == 1
    designs: dict[str, Any] = found["designs"]
    return designs


def book() -> PriceBook:
    return catalog().prices("default")


def evaluator() -> Evaluator:
    return Evaluator(workload=workload(), requests=realise(workload()), prices=book())


def design_of(row: dict[str, Any]) -> Design:
    whole = space()
    values = {path: row[path] for path in whole.paths if not pd.isna(row[path])}
    return whole.design({path: int(value) if isinstance(value, float) else value for path, value in values.items()})


def test_every_member_of_the_front_has_details(run: SweepResult, stored: dict[str, Any]) -> None:
    assert set(stored) == set(run.front["design_id"])
    assert len(stored) <= MOST
    for row in run.front.to_dict("records"):
        pools = stored[row["design_id"]]["pools"]
        assert set(pools) == ({"prefill"} if row["placement"] == "colocated" else {"prefill", "decode"})
        for name, pool in pools.items():
            assert (pool["accelerator"], pool["devices"]) == (row[f"pools.{name}.accelerator"], row[f"pools.{name}.tp"])


def test_shares_of_time_sum_to_one_and_no_operator_is_above_a_roof(stored: dict[str, Any]) -> None:
    for pool in (pool for detail in stored.values() for pool in detail["pools"].values()):
        assert sum(item["share"] for item in pool["operators"]) == pytest.approx(1.0, abs=1e-3)
        for item in pool["operators"]:
            assert item["flop"] <= 1.0001 * item["seconds"] * pool["peaks"].get(item["dtype"], 0.0)
            assert item["bytes"] <= 1.0001 * item["seconds"] * pool["bandwidth"]


def test_the_mean_steps_take_as_long_as_those_of_the_run(stored: dict[str, Any]) -> None:
    """The run's mean is over steps that the simulator took one by one; here are two steps of mean content."""
    errors = [
        sum(step["share"] * step["seconds"] for step in pool["steps"].values()) / pool["step_seconds"] - 1
        for detail in stored.values()
        for pool in detail["pools"].values()
    ]
    assert np.abs(errors).max() < 0.1
    assert np.median(np.abs(errors)) < 0.03


def test_tokens_of_the_steps_are_those_of_the_run(stored: dict[str, Any]) -> None:
    for pool in (pool for detail in stored.values() for pool in detail["pools"].values()):
        tokens = sum(step["share"] * (step["decodes"] + step["prompt_tokens"]) for step in pool["steps"].values())
        assert tokens == pytest.approx(pool["tokens_per_step"], rel=1e-3)


def test_resources_are_in_use_as_the_simulator_recorded(run: SweepResult, stored: dict[str, Any]) -> None:
    for row in run.front.head(4).to_dict("records"):
        done = simulate(design_of(row), workload())
        for name, usage in pool_usage(done.records, done.lowered.servers).items():
            found = stored[row["design_id"]]["pools"][name]["use"]
            measured = (usage.use.busy, usage.use.compute, usage.use.memory, usage.use.link)
            assert list(found.values()) == pytest.approx(measured, rel=0.03, abs=1e-4)


def test_links_carry_what_they_were_used_for(run: SweepResult, stored: dict[str, Any]) -> None:
    """A hand-off moves the KV cache of every prompt once: 32 layers, 8 heads of 128, keys and values, 2 bytes (Llama-3.1-8B)."""
    split = run.front[run.front["placement"] == "disaggregated"]
    assert len(split)
    tokens = float(realise(workload()).input_tokens.sum())
    for row in split.to_dict("records"):
        done = simulate(design_of(row), workload())
        link = stored[row["design_id"]]["links"]["handoff"]
        assert link["bytes_per_s"] == pytest.approx(tokens * 2 * 32 * 8 * 128 * 2 / done.records.makespan, rel=0.02)
        assert link["bytes_per_s"] == pytest.approx(link["utilisation"] * link["capacity"], rel=1e-3)


def test_intervals_are_those_that_evaluate_prints(run: SweepResult, stored: dict[str, Any]) -> None:
    for row in run.front.to_dict("records"):
        design = design_of(row)
        expected = prediction_interval(evaluate(design, workload(), prices=book()), design, workload())
        assert expected is not None
        found = stored[row["design_id"]]["intervals"]
        assert set(found["metrics"]) == set(expected.metrics)
        for metric, ends in expected.metrics.items():
            assert found["metrics"][metric] == pytest.approx(ends, rel=1e-4)
        for name, text in expected.basis.items():
            assert text.startswith(
                f"{found['coverage']:.0%} of {found['basis'][name]['rows']} held-out rows: {found['basis'][name]['group']}"
            )


def test_charges_add_up_to_the_rent(run: SweepResult, stored: dict[str, Any]) -> None:
    for row in run.front.to_dict("records"):
        paid = sum(one["amount"] * one["usd_per_hour"] for one in stored[row["design_id"]]["charges"])
        assert paid == pytest.approx(row["usd_per_hour"], rel=1e-4)


def test_sources_are_named(stored: dict[str, Any]) -> None:
    for detail in stored.values():
        assert all(detail["sources"]["accelerators"].values())
        assert detail["sources"]["prices"]["book"] == "default"
        for pool in detail["pools"].values():
            assert {"gemm", "prefill attention", "decode attention", "engine"} <= set(pool["provenance"])


def test_prompts_and_decodes_apart_where_decodes_wait() -> None:
    """With prompts first, a step has prompts or decodes, and the tokens of both still come to the mean."""
    base = load_design("tp4_colocated")
    for policy, together in (("chunked", True), ("prefill_first", False)):
        pool = base.pools[0]
        design = replace(base, pools=(replace(pool, batching=replace(pool.batching, policy=policy)),))
        done = simulate(design, workload())
        usage = pool_usage(done.records, done.lowered.servers)[pool.name]
        steps = mean_steps(done.lowered.jobs, 0, done.lowered.servers.engines[0], usage.tokens_per_step)
        assert (steps.prompts.decodes > 0) == together
        tokens = sum(share * (step.decodes + step.prompt_tokens) for _, share, step in steps.kinds())
        assert tokens == pytest.approx(usage.tokens_per_step)


def test_details_change_neither_results_nor_identity(run: SweepResult) -> None:
    alone = sweep(space(), workload(), **QUICK)
    pd.testing.assert_frame_equal(alone.results, run.results)
    assert alone.manifest["identity"] == run.manifest["identity"]
    assert set(alone.manifest) == set(run.manifest)


def test_a_design_costs_less_than_20_ms(run: SweepResult) -> None:
    given, rows = evaluator(), [(design_of(row), row) for row in run.front.to_dict("records")]
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        for design, row in rows:
            design_details(design, {str(key): value for key, value in row.items()}, given)
        best = min(best, (time.process_time() - start) / len(rows))
    assert best < 0.02


def test_no_failure_of_details_ends_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(details, "design_details", fails)
    monkeypatch.setattr(details._LOG, "disabled", False)  # tools that configure logging switch off the loggers that they find
    with caplog.at_level(logging.WARNING):
        found = sweep(space(), workload(), folder=tmp_path / "run", executor="serial", evaluations=6)
    assert found.manifest["status"] == "done"
    assert json.loads((tmp_path / "run" / "details.json").read_text())["designs"] == {}
    assert "no details of design" in caplog.text


def test_a_file_that_cannot_be_written_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(details._LOG, "disabled", False)
    (tmp_path / "run" / "details.json").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        found = sweep(space(), workload(), folder=tmp_path / "run", executor="serial", evaluations=6)
    assert found.manifest["status"] == "done"
    assert "cannot be written" in caplog.text
    assert not list((tmp_path / "run").glob(".details*"))


def test_an_interrupted_search_stores_what_it_has(tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.front_size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(space(), workload(), folder=tmp_path / "run", progress=stop, sampler={"name": "screen", "batch": 6}, **QUICK)
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert set(json.loads((tmp_path / "run" / "details.json").read_text())["designs"]) == set(front["design_id"]) != set()
