"""The calendar of engine steps: an indexed binary heap of active lanes by (end of step, lane), so that an end can move.

``lane.slot`` is the lane's place in ``state.calendar``, -1 when it is idle; ``clock.lanes`` is the number of active lanes.
"""

from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.state import State


@folded
def _earlier(s: State, a: int, b: int) -> bool:
    return bool(s.lane[a].end < s.lane[b].end or (s.lane[a].end == s.lane[b].end and a < b))


@folded
def _put(s: State, slot: int, lane: int) -> None:
    s.whole[s.clock[0].lanes_at + slot] = lane
    s.lane[lane].slot = slot


@jit
def _sift(s: State, slot: int) -> None:
    """Move the lane in ``slot`` to where its end belongs."""
    lane = s.whole[s.clock[0].lanes_at + slot]
    while slot > 0:
        parent = (slot - 1) // 2
        if not _earlier(s, lane, s.whole[s.clock[0].lanes_at + parent]):
            break
        _put(s, slot, s.whole[s.clock[0].lanes_at + parent])
        slot = parent
    size = s.clock[0].lanes
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size and _earlier(s, s.whole[s.clock[0].lanes_at + child + 1], s.whole[s.clock[0].lanes_at + child]):
            child += 1
        if not _earlier(s, s.whole[s.clock[0].lanes_at + child], lane):
            break
        _put(s, slot, s.whole[s.clock[0].lanes_at + child])
        slot = child
    _put(s, slot, lane)


@folded
def schedule_lane(s: State, lane: int, end: float) -> None:
    """The lane's step (or span of steps) now ends at ``end``."""
    s.lane[lane].end = end
    slot = s.lane[lane].slot
    if slot < 0:
        slot = s.clock[0].lanes
        s.clock[0].lanes += 1
        _put(s, slot, lane)
    _sift(s, slot)


@inlined
def unschedule_lane(s: State, lane: int) -> None:
    """The lane is idle."""
    slot = s.lane[lane].slot
    s.lane[lane].slot = -1
    s.clock[0].lanes -= 1
    size = s.clock[0].lanes
    if slot < size:
        _put(s, slot, s.whole[s.clock[0].lanes_at + size])
        _sift(s, slot)


@folded
def lane_of(s: State, g: int) -> int:
    """The lane that steps group ``g``."""
    pool = s.pool[s.rank[s.group[g].rank].pool]
    local = g - pool.first_group
    return int(pool.first_lane + local // (pool.ranks * pool.lanes) * pool.lanes + local % pool.lanes)
