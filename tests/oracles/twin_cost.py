"""The length of one rank's step, read off the docstring of `rows.StepCost`."""

from collections.abc import Sequence

from mist_dse import rows
from tests.oracles.twin_state import Batch, Replica


def shared_length(cost: rows.StepCost, tokens: int, prompted: bool) -> float:
    """Seconds that all ranks wait for in a step of so many tokens in all of them."""
    return along(cost.shared_time[int(prompted)], tokens) if cost.shared_time.size else 0.0


def step_length(cost: rows.StepCost, decodes: int, context: int, chunks: Sequence[tuple[int, int, bool]], shared: float = 0.0) -> float:
    """Seconds of a rank's step: decodes with so much context in all, and chunks of (new tokens, computed before, last of its prompt),
    beside what it ``shared`` with other ranks."""
    mean = context / decodes if decodes else 0.0
    tokens = decodes + sum(new for new, _, _ in chunks)
    if not chunks:
        length = at_context(cost, cost.decode_step[decodes], mean)
        if not cost.shared_time.size:
            return length
        busy = cost.host_step + cost.host_sequence * decodes
        return float(max(length + shared, busy) if cost.asynchronous else length + shared + busy)
    finished = sum(last for _, _, last in chunks)
    device = along(cost.token_time, tokens) + float(cost.sequence_time[decodes + finished])
    device += cost.mixing * at_context(cost, cost.decode_attention[decodes], mean)
    device += cost.prefill_overhead + sum(chunk_time(cost, new, before) for new, before, _ in chunks)
    device += shared
    host = cost.host_step + cost.host_sequence * (decodes + len(chunks)) + cost.host_prefill
    return float(max(device, host) if cost.asynchronous else device + host)


def chunk_time(cost: rows.StepCost, new: int, before: int) -> float:
    """Attention of ``new`` tokens after ``before``: bound by arithmetic (triangles, cut at the window) or by reading."""

    def inside(x: float) -> float:
        return x * x if x <= cost.window else cost.window * (2 * x - cost.window)

    after = before + new
    arithmetic = cost.quad * (after * after - before * before) + cost.window_quad * (inside(after) - inside(before))
    return max(arithmetic, cost.read * after)


def along(table: Sequence[float] | rows.Floats, tokens: int) -> float:
    """A table over T; its last slope goes on beyond it."""
    last = len(table) - 1
    if tokens <= last:
        return float(table[tokens])
    return float(table[last]) + (tokens - last) * (float(table[last]) - float(table[last - 1]))


def at_context(cost: rows.StepCost, table: rows.Floats, x: float) -> float:
    """A table over the mean context: linear between knots, its last piece goes on beyond them."""
    knots = [float(knot) for knot in cost.knots]
    piece = max(i for i in range(len(knots) - 1) if i == 0 or knots[i] <= x)
    low, high = float(table[piece]), float(table[piece + 1])
    return low + (high - low) * ((x - knots[piece]) / (knots[piece + 1] - knots[piece]))


def streaming(replica: Replica, prompt: int) -> float:
    """Share of the front end that output tokens take: those of one decode step of the fullest rank, at contexts of ``prompt``."""
    engine = replica.engine
    decoding = [sum(visit.emitted_here for visit in rank.running) for rank in replica.ranks]
    if engine.front_end_output == 0.0 or engine.policy == rows.STATIC or not sum(decoding):
        return 0.0
    shared = shared_length(replica.cost, sum(decoding), False)
    length = step_length(replica.cost, max(decoding), max(decoding) * prompt, [], shared)
    return min(engine.front_end_output * sum(decoding) / length, 0.95) if length > 0 else 0.95


def length_of(replica: Replica, batch: Batch, shared: float) -> float:
    """Seconds of the batch beside what the ranks share."""
    chunks = [(new, before, new == visit.rem) for visit, new, before in batch.chunks]
    return step_length(replica.cost, len(batch.decodes), batch.context, chunks, shared)
