"""The life of visits between servers: arrival, release, leases, end; and which replicas have something to do.

`docs/semantics.md`, Entry and Release.
"""

import math

from mist_dse.rows import CANCEL, CHUNKED, COMPLETED, MOST_STREAMING, ON_END, ON_START, PREFILL_FIRST, REJECTED, STATIC
from mist_dse.sim.batcher import join_batcher
from mist_dse.sim.blocks import blocks_for, give_blocks_back, take_blocks
from mist_dse.sim.cost import decode_time, shared_time
from mist_dse.sim.heap import heap_push
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lists import insert_before, is_empty, unlink
from mist_dse.sim.packing import enqueue
from mist_dse.sim.router import placed_rank
from mist_dse.sim.span import cut_span, sync_rank
from mist_dse.sim.state import ENDED, GHOST, GONE, INBOX, INTAKE, LEASING, NEW, PRESENT, READY, State
from mist_dse.sim.station import enter_station


@folded
def set_timer(s: State, when: float, item: int) -> None:
    """At ``when``: visit ``item`` moves on, or (negative) replica -item - 1 looks again."""
    clock = s.clock[0]
    clock.timers = heap_push(s, clock.timers_at, clock.timers, (when, item, clock.created))
    clock.created += 1


@folded
def mark(s: State, r: int) -> None:
    """Replica ``r`` may have something to start: settle it before time goes on."""
    if s.replica[r].dirty == 0:
        s.replica[r].dirty = 1
        s.whole[s.clock[0].dirty_at + s.clock[0].dirty] = r
        s.clock[0].dirty += 1


@jit
def touch(s: State, q: int, now: float) -> None:
    """Something changed at rank ``q``: settle its replica, and let a span that it may interrupt end at its next boundary."""
    r = s.rank[q].replica
    mark(s, r)
    pool = s.pool[s.replica[r].pool]
    if pool.lanes == 1:
        wanted = not is_empty(s, s.rank[q].waiting) and s.rank[q].running < pool.max_num_seqs
        lane = pool.first_lane + r - pool.first_replica
        admits = wanted and (pool.policy != STATIC or s.rank[q].running == 0)
        if admits or not is_empty(s, s.rank[q].leasing) or s.lane[lane].waits:  # what waited may be gone
            cut_span(s, lane, now, 1)


@jit
def free_kv(s: State, v: int, now: float) -> None:
    """``v`` need not keep its KV any more: if it has ended, its blocks are free, those of a static batch with the batch."""
    visit = s.visit[v]
    visit.keep = 0
    if visit.rank < 0 or visit.held == 0 or visit.state != ENDED:
        return
    group = s.group[visit.group]
    if visit.group >= 0 and group.members > 0 and visit.order >= group.batch_from:
        group.batch_blocks += visit.held
        visit.held = 0
        return
    sync_rank(s, visit.rank, now)
    give_blocks_back(s, v)
    touch(s, visit.rank, now)


@jit
def join_waiting(s: State, v: int, now: float) -> None:
    """``v`` takes its place in its rank's WAITING queue."""
    visit = s.visit[v]
    if visit.held > 0:
        s.rank[visit.rank].stalled += 1
    enqueue(s, v, False)
    touch(s, visit.rank, now)


@jit
def come_in(s: State, v: int, now: float) -> None:
    """``v`` has left the front end: it joins WAITING, or INBOX until the replica looks."""
    q = s.visit[v].rank
    r = s.rank[q].replica
    pool = s.pool[s.replica[r].pool]
    if pool.receive_interval == 1:
        join_waiting(s, v, now)
        return
    s.visit[v].state = INBOX
    insert_before(s, s.rank[q].inbox, v)
    mark(s, r)
    if pool.lanes == 1:
        cut_span(s, pool.first_lane + r - pool.first_replica, now, pool.receive_interval)


