"""Sparse latent attention (DSA; DeepSeek-V3.2, GLM-5) of one rank: an indexer over the whole context, a core over what it selects.

    prompt: indexer  pairs (2 heads d FLOP in fp8 + a 32-bit score, written and selected from) + a selection per query
            core     2 h (2 r + rope) FLOP for each of min(context, top-k) tokens, absorbed
    decode: indexer  the index cache of the whole context, its scores, a selection      core: min(context, top-k) cache rows, gathered

The core's kernels multiply whole tiles of query heads, so splitting fewer heads than a tile over devices saves nothing:
64 heads, 128 for prompts with a 16-bit cache on Blackwell (FlashMLA and SGLang pad to that; measured module times at 8 to 64 heads
grow by the projections alone). An fp8 cache takes the decode kernel for prompts too; it is multiplied in fp8 where the device has
such kernels (fp4 units tell), else unpacked first.
"""

import math
from typing import NamedTuple

from mist_dse.perf.kernels import ACTIVATION, SCORE, KernelWork, kernel_time
from mist_dse.perf.load import Number
from mist_dse.perf.operator import Coefficients, coefficients
from mist_dse.perf.shapes import Attention
from mist_dse.specs.design import Pool

TILE, WIDE_TILE = 64, 128
"""Query heads that a core multiplies at once; wide: prompts with a 16-bit cache on devices with fp4 units."""

SCORE_PASSES = 6.0
"""Times that a score crosses memory, half of them while it is made, half in the passes of a radix selection (fits of both kernels
with 32 heads on five accelerators, and of the first with 64 heads on H800, agree on this within 10%)."""

QUERY_PASSES = 3.0
"""Passes over index queries before they score: rotary embedding, Hadamard transform, quantisation."""

SPARSE, INDEXER = "sparse", "indexer"
"""Kinds of `shapes.Attention` that are answered here."""


class PromptTime(NamedTuple):
    """Seconds per squared length (whole context, windowed), per step and per token, all layers; ``read`` as in `rows.StepCost`."""

    quad: float
    window_quad: float
    overhead: float
    token: float
    read: float


def prompt_time(pool: Pool, kind: Attention) -> PromptTime:
    """Time of one half of sparse attention in a step that prefills; causal, so half of the square is attended.

    The selection reads all scores after they are written: beside the products, not behind them.
    """
    if kind.kernel == INDEXER:
        fit = indexer_fit(pool)
        pair = kind.prefill_flop / fit.flops + SCORE_PASSES * SCORE / fit.bandwidth
        passes = QUERY_PASSES * 2.0 * ACTIVATION * pool.model.index_heads * pool.model.index_dim / fit.bandwidth
        return PromptTime(
            quad=kind.layers * pair / 2, window_quad=0.0, overhead=kind.layers * fit.overhead,
            token=kind.layers * (fit.item + passes), read=kind.layers * kind.kv_bytes / fit.bandwidth,
        )  # fmt: skip
    narrow = pool.dtypes.kv == "fp8"
    fit, wide = core_fit(pool, "sparse_decode" if narrow else "sparse_prefill"), _blackwell(pool) and not narrow
    flop = kind.decode_flop * padding(pool, WIDE_TILE if wide else TILE)
    return PromptTime(0.0, kind.layers * flop / 2 / fit.flops, kind.layers * fit.overhead, 0.0, 0.0)


def decode_work(pool: Pool, kind: Attention, sequences: Number, seen: Number) -> KernelWork:
    """Work of one layer of a decode step whose sequences see ``seen`` tokens each; every query selects for itself."""
    pairs = pool.verified * sequences * seen
    if kind.kernel == INDEXER:
        return KernelWork(
            pairs * kind.decode_flop, sequences * seen * kind.kv_bytes + pairs * SCORE_PASSES * SCORE, pool.verified * sequences, seen
        )
    return KernelWork(pairs * kind.decode_flop * padding(pool, TILE), pairs * kind.kv_bytes)


def decode_time(pool: Pool, kind: Attention, sequences: Number, seen: Number) -> Number:
    """Seconds of all layers of ``kind`` in a decode step."""
    fit = indexer_fit(pool) if kind.kernel == INDEXER else core_fit(pool, "sparse_decode")
    return kind.layers * kernel_time(fit, decode_work(pool, kind, sequences, seen))


def indexer_fit(pool: Pool) -> Coefficients:
    """Coefficients of the indexer: fp8 scores."""
    return coefficients(pool.accelerator, "indexer", "fp8")


def core_fit(pool: Pool, family: str) -> Coefficients:
    """Coefficients of the core."""
    return coefficients(pool.accelerator, family, "fp8" if _blackwell(pool) and pool.dtypes.kv == "fp8" else "bf16")


def padding(pool: Pool, tile: int) -> float:
    """Query heads multiplied over those of this device.

    >>> from mist_dse.specs.design import Parallelism
    >>> from types import SimpleNamespace
    >>> one = SimpleNamespace(model=SimpleNamespace(heads=64), parallelism=Parallelism(tp=8))
    >>> padding(one, 64)
    8.0
    """
    heads = pool.model.heads / pool.parallelism.tp
    return math.ceil(heads / tile) * tile / heads


def _blackwell(pool: Pool) -> bool:
    return pool.accelerator.peaks.fp4 is not None
