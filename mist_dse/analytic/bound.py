"""Latency and throughput that no schedule can beat, request by request, on the same realised requests.

Point-wise floors: every visit runs unloaded at the lower envelope of its steps (`envelope`), every station at full pace, and
every front end without a queue; the visit graph adds them up. TPOT is a floor of last - first token, which is not the
difference of two floors: it is walked from the first token's visit.

Queues that no schedule avoids are added where they are known before the run: a pool entered by arrivals alone, routed in
turn, one lane, first come first served without a long-prefill threshold. There rank r serves every r-th visit and prompts
complete in order, so completion follows Lindley's recursion on *marginal* work. In a closed loop this holds for the first
``clients`` requests, whose arrivals are known, and where turns of sessions wait for answers it does not. Prompt tokens that a prefix
cache may hold cost nothing (`caching`), nor does a visit that may be cancelled once another is done. Requests that can never fit are
rejected at entry and have nan.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.caching import spared
from mist_dse.analytic.demand import batcher_time
from mist_dse.analytic.envelope import Envelope, decode_total, decode_work, envelope, prompt_time, prompt_work
from mist_dse.analytic.paths import cancellable, request_of_visit, walked
from mist_dse.rows import FCFS, ROUND_ROBIN, Batcher, Engine, Floats, Ints, Jobs, Requests, Servers, Station


class BoundArrays(NamedTuple):
    """Floors per request (s; nan where rejected, TPOT also below two tokens), of the makespan, and a ceiling of throughput."""

    ttft: Floats
    tpot: Floats
    e2e: Floats
    makespan: float  # s from the first arrival to the last completion
    throughput: float  # completed requests per second of makespan


class _Visits(NamedTuple):
    """Least seconds of every visit: before its service, to its first emission, to its first message to the user, to its end."""

    entrance: Floats
    first: Floats
    message: Floats
    whole: Floats


class _Known(NamedTuple):
    """What no number of replicas changes."""

    jobs: Jobs
    floors: list[Envelope]
    least: _Visits
    owner: Ints
    rejected: np.ndarray
    tpot: Floats


def bound(servers: Servers, jobs: Jobs, requests: Requests) -> BoundArrays:
    """Floors on the same requests; each metric of a simulation, mean or percentile, is never below that of these."""
    return next(bounds(servers, jobs, requests, [tuple(engine.replicas for engine in servers.engines)]))


def bounds(servers: Servers, jobs: Jobs, requests: Requests, replicas: Iterable[tuple[int, ...]]) -> Iterator[BoundArrays]:
    """`bound` with other numbers of replicas, one of each engine pool in turn: what they share is found once."""
    if not len(requests.arrival):
        yield from (BoundArrays(np.zeros(0), np.zeros(0), np.zeros(0), 0.0, 0.0) for _ in replicas)
        return
    owner = request_of_visit(jobs)
    rejected = rejected_requests(servers, jobs)
    jobs = spared(servers, jobs, any_order=True)
    floors = _floors(servers, jobs)
    least = _least_visits(servers, jobs, floors)
    tpot = np.where(rejected, np.nan, _token_interval(jobs, least, owner, (_answering(servers, jobs), requests)))
    known = _Known(jobs, floors, least, owner, rejected, tpot)
    for each in replicas:
        engines = tuple(engine._replace(replicas=count) for engine, count in zip(servers.engines, each, strict=True))
        yield _bound(servers._replace(engines=engines), known, requests)


def _bound(servers: Servers, known: _Known, requests: Requests) -> BoundArrays:
    jobs, least, owner, rejected = known.jobs, known.least, known.owner, known.rejected
    floors = [floor._replace(engine=engine) for floor, engine in zip(known.floors, servers.engines, strict=True)]
    arrival = _known_arrivals(requests)
    queued = _queued_completion(servers, jobs, floors, ~rejected[owner], (requests, owner))
    message = np.full(len(owner), np.nan)

    def served(visits: Ints, ready: Floats) -> tuple[Floats, Floats]:
        start = ready + least.entrance[visits]
        emission = np.fmax(start + least.first[visits], queued[visits])
        message[visits] = emission + least.message[visits] - least.first[visits]
        return start, emission + least.whole[visits] - least.first[visits]

    _, _, end = walked(jobs, arrival[owner], served)
    answers = _answering(servers, jobs)
    first = _extreme(np.minimum, message[answers], owner[answers], len(arrival))
    sure = ~cancellable(jobs)
    last = _extreme(np.maximum, end[sure], owner[sure], len(arrival))
    ttft, e2e = (np.where(rejected, np.nan, value - arrival) for value in (first, last))
    makespan = _makespan(servers, jobs, floors, e2e, (requests, owner))
    completed = int((~rejected).sum())
    return BoundArrays(ttft, known.tpot, e2e, makespan, completed / makespan if makespan > 0 else np.inf)


def rejected_requests(servers: Servers, jobs: Jobs) -> np.ndarray:
    """Requests with an engine visit that the KV store or the context length can never hold, or no step the prompt of."""
    refused = np.zeros(len(jobs.server), dtype=bool)
    tokens = jobs.prompt + jobs.handed + jobs.limit
    for number, engine in enumerate(servers.engines):
        blocks = -(-(tokens - 1) // engine.block_size)
        never = (blocks + engine.watermark > engine.blocks) | (tokens > engine.max_model_len)
        never |= jobs.prompt + jobs.handed - jobs.computed > engine.longest_prompt
        refused |= (jobs.server == number) & never
    owner = request_of_visit(jobs)
    return np.bincount(owner, weights=refused, minlength=len(jobs.first) - 1) > 0


def unloaded(servers: Servers, jobs: Jobs) -> tuple[Floats, Floats, Floats]:
    """(ready, start, end) of every visit after its request's arrival, each alone in the system."""
    least = _least_visits(servers, jobs, _floors(servers, jobs))

    def served(visits: Ints, ready: Floats) -> tuple[Floats, Floats]:
        start = ready + least.entrance[visits]
        return start, start + least.whole[visits]

    return walked(jobs, np.zeros(len(jobs.server)), served)


