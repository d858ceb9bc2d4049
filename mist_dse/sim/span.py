"""Spans: many pure decode steps taken as one event while nothing can change.

A span's boundaries are ``lane.anchor + decode_span(k)``; the anchor stays while the batch stays, so that cutting a span short (or
taking its steps one by one) leaves every boundary where it was. Only an engine with one rank and one lane spans.
"""

from mist_dse.sim.cost import decode_span
from mist_dse.sim.decoding import growth, steps_within
from mist_dse.sim.jit import jit
from mist_dse.sim.lanes import schedule_lane
from mist_dse.sim.lists import is_empty
from mist_dse.sim.state import State


@jit
def boundary(s: State, lane: int, g: int, steps: int) -> float:
    """The end of the ``steps``-th step after the anchor."""
    p = s.replica[s.lane[lane].replica].pool
    return float(s.lane[lane].anchor + decode_span(s, p, s.group[g].decodes, s.lane[lane].context, steps))


@jit
def start_span(s: State, lane: int, g: int, now: float, most: int) -> None:
    """Start as many decode steps as nothing planned interrupts, at most ``most``; the first one's blocks are taken already.

    Where forming this step has freed blocks, the next one may admit: then it is one step.
    """
    row, group = s.lane[lane], s.group[g]
    pool = s.pool[s.replica[row.replica].pool]
    if row.anchored == 0:
        row.anchor, row.anchored, row.taken, row.context = now, 1, 0, group.context
    steps = min(s.visit[s.finish[g, 0]].finish - group.count, group.due - group.count, most)
    if pool.receive_interval > 1 and not is_empty(s, s.rank[group.rank].inbox):
        steps = min(steps, pool.receive_interval - s.replica[row.replica].since)
    if s.clock[0].skip == 0 or s.clock[0].freed:
        steps = 1
    elif pool.grows:
        steps = 1 + steps_within(s, g, group.count + 1, steps - 1, pool.block_size)
    row.spanning, row.steps, group.grown = 1, steps, 1
    row.start = now
    schedule_lane(s, lane, boundary(s, lane, g, row.taken + steps))


@jit
def grow_span(s: State, lane: int, g: int, steps: int) -> None:
    """Take the blocks of the first ``steps`` steps of the span that have not taken theirs."""
    row, group = s.lane[lane], s.group[g]
    pool = s.pool[s.replica[row.replica].pool]
    if pool.grows and steps > group.grown:
        rank, replica = s.rank[group.rank], s.replica[row.replica]
        rank.free -= growth(s, g, group.count + group.grown, steps - group.grown, pool.block_size)
        replica.peak_blocks = max(replica.peak_blocks, pool.blocks - rank.free)
        group.grown = steps


@jit
def _started(s: State, lane: int, g: int, now: float) -> int:
    """Steps of the span that have started before ``now``: those up to the first boundary that is not before it."""
    row = s.lane[lane]
    low, high = 1, row.steps
    while low < high:
        middle = (low + high) // 2
        if boundary(s, lane, g, row.taken + middle) >= now:
            high = middle
        else:
            low = middle + 1
    return int(low)


@jit
def sync_span(s: State, lane: int, g: int, now: float) -> None:
    """Take the blocks of the steps that have started before ``now``: the rank's free blocks are about to change."""
    if s.lane[lane].spanning:
        grow_span(s, lane, g, _started(s, lane, g, now))


@jit
def cut_span(s: State, lane: int, g: int, now: float, every: int) -> None:
    """End the span at its first boundary that is not before ``now``: something may change there.

    ``every`` > 1: only where the steps since the replica looked are a multiple of it.
    """
    row = s.lane[lane]
    if row.spanning == 0:
        return
    steps = last = _started(s, lane, g, now)
    if every > 1:
        last += (every - (s.replica[row.replica].since + steps) % every) % every
    if last < row.steps:
        row.steps = last
        schedule_lane(s, lane, boundary(s, lane, g, row.taken + last))
    grow_span(s, lane, g, steps)
