"""A metric's mean and percentiles, for arrays of designs, and sums of independent ones.

Deviations from the mean add by squares in the tails, as for normal laws. At the median they add as skewness does:
mean - median is about (third cumulant) / (6 variance), so the parts weigh by their share of the squared p90 deviation.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import Floats

LEVELS = (0.5, 0.9, 0.99)
"""The percentiles of a `Spread`, as fractions."""


class Spread(NamedTuple):
    """Mean and percentiles of one metric; equal shapes."""

    mean: Floats
    p50: Floats
    p90: Floats
    p99: Floats

    def shifted(self, constant: Floats | float) -> "Spread":
        """With a constant added to every value."""
        return Spread(*(np.asarray(value + constant) for value in self))

    def scaled(self, factor: Floats | float) -> "Spread":
        """With every value multiplied by a factor."""
        return Spread(*(np.asarray(value * factor) for value in self))

    def at(self, *index: Any) -> "Spread":
        """Every value indexed alike."""
        return Spread(*(np.asarray(np.asarray(value)[index]) for value in self))


def sample_spread(values: Floats) -> Spread:
    """Mean and percentiles of a sample of numbers; nan if it is empty."""
    if not len(values):
        return Spread(*(np.full(1, np.nan),) * 4)
    return Spread(*(np.array([value]) for value in (values.mean(), *np.quantile(values, LEVELS))))


def total(first: Spread, second: Spread, correlation: float = 0.0) -> Spread:
    """Spread of the sum of two metrics, by broadcasting; ``correlation`` between them counts in the tails."""
    a90, b90 = first.p90 - first.mean, second.p90 - second.mean
    a99, b99 = first.p99 - first.mean, second.p99 - second.mean
    a2, b2 = a90 * a90, b90 * b90
    mean = first.mean + second.mean
    whole = a2 + b2
    median = ((first.p50 - first.mean) * a2 + (second.p50 - second.mean) * b2) / np.where(whole > 0, whole, 1.0)
    p90 = np.sqrt(np.maximum(whole + 2 * correlation * a90 * b90, 0.0))
    p99 = np.sqrt(np.maximum(a99 * a99 + b99 * b99 + 2 * correlation * a99 * b99, 0.0))
    return Spread(mean, mean + median, mean + p90, mean + p99)
