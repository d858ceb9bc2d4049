"""The event loop: the next event in order of (time, kind, sequence), and settling between instants.

`docs/semantics.md`, Time.
"""

import math

from mist_dse.rows import ON_START
from mist_dse.sim.batcher import end_batch, mark_batchers
from mist_dse.sim.cancel import leave
from mist_dse.sim.device import batch_started, offer_devices
from mist_dse.sim.engine import end_step, start_steps
from mist_dse.sim.flow import arrive, come_in, finish_visit, fire, grant_leases, mark, release_ready, set_timer
from mist_dse.sim.heap import heap_pop
from mist_dse.sim.jit import entry, inlined, jit
from mist_dse.sim.lists import is_empty, unlink
from mist_dse.sim.state import ARRIVAL, ENDLESS, INTAKE, JOB_END, NONE, STEP_END, TIMER, State
from mist_dse.sim.station import leave_station


@inlined
def _next_arrival(s: State, cursor: int, known: int) -> tuple[float, int]:
    """Time and index of the next request: from the table up to ``known``, or from the calendar of those that wait for another."""
    when, i = math.inf, -1
    if cursor < known:
        when, i = s.request[cursor].arrival, cursor
    if s.clock[0].comers > 0:
        first = s.entry[s.clock[0].comers_at]
        if first.key < when or (first.key == when and first.what < i):
            when, i = first.key, first.what
    return when, i


@inlined
def _first_known(s: State, cursor: int, known: int) -> int:
    """The first request of the table, from ``cursor`` on, that waits for no other."""
    while cursor < known and s.request[cursor].follows >= 0:
        cursor += 1
    return cursor


@inlined
def _next_event(s: State, arrival: float) -> tuple[float, int, int]:
    """(time, kind, index) of the next event."""
    when, kind, index = math.inf, NONE, -1
    if arrival < when:
        when, kind = arrival, ARRIVAL
    if s.clock[0].lanes > 0 and s.lane[s.whole[s.clock[0].lanes_at]].end < when:
        index = s.whole[s.clock[0].lanes_at]
        when, kind = s.lane[index].end, STEP_END
    for k in range(len(s.station)):
        if s.station[k].next < when:
            when, kind, index = s.station[k].next, JOB_END, k
    for b in range(len(s.batcher)):
        if s.batcher[b].busy_workers > 0 and s.entry[s.batcher[b].heap_at].key < when:
            when, kind, index = s.entry[s.batcher[b].heap_at].key, JOB_END, len(s.station) + b
    if s.clock[0].timers > 0 and s.entry[s.clock[0].timers_at].key < when:
        when, kind = s.entry[s.clock[0].timers_at].key, TIMER
    return when, kind, index


@jit
def _end_job(s: State, k: int, now: float) -> None:
    """All jobs of station ``k`` that are done now leave, in order of start; one that starts in a place that this frees does not."""
    station = s.station[k]
    started_before = station.started
    while True:
        done, started = leave_station(s, k, now)
        if started >= 0:
            fire(s, started, ON_START, now)
        if station.latency > 0.0:
            set_timer(s, now + station.latency, done)
        else:
            finish_visit(s, done, now)
        first = s.entry[station.heap_at]
        if station.active == 0 or first.key > station.attained or first.tie >= started_before:
            return


@inlined
def _end_batch(s: State, b: int, now: float) -> None:
    """The first batch of batcher ``b`` that is done: its visits end in order."""
    sentinel = end_batch(s, b)
    while not is_empty(s, sentinel):
        v = s.link[sentinel].next
        unlink(s, v)
        finish_visit(s, v, now)


@jit
def _start_batches(s: State, now: float) -> None:
    """Free workers of batchers take the batches that are due."""
    s.clock[0].batching = 0
    for b in range(len(s.batcher)):
        if s.batcher[b].device_no < 0:
            while batch_started(s, b, now):
                pass


