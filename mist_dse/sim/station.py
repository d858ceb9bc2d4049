"""Rate-shared stations: c servers, infinite servers, FIFO and processor-sharing links are one mechanism.

Every active job gets min(cap, rate/active) work per second, so all jobs attain work at one pace: a job that starts when the
station has attained A leaves when it has attained A + work, and a heap of those values is the calendar. Stations that draw from one
rate together (``station.shared``) change their paces together: whenever a job of one of them starts or leaves.
"""

import math

from mist_dse.sim.heap import heap_pop, heap_push
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lists import insert_before, is_empty, unlink
from mist_dse.sim.state import ENDED, PASSING, QUEUED, SERVED, State


@folded
def _pace(s: State, k: int) -> float:
    station = s.station[k]
    return float(min(station.cap, station.rate / station.active))


@jit
def _advance_together(s: State, k: int, now: float) -> None:
    """All stations that share a rate with ``k`` have worked until now at the paces of their last plan."""
    for m in range(len(s.station)):
        station = s.station[m]
        if station.shared == s.station[k].shared:
            if station.active > 0:
                station.attained += (now - station.last) * station.pace
            station.last = now


@folded
def _advance(s: State, k: int, now: float) -> None:
    station = s.station[k]
    if station.shared >= 0:
        _advance_together(s, k, now)
        return
    if station.active > 0:
        station.attained += (now - station.last) * _pace(s, k)
    station.last = now


@inlined
def _fair_level(s: State, shared: int, rate: float) -> float:
    """The most that a job of the stations that share ``rate`` may get: those that ask for less leave the rest to the others."""
    level = 0.0
    while True:
        left, jobs = rate, 0
        for m in range(len(s.station)):
            station = s.station[m]
            if station.shared == shared and station.active > 0:
                if _pace(s, m) <= level:
                    left -= station.active * _pace(s, m)
                else:
                    jobs += station.active
        if jobs == 0:
            return math.inf
        if left / jobs <= level:
            return level
        level = left / jobs


@folded
def _forget_gone(s: State, k: int) -> None:
    """Jobs that have been cancelled do not come first in the calendar."""
    station = s.station[k]
    while station.heaped > 0 and s.visit[s.entry[station.heap_at].what].state == ENDED:
        station.heaped = heap_pop(s, station.heap_at, station.heaped)


@jit
def _plan_together(s: State, k: int, now: float) -> None:
    """New paces, and next ends, of all stations that share a rate with ``k``."""
    shared = s.station[k].shared
    level = _fair_level(s, shared, s.station[k].together)
    for m in range(len(s.station)):
        station = s.station[m]
        if station.shared == shared:
            station.next = math.inf
            _forget_gone(s, m)
            if station.active > 0:
                station.pace = min(_pace(s, m), level)
                station.next = now + max(s.entry[station.heap_at].key - station.attained, 0.0) / station.pace


@jit
def _plan(s: State, k: int, now: float) -> None:
    station = s.station[k]
    if station.shared >= 0:
        _plan_together(s, k, now)
        return
    station.next = math.inf
    _forget_gone(s, k)
    if station.active > 0:
        station.next = now + max(s.entry[station.heap_at].key - station.attained, 0.0) / _pace(s, k)


@jit
def _serve(s: State, k: int, v: int, now: float) -> None:
    station = s.station[k]
    s.visit[v].state = SERVED
    s.visit[v].start = now
    entry = (station.attained + s.visit[v].work, v, station.started)
    station.started += 1
    station.heaped = heap_push(s, station.heap_at, station.heaped, entry)
    station.active += 1


@inlined
def enter_station(s: State, k: int, v: int, now: float) -> bool:
    """``v`` arrives; whether its service starts at once."""
    station = s.station[k]
    if station.active >= station.slots:
        s.visit[v].state = QUEUED
        insert_before(s, station.queue, v)
        return False
    _advance(s, k, now)
    _serve(s, k, v, now)
    _plan(s, k, now)
    return True


@jit
def _successor(s: State, k: int, now: float) -> int:
    """Start the first of the queue in the place of a job that has left; which one, -1 if none waits."""
    station = s.station[k]
    v = -1
    if not is_empty(s, station.queue):
        v = s.link[station.queue].next
        unlink(s, v)
        _serve(s, k, v, now)
    _plan(s, k, now)
    return v


@inlined
def leave_station(s: State, k: int, now: float) -> tuple[int, int]:
    """The job that is done at ``now``, and the queued one that takes its place (-1: none)."""
    station = s.station[k]
    _advance(s, k, now)
    at = station.heap_at
    station.attained = max(station.attained, s.entry[at].key)
    done = s.entry[at].what
    station.done += s.visit[done].work
    station.heaped = heap_pop(s, at, station.heaped)
    station.active -= 1
    s.visit[done].state = PASSING
    return done, _successor(s, k, now)


@inlined
def quit_station(s: State, k: int, v: int, now: float) -> int:
    """``v`` in service, cancelled by now, is gone; the queued one that takes its place (-1: none)."""
    _advance(s, k, now)
    station = s.station[k]
    for i in range(station.heap_at, station.heap_at + station.heaped):
        if s.entry[i].what == v:
            station.done += s.visit[v].work - (s.entry[i].key - station.attained)
    station.active -= 1
    return _successor(s, k, now)
