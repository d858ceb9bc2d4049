"""Time of the parts of one engine step on one rank: linear layers, communication, output head, attention.

    linear(T) = sum of GEMMs, experts and element-wise kernels      communication(T) = all-reduces, dispatch, stage hops
    head(S) = logits, their gather, sampling                        decode(S, x) = KV reads of S sequences of context x
    chunk(q, c) = max(quad (A(c + q) - A(c)) + windows, read (c + q))

Per layer five element-wise kernels: two residual-and-norm passes (8 T hidden bytes each), rotary embedding (4 T queries), gate
(6 T width), KV write. A mixture of experts takes 12 us + max(FLOP of max(pairs, 8 per distinct expert), bytes of distinct
experts). With attention data parallelism the mixture sees the tokens of all ranks, taken as ranks x own tokens: exact when
ranks are balanced, low where one rank idles.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf import collective, shapes
from mist_dse.perf.load import Number, distinct_experts
from mist_dse.perf.network import Level, spans
from mist_dse.perf.operator import Coefficients, coefficients, operator_time
from mist_dse.specs.design import STORAGE_BYTES, Pool

ACTIVATION = 2.0
"""Bytes of an activation between kernels (16 bit)."""

LINEAR_STATE_MEMORY = 0.6
"""Share of memory bandwidth that recurrent states move at (served Qwen3.5)."""

EXPERT_TILE = 8
"""Least rows that an expert kernel multiplies per distinct expert."""


class PrefillAttention(NamedTuple):
    """Coefficients of ``chunk`` (see `rows.StepCost`), seconds."""

    quad: float
    window_quad: float
    window: float
    read: float
    overhead: float


def linear_time(pool: Pool, tokens: Number) -> Number:
    """GEMMs, experts and element-wise kernels of ``tokens`` tokens through all layers, s."""
    model, accelerator = pool.model, pool.accelerator
    total: Number = np.zeros_like(tokens, dtype=float)
    for matrix in shapes.matrices(model, pool.parallelism, pool.dtypes):
        total = total + matrix.times * _product_time(pool, matrix, tokens)
    mixture = shapes.experts(model, pool.parallelism, pool.dtypes)
    if mixture is not None:
        total = total + mixture.layers * expert_time(mixture, coefficients(accelerator, "moe", pool.dtypes.compute), tokens)
    if model.linear_layers:
        flop = 6.0 * model.lin_value_heads * model.lin_key_dim * model.lin_value_dim / pool.parallelism.tp
        total = total + model.linear_layers * operator_time(coefficients(accelerator, "attention_prefill", "bf16"), tokens * flop, 0.0)
    return total + _elementwise_time(pool, tokens)


def expert_time(mixture: shapes.Experts, fit: Coefficients, tokens: Number) -> Number:
    """One layer of routed experts: the slowest rank's tokens, the distinct experts' weights, s."""
    distinct = distinct_experts(mixture, tokens)
    pairs = tokens * (mixture.ranks * mixture.top_k * mixture.local / mixture.total * mixture.imbalance)
    rows = np.maximum(pairs, EXPERT_TILE * distinct)
    return operator_time(fit, 2.0 * mixture.values * rows, mixture.bytes_each * distinct)


def communication_time(pool: Pool, levels: tuple[Level, ...], tokens: Number) -> Number:
    """All collectives of one step but the logits' gather, s.

    Tensor parallelism: two all-reduces per layer and one for the embedding. Attention data parallelism: mixture layers send
    each token to its experts' ranks and back instead of the second all-reduce (one byte per value there, two back).
    Pipeline: one activation hop between stages.
    """
    model, layout = pool.model, pool.parallelism
    size = tokens * (model.hidden * ACTIVATION)
    dispatched = model.moe_layers if layout.dp > 1 else 0
    total: Number = np.zeros_like(tokens, dtype=float)
    if layout.tp > 1:
        total = total + (2 * model.layers + 1 - dispatched) * collective.all_reduce_time(spans(levels, layout.tp), size)
    if dispatched:
        copies = min(model.top_k, layout.ep) * model.hidden
        group = spans(levels, max(layout.tp * layout.dp, 1))
        there, back = (collective.all_to_all_time(group, tokens * (copies * width)) for width in (1.0, ACTIVATION))
        total = total + dispatched * (there + back)
    return total + (layout.pp - 1) * stage_hop_time(pool, levels, tokens)


def stage_hop_time(pool: Pool, levels: tuple[Level, ...], tokens: Number) -> Number:
    """One activation from a pipeline stage to the next, each tensor rank sending its share, s."""
    layout = pool.parallelism
    if layout.pp == 1:
        return np.zeros_like(tokens, dtype=float)
    hop = collective.narrowest(spans(levels, layout.pp, layout.tp * layout.dp))
    return hop.latency + tokens * (pool.model.hidden * ACTIVATION / layout.tp) / hop.bandwidth


def head_time(pool: Pool, levels: tuple[Level, ...], sequences: Number) -> Number:
    """Logits of ``sequences`` rows, their gather over tensor ranks and a pass that samples, s; 0 rows cost nothing."""
    matrix = shapes.head_matrix(pool.model, pool.parallelism, pool.dtypes)
    rows = sequences * (pool.model.vocab * ACTIVATION)
    total = _product_time(pool, matrix, sequences) + operator_time(coefficients(pool.accelerator, "elementwise", "bf16"), 0.0, 3 * rows)
    if pool.parallelism.tp > 1:
        total = total + collective.all_gather_time(spans(levels, pool.parallelism.tp), rows)
    return np.where(np.asarray(sequences) > 0, total, 0.0)


def decode_attention_time(pool: Pool, sequences: Number, context: Number) -> Number:
    """Attention of ``sequences`` decoding sequences of mean ``context`` tokens through all layers, engine factor included, s."""
    fit = decode_fit(pool)
    total: Number = np.zeros(np.broadcast_shapes(np.shape(sequences), np.shape(context)))
    for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes):
        pairs = sequences * np.minimum(context, kind.window)
        total = total + kind.layers * operator_time(fit, pairs * kind.decode_flop, pairs * kind.kv_bytes)
    state = shapes.linear_state_bytes(pool.model, pool.parallelism)
    if state:
        moved = 2.0 * sequences * state / (LINEAR_STATE_MEMORY * pool.accelerator.memory_bandwidth)
        total = total + pool.model.linear_layers * fit.overhead + moved
    return np.where(np.asarray(sequences) > 0, pool.engine.attention_factor * total, 0.0)


def decode_fit(pool: Pool) -> Coefficients:
    """Coefficients of decode attention."""
    return coefficients(pool.accelerator, "attention_decode", decode_dtype(pool))


def decode_dtype(pool: Pool) -> str:
    """Datatype of decode attention: bf16, or fp8 where latent attention keeps an fp8 cache on a device with fp4 units.

    Such kernels exist for Blackwell and not for Hopper (TensorRT-LLM's generation kernels); fp4 units tell the two apart.
    """
    narrow = pool.model.is_latent and pool.dtypes.kv == "fp8" and pool.accelerator.peaks.fp4 is not None
    return "fp8" if narrow else "bf16"


def prefill_attention(pool: Pool) -> PrefillAttention:
    """Coefficients of a prompt chunk's attention; causal, so FLOP are half of those of the square."""
    fit = coefficients(pool.accelerator, "attention_prefill", "bf16")
    kinds = shapes.attentions(pool.model, pool.parallelism, pool.dtypes)
    whole = [kind for kind in kinds if np.isinf(kind.window)]
    windowed = [kind for kind in kinds if not np.isinf(kind.window)]
    return PrefillAttention(
        quad=sum(kind.layers * kind.prefill_flop for kind in whole) / 2 / fit.flops,
        window_quad=sum(kind.layers * kind.prefill_flop for kind in windowed) / 2 / fit.flops,
        window=min((kind.window for kind in windowed), default=0.0),
        read=sum(kind.layers * kind.kv_bytes for kind in whole) / fit.bandwidth,
        overhead=sum(kind.layers for kind in kinds) * fit.overhead,
    )


def stage_share(pool: Pool, levels: tuple[Level, ...], tokens: Number, sequences: Number) -> float:
    """Longest pipeline stage over the sum of stages, for a step of ``tokens`` tokens of which ``sequences`` emit.

    Layers are split evenly; the last stage makes the logits, all but the last send their activations on.
    """
    pp = pool.parallelism.pp
    if pp == 1:
        return 1.0
    hop, head = float(stage_hop_time(pool, levels, float(tokens))), float(head_time(pool, levels, float(sequences)))
    layers = float(linear_time(pool, float(tokens)) + communication_time(pool, levels, float(tokens))) - (pp - 1) * hop
    return max(layers / pp + hop, layers / pp + head) / (layers + (pp - 1) * hop + head)


def provenance(pool: Pool) -> dict[str, str]:
    """Where each coefficient and capacity of a pool comes from."""
    compute = pool.accelerator.peaks.native(pool.dtypes.compute)
    found = {family: coefficients(pool.accelerator, family, dtype).provenance for family, dtype in (
        ("gemm", compute), ("attention_prefill", "bf16"), ("attention_decode", "bf16"), ("elementwise", "bf16"))}  # fmt: skip
    if pool.model.experts:
        found["moe"] = coefficients(pool.accelerator, "moe", compute).provenance
    if compute != pool.dtypes.compute:
        found["compute"] = f"{pool.dtypes.compute} computed in {compute}: no native units"
    found["memory"] = "visible memory" if pool.accelerator.visible_memory is not None else "assumed 0.95 of nominal memory"
    found["engine"] = pool.engine.source or "unsourced profile"
    return found


def _product_time(pool: Pool, matrix: shapes.Matrix, rows: Number) -> Number:
    fit = coefficients(pool.accelerator, "gemm", matrix.dtype)
    taken = min(STORAGE_BYTES[_STORED[pool.accelerator.peaks.native(matrix.dtype)]], ACTIVATION)
    moved = matrix.n * matrix.k * matrix.weight + rows * (matrix.k * taken + matrix.n * ACTIVATION)
    return operator_time(fit, rows * (2.0 * matrix.n * matrix.k), moved)


_STORED = {"fp32": "fp32", "tf32": "fp32", "bf16": "bf16", "fp8": "fp8", "int8": "int8", "fp4": "nvfp4"}


def _elementwise_time(pool: Pool, tokens: Number) -> Number:
    model, tp, fit = pool.model, pool.parallelism.tp, coefficients(pool.accelerator, "elementwise", "bf16")
    kinds = shapes.attentions(model, pool.parallelism, pool.dtypes)
    kv = max((kind.kv_bytes for kind in kinds), default=0.0)
    width = (
        model.ffn
        if model.dense_layers >= model.moe_layers
        else model.shared_experts * model.shared_expert_ffn + model.top_k * model.expert_ffn
    )
    per_layer = [8.0 * model.hidden, 8.0 * model.hidden, 4.0 * model.heads * model.head_dim / tp, 6.0 * width / tp, 2.0 * kv]
    layer: Number = sum(operator_time(fit, 0.0, tokens * size) for size in per_layer)
    return model.layers * layer + operator_time(fit, 0.0, tokens * (2 * ACTIVATION * model.hidden))
