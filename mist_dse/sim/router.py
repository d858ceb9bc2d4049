"""Routers: which rank of a pool takes a visit. One function each, one line in `placed_rank`."""

from mist_dse.rows import JOIN_SHORTEST_QUEUE
from mist_dse.sim.jit import jit
from mist_dse.sim.state import State


@jit
def _in_turn(s: State, p: int, count: int) -> int:
    turn = s.pool[p].turn
    s.pool[p].turn = turn + 1
    return int(s.pool[p].first_rank + turn % count)


@jit
def _shortest(s: State, p: int, count: int) -> int:
    first = s.pool[p].first_rank
    best = first
    for q in range(first + 1, first + count):
        if s.rank[q].load < s.rank[best].load:
            best = q
    return int(best)


@jit
def placed_rank(s: State, p: int, v: int) -> int:
    """Place visit ``v`` on a rank of pool ``p`` and count it there until it ends."""
    count = s.pool[p].replicas * s.pool[p].ranks
    q = _shortest(s, p, count) if s.pool[p].router == JOIN_SHORTEST_QUEUE else _in_turn(s, p, count)
    s.rank[q].load += 1
    s.visit[v].rank = q
    return q
