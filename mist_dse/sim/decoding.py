"""The decoding visits of a group (one lane of one rank), kept so that a step costs O(1) whatever the batch.

All of them advance together: ``group.count`` decode steps have been taken, ``group.decodes`` visits attend ``group.context``
tokens in the next one, so a visit that joined at count j with e tokens out has e + count - j now. A heap holds the count at
which each emits its last token; ``residue[g, h]`` counts those that need a KV block at counts = -h (modulo the block size),
none where blocks for the whole output are held from the start. A list holds those whose first message to the user is not out.
"""

from mist_dse.sim.blocks import blocks_for, name_blocks
from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lists import insert_before, is_empty, unlink
from mist_dse.sim.state import DECODING, ENDLESS, State


@folded
def _less(s: State, a: int, b: int) -> bool:
    x, y = s.visit[a], s.visit[b]
    return bool(x.finish < y.finish or (x.finish == y.finish and x.order < y.order))


@folded
def _put(s: State, g: int, slot: int, v: int) -> None:
    s.whole[s.group[g].finish_at + slot] = v
    s.visit[v].slot = slot


@jit
def _sift(s: State, g: int, slot: int, size: int) -> None:
    v = s.whole[s.group[g].finish_at + slot]
    while slot > 0:
        parent = (slot - 1) // 2
        if not _less(s, v, s.whole[s.group[g].finish_at + parent]):
            break
        _put(s, g, slot, s.whole[s.group[g].finish_at + parent])
        slot = parent
    while True:
        child = 2 * slot + 1
        if child >= size:
            break
        if child + 1 < size and _less(s, s.whole[s.group[g].finish_at + child + 1], s.whole[s.group[g].finish_at + child]):
            child += 1
        if not _less(s, s.whole[s.group[g].finish_at + child], v):
            break
        _put(s, g, slot, s.whole[s.group[g].finish_at + child])
        slot = child
    _put(s, g, slot, v)


@folded
def heap_add(s: State, g: int, v: int) -> None:
    """``v`` emits its last token when the group's count reaches ``visit.finish``."""
    size = s.group[g].ending
    s.group[g].ending = size + 1
    _put(s, g, size, v)
    _sift(s, g, size, size + 1)


@jit
def heap_remove(s: State, g: int, v: int) -> None:
    """``v`` leaves before or at its finish."""
    slot = s.visit[v].slot
    s.visit[v].slot = -1
    size = s.group[g].ending - 1
    s.group[g].ending = size
    if slot < size:
        _put(s, g, slot, s.whole[s.group[g].finish_at + size])
        _sift(s, g, slot, size)


@folded
def known_tokens(s: State, v: int) -> int:
    """Tokens of the sequence whose value is known: prompt, token handed over, tokens out."""
    visit = s.visit[v]
    emitted = visit.emitted
    if visit.state == DECODING:
        emitted += s.group[visit.group].count - visit.join
    return int(visit.prompt + visit.handed + emitted)


@folded
def _residue_index(s: State, g: int, v: int, block_size: int) -> int:
    return int((known_tokens(s, v) - 1 - s.group[g].count) % block_size)


@inlined
def join_decoding(s: State, g: int, v: int) -> None:
    """``v`` has its KV in place up to the token before its next: it takes part in every decode step from now on."""
    visit, group = s.visit[v], s.group[g]
    pool = s.pool[s.rank[group.rank].pool]
    visit.state = DECODING
    visit.join = group.count
    visit.finish = group.count + visit.emit - visit.emitted
    group.decodes += 1
    group.context += known_tokens(s, v)
    s.whole[s.group[g].residue_at + _residue_index(s, g, v, pool.block_size)] += pool.grows
    heap_add(s, g, v)


@jit
def leave_decoding(s: State, g: int, v: int) -> None:
    """``v`` ends or is preempted: its emitted tokens and blocks become its own fields again."""
    visit, group = s.visit[v], s.group[g]
    pool = s.pool[s.rank[group.rank].pool]
    known = known_tokens(s, v)
    s.whole[s.group[g].residue_at + _residue_index(s, g, v, pool.block_size)] -= pool.grows
    heap_remove(s, g, v)
    if pool.stream_interval > 1:
        forget_message(s, g, v)
    group.decodes -= 1
    group.context -= known
    visit.emitted = known - visit.prompt - visit.handed
    name_blocks(s, v, known - 1)
    if pool.grows:
        visit.held = blocks_for(known - 1, pool.block_size)


@folded
def message_due(s: State, g: int, v: int) -> int:
    """The count at which the first message of a decoding ``v`` is full."""
    visit = s.visit[v]
    return int(visit.finish - visit.emit + min(s.pool[s.rank[s.group[g].rank].pool].stream_interval, visit.emit))


@inlined
def await_message(s: State, g: int, v: int) -> None:
    """The user waits for the first message of ``v``; those that have decoded before are due sooner, all others in order."""
    base, place = s.clock[0].dues, s.group[g].dues
    due = message_due(s, g, v)
    while s.link[place].prev != s.group[g].dues and message_due(s, g, s.link[place].prev - base) > due:
        place = s.link[place].prev
    insert_before(s, place, base + v)
    s.group[g].due = message_due(s, g, s.link[s.group[g].dues].next - base)


@jit
def forget_message(s: State, g: int, v: int) -> None:
    """``v`` is in no list of messages that are due."""
    base, group = s.clock[0].dues, s.group[g]
    unlink(s, base + v)
    s.link[base + v].prev = s.link[base + v].next = base + v
    group.due = ENDLESS if is_empty(s, group.dues) else message_due(s, g, s.link[group.dues].next - base)


@folded
def needy(s: State, g: int, count: int, block_size: int) -> int:
    """Decoding visits that need one more block in the step taken at ``count``."""
    return int(s.whole[s.group[g].residue_at + (-count) % block_size])


@inlined
def growth(s: State, g: int, count: int, steps: int, block_size: int) -> int:
    """Blocks that the next ``steps`` decode steps take, from the one taken at ``count`` on."""
    total = (steps // block_size) * s.group[g].decodes
    for k in range(steps % block_size):
        total += needy(s, g, count + k, block_size)
    return int(total)


@inlined
def steps_within(s: State, g: int, count: int, steps: int, block_size: int) -> int:
    """How many of the next ``steps`` decode steps (from ``count``) the rank's free blocks allow."""
    free = s.rank[s.group[g].rank].free
    decodes = s.group[g].decodes
    if decodes == 0 or free >= (steps // block_size + 1) * decodes:
        return steps
    done = int(free // decodes) * block_size
    free -= (free // decodes) * decodes
    while done < steps:
        free -= needy(s, g, count + done, block_size)
        if free < 0:
            break
        done += 1
    return min(done, steps)
