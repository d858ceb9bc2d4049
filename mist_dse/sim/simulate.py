"""`simulate`: rows in, records out."""

import math

import numpy as np

from mist_dse.rows import CHUNKED, Jobs, Records, Requests, Servers
from mist_dse.sim.loop import run
from mist_dse.sim.state import State, initial_state


class RowError(ValueError):
    """Rows that no simulation can run: the message names the table and the column."""


class LivelockError(RuntimeError):
    """Far more events than the work needs have passed without a visit ending."""


def _check(servers: Servers, jobs: Jobs, requests: Requests) -> None:
    n, v = len(requests.arrival), len(jobs.server)
    if n == 0:
        raise RowError("Requests is empty: a simulation needs at least one request")
    if len(jobs.first) != n + 1 or jobs.first[-1] != v:
        raise RowError(f"Jobs.first must hold {n + 1} offsets ending at {v} visits")
    if not (
        np.isfinite(requests.arrival[: requests.clients or n]).all() and (np.diff(requests.arrival[: requests.clients or n]) >= 0).all()
    ):
        raise RowError("Requests.arrival must be finite and ascending")
    if v and (jobs.server.min() < 0 or jobs.server.max() >= len(servers.engines) + len(servers.stations)):
        raise RowError("Jobs.server names a server that is not in Servers")
    engine = jobs.server < len(servers.engines)
    if (jobs.emit[engine] < 1).any() or (jobs.limit < jobs.emit).any() or ((jobs.computed >= jobs.prompt + jobs.handed) & engine).any():
        raise RowError("Jobs: engine visits need 1 <= emit <= limit and computed < prompt + handed")
    for engine_row, cost in zip(servers.engines, servers.costs, strict=True):
        if engine_row.policy == CHUNKED and engine_row.max_num_batched_tokens < engine_row.max_num_seqs:
            raise RowError("Engine.max_num_batched_tokens must be >= max_num_seqs under chunked batching")
        if min(engine_row.stream_interval, engine_row.receive_interval) < 1:
            raise RowError("Engine.stream_interval and receive_interval must be >= 1")
        if (
            len(cost.decode_step) <= engine_row.max_num_seqs
            or len(cost.sequence_time) <= engine_row.max_num_seqs
            or len(cost.token_time) < 2
        ):
            raise RowError("StepCost tables must cover S = 0..max_num_seqs and at least T = 0, 1")
        if cost.shared_time.size and (engine_row.ranks < 2 or cost.shared_time.shape[0] != 2 or cost.shared_time.shape[1] < 2):
            raise RowError("StepCost.shared_time needs an engine of two ranks or more, two rows and at least G = 0, 1")
    for station in servers.stations:
        if not (np.isfinite(min(station.rate, station.cap)) and min(station.rate, station.cap) > 0 and station.slots > 0):
            raise RowError("Station needs a positive finite rate or cap, and at least one slot")


def simulate(servers: Servers, jobs: Jobs, requests: Requests, *, skip: bool = True) -> Records:
    """Run ``requests`` through ``servers`` until nothing is left to do (`docs/semantics.md`).

    ``skip`` False takes steady decode one step at a time; the records are the same. Deterministic: there is no random choice in
    a run. Raises `RowError` on inconsistent rows.
    """
    _check(servers, jobs, requests)
    state = initial_state(servers, jobs, requests, skip=skip)
    makespan = run(state)
    if math.isnan(makespan):
        raise LivelockError("the simulation makes no progress: KV blocks are so few that sequences preempt one another for ever")
    return _records(state, makespan)


def _records(state: State, makespan: float) -> Records:
    request, visit, replica = state.request, state.visit, state.replica
    engine = visit["server"] < len(state.pool)
    rank = np.where(visit["rank"] >= 0, visit["rank"], 0)
    on = np.where(engine & (visit["rank"] >= 0), np.append(state.rank["replica"], -1)[rank], -1)
    times = {name: np.ascontiguousarray(request[name]) for name in ("arrival", "admitted", "first_token", "last_token", "end")}
    return Records(
        **times,
        status=request["status"].astype(np.int8),
        preemptions=np.ascontiguousarray(request["preemptions"]),
        visit_ready=np.ascontiguousarray(visit["ready"]),
        visit_start=np.ascontiguousarray(visit["start"]),
        visit_end=np.ascontiguousarray(visit["end"]),
        visit_replica=on,
        pool=np.ascontiguousarray(replica["pool"]),
        **{
            name: np.ascontiguousarray(replica[name])
            for name in ("steps", "busy", "tokens", "pairs", "contexts", "peak_seqs", "peak_blocks", "peak_tokens")
        },
        station_busy=np.ascontiguousarray(state.station["done"]),
        makespan=makespan,
    )
