"""The mean field of any rows: every server in load by its own law, then the visit graph of each request with these laws' times.

A server's arrivals are the rate times its visits per request. Engines wait as `pool` has it, stations share as `sharing` has it, batchers
as `batching` has it, each under arrivals as irregular as the servers before make them (`_departures`). A visit takes what it would take
beside the mean batch of others and beside those visits of its own request that are there with it, at its own lengths (`laws`, `siblings`);
with no load it therefore takes what it takes alone. Waits are draws: each law is cut into as many equal parts as it has volleys, and their
means are dealt out in a fixed random order, so that means are exact and joins see the spread. Visits of one request that join a server at
one instant find the same queue and have one draw, unless they are fewer than its ranks, each of which has its own. What a join cancels is
served until then.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic.batching import batch_seconds
from mist_dse.analytic.bound import rejected_requests
from mist_dse.analytic.caching import spared
from mist_dse.analytic.laws import (
    BatcherLaw,
    Company,
    EngineLaw,
    Law,
    StationLaw,
    Times,
    batcher_law,
    batcher_times,
    crowded,
    device_use,
    engine_law,
    engine_times,
    slowed,
    station_law,
    station_times,
    volley_wait,
)
from mist_dse.analytic.paths import edges_of, request_of_visit, walked
from mist_dse.analytic.queueing import drawn, one_wait
from mist_dse.analytic.sharing import Offered
from mist_dse.analytic.siblings import company, line_wait, positions, spread_ranks, volleys
from mist_dse.analytic.traffic import realised_scv, realised_span
from mist_dse.rows import CANCEL, Floats, Ints, Jobs, Requests, Servers

_LIGHT = 1e-12
"""Requests per second at which none meets another."""


class Network(NamedTuple):
    """What an evaluation at some rate needs."""

    servers: Servers
    jobs: Jobs  # what is served: cancelled visits as far as they come
    owner: Ints  # [v]
    answered: NDArray[np.bool_]  # [requests] not rejected
    visits: tuple[Company, ...]  # of each server
    traffic: tuple[Company, ...]  # those of them that are served at all
    routes: Floats  # [servers + 1, servers] visits whose last signal comes from there; the last row: from outside
    holds: tuple[float, ...]  # s that KV outlives a visit, mean, of each engine pool
    cancels: Jobs  # as they were asked for
    scv: float
    horizon: float


class Walk(NamedTuple):
    """When visits [v] happen after their request's arrival (s)."""

    ready: Floats
    start: Floats
    first: Floats  # emission
    message: Floats
    end: Floats
    cut: Floats  # cancelled, inf where not


class Latencies(NamedTuple):
    """Figures of the requests that are ``kept``: not rejected, and with a message to the user."""

    kept: NDArray[np.bool_]
    ttft: Floats
    interval: Floats  # last - first token
    e2e: Floats  # of all that are not rejected


def network(servers: Servers, jobs: Jobs, requests: Requests) -> Network:
    """The visits by server, with what those of one request do to each other, read off its times alone."""
    asked = spared(servers, jobs, any_order=False)
    owner = request_of_visit(asked)
    answered = ~rejected_requests(servers, asked)
    served = answered[owner]
    open_loop = requests.clients == 0
    scv, horizon = (realised_scv(requests), realised_span(requests)) if open_loop else (1.0, np.inf)
    count = len(servers.names)
    alone = tuple(_alone(servers, asked, np.flatnonzero((asked.server == number) & served)) for number in range(count))
    found = Network(
        servers, asked, owner, answered, alone, alone, np.zeros((count + 1, count)), (0.0,) * len(servers.engines), asked, scv, horizon
    )
    for _ in range(3):
        walk, times = walk_of(found, [law_of(found, number, Offered(_LIGHT)) for number in range(count)])
        each = tuple(
            old if new is None else _company(found, k, walk, new) for k, (old, new) in enumerate(zip(found.visits, times, strict=True))
        )
        found = found._replace(visits=each, traffic=each)
    return _trimmed(found, walk)


def _alone(servers: Servers, jobs: Jobs, visits: Ints) -> Company:
    leased = np.zeros(len(jobs.server), bool)
    leased[jobs.lease[jobs.lease >= 0]] = True
    single = volleys(np.arange(len(visits)), np.zeros(len(visits)))
    zero = np.zeros(len(visits))
    return Company(visits, leased[visits], single, single, zero, zero)


