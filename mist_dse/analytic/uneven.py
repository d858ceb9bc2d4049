"""Steps with prompts are not alike: what an engine among decodes loses to the unequal numbers of prompt tokens that they carry.

The curve of `capacity` has one length for all steps with prompts, that at the mean of their tokens. A step's time bends upwards in its
tokens, from memory-bound to compute-bound, so their mean is longer (Jensen's inequality). Where prompts take a share r' of the time
instead of r, a token takes (1 - r) / (1 - r') times as long, as r' also holds the prompts that come meanwhile.
"""

import numpy as np

from mist_dse.analytic.capacity import mixed_time
from mist_dse.analytic.operation import Operation
from mist_dse.analytic.traffic import Traffic, coarse
from mist_dse.rows import CHUNKED, STATIC, Engine, Floats

_BUSIEST = 0.95
"""Largest share of time that prompts are taken to need."""


def unequal(engine: Engine, traffic: Traffic, op: Operation) -> Operation:
    """The operating point ``op`` with steps of unequal prompts."""
    if engine.policy == STATIC or traffic.decodes <= 0 or traffic.tokens <= 0:
        return op
    chunked = engine.policy == CHUNKED
    held, rest = (part if chunked else np.zeros_like(part) for part in (op.batch, op.pure))
    came = traffic.tokens * op.rate / engine.lanes / np.maximum(op.steps * op.share, 1e-12)
    carried = np.minimum(came, op.variants.max_num_batched_tokens)
    tokens = _tokens(engine, traffic, op, carried[:, None])
    times = mixed_time(op.mean, held[:, None], tokens, attention=op.mean.per_token * tokens).mean(axis=1)
    mixed = op.mixed * times / mixed_time(op.mean, held, carried, attention=op.mean.per_token * carried)
    seen = 1 - (1 - op.share) ** engine.ranks
    taken = seen * (op.mixed - rest) / (seen * op.mixed + (1 - seen) * op.pure)
    more = taken * (mixed - rest) / np.maximum(op.mixed - rest, 1e-12)
    longer = (1 - taken) / (1 - np.minimum(more, np.maximum(taken, _BUSIEST)))
    steps = 1 / longer if chunked else op.share + (1 - op.share) / longer  # where prompts come first, decode steps alone are rarer
    return op._replace(
        mixed=mixed,
        share=np.asarray(op.share if chunked else op.share / steps),
        token=op.token * longer,
        batch=op.batch * longer,
        steps=op.steps * steps,
    )


def _tokens(engine: Engine, traffic: Traffic, op: Operation, mean: Floats) -> Floats:
    """Tokens [v, bins] of steps with prompts, of this mean [v, 1]: spread as prompts are, as many in a step as Poisson counts but 0."""
    budget = op.variants.max_num_batched_tokens[:, None]
    fresh = coarse(traffic.binned(traffic.fresh))[None, :]
    one = np.minimum(fresh, budget) if engine.splits_prompts else fresh
    count = -np.log1p(-np.minimum(op.share, 1 - 1e-9))[:, None]
    some, middle = np.maximum(-np.expm1(-count), 1e-12), one.mean(axis=1, keepdims=True)
    variance = (count * (one**2).mean(axis=1, keepdims=True) + (count * middle) ** 2) / some - (count * middle / some) ** 2
    wide = np.sqrt(np.maximum(variance, 0.0)) / np.maximum(one.std(axis=1, keepdims=True), 1e-9)
    tokens = np.maximum(mean + (one - middle) * wide, 1.0)
    tokens = np.minimum(tokens, budget) if engine.splits_prompts else tokens
    return np.asarray(tokens * mean / tokens.mean(axis=1, keepdims=True))
