"""The event loop: the next event in order of (time, kind, sequence), and settling between instants.

`docs/semantics.md`, Time.
"""

import math

from mist_dse.rows import ON_START
from mist_dse.sim.engine import end_step, start_steps
from mist_dse.sim.flow import arrive, come_in, finish_visit, fire, grant_leases, mark, release_ready, set_timer
from mist_dse.sim.heap import heap_pop
from mist_dse.sim.jit import entry, jit
from mist_dse.sim.state import ARRIVAL, DIRTY, INTAKE, JOB_END, LANES, NONE, SETTLING, STEP_END, TIMER, State
from mist_dse.sim.station import leave_station


@jit
def _next_arrival(s: State, cursor: int, known: int) -> tuple[float, int]:
    """Time and index of the next request: from the table up to ``known``, or from the calendar of a closed loop."""
    when, i = math.inf, -1
    if cursor < known:
        when, i = s.request[cursor].arrival, cursor
    if s.clock[0].comers > 0 and s.entry[s.clock[0].comers_at].key < when:
        when, i = s.entry[s.clock[0].comers_at].key, s.entry[s.clock[0].comers_at].what
    return when, i


@jit
def _next_event(s: State, arrival: float) -> tuple[float, int, int]:
    """(time, kind, index) of the next event."""
    when, kind, index = math.inf, NONE, -1
    if arrival < when:
        when, kind = arrival, ARRIVAL
    if s.clock[0].lanes > 0 and s.lane[s.calendar[LANES, 0]].end < when:
        index = s.calendar[LANES, 0]
        when, kind = s.lane[index].end, STEP_END
    for k in range(len(s.station)):
        if s.station[k].next < when:
            when, kind, index = s.station[k].next, JOB_END, k
    if s.clock[0].timers > 0 and s.entry[s.clock[0].timers_at].key < when:
        when, kind = s.entry[s.clock[0].timers_at].key, TIMER
    return when, kind, index


@jit
def _end_job(s: State, k: int, now: float) -> None:
    """All jobs of station ``k`` that are done now leave, in order of start."""
    station = s.station[k]
    while True:
        done, started = leave_station(s, k, now)
        if started >= 0:
            fire(s, started, ON_START, now)
        if station.latency > 0.0:
            set_timer(s, now + station.latency, done)
        else:
            finish_visit(s, done, now)
        if station.active == 0 or s.entry[station.heap_at].key > station.attained:
            return


@jit
def _ring(s: State, now: float) -> None:
    """The first timer: a visit leaves the front end, or its station's latency is over, or a replica's entrance is free."""
    item = s.entry[s.clock[0].timers_at].what
    s.clock[0].timers = heap_pop(s, s.clock[0].timers_at, s.clock[0].timers)
    if item < 0:
        mark(s, -item - 1)
    elif s.visit[item].state == INTAKE:
        come_in(s, item, now)
    else:
        finish_visit(s, item, now)


@jit
def _settle(s: State, now: float) -> None:
    """Grant leases, then start steps, on every replica with a change, in ascending order."""
    n = s.clock[0].dirty
    for i in range(n):
        r = s.calendar[DIRTY, i]
        s.replica[r].dirty = 0
        j = i
        while j > 0 and s.calendar[SETTLING, j - 1] > r:
            s.calendar[SETTLING, j] = s.calendar[SETTLING, j - 1]
            j -= 1
        s.calendar[SETTLING, j] = r
    s.clock[0].dirty = 0
    for i in range(n):
        r = s.calendar[SETTLING, i]
        pool = s.pool[s.replica[r].pool]
        first = pool.first_rank + (r - pool.first_replica) * pool.ranks
        for q in range(first, first + pool.ranks):
            grant_leases(s, q, now)
    release_ready(s, now)
    for i in range(n):
        start_steps(s, s.calendar[SETTLING, i], now)
        release_ready(s, now)


@entry
def run(s: State) -> float:
    """Run to the last event; the time of it, nan if ``clock.patience`` events pass and no visit ends (visits that preempt
    one another for ever would otherwise never return).
    """
    now, last = 0.0, 0.0
    clock = s.clock[0]
    known = min(clock.clients, len(s.request)) if clock.clients > 0 else len(s.request)
    clock.next_request = known
    cursor, events, ended = 0, 0, 0
    while True:
        events += 1
        if clock.ended > ended:
            events, ended = 0, clock.ended
        if events > clock.patience:
            return math.nan
        arrival, i = _next_arrival(s, cursor, known)
        when, kind, index = _next_event(s, arrival)
        if clock.dirty > 0 and when > now:
            _settle(s, now)
            continue
        if kind == NONE:
            return last
        now = when
        if kind == ARRIVAL:
            if i == cursor and cursor < known:
                cursor += 1
            else:
                clock.comers = heap_pop(s, clock.comers_at, clock.comers)
            arrive(s, i, now)
        elif kind == STEP_END:
            end_step(s, index, now)
        elif kind == JOB_END:
            _end_job(s, index, now)
        else:
            _ring(s, now)
        last = now
        release_ready(s, now)
