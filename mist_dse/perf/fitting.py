"""Coefficients of an operator from measured times: robust least squares on log residuals.

Levenberg-Marquardt over the logarithms of (overhead, compute, memory, sharpness, item, depth, group) inside physical bounds, with
the soft-L1 loss 2 (sqrt(1 + (r/f)^2) - 1), f = 0.1 (Huber 1964; Triggs et al. 2000, section 4.3), so that one wild kernel choice
does not bend the rest. A weak pull towards a starting point keeps coefficients that the shapes cannot tell (the compute share of
a kernel that only ever waits for memory) where other accelerators have them. NumPy alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mist_dse.perf.kernels import KernelWork
from mist_dse.perf.operator import soft_maximum

COEFFICIENTS = ("overhead", "compute", "memory", "sharpness", "item", "depth", "group")
"""What a fit holds, in this order."""

LOSS_SCALE = 0.1
"""Log residual past which a row loses weight."""

PULL = 0.02
"""Weight of the starting point: so many of the rows, each as wrong as the log distance to it."""

_LOW = np.array([1e-7, 0.02, 0.02, 1.0, 1e-13, 1e-13, 1e-12])
_HIGH = np.array([1e-3, 1.0, 1.0, 8.0, 1e-5, 1e-6, 1e-4])
_NONE = np.array([0.0, 0.0, 0.0, 0.0, 2e-13, 2e-13, 2e-12])
"""Linear terms that end below these are left out."""


class Limits(NamedTuple):
    """Datasheet peaks that compute and memory are fractions of: FLOP/s, B/s."""

    flops: float
    bandwidth: float


def fitted(work: KernelWork, seconds: np.ndarray, limits: Limits, start: np.ndarray, *, steps: int = 60) -> np.ndarray:
    """The coefficients that explain ``seconds``, in the order of `COEFFICIENTS`."""
    low, high = np.log(_LOW), np.log(_HIGH)
    origin = np.clip(np.log(np.maximum(start, _LOW)), low, high)
    pull = np.sqrt(PULL * len(seconds) / len(origin)) * LOSS_SCALE
    measured = np.log(seconds)

    def residuals(point: np.ndarray) -> np.ndarray:
        wrong = np.log(modelled_time(work, limits, np.exp(point))) - measured
        return np.concatenate([_softened(wrong), pull * (point - origin)])

    point, damping = origin.copy(), 1e-2
    now = residuals(point)
    for _ in range(steps):
        slope = _slope(residuals, point, now, high)
        curve, down = slope.T @ slope, slope.T @ now
        trial = np.clip(point - np.linalg.solve(curve + damping * np.diag(np.diag(curve) + 1e-12), down), low, high)
        then = residuals(trial)
        gain = now @ now - then @ then
        if gain > 0:
            point, now, damping = trial, then, damping / 4
            if gain < 1e-7 * (now @ now):
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    found = np.exp(point)
    asked = np.array([True] * 4 + [bool(np.any(count)) for count in (work.items, work.steps, work.groups)])
    return np.where(asked & (found >= _NONE), found, 0.0)


def modelled_time(work: KernelWork, limits: Limits, values: np.ndarray) -> np.ndarray:
    """Seconds of each call under the coefficients ``values`` (order of `COEFFICIENTS`)."""
    overhead, compute, memory, sharpness, item, depth, group = values
    busy = soft_maximum(work.flop / (compute * limits.flops), work.moved / (memory * limits.bandwidth), float(sharpness))
    time: np.ndarray = overhead + busy + item * work.items + depth * work.steps + group * work.groups
    return time


def _softened(wrong: np.ndarray) -> np.ndarray:
    """Residuals whose squares add up to the soft-L1 loss."""
    size: np.ndarray = LOSS_SCALE * np.sqrt(2.0 * (np.sqrt(1.0 + (wrong / LOSS_SCALE) ** 2) - 1.0))
    softened: np.ndarray = np.sign(wrong) * size
    return softened


def _slope(residuals: Callable[[np.ndarray], np.ndarray], point: np.ndarray, now: np.ndarray, high: np.ndarray) -> np.ndarray:
    columns = []
    for index in range(len(point)):
        step = np.zeros_like(point)
        step[index] = 1e-4 if point[index] + 1e-4 <= high[index] else -1e-4
        columns.append((residuals(point + step) - now) / step[index])
    return np.stack(columns, axis=1)
