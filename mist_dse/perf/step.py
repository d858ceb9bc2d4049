"""Time of the parts of one engine step on one rank: linear layers, communication, output head, attention.

    linear(T) = sum of GEMMs, experts and element-wise kernels      communication(T) = all-reduces, dispatch, stage hops
    head(S) = logits, their gather, sampling                        decode(S, x) = KV reads of S sequences of context x
    chunk(q, c) = max(quad (A(c + q) - A(c)) + windows, read (c + q))

Per layer five element-wise kernels: two residual-and-norm passes (8 T hidden bytes each), rotary embedding (4 T queries), gate
(6 T width), KV write; two more in linear layers, which split the projection (4 T of it) and norm and gate the values (6 T values).
Products, experts and attention are calls of `perf.kernels` at coefficients of `perf.operator`. With attention data
parallelism the mixture sees the tokens of all ranks, so its time stands apart (`mixture_time`); what a rank sends to the others'
experts is its own. Linear and sparse attention: `recurrent`, `sparse`.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf import collective, power, recurrent, shapes, sparse
from mist_dse.perf.kernels import ACTIVATION, QUERY_TILE, KernelWork, Mixture, kernel_time, mixture_work, product_work
from mist_dse.perf.load import Number
from mist_dse.perf.network import Level, spans
from mist_dse.perf.operator import Coefficients, coefficients, coefficients_of, operator_fit, operator_time
from mist_dse.perf.tables import product_table, product_time
from mist_dse.specs.design import Pool

NARROW = ("fp8", "int8", "fp4")
"""Datatypes whose products quantise their inputs first."""


class PrefillAttention(NamedTuple):
    """Coefficients of ``chunk`` (see `rows.StepCost`), seconds; ``token``: linear part, per token of the step."""

    quad: float
    window_quad: float
    window: float
    read: float
    overhead: float
    token: float


def linear_time(pool: Pool, tokens: Number) -> Number:
    """GEMMs, element-wise kernels and, but for attention data parallelism, `mixture_time` of ``tokens`` tokens through all layers, s."""
    model = pool.model
    total: Number = np.zeros_like(tokens, dtype=float)
    for matrix in shapes.matrices(model, pool.parallelism, pool.dtypes):
        total = total + matrix.times * matrix_time(pool, matrix, tokens)
    if model.experts and pool.parallelism.dp == 1:
        total = total + mixture_time(pool, tokens)
    return total + _elementwise_time(pool, tokens)


def mixture_time(pool: Pool, tokens: Number) -> Number:
    """Routed experts of all layers, with the engine's time per layer of them, for ``tokens`` tokens of all ranks together, s."""
    engine, mixture = pool.engine, shapes.experts(pool.model, pool.parallelism, pool.dtypes)
    if mixture is None:
        return np.zeros_like(tokens, dtype=float)
    fit = coefficients(pool.accelerator, "moe", pool.dtypes.compute, mixture.storage, engine.family)
    return mixture.layers * (engine.moe_factor * expert_time(mixture, fit, tokens / mixture.ranks) + engine.moe_layer_time)


def expert_time(mixture: shapes.Experts, fit: Coefficients, tokens: Number) -> Number:
    """One layer of routed experts on the slowest rank for ``tokens`` tokens of every rank, s."""
    whole = Mixture(
        experts=mixture.total, top_k=mixture.top_k, ranks=mixture.total / mixture.local, hidden=mixture.hidden, width=mixture.width,
        weight=mixture.weight, taken=min(mixture.weight, ACTIVATION), matrices=mixture.matrices, skew=mixture.imbalance,
    )  # fmt: skip
    return kernel_time(fit, mixture_work(tokens * mixture.ranks, whole))


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
    total = matrix_time(pool, matrix, sequences) + operator_time(coefficients(pool.accelerator, "elementwise", "bf16"), 0.0, 3 * rows)
    if pool.parallelism.tp > 1:
        total = total + collective.all_gather_time(spans(levels, pool.parallelism.tp), rows)
    return np.where(np.asarray(sequences) > 0, total, 0.0)


