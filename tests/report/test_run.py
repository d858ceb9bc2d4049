from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mist_dse.report import ReportError, read_run
from mist_dse.report.shown import shown_rows
from tests.report.runs import FIVE, OBJECTIVES, results, write_run


def dominated_by(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which points another one is no worse than everywhere and better than somewhere, pair by pair."""
    return np.array([bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any()) for point in points])


def test_columns_are_told_apart(tmp_path: Path) -> None:
    columns = read_run(write_run(tmp_path / "run")).columns
    assert "pools.prefill.accelerator" in columns.variables
    assert "placement" in columns.variables
    assert "bottleneck" not in columns.variables
    assert "ttft_p90" in columns.metrics
    assert ("decode", "attention") in columns.breakdown
    assert ("prefill", "utilisation") in columns.pools


def test_objectives_and_limits_come_from_the_configuration(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", objectives=FIVE, limits=["ttft_p90 <= 1 s", "ttft_p90 <= 1000 ms"]))
    assert [str(item) for item in run.objectives] == FIVE
    assert [(line.metric, line.op, line.value) for line in run.limits] == [("tpot_p90", "<=", 0.05), ("ttft_p90", "<=", 1.0)]


def test_objectives_of_the_manifest_win(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", manifest={"search": {"objectives": ["max throughput_rps"]}}))
    assert [str(item) for item in run.objectives] == ["max throughput_rps"]


def test_a_run_still_being_written_gets_the_front_of_its_parts(tmp_path: Path) -> None:
    frame = results(200)
    run = read_run(write_run(tmp_path / "run", frame, finished=False))
    values = frame[["usd_per_mtok", "ttft_p90"]].to_numpy()
    expected = set(frame["design_id"][~dominated_by(values, values)])
    assert not run.complete
    assert set(run.front["design_id"]) == expected
    assert len(expected) > 3


def test_a_run_that_goes_on_is_read_from_its_parts_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", results(20))
    write_run(folder, results(60), manifest={"status": "running"}, finished=False)
    run = read_run(folder)
    assert not run.complete
    assert len(run.results) == 60


def test_a_promise_to_each_request_is_a_line_on_every_statistic_of_its_latency(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "resolved.yaml").write_text(
        "{objectives: [min ttft_p90, min tpot_p50], workload: {slo: {per_request: {ttft: 1 s, tpot: 50 ms}}}}"
    )
    promises = read_run(folder).limits
    assert [(line.metric, line.value, line.each) for line in promises] == [("ttft", 1.0, True), ("tpot", 0.05, True)]
    assert promises[0].drawn_on("ttft_p90")
    assert not promises[0].drawn_on("tpot_p90")
    (folder / "resolved.yaml").write_text("{objectives: [min ttft_p90], workload: {slo: {per_request: [[ttft, 1.0]]}}}")
    assert [line.text for line in read_run(folder).limits] == ["ttft <= 1 s per request"]


def test_half_written_parts_are_not_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", finished=False)
    (folder / "parts" / ".0002.parquet.tmp").write_bytes(b"half")
    assert len(read_run(folder).results) == len(results())


def test_without_a_front_infeasible_and_undefined_designs_stay_off_it(tmp_path: Path) -> None:
    frame = results(30)
    frame.loc[frame["usd_per_mtok"].idxmin(), "feasible"] = False
    frame.loc[frame["ttft_p90"].idxmin(), "ttft_p90"] = None
    front = read_run(write_run(tmp_path / "run", frame, finished=False)).front
    assert front["feasible"].all()
    assert front["ttft_p90"].notna().all()


def test_the_front_of_two_fidelities_is_drawn_at_the_finer_one(tmp_path: Path) -> None:
    frame = pd.concat([results(40), results(300, seed=2, fidelity="steady")])
    run = read_run(write_run(tmp_path / "run", frame, finished=False))
    assert run.fidelity == "simulated"
    assert set(run.front["fidelity"]) == {"simulated"}
    kinds = shown_rows(run).groupby("kind")["fidelity"].agg(set).to_dict()
    assert kinds == {"front": {"simulated"}, "dominated": {"simulated"}, "screened": {"steady"}}


def test_the_sample_is_bounded_and_always_the_same(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", results(4000)))
    rows, again = shown_rows(run, sample=100), shown_rows(run, sample=100)
    assert (rows["kind"] == "dominated").sum() == 100
    assert (rows["kind"] == "front").sum() == len(run.front)
    assert list(rows["design_id"]) == list(again["design_id"])


def test_with_nothing_feasible_the_nearest_misses_are_shown_in_order(tmp_path: Path) -> None:
    frame = results(40).assign(feasible=False, violation=np.linspace(4, 0.1, 40), violations="memory: too little")
    rows = shown_rows(read_run(write_run(tmp_path / "run", frame)))
    assert set(rows["kind"]) == {"infeasible"}
    assert rows["violation"].is_monotonic_increasing
    assert rows["violation"].iloc[0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", b"{", "manifest.json: not JSON"),
        ("resolved.yaml", b"a: [", "resolved.yaml: not YAML"),
        ("results.parquet", b"no", "results.parquet: not a readable parquet file"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).write_bytes(content)
    with pytest.raises(ReportError, match=message) as error:
        read_run(folder)
    assert "\n" not in str(error.value)


def test_a_folder_without_results_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no results\.parquet and no parts"):
        read_run(tmp_path)


def test_unknown_objectives_fall_back_to_cost_and_latency(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", objectives=OBJECTIVES, manifest={"objectives": ["min no_such_metric"]}))
    assert [str(item) for item in run.objectives] == OBJECTIVES


def test_results_that_lack_an_objective_of_their_manifest_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", frame=results(20))
    results(20).drop(columns="ttft_p90").to_parquet(folder / "results.parquet")
    with pytest.raises(ReportError, match="results hold no column ttft_p90, an objective of the run"):
        read_run(folder)


def test_the_nearest_misses_are_designs_that_ran(tmp_path: Path) -> None:
    """A design 7% beyond a memory has no latency to show; one that misses its limit twelvefold has."""
    frame = results(6).assign(feasible=False, violation=[0.07, 12.0, 0.05, 3.0, 5.0, 9.0])
    frame.loc[[0, 2], ["usd_per_mtok", "ttft_p90"]] = np.nan
    missed = shown_rows(read_run(write_run(tmp_path / "run", frame=frame)))
    assert missed["violation"].tolist() == [3.0, 5.0, 9.0, 12.0, 0.05, 0.07]
