"""Cancelled visits leave, wherever they are, when the instant is settled.

`docs/semantics.md`, Cancellation.
"""

import math

from mist_dse.rows import ON_START, STATIC
from mist_dse.sim.batcher import mark_batchers
from mist_dse.sim.flow import abandon, fire, touch
from mist_dse.sim.jit import inlined, jit
from mist_dse.sim.lanes import lane_of
from mist_dse.sim.lists import unlink
from mist_dse.sim.running import leave_running
from mist_dse.sim.span import cut_span
from mist_dse.sim.state import (
    DECODING,
    ENDED,
    GHOST,
    INTAKE,
    LEASING,
    LEAVING,
    QUEUED,
    RUNNING,
    SERVED,
    WAITING,
    State,
)
from mist_dse.sim.station import quit_station


@jit
def leave(s: State, now: float) -> bool:
    """All cancelled visits leave; False if steps of theirs end at this very instant: they are looked at again then."""
    count, s.clock[0].leavers = s.clock[0].leavers, 0
    for i in range(count):
        v = s.whole[s.clock[0].leavers_at + i]
        if not _left(s, v, now):
            s.whole[s.clock[0].leavers_at + s.clock[0].leavers] = v
            s.clock[0].leavers += 1
    return bool(s.clock[0].leavers == 0)


@inlined
def _left(s: State, v: int, now: float) -> bool:
    visit = s.visit[v]
    state = visit.state
    if state == ENDED:
        return True
    if state in (RUNNING, DECODING):
        return _left_running(s, v, now)
    if visit.server < s.clock[0].engines:
        if state != INTAKE:
            unlink(s, v)
        if state == WAITING and visit.held > 0:
            s.rank[visit.rank].stalled -= 1
        abandon(s, v, now)
        touch(s, visit.rank, now)
    else:
        _leave_server(s, v, now)
    return True


@inlined
def _left_running(s: State, v: int, now: float) -> bool:
    visit = s.visit[v]
    g = visit.group
    if s.pool[visit.server].policy == STATIC:
        visit.gone = GHOST
        abandon(s, v, now)
        return True
    lane = lane_of(s, g)
    if s.lane[lane].slot >= 0:
        cut_span(s, lane, now, 1)
        if s.lane[lane].end == now:
            return False
        visit.gone = LEAVING
        s.group[g].leaving += 1
        return True
    leave_group(s, lane, v, now)
    touch(s, visit.rank, now)
    return True


@jit
def leave_group(s: State, lane: int, v: int, now: float) -> None:
    """A cancelled ``v`` leaves the RUNNING of an idle ``lane``."""
    row = s.lane[lane]
    if row.anchored:
        s.replica[row.replica].busy += now - row.anchor
        row.anchored = 0
    leave_running(s, v)
    abandon(s, v, now)


@inlined
def _leave_server(s: State, v: int, now: float) -> None:
    """``v`` is at a station or a batcher, or waits for a lease on its way there."""
    visit = s.visit[v]
    state = visit.state
    if state in (QUEUED, LEASING):
        unlink(s, v)
    batcher = visit.server - s.clock[0].batchers
    if state == QUEUED and batcher >= 0:
        s.batcher[batcher].queued -= 1
        mark_batchers(s)
    if state == QUEUED:
        visit.start = math.nan
    abandon(s, v, now)
    if state == LEASING:
        touch(s, s.visit[visit.lease].rank, now)
    if state == SERVED and batcher < 0:
        started = quit_station(s, visit.server - s.clock[0].engines, v, now)
        if started >= 0:
            fire(s, started, ON_START, now)
