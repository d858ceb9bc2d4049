from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.report import read_run
from mist_dse.report.figures import breakdown_figure, front_figure, waterfall_figure
from mist_dse.report.figures.front import axis, staircase
from mist_dse.report.figures.palette import SERIES, series_style
from tests.report.runs import FIVE, results, write_run


def test_axes_are_titled_with_units_and_wide_ones_are_logarithmic(tmp_path: Path) -> None:
    frame = results(50).assign(usd_per_mtok=np.linspace(1, 10, 50), ttft_p90=np.geomspace(10, 0.1, 50))
    layout = front_figure(read_run(write_run(tmp_path / "run", frame))).layout
    assert (layout.xaxis.title.text, layout.xaxis.type) == ("usd_per_mtok (USD/Mtoken)", "linear")
    assert (layout.yaxis.title.text, layout.yaxis.type) == ("ttft_p90 (s)", "log")


@pytest.mark.parametrize("values", [[0.0, 100.0], [-1.0, 5.0], [None, 3.0], []])
def test_an_axis_with_no_positive_range_is_linear(values: list[float | None]) -> None:
    assert axis("ttft_p90", values)["type"] == "linear"


def test_a_limit_on_a_plotted_metric_is_a_line_at_its_value(tmp_path: Path) -> None:
    layout = front_figure(read_run(write_run(tmp_path / "run"))).layout
    assert [(shape.y0, shape.y1, shape.yref, shape.label.text) for shape in layout.shapes] == [(1.0, 1.0, "y", "ttft_p90 &lt;= 1 s")]


def test_every_point_says_its_design_and_its_objectives(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    trace = next(trace for trace in front_figure(run).data if trace.meta == "front")
    assert len(trace.x) == len(run.front)
    assert all("ttft_p90" in text and "usd_per_mtok" in text and " x " in text for text in trace.hovertext)


def test_a_third_objective_is_the_colour(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", objectives=FIVE))
    trace = next(trace for trace in front_figure(run).data if trace.meta == "front")
    assert trace.marker.colorbar.title.text == "joules_per_token (J/token)"
    assert sorted(trace.marker.color) == pytest.approx(sorted(run.front["joules_per_token"]), rel=1e-4)


def test_one_objective_is_drawn_against_the_accelerators(tmp_path: Path) -> None:
    layout = front_figure(read_run(write_run(tmp_path / "run", objectives=["min ttft_p90"]))).layout
    assert (layout.xaxis.title.text, layout.yaxis.title.text) == ("accelerators", "ttft_p90 (s)")


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        (("min", "min"), ([1.0, 2.0, 2.0], [5.0, 5.0, 4.0])),
        (("max", "max"), ([3.0, 2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 4.0, 4.0, 5.0])),
    ],
)
def test_the_line_turns_at_attained_corners(better: tuple[str, str], expected: tuple[list[float], list[float]]) -> None:
    points = ([1.0, 2.0, 3.0], [5.0, 4.0, 4.5 if better[0] == "min" else 1.0])
    assert staircase(*points, better) == expected


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=30))
def test_no_point_lies_beyond_the_line(points: list[tuple[float, float]]) -> None:
    xs, ys = staircase([x for x, _ in points], [y for _, y in points], ("min", "min"))
    attained = {corner for corner in zip(xs, ys, strict=True) if corner in set(points)}
    assert all(any(x <= a and y <= b for x, y in attained) for a, b in points)
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True)


def test_the_breakdown_sums_to_its_parts() -> None:
    figure = breakdown_figure({"prefill": {"queue": 0.5, "service": 1.0}, "decode": {"service": 4.0, "queue": None}})
    assert {(trace.name, stage): x for trace in figure.data for stage, x in zip(trace.y, trace.x, strict=True)} == {
        ("queue", "prefill"): 0.5, ("service", "prefill"): 1.0, ("queue", "decode"): 0.0, ("service", "decode"): 4.0}  # fmt: skip
    assert "(s)" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text == "stage"


def test_no_two_series_look_alike() -> None:
    looks = [(style["color"], style["pattern"]["shape"]) for style in map(series_style, range(len(SERIES) * 5))]
    assert len(set(looks)) == len(looks)


def test_waiting_has_one_colour_in_every_report() -> None:
    """Whichever cause the first design happens to have."""
    cells = [
        {"prefill": {"service": 1.0, "queue": 2.0}},
        {"prefill": {"queue": 2.0, "service": 1.0}},
        {"decode": {"service": 1.0}, "b": {"queue": 0.5}},
    ]
    for figure in [draw(breakdown) for breakdown in cells for draw in (breakdown_figure, waterfall_figure)]:
        assert {trace.name: trace.marker.color for trace in figure.data} == {"queue": SERIES[0], "service": SERIES[1]}
