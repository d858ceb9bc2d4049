"""Validation shared by the specs: one clear sentence that names the field, the value and the limit."""

import math


class SpecError(ValueError):
    """A spec holds a value that cannot be: the message names the field, the value and the limit."""


def positive(owner: object, **fields: float | None) -> None:
    """Raise ``SpecError`` unless each given field is absent (None) or finite and > 0."""
    for name, value in fields.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise SpecError(f"{type(owner).__name__}.{name} is {value!r}: must be finite and > 0")


def not_negative(owner: object, **fields: float | None) -> None:
    """Raise ``SpecError`` unless each given field is absent (None) or finite and >= 0."""
    for name, value in fields.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise SpecError(f"{type(owner).__name__}.{name} is {value!r}: must be finite and >= 0")


def at_most(owner: object, limit: float, **fields: float | None) -> None:
    """Raise ``SpecError`` where a given field is above ``limit``: larger values are mistakes, and would ask for all the memory there is."""
    for name, value in fields.items():
        if value is not None and value > limit:
            raise SpecError(f"{type(owner).__name__}.{name} is {value!r}: must be at most {limit:,}")


def fraction(owner: object, **fields: float) -> None:
    """Raise ``SpecError`` unless each given field lies in [0, 1]."""
    for name, value in fields.items():
        if not 0 <= value <= 1:
            raise SpecError(f"{type(owner).__name__}.{name} is {value!r}: must lie between 0 and 1")


def one_of(owner: object, choices: tuple[str, ...], **fields: str) -> None:
    """Raise ``SpecError`` unless each given field is one of ``choices``."""
    for name, value in fields.items():
        if value not in choices:
            raise SpecError(f"{type(owner).__name__}.{name} is {value!r}: must be one of {', '.join(choices)}")
