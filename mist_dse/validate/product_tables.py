"""Compact tables of measured products: log(measured / fitted) on the grid of shapes measured, in hundredths.

Aligned rows only. Where an (n, k) or a row count was not measured, the nearest one's value stands in, first over rows, then over
shapes. One table per accelerator, datatype, storage and engine, kept where it predicts shapes left out of it better than the fit.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.perf.fitting import COEFFICIENTS, Limits, modelled_time
from mist_dse.perf.operator import Coefficients
from mist_dse.perf.tables import HUNDREDTH, product_time
from mist_dse.specs.hardware import ProductTable
from mist_dse.validate.kernel_rows import held_out, work_of

MOST = 1.27
"""Greatest logarithm that a signed byte of hundredths holds."""

LEAST_ROWS = 1000


def product_tables(rows: pd.DataFrame, fits: pd.DataFrame, limits: dict[tuple[str, str], Limits]) -> dict[str, np.ndarray]:
    """Arrays by ``accelerator|dtype|storage|engine|part`` for `numpy.savez_compressed`; ``rows`` as `kernel_rows` with m, n, k."""
    found: dict[str, np.ndarray] = {}
    keys = ["accelerator", "dtype", "storage", "engine"]
    for name, group in rows[rows["aligned"]].groupby(keys, sort=True):
        key = tuple(str(part) for part in name)
        fit = fits[(fits[keys] == list(key)).all(axis=1) & (fits["family"] == "gemm") & (fits["kernel"] == "")]
        if len(group) < LEAST_ROWS or fit.empty:
            continue
        values = fit.iloc[0][list(COEFFICIENTS)].to_numpy(float)
        if not _helps(group, values, limits[key[0], key[1]], key):
            continue
        for part, array in _table(group, values, limits[key[0], key[1]]).items():
            found["|".join((*key, part))] = array
    return found


def write_product_tables(tables: dict[str, np.ndarray], out: Path) -> None:
    """Write ``tables`` as one compressed file."""
    np.savez_compressed(out, **tables)  # type: ignore[arg-type]


def _helps(group: pd.DataFrame, values: np.ndarray, limits: Limits, key: tuple[str, ...]) -> bool:
    """Whether a table of part of the shapes predicts the others better than the fit, in the median and at the 90th percentile."""
    out = held_out(group["shape"])
    if group[~out][["n", "k", "m"]].nunique().min() < 2 or not out.any():
        return False
    part = _table(group[~out], values, limits)
    axes: dict[str, Any] = {name: tuple(part[name].tolist()) for name in ("n", "k", "rows")}
    table = ProductTable(dtype=key[1], storage=key[2], engine=key[3], hundredths=part["hundredths"].tobytes(), **axes)
    overhead, compute, memory, sharpness, item, depth, extra = values
    rates = Coefficients(overhead, compute * limits.flops, memory * limits.bandwidth, "", sharpness, item, depth, extra)
    rest = group[out]
    each = (float(rest["weight"].iloc[0]), float(rest["taken"].iloc[0]))
    tabled = product_time(rates, table, *(rest[name].to_numpy() for name in "mnk"), bytes_each=each)
    fitted = modelled_time(work_of(rest), limits, values)
    wrong, plain = (np.quantile(np.abs(time / rest["seconds"] - 1.0), (0.5, 0.9)) for time in (tabled, fitted))
    return bool(np.all(wrong < plain))


def _table(group: pd.DataFrame, values: np.ndarray, limits: Limits) -> dict[str, np.ndarray]:
    wrong = np.log(group["seconds"].to_numpy() / modelled_time(work_of(group), limits, values))
    axes = [np.unique(group[name].to_numpy(int)) for name in ("n", "k", "m")]
    grid = np.full([len(axis) for axis in axes], np.nan)
    index = tuple(np.searchsorted(axis, group[name].to_numpy(int)) for axis, name in zip(axes, ("n", "k", "m"), strict=True))
    grid[index] = np.clip(wrong, -MOST, MOST)
    filled = _smooth(_filled(grid, [np.log(axis) for axis in axes]))
    return {"n": axes[0], "k": axes[1], "rows": axes[2], "hundredths": np.rint(filled / HUNDREDTH).astype(np.int8)}


def _smooth(grid: np.ndarray) -> np.ndarray:
    """The median of three neighbours along rows: one slow measurement is not a trait."""
    if grid.shape[2] < 3:
        return grid
    ends = np.concatenate([grid[:, :, :1], grid, grid[:, :, -1:]], axis=2)
    median: np.ndarray = np.median(np.stack([ends[:, :, :-2], ends[:, :, 1:-1], ends[:, :, 2:]]), axis=0)
    return median


def _filled(grid: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """The grid with gaps filled by the nearest value in log distance, rows counting little: along rows first."""
    spots = np.argwhere(~np.isnan(grid))
    holes = np.argwhere(np.isnan(grid))
    places = np.stack([axis[spots[:, i]] for i, axis in enumerate(axes)], axis=1) * (1.0, 1.0, 0.25)
    result = grid.copy()
    for hole in holes:
        at = np.array([axis[i] for axis, i in zip(axes, hole, strict=True)]) * (1.0, 1.0, 0.25)
        nearest = spots[np.argmin(((places - at) ** 2).sum(axis=1))]
        result[tuple(hole)] = grid[tuple(nearest)]
    return result
