"""Residuals of held-out predictions, and the 80% intervals that they give.

A residual is log(measured/predicted) of a row that no constant was fitted on: residuals of the fitted rows would be too small. The
interval of a prediction lies between the order statistics (n + 1) q of its group's residuals (split conformal prediction; Lei
et al. 2018, J. Am. Stat. Assoc. 113). Intervals of the held-out rows themselves leave their fold of configurations out (cross-conformal
prediction; Vovk 2015, Ann. Math. Artif. Intell. 74), so that what they contain is an honest count.

A group is engine, accelerator, kind of model and regime of load. Groups under `LEAST` rows are put together over accelerators, then over
engines, without the rows that have a group of their own: those would lend their errors, not share them. What still has no group takes
all rows of its engine, of its kind, of its regime, at last those of the next regime. Where the group holds no row of the accelerator or
engine itself, the interval is widened by what such transfer costs (`WIDENING`).
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import Floats

COVERAGE = 0.8
"""Share of measurements inside."""

LEAST = 30
"""Fewest residuals of a group of its own: three beyond each end of an 80% interval."""

FOLDS = 50
"""Parts that held-out configurations are dealt into."""

METRICS = ("ttft", "tpot", "e2e", "output_tok_s")

KEYS = ("family", "accelerator", "kind", "regime")
"""What groups are told apart by."""

LEVELS = (("family", "accelerator", "kind"), ("family", "kind"), ("kind",), ())
"""From the finest grouping within one regime to all of it."""

COARSER = {"many": "closed", "disagg_many": "disagg", "disagg": "closed", "open_full": "open", "open": "closed", "static": "closed"}
"""The regime that answers where one has too few rows."""

WIDENING = {"fitted": 1.75, "borrowed": 1.75, "class default": 2.0, "datasheet": 2.0}
"""Width of the interval of an accelerator without rows of its own over that of one with, by where its coefficients come from:
a little above the ratios that ``studies/fidelity`` measures by leaving architectures out (1.7 with own operators and with class
defaults); relatives lend to one another within an architecture, where nothing was left out to measure."""

UNKNOWN_ENGINE = 1.5
"""The same for an engine without rows, or a profile pooled over builds: one generic profile in place of each engine's own (1.2 to 1.8)."""

GRADES = ("fitted", "borrowed", "class default", "datasheet")
"""Where coefficients come from, the best first."""

OPERATORS = ("gemm", "prefill attention", "decode attention", "moe")
"""Provenance that grades a prediction: the operators that take most of a step."""

PACKAGED = Path(__file__).resolve().parent.parent / "data" / "residuals.csv"
"""Made by ``mist-dse validate data=FILE residuals=FILE`` from the public measurements that ``golden.json`` names."""


class Subject(NamedTuple):
    """What is predicted, in the terms of the groups; ``grade``: where its coefficients come from (`GRADES`).

    ``pooled``: its engine profile stands for all builds and accelerators, while residuals are those of profiles of their own.
    """

    family: str
    accelerator: str
    kind: str
    regime: str = "closed"
    grade: str = "fitted"
    pooled: bool = False


