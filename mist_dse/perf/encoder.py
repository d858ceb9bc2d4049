"""Time of one forward pass of an encoder (embedder, reranker, vision tower, classifier) over a batch, and bytes of its weights.

    k items of s tokens: products on k s tokens, attention of s^2 pairs per item and layer (a decoder that embeds: s (s + 1) / 2),
    element-wise kernels.  On an accelerator: operators and coefficients of the LLM step (`perf.step`), without output head.
    On a host: t0 + max(2 k s parameters / compute, weight bytes / memory) + attention FLOP / compute + activations / memory

Nothing is cached and nothing emitted. Items of a batch are padded to the longest, so ``tokens`` is its length, not the mean. A reranker's
item is a pair (query and document together), a vision tower's an image (patches and class token).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mist_dse.perf import shapes
from mist_dse.perf.kernels import ACTIVATION, QUERY_TILE, KernelWork, kernel_time
from mist_dse.perf.load import Number, attended_pairs, weight_bytes
from mist_dse.perf.operator import coefficients
from mist_dse.perf.step import linear_time
from mist_dse.specs.design import STORAGE_BYTES, Datatypes, Parallelism, Pool
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Accelerator, Host
from mist_dse.specs.model import ModelSpec


class HostShares(NamedTuple):
    """What a host reaches of its datasheet: ``fp32`` and ``bf16`` FLOP/s of products, ``attention`` of those, ``memory``; ``start`` s."""

    fp32: float = 0.5
    bf16: float = 0.3
    attention: float = 0.5
    memory: float = 0.8
    start: float = 0.5e-3


CLASS_DEFAULT = HostShares()
"""Class default, not fitted to any host: products of an fp32 BERT-base at 1024 tokens and more run at 0.7 of the same cores' large sgemm
(ONNX Runtime, two cores, own run), which itself stays below the datasheet at sustained clocks; bf16 tiles are fed by the same caches at
several times the rate; memory as in scans (`perf.retrieval`)."""

HOST_DTYPES = Datatypes(weight="fp32", kv="fp32", compute="fp32")
"""How a host keeps and multiplies weights where nothing else is asked."""

WHOLE = Parallelism()


def encoder_time(
    model: ModelSpec,
    device: Accelerator | Host,
    items: Number,
    tokens: Number,
    dtypes: Datatypes | None = None,
    *,
    cores: int | None = None,
) -> Number:
    """Seconds of one forward pass over ``items`` of ``tokens`` tokens each; 0 items take no time.

    ``dtypes``: how weights are kept and multiplied (None = bf16, on a host fp32). ``cores`` of the host that work on it (None = all).
    """
    if isinstance(device, Host):
        time = _host_time(model, device, items, tokens, dtypes or HOST_DTYPES, cores)
    else:
        time = _device_time(model, device, items, tokens, dtypes or Datatypes())
    return np.where(np.asarray(items) * np.asarray(tokens) > 0, time, 0.0)


def encoder_bytes(model: ModelSpec, dtypes: Datatypes | None = None) -> float:
    """Bytes of the weights, embedding table included."""
    return weight_bytes(model, WHOLE, dtypes or Datatypes())


def encoder_flop(model: ModelSpec, items: Number, tokens: Number) -> Number:
    """Floating-point operations of products and attention.

    >>> bert = ModelSpec(name="bert-base", arch_kind="encoder", layers=12, hidden=768, heads=12, kv_heads=12, head_dim=64, vocab=30522,
    ...                  ffn=3072, mlp_matrices=2, no_lm_head=True)
    >>> float(encoder_flop(bert, 1, 128)) == 2 * 128 * 12 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 12 * 768 * 128**2
    True
    """
    return _linear_flop(model, items * tokens) + _attention_flop(model, items, tokens)


def host_attained(host: Host, dtype: str, cores: int | None = None, shares: HostShares = CLASS_DEFAULT) -> float:
    """FLOP/s of products on ``cores`` cores: the share of the bf16 peak where the host has one and ``dtype`` is no wider, else of fp32."""
    part = min(cores or host.cores, host.cores) / host.cores
    return part * (shares.bf16 * host.bf16 if host.bf16 and dtype not in ("fp32", "tf32") else shares.fp32 * host.fp32)


def memory_traffic(model: ModelSpec, items: Number, tokens: Number, dtypes: Datatypes | None = None) -> Number:
    """Bytes that a pass over a batch moves on a host, weights once: what it draws from the memory that it shares with other stages."""
    kept = dtypes or HOST_DTYPES
    return np.where(np.asarray(items) > 0, _product_bytes(model, kept), 0.0) + _activation_bytes(model, items, tokens, kept)


def _host_time(model: ModelSpec, host: Host, items: Number, tokens: Number, dtypes: Datatypes, cores: int | None) -> Number:
    shares = CLASS_DEFAULT
    flops, memory = host_attained(host, dtypes.compute, cores), shares.memory * host.memory_bandwidth
    products = np.maximum(_linear_flop(model, items * tokens) / flops, _product_bytes(model, dtypes) / memory)
    attention = _attention_flop(model, items, tokens) / (shares.attention * flops)
    return shares.start + products + attention + _activation_bytes(model, items, tokens, dtypes) / memory


def _device_time(model: ModelSpec, accelerator: Accelerator, items: Number, tokens: Number, dtypes: Datatypes) -> Number:
    pool = _pool(model, accelerator, dtypes)
    fit = coefficients(accelerator, "attention_prefill", "bf16")
    total = linear_time(pool, np.asarray(items, float) * tokens)
    for kind in shapes.attentions(model, WHOLE, dtypes):
        moved = items * tokens * 2.0 * (model.heads + model.kv_heads) * model.head_dim * ACTIVATION
        tiles = items * model.heads * np.ceil(np.asarray(tokens) / QUERY_TILE)
        work = KernelWork(kind.prefill_flop * items * _pairs(model, tokens, kind.window), moved, tiles, tokens)
        total = total + kind.layers * kernel_time(fit, work)
    return total


@lru_cache(maxsize=256)
def _pool(model: ModelSpec, accelerator: Accelerator, dtypes: Datatypes) -> Pool:
    """The encoder as the operators of a step expect it: one device, an engine that adds nothing."""
    return Pool(name=model.name, stages=("encode",), model=model, accelerator=accelerator, engine=EngineProfile(name="none"), dtypes=dtypes)


def _pairs(model: ModelSpec, tokens: Number, window: float) -> Number:
    """(query, key) pairs of one item in one layer: all of them, or those of a causal mask."""
    return tokens * np.minimum(tokens, window) if model.is_encoder else attended_pairs(tokens, 0.0, window)


def _attention_flop(model: ModelSpec, items: Number, tokens: Number) -> Number:
    kinds = shapes.attentions(model, WHOLE, Datatypes())
    return sum(kind.layers * kind.prefill_flop * items * _pairs(model, tokens, kind.window) for kind in kinds)


def _linear_flop(model: ModelSpec, tokens: Number) -> Number:
    return 2.0 * tokens * sum(matrix.parameters for matrix in shapes.matrices(model, WHOLE, Datatypes()))


def _product_bytes(model: ModelSpec, dtypes: Datatypes) -> float:
    return sum(matrix.parameters * matrix.weight for matrix in shapes.matrices(model, WHOLE, dtypes))


def _activation_bytes(model: ModelSpec, items: Number, tokens: Number, dtypes: Datatypes) -> Number:
    """Two residual-and-norm passes (read, write) and the activation of the feed-forward block in each layer, at least 16 bit."""
    values = model.layers * (8.0 * model.hidden + 2.0 * model.ffn)
    return items * tokens * values * max(STORAGE_BYTES[dtypes.weight], 2.0)