def _known_arrivals(requests: Requests) -> Floats:
    """Arrival times, of turns of sessions the earliest; 0 where a closed loop decides them: floors count from each request's own."""
    return np.where(np.arange(len(requests.arrival)) < (requests.clients or len(requests.arrival)), requests.arrival, 0.0)


def _extreme(kind: np.ufunc, values: Floats, owner: Ints, count: int) -> Floats:
    """Least or largest value per request; nan where it has none."""
    out = np.full(count, np.inf if kind is np.minimum else -np.inf)
    kind.at(out, owner, values)
    return np.where(np.isfinite(out), out, np.nan)


def _fresh(jobs: Jobs, visits: Ints) -> Floats:
    return np.where(jobs.handed[visits] > 0, 0, np.maximum(jobs.prompt[visits] - jobs.computed[visits], 0)).astype(float)


def _decode_steps(jobs: Jobs, visits: Ints) -> Floats:
    return np.maximum(jobs.emit[visits] - 1 + (jobs.handed[visits] > 0), 0).astype(float)


def _floors(servers: Servers, jobs: Jobs) -> list[Envelope]:
    longest = int((jobs.prompt + jobs.emit + jobs.handed).max(initial=1)) + 1
    rows = zip(servers.costs, servers.loads, servers.engines, strict=True)
    return [envelope(cost, load, engine, min(longest, engine.max_model_len + 1)) for cost, load, engine in rows]


