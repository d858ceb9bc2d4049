"""The step tables of one pool: `perf.step` evaluated once on grids of tokens, sequences and contexts.

Pure decode steps are padded to the engine's captured graph sizes and take the profile's ``linear_factor``; steps that prefill
are not padded and take its ``prefill_factor``. Communication hides behind compute by the profile's overlap:
T = max + (1 - overlap)(sum - max). The slopes of `Load` are lower envelopes of these same tables, so no schedule can beat them.

With speculation a decode step computes g + 1 tokens per sequence in the linear layers, experts, collectives and head, reads each
cache once for them, and drafts g times: g (layers' share + head) of a plain step. In steps with prompts, whose table counts one
token per sequence, the other g cost its last slope (exact where compute bound, at most g x slope too much per sequence where not),
and the draft model computes the prompts as well; a prompt that ends counts as a verifying sequence. The profile's
``residue_sequence`` is per row of the head.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mist_dse.perf import shapes, step
from mist_dse.perf.kernels import ACTIVATION
from mist_dse.perf.launch import launch_time
from mist_dse.perf.load import linear_flop_per_token, step_weight_bytes
from mist_dse.perf.network import Level, fabric, spans
from mist_dse.perf.operator import soft_maximum
from mist_dse.rows import CHUNKED, NOTHING_SHARED, PREFILL_FIRST, Floats, Ints, Load, StepCost
from mist_dse.specs.design import BATCHING_POLICIES, Pool
from mist_dse.specs.hardware import Topology

TOKEN_LIMIT = 32_768
"""Longest token table; longer steps follow its last slope."""

KNOTS = 10
"""Context grid points between 0 and the longest sequence."""

LAUNCH_CORNER = 4.0
"""Sharpness of the longer of computing and launching: a step starts and ends with the host alone."""


def step_cost(pool: Pool, topology: Topology, *, longest: int, max_len: int, lag: float = 0.0) -> StepCost:
    """All tables of one pool. ``longest``: the longest prompt asked; ``max_len``: the longest sequence held; ``lag``: tokens by
    which real contexts are longer than those of visits (`stages.decode.context_lag`)."""
    levels = fabric(pool.accelerator, topology)
    sequences = np.arange(pool.batching.max_num_seqs + 1, dtype=float)
    padded = padded_sequences(pool)
    tokens = np.arange(_tokens(pool, longest, int(padded[-1]) * pool.verified) + 1, dtype=float)
    compute, sent = _device_times(pool, levels, tokens)
    verified = sequences * pool.verified
    sequence_time = step.head_time(pool, levels, verified) + pool.engine.residue + pool.engine.residue_sequence * verified
    knots = context_knots(pool, max_len, lag)
    attention = np.asarray(step.decode_attention_time(pool, sequences[:, None], knots[None, :] + lag))
    prefill, engine = step.prefill_attention(pool), pool.engine
    factor = engine.prefill_factor
    rows = padded * pool.verified
    decode = _overlapped(engine.overlap, engine.linear_factor * compute[rows], sent[rows]) + sequence_time
    device = _overlapped(engine.overlap, compute, sent) + prefill.token * tokens
    token_time = factor * np.where(tokens > 0, soft_maximum(device, launch_time(pool, tokens), LAUNCH_CORNER), 0.0)
    shared = _shared_time(pool, len(tokens) - 1)
    if pool.speculation is not None:
        share, plain = _draft_shares(pool), replace(pool, speculation=None)
        once = _overlapped(engine.overlap, engine.linear_factor * compute[padded], sent[padded])
        draft = share.steps * (share.layers * once + share.head * step.head_time(pool, levels, sequences))
        extra = (pool.verified - 1) * sequences * (_last_slope(token_time) + pool.parallelism.dp * _last_slope(shared[1]))
        seen = step.decode_attention_time(plain, sequences[:, None], knots[None, :] + lag)
        attention = attention + share.steps * share.layers * np.asarray(seen)
        decode, sequence_time = decode + draft, sequence_time + draft + extra
        factor, token_time = factor * (1 + share.layers), (1 + share.layers) * token_time
    return StepCost(
        token_time=token_time,
        sequence_time=sequence_time, decode_attention=attention,
        decode_step=_decode_step(pool, decode[:, None] + attention, sequences[:, None], shared=bool(shared.size)),
        knots=knots, quad=factor * prefill.quad, window_quad=factor * prefill.window_quad, window=prefill.window,
        read=factor * prefill.read, prefill_overhead=factor * prefill.overhead,
        mixing=float(engine.mixing_factor), host_step=float(engine.host_step),
        host_sequence=float(engine.host_sequence), host_prefill=float(engine.host_prefill), asynchronous=engine.async_scheduling,
        stage_share=_stage_share(pool, levels), shared_time=shared,
    )  # fmt: skip


def step_slopes(pool: Pool, topology: Topology, cost: StepCost) -> Load:
    """Speed-of-light and marginal seconds per unit of work; devices of a pipeline share a step, so its units are divided by pp."""
    model, layout, dtypes, accelerator = pool.model, pool.parallelism, pool.dtypes, pool.accelerator
    head = shapes.head_matrix(model, layout, dtypes)
    kinds = [kind for kind in shapes.attentions(model, layout, dtypes) if np.isinf(kind.window)]
    peak, bandwidth = accelerator.peaks.at(dtypes.compute) * layout.pp, accelerator.memory_bandwidth * layout.pp
    pair_seconds = sum(
        kind.layers * min(kind.prefill_flop, kind.decode_flop) / accelerator.peaks.at(step.pair_dtype(pool, kind)) for kind in kinds
    )
    context_bytes = sum(kind.layers * kind.kv_bytes for kind in kinds)
    weights = float(step_weight_bytes(model, layout, dtypes, 1.0)) + head.parameters * head.weight
    return Load(
        flop_seconds_token=linear_flop_per_token(model, layout, dtypes) / peak,
        flop_seconds_pair=pair_seconds / layout.pp,
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


def context_knots(pool: Pool, max_len: int, lag: float = 0.0) -> Floats:
    """Mean contexts at which decode is tabulated: 0, a geometric grid to the longest sequence, and where a window is full."""
    windows = [
        max(kind.window - lag, 0.0) for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes) if np.isfinite(kind.window)
    ]
    grid = np.geomspace(min(128, max_len / 2), max(max_len, 2), KNOTS)
    return np.unique(np.concatenate(([0.0], grid, windows)))


def _tokens(pool: Pool, longest: int, padded: int) -> int:
    chunked = BATCHING_POLICIES.index(pool.batching.policy) in (CHUNKED, PREFILL_FIRST)
    wanted = max(pool.batching.max_num_batched_tokens, 0 if chunked else longest)
    return max(min(wanted, TOKEN_LIMIT), padded, 2)


def _device_times(pool: Pool, levels: tuple[Level, ...], tokens: Floats) -> tuple[Floats, Floats]:
    """Seconds of computing and of communicating a step of ``tokens`` tokens; nothing for none."""
    work = tokens > 0
    return np.where(work, step.linear_time(pool, tokens), 0.0), np.where(work, step.communication_time(pool, levels, tokens), 0.0)


def _overlapped(overlap: float, compute: Floats, sent: Floats) -> Floats:
    return np.maximum(compute, sent) + (1 - overlap) * np.minimum(compute, sent)


class _Draft(NamedTuple):
    """What drafting costs: ``steps`` draft steps, each a share of a plain decode step's ``layers`` and of its ``head``."""

    steps: int
    layers: float
    head: float


