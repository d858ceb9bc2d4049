"""Quantities with units: ``"3.35 TB/s"``, ``"80 GiB"``, ``"989 TFLOP/s"`` to SI floats and back.

Decimal prefixes are powers of 1000 and binary ones (``Ki``, ``Mi``, ``Gi``, ``Ti``, ``Pi``) powers of 1024, never mixed.
A bare number is accepted and is taken to be in SI units. Each dimension is named by its SI unit: ``B``, ``B/s``,
``FLOP/s``, ``s``, ``1/s``, ``W``, ``Hz``, ``USD``, ``USD/h``, ``token``, ``token/s``, ``USD/Mtoken``,
``J/token``, ``1`` (a plain number or a percentage).
"""

import math
import re

_DECIMAL = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}

# base spelling -> (dimension, factor to SI, prefixes allowed)
_BASES: dict[str, tuple[str, float, str]] = {
    "B": ("B", 1.0, "data"),
    "b": ("B", 0.125, "data"),
    "B/s": ("B/s", 1.0, "data"),
    "b/s": ("B/s", 0.125, "data"),
    "bit/s": ("B/s", 0.125, "data"),
    "FLOP/s": ("FLOP/s", 1.0, "decimal"),
    "OP/s": ("FLOP/s", 1.0, "decimal"),
    "FLOP": ("FLOP", 1.0, "decimal"),
    "s": ("s", 1.0, "decimal"),
    "min": ("s", 60.0, ""),
    "h": ("s", 3600.0, ""),
    "1/s": ("1/s", 1.0, ""),
    "/s": ("1/s", 1.0, ""),
    "req/s": ("1/s", 1.0, ""),
    "rps": ("1/s", 1.0, ""),
    "W": ("W", 1.0, "decimal"),
    "J": ("J", 1.0, "decimal"),
    "Hz": ("Hz", 1.0, "decimal"),
    "USD": ("USD", 1.0, ""),
    "$": ("USD", 1.0, ""),
    "USD/h": ("USD/h", 1.0, ""),
    "$/h": ("USD/h", 1.0, ""),
    "token": ("token", 1.0, "decimal"),
    "tokens": ("token", 1.0, "decimal"),
    "token/s": ("token/s", 1.0, "decimal"),
    "tokens/s": ("token/s", 1.0, "decimal"),
    "USD/Mtoken": ("USD/Mtoken", 1.0, ""),
    "$/Mtoken": ("USD/Mtoken", 1.0, ""),
    "J/token": ("J/token", 1.0, "decimal"),
    "%": ("1", 0.01, ""),
    "": ("1", 1.0, ""),
}


def _unit_table() -> dict[str, tuple[str, float]]:
    table: dict[str, tuple[str, float]] = {}
    for base, (dimension, factor, prefixes) in _BASES.items():
        scales = {"": 1.0} if not prefixes else dict(_DECIMAL)
        if prefixes == "data":
            scales |= _BINARY
        for prefix, scale in scales.items():
            table.setdefault(prefix + base, (dimension, factor * scale))
    return table


_UNITS = _unit_table()
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf|nan)\s*(.*?)\s*$")


def quantity(value: str | float | int, dimension: str) -> float:
    """The SI value of ``value``, which must have the named dimension.

    Raises ``ValueError`` with the value, its unit and the dimension expected; booleans are refused.

    >>> quantity("3.35 TB/s", "B/s")
    3350000000000.0
    >>> quantity("80 GiB", "B")
    85899345920.0
    >>> quantity("50 ms", "s")
    0.05
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a quantity: write a number with a unit of {dimension}")
    if not isinstance(value, str):
        return _finite(float(value), value)
    match = _QUANTITY.match(value)
    if match is None:
        raise ValueError(f"{value!r} is not a quantity: write a number with a unit of {dimension}, such as {_example(dimension)!r}")
    number, unit = match.groups()
    if unit not in _UNITS:
        raise ValueError(f"{value!r} has an unknown unit {unit!r}: expected a unit of {dimension}, such as {_example(dimension)!r}")
    found, factor = _UNITS[unit]
    if unit and found != dimension:
        raise ValueError(f"{value!r} is a quantity of {found}, expected {dimension}, such as {_example(dimension)!r}")
    return _finite(float(number) * factor, value)


def _finite(number: float, value: object) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def _example(dimension: str) -> str:
    examples = {"B": "80 GiB", "B/s": "3.35 TB/s", "FLOP/s": "989 TFLOP/s", "s": "50 ms", "1/s": "2 /s", "W": "700 W",
                "Hz": "2.4 GHz", "USD/h": "2.5 USD/h", "USD": "30000 USD", "token": "1024 tokens", "1": "0.9", "token/s": "500 token/s",
                "USD/Mtoken": "1.5 USD/Mtoken", "J/token": "2 J/token"}  # fmt: skip
    return examples.get(dimension, dimension)


def format_quantity(value: float, dimension: str, digits: int = 3) -> str:
    """``value`` with the decimal prefix that leaves one to three digits before the point.

    >>> format_quantity(3.35e12, "B/s")
    '3.35 TB/s'
    >>> format_quantity(0.0123, "s")
    '12.3 ms'
    """
    if dimension in ("1", "USD", "USD/h", "1/s", "token", "token/s", "USD/Mtoken") or value == 0 or not math.isfinite(value):
        return f"{value:.{digits}g}" + ("" if dimension == "1" else f" {dimension}")
    prefixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]
    power = min(max(math.floor(math.log10(abs(value)) / 3), -3), 6)
    return f"{value / 1000.0**power:.{digits}g} {prefixes[power + 3]}{dimension}"