def _least_visits(servers: Servers, jobs: Jobs, floors: list[Envelope]) -> _Visits:
    count = len(jobs.server)
    least = _Visits(*(np.zeros(count) for _ in _Visits._fields))
    leased = np.zeros(count, dtype=bool)
    leased[jobs.lease[jobs.lease >= 0]] = True
    for number, floor in enumerate(floors):
        visits = np.flatnonzero(jobs.server == number)
        fresh, steps = _fresh(jobs, visits), _decode_steps(jobs, visits)
        prompt = jobs.prompt[visits].astype(float)
        own, handed = prompt_time(floor, fresh, prompt - fresh), jobs.handed[visits] > 0
        least.first[visits] = np.where(handed, decode_total(floor, prompt, np.minimum(steps, 1)), own)
        least.whole[visits] = own + decode_total(floor, prompt, steps)
        engine = floor.engine
        unseen = np.minimum(steps, engine.stream_interval - 1 + handed)
        least.message[visits] = own + decode_total(floor, prompt, unseen)
        least.entrance[visits] = np.where(leased[visits], 0.0, engine.client + engine.front_end + engine.front_end_token * prompt)
    others: list[Station | Batcher] = [*servers.stations, *servers.batchers]
    for number, server in enumerate(others, start=len(servers.engines)):
        visits = np.flatnonzero(jobs.server == number)
        work = jobs.work[visits]
        seconds = station_time(server, work) if isinstance(server, Station) else batch_time(server, work)
        least.whole[visits] = least.first[visits] = least.message[visits] = seconds
    return least


def station_time(station: Station, work: Floats) -> Floats:
    """Seconds of jobs alone at a station."""
    return np.asarray(work / min(station.cap, station.rate) + station.latency)


def batch_time(batcher: Batcher, work: Floats) -> Floats:
    """Seconds of jobs in the quickest batch."""
    return np.asarray(batcher.time[1:].min() + batcher.work_time * work)


def _answering(servers: Servers, jobs: Jobs) -> Ints:
    """Visits whose tokens the user receives; stations emit none."""
    return np.flatnonzero((jobs.answers > 0) & (jobs.server < len(servers.engines)))


def _token_interval(jobs: Jobs, least: _Visits, owner: Ints, source: tuple[Ints, Requests]) -> Floats:
    """Least (last - first token) / (tokens - 1): walked from the first answering visit, through signals at ends only."""
    answering, requests = source
    count = len(jobs.first) - 1
    roots = answering[np.unique(owner[answering], return_index=True)[1]]
    is_root = np.zeros(len(owner), dtype=bool)
    is_root[roots] = True

    def served(visits: Ints, ready: Floats) -> tuple[Floats, Floats]:
        start = np.where(is_root[visits], -np.inf, ready + least.entrance[visits])
        end = np.where(is_root[visits], least.whole[visits] - least.message[visits], start + least.whole[visits])
        return start, end

    _, _, end = walked(jobs, np.full(len(owner), -np.inf), served)
    spans = np.zeros(count)
    np.maximum.at(spans, owner[answering], np.maximum(end[answering], 0.0))
    spans[owner[cancellable(jobs)]] = 0.0  # the first token may be another visit's
    tokens = requests.output_tokens
    return np.where(tokens >= 2, spans / np.maximum(tokens - 1, 1), np.nan)


