"""The front in characters: every member in its cell, labels where their values are, and nothing where nothing can be drawn."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from mist_dse.report.terminal import FINE, NARROWEST, PLAIN, ROWS, Scale, front_plot, painted
from tests.report.runs import FIVE, OBJECTIVES, front_of, results


def plot(frame: pd.DataFrame, objectives: list[str] = OBJECTIVES, **options) -> list[str]:
    return front_plot(front_of(frame, objectives), frame, objectives, **options)


def table(points: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(points, columns=["usd_per_mtok", "ttft_p90"]).assign(feasible=True)


@pytest.mark.parametrize("width", [40, 80, 300])
@pytest.mark.parametrize("fine", [True, False])
def test_the_plot_fits_and_names_its_axes_with_units(width: int, fine: bool) -> None:
    lines = plot(results(200), width=width, fine=fine)
    assert len(lines) == ROWS + 4 <= 20
    assert max(map(len, lines)) <= min(width, 100)
    assert lines[0].startswith("ttft_p90 (s)")
    assert lines[-1].strip() == "usd_per_mtok (USD/Mtoken)"
    assert "\n".join(lines).isascii() is not fine
    assert all(line == line.rstrip() for line in lines)


def test_members_stand_at_the_ends_of_the_axes() -> None:
    lines = plot(table([(1.0, 4.0), (4.0, 1.0), (2.0, 2.0), (4.0, 4.0)]), fine=False)
    body = [line.partition("+" if "+" in line else "|")[2] for line in lines[1 : ROWS + 1]]
    marks = {(row, at): mark for row, line in enumerate(body) for at, mark in enumerate(line) if mark in "o."}
    right = max(at for _, at in marks)
    assert marks[0, 0] == "o"
    assert marks[ROWS - 1, right] == "o"
    assert marks[0, right] == "."
    assert sorted(marks.values()) == [".", "o", "o", "o"]


def test_a_member_is_drawn_over_what_shares_its_cell() -> None:
    frame = table([(1.0, 2.0), (2.0, 1.0), *[(1.0001, 2.0001)] * 50])
    assert sum(line.count("o") for line in plot(frame, fine=False)[1 : ROWS + 1]) == 2


def test_what_lies_far_off_the_front_does_not_press_it_together() -> None:
    near = table([(1.0, 2.0), (2.0, 1.0)])
    far = pd.concat([near, table([(1000.0, 1000.0)])])
    assert plot(far) == plot(near)


def test_infeasible_designs_are_not_drawn() -> None:
    frame = results(100)
    hidden = pd.concat([frame, results(50, seed=3).assign(feasible=False)])
    assert front_plot(front_of(frame, OBJECTIVES), hidden, OBJECTIVES) == plot(frame)


def test_more_objectives_are_said_and_the_first_two_drawn() -> None:
    lines = plot(results(100), FIVE)
    count = len(front_of(results(100), FIVE))
    assert f"front ({count}, of 5 objectives)" in lines[0]
    assert lines[-1].strip() == "usd_per_mtok (USD/Mtoken)"


def test_better_may_be_up() -> None:
    goals = ["min usd_per_mtok", "max throughput_rps"]
    lines = plot(results(100), goals, fine=False)
    assert lines[0].startswith("throughput_rps (1/s)")


def test_nothing_is_drawn_of_nothing() -> None:
    frame = results(50)
    front = front_of(frame, OBJECTIVES)
    assert front_plot(front, frame, OBJECTIVES[:1]) == []
    assert front_plot(front.head(0), frame.assign(feasible=False), OBJECTIVES) == []
    assert front_plot(front, frame, OBJECTIVES, width=NARROWEST - 1) == []
    assert front_plot(front.assign(ttft_p90=np.nan), frame, OBJECTIVES) == []
    assert front_plot(front.drop(columns="ttft_p90"), frame, OBJECTIVES) == []


@pytest.mark.parametrize("point", [(1.0, 2.0), (0.0, 0.0), (1e-9, 1e9)])
def test_one_design_is_a_plot(point: tuple[float, float]) -> None:
    lines = plot(table([point]), fine=False)
    assert sum(line.count("o") for line in lines[1 : ROWS + 1]) == 1


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.integers(10, 90))
def test_every_value_has_a_cell_and_ticks_are_round_and_inside(values: list[float], cells: int) -> None:
    scale = Scale.over(np.array(values), cells)
    at = scale.cell(np.array(values))
    assert ((at >= 0) & (at < cells)).all()
    ticks = scale.ticks(max(cells // 10, 2))
    assert len(ticks) <= max(cells // 10, 2)
    assert ticks == sorted(ticks)
    for tick in ticks:
        assert 0 <= scale.cell(np.array(tick)) < cells
        assert float(f"{tick:.6g}") == pytest.approx(tick, rel=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (1.0, 9.0, False, [2, 4, 6, 8]),
        (0.0, 100.0, False, [0, 20, 40, 60, 80, 100]),
        (1.0, 11.0, True, [1, 2, 5, 10]),
        (0.02, 3.0, True, [0.03, 0.1, 0.3, 1, 3]),
        (1e-3, 1e4, True, [1e-3, 1e-1, 10, 1e3]),
    ],
)
def test_wide_axes_are_logarithmic(low: float, high: float, log: bool, ticks: list[float]) -> None:
    scale = Scale.over(np.array([low, high]), 60)
    assert scale.log is log
    assert scale.ticks(6) == ticks


def test_labels_stand_under_their_ticks() -> None:
    lines = plot(table([(1.0, 100.0), (10.0, 50.0), (100.0, 1.0)]), width=80, fine=False)
    axis, labels = lines[-3], lines[-2]
    scale = Scale(1.0, 100.0, len(axis) - axis.index("+") - 1, True)
    start = axis.index("+") + 1
    for value in (10, 100):
        cell = start + int(scale.cell(np.array(float(value))))
        assert axis[cell] == "+"
        at = next(at for at in range(len(labels)) if labels[at:].split(" ")[0] == str(value) and (at == 0 or labels[at - 1] == " "))
        assert abs(at + len(str(value)) / 2 - cell) <= 2


def test_colours_are_for_terminals_alone() -> None:
    from io import StringIO

    from rich.console import Console

    lines = plot(results(100))
    for terminal in (True, False):
        out = StringIO()
        Console(
            file=out, force_terminal=terminal, color_system="standard" if terminal else "auto", width=200, soft_wrap=True, highlight=False
        ).print(painted(lines))
        assert ("\x1b[" in out.getvalue()) is terminal
        if not terminal:
            assert [line.rstrip() for line in out.getvalue().splitlines()] == lines


def test_marks_take_one_column_each() -> None:
    from rich.cells import cell_len

    assert [cell_len(mark) for marks in (FINE, PLAIN) for mark in marks] == [1] * 14
    assert math.prod(mark.isascii() for mark in PLAIN) == 1
