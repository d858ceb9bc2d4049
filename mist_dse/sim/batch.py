"""Who is in the next step: one function per batching policy, and one line each in `formed`.

`docs/semantics.md`, Engine steps. A new policy is a function here, a name in `specs.design.BATCHING_POLICIES`, a number in
`rows` and a line in `formed`.
"""

import math

from mist_dse.rows import CHUNKED, CONTINUOUS, MIXED, ON_START, PREFILL_FIRST, PRIORITY
from mist_dse.sim.blocks import blocks_for, found_blocks, give_blocks_back, name_blocks, share_blocks, standing_blocks, take_blocks
from mist_dse.sim.chunks import chunk, cover, is_fresh
from mist_dse.sim.cost import chunk_time
from mist_dse.sim.decoding import known_tokens, needy
from mist_dse.sim.flow import fire
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lanes import lane_of
from mist_dse.sim.lists import insert_before, is_empty, unlink
from mist_dse.sim.packing import enqueue
from mist_dse.sim.running import leave_running
from mist_dse.sim.state import RUNNING, State

KEPT, SHORT, HELD, DECODES, PROMPTS, BOTH = range(6)
"""What became of RUNNING when a step was formed, and what the step consists of."""


@jit
def _looked_up(s: State, v: int) -> int:
    """Leading blocks of a waiting ``v`` that its rank knows by name; it is taken to begin after them until it is admitted or not."""
    visit = s.visit[v]
    pool = s.pool[visit.server]
    if pool.caching == 0 or visit.computed > 0 or visit.held > 0:
        return 0
    found = found_blocks(s, visit.rank, v, known_tokens(s, v))
    visit.computed = found * pool.block_size
    return found


@inlined
def _blocks_taken(s: State, v: int, found: int, asked: int, take: int) -> bool:
    """Take blocks for ``take`` tokens of a waiting ``v`` if those for ``asked`` are free (what it holds or finds already counts)."""
    visit = s.visit[v]
    rank = s.rank[visit.rank]
    pool = s.pool[rank.pool]
    lacking = blocks_for(asked, pool.block_size) - visit.held - found
    if found > 0:
        lacking += standing_blocks(s, visit.rank, v, found)
    if lacking > 0 and lacking + pool.watermark > rank.free:
        return False
    if visit.held > 0:
        rank.stalled -= 1
    if found > 0:
        share_blocks(s, v, found)
    more = max(blocks_for(take, pool.block_size) - visit.held, 0)
    take_blocks(s, visit.rank, more)
    visit.held += more
    return True


@jit
def _admit(s: State, g: int, v: int, tokens: int, now: float) -> None:
    """``v`` moves from WAITING to RUNNING with ``tokens`` in this step."""
    visit, group = s.visit[v], s.group[g]
    rank = s.rank[group.rank]
    unlink(s, v)
    insert_before(s, group.running, v)
    insert_before(s, group.partial, s.clock[0].parts + v)
    rank.running += 1
    visit.state, visit.group, visit.chunk = RUNNING, g, tokens
    if visit.fresh == 0:
        name_blocks(s, v, visit.computed + tokens)
    visit.order = s.clock[0].admitted
    s.clock[0].admitted += 1
    if math.isnan(visit.start):
        visit.start = now
        request = s.request[visit.request]
        if math.isnan(request.admitted):
            request.admitted = now
        fire(s, v, ON_START, now)


@inlined
def _count_preemption(s: State, v: int) -> None:
    s.request[s.visit[v].request].preemptions += 1
    s.visit[v].computed, s.visit[v].fresh = 0, 0
    give_blocks_back(s, v)


@jit
def _drop_stalled(s: State, q: int) -> None:
    """The last visit in WAITING that holds KV loses it; it keeps its place."""
    v = s.link[s.rank[q].waiting].prev
    while s.visit[v].held == 0:
        v = s.link[v].prev
    s.rank[q].stalled -= 1
    _count_preemption(s, v)


@jit
def _head_fits(s: State, v: int, found: int, asked: int, take: int) -> bool:
    """`_blocks_taken` for the head of WAITING; on an idle rank, leases that are stalled behind it give way."""
    q = s.visit[v].rank
    while not _blocks_taken(s, v, found, asked, take):
        behind = s.rank[q].stalled - (1 if s.visit[v].held > 0 else 0)
        if s.rank[q].running > 0 or behind == 0:
            return False
        _drop_stalled(s, q)
        s.clock[0].freed = 1
    return True


@inlined
def _yields(s: State, v: int, other: int, packing: int) -> bool:
    """Whether ``v`` is preempted before ``other``."""
    if packing != PRIORITY:
        return bool(s.visit[v].order > s.visit[other].order)
    a, b = s.aside[v].priority, s.aside[other].priority
    return bool(a > b or (a == b and v > other))


