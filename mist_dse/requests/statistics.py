"""What a trace's arrivals are like: rate, variability of the gaps, dispersion of the counts per minute."""

import numpy as np

from mist_dse.rows import Floats


def arrival_statistics(arrival_s: Floats) -> dict[str, float]:
    """Statistics of ascending arrival times (s) of at least two requests.

    ``duration`` first to last arrival (s), ``rate`` = gaps per duration (1/s), ``cv`` of the gaps, ``dispersion_1min`` =
    variance / mean of the counts in whole minutes (1 for Poisson arrivals, cv^2 for a renewal process in the long run; None
    below two whole minutes).

    >>> arrival_statistics(np.arange(0.0, 181.0))["cv"]
    0.0
    """
    gaps = np.diff(arrival_s)
    duration = float(arrival_s[-1] - arrival_s[0])
    statistics = {"requests": len(arrival_s), "duration": duration, "rate": len(gaps) / duration, "cv": float(gaps.std() / gaps.mean())}
    return statistics | {"dispersion_1min": _dispersion(arrival_s, 60.0)}


def _dispersion(arrival_s: Floats, window: float) -> float:
    minute = ((arrival_s - arrival_s[0]) // window).astype(np.int64)
    counts = np.bincount(minute)[: minute[-1]]
    return float(counts.var(ddof=1) / counts.mean()) if len(counts) > 1 else float("nan")
