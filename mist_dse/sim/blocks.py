"""KV blocks of a rank: how many are free and, where names are kept, which: references, names, and the queue of free blocks.

`docs/semantics.md`, Prefix caching; after vLLM v1's `BlockPool`. Without ``caching`` a rank only counts. With it, every block with a
name, and every run of free blocks without one, is a `BLOCK`: blocks with a name are in a chain of their bucket, free ones in the
rank's queue.
"""

import math

from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.lists import insert_before, unlink
from mist_dse.sim.state import State

NAMELESS = -1


@folded
def blocks_for(tokens: int, block_size: int) -> int:
    """KV blocks that hold ``tokens``."""
    return (tokens + block_size - 1) // block_size


@folded
def take_blocks(s: State, q: int, count: int) -> None:
    """Take ``count`` free blocks, the first of the queue; they lose their names."""
    s.rank[q].free -= count
    if s.pool[s.rank[q].pool].caching:
        _take_first(s, q, count)


@jit
def _take_first(s: State, q: int, count: int) -> None:
    rank = s.rank[q]
    while count > 0:
        b = s.link[rank.queue].next - s.clock[0].blocks_at
        block = s.block[b]
        some = min(count, block.count)
        count -= some
        block.count -= some
        if block.count == 0:
            if block.name >= 0:
                _forget_name(s, b)
            unlink(s, s.clock[0].blocks_at + b)
            _spare(s, b)


@folded
def give_blocks_back(s: State, v: int) -> None:
    """All blocks of ``v`` lose a reference, the last first; those with none left are free."""
    visit = s.visit[v]
    if s.pool[visit.server].caching:
        _give_names_back(s, v)
    else:
        s.rank[visit.rank].free += visit.held
    visit.held = 0


@jit
def _give_names_back(s: State, v: int) -> None:
    visit, aside = s.visit[v], s.aside[v]
    rank = s.rank[visit.rank]
    last = min(aside.given, visit.held)
    _append_run(s, visit.rank, visit.held - last)
    for i in range(last - 1, -1, -1):
        b = s.whole[s.clock[0].named_at + aside.names + i]
        s.whole[s.clock[0].named_at + aside.names + i] = -1
        if b < 0:
            _append_run(s, visit.rank, 1)
            continue
        s.block[b].references -= 1
        if s.block[b].references == 0:
            insert_before(s, rank.queue, s.clock[0].blocks_at + b)
            rank.free += 1
    aside.given = 0


@jit
def found_blocks(s: State, q: int, v: int, known: int) -> int:
    """How many of the leading names of ``v``, of which ``known`` tokens are to be computed, rank ``q`` knows."""
    aside = s.aside[v]
    most = min(aside.names_end - aside.names, (known - 1) // s.pool[s.rank[q].pool].block_size)
    found = 0
    while found < most and _known_name(s, q, s.whole[s.clock[0].name_at + aside.names + found]) >= 0:
        found += 1
    return int(found)


@inlined
def standing_blocks(s: State, q: int, v: int, found: int) -> int:
    """How many of the ``found`` leading blocks of ``v`` stand in the queue of free blocks."""
    standing = 0
    for i in range(found):
        if s.block[_known_name(s, q, s.whole[s.clock[0].name_at + s.aside[v].names + i])].references == 0:
            standing += 1
    return standing


@inlined
def share_blocks(s: State, v: int, found: int) -> None:
    """The ``found`` leading blocks of ``v`` become its own too."""
    visit, aside = s.visit[v], s.aside[v]
    for i in range(found):
        b = _known_name(s, visit.rank, s.whole[s.clock[0].name_at + aside.names + i])
        if s.block[b].references == 0:
            _leave_queue(s, visit.rank, b)
        s.block[b].references += 1
        s.whole[s.clock[0].named_at + aside.names + i] = b
    aside.given = found
    visit.held += found
    if math.isnan(visit.start):
        aside.cached = visit.computed


@folded
def name_blocks(s: State, v: int, tokens: int) -> None:
    """Blocks of ``v`` that are full when ``tokens`` are computed carry their names, unless the rank knows them already."""
    if s.pool[s.visit[v].server].caching:
        _name_full(s, v, tokens)


@jit
def _name_full(s: State, v: int, tokens: int) -> None:
    q = s.visit[v].rank
    pool, aside = s.pool[s.rank[q].pool], s.aside[v]
    while aside.given < min(tokens // pool.block_size, aside.names_end - aside.names):
        at = aside.names + aside.given
        aside.given += 1
        if _known_name(s, q, s.whole[s.clock[0].name_at + at]) >= 0:
            continue
        b = _new_block(s, q, 1, s.whole[s.clock[0].name_at + at])
        s.block[b].references = 1
        bucket = _bucket(s, q, s.whole[s.clock[0].name_at + at])
        s.block[b].chain = s.whole[s.clock[0].bucket_at + bucket]
        s.whole[s.clock[0].bucket_at + bucket] = b
        s.whole[s.clock[0].named_at + at] = b


@folded
def _bucket(s: State, q: int, name: int) -> int:
    mixed = name * 2654435761 + q * 40503  # Knuth's multiplicative hash
    return int((mixed ^ (mixed >> 16)) & s.clock[0].bucket_mask)


@folded
def _known_name(s: State, q: int, name: int) -> int:
    """The block of rank ``q`` that carries ``name``, -1 if none does."""
    b = s.whole[s.clock[0].bucket_at + _bucket(s, q, name)]
    while b >= 0 and (s.block[b].name != name or s.block[b].rank != q):
        b = s.block[b].chain
    return int(b)


@inlined
def _forget_name(s: State, b: int) -> None:
    bucket = _bucket(s, s.block[b].rank, s.block[b].name)
    if s.whole[s.clock[0].bucket_at + bucket] == b:
        s.whole[s.clock[0].bucket_at + bucket] = s.block[b].chain
        return
    other = s.whole[s.clock[0].bucket_at + bucket]
    while s.block[other].chain != b:
        other = s.block[other].chain
    s.block[other].chain = s.block[b].chain


@folded
def _new_block(s: State, q: int, count: int, name: int) -> int:
    b = s.clock[0].spare
    block = s.block[b]
    s.clock[0].spare = block.chain
    block.rank, block.count, block.name, block.references = q, count, name, 0
    return int(b)


@folded
def _spare(s: State, b: int) -> None:
    s.block[b].chain = s.clock[0].spare
    s.clock[0].spare = b


@jit
def _append_run(s: State, q: int, count: int) -> None:
    """``count`` free blocks without a name join the end of the queue."""
    if count == 0:
        return
    rank, at = s.rank[q], s.clock[0].blocks_at
    rank.free += count
    last = s.link[rank.queue].prev
    if last != rank.queue and s.block[last - at].name == NAMELESS:
        s.block[last - at].count += count
    else:
        insert_before(s, rank.queue, at + _new_block(s, q, count, NAMELESS))


@inlined
def _leave_queue(s: State, q: int, b: int) -> None:
    """A free block with a name is in use again; runs on both sides of it become one."""
    rank, at = s.rank[q], s.clock[0].blocks_at
    before, after = s.link[at + b].prev, s.link[at + b].next
    unlink(s, at + b)
    rank.free -= 1
    if before != rank.queue and after != rank.queue and s.block[before - at].name == NAMELESS and s.block[after - at].name == NAMELESS:
        s.block[before - at].count += s.block[after - at].count
        unlink(s, after)
        _spare(s, after - at)
