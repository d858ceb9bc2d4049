"""Routers: which rank of a pool takes a visit. One function each, one line in `placed_rank`.

`docs/semantics.md`, Routers. A new router is a function here, a name in `specs.design.ROUTERS`, a number in `rows` and a line in
`placed_rank`. Candidates are neighbours: ``count`` ranks from ``first`` on.
"""

from mist_dse.rows import HEAVY_LIGHT, LEAST_KV, LEAST_TOKENS, POWER_OF_TWO, PREFIX_AFFINITY, RANDOM, ROUND_ROBIN, SESSION_AFFINITY
from mist_dse.sim.blocks import found_blocks
from mist_dse.sim.decoding import known_tokens
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.span import sync_rank
from mist_dse.sim.state import State


@inlined
def _in_turn(s: State, first: int, count: int, local: bool) -> int:
    pool, replica = s.pool[s.rank[first].pool], s.replica[s.rank[first].replica]
    if local:
        replica.turn += 1
        return int(first + (replica.turn - 1) % count)
    pool.turn += 1
    return int(first + (pool.turn - 1) % count)


@folded
def _least_loaded(s: State, first: int, count: int) -> int:
    best = first
    for q in range(first + 1, first + count):
        if s.rank[q].load < s.rank[best].load:
            best = q
    return int(best)


@inlined
def _fewer_of_two(s: State, v: int, first: int, count: int) -> int:
    a = first + int(s.aside[v].draw * count)
    b = first + int(s.aside[v].other_draw * (count - 1))
    b += 1 if b >= a else 0
    return int(b if s.rank[b].load < s.rank[a].load else a)


@inlined
def _fewest_tokens(s: State, first: int, count: int) -> int:
    best = first
    for q in range(first + 1, first + count):
        if s.rank[q].placed_tokens < s.rank[best].placed_tokens:
            best = q
    return int(best)


@inlined
def _most_free(s: State, first: int, count: int, now: float) -> int:
    best = first
    for q in range(first, first + count):
        sync_rank(s, q, now)
        if s.rank[q].free > s.rank[best].free or (s.rank[q].free == s.rank[best].free and s.rank[q].load < s.rank[best].load):
            best = q
    return int(best)


@inlined
def _by_weight(s: State, v: int, first: int, count: int) -> int:
    pool = s.pool[s.visit[v].server]
    heavy = min(pool.heavy_ranks, count)
    if s.visit[v].prompt > pool.heavy_tokens:
        return _least_loaded(s, first, heavy if heavy > 0 else count)
    return _least_loaded(s, first + heavy, count - heavy) if heavy < count else _least_loaded(s, first, count)


@inlined
def _found_there(s: State, q: int, v: int, now: float) -> int:
    """Leading blocks of ``v`` that rank ``q`` knows by name, after what its steps have taken."""
    sync_rank(s, q, now)
    return found_blocks(s, q, v, known_tokens(s, v))


@inlined
def _nearest_prefix(s: State, v: int, first: int, count: int, now: float) -> int:
    pool = s.pool[s.visit[v].server]
    total = 0
    for q in range(first, first + count):
        total += s.rank[q].load
    most = pool.guard * (total / count) + pool.slack
    best, found = -1, -1
    for q in range(first, first + count):
        if s.rank[q].load <= most:
            here = _found_there(s, q, v, now) if pool.caching and s.visit[v].computed == 0 else 0
            if here > found or (here == found and s.rank[q].load < s.rank[best].load):
                best, found = q, here
    return int(best) if best >= 0 else _least_loaded(s, first, count)


@inlined
def _seated(s: State, v: int, first: int, count: int) -> int:
    session = s.aside[v].session
    q = s.whole[s.clock[0].seat_at + session * len(s.pool) + s.visit[v].server] if session >= 0 else -1
    return int(q) if first <= q < first + count else _least_loaded(s, first, count)


@inlined
def _candidates(s: State, v: int) -> tuple[int, int, bool]:
    """The first rank that may take ``v``, how many there are, and whether they are a local group."""
    p = s.visit[v].server
    pool = s.pool[p]
    beside = s.aside[v].beside if s.clock[0].aside else -1
    if beside < 0 or s.visit[beside].rank < 0:
        return int(pool.first_rank), int(pool.replicas * pool.ranks), False
    near = s.rank[s.visit[beside].rank]
    if near.pool == p:
        return int(s.visit[beside].rank), 1, False
    other = s.pool[near.pool]
    group = (near.replica - other.first_replica) * other.groups // other.replicas
    low = (group * pool.replicas + pool.groups - 1) // pool.groups
    high = ((group + 1) * pool.replicas + pool.groups - 1) // pool.groups
    return int(pool.first_rank + low * pool.ranks), int((high - low) * pool.ranks), True


@inlined
def _chosen(s: State, v: int, now: float) -> int:
    first, count, local = _candidates(s, v)
    if count == 1:
        return first
    router = s.pool[s.visit[v].server].router
    if router == ROUND_ROBIN:
        return _in_turn(s, first, count, local)
    if router == RANDOM:
        return int(first + int(s.aside[v].draw * count))
    if router == POWER_OF_TWO:
        return _fewer_of_two(s, v, first, count)
    if router == LEAST_TOKENS:
        return _fewest_tokens(s, first, count)
    if router == LEAST_KV:
        return _most_free(s, first, count, now)
    if router == HEAVY_LIGHT:
        return _by_weight(s, v, first, count)
    if router == PREFIX_AFFINITY:
        return _nearest_prefix(s, v, first, count, now)
    if router == SESSION_AFFINITY:
        return _seated(s, v, first, count)
    return _least_loaded(s, first, count)


@jit
def placed_rank(s: State, v: int, now: float) -> int:
    """Place visit ``v`` on a rank of its pool and count it there until it ends."""
    q = _chosen(s, v, now)
    visit = s.visit[v]
    visit.rank, visit.tokens = q, visit.prompt + visit.handed - visit.computed + visit.limit
    s.rank[q].load += 1
    s.rank[q].placed_tokens += visit.tokens
    if s.clock[0].aside and s.aside[v].session >= 0:
        s.whole[s.clock[0].seat_at + s.aside[v].session * len(s.pool) + visit.server] = q
    return q
