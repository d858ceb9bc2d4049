"""Devices that engine replicas and batchers share: one step or batch at a time, in turn.

`docs/semantics.md`, Devices. A device is three whole numbers at ``clock.devices_at``: where its sharers begin (replicas, then
batchers counted on from them), how many they are, and which of them had it last.
"""

from mist_dse.rows import ON_START
from mist_dse.sim.batcher import batch_due, start_batch
from mist_dse.sim.engine import lane_started
from mist_dse.sim.flow import fire, look, release_ready
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.state import State


@jit
def batch_started(s: State, b: int, now: float) -> bool:
    """Start a batch if one is due; whether it was."""
    if not batch_due(s, b, now):
        return False
    sentinel = start_batch(s, b, now)
    v = s.link[sentinel].next
    while v != sentinel:
        fire(s, v, ON_START, now)
        v = s.link[v].next
    return True


@jit
def offer_devices(s: State, changed: int, now: float) -> None:
    """The devices of the first ``changed`` of the replicas that are settled, of those that change meanwhile, and of all batchers are
    offered to their sharers, in ascending order.
    """
    e = _following(s, changed, -1)
    while e < s.clock[0].devices:
        if not _is_taken(s, e):
            _offer(s, e, now)
            release_ready(s, now)
        e = _following(s, changed, e)


@jit
def _following(s: State, changed: int, e: int) -> int:
    """The first device after ``e`` that is to be offered, their number if none is."""
    clock = s.clock[0]
    best = clock.devices
    for i in range(changed):
        best = _earlier(e, s.replica[s.whole[clock.settling_at + i]].device_no, best)
    for i in range(clock.dirty):
        best = _earlier(e, s.replica[s.whole[clock.dirty_at + i]].device_no, best)
    for b in range(len(s.batcher)):
        best = _earlier(e, s.batcher[b].device_no, best)
    return int(best)


@folded
def _earlier(after: int, device: int, best: int) -> int:
    return device if after < device < best else best


@inlined
def _is_taken(s: State, e: int) -> bool:
    """Whether a step or batch runs on device ``e``."""
    first, count = s.whole[s.clock[0].devices_at + 3 * e], s.whole[s.clock[0].devices_at + 3 * e + 1]
    for j in range(first, first + count):
        b = s.whole[j] - len(s.replica)
        if b >= 0 and s.batcher[b].busy_workers > 0:
            return True
        if b < 0 and s.lane[_lane(s, s.whole[j])].slot >= 0:
            return True
    return False


@inlined
def _offer(s: State, e: int, now: float) -> None:
    """The first sharer of device ``e`` that can start has it, in cyclic order after the one that had it last."""
    at = s.clock[0].devices_at + 3 * e
    first, count, last = s.whole[at], s.whole[at + 1], s.whole[at + 2]
    for i in range(1, count + 1):
        j = (last + i) % count
        if _started(s, s.whole[first + j], now):
            s.whole[at + 2] = j
            return


@inlined
def _started(s: State, sharer: int, now: float) -> bool:
    if sharer >= len(s.replica):
        return batch_started(s, sharer - len(s.replica), now)
    if s.pool[s.replica[sharer].pool].receive_interval > 1:
        look(s, sharer)
    return lane_started(s, _lane(s, sharer), now)


@jit
def _lane(s: State, r: int) -> int:
    """The one lane of replica ``r``."""
    pool = s.pool[s.replica[r].pool]
    return int(pool.first_lane + r - pool.first_replica)