def _company(net: Network, number: int, walk: Walk, times: Times) -> Company:
    """Who is with whom at one server, by the times of requests alone."""
    before = net.visits[number]
    visits, owner, ready = before.number, net.owner[before.number], walk.ready[before.number]
    end = np.minimum(walk.end, walk.cut)[visits]
    epoch = volleys(owner, ready)
    other = number - len(net.servers.engines)
    if other < 0:
        engine = net.servers.engines[number]
        rank = spread_ranks(engine, net.jobs, visits, owner, ready)
        entrance = times.entrance - engine.client * ~before.leased
        line = np.where(before.leased, 0.0, line_wait(_joint(owner, rank // engine.ranks), ready, entrance))
        group = _joint(owner, rank)
        beside = company(group, np.minimum(walk.first[visits], end), end)
        return Company(visits, before.leased, epoch, volleys(group, ready + line), beside, line)
    if other < len(net.servers.stations):
        station = net.servers.stations[other]
        lane = positions(owner, ready) % max(station.slots, 1)
        seconds, crowd = crowded(station, net.jobs.work[visits], before.beside)
        line = line_wait(_joint(owner, lane), ready, seconds * crowd)
        beside = company(owner, walk.start[visits], np.maximum(end - station.latency, walk.start[visits] + 1e-300))
        return Company(visits, before.leased, epoch, epoch, beside, line)
    batcher = net.servers.batchers[other - len(net.servers.stations)]
    full = batch_seconds(batcher, batcher.size, float(net.jobs.work[visits].mean()))
    return Company(visits, before.leased, epoch, epoch, before.beside, volley_wait(batcher, epoch.place, full))


def _joint(first: Ints, second: Ints) -> Ints:
    """One number for each pair."""
    return np.asarray(np.unique(first * (int(second.max(initial=0)) + 1) + second, return_inverse=True)[1].reshape(-1), np.int64)


def _trimmed(net: Network, walk: Walk) -> Network:
    """What is served of visits that are cancelled, where visits come from, and how long KV is held."""
    jobs = net.jobs
    span = np.maximum(walk.end - walk.start, 1e-300)
    share = np.clip((walk.cut - walk.start) / span, 0.0, 1.0)
    share = np.where(np.isfinite(walk.cut), share, 1.0)
    emit = np.where(share < 1, np.ceil(jobs.emit * share), jobs.emit).astype(np.int64)
    kept = tuple(_chosen(each, (share[each.number] > 0) & (walk.start[each.number] < walk.cut[each.number])) for each in net.visits)
    freed = np.where(jobs.frees >= 0)[0]
    held = np.zeros(len(jobs.server))
    held[jobs.frees[freed]] = walk.end[freed] - walk.end[jobs.frees[freed]]
    leases = np.where(jobs.lease >= 0)[0]
    held[jobs.lease[leases]] += walk.ready[jobs.lease[leases]] - walk.start[leases]
    holds = tuple(float(held[each.number].mean()) if len(each.number) else 0.0 for each in kept[: len(net.servers.engines)])
    trimmed = jobs._replace(emit=np.maximum(emit, np.minimum(jobs.emit, 1)), work=jobs.work * share)
    return net._replace(jobs=trimmed, traffic=kept, routes=_routes(net, walk, kept), holds=holds)


def _chosen(each: Company, chosen: NDArray[np.bool_]) -> Company:
    """The visits that are chosen, volleys numbered anew."""
    if chosen.all():
        return each
    epoch, volley = (volleys(v.number[chosen], np.zeros(int(chosen.sum()))) for v in (each.epoch, each.volley))
    return Company(each.number[chosen], each.leased[chosen], epoch, volley, each.beside[chosen], each.line[chosen])


def _routes(net: Network, walk: Walk, kept: tuple[Company, ...]) -> Floats:
    """How many visits of each server had their last signal from each."""
    jobs, count = net.jobs, len(net.servers.names)
    source = np.full(len(jobs.server), count)
    edges, leaves = edges_of(jobs, np.arange(len(jobs.server)))
    ends = (jobs.edge_on[edges] != CANCEL) & (walk.end[leaves] >= walk.ready[jobs.edge_to[edges]] - 1e-9)
    source[jobs.edge_to[edges[ends]]] = jobs.server[leaves[ends]]
    source[jobs.need == 0] = count
    routes = np.zeros((count + 1, count))
    for number, each in enumerate(kept):
        routes[:, number] = np.bincount(source[each.number], minlength=count + 1)
    return routes


def laws(net: Network, rate: float) -> list[Law | None]:
    """Every server's law at ``rate`` requests per second, in the order in which requests meet them; None without visits."""
    found = _laws(net, rate, [1.0] * len(net.servers.names))[0]
    if any(device >= 0 for device in _devices(net.servers)):
        found = _laws(net, rate, _turns(net.servers, found))[0]
    return found


def offers(net: Network, rate: float) -> list[Offered]:
    """What comes to every server at ``rate`` requests per second, as irregular as the servers before it make it: see `law_of`."""
    return _laws(net, rate, [1.0] * len(net.servers.names))[1]


def _devices(servers: Servers) -> list[int]:
    """The device that each server shares, -1 for none."""
    return [
        *(engine.device for engine in servers.engines),
        *(-1 for _ in servers.stations),
        *(batcher.device for batcher in servers.batchers),
    ]


def _turns(servers: Servers, known: list[Law | None]) -> list[float]:
    """How many times as long each server's steps (or batches) take where others have a turn on its device between them.

    Another that is busy the share u of the time takes t of every turn while it is: at most u of the device, at least nothing.
    """
    devices, use = _devices(servers), [device_use(law) for law in known]
    factors = []
    for number, (device, (_, own)) in enumerate(zip(devices, use, strict=True)):
        others = [use[k] for k, other in enumerate(devices) if k != number and device >= 0 and other >= 0 and _meet(servers, number, k)]
        factor = 1.0
        for busy, step in others:
            factor += min(busy * step / max(own, 1e-300), busy / max(1 - busy, 1e-3))
        factors.append(factor)
    return factors


def _meet(servers: Servers, one: int, other: int) -> bool:
    """Whether two servers have a device in common."""
    (low, high), (begin, end) = (_span(servers, number) for number in (one, other))
    return low < end and begin < high


def _span(servers: Servers, number: int) -> tuple[int, int]:
    device = _devices(servers)[number]
    return device, device + (servers.engines[number].replicas if number < len(servers.engines) else 1)


def _laws(net: Network, rate: float, turns: list[float]) -> tuple[list[Law | None], list[Offered]]:
    count = len(net.servers.names)
    met = [int(each.number[0] - net.jobs.first[net.owner[each.number[0]]]) if len(each.number) else 0 for each in net.traffic]
    leaving, bulks = np.full(count + 1, net.scv), np.ones(count + 1)
    found: dict[int, Law | None] = {}
    offered: dict[int, Offered] = {}
    for number in np.argsort(met, kind="stable").tolist():
        visits = max(float(net.routes[:, number].sum()), 1.0)
        onward = net.routes[:, number] / np.maximum(np.append(net.routes[:-1].sum(axis=0) + net.routes[-1], len(net.answered)), 1.0)
        onward = np.minimum(onward, 1.0)
        shares = net.routes[:, number] / visits
        scv = float((shares * (onward * leaving + 1 - onward)).sum())
        bulk = float(1 + (shares * onward * (bulks - 1)).sum())
        offered[number] = Offered(rate, scv, bulk, net.horizon)
        found[number] = law_of(net, number, offered[number], turns[number])
        if (law := found[number]) is not None:
            leaving[number], bulks[number] = _departures(law, scv)
    return [found[number] for number in range(count)], [offered[number] for number in range(count)]


def _departures(law: Law, scv: float) -> tuple[float, float]:
    """(squared coefficient of variation, size) of what leaves a server: Whitt (1983), eq. 39; Poisson where stays are long."""
    if isinstance(law, EngineLaw):
        if law.traffic.decodes > 0:
            return 1.0, 1.0
        return _through(scv, float(law.op.demand[0]), float(law.op.variants.replicas[0])), 1.0
    if isinstance(law, StationLaw):
        return _through(scv, law.state.load, law.state.places), 1.0
    return _through(scv, law.state.utilisation, 1.0), law.state.batch


def _through(scv: float, rho: float, places: float) -> float:
    load = min(rho, 1.0)
    return float(1 + (1 - load**2) * (scv - 1) + load**2 / np.sqrt(places) * (0.2 - 1))


def law_of(net: Network, number: int, offered: Offered, turn: float = 1.0) -> Law | None:
    """The law of one server; ``offered``: requests, ``turn``: how many times as long its steps take on a device that it shares."""
    each, servers = net.traffic[number], net.servers
    if not len(each.number):
        return None
    grouped = visiting(net, number, offered)
    work, other = net.jobs.work[each.number], number - len(servers.engines)
    if other >= len(servers.stations):
        batcher = servers.batchers[other - len(servers.stations)]
        slower = batcher._replace(time=batcher.time * turn, work_time=batcher.work_time * turn)
        mean = len(each.number) / len(np.unique(each.epoch.number))
        return batcher_law(slower, work, each, offered._replace(rate=grouped.rate, volley=mean))
    if other >= 0:
        return station_law(servers.stations[other], work, grouped, _left(net, other, offered.rate))
    return engine_law(servers.engines[number], slowed(servers.costs[number], turn), net.jobs, each, grouped, net.holds[number])


def visiting(net: Network, number: int, offered: Offered) -> Offered:
    """The visits that requests ``offered`` pay to a server: as many as they are, in the volleys in which they come."""
    each = net.traffic[number]
    came = offered.rate * len(each.number) / max(len(net.answered), 1)
    volley, mean = float(each.epoch.size.mean()), len(each.number) / len(np.unique(each.epoch.number))
    return offered._replace(rate=came, scv=max((offered.scv - 1) * mean + 1, 0.0), volley=volley)


def _left(net: Network, station: int, rate: float) -> tuple[float, float]:
    """The rate that a station shares with others, and what they leave of it; inf where it shares none."""
    group = net.servers.stations[station].shared
    if group < 0:
        return np.inf, np.inf
    whole = net.servers.shared[group]
    others = [k for k, each in enumerate(net.servers.stations) if each.shared == group and k != station]
    taken = sum(float(net.jobs.work[net.traffic[len(net.servers.engines) + k].number].sum()) for k in others)
    return whole, whole - rate * taken / max(len(net.answered), 1)


def walk_of(net: Network, known: list[Law | None], *, luck: bool = False) -> tuple[Walk, list[Times | None]]:
    """The visit graph with every server's times, waits drawn (``luck``) or at their means."""
    count = len(net.jobs.server)
    entrance, message, first, whole = (np.zeros(count) for _ in range(4))
    times: list[Times | None] = []
    for number, law in enumerate(known):
        if law is None:
            times.append(None)
            continue
        each = net.visits[number]
        entrance[each.number], found = stays(net, number, law, luck=luck)
        times.append(found)
        message[each.number], first[each.number], whole[each.number] = found.message, found.first, found.whole

    def served(visits: Ints, ready: Floats) -> tuple[Floats, Floats]:
        start = ready + entrance[visits]
        return start, start + whole[visits]

    ready, start, end = walked(net.cancels, np.zeros(count), served)
    cut = np.full(count, np.inf)
    edges, source = edges_of(net.cancels, np.arange(count))
    cancels = net.cancels.edge_on[edges] == CANCEL
    np.minimum.at(cut, net.cancels.edge_to[edges[cancels]], ready[source[cancels]])
    cut[cut >= end] = np.inf
    return Walk(ready, start, start + first, start + message, end, cut), times


def stays(net: Network, number: int, law: Law, *, luck: bool = False) -> tuple[Floats, Times]:
    """Seconds before service and in it of the visits of one server under its law, waits drawn (``luck``) or at their means."""
    found = _times(net, number, law, luck)
    return found.entrance + net.visits[number].line + _waits(net, number, law, luck), found


def _times(net: Network, number: int, law: Law, luck: bool) -> Times:
    each, jobs = net.visits[number], net.cancels
    if isinstance(law, EngineLaw):
        return engine_times(net.servers.engines[number], law, jobs, each)
    work = jobs.work[each.number]
    other = number - len(net.servers.engines)
    if isinstance(law, BatcherLaw):
        return batcher_times(net.servers.batchers[other - len(net.servers.stations)], law, work, each)
    one = one_wait(1.0, 2.0, 1.0)
    sets = int(each.epoch.number.max(initial=-1)) + 1
    shares = drawn(one, sets, 2 * number + 1)[each.epoch.number] if luck else np.ones(len(work))
    return station_times(law, work, each, shares)


def _waits(net: Network, number: int, law: Law, luck: bool) -> Floats:
    """Seconds behind other requests, for each visit of a server."""
    each = net.visits[number]
    parts = [law.wait]
    group = each.epoch
    if isinstance(law, EngineLaw):
        engine = net.servers.engines[number]
        parts.append(law.entering)
        separate = each.epoch.size < engine.replicas * engine.ranks
        if separate.any():
            group = each.volley
    total = np.zeros(len(each.number))
    for k, wait in enumerate(parts):
        mean = float(np.ravel(wait.mean)[0])
        sets = int(group.number.max(initial=-1)) + 1
        values = drawn(wait, sets, 16 * number + k)[group.number] if luck else np.full(len(each.number), mean)
        total += values if k == 0 else np.where(each.leased, 0.0, values)
    return total


def latencies(net: Network, walk: Walk) -> Latencies:
    """TTFT, last - first token and E2E of each request that is not rejected."""
    jobs, count = net.cancels, len(net.answered)
    done = walk.end <= walk.cut
    speaks = (jobs.answers > 0) & (jobs.server < len(net.servers.engines)) & net.answered[net.owner]
    first, last, end = np.full(count, np.inf), np.full(count, -np.inf), np.zeros(count)
    seen = speaks & (walk.message <= walk.cut)
    np.minimum.at(first, net.owner[seen], walk.message[seen])
    np.maximum.at(last, net.owner[speaks & done], walk.end[speaks & done])
    np.maximum.at(end, net.owner, np.minimum(walk.end, walk.cut))
    kept = net.answered & np.isfinite(first)
    return Latencies(kept, first[kept], (last - first)[kept], end[net.answered])
