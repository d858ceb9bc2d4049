"""Pools put together to designs by broadcasting: each distinct pool is evaluated once, each pair costs a few operations."""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.pool import PoolSteady
from mist_dse.analytic.spread import LEVELS, Spread, total
from mist_dse.analytic.traffic import Traffic
from mist_dse.rows import Floats


class DesignSteady(NamedTuple):
    """Stationary figures of designs; arrays of one shape. ``demand`` is the highest of the pools' and the hand-off's."""

    demand: Floats
    ttft: Spread
    tpot: Spread
    e2e: Spread

    @property
    def saturated(self) -> np.ndarray:
        """Whether some server cannot sustain the offered rate."""
        return self.demand >= 1


def colocated(pool: PoolSteady, correlation: float = 0.0) -> DesignSteady:
    """Designs of one pool that prefills and decodes; ``correlation`` between prompt and answer lengths."""
    return DesignSteady(pool.demand, pool.first, pool.tpot, total(pool.first, pool.decode, correlation))


def combine(
    prefill: PoolSteady,
    decode: PoolSteady,
    traffic: Traffic,
    *,
    delay: Floats | float = 0.0,
    demand: Floats | float = 0.0,
    first_token_from: str = "prefill",
    correlation: float = 0.0,
) -> DesignSteady:
    """Designs [p, d] of every prefill pool with every decode pool; ``traffic`` is the decode pools' (handed visits).

    ``delay``: mean seconds that the hand-off adds after the prompt ends, ``demand``: of its link, scalars or [p, d]. The
    wait for the first decode step and the hand-off are spread over a request's o - 1 gaps if the first token comes from the
    prefill pool; otherwise they are part of TTFT.
    """
    first, second = prefill.at(slice(None), None), decode.at(None, slice(None))
    pause = second.first.shifted(delay)
    asked = np.maximum(np.maximum(first.demand, second.demand), demand)
    decoding = total(pause, second.decode)
    e2e = total(first.first, decoding.shifted(-second.step), correlation)
    if first_token_from == "decode":
        return DesignSteady(asked, total(first.first, pause), _shape(second.tpot, asked), e2e)
    gap = pause.mean - second.step
    return DesignSteady(asked, _shape(first.first, asked), _shape(total(second.tpot, _per_gap(traffic).scaled(gap)), asked), e2e)


def _per_gap(traffic: Traffic) -> Spread:
    """Spread over requests of one over the number of gaps between output tokens."""
    inverse = 1 / traffic.gaps[traffic.steps > 0]
    return Spread(*(np.asarray(value) for value in (inverse.mean(), *np.quantile(inverse, LEVELS))))


def _shape(spread: Spread, like: Floats) -> Spread:
    return Spread(*(np.broadcast_to(value, like.shape) for value in spread))
