"""Waiting times in closed form, for arrays of queues.

One server: Pollaczek-Khinchine with the Kraemer-Langenbach-Belz correction for arrivals that are not Poisson; c servers:
Sakasegawa (1977). A finite run cannot reach the stationary wait near saturation: waits are capped by the mean of reflected
Brownian motion at utilisation 1 over the horizon. Percentiles of wait + service are those of a mixture over service bins,
with a wait that is 0 or else Weibull (matched to two moments; exponential where the coefficient of variation is 1).
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.spread import LEVELS, Spread
from mist_dse.rows import Floats

RHO_CEILING = 0.9999
_HALVINGS = 9
_INSTANT = 1e-12  # s, a wait that counts as none


class Wait(NamedTuple):
    """A waiting time: its mean and second moment (s, s^2) and the probability that it is not 0."""

    mean: Floats
    second: Floats
    positive: Floats


class Service(NamedTuple):
    """Arrival rate at one queue and the first three moments of its service time."""

    rate: Floats
    m1: Floats
    m2: Floats
    m3: Floats

    @property
    def rho(self) -> Floats:
        """Utilisation, held below 1 (`single_wait` caps by the horizon there)."""
        return np.minimum(self.rate * self.m1, RHO_CEILING)

    @property
    def scv(self) -> Floats:
        """Squared coefficient of variation of the service time."""
        return np.asarray(np.maximum(self.m2 / np.where(self.m1 > 0, self.m1, 1.0) ** 2 - 1.0, 0.0))


def one_wait(mean: float, second: float, positive: float) -> Wait:
    """A wait from its three numbers."""
    return Wait(*(np.asarray(value, dtype=float) for value in (mean, second, positive)))


def one_service(rate: float, seconds: Floats) -> Service:
    """A queue from its arrival rate and the service times of jobs [n]."""
    return Service(*(np.asarray(value, dtype=float) for value in (rate, *((seconds**k).mean() for k in (1, 2, 3)))))


def klb_factor(rho: Floats, ca2: Floats, cs2: Floats) -> Floats:
    """Kraemer and Langenbach-Belz (1976): factor on the Allen-Cunneen wait; 1 for Poisson arrivals."""
    smooth = np.exp(-2 * (1 - rho) * (1 - ca2) ** 2 / (3 * np.maximum(rho, 1e-9) * np.maximum(ca2 + cs2, 1e-9)))
    bursty = np.exp(-(1 - rho) * np.maximum(ca2 - 1, 0) / (np.maximum(ca2, 1) + 4 * cs2))
    return np.where(ca2 <= 1, smooth, bursty)


def horizon_wait(service: Service, ca2: Floats, horizon: float) -> Floats:
    """Mean wait over a horizon (s) at utilisation 1: (2/3) sqrt(2 l E[s]^2 (ca2 + cs2) T / pi)."""
    if not np.isfinite(horizon):
        return np.full(np.shape(service.rate * ca2), np.inf)
    return (2 / 3) * np.sqrt(2 * service.rate * service.m1**2 * (ca2 + service.scv) * horizon / math.pi)


def capped(wait: Floats, limit: Floats) -> Floats:
    """A stationary wait within what a finite horizon lets build up: the harmonic sum of both."""
    if not np.isfinite(limit).all():
        return wait
    return wait * limit / np.maximum(wait + limit, 1e-300)


def fitting(amount: Floats, room: Floats) -> Floats:
    """Mean of the smaller of ``room`` and an exponential amount with this mean."""
    return np.asarray(amount * -np.expm1(-room / np.maximum(amount, 1e-12)))


def single_wait(service: Service, ca2: Floats, horizon: float) -> Wait:
    """Wait in front of one server with interarrival squared coefficient of variation ``ca2``.

    Second moment and probability of waiting follow from the mean as in M/G/1: E[W^2] = 2 W^2 + (2/3) W E[s^3] / E[s^2], and
    P / (1 - P) = 2 W / (E[s] (1 + cs2)), which is rho / (1 - rho) there.

    >>> service = Service(np.array([0.5]), np.array([1.0]), np.array([1.0]), np.array([1.0]))
    >>> float(single_wait(service, np.array([1.0]), np.inf).mean[0])  # M/D/1: rho s / 2 (1 - rho)
    0.5
    """
    rho, cs2 = service.rho, service.scv
    factor = klb_factor(rho, ca2, cs2) * (ca2 + cs2) / (1 + cs2)
    mean = capped(factor * service.rate * service.m2 / (2 * (1 - rho)), horizon_wait(service, ca2, horizon))
    odds = 2 * mean / np.maximum(service.m1 * (1 + cs2), 1e-300)
    second = 2 * mean**2 + mean * 2 * service.m3 / (3 * np.maximum(service.m2, 1e-300))
    return Wait(mean, second, odds / (1 + odds))


def many_wait(service: Service, ca2: Floats, servers: Floats, horizon: float) -> Wait:
    """Wait in front of ``servers`` equal servers; ``service.rate`` is that of all together."""
    each = Service(service.rate / servers, service.m1, service.m2, service.m3)
    rho, cs2 = each.rho, each.scv
    positive = rho ** (np.sqrt(2 * (servers + 1)) - 1)
    mean = klb_factor(rho, ca2, cs2) * 0.5 * (ca2 + cs2) * service.m1 * positive / (servers * (1 - rho))
    mean = capped(mean, horizon_wait(service, ca2, horizon) / servers)
    conditional = mean / np.maximum(positive, 1e-12)
    return Wait(mean, 2 * conditional * mean, positive)


def added(first: Wait, second: Wait) -> Wait:
    """The sum of two independent waits that tend to be there together."""
    positive = np.maximum(first.positive, second.positive)
    return Wait(first.mean + second.mean, first.second + 2 * first.mean * second.mean + second.second, positive)


def drawn(wait: Wait, count: int, seed: int) -> Floats:
    """``count`` values [count] of one wait: its law in as many equal parts, dealt out in a random order; their mean is the law's.

    >>> round(float(drawn(Wait(np.array([0.25]), np.array([0.25]), np.array([0.5])), 1000, 0).mean()), 12)
    0.25
    """
    mean, second, positive = (float(np.ravel(value)[0]) for value in wait)
    if mean <= _INSTANT or count == 0:
        return np.full(count, mean)
    busy = min(max(positive, 1e-9), 1.0)
    scale, shape = (float(value) for value in weibull(np.asarray(mean / busy), np.asarray(second / busy)))
    level = (np.arange(count) + 0.5) / count
    late = np.clip((level - (1 - busy)) / busy, 0.0, None)
    values = np.where(late > 0, scale * (-np.log1p(-late)) ** (1 / shape), 0.0)
    total = values.mean()
    values = values * (mean / total) if total > 0 else np.full(count, mean)
    return np.random.default_rng(seed).permutation(values)


@cache
def _weibull_table() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Squared coefficients of variation, ascending, and the Weibull exponents 1/shape that have them."""
    inverse = tuple(0.05 + 0.05 * i for i in range(100))
    return tuple(math.gamma(1 + 2 * k) / math.gamma(1 + k) ** 2 - 1 for k in inverse), inverse


