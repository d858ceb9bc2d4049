"""Token counts of one side of a request: fixed, uniform or log-normal.

``mean`` and ``cv`` are those of the token counts themselves: a log-normal of mean m and coefficient of variation c has
sigma^2 = ln(1 + c^2) and mu = ln m - sigma^2 / 2. Counts are rounded to whole tokens and are at least 1 (which raises the
mean of a law with much of its weight below one token). Each request takes one draw, so that the counts of request i depend
neither on how many requests there are nor on the arrivals.
"""

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs.workload import Lengths


def token_counts(lengths: Lengths, count: int, generator: np.random.Generator) -> Ints:
    """Whole token counts >= 1 of ``count`` requests."""
    if lengths.kind == "uniform":
        assert lengths.low is not None
        assert lengths.high is not None
        return np.asarray(lengths.low + np.floor(generator.random(count) * (lengths.high - lengths.low + 1)), np.int64)
    assert lengths.mean is not None
    variance = np.log1p(lengths.cv**2) if lengths.kind == "lognormal" else 0.0
    draws = generator.standard_normal(count) if lengths.kind == "lognormal" else np.zeros(count)
    tokens = lengths.mean * np.exp(np.sqrt(variance) * draws - variance / 2)
    return np.asarray(np.maximum(np.rint(tokens), 1), np.int64)


def cached_tokens(input_tokens: Ints, fraction: float) -> Ints:
    """Leading prompt tokens found in a prefix cache: the whole tokens of ``fraction``, never the whole prompt.

    The last prompt token is always computed, since its step emits the first token.

    >>> cached_tokens(np.array([1, 100, 101]), 0.29), cached_tokens(np.array([1, 100]), 1.0)
    (array([ 0, 29, 29]), array([ 0, 99]))
    """
    whole = np.floor(input_tokens * fraction + 1e-9).astype(np.int64)  # 0.29 x 100 is 28.999999999999996 in floating point
    return np.asarray(np.minimum(whole, input_tokens - 1), np.int64)
