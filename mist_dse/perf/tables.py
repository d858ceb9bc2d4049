"""Measured products over their fits: an optional override that keeps the quirks of one kernel version.

A table holds log(measured / fitted) at aligned row counts for the (n, k) that were measured. Between them it is interpolated in
log n and log k, the boundary's value held outside; over rows the time itself runs through the knots on a log-log line, made
non-decreasing, so that more work never takes less time. Coefficients stay the default: end to end they predicted as well.
"""

from functools import lru_cache

import numpy as np

from mist_dse.perf.kernels import kernel_time, product_work
from mist_dse.perf.load import Number
from mist_dse.perf.operator import Coefficients
from mist_dse.specs.hardware import Accelerator, OperatorFit, ProductTable

HUNDREDTH = 0.01
"""Step of the stored logarithms."""


def product_time(
    rates: Coefficients, table: ProductTable | None, rows: Number, n: Number, k: Number, *, bytes_each: tuple[float, float]
) -> Number:
    """Seconds of products of ``rows`` x k by k x n: by ``rates``, corrected by the table that goes with them if there is one.

    ``bytes_each``: of a weight and of an activation as multiplied.
    """
    if table is None:
        return kernel_time(rates, product_work(rows, n, k, weight=bytes_each[0], taken=bytes_each[1]))
    return tabled_product_time(table, rates, rows, n, k, bytes_each=bytes_each)


def product_table(accelerator: Accelerator, fit: OperatorFit) -> ProductTable | None:
    """The table that holds corrections of ``fit``, None where there is none."""
    if fit.kernel or fit.family != "gemm":
        return None
    key = (fit.dtype, fit.storage, fit.engine)
    return next((table for table in accelerator.tables if (table.dtype, table.storage, table.engine) == key), None)


def tabled_product_time(
    table: ProductTable, fit: Coefficients, rows: Number, n: Number, k: Number, *, bytes_each: tuple[float, float]
) -> Number:
    """Seconds of products by the corrections of ``table``."""
    shape = np.broadcast_shapes(np.shape(rows), np.shape(n), np.shape(k))
    flat = [np.broadcast_to(np.asarray(value, float), shape).ravel() for value in (rows, n, k)]
    pairs, which = np.unique(np.stack(flat[1:]), axis=1, return_inverse=True)
    curves = _knot_times(table, fit, pairs[0][:, None], pairs[1][:, None], bytes_each)
    knots = np.asarray(table.rows, float)
    inside = np.clip(flat[0], knots[0], knots[-1])
    low = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
    part = np.log(inside / knots[low]) / np.log(knots[low + 1] / knots[low])
    first, second = curves[which.ravel(), low], curves[which.ravel(), low + 1]
    tabled = np.exp(np.log(first) + part * np.log(second / first))
    beyond = _fitted(fit, flat[0], flat[1], flat[2], bytes_each) / _fitted(fit, inside, flat[1], flat[2], bytes_each)
    return (tabled * beyond).reshape(shape)


def _knot_times(table: ProductTable, fit: Coefficients, n: np.ndarray, k: np.ndarray, bytes_each: tuple[float, float]) -> np.ndarray:
    """Seconds at every row knot for each (n, k), non-decreasing: half way between the least curve above and the greatest below."""
    values = _logarithms(table)
    (n_low, n_part), (k_low, k_part) = _between(table.n, n[:, 0]), _between(table.k, k[:, 0])
    corners = [(n_low, k_low, (1 - n_part) * (1 - k_part)), (n_low + 1, k_low, n_part * (1 - k_part)),
               (n_low, k_low + 1, (1 - n_part) * k_part), (n_low + 1, k_low + 1, n_part * k_part)]  # fmt: skip
    correction = sum(weight[:, None] * values[i, j] for i, j, weight in corners)
    times: np.ndarray = _fitted(fit, np.asarray(table.rows, float)[None, :], n, k, bytes_each) * np.exp(correction)
    rising, falling = np.maximum.accumulate(times, axis=1), np.minimum.accumulate(times[:, ::-1], axis=1)[:, ::-1]
    middle: np.ndarray = np.sqrt(rising * falling)
    return middle


def _fitted(fit: Coefficients, rows: np.ndarray, n: np.ndarray, k: np.ndarray, bytes_each: tuple[float, float]) -> np.ndarray:
    return np.asarray(kernel_time(fit, product_work(rows, n, k, weight=bytes_each[0], taken=bytes_each[1])), float)


def _between(axis: tuple[int, ...], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the knot below and the share of the way to the next one, on a log scale, held at the ends."""
    knots = np.log(np.asarray(axis, float))
    place = np.clip(np.log(at), knots[0], knots[-1])
    low = np.clip(np.searchsorted(knots, place, side="right") - 1, 0, len(knots) - 2)
    return low, (place - knots[low]) / (knots[low + 1] - knots[low])


@lru_cache(maxsize=64)
def _logarithms(table: ProductTable) -> np.ndarray:
    shape = (len(table.n), len(table.k), len(table.rows))
    return HUNDREDTH * np.frombuffer(table.hundredths, np.int8).reshape(shape).astype(float)
