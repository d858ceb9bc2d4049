"""Spans: many pure decode steps taken as one event while nothing can change.

A span's boundaries are ``lane.anchor`` + the closed form of so many steps; the anchor stays while the batch stays, so that cutting a
span short (or taking its steps one by one) leaves every boundary where it was. Engines with one lane span, all ranks together.

What comes at the instant of a boundary finds the next step started if its replica has been settled at this instant (``clock.passed``):
so it would be if the boundary were an event.
"""

from mist_dse.sim.blocks import take_blocks
from mist_dse.sim.cost import decode_span, joint_span
from mist_dse.sim.decoding import growth, needy, steps_within
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lanes import schedule_lane
from mist_dse.sim.lists import is_empty
from mist_dse.sim.state import TICK, State


@folded
def first_group(s: State, lane: int) -> int:
    """The group of the first rank of an engine with one lane; those of the other ranks follow it."""
    pool = s.pool[s.replica[s.lane[lane].replica].pool]
    return int(pool.first_group + (lane - pool.first_lane) * pool.ranks)


@jit
def boundary(s: State, lane: int, steps: int) -> float:
    """The end of the ``steps``-th step after the anchor."""
    p = s.replica[s.lane[lane].replica].pool
    g = first_group(s, lane)
    if s.pool[p].ranks == 1:
        return float(s.lane[lane].anchor + decode_span(s, p, s.group[g].decodes, s.group[g].anchor_context, steps))
    return float(s.lane[lane].anchor + joint_span(s, p, g, steps))


@inlined
def _free_steps(s: State, lane: int, g: int, most: int) -> int:
    """How many steps, at most ``most``, group ``g`` of a span can take before it ends, sends, or lacks a block."""
    group = s.group[g]
    pool = s.pool[s.replica[s.lane[lane].replica].pool]
    if pool.receive_interval > 1 and not is_empty(s, s.rank[group.rank].inbox):
        most = min(most, pool.receive_interval - s.replica[s.lane[lane].replica].since)
    if group.decodes == 0:
        return most
    most = min(s.visit[s.whole[group.finish_at]].finish - group.count, group.due - group.count, most)
    if pool.grows and pool.caching and not is_empty(s, s.rank[group.rank].waiting):
        most = _steps_in_place(s, g, most, pool.block_size)
    return 1 + steps_within(s, g, group.count + 1, most - 1, pool.block_size) if pool.grows else most


@jit
def _steps_in_place(s: State, g: int, most: int, block_size: int) -> int:
    """How many steps, at most ``most``, take no block after the first: one that is taken may lose a name, and a waiting visit that
    finds less begins with less.
    """
    steps = 1
    while steps < most and needy(s, g, s.group[g].count + steps, block_size) == 0:
        steps += 1
    return steps


@inlined
def start_span(s: State, lane: int, now: float, most: int) -> None:
    """Start as many decode steps as nothing planned interrupts, at most ``most``; the first one's blocks are taken already.

    Where forming this step has freed blocks, the next one may admit: then it is one step.
    """
    row, first = s.lane[lane], first_group(s, lane)
    ranks = s.pool[s.replica[row.replica].pool].ranks
    anew = row.anchored == 0
    if anew:
        row.anchor, row.anchored, row.taken = now, 1, 0
    steps = 1 if s.clock[0].skip == 0 or s.clock[0].freed else most
    for g in range(first, first + ranks):
        if anew:
            s.group[g].anchor_context = s.group[g].context
        s.group[g].grown = 1
        if steps > 1:
            steps = _free_steps(s, lane, g, steps)
    end = boundary(s, lane, row.taken + steps)
    if steps > 1 and s.pool[s.replica[row.replica].pool].least <= TICK * end:
        steps, end = 1, boundary(s, lane, row.taken + 1)
    row.spanning, row.steps, row.start = 1, steps, now
    schedule_lane(s, lane, end)


@jit
def grow_span(s: State, lane: int, steps: int) -> None:
    """Take the blocks of the first ``steps`` steps of the span that have not taken theirs."""
    replica, first = s.replica[s.lane[lane].replica], first_group(s, lane)
    pool = s.pool[replica.pool]
    if pool.grows == 0:
        return
    for g in range(first, first + pool.ranks):
        group = s.group[g]
        if steps > group.grown and group.decodes > 0:
            take_blocks(s, group.rank, growth(s, g, group.count + group.grown, steps - group.grown, pool.block_size))
            replica.peak_blocks = max(replica.peak_blocks, pool.blocks - s.rank[group.rank].free)
            group.grown = steps


@jit
def _started(s: State, lane: int, now: float) -> int:
    """Steps of the span that have started: those up to the first boundary that is not before ``now`` (after it, if its replica has
    been settled at this instant)."""
    row = s.lane[lane]
    settled = row.replica < s.clock[0].passed
    low, high = 1, row.steps
    while low < high:
        middle = (low + high) // 2
        end = boundary(s, lane, row.taken + middle)
        if end > now or (end == now and not settled):
            high = middle
        else:
            low = middle + 1
    return int(low)


@jit
def sync_rank(s: State, q: int, now: float) -> None:
    """Take the blocks of the steps of rank ``q`` that have started: its free blocks are about to be read or changed."""
    rank = s.rank[q]
    pool = s.pool[rank.pool]
    lane = pool.first_lane + rank.replica - pool.first_replica
    if pool.lanes == 1 and s.lane[lane].spanning:
        grow_span(s, lane, _started(s, lane, now))


@folded
def cut_span(s: State, lane: int, now: float, every: int) -> None:
    """End the span with the step that it is at: something may change there.

    ``every`` > 1: only where the steps since the replica looked are a multiple of it.
    """
    if s.lane[lane].spanning:
        _cut(s, lane, now, every)


@jit
def _cut(s: State, lane: int, now: float, every: int) -> None:
    row = s.lane[lane]
    steps = last = _started(s, lane, now)
    if every > 1:
        last += (every - (s.replica[row.replica].since + steps) % every) % every
    if last < row.steps:
        row.steps = last
        schedule_lane(s, lane, boundary(s, lane, row.taken + last))
        s.clock[0].struck |= row.end <= now
    grow_span(s, lane, steps)
