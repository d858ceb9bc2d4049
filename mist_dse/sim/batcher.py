"""Batchers: workers that take whole batches of jobs at once, when enough wait or the first has waited long enough.

`docs/semantics.md`, Batchers. A batch is the list that a worker is the sentinel of; the free workers are a stack.
"""

from mist_dse.sim.heap import heap_pop, heap_push
from mist_dse.sim.jit import folded, inlined
from mist_dse.sim.lists import insert_before, is_empty, unlink
from mist_dse.sim.state import QUEUED, SERVED, State


@inlined
def join_batcher(s: State, b: int, v: int, now: float) -> None:
    """``v`` joins the queue; until its batch starts, its start is the time at which it has waited long enough."""
    batcher = s.batcher[b]
    s.visit[v].state, s.visit[v].start = QUEUED, now + batcher.wait
    insert_before(s, batcher.queue, v)
    batcher.queued += 1
    mark_batchers(s)


@folded
def mark_batchers(s: State) -> None:
    """Some batcher may have a batch to start."""
    s.clock[0].batching = 1


@inlined
def batch_due(s: State, b: int, now: float) -> bool:
    """Whether a batch starts now."""
    batcher = s.batcher[b]
    if batcher.queued == 0 or batcher.busy_workers == batcher.slots:
        return False
    return bool(batcher.queued >= batcher.size or now >= s.visit[s.link[batcher.queue].next].start)


@inlined
def start_batch(s: State, b: int, now: float) -> int:
    """Start a batch with the first of the queue; the sentinel of its list."""
    batcher = s.batcher[b]
    sentinel = s.whole[batcher.worker_at + batcher.busy_workers]
    batcher.busy_workers += 1
    count, work = 0, 0.0
    while count < batcher.size and not is_empty(s, batcher.queue):
        v = s.link[batcher.queue].next
        unlink(s, v)
        insert_before(s, sentinel, v)
        s.visit[v].state, s.visit[v].start = SERVED, now
        count += 1
        work += s.visit[v].work
    batcher.queued -= count
    seconds = s.table[batcher.times_at + count] + batcher.work_time * work
    batcher.seconds += seconds
    heap_push(s, batcher.heap_at, batcher.busy_workers - 1, (now + seconds, sentinel, batcher.started))
    batcher.started += 1
    return int(sentinel)


@inlined
def end_batch(s: State, b: int) -> int:
    """The first batch that is done: its list, which the caller empties before anything starts; its worker is free."""
    batcher = s.batcher[b]
    sentinel = s.entry[batcher.heap_at].what
    heap_pop(s, batcher.heap_at, batcher.busy_workers)
    batcher.busy_workers -= 1
    s.whole[batcher.worker_at + batcher.busy_workers] = sentinel
    mark_batchers(s)
    return int(sentinel)
