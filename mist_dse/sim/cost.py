"""Length of a step, and of k decode steps in closed form, from the `rows.StepCost` arrays.

In a span of pure decode steps with S sequences the mean context x grows by exactly 1 a step, and the step's length is
linear in x between knots, so a span is a few arithmetic series. `decode_span` from the anchor gives every boundary, whether
the loop steps or skips.
"""

import math

from mist_dse.sim.jit import folded, inlined, jit
from mist_dse.sim.state import ENDLESS, State


@folded
def _cell(s: State, p: int, x: float) -> int:
    """The last knot that is <= x, at most the last but one (the last slope extends)."""
    at, last = s.pool[p].knots_at, s.pool[p].knots - 2
    i = 0
    while i < last and s.table[at + i + 1] <= x:
        i += 1
    return i


@folded
def _at_mean_context(s: State, table: int, p: int, sequences: int, x: float) -> float:
    """The [S, knots] table that starts at ``table``, at S sequences of mean context x."""
    at, n = s.pool[p].knots_at, s.pool[p].knots
    row = table + sequences * n
    if n == 1:
        return float(s.table[row])
    i = _cell(s, p, x)
    slope = (s.table[row + i + 1] - s.table[row + i]) / (s.table[at + i + 1] - s.table[at + i])
    return float(s.table[row + i] + slope * (x - s.table[at + i]))


@inlined
def decode_span(s: State, p: int, sequences: int, context: int, steps: int) -> float:
    """Seconds of ``steps`` pure decode steps, the first of which attends ``context`` tokens in all (exact sum)."""
    at, n = s.pool[p].knots_at, s.pool[p].knots
    row = s.pool[p].decode_at + sequences * n
    if n == 1:
        return float(steps * s.table[row])
    x = context / sequences
    i = _cell(s, p, x)
    total = 0.0
    left = steps
    while left > 0:
        slope = (s.table[row + i + 1] - s.table[row + i]) / (s.table[at + i + 1] - s.table[at + i])
        inside = left
        if i < n - 2:
            inside = min(left, max(math.ceil(s.table[at + i + 1] - x), 0))
        first = s.table[row + i] + slope * (x - s.table[at + i])
        total += inside * first + slope * (0.5 * inside * (inside - 1))
        x += inside
        left -= inside
        i += 1
    return float(total)


@inlined
def _line(s: State, p: int, g: int, step: int) -> tuple[float, float, int]:
    """The device's time of the ``step``-th step of group ``g`` from the anchor on, what it grows by a step, and for how many steps so."""
    group, pool = s.group[g], s.pool[p]
    row = pool.decode_at + group.decodes * pool.knots
    if pool.knots == 1:
        return s.table[row], 0.0, ENDLESS
    x = group.anchor_context / group.decodes + step
    i = _cell(s, p, x)
    knot = s.table[pool.knots_at + i]
    slope = (s.table[row + i + 1] - s.table[row + i]) / (s.table[pool.knots_at + i + 1] - knot)
    steps = math.ceil(s.table[pool.knots_at + i + 1] - x) if i < pool.knots - 2 else ENDLESS
    return s.table[row + i] + slope * (x - knot), slope, max(steps, 1)


@inlined
def joint_span(s: State, p: int, first: int, steps: int) -> float:
    """`decode_span` of the groups from ``first`` on, one of each rank, which step together: each step takes as long as the longest.

    The longest of lines that grow by a slope each is one line for a while: the sum is one arithmetic series after another.
    """
    pool = s.pool[p]
    tokens, host = 0, 0.0
    for g in range(first, first + pool.ranks):
        tokens += s.group[g].decodes
        if pool.shared_last >= 0 and s.group[g].decodes > 0:
            host = max(host, pool.host_step + pool.host_sequence * s.group[g].decodes)
    shared = shared_time(s, p, tokens, 0)
    total, done = 0.0, 0
    while done < steps:
        top, slope, count = (host, 0.0, steps - done) if pool.asynchronous else (-math.inf, 0.0, steps - done)
        for g in range(first, first + pool.ranks):
            if s.group[g].decodes > 0:
                value, growth, inside = _rank_line(s, p, g, done, shared)
                count = min(count, inside)
                if value > top or (value == top and growth > slope):
                    top, slope = value, growth
        for g in range(first, first + pool.ranks):
            if s.group[g].decodes > 0:
                value, growth, _ = _rank_line(s, p, g, done, shared)
                if growth > slope and (top - value) / (growth - slope) < count - 1:  # slopes may differ by a rounding alone
                    count = int((top - value) / (growth - slope)) + 1
        total += count * top + slope * (0.5 * count * (count - 1))
        done += count
    return float(total)


