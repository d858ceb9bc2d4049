"""The order of WAITING: one line per packing in `_key`.

`docs/semantics.md`, Release. A new packing is a line here, a name in `specs.design.PACKINGS` and a number in `rows`.
"""

from mist_dse.rows import FCFS, PRIORITY, SHORTEST
from mist_dse.sim.decoding import known_tokens
from mist_dse.sim.jit import inlined, jit
from mist_dse.sim.lists import insert_before
from mist_dse.sim.state import WAITING, State


@inlined
def _key(s: State, v: int, packing: int) -> int:
    visit = s.visit[v]
    if packing == PRIORITY:
        return int(s.aside[v].priority)
    rem = known_tokens(s, v) - visit.computed
    return int(rem if packing == SHORTEST else rem + visit.limit - visit.emitted)


@jit
def enqueue(s: State, v: int, first: bool) -> None:
    """``v`` takes its place in its rank's WAITING; ``first``: it was preempted, and first come first served puts it in front."""
    visit = s.visit[v]
    visit.state = WAITING
    packing, place = s.pool[visit.server].packing, s.rank[visit.rank].waiting
    if packing == FCFS:
        insert_before(s, s.link[place].next if first else place, v)
        return
    key = s.aside[v].key = _key(s, v, packing)
    sentinel = place
    while s.link[place].prev != sentinel:
        before = s.link[place].prev
        if s.aside[before].key < key or (s.aside[before].key == key and before < v):
            break
        place = before
    insert_before(s, place, v)
