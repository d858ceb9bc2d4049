"""When the front is drawn after a sweep, and with what: a terminal or not, colours or not, UTF-8 or not, wide or narrow."""

import io
import os

import pytest

from mist_dse.app.verbs.sweep import draw
from mist_dse.explore import SweepResult
from tests.report.runs import OBJECTIVES, front_of, results


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self.terminal, self.named = terminal, encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.named

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


def drawn(wanted: bool | None, stream: Stream) -> str:
    frame = results(80)
    found = SweepResult(front=front_of(frame, OBJECTIVES), results=frame, manifest={"objectives": OBJECTIVES}, folder=None)
    draw(found, wanted=wanted, stream=stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("terminal", "wanted", "expected"),
    [(True, None, True), (True, True, True), (True, False, False), (False, None, False), (False, True, True), (False, False, False)],
)
def test_a_plot_comes_in_a_terminal_or_if_asked_for(terminal: bool, wanted: bool | None, expected: bool) -> None:
    text = drawn(wanted, Stream(terminal=terminal))
    assert ("\u25cf" in text) is expected
    assert bool(text) is expected
    assert ("\x1b[" in text) is (expected and terminal)
    assert not expected or text.endswith("\n\n")


def test_colours_are_left_out_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = drawn(None, Stream(terminal=True))
    assert "\u25cf" in text
    assert "\x1b[34m" not in text
    assert "\x1b[90m" not in text


def test_a_dumb_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in drawn(None, Stream(terminal=True))


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_the_plot_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    widest = max(map(len, drawn(True, Stream(terminal=False)).splitlines()))
    assert min(columns, 100) - 3 <= widest <= min(columns, 100)


def test_a_narrow_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert drawn(None, Stream(terminal=True)) == ""


def test_a_stream_without_utf_8_gets_ascii() -> None:
    text = drawn(True, Stream(terminal=False, encoding="iso8859-1"))
    assert text.isascii()
    assert "o front" in text
    assert os.linesep in text
