"""The step tables of one pool: `perf.step` evaluated once on grids of tokens, sequences and contexts.

The token table is unpadded; pure decode steps are padded to the engine's captured graph sizes. Communication hides behind
compute by the profile's overlap: T = max + (1 - overlap)(sum - max). The slopes of `Load` are lower envelopes of these same
tables, so no schedule can beat them.
"""

import numpy as np

from mist_dse.perf import shapes, step
from mist_dse.perf.load import linear_flop_per_token, step_weight_bytes
from mist_dse.perf.network import Level, fabric, spans
from mist_dse.rows import CHUNKED, Floats, Ints, Load, StepCost
from mist_dse.specs.design import BATCHING_POLICIES, Pool
from mist_dse.specs.hardware import Topology

TOKEN_LIMIT = 32_768
"""Longest token table; longer steps follow its last slope."""

KNOTS = 10
"""Context grid points between 0 and the longest sequence."""


def step_cost(pool: Pool, topology: Topology, *, longest: int, max_len: int) -> StepCost:
    """All tables of one pool. ``longest``: the longest prompt asked; ``max_len``: the longest sequence held."""
    levels = fabric(pool.accelerator, topology)
    sequences = np.arange(pool.batching.max_num_seqs + 1, dtype=float)
    padded = padded_sequences(pool)
    token_time = _token_time(pool, levels, np.arange(_tokens(pool, longest, int(padded[-1])) + 1, dtype=float))
    sequence_time = np.asarray(step.head_time(pool, levels, sequences))
    knots = context_knots(pool, max_len)
    attention = np.asarray(step.decode_attention_time(pool, sequences[:, None], knots[None, :]))
    prefill, engine = step.prefill_attention(pool), pool.engine
    return StepCost(
        token_time=token_time, sequence_time=sequence_time, decode_attention=attention,
        decode_step=_decode_step(pool, (token_time[padded] + sequence_time)[:, None] + attention, sequences[:, None]),
        knots=knots, quad=prefill.quad, window_quad=prefill.window_quad, window=prefill.window, read=prefill.read,
        prefill_overhead=prefill.overhead, mixing=float(engine.mixing_factor), host_step=float(engine.host_step),
        host_sequence=float(engine.host_sequence), host_prefill=float(engine.host_prefill), asynchronous=engine.async_scheduling,
        stage_share=_stage_share(pool, levels),
    )  # fmt: skip


def step_slopes(pool: Pool, topology: Topology, cost: StepCost) -> Load:
    """Speed-of-light and marginal seconds per unit of work; devices of a pipeline share a step, so its units are divided by pp."""
    model, layout, dtypes, accelerator = pool.model, pool.parallelism, pool.dtypes, pool.accelerator
    head = shapes.head_matrix(model, layout, dtypes)
    kinds = [kind for kind in shapes.attentions(model, layout, dtypes) if np.isinf(kind.window)]
    peak, bandwidth = accelerator.peaks.at(dtypes.compute) * layout.pp, accelerator.memory_bandwidth * layout.pp
    pair_flop = sum(kind.layers * min(kind.prefill_flop, kind.decode_flop) for kind in kinds)
    context_bytes = sum(kind.layers * kind.kv_bytes for kind in kinds)
    weights = float(step_weight_bytes(model, layout, dtypes, 1.0)) + head.parameters * head.weight
    return Load(
        flop_seconds_token=linear_flop_per_token(model, layout, dtypes) / peak,
        flop_seconds_pair=pair_flop / (accelerator.peaks.at(step.decode_dtype(pool)) * layout.pp),
        byte_seconds_step=weights / bandwidth,
        byte_seconds_context=context_bytes / bandwidth,
        link_seconds_token=_link_seconds(pool, fabric(accelerator, topology)),
        token_fit=_token_fit(cost.token_time),
        pair_fit=2 * cost.quad,
        context_fit=min(1.0, cost.mixing) * _context_fit(cost),
    )


def padded_sequences(pool: Pool) -> Ints:
    """The batch that a pure decode step of each sequence count runs at: the next captured graph, or itself past the largest."""
    sequences = np.arange(pool.batching.max_num_seqs + 1)
    sizes = np.array(sorted(pool.engine.graph_sizes), dtype=np.int64)
    position = np.searchsorted(sizes, sequences)
    captured = np.append(sizes, 0)[position]
    padded = np.where((position < len(sizes)) & (sequences > 0), captured, sequences)
    return np.asarray(padded, dtype=np.int64)


def context_knots(pool: Pool, max_len: int) -> Floats:
    """Mean contexts at which decode is tabulated: 0, a geometric grid to the longest sequence, and every window."""
    windows = [kind.window for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes) if np.isfinite(kind.window)]
    grid = np.geomspace(min(128, max_len / 2), max(max_len, 2), KNOTS)
    return np.unique(np.concatenate(([0.0], grid, windows)))


def _tokens(pool: Pool, longest: int, padded: int) -> int:
    chunked = BATCHING_POLICIES.index(pool.batching.policy) == CHUNKED
    wanted = max(pool.batching.max_num_batched_tokens, 0 if chunked else longest)
    return max(min(wanted, TOKEN_LIMIT), padded, 2)


def _token_time(pool: Pool, levels: tuple[Level, ...], tokens: Floats) -> Floats:
    compute = pool.engine.linear_factor * step.linear_time(pool, tokens)
    sent = step.communication_time(pool, levels, tokens)
    total = np.maximum(compute, sent) + (1 - pool.engine.overlap) * np.minimum(compute, sent)
    total[0] = 0.0
    return np.asarray(total)


def _decode_step(pool: Pool, device: Floats, sequences: Floats) -> Floats:
    host = pool.engine.host_step + pool.engine.host_sequence * sequences
    total = np.maximum(device, host) if pool.engine.async_scheduling else device + host
    return np.asarray(np.where(sequences > 0, total, 0.0))


def _stage_share(pool: Pool, levels: tuple[Level, ...]) -> float:
    batching = pool.batching
    full = step.stage_share(pool, levels, batching.max_num_batched_tokens, 1)
    return max(full, step.stage_share(pool, levels, batching.max_num_seqs, batching.max_num_seqs))


def _link_seconds(pool: Pool, levels: tuple[Level, ...]) -> float:
    """Busiest level of hierarchical all-reduces at the links' effective bandwidth."""
    layout, inside, slowest = pool.parallelism, 1, 0.0
    for span in spans(levels, layout.tp):
        slowest = max(slowest, 2 * (span.ways - 1) / span.ways / inside / span.hop.bandwidth)
        inside *= span.ways
    reduces = 2 * pool.model.layers + 1 - (pool.model.moe_layers if layout.dp > 1 else 0)
    return reduces * pool.model.hidden * step.ACTIVATION * slowest / layout.pp


def _token_fit(token_time: Floats) -> float:
    """Largest slope through the origin that stays below the table and its extension."""
    return float(min(np.min(token_time[1:] / np.arange(1, len(token_time))), token_time[-1] - token_time[-2]))


def _context_fit(cost: StepCost) -> float:
    """Least slope of decode attention per context token over the table."""
    rows = np.arange(1, len(cost.decode_attention))[:, None]
    slopes = np.diff(cost.decode_attention[1:], axis=1) / np.diff(cost.knots)[None, :] / rows
    return float(max(np.min(slopes, initial=np.inf), 0.0))
