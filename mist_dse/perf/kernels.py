"""Work of one kernel by its shape: FLOP, bytes, and what its linear time terms count (`perf.operator`).

    product      Y[m, n] = X[m, k] W[k, n]: 2 m n k FLOP; items m (rows to quantise), steps k
    prefill      causal attention of q new tokens: 4 heads d A FLOP, A attended pairs; items (head, tile of queries), steps q
    decode       one query against c cached tokens: 4 heads d c FLOP, the cache once; items (sequence, key-value head), steps c
    latent       the same with compressed KV (DeepSeek MLA): decode multiplies in the latent, r + rope wide for scores, r for values
    delta        gated delta-net (Yang et al. 2024): prompts in chunks of 64 tokens, decode updates a state of k x v fp32 values a head
    indexer      scores of every cached token for each query (DSA): 2 heads d FLOP a pair, a 32-bit score written and read again
    mixture      routed experts: FLOP of the pairs routed here, bytes of the distinct experts hit; items tokens, groups experts

Sizes are per device. Activations are 16 bit between kernels. Plain NumPy: scalars or arrays.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.load import Number, attended_pairs
from mist_dse.perf.operator import Coefficients, operator_time

ACTIVATION = 2.0
"""Bytes of an activation between kernels (16 bit)."""

QUERY_TILE = 128
"""Queries that a thread block of a prefill attention kernel takes (FlashAttention 2 and 3)."""

CHUNK = 64
"""Tokens that a delta rule kernel takes at once (flash-linear-attention, SGLang, vLLM)."""

STATE, SCORE = 4.0, 4.0
"""Bytes per value of recurrent states and of attention scores (fp32)."""

LEAST_ROWS = 8
"""Rows that a tensor-core tile multiplies at least, per expert hit."""


class KernelWork(NamedTuple):
    """What one call is asked: FLOP, bytes ``moved``, and counts of the linear terms."""

    flop: Number
    moved: Number
    items: Number = 0.0
    steps: Number = 0.0
    groups: Number = 0.0


class Heads(NamedTuple):
    """Attention heads of one device: ``queries`` and ``key_values`` of ``size``, the cache in ``kv`` bytes per value, a ``window``."""

    queries: Number
    key_values: Number
    size: Number
    kv: Number = 2.0
    window: Number = np.inf


class Latent(NamedTuple):
    """Compressed attention (MLA) of one device: rank of the latent, rotary part, and head sizes without compression."""

    queries: Number
    kv: Number = 2.0
    rank: Number = 512.0
    rope: Number = 64.0
    nope: Number = 128.0
    value: Number = 128.0


class Recurrent(NamedTuple):
    """Gated delta-net heads of one device: ``keys`` of ``key_size`` (and as many queries), ``values`` of ``value_size``, a convolution."""

    keys: Number
    values: Number
    key_size: Number = 128.0
    value_size: Number = 128.0
    taps: Number = 4.0


class Mixture(NamedTuple):
    """Routed experts of one device: ``experts`` in all, ``top_k`` per token, split over ``ranks``; one is ``matrices`` of hidden x width.

    ``weight``, ``taken``: bytes per value of weights and of quantised activations. ``skew``: tokens of this rank over the mean
    of ranks. ``even``: 1 where tokens are dealt to experts in turn, 0 where routing is random.
    """

    experts: Number
    top_k: Number
    ranks: Number
    hidden: Number
    width: Number
    weight: Number
    taken: Number = ACTIVATION
    matrices: Number = 3.0
    skew: Number = 1.0
    even: Number = 0.0


def kernel_time(fit: Coefficients, work: KernelWork) -> Number:
    """Seconds of one call.

    >>> fit = Coefficients(overhead=1e-6, flops=1e12, bandwidth=1e12, provenance="fitted", item=1e-9)
    >>> round(float(kernel_time(fit, product_work(1000, 1000, 1000, weight=2.0))) * 1e6, 3)
    2002.0
    """
    return operator_time(fit, work.flop, work.moved, items=work.items, steps=work.steps, groups=work.groups)


def product_work(rows: Number, n: Number, k: Number, *, weight: Number, taken: Number = ACTIVATION) -> KernelWork:
    """A matrix product of ``rows`` rows; ``weight`` and ``taken``: bytes per value of W and of X as multiplied."""
    return KernelWork(2.0 * rows * n * k, n * k * weight + rows * (k * taken + n * ACTIVATION), rows, k)


def prefill_work(requests: Number, new: Number, heads: Heads, cached: Number = 0.0) -> KernelWork:
    """Causal attention of ``new`` tokens after ``cached`` ones in each of ``requests``.

    >>> work = prefill_work(2, 256, Heads(queries=4, key_values=1, size=64))
    >>> float(work.flop) == 2 * 4 * 4 * 64 * 256 * 257 / 2, float(work.items)
    (True, 16.0)
    """
    pairs = attended_pairs(new, cached, heads.window)
    queries, keys = 2.0 * new * heads.queries * heads.size * ACTIVATION, 2.0 * heads.key_values * heads.size
    moved = requests * (queries + keys * (new * ACTIVATION + (new + cached) * heads.kv))
    tiles = requests * heads.queries * np.ceil(new / QUERY_TILE)
    return KernelWork(4.0 * requests * heads.queries * heads.size * pairs, moved, tiles, new)


def decode_work(sequences: Number, context: Number, heads: Heads) -> KernelWork:
    """One new token of each of ``sequences`` against ``context`` cached tokens."""
    seen = np.minimum(context, heads.window)
    moved = sequences * (seen * 2.0 * heads.key_values * heads.size * heads.kv + 2.0 * heads.queries * heads.size * ACTIVATION)
    return KernelWork(4.0 * sequences * heads.queries * heads.size * seen, moved, sequences * heads.key_values, seen)


def latent_prefill_work(requests: Number, new: Number, heads: Latent) -> KernelWork:
    """Causal attention of ``new`` tokens with keys and values expanded from the latent."""
    score = heads.nope + heads.rope
    moved = requests * new * heads.queries * (2.0 * score + 2.0 * heads.value) * ACTIVATION
    tiles = requests * heads.queries * np.ceil(new / QUERY_TILE)
    return KernelWork(2.0 * requests * heads.queries * (score + heads.value) * attended_pairs(new, 0.0), moved, tiles, new)


def latent_decode_work(sequences: Number, context: Number, heads: Latent) -> KernelWork:
    """One new token of each of ``sequences``, multiplied in the latent; its cache is read once for all heads."""
    wide = 2.0 * heads.rank + heads.rope
    moved = sequences * (context * (heads.rank + heads.rope) * heads.kv + heads.queries * wide * ACTIVATION)
    return KernelWork(2.0 * sequences * context * heads.queries * wide, moved, sequences, context)


def delta_prefill_work(tokens: Number, heads: Recurrent) -> KernelWork:
    """``tokens`` new tokens of one sequence: convolution, then the chunked delta rule, whose chunks follow each other (steps).

    Per token and value head: six passes over the k x v state, and chunk x (3 k + 2 v) products (scores, inverse, outputs); read
    and written are six key and five value rows, the chunk's scores (two of 32 and three of 16 bit) and its state.
    """
    key, value = heads.key_size, heads.value_size
    flop = tokens * heads.values * (6.0 * key * value + 2.0 * CHUNK * (3.0 * key + 2.0 * value))
    rows, scores = (6.0 * key + 5.0 * value) * ACTIVATION, CHUNK * (2.0 * SCORE + 3.0 * ACTIVATION)
    states = 2.0 * key * value * ACTIVATION / CHUNK
    convolved = 2.0 * ACTIVATION * (2.0 * heads.keys * key + heads.values * value)
    return KernelWork(flop, tokens * (heads.values * (rows + scores + states) + convolved), steps=tokens)


def delta_decode_work(sequences: Number, heads: Recurrent) -> KernelWork:
    """One new token of each of ``sequences``: its fp32 state and its convolution window, read and written."""
    state = heads.values * heads.key_size * heads.value_size
    window = (heads.taps - 1.0) * (2.0 * heads.keys * heads.key_size + heads.values * heads.value_size)
    return KernelWork(6.0 * sequences * state, 2.0 * sequences * (state * STATE + window * ACTIVATION))


def mixture_work(tokens: Number, mixture: Mixture) -> KernelWork:
    """Routed experts of one layer for ``tokens`` tokens over all ranks; an expert hit multiplies at least eight rows.

    >>> work = mixture_work(1, Mixture(experts=8, top_k=2, ranks=1, hidden=10, width=10, weight=1.0))
    >>> float(work.groups), float(work.flop)
    (2.0, 9600.0)
    """
    share = np.minimum(mixture.top_k / mixture.experts, 1.0)
    drawn = 1.0 - (1.0 - share) ** np.asarray(tokens, float)
    hit = mixture.experts / mixture.ranks * np.where(mixture.even, np.minimum(share * tokens, 1.0), drawn)
    pairs = tokens * mixture.top_k / mixture.ranks * mixture.skew
    values = mixture.matrices * mixture.hidden * mixture.width
    gathered = mixture.hidden * (mixture.taken + ACTIVATION) + mixture.width * ((mixture.matrices - 1.0) * ACTIVATION + mixture.taken)
    moved = hit * values * mixture.weight + pairs * gathered + 2.0 * ACTIVATION * tokens * mixture.hidden
    return KernelWork(2.0 * values * np.maximum(pairs, LEAST_ROWS * hit), moved, tokens, mixture.hidden + mixture.width, hit)
