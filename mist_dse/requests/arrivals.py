"""Arrival times of the generated kinds: renewal processes that start at time 0, a rate that changes, all at once, the closed loop.

A renewal process has independent gaps of mean 1/rate: exponential (Poisson), gamma of shape 1/cv^2 (whose coefficient of
variation is cv) or constant. The first request comes one gap after time 0, so that n requests in the time of the last one
are the realised rate; ``nominal`` rescales all times until that rate is the nominal one, since much of the noise between
seeds is the realised load (SEARCH.md, section 4).

On-off bursts are an interrupted Poisson process (A. Kuczura, The interrupted Poisson process as an overflow process, Bell System
Technical Journal 52(3), 1973): arrivals at rate l while on, none while off. It is a renewal process with hyperexponential gaps,
rates r1, r2 = (l + w + g +- sqrt((l + w + g)^2 - 4 l g)) / 2 with w = 1 / mean time on, g = 1 / mean time off, the first with
probability (l - r2) / (r1 - r2). With l = rate (on + off) / on, the variance of the counts in t s over their mean is
1 + 2 l w / s^2 (1 - (1 - e^(-s t)) / (s t)), s = w + g.

A diurnal rate is a Poisson process on the scale of expected arrivals, mapped back to time through the inverse of their integral
(E. Cinlar, Introduction to Stochastic Processes, 1975, chapter 4.7); rescaled on that scale, so that the period stays.
"""

import math

import numpy as np

from mist_dse.rows import Floats
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals

PIECES = 1440
"""Parts of constant rate that a sinusoid is cut into, each with its exact share: minutes of a day."""


def arrival_times(arrivals: Arrivals, generator: np.random.Generator, *, nominal: bool = True) -> Floats:
    """Ascending arrival times (s), one per request of ``arrivals``, which is of any kind but a trace and sessions.

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
    expected = np.asarray(times * (count / times[-1] if nominal else 1.0))
    return _time_of(arrivals, expected) if arrivals.kind == "diurnal" else np.asarray(expected / arrivals.rate)


def _unit_gaps(arrivals: Arrivals, count: int, generator: np.random.Generator) -> Floats:
    """``count`` gaps of mean 1; the first k are the same for every ``count`` >= k."""
    if arrivals.kind in ("poisson", "diurnal"):
        return generator.standard_exponential(count)
    if arrivals.kind == "gamma":
        return np.asarray(generator.standard_gamma(arrivals.cv**-2, count) * arrivals.cv**2)
    if arrivals.kind == "onoff":
        return _burst_gaps(arrivals, generator.random((count, 2)))
    return np.ones(count)


def _burst_gaps(arrivals: Arrivals, draws: Floats) -> Floats:
    """Hyperexponential gaps of mean 1, from two uniform draws each."""
    assert arrivals.rate is not None
    assert arrivals.on_time is not None
    assert arrivals.off_time is not None
    leave, enter = 1 / arrivals.on_time, 1 / arrivals.off_time
    burst = arrivals.rate * (arrivals.on_time + arrivals.off_time) / arrivals.on_time
    total = burst + leave + enter
    root = math.sqrt(total**2 - 4 * burst * enter)
    fast, slow = (total + root) / 2, 2 * burst * enter / (total + root)
    share = (burst - slow) / (fast - slow)
    return np.asarray(-np.log1p(-draws[:, 1]) / np.where(draws[:, 0] < share, fast, slow) * arrivals.rate)


def _time_of(arrivals: Arrivals, expected: Floats) -> Floats:
    """When (s) so many arrivals are expected to have come."""
    assert arrivals.rate is not None
    share = rate_shares(arrivals)
    reached = np.append(0.0, np.cumsum(share) / share.sum())
    periods, within = np.divmod(expected / (arrivals.rate * arrivals.period), 1.0)
    return np.asarray(arrivals.period * (periods + np.interp(within, reached, np.linspace(0, 1, len(reached)))))


def rate_shares(arrivals: Arrivals) -> Floats:
    """Mean rate of each of the equal parts of a period, relative to the mean over the period."""
    if arrivals.profile:
        return np.asarray(np.array(arrivals.profile) / np.mean(arrivals.profile))
    assert arrivals.peak_to_mean is not None
    edges = np.linspace(0, 2 * np.pi, PIECES + 1)
    return np.asarray(1 - (arrivals.peak_to_mean - 1) * np.diff(np.cos(edges)) * PIECES / (2 * np.pi))
