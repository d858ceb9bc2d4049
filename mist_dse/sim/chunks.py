"""How much of a visit a step may take, and how much KV it then asks for.

`docs/semantics.md`, Engine steps and Engines' own ways.
"""

from mist_dse.sim.decoding import known_tokens
from mist_dse.sim.jit import folded
from mist_dse.sim.state import State


@folded
def is_fresh(s: State, v: int) -> bool:
    """Whether ``v`` was handed over with all its KV in place, and never lost it: its next step is a decode step."""
    return bool(s.visit[v].fresh)


@folded
def chunk(s: State, v: int, left: int) -> int:
    """New tokens of ``v``, which does not decode yet, in a step when ``left`` of its budget remain."""
    visit = s.visit[v]
    pool = s.pool[visit.server]
    rem = known_tokens(s, v) - visit.computed
    if pool.whole_prompts and not is_fresh(s, v):
        return int(rem) if rem <= left or left == pool.budget else 0
    n = min(rem, left)
    return int(min(n, pool.threshold) if pool.threshold > 0 else n)


@folded
def cover(s: State, v: int, tokens: int) -> int:
    """Tokens whose KV ``v`` takes at admission: ``tokens``, or all that it may ever have where the output is reserved."""
    visit = s.visit[v]
    if s.pool[visit.server].reserve_output:
        return int(visit.prompt + visit.handed + visit.limit - 1)
    return tokens
