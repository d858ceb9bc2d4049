"""Limits and objectives as people write them: ``"ttft_p90 <= 1 s"``, ``"min usd_per_mtok"``."""

import difflib
import re
from dataclasses import dataclass

import numpy as np

from mist_dse.metrics.table import METRICS, Metric
from mist_dse.rows import Floats
from mist_dse.units import format_quantity, quantity

OPERATORS = ("<=", ">=", "<", ">")
_LIMIT = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S.*?)\s*$")
_OBJECTIVE = re.compile(r"\s*(?:(min|max)\s+)?(\w+)\s*$")


class GoalError(ValueError):
    """A limit or objective that cannot be read: one line with the text and what would be valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``metric op value``, the value in the SI unit of the metric."""

    metric: str
    op: str
    value: float

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {format_quantity(self.value, METRICS[self.metric].unit)}"

    def excess(self, values: float | Floats | None) -> Floats:
        """How far ``values`` are beyond the limit, relative to it (to 1 where it is 0): 0 where it holds.

        Undefined values (None or nan) count as 1, as far off as twice the limit; a strict limit that is met exactly counts
        as the smallest positive number.

        >>> parse_limit("tpot_p90 <= 50 ms").excess(np.array([0.04, 0.05, 0.1, np.nan])).tolist()
        [0.0, 0.0, 1.0, 1.0]
        """
        numbers = np.asarray(np.nan if values is None else values, np.float64)
        beyond = (numbers - self.value if self.op[0] == "<" else self.value - numbers) / (abs(self.value) or 1.0)
        least = np.finfo(np.float64).tiny if len(self.op) == 1 else 0.0
        return np.where(np.isnan(numbers), 1.0, np.where(beyond >= 0, np.maximum(beyond, least), 0.0))

    def holds(self, value: float | None) -> bool:
        """Whether ``value`` meets the limit; an undefined one does not."""
        return not self.excess(value) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A metric to make small ("min") or large ("max")."""

    metric: str
    direction: str

    def __str__(self) -> str:
        return f"{self.direction} {self.metric}"

    @property
    def sign(self) -> float:
        """Factor that turns the metric into something to minimise: 1 or -1."""
        return 1.0 if self.direction == "min" else -1.0


def parse_limit(text: str) -> Limit:
    """The limit that ``text`` states. Raises ``GoalError``: unknown metric, no operator, a unit of the wrong kind.

    >>> parse_limit("ttft_p90 <= 500 ms")
    Limit(metric='ttft_p90', op='<=', value=0.5)
    """
    match = _LIMIT.match(text)
    if match is None:
        raise GoalError(f"limit {text!r}: must read like 'ttft_p90 <= 1 s', with one of {' '.join(OPERATORS)}")
    name, op, value = match.groups()
    metric = _metric(name, f"limit {text!r}")
    try:
        return Limit(metric=name, op=op, value=quantity(value, metric.unit))
    except ValueError as error:
        raise GoalError(f"limit {text!r}: {error}") from None


def parse_objective(text: str) -> Objective:
    """The objective that ``text`` states; without ``min`` or ``max`` the metric's better direction.

    Raises ``GoalError``: unknown metric, or the direction that makes it worse.

    >>> parse_objective("min usd_per_mtok")
    Objective(metric='usd_per_mtok', direction='min')
    """
    match = _OBJECTIVE.match(text)
    if match is None:
        raise GoalError(f"objective {text!r}: must read like 'min usd_per_mtok' or 'max throughput_rps'")
    direction, name = match.groups()
    metric = _metric(name, f"objective {text!r}")
    if direction not in (None, metric.direction):
        raise GoalError(f"objective {text!r}: {name} is better when {'smaller' if metric.direction == 'min' else 'larger'}, "
                        f"write '{metric.direction} {name}'")  # fmt: skip
    return Objective(metric=name, direction=metric.direction)


def _metric(name: str, where: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=3, cutoff=0.4)
    raise GoalError(
        f"{where}: {name!r} is not a metric, " + (f"did you mean {', '.join(near)}" if near else f"must be one of {', '.join(METRICS)}")
    )
