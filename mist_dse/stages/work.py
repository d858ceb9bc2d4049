"""What a stage asks of the server it runs on, and what a stage kind is told when it says so.

A kind is a file of this room with ``KIND``, ``RUNS_ON`` (what may host it), ``Options`` (a frozen dataclass: what a pipeline file may say),
``work(options, asked)`` (one of the tuples below) and ``adds(options, asked)`` (tokens that it leaves in the conversation, which all
later stages then see).
"""

from collections.abc import Callable
from dataclasses import fields
from numbers import Real
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from mist_dse.catalog_errors import nearest
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.pipeline import Stage
from mist_dse.units import quantity

HOSTS = ("engine", "encoder", "index", "tiers", "cores", "outside")
"""What may host a stage: a pool with an engine, or a service by its `Service.kind`."""

COMMON_KEYS = tuple(field.name for field in fields(Stage) if field.name != "options")
"""What every stage may say, whatever its kind."""

T = TypeVar("T")


class Asked(NamedTuple):
    """What a kind knows: the requests (n), ``context`` tokens of the conversation when the stage starts, ``host`` of `HOSTS`, and
    ``normal`` draws, one for each request, by purpose and the same for all designs."""

    requests: Requests
    context: Ints
    host: str
    normal: Callable[[str], Floats]


class Sequence(NamedTuple):
    """A visit to an engine: ``prompt`` tokens to read, ``emit`` tokens to write, ``own``: a conversation of its own, not the request's."""

    prompt: Ints
    emit: Ints
    own: bool = True


class Passes(NamedTuple):
    """Forward passes of an encoder over ``items`` of ``tokens`` each."""

    items: Ints
    tokens: Ints


class Amount(NamedTuple):
    """Units of a station: queries of an index, seconds of a core or of the world outside."""

    units: Floats


Work = Sequence | Passes | Amount


def options_of(kind: type[T], stage: Stage, where: str) -> T:
    """The options of a stage as its kind's dataclass; a field's ``unit`` in its metadata is read from text such as "50 ms"."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in stage.options:
        if key not in known:
            raise SpecError(f"{where}: unknown key {key!r} (value {value!r}); {nearest(key, [*known, *COMMON_KEYS])}")
        unit = known[key].metadata.get("unit")
        try:
            values[key] = value if unit is None or value is None else quantity(value, unit)  # type: ignore[arg-type]
        except ValueError as error:
            raise SpecError(f"{where}: {key}: {error}") from None
        values[key] = _typed(values[key], known[key].type, f"{where}: {key}")
    try:
        return kind(**values)
    except SpecError as error:
        raise SpecError(f"{where}: {str(error).removeprefix('Options.')}") from None


def _typed(value: Any, annotation: Any, where: str) -> Any:
    """``value`` as the field's annotation wants it: whole numbers may be written as 8.0, nothing else is converted."""
    wanted = get_args(annotation) or (annotation,)
    if value is None and NoneType in wanted:
        return None
    if float in wanted or int in wanted:
        number = isinstance(value, Real) and not isinstance(value, bool)
        if number and float in wanted:
            return float(value)
        if number and float(value).is_integer():
            return int(value)
        raise SpecError(f"{where} is {value!r}: should be a {'' if float in wanted else 'whole '}number")
    if not isinstance(value, wanted):
        raise SpecError(f"{where} is {value!r}: should be {'true or false' if bool in wanted else 'text'}")
    return value


def whole(value: object, like: Ints) -> Ints:
    """``value`` as whole tokens >= 1 of every request."""
    return np.broadcast_to(np.maximum(np.rint(np.asarray(value, float)), 1).astype(np.int64), like.shape)


def nothing(like: Ints) -> Ints:
    """No tokens for any request."""
    return np.zeros(like.shape, np.int64)


def varied(mean: Floats | float, cv: float, normal: Floats) -> Floats:
    """Log-normal values of that mean and coefficient of variation, from standard normal draws (the mean itself where cv is 0)."""
    sigma = np.sqrt(np.log1p(cv * cv))
    return np.asarray(mean * np.exp(sigma * normal - sigma * sigma / 2))