def _queued_completion(servers: Servers, jobs: Jobs, floors: list[Envelope], served: np.ndarray, source: tuple[Requests, Ints]) -> Floats:
    """Floor on when a prompt completes behind those before it on its rank (s); nan where the preconditions fail."""
    requests, owner = source
    known = len(requests.arrival) if requests.clients == 0 else requests.clients
    out = np.full(len(owner), np.nan)
    if (requests.follows >= 0).any():
        return out
    for number, floor in enumerate(floors):
        every = np.flatnonzero((jobs.server == number) & served)
        if not _order_is_known(jobs, floor.engine, every) or (requests.clients > 0 and not served.all()):
            continue
        visits = every[owner[every] < known]
        arrival = requests.arrival[owner[visits]]
        fresh = _fresh(jobs, visits)
        prompt = jobs.prompt[visits].astype(float)
        turn = np.arange(len(visits)) % (floor.engine.replicas * floor.engine.ranks)
        intake = floor.engine.front_end + floor.engine.front_end_token * prompt
        entered = lindley(arrival, intake, turn // floor.engine.ranks) + floor.engine.client
        out[visits] = lindley(entered, prompt_work(floor, fresh, prompt - fresh), turn)
    return out


def _order_is_known(jobs: Jobs, engine: Engine, visits: Ints) -> bool:
    """Whether arrivals alone decide which rank serves a visit and in what order, one visit per request."""
    entered = (jobs.need[visits] == 0).all() and (jobs.handed[visits] == 0).all() and not np.isin(visits, jobs.lease).any()
    in_turn = engine.router == ROUND_ROBIN and engine.packing == FCFS and engine.lanes == 1 and engine.long_prefill_threshold == 0
    free = not cancellable(jobs)[visits].any() and not (len(jobs.beside) and (jobs.beside[visits] >= 0).any())
    return bool(len(visits) and entered and in_turn and free)


def lindley(arrival: Floats, work: Floats, queue: Ints) -> Floats:
    """Completion times of work done first come first served in each of several queues: D_i = max(A_i, D_prev) + w_i.

    >>> lindley(np.array([0.0, 1.0, 9.0]), np.array([4.0, 2.0, 1.0]), np.array([0, 0, 0]))
    array([ 4.,  6., 10.])
    """
    out = np.empty(len(arrival))
    order = np.argsort(queue, kind="stable")
    cuts = np.flatnonzero(np.diff(queue[order])) + 1
    for part in np.split(order, cuts):
        done = np.cumsum(work[part])
        out[part] = done + np.maximum.accumulate(arrival[part] - (done - work[part]))
    return out


def _makespan(servers: Servers, jobs: Jobs, floors: list[Envelope], e2e: Floats, source: tuple[Requests, Ints]) -> float:
    """Floor on first arrival to last completion: the latest request, and the busiest server's work."""
    requests, owner = source
    kept = ~np.isnan(e2e)
    if not kept.any():
        return 0.0
    served = kept[owner] & ~cancellable(jobs)
    spans = [_server_span(servers, jobs, floors, number, served) for number in range(len(servers.names))]
    if requests.clients == 0:
        return max(float((requests.arrival + e2e)[kept].max() - requests.arrival[0]), *spans)
    thought = np.where(np.arange(len(e2e)) >= requests.clients, requests.think, 0.0)
    return max(float((e2e + thought)[kept].sum() / requests.clients), float(np.nanmax(e2e)), *spans)


def _server_span(servers: Servers, jobs: Jobs, floors: list[Envelope], number: int, served: np.ndarray) -> float:
    """Least seconds in which one server, and those that it draws from one rate with, can do the work of all visits that are ``served``;
    prompts and decodes may share steps, so not their sum.
    """
    visits = np.flatnonzero((jobs.server == number) & served)
    other = number - len(floors)
    if other >= len(servers.stations):
        batcher = servers.batchers[other - len(servers.stations)]
        return float(batcher_time(batcher, jobs.work[visits]).sum() / batcher.slots)
    if other >= 0:
        station = servers.stations[other]
        together = [len(floors) + k for k, row in enumerate(servers.stations) if row.shared == station.shared >= 0]
        all_work = float(jobs.work[np.isin(jobs.server, together) & served].sum())
        return max(float(jobs.work[visits].sum() / station.rate), all_work / servers.shared[station.shared] if together else 0.0)
    floor, load = floors[number], servers.loads[number]
    fresh, steps, prompt = _fresh(jobs, visits), _decode_steps(jobs, visits), jobs.prompt[visits].astype(float)
    start = prompt - fresh
    contexts = steps * (prompt + 0.5 * (steps + 1))
    pairs = 0.5 * (prompt**2 - start**2)
    tokens = float((fresh + steps).sum())
    seconds = (
        float(prompt_work(floor, fresh, start).sum()),
        float(steps.sum()) * decode_work(floor),
        tokens * load.flop_seconds_token + float((pairs + contexts).sum()) * load.flop_seconds_pair,
        float(contexts.sum()) * load.byte_seconds_context,
        tokens * load.link_seconds_token,
    )
    lanes = 1.0 if floor.engine.lanes == 1 else min(floor.cost.stage_share, 1.0)
    return max(seconds[0] * lanes, seconds[1] * lanes, *seconds[2:]) / (floor.engine.replicas * floor.engine.ranks)