@inlined
def _victim(s: State, g: int) -> int:
    """Who of the rank's RUNNING, in whatever lane, is preempted next."""
    pool = s.pool[s.rank[s.group[g].rank].pool]
    first = g - (g - pool.first_group) % pool.lanes
    victim = -1
    for other in range(first, first + pool.lanes):
        sentinel = s.group[other].running
        v = s.link[sentinel].prev
        while v != sentinel:
            if victim < 0 or _yields(s, v, victim, pool.packing):
                victim = v
            v = s.link[v].prev if pool.packing == PRIORITY else sentinel
    return int(victim)


@inlined
def _preempt(s: State, v: int) -> None:
    """A running ``v`` goes back to WAITING and will be computed again."""
    leave_running(s, v)
    s.request[s.visit[v].request].preemptions += 1
    s.visit[v].computed, s.visit[v].fresh = 0, 0
    enqueue(s, v, True)


@jit
def _wanted_blocks(s: State, g: int, kind: int) -> int:
    """Blocks that RUNNING needs for a step of ``kind``; sets every prompt's chunk."""
    group = s.group[g]
    pool = s.pool[s.rank[group.rank].pool]
    size = pool.block_size
    need = needy(s, g, group.count, size) if kind != PROMPTS else 0
    left = max(pool.budget - group.decodes, 0) if kind == BOTH else pool.budget
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        visit = s.visit[v]
        if kind == DECODES:
            visit.chunk = 1 if visit.fresh else 0
        elif kind == PROMPTS and visit.fresh:
            visit.chunk = 0
        else:
            visit.chunk = chunk(s, v, left)
        left -= visit.chunk
        if visit.chunk > 0:
            need += max(blocks_for(visit.computed + visit.chunk, size) - visit.held, 0)
        node = s.link[node].next
    return need


@jit
def _running_kept(s: State, g: int, kind: int) -> int:
    """Give RUNNING its blocks for a step of ``kind``, preempting from the end of the rank's RUNNING if short.

    `KEPT`: nobody was preempted; `SHORT`: somebody was; `HELD`: the last of RUNNING has a step in flight in another lane, so
    this group waits for it.
    """
    group = s.group[g]
    rank = s.rank[group.rank]
    outcome = KEPT
    need = _wanted_blocks(s, g, kind)
    while need > rank.free:
        if rank.stalled > 0:
            _drop_stalled(s, group.rank)
        else:
            victim = _victim(s, g)
            if s.visit[victim].group != g and s.lane[lane_of(s, s.visit[victim].group)].slot >= 0:
                return HELD
            _preempt(s, victim)
            s.clock[0].preempted = 1
            outcome = SHORT
        s.clock[0].freed = 1
        need = _wanted_blocks(s, g, kind)
    take_blocks(s, group.rank, need)
    size = s.pool[rank.pool].block_size
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        if s.visit[v].chunk > 0:
            s.visit[v].held = max(s.visit[v].held, blocks_for(s.visit[v].computed + s.visit[v].chunk, size))
            if s.visit[v].fresh == 0:
                name_blocks(s, v, s.visit[v].computed + s.visit[v].chunk)
        node = s.link[node].next
    return outcome


@folded
def _taken_chunks(s: State, g: int) -> int:
    """Tokens that the prompts of RUNNING have in this step."""
    group = s.group[g]
    total = 0
    node = s.link[group.partial].next
    while node != group.partial:
        total += s.visit[node - s.clock[0].parts].chunk
        node = s.link[node].next
    return total


@folded
def _begin_anew(s: State, v: int, found: int) -> None:
    """A waiting ``v`` is not admitted: what it found may not be there the next time."""
    if found > 0:
        s.visit[v].computed = 0


@jit
def _admit_chunks(s: State, g: int, now: float, left: int, waits: bool) -> None:
    """Admit from the head of WAITING while any of the step's budget is ``left``; ``waits``: prompts are postponed."""
    rank = s.rank[s.group[g].rank]
    pool = s.pool[rank.pool]
    while left > 0 and rank.running < pool.max_num_seqs:
        if is_empty(s, rank.waiting):
            break
        v = s.link[rank.waiting].next
        fresh = is_fresh(s, v)
        if waits and not fresh:
            break
        found = _looked_up(s, v)
        n = chunk(s, v, left)
        take = s.visit[v].computed + n
        asked = known_tokens(s, v) if pool.reserve_full else take
        if n == 0 or not _head_fits(s, v, found, cover(s, v, asked), cover(s, v, take)):
            _begin_anew(s, v, found)
            break
        if fresh and pool.policy == PREFILL_FIRST:
            n = 0
        _admit(s, g, v, n, now)
        left -= n


@inlined
def _chunked(s: State, g: int, now: float, waits: bool) -> int:
    """VLLM v1: decodes first, then prompt chunks of RUNNING, then WAITING from its head, within one token budget."""
    group = s.group[g]
    outcome = _running_kept(s, g, BOTH)
    rank = s.rank[group.rank]
    if outcome == KEPT and not is_empty(s, rank.waiting):
        _admit_chunks(s, g, now, s.pool[rank.pool].budget - group.decodes - _taken_chunks(s, g), waits)
    return DECODES if outcome != HELD else HELD