def decode_attention_time(pool: Pool, sequences: Number, context: Number) -> Number:
    """Attention of ``sequences`` decoding sequences of mean ``context`` tokens through all layers, engine factor included, s.

    A step that verifies guesses reads a sequence's cache once for all its queries, and keeps a recurrent state per token.
    """
    fit = decode_fit(pool)
    total: Number = np.zeros(np.broadcast_shapes(np.shape(sequences), np.shape(context)))
    for kind in shapes.attentions(pool.model, pool.parallelism, pool.dtypes):
        seen = np.minimum(context, kind.window)
        if kind.kernel != "softmax":
            total = total + sparse.decode_time(pool, kind, sequences, seen)
            continue
        pairs = sequences * seen
        work = KernelWork(pool.verified * pairs * kind.decode_flop, pairs * kind.kv_bytes, items=sequences * kind.streams, steps=seen)
        total = total + kind.layers * kernel_time(fit, work)
    total = total + recurrent.update_time(pool, sequences)
    return np.where(np.asarray(sequences) > 0, pool.engine.attention_factor * total, 0.0)


def decode_fit(pool: Pool) -> Coefficients:
    """Coefficients of decode attention."""
    dtype, family = decode_dtype(pool), "latent_decode" if pool.model.is_latent else "attention_decode"
    return coefficients(pool.accelerator, family, dtype, "fp8" if pool.dtypes.kv == "fp8" and dtype != "fp8" else "", pool.engine.family)


def decode_dtype(pool: Pool) -> str:
    """Datatype of decode attention: bf16, or fp8 where latent attention keeps an fp8 cache on a device with fp4 units.

    Such kernels exist for Blackwell and not for Hopper (TensorRT-LLM's generation kernels); fp4 units tell the two apart.
    """
    narrow = pool.model.is_latent and pool.dtypes.kv == "fp8" and pool.accelerator.peaks.fp4 is not None
    return "fp8" if narrow else "bf16"


def prefill_attention(pool: Pool) -> PrefillAttention:
    """Coefficients of a prompt chunk's attention, all layers; causal, so FLOP are half of those of the square."""
    fit = prefill_fit(pool)
    every = shapes.attentions(pool.model, pool.parallelism, pool.dtypes)
    kinds, linear = [kind for kind in every if kind.kernel == "softmax"], recurrent.prompt_time(pool)
    halves = [sparse.prompt_time(pool, kind) for kind in every if kind.kernel != "softmax"]
    layers, tiles = sum(kind.layers for kind in kinds), pool.model.heads / pool.parallelism.tp / QUERY_TILE
    whole = [kind for kind in kinds if np.isinf(kind.window)]
    windowed = [kind for kind in kinds if not np.isinf(kind.window)]
    return PrefillAttention(
        quad=sum(kind.layers * kind.prefill_flop for kind in whole) / 2 / fit.flops + sum(half.quad for half in halves),
        window_quad=sum(kind.layers * kind.prefill_flop for kind in windowed) / 2 / fit.flops + sum(half.window_quad for half in halves),
        window=min((kind.window for kind in every if not np.isinf(kind.window)), default=0.0),
        read=sum(kind.layers * kind.kv_bytes for kind in whole) / fit.bandwidth + sum(half.read for half in halves),
        overhead=layers * fit.overhead + sum(half.overhead for half in halves) + linear.overhead,
        token=layers * (fit.item * tiles + fit.depth) + sum(half.token for half in halves) + linear.token,
    )


def prefill_fit(pool: Pool) -> Coefficients:
    """Coefficients of prompt attention, which computes in 16 bit."""
    family = "latent_prefill" if pool.model.is_latent else "attention_prefill"
    return coefficients(pool.accelerator, family, "bf16", "fp8" if pool.dtypes.kv == "fp8" else "", pool.engine.family)


