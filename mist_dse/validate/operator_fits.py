"""Operator coefficients from tables of measured kernels, and the file that they are packaged in.

Per accelerator, family, datatype, storage and engine: rows split 7 : 3 by a hash of the shape, those faster than the datasheet
allows dropped (a cache held what the shape says was read), products of unaligned rows kept out of the fit, then
`perf.fitting`. A second pass starts from, and is pulled towards, the median over accelerators of the first: coefficients that the
shapes of one accelerator cannot tell come from its class. Both errors are medians of |predicted / measured - 1|.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog, CatalogError
from mist_dse.perf.fitting import COEFFICIENTS, Limits, fitted, modelled_time
from mist_dse.validate.collective_fits import collective_fits, collective_rows, exchange_rows
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.kernel_rows import WIDE_GROUPS, held_out, kernel_rows, kind_of, work_of
from mist_dse.validate.product_tables import product_tables, write_product_tables

KEYS = ("accelerator", "family", "dtype", "storage", "engine", "kernel")
"""What a fit is for."""

LEAST_ROWS = 60
"""Rows below which nothing is fitted."""

MOST_ROWS = 6000
"""Rows past which a fit takes a part, chosen by the hash of the shape."""

START = (1e-5, 0.55, 0.80, 2.0, 1e-8, 1e-9, 1e-7)
"""Where the first pass starts, in the order of `COEFFICIENTS`."""

NAMED_ONLY = (("gemm", "fp8", "fp8_block", "vllm"),)
"""Timed launch by launch, with a floor of 80-170 us that no captured graph has: fitted kernel by kernel, never as an engine's."""

_EXCHANGES = {"collective": collective_rows, "expert_exchange": exchange_rows}

ATTRIBUTION = (
    "Coefficients fitted on kernel tables of aiconfigurator-core 0.12.0, Copyright NVIDIA CORPORATION & AFFILIATES, Apache-2.0; "
    "rows were filtered and renamed"
)
"""What must stay with anything derived from the tables."""


def operator_fits(paths: Iterable[Path | str], catalog: Catalog | None = None) -> pd.DataFrame:
    """One row per fit: `KEYS`, `COEFFICIENTS`, rows, and median errors on the shapes fitted and held out."""
    known = catalog or Catalog(operators="light")
    rows = [table for path in paths if (table := _kernels(path)) is not None]
    if not rows:
        raise MeasurementError("no table of kernels was named: give files like gemm_h100_sxm.parquet")
    table = _named(pd.concat(rows, ignore_index=True), known)
    groups = _groups(table)
    if not groups:
        raise MeasurementError(f"no group of {LEAST_ROWS} measured rows to fit: every row needs a latency_ms above 0")
    first = {key: _fit(group, known, key, np.array(START)) for key, group in groups}
    centres = _centres(first)
    return pd.DataFrame([_record(key, group, known, centres[key[1:4]]) for key, group in groups])