@inlined
def _prefill_first(s: State, g: int, now: float, waits: bool) -> int:
    """SGLang: a step is prompt chunks alone, those of RUNNING first, or else all decodes."""
    budget = s.pool[s.rank[s.group[g].rank].pool].budget
    outcome = _running_kept(s, g, PROMPTS)
    if outcome == HELD:
        return HELD
    if outcome == KEPT:
        _admit_chunks(s, g, now, budget - _taken_chunks(s, g), waits)
    if _taken_chunks(s, g) > 0:
        return PROMPTS
    return DECODES if _running_kept(s, g, DECODES) != HELD else HELD


@jit
def _prompts_admitted(s: State, g: int, now: float, whole: bool, waits: bool) -> bool:
    """Admit whole prompts within the budget (the first one whatever its length); whether there was one.

    ``whole``: take the blocks of the longest the sequence may become at once; ``waits``: prompts are postponed.
    """
    group = s.group[g]
    rank = s.rank[group.rank]
    pool = s.pool[rank.pool]
    mixed = pool.policy == MIXED
    total, prompts = group.decodes + _taken_chunks(s, g) if mixed else 0, False
    while rank.running < pool.max_num_seqs:
        if is_empty(s, rank.waiting):
            break
        v = s.link[rank.waiting].next
        visit = s.visit[v]
        found = _looked_up(s, v)
        rem = 0 if is_fresh(s, v) else known_tokens(s, v) - visit.computed
        tokens = visit.prompt + visit.handed + visit.limit - 1 if whole else known_tokens(s, v)
        if (rem > 0 and (waits or (prompts and total + rem > pool.budget))) or not _head_fits(s, v, found, tokens, tokens):
            _begin_anew(s, v, found)
            break
        if rem == 0 and mixed:
            _admit(s, g, v, 1, now)
            total += 1
        else:
            _admit(s, g, v, rem, now)
            total, prompts = total + rem, prompts or rem > 0
    return bool(prompts)


@inlined
def _mixed(s: State, g: int, now: float, waits: bool) -> int:
    """Splitwise's mixed batching: all decodes, and whole prompts beside them."""
    outcome = _running_kept(s, g, DECODES)
    if outcome == KEPT:
        _prompts_admitted(s, g, now, s.pool[s.rank[s.group[g].rank].pool].reserve_output, waits)
    return DECODES if outcome != HELD else HELD


@inlined
def _continuous(s: State, g: int, now: float, waits: bool) -> int:
    """Prefill first (vLLM v0): a step is prompts alone, or else all decodes."""
    if _prompts_admitted(s, g, now, s.pool[s.rank[s.group[g].rank].pool].reserve_output, waits):
        return PROMPTS
    return DECODES if _running_kept(s, g, DECODES) != HELD else HELD


@jit
def _static(s: State, g: int, now: float) -> int:
    """A batch is formed when the last one is over, prefilled in one step, and decoded until its longest member ends."""
    group = s.group[g]
    rank = s.rank[group.rank]
    if rank.running == 0:
        first = s.clock[0].admitted
        prompts = _prompts_admitted(s, g, now, True, False)
        group.members, group.batch_from = rank.running, first
        if prompts:
            return PROMPTS
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        s.visit[v].chunk = 1
        node = s.link[node].next
    return DECODES


@inlined
def _summed(s: State, g: int, kind: int) -> None:
    """The step's totals, from which its length follows; ``kind``: with the decodes, the prompts alone, or nothing."""
    group = s.group[g]
    p = s.rank[group.rank].pool
    group.step_decodes = group.decodes if kind == DECODES else 0
    group.step_context = group.context if kind == DECODES else 0
    group.step_tokens, group.step_fresh, group.step_chunks, group.step_done, group.step_time, group.step_pairs = (
        group.step_decodes,
        0,
        0,
        0,
        0.0,
        0.0,
    )
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        visit = s.visit[v]
        if kind == HELD:
            visit.chunk = 0
        n = visit.chunk
        group.step_tokens += n
        if n > 0 and visit.fresh:
            group.step_fresh += 1
            group.step_context += known_tokens(s, v)
        elif n > 0:
            group.step_chunks += 1
            group.step_time += chunk_time(s, p, n, visit.computed)
            group.step_pairs += n * float(visit.computed) + 0.5 * n * (n + 1.0)
            if visit.computed + n == known_tokens(s, v):
                group.step_done += 1
        node = s.link[node].next


@jit
def formed(s: State, g: int, now: float, waits: bool) -> bool:
    """Form the next step of group ``g``, without prompts from WAITING where it ``waits``; whether it has any work."""
    policy = s.pool[s.rank[s.group[g].rank].pool].policy
    if policy == CHUNKED:
        kind = _chunked(s, g, now, waits)
    elif policy == CONTINUOUS:
        kind = _continuous(s, g, now, waits)
    elif policy == MIXED:
        kind = _mixed(s, g, now, waits)
    elif policy == PREFILL_FIRST:
        kind = _prefill_first(s, g, now, waits)
    else:
        kind = _static(s, g, now)
    _summed(s, g, kind)
    return bool(s.group[g].step_tokens > 0)
