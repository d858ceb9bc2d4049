"""Binary heaps ordered by (key, tie): the calendar of timers, later arrivals and station jobs.

All heaps share ``state.entry``; one starts at ``at`` and holds ``size`` entries. Functions return the new size.
"""

from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.state import State


@folded
def _before(s: State, i: int, j: int) -> bool:
    a, b = s.entry[i], s.entry[j]
    return bool(a.key < b.key or (a.key == b.key and a.tie < b.tie))


@folded
def _swap(s: State, i: int, j: int) -> None:
    a, b = s.entry[i], s.entry[j]
    key, item, tie = a.key, a.what, a.tie
    a.key, a.what, a.tie = b.key, b.what, b.tie
    b.key, b.what, b.tie = key, item, tie


@inlined
def _rise(s: State, at: int, i: int) -> None:
    while i > 0 and _before(s, at + i, at + (i - 1) // 2):
        _swap(s, at + i, at + (i - 1) // 2)
        i = (i - 1) // 2


@inlined
def _sink(s: State, at: int, size: int, i: int) -> None:
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and _before(s, at + child + 1, at + child):
            child += 1
        if not _before(s, at + child, at + i):
            break
        _swap(s, at + i, at + child)
        i = child


@folded
def heap_push(s: State, at: int, size: int, entry: tuple[float, int, int]) -> int:
    """Add ``entry`` = (key, what, tie)."""
    row = s.entry[at + size]
    row.key, row.what, row.tie = entry
    _rise(s, at, size)
    return size + 1


@jit
def heap_pop(s: State, at: int, size: int) -> int:
    """Remove the first entry (read ``entry[at]`` before)."""
    _swap(s, at, at + size - 1)
    _sink(s, at, size - 1, 0)
    return size - 1
