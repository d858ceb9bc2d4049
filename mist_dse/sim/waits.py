"""Prompts that are postponed while others decode: batch waits, and the balance of ranks that step together.

`docs/semantics.md`, Engines' own ways (`wait_steps` with `wait_tokens`, `balance_steps`); after TensorRT-LLM's `PyExecutor`
(`_waiting_requests`, `_balance_adp_requests`).
"""

from mist_dse.rows import CHUNKED, CONTINUOUS, MIXED, PREFILL_FIRST, STATIC
from mist_dse.sim.blocks import blocks_for
from mist_dse.sim.chunks import chunk, cover, is_fresh
from mist_dse.sim.decoding import known_tokens
from mist_dse.sim.jit import inlined, jit
from mist_dse.sim.state import ENDLESS, State


@jit
def postponed(s: State, lane: int) -> tuple[bool, int, int]:
    """Whether prompts are postponed in the step that the lane would start now; the replica's count after such a step; and
    after how many steps, if no event comes before, that may be otherwise.
    """
    replica = s.replica[s.lane[lane].replica]
    pool = s.pool[replica.pool]
    local = lane - pool.first_lane
    first = pool.first_group + local // pool.lanes * pool.ranks * pool.lanes + local % pool.lanes
    if pool.ranks > 1:
        return _unbalanced(s, first, replica.postponed)
    decodes = _decoding(s, first)
    running, new = _asked(s, first) if decodes > 0 else (0, 0)
    if new == 0:
        return False, replica.postponed, ENDLESS
    if decodes + running + new >= pool.wait_tokens or replica.postponed >= pool.wait_steps:
        return False, 0, 1
    count = replica.postponed + 1
    return True, count, 1 if pool.grows else 1 + pool.wait_steps - count


@inlined
def _unbalanced(s: State, first: int, count: int) -> tuple[bool, int, int]:
    """`postponed` for several ranks, of which ``first`` is the first one's group."""
    pool = s.pool[s.rank[s.group[first].rank].pool]
    lacking = False
    for d in range(pool.ranks):
        g = first + d * pool.lanes
        if _decoding(s, g) == 0:
            return False, 0, ENDLESS
        lacking = lacking or _asked(s, g)[1] == 0
    if lacking and count + 1 < pool.balance_steps:
        return True, count + 1, 1
    return False, 0, 1


@jit
def _decoding(s: State, g: int) -> int:
    """Visits of a group that decode, those with all their KV handed over included that have not yet been in a step."""
    group = s.group[g]
    count = group.decodes
    node = s.link[group.partial].next
    while node != group.partial:
        count += s.visit[node - s.clock[0].parts].fresh
        node = s.link[node].next
    return int(count)


@jit
def _asked(s: State, g: int) -> tuple[int, int]:
    """Prompt tokens that RUNNING and WAITING would have in the next step of a group that decodes, as things stand."""
    group = s.group[g]
    rank = s.rank[group.rank]
    pool = s.pool[rank.pool]
    beside = pool.policy == CHUNKED or pool.policy == MIXED  # prompts and decodes in one step
    left = pool.budget - (group.decodes if beside else 0)
    running = 0
    node = s.link[group.partial].next
    while node != group.partial:
        v = node - s.clock[0].parts
        node = s.link[node].next
        if beside or s.visit[v].fresh == 0:
            n = chunk(s, v, left)
            left -= n
            running += 0 if s.visit[v].fresh else n
    return running, 0 if pool.policy == STATIC else _admissible(s, g, left)


@inlined
def _admissible(s: State, g: int, left: int) -> int:
    """Prompt tokens from the head of WAITING that find room in ``left``, in the blocks that are free, and in RUNNING."""
    rank = s.rank[s.group[g].rank]
    pool = s.pool[rank.pool]
    free, seats, new = rank.free, pool.max_num_seqs - rank.running, 0
    v = s.link[rank.waiting].next
    while v != rank.waiting and seats > 0:
        visit = s.visit[v]
        fresh, known = is_fresh(s, v), known_tokens(s, v)
        whole = fresh or pool.policy == CONTINUOUS or pool.policy == MIXED
        n = chunk(s, v, left)
        if pool.policy == CONTINUOUS or (pool.policy == MIXED and not fresh):
            room = left if pool.policy == MIXED else pool.budget - new
            n = known - visit.computed if new == 0 or known - visit.computed <= room else 0
        if pool.policy == MIXED and fresh:
            n = 1
        if fresh and (pool.policy == CONTINUOUS or pool.policy == PREFILL_FIRST):
            n = 0
        elif n <= 0:
            break
        taken = cover(s, v, known if whole else visit.computed + n)
        asked = cover(s, v, known) if whole or pool.reserve_full else taken
        lacking = blocks_for(asked, pool.block_size) - visit.held
        if lacking > 0 and lacking + pool.watermark > free:
            break
        free -= max(blocks_for(taken, pool.block_size) - visit.held, 0)
        seats -= 1
        left -= n
        new += 0 if fresh else n
        v = s.link[v].next
    return new