@jit
def look(s: State, r: int) -> None:
    """Replica ``r`` looks at what has come in, if nothing runs on it or its time has come."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    first = pool.first_rank + (r - pool.first_replica) * pool.ranks
    running = 0
    for q in range(first, first + pool.ranks):
        running += s.rank[q].running
    if running > 0 and replica.since < pool.receive_interval:
        return
    replica.since = 0
    for q in range(first, first + pool.ranks):
        while not is_empty(s, s.rank[q].inbox):
            v = s.link[s.rank[q].inbox].next
            unlink(s, v)
            enqueue(s, v, False)


@inlined
def _intake_time(s: State, r: int, prompt: int) -> float:
    """Seconds in which the front end takes a prompt in, beside the output tokens that it streams meanwhile."""
    p = s.replica[r].pool
    pool = s.pool[p]
    alone = pool.front_end + pool.front_end_token * prompt
    if pool.front_end_output == 0.0 or pool.policy == STATIC:
        return float(alone)
    total, most = 0, 0
    for d in range(pool.ranks):
        mine = 0
        first = pool.first_group + ((r - pool.first_replica) * pool.ranks + d) * pool.lanes
        for g in range(first, first + pool.lanes):
            mine += s.group[g].decodes
        total, most = total + mine, max(most, mine)
    if total == 0:
        return float(alone)
    length = decode_time(s, p, most, most * prompt, shared_time(s, p, total, 0))
    streaming = min(pool.front_end_output * total / length, MOST_STREAMING) if length > 0.0 else MOST_STREAMING
    return float(alone / (1.0 - streaming))


@inlined
def _enter_pool(s: State, v: int, now: float) -> None:
    visit = s.visit[v]
    if visit.rank >= 0:
        join_waiting(s, v, now)
        return
    q = placed_rank(s, v, now)
    pool = s.pool[visit.server]
    if pool.front_end == 0.0 and pool.front_end_token == 0.0 and pool.client == 0.0:
        come_in(s, v, now)
        return
    replica = s.replica[s.rank[q].replica]
    replica.intake = max(now, replica.intake) + _intake_time(s, s.rank[q].replica, visit.prompt)
    visit.state = INTAKE
    set_timer(s, replica.intake + pool.client, v)


@jit
def join_server(s: State, v: int, now: float) -> None:
    """``v`` joins its station or batcher."""
    server = s.visit[v].server
    if server >= s.clock[0].batchers:
        b = server - s.clock[0].batchers
        join_batcher(s, b, v, now)
        if s.batcher[b].wait > 0.0:
            set_timer(s, s.visit[v].start, v)
    elif enter_station(s, server - s.clock[0].engines, v, now):
        fire(s, v, ON_START, now)


@jit
def release(s: State, v: int, now: float) -> None:
    """``v`` is ready: it goes to its server, or waits for the lease that it needs."""
    visit = s.visit[v]
    if visit.gone != PRESENT:
        return
    visit.ready = now
    if s.clock[0].cancels:
        for e in range(visit.edges, visit.edges_end, 2):
            if s.whole[e + 1] == CANCEL:
                cancel(s, s.whole[e], now)
    if visit.server < s.clock[0].engines:
        _enter_pool(s, v, now)
    elif visit.lease >= 0 and s.visit[visit.lease].gone == PRESENT:
        q = placed_rank(s, visit.lease, now)
        visit.state = LEASING
        insert_before(s, s.rank[q].leasing, v)
        touch(s, q, now)
    else:
        join_server(s, v, now)


@folded
def fire(s: State, v: int, on: int, now: float) -> None:
    """Signal along the edges of ``v`` that fire now; visits that have all their signals are appended to the ready list."""
    if s.visit[v].edges < s.visit[v].edges_end and s.visit[v].gone == PRESENT:
        _fire_edges(s, v, on)


@jit
def _fire_edges(s: State, v: int, on: int) -> None:
    for e in range(s.visit[v].edges, s.visit[v].edges_end, 2):
        if s.whole[e + 1] == on and s.visit[s.whole[e]].need > 0:  # signals beyond those that it needs do nothing
            target = s.whole[e]
            s.visit[target].need -= 1
            if s.visit[target].need == 0 and s.visit[target].gone == PRESENT:
                s.visit[target].state = READY
                insert_before(s, s.clock[0].ready, target)


@folded
def release_ready(s: State, now: float) -> None:
    """Release everything that signals have made ready, in order."""
    if not is_empty(s, s.clock[0].ready):
        _release_all(s, now)


@jit
def _release_all(s: State, now: float) -> None:
    which = s.clock[0].ready
    while not is_empty(s, which):
        v = s.link[which].next
        unlink(s, v)
        release(s, v, now)


@inlined
def grant_leases(s: State, q: int, now: float) -> None:
    """Grant the leases that wait at rank ``q``, first come first served, while they fit."""
    rank = s.rank[q]
    pool = s.pool[rank.pool]
    while not is_empty(s, rank.leasing):
        v = s.link[rank.leasing].next
        holder = s.visit[s.visit[v].lease]
        most = holder.limit - 1 if pool.reserve_output else 0
        blocks = blocks_for(holder.prompt + holder.handed + most, pool.block_size)
        if holder.gone == PRESENT:
            if blocks + pool.watermark > rank.free:
                break
            if pool.lanes == 1:  # a span that began since the lease was asked for counts on these blocks
                cut_span(s, pool.first_lane + rank.replica - pool.first_replica, now, 1)
            take_blocks(s, q, blocks)
            holder.held = blocks
            s.replica[rank.replica].peak_blocks = max(s.replica[rank.replica].peak_blocks, pool.blocks - rank.free)
        unlink(s, v)
        join_server(s, v, now)


@folded
def _expect(s: State, j: int, now: float) -> None:
    """Request ``j`` arrives when its user has thought."""
    clock = s.clock[0]
    s.request[j].arrival = now + s.request[j].think
    clock.comers = heap_push(s, clock.comers_at, clock.comers, (s.request[j].arrival, j, j))


@jit
def close_request(s: State, i: int, status: int, now: float) -> None:
    """Request ``i`` is over: the next turn of its session comes, and in a closed loop its client sends the next one."""
    s.request[i].status = status
    if status == COMPLETED:
        s.request[i].end = now
    clock = s.clock[0]
    if s.request[i].next_turn >= 0:
        _expect(s, s.request[i].next_turn, now)
    if clock.clients > 0 and clock.next_request < len(s.request):
        clock.next_request += 1
        _expect(s, clock.next_request - 1, now)


@folded
def _count_end(s: State, v: int, now: float) -> None:
    """``v`` is over as far as its rank and the clock are concerned."""
    visit = s.visit[v]
    visit.end = now
    s.clock[0].ended += 1
    if visit.rank >= 0:
        s.rank[visit.rank].load -= 1
        s.rank[visit.rank].placed_tokens -= visit.tokens


@folded
def _settle_visit(s: State, v: int, now: float) -> None:
    """The KV that the end of ``v`` frees is freed; its request may be complete."""
    visit = s.visit[v]
    if visit.frees >= 0:
        free_kv(s, visit.frees, now)
    request = s.request[visit.request]
    request.left -= 1
    if request.left == 0:
        close_request(s, visit.request, COMPLETED, now)


@jit
def finish_visit(s: State, v: int, now: float) -> None:
    """``v`` ends: its edges fire, the KV it frees is freed, its request may be complete."""
    visit = s.visit[v]
    if visit.gone != PRESENT and visit.state == ENDED:
        return
    visit.state = ENDED
    _count_end(s, v, now)
    if visit.answers == 1 and visit.rank >= 0:
        s.request[visit.request].last_token = now
    fire(s, v, ON_END, now)
    _settle_visit(s, v, now)


@jit
def abandon(s: State, v: int, now: float) -> None:
    """A cancelled ``v``, which is in no queue and no batch any more but perhaps a static one, ends without a word."""
    visit = s.visit[v]
    visit.keep = 0
    if visit.gone != GHOST:
        visit.state = ENDED
        free_kv(s, v, now)
    _count_end(s, v, now)
    _settle_visit(s, v, now)


@inlined
def cancel(s: State, v: int, now: float) -> None:
    """``v`` ends now if it is not released, else it leaves when the instant is settled."""
    visit = s.visit[v]
    if visit.state == ENDED or visit.gone != PRESENT:
        return
    visit.gone, visit.answers = GONE, 0
    if math.isnan(visit.ready):
        abandon(s, v, now)
    else:
        s.whole[s.clock[0].leavers_at + s.clock[0].leavers] = v
        s.clock[0].leavers += 1


@inlined
def never_fits(s: State, v: int) -> bool:
    """Whether the KV store or the context length can never hold the engine visit ``v``, or no step its prompt."""
    visit = s.visit[v]
    pool = s.pool[visit.server]
    whole = pool.whole_prompts and (pool.policy == CHUNKED or pool.policy == PREFILL_FIRST)
    if whole and visit.prompt + visit.handed - visit.computed > pool.budget:
        return True
    tokens = visit.prompt + visit.handed + visit.limit
    return bool(blocks_for(tokens - 1, pool.block_size) + pool.watermark > pool.blocks or tokens > pool.max_model_len)


@jit
def arrive(s: State, i: int, now: float) -> None:
    """Request ``i`` arrives: rejected if it can never be served, else its first visits are released."""
    for v in range(s.request[i].first, s.request[i].last):
        if s.visit[v].server < s.clock[0].engines and never_fits(s, v):
            close_request(s, i, REJECTED, now)
            return
    for v in range(s.request[i].first, s.request[i].last):
        if s.visit[v].need == 0 and s.visit[v].state == NEW:
            release(s, v, now)
