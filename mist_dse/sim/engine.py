"""Engines: start a step (or a span of decode steps) on an idle lane, and carry out what a step that ends has done."""

import math

from mist_dse.rows import STATIC
from mist_dse.sim.batch import formed
from mist_dse.sim.blocks import give_blocks_back
from mist_dse.sim.cancel import leave_group
from mist_dse.sim.cost import decode_time, mixed_time, shared_time
from mist_dse.sim.decoding import (
    await_message,
    forget_message,
    heap_add,
    heap_remove,
    join_decoding,
    known_tokens,
    leave_decoding,
)
from mist_dse.sim.flow import finish_visit, look, mark, set_timer
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lanes import schedule_lane, unschedule_lane
from mist_dse.sim.lists import is_empty, unlink
from mist_dse.sim.span import grow_span, start_span
from mist_dse.sim.state import DECODING, ENDED, ENDLESS, GHOST, LEAVING, State
from mist_dse.sim.waits import postponed


@folded
def _group(s: State, lane: int, d: int) -> int:
    """The group of rank ``d`` in a lane."""
    p = s.replica[s.lane[lane].replica].pool
    pool = s.pool[p]
    local = lane - pool.first_lane
    replica, i = local // pool.lanes, local % pool.lanes
    return int(pool.first_group + (replica * pool.ranks + d) * pool.lanes + i)


@inlined
def _shared_time(s: State, p: int, lane: int) -> float:
    """What the formed steps of all ranks of the lane wait for together."""
    tokens, prompts = 0, 0
    for d in range(s.pool[p].ranks):
        group = s.group[_group(s, lane, d)]
        tokens += group.step_tokens
        prompts += group.step_chunks
    return shared_time(s, p, tokens, prompts)


@inlined
def _step_time(s: State, p: int, g: int, shared: float) -> float:
    """Length of the formed step of one rank beside ``shared`` seconds of all, 0 without work."""
    group = s.group[g]
    sequences = group.step_decodes + group.step_fresh
    if group.step_tokens == 0:
        return 0.0
    if group.step_chunks == 0:
        return decode_time(s, p, sequences, group.step_context, shared)
    prompts = (group.step_tokens, group.step_chunks, group.step_done, group.step_time)
    return mixed_time(s, p, (sequences, group.step_context), prompts, shared)


@inlined
def _observe(s: State, r: int, g: int) -> None:
    """Counters and peaks of the formed step (decode steps of a span are added when it ends)."""
    replica, group = s.replica[r], s.group[g]
    rank = s.rank[group.rank]
    replica.peak_seqs = max(replica.peak_seqs, rank.running)
    replica.peak_tokens = max(replica.peak_tokens, group.step_tokens)
    replica.peak_blocks = max(replica.peak_blocks, s.pool[rank.pool].blocks - rank.free)
    replica.pairs += group.step_pairs
    replica.tokens += group.step_tokens - group.step_decodes
    replica.contexts += group.step_context - (group.context if group.step_decodes > 0 else 0)


@jit
def lane_started(s: State, lane: int, now: float) -> bool:
    """Form and start the lane's next step; whether there was any work."""
    row = s.lane[lane]
    r = row.replica
    p = s.replica[r].pool
    ranks = s.pool[p].ranks
    s.clock[0].freed, s.clock[0].preempted = 0, 0
    waits, count, most = postponed(s, lane) if s.pool[p].waits else (False, 0, ENDLESS)
    work, length = False, 0.0
    for d in range(ranks):
        work = formed(s, _group(s, lane, d), now, waits) or work
    shared = _shared_time(s, p, lane)
    for d in range(ranks):
        length = max(length, _step_time(s, p, _group(s, lane, d), shared))
    if s.clock[0].freed:
        mark(s, r)
    steady = work and s.pool[p].lanes == 1 and s.replica[r].device_no < 0
    for d in range(ranks):
        group = s.group[_group(s, lane, d)]
        steady = steady and group.step_chunks == 0 and group.step_fresh == 0
    if row.anchored and (not steady or s.clock[0].preempted):
        s.replica[r].busy += now - row.anchor
        row.anchored = 0
    if not work:
        return False
    s.replica[r].postponed, row.waits = count, waits
    for d in range(ranks):
        _observe(s, r, _group(s, lane, d))
    if steady:
        start_span(s, lane, now, most)
        return True
    row.start, row.spanning, row.steps = now, 0, 1
    schedule_lane(s, lane, now + length)
    s.replica[r].entrance = now + length * s.pool[p].stage_share
    if s.pool[p].lanes > 1 and s.replica[r].entrance > now:
        set_timer(s, s.replica[r].entrance, -r - 1)
    return True