@jit
def _rank_line(s: State, p: int, g: int, step: int, shared: float) -> tuple[float, float, int]:
    """`_line` with what the ranks share, and with the host where it runs after the device."""
    pool = s.pool[p]
    value, growth, inside = _line(s, p, g, step)
    if pool.shared_last >= 0:
        value += shared
        if not pool.asynchronous:
            value += pool.host_step + pool.host_sequence * s.group[g].decodes
    return value, growth, inside


@inlined
def chunk_time(s: State, p: int, tokens: int, before: int) -> float:
    """Attention of a chunk of ``tokens`` prompt tokens after ``before`` cached ones."""
    pool = s.pool[p]
    start, end, w = float(before), float(before + tokens), pool.window
    area = end * end - start * start
    window_area = (min(end, w) ** 2 + 2.0 * w * max(end - w, 0.0)) - (min(start, w) ** 2 + 2.0 * w * max(start - w, 0.0))
    return float(max(pool.quad * area + (pool.window_quad * window_area if pool.window_quad > 0.0 else 0.0), pool.read * end))


@folded
def shared_time(s: State, p: int, tokens: int, prompts: int) -> float:
    """What all ranks wait for in a step of ``tokens`` tokens together, 0 where they share nothing; ``prompts``: some rank has a chunk."""
    last = s.pool[p].shared_last
    if last < 0:
        return 0.0
    at = s.pool[p].shared_at + (last + 1 if prompts > 0 else 0)
    if tokens <= last:
        return float(s.table[at + tokens])
    return float(s.table[at + last] + (tokens - last) * (s.table[at + last] - s.table[at + last - 1]))


@folded
def decode_time(s: State, p: int, sequences: int, context: int, shared: float) -> float:
    """One pure decode step of a rank beside ``shared`` seconds of all ranks."""
    pool = s.pool[p]
    own = _at_mean_context(s, pool.decode_at, p, sequences, context / sequences)
    if pool.shared_last < 0:
        return own
    host = pool.host_step + pool.host_sequence * sequences
    return float(max(own + shared, host) if pool.asynchronous else own + shared + host)


@inlined
def mixed_time(s: State, p: int, decodes: tuple[int, int], prompts: tuple[int, int, int, float], shared: float) -> float:
    """A step with prompts: ``decodes`` = (sequences, context); ``prompts`` = (tokens of the step, chunks, finished, chunk seconds);
    ``shared``: seconds of all ranks."""
    pool = s.pool[p]
    sequences, context = decodes
    tokens, chunks, finished, chunk_seconds = prompts
    last = pool.token_last
    if tokens <= last:
        device = s.table[pool.token_at + tokens]
    else:
        top = s.table[pool.token_at + last]
        device = top + (tokens - last) * (top - s.table[pool.token_at + last - 1])
    device += s.table[pool.sequence_at + sequences + finished] + pool.prefill_overhead + chunk_seconds
    if sequences > 0:
        device += pool.mixing * _at_mean_context(s, pool.attention_at, p, sequences, context / sequences)
    device += shared
    host = pool.host_step + pool.host_sequence * (sequences + chunks) + pool.host_prefill
    if pool.asynchronous:
        return float(max(device, host))
    return float(device + host)
