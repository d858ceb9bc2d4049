"""Figures of one simulation against its records: bars of requests, counts at servers whose area is the time spent there."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import mist_dse as md
from mist_dse.evaluation import Simulation
from mist_dse.report import ReportError
from mist_dse.report.figures import load_figure, timeline_figure
from mist_dse.report.figures.timeline import BINS, counted


def simulated(design: str, requests: int, rate: float = 4.0) -> Simulation:
    return md.simulate(md.load_design(design), md.Workload.poisson(rate=rate, input_tokens=512, output_tokens=32, requests=requests))


@pytest.fixture(scope="module")
def run() -> Simulation:
    return simulated("disagg_2x4", 80)


def bars(figure: Any) -> dict[str, list[tuple[int, float, float]]]:
    """Number, start and end of every bar, by trace."""
    return {trace.name: [(y, base, base + x) for y, base, x in zip(trace.y, trace.base, trace.x, strict=True)]
            for trace in figure.data if trace.type == "bar"}  # fmt: skip


def test_bars_are_the_stages_of_the_records(run: Simulation) -> None:
    records = run.to_pandas()
    figure = timeline_figure(records, requests=20)
    found = bars(figure)
    assert set(found) == {"waiting, or between stages", "prefill", "decode"}
    for stage in ("prefill", "decode"):
        for row, (number, start, end) in zip(records.head(20).to_dict("records"), found[stage], strict=True):
            assert (number, start) == (row["request"], row[f"{stage}_start_s"])
            assert end == pytest.approx(row[f"{stage}_end_s"])
    for row, (_, start, end) in zip(records.head(20).to_dict("records"), found["waiting, or between stages"], strict=True):
        assert start == row["arrival_s"]
        assert end == pytest.approx(row["end_s"])
    token = next(trace for trace in figure.data if trace.meta == "token")
    assert list(token.x) == records["first_token_s"].head(20).tolist()


def test_any_part_of_the_run_is_drawn(run: Simulation) -> None:
    figure = timeline_figure(run.to_pandas(), requests=5, first=30)
    assert [number for number, _, _ in bars(figure)["decode"]] == [30, 31, 32, 33, 34]
    with pytest.raises(ReportError, match="from number 80 on: records hold 80"):
        timeline_figure(run.to_pandas(), first=80)
    with pytest.raises(ReportError, match="0 stages"):
        timeline_figure(run.to_pandas()[["request", "arrival_s"]])


def test_stages_that_run_at_once_lie_beside_one_another() -> None:
    times = {"arrival_s": 0.0, "first_token_s": 2.0, "end_s": 3.0, "guard_start_s": 0.0, "guard_end_s": 2.0, "prefill_start_s": 1.0,
             "prefill_end_s": 2.0, "skipped_start_s": np.nan, "skipped_end_s": np.nan}  # fmt: skip
    traces = {trace.name: trace for trace in timeline_figure(pd.DataFrame([times])).data if trace.meta == "stage"}
    assert set(traces) == {"guard", "prefill"}
    (guard, prefill) = ((trace.offset, trace.offset + trace.width) for trace in traces.values())
    assert guard[1] <= prefill[0] + 1e-9


def test_a_request_that_never_ended_has_the_bars_it_came_to() -> None:
    times = {"request": [0, 1], "arrival_s": [0.0, 1.0], "first_token_s": [1.0, np.nan], "end_s": [2.0, np.nan],
             "prefill_start_s": [0.5, np.nan], "prefill_end_s": [1.0, np.nan]}  # fmt: skip
    found = bars(timeline_figure(pd.DataFrame(times)))
    assert found["prefill"] == [(0, 0.5, 1.0)]
    assert found["waiting, or between stages"] == [(0, 0.0, 2.0), (1, 1.0, 1.0)]


def area(times: np.ndarray, count: np.ndarray) -> float:
    return float((np.diff(times) * count[:-1]).sum())


@pytest.mark.parametrize("requests", [80, 3000])
def test_the_area_of_a_count_is_the_time_that_visits_spent_so(requests: int) -> None:
    """Little's law: what is there, over time, is what came times how long it stayed, also where steps are averaged."""
    run = simulated("disagg_2x4", requests)
    records, jobs = run.records, run.lowered.jobs
    for number, name in enumerate(run.lowered.servers.names):
        here = jobs.server == number
        panel = counted(run, name)
        spent = {"running": records.visit_end - records.visit_start, "waiting": records.visit_start - records.visit_ready}
        for kind, seconds in spent.items():
            times, count = panel[kind]
            assert len(times) == len(count) <= BINS + 1
            assert times[0] == 0
            assert times[-1] == pytest.approx(records.makespan)
            assert (np.diff(times) >= 0).all()
            assert area(times, count) == pytest.approx(seconds[here].sum(), rel=1e-9, abs=1e-9)


def test_counts_before_averaging_are_whole_visits(run: Simulation) -> None:
    times, count = counted(run, "decode")["running"]
    records = run.records
    here = run.lowered.jobs.server == list(run.lowered.servers.names).index("decode")
    start, end = records.visit_start[here], records.visit_end[here]
    middle = (times[:-1] + times[1:]) / 2
    assert count[:-1].tolist() == [int(((start <= at) & (at < end)).sum()) for at in middle]


def test_a_panel_per_server_under_one_clock(run: Simulation) -> None:
    figure = load_figure(run)
    assert [figure.layout[f"yaxis{key}"].title.text for key in ("", "2", "3")] == [
        "prefill (visits)",
        "decode (visits)",
        "handoff (visits)",
    ]
    assert [trace.name for trace in figure.data] == ["in service", "waiting"] * 3
    assert [trace.showlegend for trace in figure.data] == [True, True, False, False, False, False]
    ends = [figure.layout[f"yaxis{key}"].domain for key in ("3", "2", "")]
    assert all(low < high for low, high in ends)
    assert [ends[0][1], ends[1][1]] == sorted([ends[0][1], ends[1][1]])
    assert all(ends[number][1] < ends[number + 1][0] for number in range(2))
    assert [trace.yaxis for trace in load_figure(run, ["decode"]).data] == ["y", "y"]
    with pytest.raises(ReportError, match="encode: no such server; the run has prefill, decode, handoff"):
        load_figure(run, ["encode"])
