"""FLOP, bytes, attended pairs and context tokens of one engine step, per device; bytes of weights and KV cache.

With q_i new tokens after c_i cached: T = sum q_i tokens, S sequences that emit, P = sum q_i (c_i + (q_i + 1)/2) attended
pairs (in windowed layers the sum of min(c + j, w)), K context tokens read by decode. Linear FLOP = 2 T x matrix parameters;
attention FLOP = 4 heads head_dim P; weights are read once a step for prefill and decode tokens together; a mixture of
experts reads the distinct experts that T tokens hit, (E/ep)(1 - (1 - k/E)^T) if routing is uniform. Counts are per device
and over all layers; pipeline stages divide them.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.perf.shapes import Experts, attentions, experts, head_matrix, linear_state_bytes, matrices
from mist_dse.specs.design import STORAGE_BYTES, Datatypes, Parallelism
from mist_dse.specs.model import ModelSpec

Number = Any
"""A Python or NumPy number or array: equations take either."""


class Work(NamedTuple):
    """What a step is asked: ``tokens`` T, emitting ``sequences`` S, prompt ``pairs`` P, decode ``contexts`` K (sums over sequences)."""

    tokens: Number
    sequences: Number = 0
    pairs: Number = 0
    contexts: Number = 0


class StepLoad(NamedTuple):
    """FLOP and bytes of one step on one device, in parts."""

    linear_flop: Number
    attention_flop: Number
    head_flop: Number
    weight_bytes: Number
    kv_bytes: Number

    @property
    def flop(self) -> Number:
        """All floating-point operations."""
        return self.linear_flop + self.attention_flop + self.head_flop

    @property
    def bytes(self) -> Number:
        """All weight and KV bytes."""
        return self.weight_bytes + self.kv_bytes


def attended_pairs(new: Number, cached: Number, window: float = np.inf) -> Number:
    """(query, key) pairs of ``new`` tokens after ``cached`` ones: sum over j = 1..new of min(cached + j, window).

    >>> float(attended_pairs(3, 0)), float(attended_pairs(2, 10)), float(attended_pairs(4, 0, window=2))
    (6.0, 23.0, 7.0)
    """
    return _triangle(cached + new, window) - _triangle(cached, window)


def _triangle(length: Number, window: float) -> Number:
    inside = np.minimum(length, window)
    beyond = np.where(np.isfinite(window), (length - inside) * np.where(np.isfinite(window), window, 0.0), 0.0)
    return inside * (inside + 1) / 2 + beyond


def distinct_experts(mixture: Experts, tokens: Number) -> Number:
    """Expected experts of one rank that at least one of ``tokens`` x ranks tokens is routed to, uniform routing.

    >>> from mist_dse.perf.shapes import Experts
    >>> mixtral = Experts(layers=32, local=8.0, total=8, top_k=2, values=1.0, width=1.0, weight=2.0, ranks=1, imbalance=1.0)
    >>> float(distinct_experts(mixtral, 1)), float(distinct_experts(mixtral, 2))
    (2.0, 3.5)
    """
    return mixture.local * (1.0 - (1.0 - mixture.top_k / mixture.total) ** (np.asarray(tokens, float) * mixture.ranks))


def linear_flop_per_token(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> float:
    """FLOP of one token through projections, feed-forward blocks and its active experts, on one device."""
    dense = sum(matrix.parameters for matrix in matrices(model, parallelism, dtypes))
    mixture = experts(model, parallelism, dtypes)
    active = 0.0 if mixture is None else mixture.layers * mixture.values * mixture.top_k * mixture.local / mixture.total * mixture.ranks
    state = 6.0 * model.linear_layers * model.lin_value_heads * model.lin_key_dim * model.lin_value_dim / parallelism.tp
    return 2.0 * (dense + active) + state


def step_load(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes, work: Work) -> StepLoad:
    """FLOP and bytes of one step on one device. Windowed layers count min(mean context, window); pairs are those of full attention."""
    head, kinds = head_matrix(model, parallelism, dtypes), attentions(model, parallelism, dtypes)
    mean = work.contexts / np.maximum(work.sequences, 1)
    read = sum(kind.layers * kind.kv_bytes * work.sequences * np.minimum(mean, kind.window) for kind in kinds)
    decode = sum(kind.layers * kind.decode_flop * work.sequences * np.minimum(mean, kind.window) for kind in kinds)
    prefill = sum(kind.layers * kind.prefill_flop for kind in kinds)
    return StepLoad(
        linear_flop=work.tokens * linear_flop_per_token(model, parallelism, dtypes),
        attention_flop=work.pairs * prefill + decode,
        head_flop=2.0 * work.sequences * head.parameters,
        weight_bytes=step_weight_bytes(model, parallelism, dtypes, work.tokens)
        + head.parameters * head.weight * np.minimum(work.sequences, 1),
        kv_bytes=read + 2.0 * work.sequences * linear_state_bytes(model, parallelism),
    )


def step_weight_bytes(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes, tokens: Number) -> Number:
    """Weight bytes that a step of ``tokens`` tokens per rank reads on one device, output head left out."""
    dense = sum(matrix.parameters * matrix.weight for matrix in matrices(model, parallelism, dtypes))
    mixture = experts(model, parallelism, dtypes)
    return dense if mixture is None else dense + mixture.layers * mixture.bytes_each * distinct_experts(mixture, tokens)


def kv_bytes_per_token(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> float:
    """KV cache of one token on one device, all layers; windowed layers count in full, as blocks hold every token.

    Key-value heads are split over min(tp, kv_heads) devices and replicated past it; compressed KV (MLA) over all of tp.
    """
    return sum(kind.layers * kind.kv_bytes for kind in attentions(model, parallelism, dtypes))


def kv_bytes_of_prompt(model: ModelSpec, dtypes: Datatypes) -> float:
    """KV cache of one token over all devices, replicas not counted: what a hand-off must carry."""
    return kv_bytes_per_token(model, Parallelism(), dtypes)


def weight_bytes(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> float:
    """Weight bytes of one device summed over pipeline stages: what pp = 1 would hold."""
    return sum(_blocks(model, parallelism, dtypes).values()) + _ends(model, parallelism, dtypes)[0] + _ends(model, parallelism, dtypes)[1]


def stage_weight_bytes(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> float:
    """Weight bytes on a device of the fullest pipeline stage: embedding on the first, output head on the last."""
    pp, blocks, (embedding, head) = parallelism.pp, _blocks(model, parallelism, dtypes), _ends(model, parallelism, dtypes)
    if pp == 1:
        return sum(blocks.values()) + embedding + head
    tied = embedding if model.tied and not model.no_lm_head else 0.0
    return max(_stage(model, blocks, pp, stage) + (embedding if stage == 0 else 0.0) + (head + tied if stage == pp - 1 else 0.0)
               for stage in range(pp))  # fmt: skip


def _stage(model: ModelSpec, blocks: dict[str, float], pp: int, stage: int) -> float:
    layers = model.layers // pp
    dense = min(max(model.dense_layers - stage * layers, 0), layers)
    shares = {"dense": dense / max(model.dense_layers, 1), "mixture": (layers - dense) / max(model.moe_layers, 1)}
    return sum(size * shares.get(block, 1 / pp) for block, size in blocks.items())


def _blocks(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> dict[str, float]:
    """Bytes by block; ``rest`` holds what is no matrix (norms, biases, convolutions), replicated at 16 bit."""
    sizes: dict[str, float] = {"rest": 2.0 * _small(model)}
    for matrix in matrices(model, parallelism, dtypes):
        sizes[matrix.block] = sizes.get(matrix.block, 0.0) + matrix.parameters * matrix.weight
    mixture = experts(model, parallelism, dtypes)
    if mixture is not None:
        sizes["mixture"] = sizes.get("mixture", 0.0) + mixture.layers * mixture.local * mixture.bytes_each
    return sizes


def _small(model: ModelSpec) -> float:
    whole, plain = Parallelism(), Datatypes()
    mixture = experts(model, whole, plain)
    routed = 0.0 if mixture is None else mixture.layers * mixture.local * mixture.values
    large = sum(matrix.parameters for matrix in matrices(model, whole, plain)) + routed
    return model.parameters - large - model.embedding_parameters - model.head_parameters


def _ends(model: ModelSpec, parallelism: Parallelism, dtypes: Datatypes) -> tuple[float, float]:
    wide = max(STORAGE_BYTES[dtypes.weight], 2.0) / parallelism.tp
    return model.embedding_parameters * wide, model.head_parameters * wide
