"""Lists of values as people write them: a list, one value, ``1..16``, ``16..128 step 16``, ``0.1..0.5 step 0.1``, ``powers 1..64``."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mist_dse.explore.errors import SpaceError
from mist_dse.specs.hardware import Accelerator, Topology

MOST_VALUES = 10_000
"""Most values of one variable."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_RANGE = re.compile(rf"\s*(powers\s+)?{_NUMBER}\s*\.\.\s*{_NUMBER}(?:\s+step\s+{_NUMBER})?\s*$")


def value_list(spec: Any, where: str) -> tuple[Any, ...]:
    """The values that a list, a range or one value stands for, each once; ``SpaceError`` if there are none.

    >>> value_list("powers 1..20", "tp"), value_list("16..64 step 16", "n"), value_list("0.1..0.3 step 0.1", "share")
    ((1, 2, 4, 8, 16), (16, 32, 48, 64), (0.1, 0.2, 0.3))
    """
    if isinstance(spec, str) and ".." in spec:
        return _range(spec, where)
    if isinstance(spec, Mapping) or spec is None:
        raise SpaceError(f"{where} is {spec!r}: give a list of values, 1..16, powers 1..64 or divisors")
    values = list(spec) if isinstance(spec, list | tuple) else [spec]
    if not values:
        raise SpaceError(f"{where} is an empty list: give at least one value")
    if any(isinstance(value, Mapping | list | tuple) for value in values):
        raise SpaceError(f"{where} is {spec!r}: a value is a number, a word, true, false or none")
    return _few([value for at, value in enumerate(values) if (type(value), value) not in [(type(v), v) for v in values[:at]]], where)


def divisors(number: int, most: int) -> list[int]:
    """Divisors of ``number`` up to ``most``.

    >>> divisors(12, 6)
    [1, 2, 3, 4, 6]
    """
    return [value for value in range(1, min(number, most) + 1) if number % value == 0]


def widest(accelerator: Accelerator, topology: Topology) -> int:
    """Most devices of one engine that ``divisors`` uses: the scale-up domain (a node, where devices have none), within the node."""
    return min(topology.node_size, accelerator.scale_up_domain if accelerator.scale_up_domain > 1 else topology.node_size)


def _range(spec: str, where: str) -> tuple[Any, ...]:
    match = _RANGE.match(spec)
    if match is None or (match[1] and match[4]):
        raise SpaceError(f"{where} is {spec!r}: a range is written 1..16, 16..128 step 16 or powers 1..64")
    low, high, step = Decimal(match[2]), Decimal(match[3]), Decimal(match[4] or 1)
    if not step or (match[4] is None and any(end != end.to_integral_value() for end in (low, high))):
        raise SpaceError(f"{where} is {spec!r}: a range between fractions needs a step above 0, such as 0.1..0.5 step 0.1")
    if match[1]:
        return _few([2**power for power in range(int(high).bit_length()) if low <= 2**power <= high], where, spec)
    count = max(int((high - low) / step) + 1, 0) if high >= low else 0
    if count > MOST_VALUES:
        raise SpaceError(
            f"{where} is {spec!r}: that is {count:,} values, at most {MOST_VALUES:,} can be listed; use powers or a larger step"
        )
    return _few([_plain(low + number * step) for number in range(count)], where, spec)


def _few(values: list[Any], where: str, spec: str = "") -> tuple[Any, ...]:
    if not values:
        raise SpaceError(f"{where} is {spec!r}: the range holds no value")
    if len(values) > MOST_VALUES:
        raise SpaceError(f"{where} has {len(values):,} values, at most {MOST_VALUES:,} can be listed")
    return tuple(values)


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
