"""What a search is after: objectives, limits on static quantities, and their values as one matrix to minimise."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.metrics import Objective, parse_objective
from mist_dse.rows import Floats
from mist_dse.units import quantity

STATIC: Mapping[str, str] = MappingProxyType(
    {"accelerators": "1", "usd_per_hour": "USD/h", "tdp": "W", "nodes": "1", "sockets": "1", "replicas": "1"}
)
"""Quantities known without any evaluation, and their units: of a whole design, or of ``pools.NAME`` or ``services.NAME``.

``accelerators.KIND`` and ``usd_per_hour`` also of all together; ``replicas`` of one pool or service only. ``tdp``: the accelerators' design
power. ``nodes``: those that accelerators stand on. ``sockets``: hosts of services beside those of accelerator nodes."""

MOST_OBJECTIVES = 5
"""Most objectives: of more, nearly every design is on the front (Ishibuchi et al. 2008, evolutionary many-objective optimisation)."""

_OPERATORS = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}


class Term(NamedTuple):
    """``factor`` times a static quantity of ``part`` (empty: of the whole design), for accelerators of one ``kind`` where given."""

    quantity: str
    factor: float = 1.0
    part: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class StaticLimit:
    """A requirement on a static quantity or a sum of several, such as ``accelerators <= 32``; without ``terms`` on a plain one."""

    quantity: str
    operator: str
    value: float
    terms: tuple[Term, ...] = ()
    unit: str = "1"

    def __post_init__(self) -> None:
        if not self.terms:
            object.__setattr__(self, "terms", (Term(self.quantity),))

    def __str__(self) -> str:
        return f"{self.quantity} {self.operator} {self.value:g}" + ("" if self.unit == "1" else f" {self.unit}")

    @property
    def upper(self) -> bool:
        """Whether the quantity must stay below the value."""
        return self.operator.startswith("<")

    def less(self, amount: float) -> "StaticLimit":
        """The limit on the rest, where ``amount`` is taken."""
        return replace(self, value=self.value - amount)

    def met(self, amount: Floats) -> NDArray[np.bool_]:
        """Whether each amount satisfies the limit (a billionth of slack for sums of prices)."""
        slack = 1e-9 * max(abs(self.value), 1e-3) * (1 if self.upper else -1)
        return np.asarray(_OPERATORS[self.operator](amount, self.value + (slack if "=" in self.operator else 0.0)))

    def excess(self, amount: float) -> float:
        """Distance of ``amount`` beyond the limit, relative to it (to 1 where it is 0), 0 where it is met."""
        distance = amount - self.value if self.upper else self.value - amount
        return max(distance, 0.0) / (abs(self.value) or 1.0)


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


def objectives_of(texts: Sequence[Any], where: str = "objectives") -> tuple[Objective, ...]:
    """Up to `MOST_OBJECTIVES` objectives, each of a metric of its own."""
    found = tuple(objective(text, where) for text in texts)
    if len(found) > MOST_OBJECTIVES:
        raise SpaceError(
            f"{where}: {len(found)} objectives, at most {MOST_OBJECTIVES}: make the others constraints, such as ttft_p90 <= 1 s"
        )
    if len({goal.metric for goal in found}) < len(found):
        raise SpaceError(f"{where} name one metric twice: {', '.join(map(str, found))}")
    return found


_LIMIT = re.compile(r"\s*(.+?)\s*(<=|>=|<|>)\s*([^<>=]+?)\s*$")
_TERM = re.compile(r"(?:(?P<factor>\d[\d.eE+\-]*)\s*\*\s*)?(?P<name>[A-Za-z_][\w.\-]*)(?:\s*\*\s*(?P<after>\d[\d.eE+\-]*))?$")
_EXAMPLE = "write it as 'accelerators <= 32' or 'usd_per_hour <= 150'"


def static_names(*, kinds: Iterable[str] = (), parts: Iterable[str] = ()) -> dict[str, Term]:
    """Every static quantity by name, for the accelerators and the pools and services (``pools.NAME``) in use."""
    whole = [Term(name) for name in STATIC if name != "replicas"]
    found = {term.quantity: term for term in whole} | {f"accelerators.{kind}": Term("accelerators", kind=kind) for kind in kinds}
    for part in parts:
        names = [name for name in STATIC if name != "sockets" or part.startswith("services.")]
        found |= {f"{part}.{name}": Term(name, part=part) for name in names}
    return found


def static_limit(text: Any, *, known: Mapping[str, Term] | None = None, where: str = "where") -> StaticLimit:
    """The limit of a text such as ``"accelerators <= 32"``, ``"tdp <= 20 kW"`` or ``"pools.prefill.accelerators <= 0.5 * accelerators"``.

    ``known``: quantities by name (`static_names`). ``SpaceError`` for one that is not static, or a number or unit that is none.
    """
    names = static_names() if known is None else known
    match = _LIMIT.match(str(text))
    if match is None:
        raise SpaceError(f"{where}: {text!r} is not a limit; {_EXAMPLE}")
    left, operator, right = match.groups()
    terms = _terms(left, names, where, str(text))
    units = {STATIC[term.quantity] for term in terms}
    unit = units.pop()
    if right[0].isalpha() or "*" in right:
        more = _terms(right, names, where, str(text))
        units |= {STATIC[term.quantity] for term in more} - {unit}
        terms, value = (*terms, *(term._replace(factor=-term.factor) for term in more)), 0.0
        left = f"{left} - ({right})" if len(more) > 1 else f"{left} - {right}"
    else:
        value = _number(right, unit, f"{where}: {text!r}")
    if units:
        raise SpaceError(f"{where}: {text!r} compares quantities of {unit} and {units.pop()}")
    return StaticLimit(" ".join(left.split()), operator, value, tuple(terms), unit)


def _terms(text: str, known: Mapping[str, Term], where: str, whole: str) -> tuple[Term, ...]:
    """The terms of a sum."""
    found, sign = [], 1.0
    for piece in re.split(r"(?:^|\s+)([+-])\s+", text.strip()):
        if piece in ("+", "-", ""):
            sign = {"+": 1.0, "-": -1.0, "": sign}[piece]
            continue
        match = _TERM.match(piece)
        if match is None or (match["factor"] and match["after"]):
            raise SpaceError(f"{where}: {piece!r} in {whole!r} is not a quantity or a multiple of one; {_EXAMPLE}")
        if match["name"] not in known:
            clause = nearest(match["name"], known)
            raise SpaceError(f"{where}: {match['name']!r} is not known before evaluation (metrics belong under constraints); {clause}")
        factor = _number(match["factor"] or match["after"] or "1", "1", f"{where}: {whole!r}")
        found.append(known[match["name"]]._replace(factor=sign * factor))
    return tuple(found)


def _number(text: str, unit: str, where: str) -> float:
    try:
        return quantity(text, unit)
    except ValueError as error:
        raise SpaceError(f"{where}: {error}") from None


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
