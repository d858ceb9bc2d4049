"""What a search is after: objectives, limits on static quantities, and their values as one matrix to minimise."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.metrics import Objective, parse_objective
from mist_dse.rows import Floats

STATIC = ("accelerators", "usd_per_hour")
"""Quantities known without any evaluation; ``accelerators.NAME`` counts the devices of one kind."""

_OPERATORS = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}


@dataclass(frozen=True, slots=True)
class StaticLimit:
    """A requirement on a static quantity, such as ``accelerators <= 32``."""

    quantity: str
    operator: str
    value: float

    def __str__(self) -> str:
        return f"{self.quantity} {self.operator} {self.value:g}"

    @property
    def upper(self) -> bool:
        """Whether the quantity must stay below the value."""
        return self.operator.startswith("<")

    def met(self, amount: Floats) -> NDArray[np.bool_]:
        """Whether each amount satisfies the limit (a billionth of slack for sums of prices)."""
        slack = 1e-9 * abs(self.value) * (1 if self.operator in ("<=", "<") else -1)
        return np.asarray(_OPERATORS[self.operator](amount, self.value + (slack if "=" in self.operator else 0.0)))

    def excess(self, amount: float) -> float:
        """Relative distance of ``amount`` beyond the limit, 0 where it is met."""
        distance = amount - self.value if self.upper else self.value - amount
        return max(distance, 0.0) / max(abs(self.value), 1e-12)


def distance(excess: float, limit: float) -> str:
    """How far a value is beyond a limit, in words to follow the value; nothing for a limit of 0, which has no per cent.

    >>> distance(0.25, 8), distance(3.0, 0)
    (', 25% off', '')
    """
    return f", {excess:.0%} off" if limit else ""


def objective(text: Any, where: str = "objectives") -> Objective:
    """`metrics.parse_objective` of an entry under ``where``; ``SpaceError`` for what is none."""
    try:
        return parse_objective(str(text))
    except ValueError as error:
        raise SpaceError(f"{where}: {error}") from None


_LIMIT = re.compile(r"\s*([\w.\-]+)\s*(<=|>=|<|>)\s*([-+\d.eE]+)\s*(USD/h|\$/h)?\s*$")


def static_limit(text: Any, *, kinds: Iterable[str] = (), where: str = "where") -> StaticLimit:
    """The limit of a text such as ``"accelerators <= 32"`` or ``"accelerators.l40s <= 8"``; ``kinds`` are accelerators in use.

    Raises ``SpaceError`` for a quantity that is not static or a number that is none.
    """
    match = _LIMIT.match(str(text))
    if match is None:
        raise SpaceError(f"{where}: {text!r} is not a limit; write it as 'accelerators <= 32' or 'usd_per_hour <= 150'")
    quantity, operator, number = match[1], match[2], match[3]
    known = [*STATIC, *(f"accelerators.{kind}" for kind in kinds)]
    if quantity not in known:
        clause = nearest(quantity, known)
        raise SpaceError(f"{where}: {quantity!r} is not known before evaluation (metrics belong under constraints); {clause}")
    try:
        return StaticLimit(quantity, operator, float(number))
    except ValueError:
        raise SpaceError(f"{where}: {number!r} in {text!r} is not a number") from None


def minimised(values: Mapping[str, Any], objectives: Sequence[Objective], *, logarithmic: bool | None = None) -> Floats:
    """Objective values as [n, m] to minimise; absent values nan.

    ``logarithmic``: on log axes, where values <= 0 are held at 1e-12; None: each objective whose finite values are all > 0.
    """
    return np.column_stack([_axis(np.asarray(values[goal.metric], dtype=float), goal, logarithmic) for goal in objectives])


def _axis(column: Floats, goal: Objective, logarithmic: bool | None) -> Floats:
    finite = column[np.isfinite(column)]
    if logarithmic is None:
        logarithmic = bool(finite.size) and bool((finite > 0).all())
    axis = np.log10(np.maximum(column, 1e-12)) if logarithmic else column
    return -axis if goal.direction == "max" else axis