def _draft_shares(pool: Pool) -> _Draft:
    asked = pool.speculation
    if asked is None:
        return _Draft(0, 0.0, 0.0)
    if asked.draft_share is None:
        return _Draft(asked.draft_tokens, 1 / pool.model.layers, 1.0)
    return _Draft(asked.draft_tokens, asked.draft_share, asked.draft_share)


def _shared_time(pool: Pool, most: int) -> Floats:
    """Routed experts for the tokens of all ranks, each with up to ``most``: in steps of decodes alone, and with prompts."""
    ranks, engine, draft = pool.parallelism.dp, pool.engine, _draft_shares(pool)
    if ranks == 1 or not pool.model.experts:
        return NOTHING_SHARED
    tokens = np.arange(min(ranks * most, TOKEN_LIMIT) + 1, dtype=float)
    once = np.where(tokens > 0, step.mixture_time(pool, tokens), 0.0)
    verify = np.where(tokens > 0, step.mixture_time(pool, tokens * pool.verified), 0.0)
    decode = engine.linear_factor * (verify + draft.steps * draft.layers * once)
    return np.stack([decode, engine.prefill_factor * (1 + draft.layers) * once])


def _last_slope(table: Floats) -> float:
    return float(table[-1] - table[-2]) if len(table) > 1 else 0.0


def _decode_step(pool: Pool, device: Floats, sequences: Floats, *, shared: bool) -> Floats:
    if shared:
        return np.asarray(np.where(sequences > 0, device, 0.0))
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
    return reduces * pool.model.hidden * ACTIVATION * slowest / layout.pp


def _token_fit(token_time: Floats) -> float:
    """Largest slope through the origin that stays below the table and its extension."""
    return float(min(np.min(token_time[1:] / np.arange(1, len(token_time))), token_time[-1] - token_time[-2]))


def _context_fit(cost: StepCost) -> float:
    """Least slope of decode attention per context token over the table."""
    rows = np.arange(1, len(cost.decode_attention))[:, None]
    slopes = np.diff(cost.decode_attention[1:], axis=1) / np.diff(cost.knots)[None, :] / rows
    return float(max(np.min(slopes, initial=np.inf), 0.0))