def write_operator_fits(fits: pd.DataFrame, paths: Sequence[Path | str], out: Path | str, catalog: Catalog | None = None) -> None:
    """Write ``fits`` as CSV, with attribution, source version and the hash of every input in a JSON file beside it.

    Beside it too, of what ``paths`` hold: ``collectives.csv`` and ``products.npz`` (tables of measured products).
    """
    target, known = Path(out), catalog or Catalog(operators="light")
    target.parent.mkdir(parents=True, exist_ok=True)
    fits.to_csv(target, index=False, float_format="%.4g")
    frames = {path: kernel_table(path) for path in paths}
    collectives = [collective_fits(_EXCHANGES[kind](frame), known) for frame in frames.values() if (kind := kind_of(frame)) in _EXCHANGES]
    if collectives:
        pd.concat(collectives).to_csv(target.with_name("collectives.csv"), index=False, float_format="%.4g")
    products = [kernel_rows(frame) for frame in frames.values() if kind_of(frame) == "gemm"]
    if products:
        rows = _named(pd.concat(products, ignore_index=True), known)
        pairs = rows[["accelerator", "dtype"]].drop_duplicates().itertuples(index=False)
        limits = {(name, dtype): _limits(known, (name, "gemm", dtype)) for name, dtype in pairs}
        write_product_tables(product_tables(rows, fits, limits), target.with_name("products.npz"))
    inputs = {Path(path).name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
    about = {"attribution": ATTRIBUTION, "source": "aiconfigurator-core 0.12.0 (PyPI wheel)", "fits": len(fits), "sha256": inputs}
    target.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def kernel_table(path: Path | str) -> pd.DataFrame:
    """A parquet file of measured operators; ``MeasurementError`` for anything else."""
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{path}: {str(error).splitlines()[0]}; give a parquet file of measured operators") from None


def _kernels(path: Path | str) -> pd.DataFrame | None:
    frame = kernel_table(path)
    return None if kind_of(frame) in _EXCHANGES else kernel_rows(frame)


def _named(table: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """Rows with the catalogue's name of their accelerator; datatypes without units are told apart by storage."""
    names: dict[str, str] = {}
    native: dict[tuple[str, str], str] = {}
    for system in table["accelerator"].unique():
        try:
            accelerator = catalog.accelerator(system)
        except CatalogError:
            continue
        names[system] = accelerator.name
        native |= {(accelerator.name, dtype): accelerator.peaks.native(dtype) for dtype in table["dtype"].unique() if dtype}
    kept = table[table["accelerator"].isin(names) & (table["dtype"] != "") & (table["seconds"] > 0)].copy()
    kept["accelerator"] = kept["accelerator"].map(names)
    own = pd.Series([native[pair] for pair in zip(kept["accelerator"], kept["dtype"], strict=True)], index=kept.index)
    kept["storage"] = np.where((own != kept["dtype"]) & (kept["storage"] == ""), kept["dtype"], kept["storage"])
    return kept.assign(dtype=own)


def _groups(table: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Rows of each fit: an engine's kernels together (empty name; no model served has such wide groups), and each alone."""
    found: list[tuple[tuple[str, ...], pd.DataFrame]] = []
    for name, group in table.groupby(list(KEYS[:-1]), sort=True):
        key = tuple(str(part) for part in name)
        named = key[1:] in NAMED_ONLY
        found += [] if named else [((*key, ""), group[~group["kernel"].str.endswith(WIDE_GROUPS)])]
        if named or group["kernel"].nunique() > 1:
            found += [((*key, str(kernel)), part) for kernel, part in group.groupby("kernel", sort=True)]
    return [(key, group.reset_index(drop=True)) for key, group in found if len(group) >= LEAST_ROWS]


def _limits(catalog: Catalog, key: tuple[str, ...]) -> Limits:
    accelerator = catalog.accelerator(key[0])
    return Limits(accelerator.peaks.at(key[2]), accelerator.memory_bandwidth)


def _usable(table: pd.DataFrame, limits: Limits) -> np.ndarray:
    light = np.maximum(table["flop"] / limits.flops, table["moved"] / limits.bandwidth)
    mask: np.ndarray = ((table["seconds"] >= light) & table["aligned"]).to_numpy(bool)
    return mask


def _fit(table: pd.DataFrame, catalog: Catalog, key: tuple[str, ...], start: np.ndarray) -> np.ndarray:
    limits = _limits(catalog, key)
    chosen = table[_usable(table, limits) & ~held_out(table["shape"])].sort_values("shape").head(MOST_ROWS)
    return fitted(work_of(chosen), chosen["seconds"].to_numpy(), limits, start)


def _centres(fits: dict[tuple[str, ...], np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """Geometric middle over accelerators and engines of each (family, dtype, storage)."""
    groups: dict[tuple[str, ...], list[np.ndarray]] = {}
    for key, values in fits.items():
        groups.setdefault(key[1:4], []).append(np.log(np.maximum(values, 1e-13)))
    return {key: np.exp(np.median(np.stack(found), axis=0)) for key, found in groups.items()}


def _record(key: tuple[str, ...], table: pd.DataFrame, catalog: Catalog, centre: np.ndarray) -> dict[str, object]:
    values = _fit(table, catalog, key, centre)
    limits = _limits(catalog, key)
    error = np.abs(modelled_time(work_of(table), limits, values) / table["seconds"].to_numpy() - 1.0)
    out, usable = held_out(table["shape"]), _usable(table, limits)
    return {
        **dict(zip(KEYS, key, strict=True)),
        **dict(zip(COEFFICIENTS, values, strict=True)),
        "rows": len(table),
        "fit_error": float(np.median(error[usable & ~out])),
        "held_out_error": float(np.median(error[out])) if out.any() else np.nan,
    }
