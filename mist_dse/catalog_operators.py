"""The packaged operator fits, and which of them an accelerator gets.

`operators_of` answers for an accelerator: its own, else those of the nearest accelerator of its architecture, marked as
borrowed, else none (equations then fall back to class defaults). ``data/operators.csv`` is made by ``mist-dse calibrate`` from
kernel tables of aiconfigurator 0.12 (NVIDIA, Apache-2.0); ``data/operators.json`` holds attribution and the hashes of its inputs.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mist_dse.specs.hardware import COMPUTE_DTYPES, OPERATOR_FAMILIES, Accelerator, CollectiveFit, OperatorFit, ProductTable

T = TypeVar("T")

LAYERS = ("coefficients", "tables", "class", "light")
"""Where operator times come from: fits, measured tables over fits, class defaults alone, datasheet peaks alone."""

ENGINES = ("vllm", "sglang", "trtllm")
"""Whose kernels answer first where several engines were measured: vLLM's are the least fused with what surrounds them."""

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
"""Kinds that engines ask for."""

LAUNCHED = "eager"
"""Kernels with this in their name were launched one by one; engines capture theirs in graphs."""

RELATIVES = (
    ("h100_sxm", "h200", "gh200", "h100_nvl", "h100_pcie", "h20"),
    ("b200", "b300", "gb200", "gb300"),
    ("a100_sxm_80gb", "a100_sxm_40gb", "a100_pcie_80gb", "a100_pcie_40gb", "a30"),
    ("l40s", "l4", "rtx_4090"),
    ("a40", "a10"),
)  # fmt: skip
"""Accelerators of one architecture; a name without fits borrows from the nearest in its line."""

_SOURCE = "fit to aiconfigurator 0.12 kernel tables (NVIDIA, Apache-2.0)"
_DATA = Path(__file__).resolve().parent / "data"


def operators_of(accelerator: Accelerator, layer: str = "coefficients", *, every: bool = False) -> tuple[OperatorFit, ...]:
    """What answers for the operators of ``accelerator`` in ``layer``; what is left out falls back to class defaults.

    Fits in its own file come first, then packaged ones, then those that relatives lend for what is left. ``every``: single
    kernels too, not only all of an engine together.
    """
    if layer == "class":
        return ()
    if layer == "light":
        return _light(accelerator)
    found = list(accelerator.operators)
    for relative in _nearest(accelerator.name):
        given = {(fit.family, fit.dtype, fit.storage) for fit in found}
        provenance = "fitted" if relative == accelerator.name else f"borrowed from {relative}"
        lent = [fit for fit in _packaged().get(relative, ()) if (fit.family, fit.dtype, fit.storage) not in given]
        kept = [fit for fit in lent if (every or not fit.kernel) and getattr(accelerator.peaks, fit.dtype) is not None]
        found += [replace(fit, provenance=provenance) for fit in kept]
    return tuple(found)


def collectives_of(accelerator: Accelerator, layer: str = "coefficients", *, every: bool = False) -> tuple[CollectiveFit, ...]:
    """What answers for collectives over the scale-up link: its own fits, or those of the nearest relative.

    Unless ``every``: all versions of a library together, and only what engines capture in graphs.
    """
    if layer in ("class", "light"):
        return ()
    for relative in _nearest(accelerator.name):
        found = _packaged_collectives().get(relative, ())
        kept = [fit for fit in found if every or (not fit.version and LAUNCHED not in fit.kernel and fit.kind in COLLECTIVES)]
        if kept:
            provenance = "fitted" if relative == accelerator.name else f"borrowed from {relative}"
            return tuple(replace(fit, provenance=provenance) for fit in kept)
    return ()


def tables_of(accelerator: Accelerator, layer: str) -> tuple[ProductTable, ...]:
    """Tables of measured products where ``layer`` asks for them: the accelerator's own, or those of the relative that lends fits."""
    if layer != "tables":
        return ()
    return next((found for name in _nearest(accelerator.name) if (found := _packaged_tables().get(name))), ())


def _light(accelerator: Accelerator) -> tuple[OperatorFit, ...]:
    """Datasheet peaks without overhead, for every family and datatype that the accelerator has units for."""
    dtypes = [dtype for dtype in COMPUTE_DTYPES if getattr(accelerator.peaks, dtype) is not None]
    return tuple(OperatorFit(family=family, dtype=dtype, overhead=0.0, compute=1.0, memory=1.0, source="datasheet", provenance="datasheet")
                 for family in OPERATOR_FAMILIES for dtype in dtypes)  # fmt: skip


def _nearest(name: str) -> Iterator[str]:
    """The name itself, then its relatives, nearest in the line first."""
    yield name
    for line in RELATIVES:
        if name in line:
            at = line.index(name)
            yield from sorted((other for other in line if other != name), key=lambda other: abs(line.index(other) - at))


@lru_cache(maxsize=1)
def _packaged() -> dict[str, tuple[OperatorFit, ...]]:
    """Packaged fits by accelerator, the preferred engine first."""
    found = _by_accelerator("operators.csv", _fit)
    return {name: tuple(sorted(fits, key=_preference)) for name, fits in found.items()}


@lru_cache(maxsize=1)
def _packaged_collectives() -> dict[str, tuple[CollectiveFit, ...]]:
    return {name: tuple(fits) for name, fits in _by_accelerator("collectives.csv", _collective).items()}


@lru_cache(maxsize=1)
def _packaged_tables() -> dict[str, tuple[ProductTable, ...]]:
    path = _DATA / "products.npz"
    if not path.is_file():
        return {}
    found: dict[str, list[ProductTable]] = {}
    with np.load(path) as stored:
        for key in sorted({name.rpartition("|")[0] for name in stored.files}):
            name, dtype, storage, engine = key.split("|")
            axes = {axis: tuple(stored[f"{key}|{axis}"].tolist()) for axis in ("n", "k", "rows")}
            table = ProductTable(dtype=dtype, storage=storage, engine=engine, hundredths=stored[f"{key}|hundredths"].tobytes(), **axes)
            found.setdefault(name, []).append(table)
    return {name: tuple(tables) for name, tables in found.items()}


def _by_accelerator(file: str, made: Callable[[dict[str, str]], T]) -> dict[str, list[T]]:
    path = _DATA / file
    if not path.is_file():
        return {}
    found: dict[str, list[T]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found.setdefault(row["accelerator"], []).append(made(row))
    return found


def _preference(fit: OperatorFit) -> tuple[int, str]:
    return ENGINES.index(fit.engine) if fit.engine in ENGINES else len(ENGINES), fit.kernel


def _fit(row: dict[str, str]) -> OperatorFit:
    numbers: dict[str, Any] = {key: float(row[key]) for key in ("overhead", "compute", "memory", "sharpness", "item", "depth", "group")}
    texts: dict[str, Any] = {key: row[key] for key in ("family", "dtype", "storage", "engine", "kernel")}
    source = f"{_SOURCE}, {row['engine'] or 'unnamed'} kernels, {row['rows']} rows"
    return OperatorFit(**texts, **numbers, error=_error(row), source=source)


def _collective(row: dict[str, str]) -> CollectiveFit:
    numbers: dict[str, Any] = {key: float(row[key]) for key in ("latency", "root", "bandwidth", "sharpness")}
    texts: dict[str, Any] = {key: row[key] for key in ("kind", "library", "kernel", "version")}
    return CollectiveFit(**texts, **numbers, devices=int(row["devices"]), error=_error(row))


def _error(row: dict[str, str]) -> float | None:
    return float(row["held_out_error"]) if row["held_out_error"] else None
