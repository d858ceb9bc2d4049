"""Figures of tables: what-if slices against brute force, sensitivity as it is printed, predictions against measurements."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse.explore import Space, screen
from mist_dse.explore.reviews.sensitivity import sensitivity
from mist_dse.report import ReportError, read_run
from mist_dse.report.figures import sensitivity_figure, slices_figure, validation_figure
from mist_dse.report.figures.validation import compared
from mist_dse.specs.workload import Workload
from tests.report.runs import results, write_run

SPACE = {
    "name": "small",
    "base": "tp1_colocated",
    "vary": {"pools.serve.tp": [1, 2, 4], "pools.serve.replicas": "1..4", "pools.serve.accelerator": ["h100_sxm", "l40s"]},
    "objectives": ["min usd_per_mtok", "min ttft_p90"],
}
WORKLOAD = Workload.poisson(rate=2.0, input_tokens=512, output_tokens=64, requests=200)


def lines(figure: Any) -> dict[str, dict[Any, float]]:
    return {trace.name: {x: y for x, y in zip(trace.x, trace.y, strict=True) if y is not None} for trace in figure.data}


def test_a_slice_is_the_best_of_all_that_share_its_two_values() -> None:
    frame = results(300)
    frame.loc[::7, "feasible"] = False
    frame.loc[::11, "ttft_p90"] = np.nan
    found = lines(slices_figure(frame, "pools.prefill.replicas", "ttft_p90", by="pools.prefill.tp"))
    able = frame[frame["feasible"] & frame["ttft_p90"].notna()]
    assert set(found) == {"1", "2", "4", "8"}
    for tp, line in found.items():
        part = able[able["pools.prefill.tp"] == int(tp)]
        assert line == part.groupby("pools.prefill.replicas")["ttft_p90"].min().to_dict()


def test_more_is_better_where_the_metric_says_so() -> None:
    frame = results(100)
    figure = slices_figure(frame, "placement", "throughput_rps")
    assert lines(figure)[""] == frame.groupby("placement")["throughput_rps"].max().to_dict()
    assert figure.layout.yaxis.title.text == "most throughput_rps (1/s)"
    assert figure.layout.xaxis.type == "category"
    assert {trace.mode for trace in figure.data} == {"markers"}  # no line leads from one name to another


def test_a_run_is_cut_at_the_fidelity_of_its_front(tmp_path: Path) -> None:
    steady = results(50, seed=2, fidelity="steady")
    whole = pd.concat([steady.assign(ttft_p90=steady["ttft_p90"] / 100), results(50)])
    found = lines(slices_figure(read_run(write_run(tmp_path / "run", whole)), "pools.prefill.tp", "ttft_p90"))
    assert found[""] == results(50).groupby("pools.prefill.tp")["ttft_p90"].min().to_dict()


def test_variables_are_held_at_one_value() -> None:
    frame = results(200)
    found = lines(slices_figure(frame, "pools.prefill.tp", "usd_per_mtok", only={"placement": "colocated"}))[""]
    assert found == frame[frame["placement"] == "colocated"].groupby("pools.prefill.tp")["usd_per_mtok"].min().to_dict()


def test_inactive_variables_have_no_place_on_the_axis() -> None:
    found = lines(slices_figure(results(200), "pools.decode.accelerator", "usd_per_mtok"))[""]
    assert set(found) == {"h100_sxm", "l40s"}


def test_a_screened_space_is_cut_as_it_was_screened() -> None:
    screened = screen(Space.from_dict(SPACE), WORKLOAD)
    found = lines(slices_figure(screened, "pools.serve.replicas", "ttft_p90", by="pools.serve.tp"))
    columns = screened.table.columns(["pools.serve.replicas", "pools.serve.tp"], 0, len(screened))
    frame = pd.DataFrame({**columns, "y": screened.metrics["ttft_p90"]})[screened.feasible].dropna()
    assert len(frame) > 4
    expected = frame.groupby(["pools.serve.tp", "pools.serve.replicas"])["y"].min()
    assert {(int(tp), x): y for tp, line in found.items() for x, y in line.items()} == expected.to_dict()


def test_numbers_that_grow_by_factors_stand_on_a_logarithmic_axis() -> None:
    axis = slices_figure(results(200), "pools.prefill.tp", "ttft_p90").layout.xaxis
    assert (axis.type, list(axis.ticktext), axis.title.text) == ("log", ["1", "2", "4", "8"], "prefill tp (devices)")
    assert slices_figure(results(200), "pools.prefill.replicas", "ttft_p90").layout.xaxis.type == "linear"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"x": "pools.prefill.pp", "y": "ttft_p90"}, "pools.prefill.pp: no such column; the table has"),
        ({"x": "placement", "y": "speed"}, "y=speed: must be a metric"),
        ({"x": "placement", "y": "ttft_p90", "only": {"pools.prefill.tp": 3}}, "no feasible design with pools.prefill.tp=3"),
        ({"x": "placement", "y": "max_goodput_rps"}, "max_goodput_rps: no such column"),
    ],
)
def test_a_slice_that_cannot_be_cut_says_why(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ReportError) as caught:
        slices_figure(results(60), **words)
    assert said in str(caught.value)


def test_the_screen_draws_what_it_was_asked() -> None:
    screened = screen(Space.from_dict(SPACE), WORKLOAD, metrics=["usd_per_mtok"])
    with pytest.raises(ReportError, match="the screen was not asked for it; it has usd_per_mtok"):
        slices_figure(screened, "pools.serve.tp", "ttft_p90")
    with pytest.raises(ReportError, match=r"pools\.decode\.tp: no feasible design has a value of it"):
        slices_figure(screened, "pools.decode.tp", "usd_per_mtok")


def test_sensitivity_is_drawn_from_python_and_from_what_is_printed() -> None:
    space = Space.from_dict(SPACE)
    found = sensitivity(screen(space, WORKLOAD), space.objectives, [item.path for item in space.free])
    printed = json.loads(json.dumps([{**item._asdict(), "effects": []} for item in found]))
    figure = sensitivity_figure(found)
    assert figure.to_json() == sensitivity_figure(printed[::-1]).to_json()
    losses = figure.data[0]
    assert list(losses.y) == [item.variable.removeprefix("pools.").replace(".", " ") for item in found]
    assert list(losses.x) == pytest.approx([100 * item.loss for item in found])
    totals = {trace.name: trace for trace in figure.data[1:]}
    assert list(totals) == ["usd_per_mtok", "ttft_p90", "within 5% of the front"]
    assert list(totals["ttft_p90"].x) == pytest.approx([item.total["ttft_p90"] for item in found])


def test_the_greatest_losses_alone_and_indices_that_are_not_defined() -> None:
    rows = [{"variable": f"pools.a.v{n}", "loss": n / 100, "best": n, "total": {"usd_per_mtok": None}} for n in range(30)]
    figure = sensitivity_figure(rows, most=5)
    assert list(figure.data[0].x) == pytest.approx([29, 28, 27, 26, 25])
    assert list(figure.data[1].x) == [None] * 5
    with pytest.raises(ReportError, match="no variable"):
        sensitivity_figure([])


def predictions() -> pd.DataFrame:
    frame = pd.DataFrame(
        {"kind": ["dense"] * 4 + ["moe"] * 4, "mode": "agg", "tpot_ms": [10.0] * 8, "ttft_ms": [100.0] * 8, "osl": 11.0,
         "pred_tpot_ms": [10.0, 11.0, 9.0, 30.0, 10.5, np.nan, 0.0, 12.0], "pred_ttft_ms": 100.0, "model": "m<1>"}
    )  # fmt: skip
    frame["covered"] = [True] * 7 + [False]
    frame["duplicate"] = False
    frame["quarantine"] = ["", "", np.nan, "stalled", "", "", "", ""]
    return frame


def test_points_are_the_rows_that_count_by_group() -> None:
    figure = validation_figure(predictions())
    points = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data if trace.meta == "rows"}
    assert points == {
        "agg dense 10.0% (3)": ([10, 10, 10], [10, 11, 9]),
        "agg moe 5.0% (1)": ([10], [10.5]),
    }
    assert (figure.layout.xaxis.title.text, figure.layout.xaxis.type) == ("measured TPOT (ms)", "log")
    assert "m&lt;1&gt;" in figure.to_plotly_json()["data"][3]["hovertext"][0]


def test_groups_are_any_column_and_slices_where_the_file_has_them() -> None:
    frame = predictions().assign(slice="one", engine=["vllm", "sglang"] * 4)
    assert set(compared(frame, "tpot")["group"]) == {"one"}
    assert set(compared(frame, "tpot", by="engine")["group"]) == {"vllm", "sglang"}


def test_bands_hold_the_errors_they_name() -> None:
    bands = {trace.name: trace for trace in validation_figure(predictions()).data if trace.meta == "band"}
    for name, error in (("±25%", 0.25), ("±10%", 0.10)):
        ratios = [y / x - 1 for x, y in zip(bands[name].x, bands[name].y, strict=True)]
        assert [abs(ratio) for ratio in ratios] == pytest.approx([error] * 4)
        assert [np.sign(ratio) for ratio in ratios] == [-1, -1, 1, 1]


def test_end_to_end_times_are_made_on_both_sides() -> None:
    rows = compared(predictions(), "e2e")
    assert rows["measured"].unique() == pytest.approx([200.0])
    assert rows["predicted"].tolist()[:3] == pytest.approx([200.0, 210.0, 190.0])


def test_predictions_that_cannot_be_drawn() -> None:
    with pytest.raises(ReportError, match="figure=speed: must be one of ttft, tpot"):
        validation_figure(predictions(), "speed")
    with pytest.raises(ReportError, match="output_tok_s: no such column"):
        validation_figure(predictions(), "output_tok_s")
    with pytest.raises(ReportError, match="no covered row"):
        validation_figure(predictions().assign(covered=False))