def pair_dtype(pool: Pool, kind: shapes.Attention) -> str:
    """Narrowest datatype that pairs of ``kind`` are multiplied in."""
    return "fp8" if kind.kernel == sparse.INDEXER else decode_dtype(pool)


def stage_share(pool: Pool, levels: tuple[Level, ...], tokens: Number, sequences: Number) -> float:
    """Longest pipeline stage over the sum of stages, for a step of ``tokens`` tokens of which ``sequences`` emit.

    Layers are split evenly; the last stage makes the logits, all but the last send their activations on.
    """
    pp = pool.parallelism.pp
    if pp == 1:
        return 1.0
    hop, head = float(stage_hop_time(pool, levels, float(tokens))), float(head_time(pool, levels, float(sequences)))
    shared = mixture_time(pool, float(tokens) * pool.parallelism.dp) if pool.parallelism.dp > 1 else 0.0
    layers = float(linear_time(pool, float(tokens)) + shared + communication_time(pool, levels, float(tokens))) - (pp - 1) * hop
    return max(layers / pp + hop, layers / pp + head) / (layers + (pp - 1) * hop + head)


def provenance(pool: Pool) -> dict[str, str]:
    """Where each coefficient and capacity of a pool comes from."""
    compute = pool.accelerator.peaks.native(pool.dtypes.compute)
    storage = shapes.weight_only(pool.dtypes)
    engine = pool.engine.family
    found = {family: coefficients(pool.accelerator, family, dtype, kept, engine).provenance for family, dtype, kept in (
        ("gemm", compute, storage), ("elementwise", "bf16", ""))}  # fmt: skip
    found |= {"prefill attention": prefill_fit(pool).provenance, "decode attention": decode_fit(pool).provenance}
    if pool.model.experts:
        found["moe"] = coefficients(pool.accelerator, "moe", compute, shapes.kept_as(pool.model, pool.dtypes), engine).provenance
    if pool.model.linear_layers:
        found["linear attention"] = coefficients(pool.accelerator, "linear_prefill", "bf16").provenance
    if pool.model.index_heads:
        found["sparse attention"] = sparse.indexer_fit(pool).provenance
    if compute != pool.dtypes.compute:
        found["compute"] = f"{pool.dtypes.compute} computed in {compute}: no native units"
    found["memory"] = "visible memory" if pool.accelerator.visible_memory is not None else "assumed 0.95 of nominal memory"
    found["power"] = power.provenance(pool.accelerator)
    found["engine"] = pool.engine.source or "unsourced profile"
    return found


def matrix_time(pool: Pool, matrix: shapes.Matrix, rows: Number) -> Number:
    """Seconds of one product of ``rows`` tokens with a weight matrix on one device, with what it costs to quantise its input."""
    native = pool.accelerator.peaks.native(matrix.dtype)
    source = operator_fit(pool.accelerator, "gemm", matrix.dtype, matrix.storage, pool.engine.family)
    fit, each = coefficients_of(pool.accelerator, source), (matrix.weight, min(shapes.COMPUTE_BYTES[native], ACTIVATION))
    time = product_time(fit, product_table(pool.accelerator, source), rows, matrix.n, matrix.k, bytes_each=each)
    if native in NARROW and pool.engine.quantise_saving > 0:
        work = product_work(rows, matrix.n, matrix.k, weight=each[0], taken=each[1])
        return np.maximum(time - pool.engine.quantise_saving, operator_time(fit._replace(overhead=0.0), work.flop, work.moved))
    return time


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
    heads = recurrent.recurrent(pool)
    values = heads.values * heads.value_size
    gated = [4.0 * (2 * heads.keys * heads.key_size + 2 * values), 6.0 * values]
    linear: Number = sum(operator_time(fit, 0.0, tokens * size) for size in gated) if model.linear_layers else 0.0
    return model.layers * layer + model.linear_layers * linear + operator_time(fit, 0.0, tokens * (2 * ACTIVATION * model.hidden))
