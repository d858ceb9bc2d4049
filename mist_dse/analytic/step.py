"""Time of engine steps, for arrays of batches: the vectorised reading of `rows.StepCost`.

A pure decode step is one look-up; a step with prompt chunks is the sum of its separable parts on the device, put together
with the host's time. The equations are in the docstring of `rows.StepCost`; counts may be fractional (mean batches), in
which case tables over counts are read linearly between neighbours. Step times here are of ranks that share nothing: `together`
puts what ranks share into the tables first.
"""

import numpy as np
from numpy.typing import ArrayLike

from mist_dse.rows import NOTHING_SHARED, Floats, StepCost


def line(table: Floats, position: ArrayLike) -> Floats:
    """``table`` at fractional positions, linear between entries; beyond the last entry the last slope goes on.

    >>> line(np.array([0.0, 1.0, 3.0]), [0.5, 2.0, 4.0])
    array([0.5, 3. , 7. ])
    """
    at = np.asarray(position, dtype=float)
    if len(table) < 2:
        return np.broadcast_to(table[0], at.shape).astype(float)
    low = np.clip(np.nan_to_num(at).astype(np.int64), 0, len(table) - 2)  # what is undefined stays so
    return np.asarray(table[low] + (at - low) * (table[low + 1] - table[low]))


def column(table: Floats, knots: Floats, context: float) -> Floats:
    """The [S_max + 1] values of a [S_max + 1, knots] table at one mean context (linear, beyond the last knot too)."""
    if len(knots) < 2:
        return table[:, 0]
    low = int(np.clip(np.searchsorted(knots, context, side="right") - 1, 0, len(knots) - 2))
    weight = (context - knots[low]) / (knots[low + 1] - knots[low])
    return np.asarray(table[:, low] + weight * (table[:, low + 1] - table[:, low]))


def plane(table: Floats, knots: Floats, sequences: ArrayLike, context: ArrayLike) -> Floats:
    """A [S_max + 1, knots] table at (sequences, mean context), linear in both; sequences are held inside the table."""
    count, mean = np.broadcast_arrays(np.asarray(sequences, dtype=float), np.asarray(context, dtype=float))
    count = np.clip(count, 0, len(table) - 1)
    row = np.minimum(count.astype(np.int64), max(len(table) - 2, 0))
    above = np.minimum(row + 1, len(table) - 1)
    if len(knots) < 2:
        return np.asarray(table[row, 0] + (count - row) * (table[above, 0] - table[row, 0]))
    low = np.clip(np.searchsorted(knots, mean, side="right") - 1, 0, len(knots) - 2)
    weight = (mean - knots[low]) / (knots[low + 1] - knots[low])
    near = table[row, low] + weight * (table[row, low + 1] - table[row, low])
    far = table[above, low] + weight * (table[above, low + 1] - table[above, low])
    return np.asarray(near + (count - row) * (far - near))


def chunk_time(cost: StepCost, tokens: ArrayLike, start: ArrayLike) -> Floats:
    """Attention seconds of chunks of ``tokens`` prompt tokens after ``start`` standing ones; 0 for empty chunks."""
    new, old = np.asarray(tokens, dtype=float), np.asarray(start, dtype=float)
    end = old + new
    pairs = cost.quad * (end**2 - old**2) + cost.window_quad * (_windowed(end, cost.window) - _windowed(old, cost.window))
    return np.where(new > 0, np.maximum(pairs, cost.read * end), 0.0)


def _windowed(length: Floats, window: float) -> Floats:
    return np.where(length <= window, length**2, window * (2 * length - window))


def combined(cost: StepCost, device: ArrayLike, host: ArrayLike) -> Floats:
    """Step seconds from the device's and the host's: the longer with asynchronous scheduling, else their sum."""
    first, second = np.asarray(device, dtype=float), np.asarray(host, dtype=float)
    return np.asarray(np.maximum(first, second) if cost.asynchronous else first + second)


def shared_time(cost: StepCost, tokens: ArrayLike, *, prompts: bool) -> Floats:
    """Seconds that all ranks wait for in steps of ``tokens`` tokens together; 0 where they share nothing."""
    if not cost.shared_time.size:
        return np.zeros(np.shape(tokens))
    return line(cost.shared_time[int(prompts)], tokens)


def together(cost: StepCost, shared: Floats) -> StepCost:
    """``cost`` with what ranks share inside its tables, where a rank's T tokens mean ``shared`` [2, T_max + 1] s of all ranks."""
    if not cost.shared_time.size:
        return cost
    counts = np.arange(len(cost.decode_step))
    host = cost.host_step + cost.host_sequence * counts[:, None]
    pure = np.where(counts[:, None] > 0, combined(cost, cost.decode_step + line(shared[0], counts)[:, None], host), 0.0)
    tokens = np.arange(max(len(cost.token_time), shared.shape[1]))
    mixed = line(cost.token_time, tokens) + line(shared[1], tokens)
    return cost._replace(token_time=mixed, decode_step=pure, shared_time=NOTHING_SHARED)


def decode_time(cost: StepCost, sequences: ArrayLike, context: ArrayLike) -> Floats:
    """Seconds of a pure decode step of ``sequences`` at mean ``context``."""
    return plane(cost.decode_step, cost.knots, sequences, context)


def step_time(
    cost: StepCost, sequences: ArrayLike, context: ArrayLike, *, chunk: ArrayLike = (), start: ArrayLike = (), finished: ArrayLike = 0
) -> Floats:
    """Seconds of steps that decode ``sequences`` [...] at mean ``context`` [...] beside prompt chunks.

    ``chunk`` and ``start`` [..., m]: new tokens of each chunk and tokens standing before it (0 new tokens = no chunk);
    ``finished`` [...]: prompts that the step completes. A step without chunks is a pure decode step.
    """
    new, old = np.asarray(chunk, dtype=float), np.asarray(start, dtype=float)
    count = np.asarray(sequences, dtype=float)
    chunks = (new > 0).sum(axis=-1)
    device = (
        line(cost.token_time, count + new.sum(axis=-1))
        + line(cost.sequence_time, np.minimum(count + np.asarray(finished, dtype=float), len(cost.sequence_time) - 1))
        + cost.mixing * plane(cost.decode_attention, cost.knots, count, context)
        + cost.prefill_overhead
        + chunk_time(cost, new, old).sum(axis=-1)
    )
    host = cost.host_step + cost.host_sequence * (count + chunks) + cost.host_prefill
    return np.where(chunks > 0, combined(cost, device, host), decode_time(cost, count, context))
