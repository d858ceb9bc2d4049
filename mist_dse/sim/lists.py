"""Doubly linked lists of visits in one array of (prev, next) nodes: O(1) at both ends and anywhere between.

Lists are circular through a sentinel node of their own, so there is no empty case: ``link[sentinel].next`` is the first node
and the sentinel itself if there is none. Node v is visit v in its queue or RUNNING list; node ``clock.parts + v`` is the same
visit among those of its group with prompt left.
"""

from mist_dse.sim.jit import folded
from mist_dse.sim.state import State


@folded
def insert_before(s: State, place: int, node: int) -> None:
    """Put ``node`` before ``place``; before a sentinel means at the end of its list."""
    before = s.link[place].prev
    s.link[node].prev, s.link[node].next = before, place
    s.link[before].next = node
    s.link[place].prev = node


@folded
def unlink(s: State, node: int) -> None:
    """Take ``node`` out of the list it is in."""
    before, after = s.link[node].prev, s.link[node].next
    s.link[before].next = after
    s.link[after].prev = before


@folded
def is_empty(s: State, sentinel: int) -> bool:
    """Whether the list has no node."""
    return bool(s.link[sentinel].next == sentinel)
