"""Token counts of one side of a request, law by law.

``mean`` and ``cv`` are those of the token counts themselves: a log-normal of mean m and coefficient of variation c has
sigma^2 = ln(1 + c^2) and mu = ln m - sigma^2 / 2; a gamma has shape 1 / c^2. Counts are rounded to whole tokens and are at least 1
(which raises the mean of a law with much of its weight below one token); a geometric count is whole by itself and keeps its mean.

Which law: in production input lengths have a log-normal body and a Pareto tail, and output lengths are close to exponential, for
whole tokens geometric (ServeGen, Xiang et al., NSDI 2026, section 3); BurstGPT (Wang et al., 2024) has heavy-tailed inputs, too. A
Pareto of tail index a bounded to [l, h] has P(X > x) = (x^-a - h^-a) / (l^-a - h^-a).

Each request takes one draw, so that the counts of request i depend neither on how many requests there are nor on the arrivals.
"""

import numpy as np

from mist_dse.requests.table import read_table, whole_tokens
from mist_dse.rows import Floats, Ints
from mist_dse.specs.workload import Lengths


def token_counts(lengths: Lengths, count: int, generator: np.random.Generator) -> Ints:
    """Whole token counts >= 1 of ``count`` requests. Raises ``TraceError`` for a bad file of empirical lengths."""
    if lengths.kind == "empirical":
        values, weights = _weighted(lengths)
        reached = np.cumsum(weights)
        return values[np.searchsorted(reached / reached[-1], generator.random(count), side="right")]
    return np.asarray(np.maximum(np.rint(_continuous(lengths, count, generator)), 1), np.int64)


def _continuous(lengths: Lengths, count: int, generator: np.random.Generator) -> Floats:
    """Lengths before they are rounded."""
    if lengths.kind in ("uniform", "pareto"):
        assert lengths.low is not None
        assert lengths.high is not None
        draws = generator.random(count)
        if lengths.kind == "uniform":
            return np.asarray(lengths.low + np.floor(draws * (lengths.high - lengths.low + 1)))
        assert lengths.shape is not None
        tail = (lengths.low / lengths.high) ** lengths.shape
        return np.asarray(np.minimum(lengths.low * (1 - draws * (1 - tail)) ** (-1 / lengths.shape), lengths.high))
    assert lengths.mean is not None
    if lengths.kind == "geometric":
        draws = generator.random(count)
        return np.ones(count) if lengths.mean == 1 else np.asarray(1 + np.floor(np.log1p(-draws) / np.log1p(-1 / lengths.mean)))
    if lengths.kind == "gamma":
        return np.asarray(generator.standard_gamma(lengths.cv**-2, count) * lengths.mean * lengths.cv**2)
    variance = np.log1p(lengths.cv**2) if lengths.kind == "lognormal" else 0.0
    draws = generator.standard_normal(count) if lengths.kind == "lognormal" else np.zeros(count)
    return np.asarray(lengths.mean * np.exp(np.sqrt(variance) * draws - variance / 2))


def _weighted(lengths: Lengths) -> tuple[Ints, Floats]:
    """Values of empirical lengths and their weights."""
    if lengths.values:
        values = np.array(lengths.values, np.int64)
        return values, np.array(lengths.weights, float) if lengths.weights else np.ones(len(values))
    assert lengths.path is not None
    assert lengths.column is not None
    column = read_table(lengths.path).column(lengths.column, lambda cell: whole_tokens(cell, 1))
    return np.array(column, np.int64), np.ones(len(column))


def cached_tokens(input_tokens: Ints, fraction: float | Floats) -> Ints:
    """Leading prompt tokens found in a prefix cache: the whole tokens of ``fraction``, never the whole prompt.

    The last prompt token is always computed, since its step emits the first token.

    >>> cached_tokens(np.array([1, 100, 101]), 0.29), cached_tokens(np.array([1, 100]), 1.0)
    (array([ 0, 29, 29]), array([ 0, 99]))
    """
    whole = np.floor(input_tokens * fraction + 1e-9).astype(np.int64)  # 0.29 x 100 is 28.999999999999996 in floating point
    return np.asarray(np.minimum(whole, input_tokens - 1), np.int64)