def weibull(mean: Floats, second: Floats) -> tuple[Floats, Floats]:
    """(scale, shape) of the Weibull law with these two moments."""
    square = np.maximum(second / np.maximum(mean, _INSTANT) ** 2 - 1, 0.0)
    scvs, inverses = _weibull_table()
    inverse = np.interp(square, scvs, inverses)
    grid = np.linspace(inverses[0], inverses[-1], 400)
    gamma = np.interp(inverse, grid, _gamma_of(len(grid)))
    return np.maximum(mean, _INSTANT) / gamma, 1.0 / inverse


@cache
def _gamma_of(points: int) -> tuple[float, ...]:
    inverses = _weibull_table()[1]
    return tuple(math.gamma(1 + float(k)) for k in np.linspace(inverses[0], inverses[-1], points))


def mixture_spread(base: Floats, wait: Wait, *, rows: int = 128) -> Spread:
    """Spread of base + wait over equally likely ``base`` [v, bins] and one wait law per row; ``rows`` fit a cache together."""
    positive = np.clip(wait.positive, 1e-9, 1.0)
    scale, shape = weibull(wait.mean / positive, wait.second / positive)
    out = np.empty((len(base), len(LEVELS)))
    for low in range(0, len(base), rows):
        part = slice(low, low + rows)
        out[part] = _mixture_quantiles(base[part], positive[part], (scale[part], shape[part]))
    return Spread(base.mean(axis=1) + wait.mean, out[:, 0], out[:, 1], out[:, 2])


def _mixture_quantiles(base: Floats, positive: Floats, law: tuple[Floats, Floats]) -> Floats:
    """Quantiles [v, levels]: halving of the bracket, then a straight line across what is left of it."""
    first = base.min(axis=1)
    services = np.asarray(base - first[:, None], dtype=np.float32)[:, None, :]
    busy = positive[:, None].astype(np.float32)
    scale, shape = (value[:, None].astype(np.float32) for value in law)
    width = services.max(axis=2) / np.float32(base.shape[1]) + np.float32(1e-9)
    target = (1.0 - np.asarray(LEVELS, dtype=np.float32))[None, :]
    low = np.broadcast_to(-width, (len(base), len(LEVELS)))
    high = services.max(axis=2) + width + scale * np.float32(9.2) ** (1 / shape) + 0 * low
    at_low, at_high = np.ones_like(high), np.zeros_like(high)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        value = _survival(services - middle[:, :, None], (busy, scale, shape), width)
        above = value > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
        at_low, at_high = np.where(above, value, at_low), np.where(above, at_high, value)
    weight = (at_low - target) / np.maximum(at_low - at_high, np.float32(1e-12))
    return np.asarray(first[:, None] + low + np.clip(weight, 0, 1) * (high - low), dtype=float)


def _survival(late: Any, law: tuple[Any, Any, Any], width: Any) -> Any:
    """P(service + wait > x) from ``late`` = service - x [v, levels, bins]; bins are spread over ``width`` where nobody waits."""
    busy, scale, shape = law
    at_once = np.clip(late / (2 * width[:, :, None]) + np.float32(0.5), 0, 1).sum(axis=2)
    waited = np.maximum(late / -scale[:, :, None], np.float32(1e-30))
    np.log(waited, out=waited)
    waited *= shape[:, :, None]
    np.exp(np.minimum(waited, np.float32(8), out=waited), out=waited)
    np.exp(np.negative(waited, out=waited), out=waited)
    return (busy * waited.sum(axis=2) + (1 - busy) * at_once) / np.float32(late.shape[2])
