"""Progress on standard error: done, rate, time left, front and hypervolume; one line that renews itself in a terminal, plain lines
elsewhere."""

import math
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mist_dse.explore.searches.stopping import Progress

TERMINAL_PERIOD, LINE_PERIOD = 0.2, 5.0
"""Least seconds between two lines in a terminal, and in a file or a pipe."""

USUAL_WIDTH = 80
"""Columns of a terminal that does not tell."""

BAR = (8, 32)
"""Fewest and most cells of the bar; with less room there is none."""


class ProgressLine:
    """A callable that says how far a search is, at most once per period, and ``first`` of all what it is over."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, *,
                 first: Callable[[], str] | None = None) -> None:  # fmt: skip
        self.first = first
        self.stream = sys.stderr if stream is None else stream
        self.clock = clock
        self.terminal = self.stream.isatty()
        self.said = -math.inf if self.terminal else clock()
        self.open = False
        self.written = 0

    def __call__(self, state: Progress) -> None:
        """Say ``state``, unless something was said just before."""
        if self.first is not None:
            self.stream.write(self.first() + "\n")
            self.first = None
        now = self.clock()
        if now - self.said < (TERMINAL_PERIOD if self.terminal else LINE_PERIOD):
            return
        self.said = now
        if self.terminal:
            text = terminal_text(state, self._width() - 1, fine=_fine(self.stream))  # in the last column a terminal would wrap
            self.stream.write("\r" + text.ljust(self.written))
            self.written = len(text)
        else:
            self.stream.write(progress_text(state) + "\n")
        self.stream.flush()
        self.open = self.terminal

    def close(self) -> None:
        """End the line that a terminal shows."""
        if self.open:
            self.stream.write("\n")
            self.stream.flush()
        self.open = False

    def _width(self) -> int:
        """Columns of the terminal as it is now; it may be resized."""
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or USUAL_WIDTH
        except OSError:
            return USUAL_WIDTH


def progress_text(state: Progress) -> str:
    """One line: phase, done, rate, time left at that rate, designs on the front and what they dominate; a total is the most that may come.

    >>> progress_text(Progress(50, 200, 5.0, 30.0, 7, 0.1))
    'simulate: 50 of at most 200 designs, 5/s, at most 30 s left, 7 on the front, hypervolume 0.1'
    """
    rate, left = _pace(state)
    count = f"{state.done:,} {f'of at most {state.total:,} ' if state.total > state.done else ''}designs"
    front = f"{state.front_size} on the front" if state.front_size else ""
    parts = [count, rate, left and f"at most {left} left", front, _volume(state)]
    return f"{state.phase}: {', '.join(part for part in parts if part)}"


def terminal_text(state: Progress, width: int, *, fine: bool = True) -> str:
    """The same in few words and at most ``width`` columns, with a bar where there is room; ``fine``: characters beyond ASCII.

    >>> terminal_text(Progress(50, 200, 5.0, 30.0, 7, 0.1), 79, fine=False)
    'simulate ####-------------  50/200  5/s  <= 30 s left  front 7  hypervolume 0.1'
    """
    rate, left = _pace(state)
    count = f"{state.done:,}/{state.total:,}" if state.total > state.done else f"{state.done:,}"
    if not state.done and not state.total:
        return f"{state.phase} ..."[:width]
    words = [
        count,
        rate,
        left and f"{'≤' if fine else '<='} {left} left",
        f"front {state.front_size}" if state.front_size else "",
        _volume(state),
    ]
    words = [word for word in words if word]
    while len(text := "  ".join(words)) > width - len(state.phase) - 1 and len(words) > 1:
        words.pop()
    cells = min(width - len(text) - len(state.phase) - 3, BAR[1])
    if cells >= BAR[0] and state.total > 0:
        text = f"{_bar(min(state.done / state.total, 1.0), cells, '━─' if fine else '#-')}  {text}"
    return f"{state.phase} {text}"[:width]


def _bar(share: float, cells: int, marks: str) -> str:
    full = math.floor(share * cells)
    return marks[0] * full + marks[1] * (cells - full)


def _pace(state: Progress) -> tuple[str, str]:
    """Rate and time left, empty where they are not known."""
    rate = "" if state.rate <= 0 else f"{state.rate:,.3g}/s" if state.rate < 1000 else f"{state.rate:,.0f}/s"
    return rate, _duration(state.remaining_s) if 0 < state.remaining_s < math.inf else ""


def _volume(state: Progress) -> str:
    """Of the front on log axes, up to a tenth beyond the worst seen; it says how the front grows, and nothing beside another run's."""
    return f"hypervolume {state.hypervolume:.4g}" if state.front_size else ""


def _fine(stream: TextIO) -> bool:
    return "utf" in (getattr(stream, "encoding", None) or "").lower()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
