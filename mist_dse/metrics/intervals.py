"""Confidence intervals of metrics over independent seeds: Student's t."""

import math
from collections.abc import Mapping, Sequence


def intervals(runs: Sequence[Mapping[str, float | None]], *, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Interval of the mean of each metric over the ``runs``, one per seed: mean -+ t s / sqrt(n).

    Metrics that are undefined in any run, and all metrics below two runs, have none.

    >>> intervals([{"watts": 1.0}, {"watts": 3.0}])["watts"]  # 2 -+ 12.706
    (-10.706..., 14.706...)
    """
    count = len(runs)
    if count < 2:
        return {}
    reach = student_t(0.5 + level / 2, count - 1) / math.sqrt(count)
    found = {}
    for name in runs[0]:
        values = [value for run in runs if (value := run.get(name)) is not None]
        if len(values) < count:
            continue
        mean = sum(values) / count
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
        found[name] = (mean - reach * deviation, mean + reach * deviation)
    return found


def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t law with ``freedom`` >= 1 degrees of freedom, for 0.5 <= probability < 1, by bisection.

    >>> round(student_t(0.975, 3), 3)
    3.182
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < 2 * probability - 1:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(-t <= T <= t): the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term = total = math.cos(theta) if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= math.cos(theta) ** 2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (theta + (math.sin(theta) * total if freedom > 1 else 0.0))
    return math.sin(theta) * total
