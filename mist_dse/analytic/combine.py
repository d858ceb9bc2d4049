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


class Handed(NamedTuple):
    """Designs whose ``prefill`` pools hand over to ``decode`` pools, element by element or by broadcasting; figures as asked for.

    ``delay``: mean seconds that the hand-off adds after the prompt ends; ``known``: the first token comes from the prefill pool. Then the
    wait for the first decode step and the hand-off are spread over a request's o - 1 gaps; otherwise they are part of TTFT.
    """

    prefill: PoolSteady
    decode: PoolSteady
    traffic: Traffic  # of the decode pools: handed visits
    delay: Floats | float
    known: bool
    correlation: float

    @property
    def pause(self) -> Spread:
        """End of the prompt to the first emission of the decode pool."""
        return self.decode.first.shifted(self.delay)

    @property
    def ttft(self) -> Spread:
        """Time to first token."""
        return self.prefill.first if self.known else total(self.prefill.first, self.pause)

    @property
    def tpot(self) -> Spread:
        """Time per output token after the first."""
        if not self.known:
            return self.decode.tpot
        gap = self.decode.first.mean + self.delay - self.decode.step
        return total(self.decode.tpot, _per_gap(self.traffic).scaled(gap))

    @property
    def e2e(self) -> Spread:
        """Arrival to the last token."""
        return total(self.prefill.first, total(self.pause, self.decode.decode).shifted(-self.decode.step), self.correlation)


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
    """Designs [p, d] of every prefill pool with every decode pool: `Handed`, with ``demand`` that of the hand-off's link.

    ``delay`` and ``demand`` are scalars or [p, d].
    """
    first, second = prefill.at(slice(None), None), decode.at(None, slice(None))
    asked = np.maximum(np.maximum(first.demand, second.demand), demand)
    found = Handed(first, second, traffic, delay, first_token_from == "prefill", correlation)
    return DesignSteady(asked, _shape(found.ttft, asked), _shape(found.tpot, asked), _shape(found.e2e, asked))


def _per_gap(traffic: Traffic) -> Spread:
    """Spread over requests of one over the number of gaps between output tokens."""
    inverse = 1 / traffic.gaps[traffic.steps > 0]
    return Spread(*(np.asarray(value) for value in (inverse.mean(), *np.quantile(inverse, LEVELS))))


def _shape(spread: Spread, like: Floats) -> Spread:
    return Spread(*(np.broadcast_to(value, like.shape) for value in spread))
