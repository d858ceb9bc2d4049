"""`simulate`: rows in, records out."""

import math

import numpy as np

from mist_dse.rows import Jobs, Records, Requests, Servers, Steps
from mist_dse.sim.check import check
from mist_dse.sim.initial import initial_state
from mist_dse.sim.jit import lightly_optimised
from mist_dse.sim.loop import run
from mist_dse.sim.state import LOG, State


class LivelockError(RuntimeError):
    """Far more events than the work needs have passed without a visit ending."""


def simulate(servers: Servers, jobs: Jobs, requests: Requests, *, skip: bool = True) -> Records:
    """Run ``requests`` through ``servers`` until nothing is left to do (`docs/semantics.md`).

    ``skip`` False takes steady decode one step at a time; the records are the same. Deterministic: there is no random choice in
    a run. Raises `RowError` on inconsistent rows.
    """
    check(servers, jobs, requests)
    return _records(*_ran(initial_state(servers, jobs, requests, skip=skip)))


def simulate_steps(servers: Servers, jobs: Jobs, requests: Requests, *, skip: bool = True) -> tuple[Records, Steps]:
    """`simulate`, and the engine steps that it took; the run is made twice, first to count them."""
    check(servers, jobs, requests)
    counted, _ = _ran(initial_state(servers, jobs, requests, skip=skip))
    state, last = _ran(initial_state(servers, jobs, requests, skip=skip, log=int(counted.clock["logged"][0])))
    log = dict(zip(LOG, state.table[int(state.clock["log_at"][0]) :].reshape(-1, len(LOG)).T, strict=True))
    order = np.lexsort((log["lane"], log["replica"], log["start"]))
    return _records(state, last), Steps(
        **{name: column[order] if name in ("start", "end") else column[order].astype(np.int64) for name, column in log.items()}
    )


def _ran(state: State) -> tuple[State, float]:
    with lightly_optimised():
        last = run(state)
    if math.isnan(last):
        raise LivelockError("the simulation makes no progress: KV blocks are so few that sequences preempt one another for ever")
    return state, last


def _records(state: State, last: float) -> Records:
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
        station_busy=np.concatenate([state.station["done"], state.batcher["seconds"]]),
        makespan=float(max(last, np.nanmax(visit["end"], initial=0.0), np.nanmax(request["arrival"], initial=0.0))),
        visit_cached=np.ascontiguousarray(state.aside["cached"]) if state.clock["aside"][0] else np.zeros(len(visit), np.int64),
    )
