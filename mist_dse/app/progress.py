"""Progress on standard error: done, rate and time left; one line that renews itself in a terminal, plain lines elsewhere."""

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from mist_dse.explore.searches.stopping import Progress

TERMINAL_PERIOD, LINE_PERIOD = 0.2, 5.0
"""Least seconds between two lines in a terminal, and in a file or a pipe."""


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

    def __call__(self, state: Progress) -> None:
        """Say ``state``, unless something was said just before."""
        if self.first is not None:
            self.stream.write(self.first() + "\n")
            self.first = None
        now = self.clock()
        if now - self.said < (TERMINAL_PERIOD if self.terminal else LINE_PERIOD):
            return
        self.said = now
        text = progress_text(state)
        self.stream.write(f"\r{text:<79}" if self.terminal else text + "\n")
        self.stream.flush()
        self.open = self.terminal

    def close(self) -> None:
        """End the line that a terminal shows."""
        if self.open:
            self.stream.write("\n")
            self.stream.flush()
        self.open = False


def progress_text(state: Progress) -> str:
    """One line: phase, done, rate, time left at that rate, designs on the front; a total is the most that may come.

    >>> progress_text(Progress(50, 200, 5.0, 30.0, 7, 0.1))
    'simulate: 50 of at most 200 designs, 5/s, at most 30 s left, 7 on the front'
    """
    parts = [f"{state.done:,} {f'of at most {state.total:,} ' if state.total > state.done else ''}designs"]
    if state.rate > 0:
        parts.append(f"{state.rate:,.3g}/s" if state.rate < 1000 else f"{state.rate:,.0f}/s")
    if 0 < state.remaining_s < math.inf:
        parts.append(f"at most {_duration(state.remaining_s)} left")
    return f"{state.phase}: {', '.join([*parts, f'{state.front_size} on the front'])}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
