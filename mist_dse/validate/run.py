"""Predictions of a whole file: every row in order, covered or with the reason why not, in chunks that any ``map`` may spread.

A chunk carries plain rows and names, so that it can be sent to another process; each process reads the catalogue once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.specs.engine import EngineProfile
from mist_dse.validate.case import case
from mist_dse.validate.kinds import kind_of
from mist_dse.validate.predict import FIGURES, Prediction, prediction
from mist_dse.validate.recipe import Recipe, recipe, recipes
from mist_dse.validate.residuals import GRADES, grade_of

CHUNK = 24
"""Rows of one chunk: about a second of work."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How rows are predicted: folders of the catalogue, the recipe of all rows (empty: by source), profiles in place of the catalogue's,
    and where operator coefficients come from (a choice of `Catalog`, empty: its default)."""

    directories: tuple[Path, ...] = ()
    benchmark: str = ""
    profiles: tuple[EngineProfile, ...] = ()
    operators: str = ""


def predictions(frame: pd.DataFrame, setup: Setup | None = None, *, run: Callable[..., Iterable[Any]] = map) -> pd.DataFrame:
    """``frame`` (normalised) with ``covered``, ``reason``, ``pred_*``, ``kind``, ``grade`` (of coefficients), ``borrowed`` (not
    fitted), ``saturated``, ``recipe`` and ``profile``.

    ``reason`` says why a row is not covered, and for a covered row lists the defaults that its prediction rests on. ``run`` maps a
    function over chunks, in order.
    """
    setup = setup or Setup()
    rows = frame.to_dict("records")
    chunks = [(rows[start : start + CHUNK], setup) for start in range(0, len(rows), CHUNK)]
    found = [row for chunk in run(predicted_chunk, chunks) for row in chunk]
    columns = pd.DataFrame(found, index=frame.index, columns=list(_EMPTY))
    return pd.concat([frame.drop(columns=[name for name in columns if name in frame]), columns], axis=1)


def predicted_chunk(chunk: tuple[Sequence[Mapping[str, Any]], Setup]) -> list[dict[str, Any]]:
    """The columns that `predictions` adds, for the rows of one chunk."""
    rows, setup = chunk
    catalog, known, profiles, benchmark = _library(setup)
    return [_predicted(row, catalog, known, profiles, benchmark) for row in rows]


_EMPTY: dict[str, Any] = {
    "covered": False, "reason": "", **{f"pred_{name}": np.nan for name in FIGURES}, "kind": "", "borrowed": False, "saturated": False,
    "recipe": "", "profile": "", "grade": "",
}  # fmt: skip


@lru_cache(maxsize=4)
def _library(setup: Setup) -> tuple[Catalog, tuple[Recipe, ...], Mapping[str, EngineProfile], Recipe | None]:
    catalog = Catalog(setup.directories or None, operators=setup.operators) if setup.operators else Catalog(setup.directories or None)
    profiles = {name: catalog.engine(name) for name in catalog.names("engine")} | {profile.name: profile for profile in setup.profiles}
    return catalog, recipes(catalog), profiles, recipe(setup.benchmark, catalog) if setup.benchmark else None


def _predicted(row: Mapping[str, Any], catalog: Catalog, known: tuple[Recipe, ...], profiles: Mapping[str, EngineProfile],
               benchmark: Recipe | None) -> dict[str, Any]:  # fmt: skip
    kind = kind_of(catalog.model(row["use_model"])) if row["use_model"] else ""
    ready = case(row, catalog=catalog, recipes=known, profiles=profiles, benchmark=benchmark)
    if isinstance(ready, str):
        return _EMPTY | {"reason": ready, "kind": kind}
    found = prediction(ready)
    about = {"kind": kind, "recipe": ready.recipe, "profile": ready.profile.name}
    if isinstance(found, str):
        return _EMPTY | about | {"reason": found}
    return _EMPTY | about | _figures(found) | {"covered": True, "reason": "; ".join(ready.notes)}


def _figures(found: Prediction) -> dict[str, Any]:
    grade = grade_of(found.provenance)
    figures = {f"pred_{name}": getattr(found, name) for name in FIGURES}
    return figures | {"saturated": found.saturated, "borrowed": grade != GRADES[0], "grade": grade}
