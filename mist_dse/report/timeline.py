"""A simulated run as a timeline in Chrome's trace event format, which Perfetto opens: a track per replica, arrows along requests.

One process per server with a thread per replica (per lane where steps overlap), whose slices are the rows of `Steps`; a process of
requests, with a slice from each arrival to its end, and every visit's queue and service as asynchronous slices; a flow of arrows per
request, from its queue through the first and the last step of each visit to its end. Times are in us, exact to the ns.
Source: Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

import gzip
import heapq
import json
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import COMPLETED, REJECTED, Ints, Jobs, Records, Servers, Steps

__all__ = ["REQUESTS", "Replay", "write_timeline"]

REQUESTS = 2000
"""Requests in a timeline unless asked otherwise: a few MB, which a browser opens at once."""

_REQUESTS = 1  # the process of the requests; that of server s is 2 + s
_BLOCK = 4096  # events that are text at a time
_STATUS = ("completed", "rejected", "unfinished")  # in the order of `Records.status`

_PLACE = '"pid":%d,"tid":%d,"ts":%.3f'
_NAME = '{"ph":"M","name":"%s","pid":%d,"tid":%d,"args":{"%s":%s}}'
_STEP = '{"ph":"X","name":"%s","cat":"step",' + _PLACE + ',"dur":%.3f,"args":{"decodes":%d,"prompt_tokens":%d,"steps":%d,"tokens":%d}}'
_REQUEST = '{"ph":"X","name":"request %d","cat":"request",' + _PLACE + ',"dur":%.3f,"args":{"status":"%s","preemptions":%d}}'
_PART = '{"ph":"X","name":"%s","cat":"request",' + _PLACE + ',"dur":%.3f}'
_JOB = '{"ph":"X","name":"request %d","cat":"job",' + _PLACE + ',"dur":%.3f,"args":{"visit":%d}}'
_VISIT = '{"ph":"%s","name":%s,"cat":"visit","id2":{"local":"%d"},' + _PLACE + "}"
_ARROW = '{"ph":"%s","name":"request","cat":"flow","id":%d,' + _PLACE + "%s}"
_COUNT = '{"ph":"C","name":"%s",' + _PLACE + ',"args":{"running":%d,"waiting":%d}}'


class Replay(NamedTuple):
    """A run: what was simulated, what happened, and the steps of its engines."""

    servers: Servers
    jobs: Jobs
    records: Records
    steps: Steps


class _Spans(NamedTuple):
    """Slices of requests or visits (n), in order of start, on threads where none overlaps or touches another; times in ns."""

    pid: int
    first: int  # thread
    of: Ints  # request or visit
    start: Ints
    end: Ints
    tid: Ints

    @property
    def next(self) -> int:
        """The thread after the last."""
        return int(self.tid.max(initial=self.first)) + 1


class _Plan(NamedTuple):
    """What of a run is drawn, and where; times in ns, no later than the horizon."""

    run: Replay
    owner: Ints  # request of each visit
    horizon: int
    drawn: NDArray[np.bool_]  # requests
    ready: Ints  # per visit
    start: Ints
    end: Ints
    requests: _Spans
    jobs: list[_Spans]  # of each station and batcher
    lanes: Ints  # per replica
    lane: Ints  # thread of the first lane of each replica


def write_timeline(path: Path, run: Replay, *, requests: int = REQUESTS) -> int:
    """How many requests the timeline written to ``path`` shows: the first ``requests`` that came, or all.

    Steps and counters are those of the whole run, up to the end of the last of these. A name in ``.gz`` is compressed.
    """
    plan = _plan(run, requests)
    with path.open("wb") as raw, gzip.open(raw, "wb", compresslevel=3) if path.suffix == ".gz" else nullcontext(raw) as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        events, between = _events(plan), ""
        while block := ",\n".join(islice(events, _BLOCK)):
            file.write((between + block).encode())
            between = ",\n"
        file.write(b"\n]}\n")
    return len(plan.requests.of)


def _events(plan: _Plan) -> Iterator[str]:
    """All events. Arrows come last: readers sort by time and keep this order within an instant, so that every slice is open."""
    yield from _names(plan)
    yield from _request_slices(plan)
    yield from _visit_slices(plan)
    yield from _step_slices(plan)
    yield from _job_slices(plan)
    yield from _counts(plan)
    yield from _arrows(plan)


# Layout


def _plan(run: Replay, requests: int) -> _Plan:
    records, jobs, servers = run.records, run.jobs, run.servers
    came = np.flatnonzero(~np.isnan(records.arrival[:requests]))
    over = np.where(records.status == REJECTED, records.arrival, np.where(np.isnan(records.end), records.makespan, records.end))
    arrival, end = _ns(records.arrival), _ns(over)
    last = [records.makespan] if requests >= len(arrival) else over[came]  # a batch may go on after all answers are out
    horizon = int(_ns(np.array(last)).max(initial=0))
    drawn = np.zeros(len(arrival), bool)
    drawn[came] = True
    owner = np.repeat(np.arange(len(arrival)), np.diff(jobs.first))
    ready, start, visit_end = (np.minimum(_ns(times), horizon) for times in (records.visit_ready, records.visit_start, records.visit_end))
    served = drawn[owner] & ~np.isnan(records.visit_start)
    # No thread has the number of a process, which would be taken for its main thread.
    spans = [_spans(_REQUESTS, len(servers.names) + 2, came, arrival[came], end[came])]
    for server in range(len(servers.engines), len(servers.names)):
        here = np.flatnonzero(served & (jobs.server == server))
        spans.append(_spans(server + 2, spans[-1].next, here, start[here], visit_end[here]))
    lanes = np.array([servers.engines[pool].lanes for pool in records.pool], np.int64)
    lane = spans[-1].next + np.cumsum(lanes) - lanes
    return _Plan(run, owner, horizon, drawn, ready, start, visit_end, spans[0], spans[1:], lanes, lane)


def _spans(pid: int, first: int, of: Ints, start: Ints, end: Ints) -> _Spans:
    """Every slice on the first thread that is free: the least that holds them all."""
    order = np.argsort(start, kind="stable")
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    threads, rows = [], 0
    for begins, ends in zip(start[order].tolist(), end[order].tolist(), strict=True):
        while busy and busy[0][0] < begins:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free, rows = [rows], rows + 1
        row = heapq.heappop(free)
        heapq.heappush(busy, (ends, row))
        threads.append(first + row)
    return _Spans(pid, first, of[order], start[order], end[order], np.array(threads, np.int64))


def _names(plan: _Plan) -> Iterator[str]:
    """The names of processes and threads, and their order."""
    servers, pools = plan.run.servers, len(plan.run.servers.engines)
    first = [
        plan.requests.first,
        *(int(plan.lane[plan.run.records.pool == pool][0]) for pool in range(pools)),
        *(s.first for s in plan.jobs),
    ]
    for place, (name, tid) in enumerate(zip(("requests", *servers.names), first, strict=True)):
        yield _NAME % ("process_name", place + 1, tid, "name", json.dumps(name))
        yield _NAME % ("process_sort_index", place + 1, tid, "sort_index", place)
    for spans in (plan.requests, *plan.jobs):
        yield from (_thread(spans.pid, tid, f"row {tid - spans.first}") for tid in range(spans.first, spans.next))
    for pid, label, lanes, tid in _replicas(plan):
        yield from (_thread(pid, tid + k, label + f" lane {k}" * (lanes > 1)) for k in range(lanes))


def _thread(pid: int, tid: int, name: str) -> str:
    named = _NAME % ("thread_name", pid, tid, "name", json.dumps(name))
    return named + ",\n" + _NAME % ("thread_sort_index", pid, tid, "sort_index", tid)


def _replicas(plan: _Plan) -> Iterator[tuple[int, str, int, int]]:
    """Process, name, lanes and first thread of each replica."""
    pool = plan.run.records.pool
    within = np.arange(len(pool)) - np.searchsorted(pool, pool)
    for row in zip((pool + 2).tolist(), within.tolist(), plan.lanes.tolist(), plan.lane.tolist(), strict=True):
        yield row[0], f"replica {row[1]}", row[2], row[3]


# Slices


def _request_slices(plan: _Plan) -> Iterator[str]:
    """Arrival to end; within it the queue before the first service, the output from first token to last, and a mark at the end."""
    records, spans, first = plan.run.records, plan.requests, plan.run.jobs.first
    served = np.minimum.reduceat(np.append(plan.start, plan.horizon), first[:-1]) if len(first) > 1 else first
    token, last = (np.minimum(_ns(times), plan.horizon) for times in (records.first_token, records.last_token))
    columns = [c.tolist() for c in (spans.of, spans.tid, records.status[spans.of], records.preemptions[spans.of])]
    times = [_us(t) for t in (spans.start, spans.end, served[spans.of], token[spans.of], last[spans.of])]
    for i, tid, status, preemptions, start, end, queued, begun, done in zip(*columns, *times, strict=True):
        yield _REQUEST % (i, _REQUESTS, tid, start, end - start, _STATUS[status], preemptions)
        if status != REJECTED:
            yield _PART % ("queue", _REQUESTS, tid, start, min(queued, end) - start)
            if begun < min(done, end):  # an answer that is cancelled has no last token
                yield _PART % ("output", _REQUESTS, tid, begun, min(done, end) - begun)
        if status == COMPLETED:
            yield _PART % ("end", _REQUESTS, tid, end, 0.0)


def _visit_slices(plan: _Plan) -> Iterator[str]:
    """Every visit from ready to end, with its queue and its service within, on asynchronous tracks named after the server."""
    names = [json.dumps(name) for name in plan.run.servers.names]
    shown = np.flatnonzero(plan.drawn[plan.owner] & ~np.isnan(plan.run.records.visit_ready))
    columns = [column[shown].tolist() for column in (plan.run.jobs.server, plan.owner)]
    times = [_us(t[shown]) for t in (plan.ready, np.minimum(plan.start, plan.end), plan.end)]
    for v, server, request, ready, start, end in zip(shown.tolist(), *columns, *times, strict=True):
        yield _visit("b", names[server], v, plan.requests.first, ready)
        if ready < start:
            yield _visit("b", '"queue"', v, plan.requests.first, ready)
            yield _visit("e", '"queue"', v, plan.requests.first, start)
        if start < end:
            yield _visit("b", f'"request {request}"', v, plan.requests.first, start)
            yield _visit("e", f'"request {request}"', v, plan.requests.first, end)
        yield _visit("e", names[server], v, plan.requests.first, end)


def _visit(phase: str, name: str, visit: int, tid: int, us: float) -> str:
    return _VISIT % (phase, name, visit, _REQUESTS, tid, us)


def _step_slices(plan: _Plan) -> Iterator[str]:
    """The rows of `Steps`, named by what they compute."""
    steps = plan.run.steps
    start = _ns(steps.start)
    shown = np.flatnonzero(start < plan.horizon)
    pid, tid = plan.run.records.pool[steps.replica] + 2, plan.lane[steps.replica] + steps.lane
    length = _ns(steps.end) - start
    for at in range(0, len(shown), _BLOCK):
        rows = shown[at : at + _BLOCK]
        columns = [column[rows].tolist() for column in (steps.decodes, steps.prompt_tokens, steps.steps)]
        names = map(_composition, *columns[:2])
        tokens = (steps.decodes * steps.steps + steps.prompt_tokens)[rows].tolist()
        places = [pid[rows].tolist(), tid[rows].tolist(), _us(start[rows]), _us(length[rows])]
        yield from map(_STEP.__mod__, zip(names, *places, *columns, tokens, strict=True))


def _composition(decodes: int, prompt_tokens: int) -> str:
    """The name of a step.

    >>> _composition(3, 0), _composition(0, 512), _composition(3, 509)
    ('decode x 3', 'prefill 512 tokens', 'prefill 509 tokens + decode x 3')
    """
    parts = [f"prefill {prompt_tokens} tokens"] * (prompt_tokens > 0) + [f"decode x {decodes}"] * (decodes > 0)
    return " + ".join(parts)


def _job_slices(plan: _Plan) -> Iterator[str]:
    """The visits at stations and batchers, from the start of their service to its end."""
    for spans in plan.jobs:
        rows = zip(plan.owner[spans.of].tolist(), spans.tid.tolist(), _us(spans.start), _us(spans.end), spans.of.tolist(), strict=True)
        for request, tid, start, end, visit in rows:
            yield _JOB % (request, spans.pid, tid, start, end - start, visit)


# Counters


def _counts(plan: _Plan) -> Iterator[str]:
    """Visits of the whole run in service and waiting for it, at every replica, station and batcher, whenever they change."""
    labels = [(pid, label, tid) for pid, label, _, tid in _replicas(plan)] + [(spans.pid, "jobs", spans.first) for spans in plan.jobs]
    place, time, change = _changes(plan)
    order = np.lexsort((time, place))
    place, time, change = place[order], time[order], change[order]
    kept = np.append((np.diff(place) != 0) | (np.diff(time) != 0), True)[: len(place)] & (time < plan.horizon)
    counts = np.cumsum(change, axis=0)[kept]  # a place ends with nothing, so that the next starts with nothing
    for at, ns, (running, waiting) in zip(place[kept].tolist(), _us(time[kept]), counts.tolist(), strict=True):
        pid, label, tid = labels[at]
        yield _COUNT % (label, pid, tid, ns, running, waiting)


def _changes(plan: _Plan) -> tuple[Ints, Ints, Ints]:
    """(place, ns, change of running and waiting) of all visits: replicas first, then stations and batchers."""
    records, pools = plan.run.records, len(plan.run.servers.engines)
    server = plan.run.jobs.server
    at = np.where(server < pools, records.visit_replica, len(records.pool) + server - pools)
    came = np.flatnonzero(~np.isnan(records.visit_ready) & (plan.ready < plan.horizon) & (at >= 0))
    start = np.minimum(plan.start, plan.end)[came]
    times, changes = (plan.ready[came], start, plan.end[came]), ((0, 1), (1, -1), (-1, 0))
    return np.tile(at[came], 3), np.concatenate(times), np.repeat(np.array(changes), len(came), axis=0)


# Arrows


def _arrows(plan: _Plan) -> Iterator[str]:
    """One flow per request that was served: s, t ..., f, inside its slices and in order of time."""
    request, order, pid, tid, ns = np.concatenate([_ends(plan), _at_stations(plan), *_at_engines(plan)], axis=1)
    sorting = np.lexsort((order, ns, request))
    request, pid, tid, ns = request[sorting], pid[sorting], tid[sorting], ns[sorting]
    new = np.append(True, np.diff(request) != 0)[: len(request)]
    first, last = new, np.append(new[1:], True)[: len(request)]
    kind = np.where(first, 0, np.where(last, 2, 1))
    shown = ~(first & last)
    columns = [column[shown].tolist() for column in (kind, request, pid, tid)]
    for k, i, process, thread, us in zip(*columns, _us(ns[shown]), strict=True):
        yield _ARROW % ("stf"[k], i, process, thread, us, ',"bp":"e"' if k == 2 else "")


def _stops(request: Ints, order: Any, pid: Any, tid: Ints, ns: Ints) -> Ints:
    """Rows (request, order within an instant, process, thread, ns) of a flow, one column per stop."""
    return np.array(np.broadcast_arrays(request, order, pid, tid, ns), np.int64)


def _ends(plan: _Plan) -> Ints:
    """The stops in the queues and at the ends of requests."""
    spans, status = plan.requests, plan.run.records.status[plan.requests.of]
    queued, done = status != REJECTED, status == COMPLETED
    return np.concatenate(
        [
            _stops(spans.of[queued], -1, _REQUESTS, spans.tid[queued], spans.start[queued]),
            _stops(spans.of[done], 2 * len(plan.owner), _REQUESTS, spans.tid[done], spans.end[done]),
        ],
        axis=1,
    )


def _at_stations(plan: _Plan) -> Ints:
    stops = [_stops(plan.owner[spans.of], 2 * spans.of, spans.pid, spans.tid, spans.start) for spans in plan.jobs]
    return np.concatenate([np.zeros((5, 0), np.int64), *stops], axis=1)


def _at_engines(plan: _Plan) -> Iterator[Ints]:
    """The stops in the first and the last step of visits, by replica."""
    records, steps = plan.run.records, plan.run.steps
    starts, ends = _ns(steps.start), _ns(steps.end)
    visits = np.flatnonzero(plan.drawn[plan.owner] & ~np.isnan(records.visit_start) & (records.visit_replica >= 0))
    for replica, pool in enumerate(records.pool.tolist()):
        here = visits[records.visit_replica[visits] == replica]
        rows = np.flatnonzero(steps.replica == replica)
        if len(here) == 0 or len(rows) == 0:
            continue
        first = rows[np.maximum(np.searchsorted(starts[rows], plan.start[here], side="right") - 1, 0)]
        rows = rows[np.argsort(ends[rows], kind="stable")]
        last = rows[np.minimum(np.searchsorted(ends[rows], plan.end[here]), len(rows) - 1)]
        begun = (starts[first] <= plan.start[here]) & (plan.start[here] < ends[first])
        over = (ends[last] == plan.end[here]) & (starts[last] > plan.start[here])  # a visit that is cancelled ends within a step
        for row, ns, is_stop, after in ((first, plan.start[here], begun, 0), (last, starts[last], over, 1)):
            tid = plan.lane[replica] + steps.lane[row]
            yield _stops(plan.owner[here][is_stop], 2 * here[is_stop] + after, pool + 2, tid[is_stop], ns[is_stop])


# Time


def _ns(seconds: NDArray[np.float64]) -> Ints:
    """Whole ns; never (nan) is later than anything."""
    return np.where(np.isnan(seconds), 2.0**62, np.rint(seconds * 1e9)).astype(np.int64)


def _us(ns: Ints) -> list[float]:
    times: list[float] = (ns / 1000.0).tolist()
    return times
