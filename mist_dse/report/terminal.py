"""The front as a small plot of characters: the first two objectives, axes with units, logarithmic where they are wide."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mist_dse.metrics import Objective, parse_objective
from mist_dse.report.text import axis_title, number_text
from mist_dse.rows import Floats

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text

ROWS, WIDEST, NARROWEST = 14, 100, 40
"""Rows of points; most and fewest columns of the whole plot."""

WIDE = 10.0
"""Ratio of largest to smallest value from which an axis is logarithmic; less than in the figures, which have finer points."""

MORE = 3
"""Dominated designs are drawn up to so many times the worst of the front: what lies beyond would press the front together."""


class Marks(NamedTuple):
    """The characters of a plot."""

    front: str
    other: str
    down: str
    across: str
    corner: str
    tick_down: str
    tick_across: str


FINE = Marks("●", "·", "│", "─", "└", "┤", "┬")
PLAIN = Marks("o", ".", "|", "-", "+", "+", "+")


class Scale(NamedTuple):
    """One axis from ``low`` to ``high`` in ``cells`` cells, logarithmic or not."""

    low: float
    high: float
    cells: int
    log: bool

    @classmethod
    def over(cls, values: Floats, cells: int) -> "Scale":
        """The axis of ``values`` (at least one)."""
        low, high = float(values.min()), float(values.max())
        log = low > 0 and high / low > WIDE
        if high == low:
            low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
        return cls(low, high, cells, log)

    def cell(self, values: Floats) -> Floats:
        """The cell of each value, 0 the lowest; below 0 and from ``cells`` on for what lies outside."""
        low, high, at = (np.log(x) for x in (self.low, self.high, values)) if self.log else (self.low, self.high, values)
        return np.asarray(np.rint((at - low) / (high - low) * (self.cells - 1)))

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values on the axis: 1, 2 and 5 times powers of ten on a logarithmic one, equal steps on another."""
        if not self.log:
            return _steps(self.low, self.high, most)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [float(f"{digit}e{power}") for power in powers for digit in digits]
            kept = [value for value in found if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]
            if len(kept) <= most:
                break
        return kept[:: -(-len(kept) // most)] if kept else []


def front_plot(front: "pd.DataFrame", results: "pd.DataFrame", objectives: Sequence[str | Objective], *, width: int = 80,
               fine: bool = True) -> list[str]:  # fmt: skip
    """Lines of at most ``width`` columns: the front over what it dominates among feasible ``results``; none where it cannot be drawn.

    That is one objective, no feasible design, or a width below `NARROWEST`. ``fine``: characters beyond ASCII.
    """
    goals = [parse_objective(item) if isinstance(item, str) else item for item in objectives]
    if len(goals) < 2 or width < NARROWEST:
        return []
    names = (goals[0].metric, goals[1].metric)
    points, others = _points(front, names), _points(results[results["feasible"].eq(True)], names)
    if not len(points):
        return []
    near = [_near(others, points, column, goals[column]) for column in (0, 1)]
    marks = FINE if fine else PLAIN
    width = min(width, WIDEST)
    more = f", of {len(goals)} objectives" if len(goals) > 2 else ""
    keys = [axis_title(names[1]), f"{marks.front} front ({len(points):,}{more})", f"{marks.other} feasible"]
    while len(head := "   ".join(keys)) > width and len(keys) > 1:
        keys.pop()
    return _drawn(points, others[near[0] & near[1]], (head[:width], axis_title(names[0])[:width]), width, marks)


def painted(lines: Sequence[str]) -> "Text":
    """The plot with the front in colour and all else behind it, for a terminal that has colours."""
    from rich.text import Text

    text = Text("\n".join(lines), no_wrap=True)
    text.highlight_regex(f"{FINE.front}+", "bold blue")
    text.highlight_regex(f"[{FINE.other}{FINE.down}{FINE.across}{FINE.corner}{FINE.tick_down}{FINE.tick_across}]+", "bright_black")
    return text


def _points(table: "pd.DataFrame", names: tuple[str, str]) -> Floats:
    import pandas as pd

    if not set(names) <= set(table.columns):
        return np.empty((0, 2))
    values = np.column_stack([pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in names])
    return np.asarray(values[np.isfinite(values).all(axis=1)])


def _near(others: Floats, front: Floats, column: int, goal: Objective) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows no more than `MORE` times as bad as the worst of the front."""
    if goal.direction == "min":
        return np.asarray(others[:, column] <= MORE * front[:, column].max())
    return np.asarray(others[:, column] >= front[:, column].min() / MORE)


def _drawn(points: Floats, others: Floats, titles: tuple[str, str], width: int, marks: Marks) -> list[str]:
    every = np.concatenate([points, others])
    up = Scale.over(every[:, 1], ROWS)
    labels = {int(up.cell(np.array(value))): number_text(value) for value in up.ticks(6)}
    margin = max([len(label) for label in labels.values()], default=0) + 1
    along = Scale.over(every[:, 0], width - margin - 2)
    cells = [[" "] * along.cells for _ in range(ROWS)]
    for part, mark in ((others, marks.other), (points, marks.front)):
        for x, y in zip(along.cell(part[:, 0]).astype(int).tolist(), up.cell(part[:, 1]).astype(int).tolist(), strict=True):
            cells[y][x] = mark
    lines = [titles[0]]
    for row in reversed(range(ROWS)):
        edge = marks.tick_down if row in labels else marks.down
        lines.append(f"{labels.get(row, ''):>{margin}}{edge}{''.join(cells[row])}".rstrip())
    return [*lines, *_foot(along, margin, titles[1], marks)]


def _foot(along: Scale, margin: int, title: str, marks: Marks) -> Iterator[str]:
    """The horizontal axis, its labels, its title at the right."""
    at = {int(along.cell(np.array(value))): number_text(value) for value in along.ticks(max(along.cells // 10, 2))}
    yield " " * margin + marks.corner + "".join(marks.tick_across if cell in at else marks.across for cell in range(along.cells))
    line = ""
    for cell, label in sorted(at.items()):
        start = min(max(margin + 1 + cell - len(label) // 2, 0), margin + 1 + along.cells - len(label))
        if start > len(line) or not line:
            line = line.ljust(start) + label
    yield line
    yield " " * max(margin + 1 + along.cells - len(title), 0) + title


def _steps(low: float, high: float, most: int) -> list[float]:
    """Round values in equal steps of 1, 2 or 5 times a power of ten.

    >>> _steps(0.1, 1.25, 6)
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [float(f"{number * step:.12g}") for number in range(first, last + 1)]
    return []
