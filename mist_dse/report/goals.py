"""What a search was asked for: objectives (``"min usd_per_mtok"``) and limits (``"tpot_p90 <= 50 ms"``) as its run folder states them.

The manifest is asked first and the resolved configuration second; both are searched at any depth, so a report does not
depend on where the configuration keeps its sections.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from mist_dse.metrics import Objective, parse_limit, parse_objective
from mist_dse.metrics.table import LATENCIES
from mist_dse.units import format_quantity, quantity


class LimitLine(NamedTuple):
    """A limit on one metric: ``op`` is one of ``<= >= < >``, ``value`` in SI units, ``text`` as it was written.

    Under ``each`` it is promised to each single request, ``metric`` is a latency without a statistic, and nothing is infeasible for it.
    """

    metric: str
    op: str
    value: float
    text: str
    each: bool = False

    def drawn_on(self, metric: str) -> bool:
        """Whether the limit is a line on an axis of ``metric``: its own, or for a promise any statistic of its latency."""
        return metric == self.metric or (self.each and metric.rsplit("_", 1)[0] == self.metric)


def objectives(*sources: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The first non-empty list called ``objectives`` in the sources, in order of preference; unknown metrics are left out."""
    for source in sources:
        for found in _values(source, "objectives"):
            if items := _items(found):
                return tuple(goal for item in items if (goal := _objective(item)))
    return ()


def limits(*sources: Mapping[str, Any]) -> tuple[LimitLine, ...]:
    """Every limit stated under ``constraints``, ``limits`` or ``per_request``, once each; what cannot be read as one is left out."""
    found: dict[tuple[str, str, float], LimitLine] = {}
    for source in sources:
        for key in ("constraints", "limits"):
            for value in _values(source, key):
                for item in _items(value):
                    if line := _limit_line(item):
                        found.setdefault(line[:3], line)
        for value in _values(source, "per_request"):
            for line in _promises(value):
                found.setdefault(line[:3], line)
    return tuple(found.values())


def _objective(item: Any) -> Objective | None:
    try:
        return parse_objective(str(item))
    except ValueError:
        return None


def _limit_line(item: Any) -> LimitLine | None:
    text = str(item)
    try:
        parsed = item if hasattr(item, "metric") else parse_limit(text)
        return LimitLine(parsed.metric, parsed.op, float(parsed.value), text)
    except (ValueError, KeyError, TypeError):
        return None


def _promises(value: Any) -> Iterator[LimitLine]:
    """The limits of a mapping such as ``{ttft: 1 s}``, or of pairs."""
    for name, limit in value.items() if isinstance(value, Mapping) else (item for item in _items(value) if len(item) == 2):
        if name in LATENCIES and limit is not None:
            with suppress(ValueError):
                seconds = quantity(limit, "s")
                yield LimitLine(str(name), "<=", seconds, f"{name} <= {format_quantity(seconds, 's')} per request", each=True)


def _items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, Mapping) else []


def _values(source: Any, key: str) -> Iterator[Any]:
    """Every value stored under ``key``, shallow ones first."""
    level = [source]
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                if key in item and item[key] is not None:
                    yield item[key]
                below.extend(value for name, value in item.items() if name != key)
            elif isinstance(item, list):
                below.extend(item)
        level = below
