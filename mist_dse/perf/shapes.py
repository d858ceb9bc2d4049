"""What one device of an engine holds and multiplies: matrices, experts and attention kinds, sharded.

Tensor parallelism splits attention heads, feed-forward width and vocabulary; key-value heads are split until one is left
and replicated past that; the compressed projections of latent attention (MLA), the sparse indexer and the router are
replicated. Expert parallelism gives each rank E/ep experts, each split over tp x dp / ep devices. All sizes are per
device and summed over the layers of the whole model (divide by pp for one pipeline stage).

Checkpoints keep embedding and output head at 16 bit when the rest is narrower, and mixtures stored at 4 bit keep everything
but the routed experts at 16 bit (NVFP4, MXFP4 and int4 releases of DeepSeek, gpt-oss and Kimi).
"""

import math
from typing import NamedTuple

from mist_dse.specs.design import STORAGE_BYTES, Datatypes, Parallelism
from mist_dse.specs.model import ModelSpec

MOE_IMBALANCE = 1.15
"""Tokens of the slowest expert rank over the mean (measured serving of DeepSeek, gpt-oss and MiniMax models)."""

INDEX_SCALE, INDEX_BLOCK = 4.0, 128
"""Bytes of the scale of so many fp8 index keys (DeepSeek-V3.2 reference inference)."""

COMPUTE_BYTES = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": STORAGE_BYTES["nvfp4"]}
"""Bytes per value of activations as matrix units take them, scales included."""


class Matrix(NamedTuple):
    """``times`` products Y[m, n] = X[m, k] W[k, n] with ``weight`` bytes per value, computed in ``dtype``.

    ``storage``: the datatype of W where it is narrower than what it is multiplied in (weight-only), else empty.
    """

    block: str  # attention, linear, dense, mixture or head
    n: float
    k: float
    times: int
    weight: float
    dtype: str
    storage: str = ""

    @property
    def parameters(self) -> float:
        """Elements of all ``times`` matrices."""
        return self.n * self.k * self.times


class Experts(NamedTuple):
    """Routed experts of one rank: ``local`` = E/ep of them in each of ``layers``, ``values`` elements of each on this device.

    ``storage`` as in `Matrix`; ``taken``: bytes per value of the activations they multiply.
    """

    layers: int
    local: float
    total: int
    top_k: int
    values: float
    width: float
    weight: float
    ranks: int  # dp: tokens of this many ranks meet in one mixture
    imbalance: float
    hidden: float = 0.0
    matrices: int = 3
    storage: str = ""

    @property
    def bytes_each(self) -> float:
        """Bytes of one expert on this device."""
        return self.values * self.weight


class Attention(NamedTuple):
    """``layers`` alike: FLOP per attended pair, KV ``bytes`` per token and layer, and the ``window`` (inf = whole context).

    ``streams``: key-value heads that one device reads one by one. ``kernel``: softmax, or the two halves of sparse attention (DSA):
    ``sparse`` over selected tokens and the ``indexer`` that selects them.
    """

    layers: int
    window: float
    prefill_flop: float
    decode_flop: float
    kv_bytes: float
    streams: float = 1.0
    kernel: str = "softmax"