class Interval(NamedTuple):
    """measured/predicted lies between ``low`` and ``high`` in 80% of cases; ``group``, ``rows`` and ``width`` say what that rests on."""

    low: float
    high: float
    group: str
    rows: int
    width: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Held-out residuals: ``keys`` by name of `KEYS`, the fold of each row's configuration, ``values`` by metric (nan: not measured).

    ``codes``: the group of each row as a number, by level.
    """

    keys: Mapping[str, Any]
    fold: Any
    values: Mapping[str, Floats]
    codes: Mapping[tuple[str, ...], Any]

    def interval(self, about: Subject, metric: str, *, without: int | None = None) -> Interval | None:
        """The interval of one prediction from the finest group that holds it, fold ``without`` left out; None without any residual."""
        found = self._finest(about, (metric,), without)
        return None if found is None else self._between(about, metric, *found)

    def errors(self, about: Subject, metrics: Sequence[str]) -> Floats | None:
        """Residuals [row, metric] of the finest group whose rows know all of ``metrics``, widened around their medians as intervals
        are, in rising order of their sum; None without any."""
        found = self._finest(about, metrics, None)
        if found is None:
            return None
        values = np.column_stack([self.values[metric][found[0]] for metric in metrics])
        middle = np.median(values, axis=0)
        wider = middle + self._width(about, found[0]) * (values - middle)
        return np.asarray(wider[np.argsort(wider.sum(axis=1), kind="stable")])

    def _finest(self, about: Subject, metrics: Sequence[str], without: int | None) -> tuple[Any, list[str]] | None:
        """The rows of the finest group that holds ``about``, and the group's name."""
        regime: str | None = about.regime
        while regime is not None:
            known = self.keys["regime"] == regime
            for metric in metrics:
                known = known & ~np.isnan(self.values[metric])
            if without is not None:
                known &= self.fold != without
            for level, rows in (*self._shared(known), *((level, known) for level in LEVELS)):
                chosen = self._like(about, level, rows)
                if chosen.sum() >= LEAST:
                    return chosen, [*(getattr(about, name) for name in level), regime]
            regime = COARSER.get(regime)
        return None

    def _shared(self, known: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Each level of `LEVELS` but the last, with the rows of ``known`` that no finer level has a group for."""
        left = known
        for level in LEVELS[:-1]:
            yield level, left
            code = self.codes[level]
            left = left & (np.bincount(code[left], minlength=len(code))[code] < LEAST)

    def _like(self, about: Subject, level: Iterable[str], rows: Any) -> Any:
        chosen = rows.copy()
        for name in level:
            chosen &= self.keys[name] == getattr(about, name)
        return chosen

    def _between(self, about: Subject, metric: str, chosen: Any, group: list[str]) -> Interval:
        values, tail = self.values[metric][chosen], (1 - COVERAGE) / 2
        low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail], method="weibull")
        width = self._width(about, chosen)
        ends = [float(np.exp(middle + width * (end - middle))) for end in (low, high)]
        return Interval(ends[0], ends[1], " ".join(group), len(values), width)

    def _width(self, about: Subject, chosen: Any) -> float:
        """How much wider errors are than those of the group, which may hold nothing of the accelerator or engine itself."""
        width = 1.0 if (self.keys["accelerator"][chosen] == about.accelerator).any() else WIDENING[about.grade]
        return width * (1.0 if (self.keys["family"][chosen] == about.family).any() and not about.pooled else UNKNOWN_ENGINE)


def residuals_of(rows: Iterable[Mapping[str, Any]]) -> Residuals:
    """Residuals from plain rows: `KEYS`, ``fold``, and the metrics (absent or empty: nan)."""
    table = list(rows)
    keys = {name: np.array([str(row[name]) for row in table], dtype=object) for name in KEYS}
    values = {name: np.array([float(row.get(name) or "nan") for row in table], dtype=float) for name in METRICS}
    codes: dict[tuple[str, ...], Any] = {}
    for level in LEVELS:
        numbers: dict[tuple[str, ...], int] = {}
        codes[level] = np.array(
            [numbers.setdefault(tuple(str(row[name]) for name in level), len(numbers)) for row in table], dtype=np.int64
        )
    return Residuals(keys, np.array([int(row["fold"]) for row in table], dtype=np.int64), values, codes)


@lru_cache(maxsize=1)
def packaged() -> Residuals:
    """The residuals that ship with the package."""
    with PACKAGED.open(encoding="utf-8", newline="") as lines:
        return residuals_of(csv.DictReader(lines))


def fold_of(configuration: str) -> int:
    """The fold of a configuration, by a hash of its name."""
    return int.from_bytes(hashlib.blake2b(f"fold {configuration}".encode(), digest_size=8).digest()) % FOLDS


def grade_of(pools: Mapping[str, Mapping[str, Any]]) -> str:
    """The worst grade among the operators of all pools, from their provenance.

    >>> grade_of({"serve": {"gemm": "fitted", "moe": "borrowed from b200", "power": "class default"}})
    'borrowed'
    """
    said = " ".join(str(text) for pool in pools.values() for name, text in pool.items() if name in OPERATORS)
    return next((grade for grade in reversed(GRADES) if grade in said), GRADES[0])
