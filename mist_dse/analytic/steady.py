"""The mean field of one lowered design: the pools of `pool`, put together by `combine`, with the verdict of `demand`.

One engine pool that does everything, or a pool that computes prompts and one that is handed their KV through stations.
A closed loop has no rate of its own: by Little's law it settles where rate x (mean end-to-end time + think time) is the
number of clients; pools are evaluated on a grid of rates in one call and the crossing is interpolated.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.bound import rejected_requests, unloaded
from mist_dse.analytic.caching import spared
from mist_dse.analytic.combine import DesignSteady, colocated, combine
from mist_dse.analytic.demand import demand, highest, offered_rate, saturated
from mist_dse.analytic.paths import request_of_visit
from mist_dse.analytic.pipeline import network_steady
from mist_dse.analytic.pool import PoolSteady, Variants, operation, pool_steady, variants_of
from mist_dse.analytic.queueing import Service, many_wait
from mist_dse.analytic.result import SteadyResult, bottleneck, pool_row, server_row
from mist_dse.analytic.spread import Spread
from mist_dse.analytic.traffic import Traffic, gaps_per_step, realised_scv, realised_span, visit_traffic
from mist_dse.rows import Floats, Ints, Jobs, Requests, Servers

RATES = 96
"""Rates at which a closed loop is tried."""


class _Design(NamedTuple):
    """What an evaluation at some rate needs."""

    servers: Servers
    jobs: Jobs
    engines: tuple[int, ...]  # engine pools in the order in which requests meet them
    visits: tuple[Ints, ...]  # of each
    ahead: float  # s from arrival to the first engine, and
    delay: float  # s between the engines, unloaded means
    scv: float
    horizon: float
    hold: float
    requests: int
    gaps: Floats  # [v] intervals between output tokens per decode step


def steady(servers: Servers, jobs: Jobs, requests: Requests) -> SteadyResult:
    """Figures of one design at the realised rate, or at the rate that a closed loop settles at."""
    if not in_pairs(servers, jobs):
        return network_steady(servers, jobs, requests)
    design = _design(servers, spared(servers, jobs, any_order=False), requests)
    rejected = int(rejected_requests(servers, jobs).sum())
    rate = offered_rate(requests) if requests.clients == 0 else closed_rate(design, requests)
    figures, pools = _figures(design, np.array([rate]))
    asked = demand(servers, jobs, requests, rate=rate)
    ttft, tpot, e2e = (Spread(*(np.asarray(value.reshape(-1)[0]) for value in spread)) for spread in figures[1:])
    if requests.clients:
        ttft, e2e = (spread.shifted(_burst(design, requests)) for spread in (ttft, e2e))
    places = {servers.names[number]: place for place, number in enumerate(design.engines)}
    used = {name: (pools[place], _traffic(design, place, np.array([rate]))) for name, place in places.items()}
    table = {name: _row(design, number, asked[name], rate, used) for number, name in enumerate(servers.names)}
    limit = max(highest(asked)[2], 1.0) if requests.clients == 0 else 1.0
    return SteadyResult(ttft, tpot, e2e, rate / limit, saturated(asked, requests), asked, bottleneck(servers, used, asked), table,
                        len(requests.arrival) - rejected, rejected)  # fmt: skip


def _row(
    design: _Design, number: int, asked: dict[str, float], rate: float, used: dict[str, tuple[PoolSteady, Traffic]]
) -> dict[str, float]:
    name, station = design.servers.names[number], number - len(design.servers.engines)
    if name in used:
        return pool_row(used[name][0], asked)
    wait = float(_station_wait(design, np.array([rate]), only=station)[0]) if station >= 0 else 0.0
    return server_row(asked, utilisation=asked.get("rate", 0.0), wait=wait)


def in_pairs(servers: Servers, jobs: Jobs) -> bool:
    """Whether requests visit one engine pool once, or one that hands its KV through stations to a second: the cases of `combine`."""
    owner, engine = request_of_visit(jobs), jobs.server < len(servers.engines)
    first = np.zeros(len(jobs.server), bool)
    first[jobs.first[:-1][np.diff(jobs.first) > 0]] = True
    links = (jobs.server < len(servers.engines) + len(servers.stations)) & ((jobs.lease >= 0) | (jobs.frees >= 0))
    handed = engine & (jobs.handed > 0)
    counts = (np.bincount(owner, weights=kind, minlength=1).max(initial=0) for kind in (engine & ~handed, handed))
    pools = [len(np.unique(jobs.server[kind])) for kind in (engine & first, engine & ~first)]
    lone = bool((engine | links).all() and (first <= (engine & ~handed)).all() and (engine & ~first <= handed).all())
    return lone and max(counts) <= 1 and pools[0] == 1 and pools[1] <= 1


def _design(servers: Servers, jobs: Jobs, requests: Requests) -> _Design:
    engines = [number for number in range(len(servers.engines)) if (jobs.server == number).any()]
    engines.sort(key=lambda number: int(np.flatnonzero(jobs.server == number)[0]))
    visits = tuple(np.flatnonzero(jobs.server == number) for number in engines)
    ready, _, end = unloaded(servers, jobs)
    ahead = float(ready[visits[0]].mean())
    delay, hold = 0.0, 0.0
    if len(engines) == 2:
        owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
        prompt_end = np.full(len(jobs.first) - 1, np.nan)
        prompt_end[owner[visits[0]]] = end[visits[0]]
        delay = float(np.maximum(ready[visits[1]] - prompt_end[owner[visits[1]]], 0).mean())
        hold = delay * len(visits[1]) / len(visits[0])
    span = realised_span(requests) if requests.clients == 0 else np.inf
    scv = realised_scv(requests) if requests.clients == 0 else 1.0
    return _Design(servers, jobs, tuple(engines), visits, ahead, delay, scv, span, hold, max(len(requests.arrival), 1),
                   gaps_per_step(jobs, requests))  # fmt: skip


def _traffic(design: _Design, place: int, rate: Floats) -> Traffic:
    visits = design.visits[place]
    hold = design.hold if place == 0 else 0.0
    share = len(visits) / design.requests
    return visit_traffic(design.jobs, visits, rate * share, scv=design.scv, horizon=design.horizon, hold=hold, gaps=design.gaps)


def _pool(design: _Design, place: int, rate: Floats) -> tuple[PoolSteady, Traffic]:
    number = design.engines[place]
    engine = design.servers.engines[number]
    traffic = _traffic(design, place, rate)
    variants = Variants(*(np.broadcast_to(value, rate.shape) for value in variants_of(engine)))
    return pool_steady(design.servers.costs[number], engine, traffic, variants), traffic


def _figures(design: _Design, rate: Floats) -> tuple[DesignSteady, tuple[PoolSteady, ...]]:
    """Figures at each rate [r], and the pools behind them."""
    whole, traffic = _pool(design, 0, rate)
    if len(design.engines) == 1:
        spread = _correlation(traffic.fresh, traffic.steps)
        found = colocated(whole._replace(first=whole.first.shifted(design.ahead)), spread)
        return found, (whole,)
    second, handed = _pool(design, 1, rate)
    shifted = whole._replace(first=whole.first.shifted(design.ahead))
    known = bool(design.jobs.answers[design.visits[0]].any())
    delay = design.delay + _station_wait(design, rate)
    source = "prefill" if known else "decode"
    spread = _correlation(handed.start, handed.steps)
    each = [slice(i, i + 1) for i in range(len(rate))]
    pairs = [combine(shifted.at(i), second.at(i), handed, delay=delay[i], first_token_from=source, correlation=spread) for i in each]
    found = _diagonal(pairs)
    return found, (whole, second)


def _diagonal(pairs: list[DesignSteady]) -> DesignSteady:
    def joined(values: list[Floats]) -> Floats:
        return np.concatenate([np.ravel(value) for value in values])

    spreads = [Spread(*(joined([getattr(pair, name)[k] for pair in pairs]) for k in range(4))) for name in ("ttft", "tpot", "e2e")]
    return DesignSteady(joined([pair.demand for pair in pairs]), *spreads)


def _correlation(first: Floats, second: Floats) -> float:
    """Correlation of two lengths; 0 where one does not vary."""
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _station_wait(design: _Design, rate: Floats, only: int = -1) -> Floats:
    """Mean seconds lost to other jobs at the stations (or at one of them), per request that meets them."""
    waits = np.zeros_like(rate)
    for number, station in enumerate(design.servers.stations):
        if only not in (-1, number):
            continue
        visits = np.flatnonzero(design.jobs.server == number + len(design.servers.engines))
        if not len(visits):
            continue
        work = design.jobs.work[visits] / min(station.cap, station.rate)
        moments = (np.full_like(rate, (work**k).mean()) for k in (1, 2, 3))
        servers = np.full_like(rate, max(min(station.slots, station.rate / min(station.cap, station.rate)), 1.0))
        asked = Service(rate * len(visits) / design.requests, *moments)
        waits = waits + many_wait(asked, np.ones_like(rate), servers, design.horizon).mean
    return waits


def closed_rate(design: _Design, requests: Requests) -> float:
    """Requests per second at which ``clients`` are all either served or thinking."""
    limit = min(_sustainable(design, place) for place in range(len(design.engines)))
    grid = limit * (1 - np.geomspace(1, 1e-4, RATES) + 1e-4)
    figures, _ = _figures(design, grid)
    busy = grid * (figures.e2e.mean + float(requests.think[requests.clients :].mean() if len(requests.think) > requests.clients else 0.0))
    return float(np.interp(requests.clients, np.maximum.accumulate(busy), grid))


def _sustainable(design: _Design, place: int) -> float:
    """Largest rate of requests that one pool keeps up with."""
    number = design.engines[place]
    op = operation(design.servers.costs[number], design.servers.engines[number], _traffic(design, place, np.ones(1)))
    return float(1 / op.demand[0])


def _burst(design: _Design, requests: Requests) -> float:
    """Mean seconds that the first ``clients`` arrivals, all at once, add: half their prompts' work, as a share of all requests."""
    limit = _sustainable_prompts(design)
    share = min(requests.clients / max(len(requests.arrival), 1), 1.0)
    return share * 0.5 * max(requests.clients - 1, 0) / limit


def _sustainable_prompts(design: _Design) -> float:
    """Prompts per second of the first pool with no decoding."""
    number = design.engines[0]
    traffic = _traffic(design, 0, np.ones(1))
    alone = traffic._replace(steps=np.zeros_like(traffic.steps))
    op = operation(design.servers.costs[number], design.servers.engines[number], alone)
    return float(1 / op.demand[0])