def matrices(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> tuple[Matrix, ...]:
    """Every matrix product of one forward pass but routed experts and the output head."""
    tp, weight, compute, storage = parallelism.tp, STORAGE_BYTES[dtypes.weight], dtypes.compute, kept_as(model, dtypes)
    if model.experts and weight < 1:
        weight, compute, storage = STORAGE_BYTES["bf16"], "bf16", ""
    attention = _latent(model, tp) if model.is_latent else _grouped(model, tp)
    shapes = [("attention", n, k, model.layers - model.linear_layers) for n, k in attention + _indexer(model)]
    shapes += [("linear", n, k, model.linear_layers) for n, k in _gated_delta(model, tp)]
    shapes += [("dense", n, k, model.dense_layers) for n, k in _feed_forward(model, model.ffn / tp)]
    shapes += [("mixture", n, k, model.moe_layers) for n, k in _feed_forward(model, model.shared_experts * model.shared_expert_ffn / tp)]
    found = [Matrix(block, n, k, count, weight, compute, storage) for block, n, k, count in shapes if n * k * count]
    router = Matrix("mixture", model.experts, model.hidden, model.moe_layers, max(weight, 2.0), "bf16")
    return (*found, router) if router.parameters else tuple(found)


def weight_only(dtypes: Datatypes) -> str:
    """The datatype of weights that are kept narrower than they are multiplied in, else empty.

    >>> weight_only(Datatypes(weight="int4", compute="bf16")), weight_only(Datatypes(weight="nvfp4", compute="fp4"))
    ('int4', '')
    """
    return dtypes.weight if STORAGE_BYTES[dtypes.weight] < COMPUTE_BYTES[dtypes.compute] else ""


def kept_as(model: ModelSpec, dtypes: Datatypes) -> str:
    """`weight_only`, or ``fp8_block`` where the checkpoint scales fp8 by blocks of 128 x 128: kernels of its own."""
    return "fp8_block" if dtypes.weight == "fp8" and "block" in model.native_dtype else weight_only(dtypes)


def head_matrix(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> Matrix:
    """The product that makes logits: at least 16 bit, split over the vocabulary."""
    weight = max(STORAGE_BYTES[dtypes.weight], 2.0)
    return Matrix("head", model.vocab / parallelism.tp, model.hidden, 0 if model.no_lm_head else 1, weight, "bf16")


def experts(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> Experts | None:
    """The routed experts of one device, None for a dense model."""
    if not model.experts:
        return None
    ways = parallelism.tp * parallelism.dp / parallelism.ep
    return Experts(
        layers=model.moe_layers, local=model.experts / parallelism.ep, total=model.experts, top_k=model.top_k,
        values=model.mlp_matrices * model.hidden * model.expert_ffn / ways, width=model.expert_ffn / ways,
        weight=STORAGE_BYTES[dtypes.weight], ranks=parallelism.dp, imbalance=MOE_IMBALANCE if parallelism.ep > 1 else 1.0,
        hidden=model.hidden, matrices=model.mlp_matrices, storage=kept_as(model, dtypes),
    )  # fmt: skip


def attentions(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> tuple[Attention, ...]:
    """The kinds of softmax attention of one device; sparse attention (DSA) is a core of ``index_topk`` tokens and an indexer over all."""
    tp, kv = parallelism.tp, STORAGE_BYTES[dtypes.kv]
    prefill, decode = _pair_flop(model, tp)
    each = (
        0.0
        if model.is_encoder
        else kv * (model.kv_values_per_token if model.is_latent else model.kv_values_per_token * _kv_share(model, tp))
    )
    streams = 1.0 if model.is_latent else model.kv_heads * _kv_share(model, tp)
    whole, window = (model.global_layers, math.inf), (model.window_layers, float(model.sliding_window))
    if model.index_heads:
        index_flop = 2.0 * model.index_heads * model.index_dim
        keys = model.index_dim + INDEX_SCALE * math.ceil(model.index_dim / INDEX_BLOCK)
        indexer = Attention(model.global_layers, math.inf, index_flop, index_flop, keys, kernel="indexer")
        return (Attention(model.global_layers, float(model.index_topk), prefill, decode, each, kernel="sparse"), indexer)
    return tuple(Attention(layers, reach, prefill, decode, each, streams) for layers, reach in (whole, window) if layers)


def linear_state_bytes(model: ModelSpec, parallelism: Parallelism) -> float:
    """Recurrent state of one sequence on one device, all linear-attention layers, in fp32."""
    return 4.0 * model.linear_layers * model.linear_state_values / parallelism.tp


def _kv_share(model: ModelSpec, tp: int) -> float:
    return max(1.0 / tp, 1.0 / model.kv_heads)


def _pair_flop(model: ModelSpec, tp: int) -> tuple[float, float]:
    heads = model.heads / tp
    if not model.is_latent:
        both = 2.0 * heads * (model.head_dim + model.v_head_dim)
        return both, both
    return 2.0 * heads * (model.qk_nope + model.qk_rope + model.v_head_dim), 2.0 * heads * (2 * model.kv_lora + model.qk_rope)


def _grouped(model: ModelSpec, tp: int) -> list[tuple[float, float]]:
    queries = model.heads * model.head_dim * (1 + model.attn_gate) / tp
    keys_values = model.kv_heads * (model.head_dim + model.v_head_dim) * _kv_share(model, tp)
    return [(queries + keys_values, model.hidden), (model.hidden, model.heads * model.v_head_dim / tp)]


def _latent(model: ModelSpec, tp: int) -> list[tuple[float, float]]:
    queries, down = model.heads * (model.qk_nope + model.qk_rope) / tp, model.kv_lora + model.qk_rope
    first = [(model.q_lora + down, model.hidden), (queries, model.q_lora)] if model.q_lora else [(queries + down, model.hidden)]
    up = (model.heads * (model.qk_nope + model.v_head_dim) / tp, model.kv_lora)
    return [*first, up, (model.hidden, model.heads * model.v_head_dim / tp)]


def _indexer(model: ModelSpec) -> list[tuple[float, float]]:
    if not model.index_heads:
        return []
    return [(model.index_heads * model.index_dim, model.q_lora), (model.index_dim + model.index_heads, model.hidden)]


def _gated_delta(model: ModelSpec, tp: int) -> list[tuple[float, float]]:
    keys, values = model.lin_key_heads * model.lin_key_dim, model.lin_value_heads * model.lin_value_dim
    return [((2 * keys + 2 * values) / tp, model.hidden), (2 * model.lin_value_heads / tp, model.hidden), (model.hidden, values / tp)]


def _feed_forward(model: ModelSpec, width: float) -> list[tuple[float, float]]:
    return [((model.mlp_matrices - 1) * width, model.hidden), (model.hidden, width)]
