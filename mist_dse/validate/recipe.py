"""Load generators as named recipes (``conf/benchmark``): how requests arrive, how long they are, what is reported, and launch flags.

A recipe is plain data. ``set`` holds what is true of all its rows, each of ``rules`` what is true *when* a row matches: launch
flags that hang on the engine, the model or the concurrency are facts read in the benchmark's scripts, not fits. Later rules win.
A row chooses its recipe by its ``source`` (``selects``), and its own columns (num_prompts, range_ratio, statistic) win over all.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from mist_dse.catalog import Catalog
from mist_dse.catalog_errors import CatalogError, nearest
from mist_dse.specs.design import Batching
from mist_dse.specs.engine import EngineProfile
from mist_dse.validate.errors import MeasurementError

ARRIVALS = ("closed", "open", "burst", "static")
"""Closed loop of ``concurrency`` clients; Poisson at ``request_rate`` (-1: all at once); all at once; one static batch."""

STATISTICS: Mapping[str, Callable[[Any], Any]] = {
    "mean": np.mean, "median": np.median, "p90": partial(np.quantile, q=0.9), "p99": partial(np.quantile, q=0.99),
}  # fmt: skip
"""Statistics over requests that a load generator may report."""

DEFAULT = "closed_loop"
"""The recipe of rows whose source no recipe selects."""

LOAD = ("arrivals", "statistic", "length_ratio", "prompts_per_client", "requests", "cached_prompt_fraction")
"""What a recipe says of the load itself."""

FLAGS = ("profile", "kv", "compute", *(field.name for field in fields(Batching)),
         *(field.name for field in fields(EngineProfile) if field.name not in ("name", "source")))  # fmt: skip
"""What a recipe may say of the launch: a family of profiles, datatypes, batching limits, and fields of the engine profile."""

BOUNDS = {
    "from": ("built", True), "until": ("built", False), "concurrency_from": ("concurrency", True),
    "concurrency_until": ("concurrency", False), "tp_until": ("tp", False),
}  # fmt: skip
"""Conditions that are limits, all inclusive: the column, and whether the limit is the least value."""

EXACT = ("engine", "model", "accelerator", "weight", "isl", "osl", "tp", "ep", "attention_dp", "mode")
"""Conditions that name one value or a list of them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``set`` holds when every condition of ``when`` does."""

    when: Mapping[str, Any]
    set: Mapping[str, Any]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether ``row`` meets every condition; a value that is unknown meets none."""
        return all(_met(name, wanted, row) for name, wanted in self.when.items())


@dataclass(frozen=True, slots=True)
class Recipe:
    """One load generator: its name, the rules in order (the first is unconditional), and what it selects."""

    name: str
    rules: tuple[Rule, ...]
    selects: tuple[Mapping[str, Any], ...] = ()

    def settings(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """All that the recipe says of a row, the row's own columns last."""
        found = {"arrivals": "closed", "statistic": "mean", "length_ratio": 1.0, "prompts_per_client": 10, "cached_prompt_fraction": 0.0}
        for rule in self.rules:
            if rule.holds(row):
                found |= rule.set
        return found | _own(row)

    def selected(self, row: Mapping[str, Any]) -> bool:
        """Whether the recipe is that of the row's ``source`` (a prefix), engine and model."""
        return any(all(_selected(name, wanted, row) for name, wanted in choice.items()) for choice in self.selects)


def recipe(name: str, catalog: Catalog) -> Recipe:
    """The catalogued recipe ``name``; ``CatalogError`` where there is none or it says what no recipe can."""
    path = catalog.path("benchmark", name)
    data = catalog.data("benchmark", name)
    _known(data, ("set", "rules", "selects", "source", "note"), str(path))
    rules = [Rule({}, data.get("set") or {}), *(Rule(rule.get("when") or {}, rule.get("set") or {}) for rule in data.get("rules") or ())]
    for index, rule in enumerate(rules):
        _known(rule.when, (*EXACT, *BOUNDS), f"{path}: rules.{index - 1}.when")
        _known(rule.set, (*LOAD, *FLAGS), f"{path}: rules.{index - 1}.set" if index else f"{path}: set")
    return Recipe(path.stem, tuple(rules), tuple(data.get("selects") or ()))


def recipes(catalog: Catalog) -> tuple[Recipe, ...]:
    """Every catalogued recipe, by name."""
    return tuple(recipe(name, catalog) for name in catalog.names("benchmark"))


def recipe_of(row: Mapping[str, Any], known: tuple[Recipe, ...]) -> Recipe:
    """The recipe that selects a row, else the plain closed loop."""
    for one in known:
        if one.selected(row):
            return one
    return next(one for one in known if one.name == DEFAULT)


def amount(value: Any, row: Mapping[str, Any]) -> Any:
    """A setting as a number: numbers stand for themselves, words for what the scripts compute.

    >>> row = {"concurrency": 8.0, "isl": 9000, "osl": 128}
    >>> amount("concurrency - 1", row), amount("prompts", row), amount(256, row)
    (7, 9088, 256)
    """
    if not isinstance(value, str):
        return value
    concurrency = int(row["concurrency"])
    words = {"concurrency": concurrency, "concurrency - 1": max(concurrency - 1, 1), "sequence": int(row["isl"] + row["osl"] + 200),
             "prompts": max(8192, (concurrency + int(row["isl"]) + 64 + 63) // 64 * 64)}  # fmt: skip
    return words.get(value, value)


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if _is_number(row.get("num_prompts")):
        found["requests"] = int(row["num_prompts"])
    if _is_number(row.get("range_ratio")):
        found["length_ratio"] = float(row["range_ratio"])
    if isinstance(row.get("statistic"), str) and row["statistic"]:
        if row["statistic"] not in STATISTICS:
            raise MeasurementError(f"statistic is {row['statistic']!r}: must be {' or '.join(STATISTICS)}")
        found["statistic"] = row["statistic"]
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _met(name: str, wanted: Any, row: Mapping[str, Any]) -> bool:
    if name in BOUNDS:
        column, least = BOUNDS[name]
        value = row.get(column)
        if value is None or value != value or value == "":
            return False
        limit = str(wanted) if column == "built" else wanted
        return bool(value >= limit if least else value <= limit)
    return row.get(name) in (wanted if isinstance(wanted, list) else [wanted])


def _selected(name: str, wanted: Any, row: Mapping[str, Any]) -> bool:
    if name == "source":
        return str(row.get("source") or "").startswith(wanted)
    return _met(name, wanted, row)


def _known(data: Mapping[str, Any], valid: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in valid:
            raise CatalogError(f"{where}: {key!r} is no key; {nearest(key, valid)}")
