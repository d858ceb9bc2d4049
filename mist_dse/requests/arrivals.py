"""Arrival times of the generated kinds: renewal processes that start at time 0, all at once, and the closed loop.

A renewal process has independent gaps of mean 1/rate: exponential (Poisson), gamma of shape 1/cv^2 (whose coefficient of
variation is cv) or constant. The first request comes one gap after time 0, so that n requests in the time of the last one
are the realised rate; ``nominal`` rescales all times until that rate is the nominal one, since much of the noise between
seeds is the realised load (SEARCH.md, section 4).
"""

import numpy as np

from mist_dse.rows import Floats
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals


def arrival_times(arrivals: Arrivals, generator: np.random.Generator, *, nominal: bool = True) -> Floats:
    """Ascending arrival times (s), one per request of ``arrivals``, which is of any kind but a trace.

    Batch requests all come at 0; so do those of the closed loop, of which the first ``clients`` count (`rows.Requests`).
    Raises ``SpecError`` where the cv is so large that all gaps vanish.
    """
    count = arrivals.requests or 0
    if arrivals.kind in ("batch", "closed"):
        return np.zeros(count)
    assert arrivals.rate is not None
    times = np.cumsum(_unit_gaps(arrivals, count, generator))
    if not times[-1] > 0:
        raise SpecError(f"Arrivals.cv is {arrivals.cv!r}: too large for {count} requests, every gap between them vanishes")
    return np.asarray(times * (count / times[-1] if nominal else 1.0) / arrivals.rate)


def _unit_gaps(arrivals: Arrivals, count: int, generator: np.random.Generator) -> Floats:
    """``count`` gaps of mean 1; the first k are the same for every ``count`` >= k."""
    if arrivals.kind == "poisson":
        return generator.standard_exponential(count)
    if arrivals.kind == "gamma":
        return np.asarray(generator.standard_gamma(arrivals.cv**-2, count) * arrivals.cv**2)
    return np.ones(count)
