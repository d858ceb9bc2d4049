"""Figures of several runs and of what a run's robustness stored: attainment, hypervolume history, shares of draws."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from mist_dse.explore.front import hypervolume
from mist_dse.report import ReportError, Run, read_run
from mist_dse.report.figures import history_figure, robustness_figure, seeds_figure
from mist_dse.report.figures.history import histories
from mist_dse.report.figures.runs import named_runs
from mist_dse.report.figures.seeds import attained
from tests.report.runs import FIVE, MANIFEST, front_of, results, write_run

FRONTS = st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5), min_size=1, max_size=5)


def run(folder: Path, frame: pd.DataFrame | None = None, **options) -> Run:
    return read_run(write_run(folder, frame, **options))


@given(fronts=FRONTS, half=st.booleans())
def test_corners_bound_exactly_what_enough_fronts_attain(fronts: list[list[tuple[int, int]]], half: bool) -> None:
    points = [np.array(front, dtype=float) for front in fronts]
    share = 0.5 if half else 1.0
    corners = attained(points, share)
    for x in np.arange(-0.5, 7):
        for y in np.arange(-0.5, 7):
            count = sum(bool(((front <= [x, y]).all(axis=1)).any()) for front in points)
            assert bool((corners <= [x, y]).all(axis=1).any()) == (count >= share * len(points))
    assert (np.diff(corners[:, 0]) > 0).all()
    assert (np.diff(corners[:, 1]) < 0).all()


def test_the_band_lies_between_what_some_and_what_all_runs_attain(tmp_path: Path) -> None:
    runs = [run(tmp_path / f"s{seed}", results(seed=seed)) for seed in range(1, 6)]
    traces = {trace.meta: trace for trace in seeds_figure(runs).data}
    members = np.concatenate([one.front[["usd_per_mtok", "ttft_p90"]].to_numpy() for one in runs])
    some = set(zip(traces["some"].x, traces["some"].y, strict=True))
    for x, y in members:  # nothing lies beyond what some run attains, and its corners are members
        assert any(cx <= x and cy <= y for cx, cy in some)
    assert set(map(tuple, front_rows(members))) <= some
    for x, y in zip(traces["every"].x, traces["every"].y, strict=True):
        on_edge = x == members[:, 0].max() or y == members[:, 1].max()
        assert on_edge or all((one.front[["usd_per_mtok", "ttft_p90"]].to_numpy() <= [x, y]).all(axis=1).any() for one in runs)
    assert sum(trace.meta == "front" for trace in seeds_figure(runs).data) == 5


def front_rows(points: np.ndarray) -> np.ndarray:
    return points[[not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]]


def test_an_objective_to_maximise_is_attained_from_below(tmp_path: Path) -> None:
    goals = ["min usd_per_hour", "max throughput_rps"]
    runs = [run(tmp_path / f"s{seed}", results(seed=seed), objectives=goals) for seed in (1, 2)]
    traces = {trace.meta: trace for trace in seeds_figure(runs).data}
    best = max(one.front["throughput_rps"].max() for one in runs)
    assert max(traces["some"].y) == best
    assert max(traces["every"].y) == min(one.front["throughput_rps"].max() for one in runs)
    assert list(traces["half"].y) == sorted(traces["half"].y)


def test_seeds_take_two_objectives_that_all_runs_have(tmp_path: Path) -> None:
    two, five = run(tmp_path / "two"), run(tmp_path / "five", objectives=FIVE)
    figure = seeds_figure([two, five])
    assert figure.layout.yaxis.title.text == "ttft_p90 (s)"
    assert seeds_figure([five], axes=["joules_per_token", "e2e_p99"]).layout.xaxis.title.text == "joules_per_token (J/token)"
    with pytest.raises(ReportError, match="must be two objectives of every run, which are usd_per_mtok, ttft_p90"):
        seeds_figure([two, five], axes=["usd_per_mtok", "e2e_p99"])
    bare = run(tmp_path / "bare", results().assign(feasible=False))
    with pytest.raises(ReportError, match="bare: has no front"):
        seeds_figure([two, bare])
    with pytest.raises(ReportError, match="at least one"):
        seeds_figure([])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [run(tmp_path / part / "run") for part in ("a", "b")]
    assert list(named_runs(runs)) == [str(one.path) for one in runs]
    assert list(named_runs({"one": runs[0], "two": runs[1]})) == ["one", "two"]


def volume(frame: pd.DataFrame, joint: pd.DataFrame) -> float:
    """Share of the hypervolume of ``joint``, on log axes up to a tenth beyond its front, by the definition."""
    points, front = (np.log10(one[["usd_per_mtok", "ttft_p90"]].to_numpy(dtype=float)) for one in (frame, joint))
    low, high = front.min(axis=0), front.max(axis=0)
    reference = np.full(2, 1.1)
    return hypervolume(np.maximum((points - low) / (high - low), 0), reference) / hypervolume((front - low) / (high - low), reference)


def test_hypervolume_after_every_simulation_is_that_of_the_rows_so_far(tmp_path: Path) -> None:
    frame = results(40)
    found = histories({"run": run(tmp_path / "run", frame)})["run"]
    joint = front_of(frame, ["min usd_per_mtok", "min ttft_p90"])
    for count in range(1, 41):
        stated = found.hypervolume[np.flatnonzero(found.simulated <= count)[-1]]
        assert stated == pytest.approx(volume(frame.head(count), joint), abs=1e-9)
    assert found.hypervolume[-1] == pytest.approx(1)
    assert found.share == pytest.approx(found.simulated / MANIFEST["designs_in_space"])


def test_runs_are_measured_in_the_box_of_all(tmp_path: Path) -> None:
    frames = [results(40, seed=seed) for seed in (1, 2)]
    runs = {f"s{seed}": run(tmp_path / f"s{seed}", frame) for seed, frame in enumerate(frames)}
    joint = front_of(pd.concat(frames), ["min usd_per_mtok", "min ttft_p90"])
    for frame, found in zip(frames, histories(runs).values(), strict=True):
        assert found.hypervolume[-1] == pytest.approx(volume(frame, joint), abs=1e-9)


def test_copied_rows_and_coarser_fidelities_cost_nothing(tmp_path: Path) -> None:
    frame = results(40).assign(same_as=["" if row % 2 else None for row in range(40)])
    frame.loc[10:19, "same_as"] = "of another"
    steady = results(5, seed=9, fidelity="steady")
    assert histories({"run": run(tmp_path / "run", pd.concat([steady, frame]))})["run"].simulated[-1] == 30


def test_infeasible_rows_move_a_run_along_and_not_its_front(tmp_path: Path) -> None:
    frame = results(40)
    frame.loc[:19, "feasible"] = False
    found = histories({"run": run(tmp_path / "run", frame)})["run"]
    assert found.hypervolume[0] == 0
    assert found.simulated[1] == 21
    assert (np.diff(found.hypervolume) >= 0).all()


def test_a_growing_run_counts_in_the_order_in_which_parts_were_written(tmp_path: Path) -> None:
    frame = results(40)
    folder = write_run(tmp_path / "run", frame, finished=False)
    later, sooner = sorted((folder / "parts").glob("*.parquet"))
    os.utime(later, ns=(2_000, 2_000))
    os.utime(sooner, ns=(1_000, 1_000))
    found = histories({"run": read_run(folder)})["run"]
    turned = pd.concat([frame.iloc[20:], frame.iloc[:20]], ignore_index=True)
    expected = histories({"run": run(tmp_path / "turned", turned)})["run"]
    assert np.array_equal(found.simulated, expected.simulated)
    assert found.hypervolume == pytest.approx(expected.hypervolume)


def test_history_is_drawn_over_the_share_of_the_space_or_over_designs(tmp_path: Path) -> None:
    known = run(tmp_path / "known", manifest={**MANIFEST, "identity": {"space": "a"}})
    unknown = run(tmp_path / "unknown", manifest={**MANIFEST, "designs_in_space": None, "identity": {"space": "b"}})
    sibling = run(tmp_path / "sibling", manifest={**MANIFEST, "designs_in_space": None, "identity": {"space": "a"}})
    axis = history_figure([known, sibling]).layout.xaxis
    assert (axis.title.text, axis.type) == ("designs simulated, share of the space (%)", "log")
    assert history_figure([known, unknown]).layout.xaxis.title.text == "designs simulated (count)"
    assert history_figure(known).data[0].y[-1] == pytest.approx(100)
    assert history_figure(known).data[0].x[-1] == pytest.approx(100 * 60 / MANIFEST["designs_in_space"])


def test_history_of_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    two, five = run(tmp_path / "two"), run(tmp_path / "five", objectives=FIVE)
    with pytest.raises(ReportError, match="five: has other objectives"):
        history_figure([two, five])
    with pytest.raises(ReportError, match="nothing is feasible"):
        history_figure(run(tmp_path / "bare", results().assign(feasible=False)))


def test_one_design_has_a_history(tmp_path: Path) -> None:
    assert histories({"run": run(tmp_path / "run", results(1))})["run"].hypervolume[-1] == pytest.approx(1)


def test_shares_of_draws_are_the_colour_of_members_and_others(tmp_path: Path) -> None:
    found = run(tmp_path / "run")
    with pytest.raises(ReportError, match="'mist-dse robustness"):
        robustness_figure(found)
    shares = np.linspace(0, 1, 20)
    table = found.results.head(20).assign(
        on_front=np.arange(20) < 8, p_front_seeds=shares, p_front_load=np.where(shares > 0.5, shares, np.nan)
    )
    table.to_parquet(tmp_path / "run" / "robustness.parquet")
    traces = {trace.meta: trace for trace in robustness_figure(found).data}
    assert list(traces["front"].marker.color) == pytest.approx(100 * shares[:8])
    assert list(traces["others"].marker.color) == pytest.approx(100 * shares[8:])
    assert list(traces["front"].x) == table["usd_per_mtok"].head(8).tolist()
    assert "on the front in 100% of seeds" in traces["others"].hovertext[-1]
    drawn = {trace.meta: trace for trace in robustness_figure(found, "load", axes=["accelerators", "e2e_p99"]).data}
    assert "front" not in drawn  # none of its members was drawn of loads
    assert len(drawn["others"].x) == 10
    with pytest.raises(ReportError, match=r"source=prices: nothing was drawn of it; .* has load, seeds"):
        robustness_figure(found, "prices")
