"""Bad catalogue data as one clear line: the place, the key path, the value, and what would be valid."""

import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mist_dse.specs._check import SpecError

S = TypeVar("S", bound=BaseModel)


class CatalogError(ValueError):
    """Catalogue data that cannot be used: one line that names the place, the value and what would be valid."""


def closest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` known names that begin with ``name`` or are spelt much like it, best first."""
    names = sorted(set(known))
    longer = [item for item in names if item.startswith(name)]
    return list(dict.fromkeys([*longer, *difflib.get_close_matches(name, names, n=count, cutoff=0.6)]))[:count]


def nearest(name: object, known: Iterable[str], close: Iterable[str] | None = None) -> str:
    """The known names closest to ``name`` (or those given as ``close``) as a clause, or else what is known.

    >>> nearest("h100_sxn", ["h100_sxm", "l40s"])
    "did you mean 'h100_sxm'?"
    """
    names = sorted(set(known))
    found = closest(str(name).lower(), names) if close is None else list(close)
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    return f"valid: {textwrap.shorten(', '.join(names), 240, placeholder=' ...')}"


def validated(schema: type[S], data: object, where: str) -> S:
    """``data`` checked against ``schema``; the first mistake becomes one `CatalogError` line that begins with ``where``."""
    if not isinstance(data, Mapping):
        raise CatalogError(f"{where}: {_short(data)} is not a mapping; valid keys: {', '.join(keys_of(schema))}")
    try:
        return schema.model_validate(dict(data))
    except ValidationError as error:
        problems: list[Any] = error.errors(include_url=False)
        problem = next((item for item in problems if item["type"] == "extra_forbidden"), problems[0])
        raise CatalogError(f"{where}: {_sentence(problem, schema)}".replace("\n", " ")) from None


_FIELD = re.compile(r"(?:Pool [^:]+: |\w+\.)(\w+)\b")


@contextmanager
def located(where: str, path: str) -> Iterator[None]:
    """Turn a ``SpecError`` into a `CatalogError` with the place, the key that the message names added to ``path``."""
    try:
        yield
    except SpecError as error:
        match = _FIELD.match(str(error))
        key = ".".join(part for part in (path, match[1] if match else "") if part)
        raise CatalogError(f"{where}: {key}: {error}" if key else f"{where}: {error}") from None


def keys_of(schema: type[BaseModel]) -> list[str]:
    """The keys that a mapping of ``schema`` may have."""
    return [field.alias or name for name, field in schema.model_fields.items()]


def _sentence(problem: Mapping[str, Any], schema: type[BaseModel]) -> str:
    location = tuple(part for part in problem["loc"] if part != "[key]")
    path = ".".join(str(part) for part in location)
    prefix = f"{path}: " if path else ""
    if problem["type"] == "extra_forbidden":
        known = keys_of(_schema_at(schema, location[:-1]))
        return f"{prefix}unknown key {location[-1]!r} (value {_short(problem['input'])}); {nearest(location[-1], known)}"
    if problem["type"] == "missing":
        return f"{prefix}missing key {location[-1]!r}"
    if problem["type"] == "value_error":
        return f"{prefix}{problem['ctx']['error']}"
    return f"{prefix}{_short(problem['input'])}: {_DICTIONARY.sub('mapping', problem['msg'].replace('Input should', 'should'))}"


_DICTIONARY = re.compile(r"valid dictionary( or instance of \w+)?")


def _schema_at(schema: type[BaseModel], location: tuple[Any, ...]) -> type[BaseModel]:
    """The schema of the mapping at ``location``; the part after a list or dictionary is an index, not a key."""
    index = False
    for part in location:
        if index:
            index = False
            continue
        annotation = next(field.annotation for name, field in schema.model_fields.items() if part in (name, field.alias))
        schema = _inner(annotation) or schema
        index = get_origin(annotation) in (list, dict)
    return schema


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _inner(argument))), None)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