@inlined
def start_steps(s: State, r: int, now: float) -> None:
    """Start a step on the lane of replica ``r`` that has been idle longest, if the entrance is free and there is work; then on the
    next one, where a step takes no time to enter."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    if pool.receive_interval > 1:
        look(s, r)
    first = pool.first_lane + (r - pool.first_replica) * pool.lanes
    if pool.lanes == 1:
        if s.lane[first].slot < 0:
            lane_started(s, first, now)
        return
    if replica.entrance > now:
        return
    after, last = -math.inf, -1
    while True:
        best = -1
        for lane in range(first, first + pool.lanes):
            later = s.lane[lane].idle > after or (s.lane[lane].idle == after and lane > last)
            if s.lane[lane].slot < 0 and later and (best < 0 or s.lane[lane].idle < s.lane[best].idle):
                best = lane
        if best < 0 or (lane_started(s, best, now) and replica.entrance > now):
            return
        after, last = s.lane[best].idle, best


@inlined
def _emit(s: State, g: int, v: int, now: float) -> None:
    """The step has computed all that ``v`` knows: it emits a token and decodes from now on (or ends at once)."""
    visit, group = s.visit[v], s.group[g]
    pool = s.pool[s.rank[group.rank].pool]
    unlink(s, s.clock[0].parts + v)
    visit.emitted += 1
    visit.fresh = 0
    request = s.request[visit.request]
    awaited = visit.answers == 1 and math.isnan(request.first_token)
    if awaited and visit.emitted >= min(pool.stream_interval, visit.emit):
        request.first_token, awaited = now, False
    if pool.policy != STATIC:
        join_decoding(s, g, v)
    else:
        visit.state, visit.join = DECODING, group.count
        visit.finish = group.count + visit.emit - visit.emitted
        group.decodes += 1
        group.context += known_tokens(s, v)
        heap_add(s, g, v)
    if awaited:
        await_message(s, g, v)


@inlined
def _send_messages(s: State, g: int, now: float) -> None:
    """First messages that are full by now reach the user."""
    group = s.group[g]
    while group.due <= group.count:
        v = s.link[group.dues].next - s.clock[0].dues
        request = s.request[s.visit[v].request]
        if s.visit[v].answers == 1 and math.isnan(request.first_token):
            request.first_token = now
        forget_message(s, g, v)


@inlined
def _end_visit(s: State, g: int, v: int, now: float) -> None:
    """All tokens of ``v`` are out."""
    visit, group = s.visit[v], s.group[g]
    rank = s.rank[group.rank]
    unlink(s, v)
    if s.pool[rank.pool].policy == STATIC:
        heap_remove(s, g, v)
        visit.emitted = visit.emit
        if visit.keep == 0:
            group.batch_blocks += visit.held
            visit.held = 0
        if visit.gone == GHOST:
            visit.state = ENDED
            return
    else:
        leave_decoding(s, g, v)
        rank.running -= 1
        if visit.keep == 0:
            give_blocks_back(s, v)
    finish_visit(s, v, now)


@inlined
def _end_cancelled(s: State, lane: int, g: int, now: float) -> None:
    """Cancelled visits leave before anything else comes of the step."""
    sentinel = s.group[g].running
    v = s.link[sentinel].next
    while v != sentinel:
        after = s.link[v].next
        if s.visit[v].gone == LEAVING:
            leave_group(s, lane, v, now)
        v = after
    s.group[g].leaving = 0


@inlined
def _end_batch(s: State, g: int) -> None:
    """The longest member of a static batch has ended: its slots and blocks are free."""
    group = s.group[g]
    rank = s.rank[group.rank]
    rank.running -= group.members
    rank.free += group.batch_blocks
    group.members, group.batch_blocks, group.decodes, group.context = 0, 0, 0, 0


@inlined
def _end_group(s: State, lane: int, g: int, steps: int, now: float) -> bool:
    """What ``steps`` steps of one rank have done; whether the decoding batch has changed."""
    group = s.group[g]
    changed = False
    if group.step_decodes > 0:
        group.count += steps
        group.context += group.decodes * steps
    if group.leaving > 0:
        _end_cancelled(s, lane, g, now)
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        node = s.link[node].next
        visit = s.visit[v]
        if visit.chunk > 0:
            changed = True
            visit.computed += visit.chunk
            visit.chunk = 0
            if visit.computed == known_tokens(s, v):
                _emit(s, g, v, now)
    if group.due <= group.count:
        _send_messages(s, g, now)
    while group.ending > 0 and s.visit[s.whole[s.group[g].finish_at]].finish <= group.count:
        changed = True
        _end_visit(s, g, s.whole[s.group[g].finish_at], now)
    if group.members > 0 and group.ending == 0 and is_empty(s, group.partial):
        _end_batch(s, g)
    return changed


@inlined
def _count_decodes(s: State, r: int, g: int, steps: int) -> None:
    """Tokens and attended context of ``steps`` decode steps that the group is about to be credited with."""
    replica, group = s.replica[r], s.group[g]
    if group.step_decodes > 0:
        replica.tokens += group.step_decodes * steps
        replica.contexts += steps * float(group.context) + 0.5 * group.decodes * steps * (steps - 1.0)


@inlined
def _log(s: State, lane: int, now: float) -> None:
    """The lane's step or span into the log of steps, if there is room."""
    k = s.clock[0].logged
    s.clock[0].logged = k + 1
    if k >= s.clock[0].room:
        return
    row, at = s.lane[lane], s.clock[0].log_at + 7 * k
    pool = s.pool[s.replica[row.replica].pool]
    s.table[at], s.table[at + 1], s.table[at + 2] = row.replica, (lane - pool.first_lane) % pool.lanes, row.start
    s.table[at + 3], s.table[at + 4] = now, row.steps
    for d in range(pool.ranks):
        group = s.group[_group(s, lane, d)]
        decodes = group.step_decodes + group.step_fresh
        s.table[at + 5] += decodes
        s.table[at + 6] += group.step_tokens - decodes


@jit
def end_step(s: State, lane: int, now: float) -> None:
    """The lane's step or span ends now."""
    row = s.lane[lane]
    r = row.replica
    p = s.replica[r].pool
    steps = row.steps
    s.replica[r].steps += steps
    _log(s, lane, now)
    if row.spanning:
        grow_span(s, lane, steps)
        row.taken += steps
    else:
        s.replica[r].busy += now - row.start
    row.spanning = 0
    row.idle = now
    unschedule_lane(s, lane)
    changed, prompts = False, 0
    for d in range(s.pool[p].ranks):
        g = _group(s, lane, d)
        prompts += s.group[g].step_chunks
        _count_decodes(s, r, g, steps)
        changed = _end_group(s, lane, g, steps, now) or changed
    if row.anchored and changed:
        s.replica[r].busy += now - row.anchor
        row.anchored = 0
    if row.waits:
        s.replica[r].postponed += steps - 1
    interval = s.pool[p].receive_interval
    if interval > 1:
        since = s.replica[r].since + steps
        if steps > 1:  # a span skips looks that find nothing
            since = (since - 1) % interval + 1
        s.replica[r].since = since + interval if prompts > 0 else since
    mark(s, r)
