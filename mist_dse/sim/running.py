"""A visit leaves RUNNING before its last token is out: preempted, or cancelled."""

from mist_dse.sim.blocks import give_blocks_back, name_blocks
from mist_dse.sim.decoding import leave_decoding
from mist_dse.sim.jit import jit
from mist_dse.sim.lists import unlink
from mist_dse.sim.state import DECODING, WAITING, State


@jit
def leave_running(s: State, v: int) -> None:
    """``v`` is out of its group, and its blocks are given back."""
    visit = s.visit[v]
    g = visit.group
    if visit.state == DECODING:
        leave_decoding(s, g, v)
    else:
        name_blocks(s, v, visit.computed)
        unlink(s, s.clock[0].parts + v)
    unlink(s, v)
    s.rank[visit.rank].running -= 1
    visit.state, visit.group, visit.chunk = WAITING, -1, 0
    give_blocks_back(s, v)
