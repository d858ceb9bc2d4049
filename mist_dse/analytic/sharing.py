"""A rate-shared station in load: how much sharing stretches a job, and how long it waits for a slot.

The jobs at a station are a birth-death chain: at n jobs it works off min(n, slots) x min(cap, rate / min(n, slots)) a second. With slots
for everyone the mean number at a processor-sharing station depends on the mean work alone (Baskett, Chandy, Muntz and Palacios 1975), so
a job that takes t alone takes t x E[n] / a, with a the load in jobs alone. With fewer slots the chain's queue is that of exponential work;
it is scaled by (ca2 + cs2) / 2 as Allen and Cunneen do: exact for Poisson arrivals at one slot (Pollaczek-Khinchine).
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.queueing import RHO_CEILING, Wait, horizon_wait, klb_factor, one_service, one_wait
from mist_dse.rows import Floats, Station

_STATES = 200_000
"""Jobs at once from which on a station is taken as never full below its rate."""


class Sharing(NamedTuple):
    """One station in load."""

    stretch: float  # time in service over that alone
    wait: Wait  # for a slot; scalars
    utilisation: float  # of the shared rate
    places: float  # jobs that run at full pace together
    load: float  # share of those places


class Offered(NamedTuple):
    """What comes to a server."""

    rate: float  # 1/s
    scv: float = 1.0  # squared coefficient of variation of the time between arrivals
    bulk: float = 1.0  # of several requests that come at one instant
    horizon: float = np.inf  # s
    volley: float = 1.0  # of one request that come at one instant, as a visit sees it


def sharing(station: Station, work: Floats, offered: Offered) -> Sharing:
    """The station under jobs of ``work`` [n].

    >>> shared = sharing(Station(1.0, 1.0, 10**9, 0.0), np.array([1.0]), Offered(0.5))
    >>> round(shared.stretch, 6), float(shared.wait.mean)  # M/G/1 processor sharing: 1 / (1 - rho)
    (2.0, 0.0)
    """
    pace = min(station.cap, station.rate)
    alone = work / pace
    mean = float(alone.mean()) if len(alone) else 0.0
    places = min(float(station.slots), station.rate / pace)
    utilisation = offered.rate * float(work.mean() if len(work) else 0.0) / station.rate
    load = offered.rate * mean / places
    if mean == 0.0 or offered.rate == 0.0:
        return Sharing(1.0, nothing(), utilisation, places, load)
    served, queued, full = _chain(min(load, RHO_CEILING) * places, places, float(station.slots))
    rho, service, scv = min(load, RHO_CEILING), one_service(offered.rate, alone), np.asarray(offered.scv)
    smooth = float(klb_factor(np.asarray(rho), scv, service.scv))
    variation = smooth * (offered.scv + float(service.scv)) + offered.volley - 1
    limit = float(horizon_wait(service, scv + offered.volley - 1, offered.horizon)) / places
    wait = _capped(queued / offered.rate * 0.5 * variation, limit)
    if offered.volley > station.slots:  # a volley is the customer
        wait = max(wait, _capped(rho / (1 - rho) * 0.5 * offered.volley * mean / places, limit))
    extra = _capped((served / (rho * places) - 1.0) * mean * 0.5 * (offered.scv + offered.volley), limit)
    together = 0.5 * max(offered.bulk - places, 0.0) * mean / places
    if station.slots <= places:
        wait += together
    else:
        extra += together
    full = max(full, 1e-9)
    return Sharing(1.0 + extra / mean, one_wait(wait, 2 * wait**2 / full, full), utilisation, places, load)


def nothing() -> Wait:
    """No wait at all."""
    return one_wait(0.0, 0.0, 0.0)


def _capped(wait: float, limit: float) -> float:
    return wait * limit / (wait + limit) if np.isfinite(limit) and wait + limit > 0 else wait


def _chain(load: float, places: float, slots: float) -> tuple[float, float, float]:
    """(mean jobs in service, mean jobs queued, P(no slot is free)) at ``load`` jobs alone, of which ``places`` run at full pace."""
    if places >= _STATES or load + 10 * np.sqrt(load) + 30 < places:
        return load, 0.0, 0.0
    most = int(np.ceil(places))
    n = np.arange(most + 1, dtype=float)
    weight = np.concatenate(([0.0], np.cumsum(np.log(load) - np.log(np.minimum(n[1:], places)))))
    weight = np.exp(weight - weight.max())
    rho = load / places
    beyond = rho / (1 - rho)
    weight[-1] /= 1 - rho  # all states from the last on
    weight /= weight.sum()
    jobs = float((weight * n).sum()) + float(weight[-1]) * beyond
    past = float(weight[-1]) * rho ** max(slots - most, 0.0)  # P(n >= slots)
    queued = past * beyond
    return jobs - queued, queued, past
