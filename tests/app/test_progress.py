"""Progress: rates, times left, and no more lines than asked."""

import io
import math

import pytest

from mist_dse.app.progress import ProgressLine, progress_text, terminal_text
from mist_dse.explore.searches.stopping import Progress


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def said(terminal: bool) -> str:
    now = [0.0]
    screen = Screen(terminal)
    line = ProgressLine(screen, clock=lambda: now[0])
    for step in range(101):
        now[0] = step / 8  # eighths are exact
        line(Progress(step, 200, 8.0, (200 - step) / 8, 3, 0.5))
    line.close()
    return screen.getvalue()


def test_a_file_gets_a_line_every_five_seconds() -> None:
    assert said(terminal=False).splitlines() == [
        "simulate: 40 of at most 200 designs, 8/s, at most 20 s left, 3 on the front, hypervolume 0.5",
        "simulate: 80 of at most 200 designs, 8/s, at most 15 s left, 3 on the front, hypervolume 0.5",
    ]


def test_a_terminal_gets_one_line_that_renews_itself() -> None:
    text = said(terminal=True)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.count("\r") == 51  # every second of 101 steps of 1/8 s: the period is 0.2 s


@pytest.mark.parametrize(("seconds", "words"), [(89, "89 s"), (600, "10 min"), (36000, "10.0 h")])
def test_times_left_are_said_in_a_fitting_unit(seconds: float, words: str) -> None:
    assert f"at most {words} left" in progress_text(Progress(1, 2, 1.0, seconds, 0, 0.0))


def test_an_unknown_rate_and_time_are_not_said() -> None:
    assert progress_text(Progress(0, 50, 0.0, math.inf, 0, 0.0, "screen")) == "screen: 0 of at most 50 designs"


def test_what_a_search_is_over_comes_first_and_once() -> None:
    screen, asked = Screen(False), []
    line = ProgressLine(screen, clock=lambda: 0.0, first=lambda: asked.append(1) or "space of 12 designs")  # type: ignore[func-returns-value]
    assert screen.getvalue() == ""  # nothing before the search has begun
    for step in range(3):
        line(Progress(step, 12, 8.0, 1.0, 3, 0.5))
    assert (screen.getvalue(), asked) == ("space of 12 designs\n", [1])


@pytest.mark.parametrize("width", [20, 40, 60, 79, 119, 300])
@pytest.mark.parametrize("done", [0, 7, 124, 150_000])
def test_a_line_of_a_terminal_fits_it(width: int, done: int) -> None:
    text = terminal_text(Progress(done, 150_000, 60.4, 5400.0, 18, 1.496), width)
    assert len(text) <= width
    assert text.startswith("simulate")
    assert not text.endswith((",", " "))
    assert ("hypervolume 1.496" in text) == (width > 70)  # what matters least goes first
    cells = text.count("━") + text.count("─")
    assert 8 <= cells <= 32 or (cells == 0 and width < 100)


def test_the_bar_is_the_share_that_is_done() -> None:
    bars = [terminal_text(Progress(done, 100, 1.0, 9.0, 1, 1.0), 150, fine=False).split()[1] for done in (0, 25, 50, 100)]
    assert [bar.count("#") for bar in bars] == [0, 8, 16, 32]
    assert {len(bar) for bar in bars} == {32}
    assert {*"".join(bars)} == {"#", "-"}


def test_a_shorter_line_leaves_nothing_of_a_longer_one() -> None:
    now = [0.0]
    screen = Screen(terminal=True)
    line = ProgressLine(screen, clock=lambda: now[0])
    for step, state in enumerate((Progress(5, 90, 8.0, 85 / 8, 3, 0.5), Progress(0, 0, 0.0, math.inf, 0, 0.0, "start workers"))):
        now[0] = float(step)
        line(state)
    _, long, short = screen.getvalue().split("\r")
    assert len(short) == len(long)
    assert short.rstrip() == "start workers ..."


def test_before_anything_is_known_nothing_is_claimed() -> None:
    assert terminal_text(Progress(0, 0, 0.0, math.inf, 0, 0.0, "start workers"), 79) == "start workers ..."
    assert "hypervolume" not in terminal_text(Progress(5, 9, 1.0, 4.0, 0, 0.0), 119)
    assert "hypervolume" not in progress_text(Progress(5, 9, 1.0, 4.0, 0, 0.0))
