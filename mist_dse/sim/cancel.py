"""Cancellation: a visit leaves wherever it is (`docs/semantics.md`, Cancel)."""

from mist_dse.rows import CANCEL, ON_START, STATIC
from mist_dse.sim.decoding import leave_decoding
from mist_dse.sim.flow import fire, free_kv, leave, mark, release_ready, touch
from mist_dse.sim.jit import jit
from mist_dse.sim.lists import is_empty, unlink
from mist_dse.sim.span import cut_span
from mist_dse.sim.state import DECODING, ENDED, LEASING, QUEUED, RUNNING, SERVED, WAITING, State
from mist_dse.sim.station import abandon_station


@jit
def lane_of(s: State, g: int) -> int:
    """The lane that steps group ``g``."""
    pool = s.pool[s.rank[s.group[g].rank].pool]
    local = g - pool.first_group
    return int(pool.first_lane + local // (pool.ranks * pool.lanes) * pool.lanes + local % pool.lanes)


@jit
def take_out(s: State, v: int, now: float) -> None:
    """``v`` leaves RUNNING between two steps of its lane."""
    visit = s.visit[v]
    g = visit.group
    rank = s.rank[visit.rank]
    if visit.state == DECODING:
        leave_decoding(s, g, v, s.pool[rank.pool].block_size)
    else:
        unlink(s, s.clock[0].parts + v)
    unlink(s, v)
    rank.running -= 1
    free_kv(s, v, now)
    leave(s, v, now)


@jit
def _stop(s: State, v: int, now: float) -> None:
    """`v`` is RUNNING: it leaves when the step in flight ends, or at once; in a static batch with its own last token."""
    visit = s.visit[v]
    g = visit.group
    lane = lane_of(s, g)
    row = s.lane[lane]
    visit.doomed = 1
    if s.pool[s.rank[visit.rank].pool].policy == STATIC:
        return
    if row.slot >= 0:
        s.group[g].doomed += 1
        cut_span(s, lane, g, now)
        return
    if row.anchored:
        s.replica[row.replica].busy += now - row.anchor
        row.anchored = 0
    take_out(s, v, now)
    mark(s, row.replica)


@jit
def _cancel(s: State, v: int, now: float) -> None:
    visit = s.visit[v]
    if visit.state == ENDED or visit.doomed:
        return
    if visit.state == RUNNING or visit.state == DECODING:
        _stop(s, v, now)
        return
    if visit.state == WAITING:
        s.rank[visit.rank].stalled -= 1 if visit.held > 0 else 0
        unlink(s, v)
    elif visit.state == LEASING:
        unlink(s, v)
        touch(s, s.visit[visit.lease].rank, now)
    elif visit.state == QUEUED:
        unlink(s, v)
    elif visit.state == SERVED:
        started = abandon_station(s, visit.server - s.clock[0].engines, v, now)
        if started >= 0:
            fire(s, started, ON_START, now)
    free_kv(s, v, now)
    leave(s, v, now)


@jit
def follow_up(s: State, now: float) -> None:
    """After an event: carry out the cancellations that it fired, then release what it made ready."""
    which = s.clock[0].cancelling
    while not is_empty(s, which):
        v = s.link[which].next
        unlink(s, v)
        for e in range(s.visit[v].edges, s.visit[v].edges_end):
            if s.edge[e].on == CANCEL:
                _cancel(s, s.edge[e].to, now)
    release_ready(s, now)


@jit
def take_out_doomed(s: State, g: int, now: float) -> None:
    """The step of group ``g`` has ended: visits that were cancelled during it leave."""
    group = s.group[g]
    v = s.link[group.running].next
    while group.doomed > 0:
        after = s.link[v].next
        if s.visit[v].doomed:
            group.doomed -= 1
            take_out(s, v, now)
        v = after
