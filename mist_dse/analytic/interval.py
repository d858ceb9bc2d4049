"""How a request's mean time between tokens differs from the mean of all: prompts met by chance, and a batch that fluctuates.

Deviations of a request with D decode steps, each tau s apart on the mean:

* prompts that share its steps: compound counts over D tau s, each token of which adds b s; variance
  b^2 l tau (E[p^2] + (ca2 - 1) E[p]^2) / D;
* the batch S: sequences and their contexts come and go about as fast as the request itself. Of the variance of one step,
  a^2 var S + c^2 S var x with slopes a = dT/dS and c = dT/dK in sequences and their context, the mean over a stay keeps
  2 (y - 1 + exp(-y)) / y^2, y = (1 - e) D / E[D]: a process whose correlation falls as exp(-t), slower by the elasticity e of a step.

Both are larger by 1 / (1 - r)^2, r the share of time that prompts take: where tokens come later, more prompts come between two of them.

A gamma law has the mean, variance and third moment. Requests of many lengths are a mixture, whose 90th percentile goes with the mean
deviation rather than with the root of the mean variance.
"""

import numpy as np

from mist_dse.analytic.gaps import gaps
from mist_dse.analytic.operation import Operation, batch_variance, decode_slope, elasticity
from mist_dse.analytic.spread import Spread
from mist_dse.analytic.step import column
from mist_dse.analytic.traffic import Traffic, arrival_scv
from mist_dse.rows import CHUNKED, STATIC, Engine, Floats

_NORMAL = (0.0, 1.2815515655446004, 2.3263478740408408)
"""Standard normal quantiles at `spread.LEVELS`."""

_BUSIEST = 0.9
"""Largest share of time that prompts are taken to need, in how tokens slow one another."""

_FARTHER = 1.25
"""Context, over the mean, up to which the slope of a step's time is taken."""


def token_interval(engine: Engine, traffic: Traffic, op: Operation) -> Spread:
    """Spread over requests of the mean seconds of a decode step."""
    many = traffic.steps[traffic.steps > 0]
    if not len(many):
        return Spread(*(np.full_like(op.token, np.nan),) * 4)
    rise = np.zeros_like(op.token)
    if engine.policy != STATIC:
        carried = np.maximum(traffic.tokens * op.rate / engine.lanes / np.maximum(op.steps * op.share, 1e-12), 1.0)
        rise = np.maximum(op.mixed - (op.pure if engine.policy == CHUNKED else 0.0), 0.0) / carried
    met = op.rate / engine.lanes * op.token
    faster = 1 / (1 - np.minimum(op.rate / engine.lanes * traffic.tokens * rise, _BUSIEST))
    scv = arrival_scv(engine, traffic.scv, op.variants.replicas * engine.ranks)
    squares = np.maximum(float((traffic.fresh**2).mean()) + (scv - 1) * traffic.tokens**2, 0.0)
    prompts = met * rise**2 * squares * float((many**-0.5).mean()) ** 2
    variance = faster**2 * (prompts + _step_variance(engine, traffic, op) * _kept(op, many))
    variance = np.maximum(variance, (1e-4 * op.token) ** 2)
    third = met * (faster * rise) ** 3 * float((traffic.fresh**3).mean() * (1 / many**2).mean())
    return _pearson(op.token, np.sqrt(variance), np.clip(third / variance**1.5, 0.02, 3.0))


def aftermath(engine: Engine, traffic: Traffic, op: Operation, came: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Mean seconds (per decode step of a visit, per visit) beyond `Operation.token`: prompts that a visit leaves behind it.

    ``came``: s that it waited, and s whose arrivals are not computed yet when its prompt is (`prompts.First`).
    """
    many = traffic.steps[traffic.steps > 0]
    if engine.policy == STATIC or traffic.tokens <= 0 or not len(many):
        return np.zeros_like(op.token), np.zeros_like(op.token)
    steps = np.array([part.mean() for part in np.array_split(np.sort(many), min(len(many), 32))])[None, :]
    waited, left = (value[:, None] for value in came)
    chunked, rate = engine.policy == CHUNKED, (op.rate * engine.ranks)[:, None]
    seen = 1 - (1 - op.share) ** engine.ranks
    step = seen * op.mixed + (1 - seen) * op.pure
    taken = np.minimum(seen * np.maximum(op.mixed - chunked * op.pure, 0.0) / step, _BUSIEST)[:, None]
    law = gaps(np.broadcast_to(arrival_scv(engine, traffic.scv, op.variants.replicas), op.rate.shape)).rows()
    stay = left + (steps - 1) * op.token[:, None]
    fewer = (law.renewals(rate * (waited + stay)) - law.renewals(rate * waited)) / rate - stay
    usual = (op.token if chunked else op.pure)[:, None]
    more = taken / (1 - taken) * (left - usual + fewer) * (1 - taken**steps if chunked else 1.0)
    more = np.maximum(more, -taken * op.token[:, None] * steps)
    share = len(many) / len(traffic.steps)
    return (more / steps).mean(axis=1), share * more.mean(axis=1)


def _kept(op: Operation, many: Floats) -> Floats:
    """Share of a step's variance that is left of its mean over a stay; the slower batches forget, the more."""
    stay = np.array([part.mean() for part in np.array_split(np.sort(many), min(len(many), 32))]) / many.mean()
    passed = stay[None, :] * (1 - elasticity(op, op.batch))[:, None]
    return np.asarray((2 * (passed - 1 + np.exp(-passed)) / passed**2).mean(axis=1))


def _step_variance(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Variance of a decode step's time over batches."""
    place = np.clip(op.batch, 1, max(len(op.mean.decode) - 2, 1)).astype(np.int64)
    context = traffic.context
    farther = column(op.mean.cost.decode_step, op.mean.cost.knots, _FARTHER * context)
    nearer = column(op.mean.cost.decode_step, op.mean.cost.knots, context)
    pull = (farther[place] - nearer[place]) / np.maximum((_FARTHER - 1) * context * place, 1e-9)
    variance = batch_variance(engine, traffic, op) / engine.lanes
    return np.asarray(decode_slope(op, op.batch) ** 2 * variance + pull**2 * op.batch * traffic.context_variance)


def _pearson(mean: Floats, deviation: Floats, skew: Floats) -> Spread:
    """Spread of the gamma law with these three moments (Wilson-Hilferty quantiles)."""
    quantiles = (mean + deviation * 2 / skew * (np.maximum(1 + skew * z / 6 - skew**2 / 36, 0) ** 3 - 1) for z in _NORMAL)
    return Spread(mean, *quantiles)