@inlined
def _ring(s: State, now: float) -> None:
    """The first timer: a visit leaves the front end, or has waited long enough for a batch, or its station's latency is over, or a
    replica's entrance is free.
    """
    item = s.entry[s.clock[0].timers_at].what
    s.clock[0].timers = heap_pop(s, s.clock[0].timers_at, s.clock[0].timers)
    if item < 0:
        mark(s, -item - 1)
    elif s.visit[item].server >= s.clock[0].batchers:
        mark_batchers(s)
    elif s.visit[item].state == INTAKE:
        come_in(s, item, now)
    else:
        finish_visit(s, item, now)


@inlined
def _end_struck(s: State, now: float) -> None:
    """Steady steps that end now, of replicas that are not settled yet, in spans that something cuts short only while others are."""
    s.clock[0].struck = 0
    slot = 0
    while slot < s.clock[0].lanes:
        lane = s.whole[s.clock[0].lanes_at + slot]
        slot += 1
        if s.lane[lane].spanning and s.lane[lane].end <= now and s.lane[lane].replica >= s.clock[0].passed:
            end_step(s, lane, now)
            slot = 0


@inlined
def _start_all_steps(s: State, n: int, now: float) -> None:
    """Steps start on the ``n`` replicas that are listed to be settled and on those that this changes, in ascending order."""
    i, r = 0, -1
    while True:
        if s.clock[0].struck:
            _end_struck(s, now)
        following = s.whole[s.clock[0].settling_at + i] if i < n else ENDLESS
        for k in range(s.clock[0].dirty):
            other = s.whole[s.clock[0].dirty_at + k]
            if r < other < following:
                following = other
        if following == ENDLESS:
            break
        if i < n and following == s.whole[s.clock[0].settling_at + i]:
            i += 1
        r = following
        s.clock[0].passed = r + 1
        if s.replica[r].device_no < 0:
            start_steps(s, r, now)
            release_ready(s, now)
    s.clock[0].passed = ENDLESS


@inlined
def _settle(s: State, now: float) -> None:
    """Cancelled visits leave; then, on every replica with a change, in ascending order, leases are granted and steps started; then
    batches; then what shares a device has its turn.
    """
    if s.clock[0].leavers > 0 and not leave(s, now):
        return
    n = s.clock[0].dirty
    for i in range(n):
        r = s.whole[s.clock[0].dirty_at + i]
        s.replica[r].dirty = 0
        j = i
        while j > 0 and s.whole[s.clock[0].settling_at + j - 1] > r:
            s.whole[s.clock[0].settling_at + j] = s.whole[s.clock[0].settling_at + j - 1]
            j -= 1
        s.whole[s.clock[0].settling_at + j] = r
    s.clock[0].dirty = 0
    for i in range(n):
        r = s.whole[s.clock[0].settling_at + i]
        pool = s.pool[s.replica[r].pool]
        first = pool.first_rank + (r - pool.first_replica) * pool.ranks
        for q in range(first, first + pool.ranks):
            grant_leases(s, q, now)
    release_ready(s, now)
    _start_all_steps(s, n, now)
    _start_batches(s, now)
    release_ready(s, now)
    if s.clock[0].devices > 0:
        offer_devices(s, n, now)


@entry
def run(s: State) -> float:
    """Run to the last event; the end of the last step, nan if ``clock.patience`` events pass and no visit ends (visits that
    preempt one another for ever would otherwise never return).
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
        cursor = _first_known(s, cursor, known)
        arrival, i = _next_arrival(s, cursor, known)
        when, kind, index = _next_event(s, arrival)
        if when > now and clock.dirty + clock.leavers + clock.batching > 0:
            _settle(s, now)
            continue
        if kind == NONE:
            return last
        if when > now:
            clock.passed = 0
        now = when
        if kind == ARRIVAL:
            if i == cursor and cursor < known:
                cursor += 1
            else:
                clock.comers = heap_pop(s, clock.comers_at, clock.comers)
            arrive(s, i, now)
        elif kind == STEP_END:
            end_step(s, index, now)
            last = now
        elif kind == JOB_END and index < len(s.station):
            _end_job(s, index, now)
        elif kind == JOB_END:
            _end_batch(s, index - len(s.station), now)
        else:
            _ring(s, now)
        release_ready(s, now)
