"""What the designs of a section have in common: the requests' visits to each pool, read off one design that fits, lowered whole.

Visits depend on what a pool's engine does with a prompt (its model, profile, speculation and prefix cache), not on how many devices it has:
one lowering for each of these ways, at most a few, serves every variant. Prompts spared by a prefix cache are those of the demand function.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.caching import spared
from mist_dse.analytic.traffic import Traffic, gaps_per_step, realised_rate, realised_scv, realised_span, visit_traffic
from mist_dse.rows import Ints, Jobs, Requests
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import Lowered, lower, lower_pool
from mist_dse.stages.pool import PoolRow

PoolLowering = Callable[..., PoolRow | Infeasible]
"""`lower_pool`, memoised."""


class Asked(NamedTuple):
    """How the pipeline uses a pool: arguments of `lower_pool`."""

    role: str
    longest: int


class Scene:
    """One ``reference`` design under ``requests``: its rows, and the visits to each pool for every way that the pool may treat them."""

    def __init__(self, reference: Design, requests: Requests, pool_row: PoolLowering) -> None:
        self.reference, self.requests, self.pool_row = reference, requests, pool_row
        self.asked: dict[str, Asked] = {}
        self._jobs: dict[Any, tuple[Lowered, Jobs]] = {}
        found = self._lowered(reference)
        self.refused = found if isinstance(found, Infeasible) else None
        if not isinstance(found, Infeasible):
            self.lowered, self.jobs = found

    def lowered_with(self, name: str, core: Pool) -> tuple[Lowered, Jobs] | Infeasible:
        """The reference with another setting of pool ``name``, its jobs with what a prefix cache spares."""
        key = (name, *_way(core))
        if key not in self._jobs:
            own = self.reference.pool(name)
            found: tuple[Lowered, Jobs] | Infeasible = (self.lowered, self.jobs)
            if _way(own) != _way(core):
                pools = tuple(replace(core, replicas=own.replicas) if pool is own else pool for pool in self.reference.pools)
                found = self._lowered(replace(self.reference, pools=pools))
            if isinstance(found, Infeasible):
                return found
            self._jobs[key] = found
        return self._jobs[key]

    def lowered_as(self, design: Design) -> Lowered | Infeasible:
        """Another design of the same pipeline, its jobs with what a prefix cache spares."""
        found = self._lowered(design)
        return found if isinstance(found, Infeasible) else found[0]._replace(jobs=found[1])

    def number(self, name: str) -> int:
        """The number of a server of the reference."""
        return self.lowered.servers.names.index(name)

    def traffic(self, name: str, jobs: Jobs, *, gaps: bool = False) -> tuple[Traffic, Ints]:
        """The visits to an engine pool as the demand function has them, and their numbers; ``gaps``: with intervals between tokens."""
        visits = np.flatnonzero(jobs.server == self.number(name))
        rate = realised_rate(self.requests) * len(visits) / max(len(self.requests.arrival), 1)
        known = gaps_per_step(jobs, self.requests) if gaps else None
        span = realised_span(self.requests)
        return visit_traffic(jobs, visits, rate, scv=realised_scv(self.requests), horizon=span, gaps=known), visits

    def _lowered(self, design: Design) -> tuple[Lowered, Jobs] | Infeasible:
        def noted(pool: Pool, *rest: Any, **options: Any) -> PoolRow | Infeasible:
            self.asked.setdefault(pool.name, Asked(options["role"], options["longest"]))
            return self.pool_row(pool, *rest, **options)

        found = lower(design, self.requests, pool_row=noted)
        if isinstance(found, Infeasible):
            return found
        return found, spared(found.servers, found.jobs, any_order=False)


def memoised_lowering() -> PoolLowering:
    """`lower_pool` that remembers the rows of a few hundred pools."""
    return lru_cache(maxsize=512)(lower_pool)


def _way(pool: Pool) -> tuple[Any, ...]:
    """What of a pool decides about its visits."""
    return pool.model, pool.engine, pool.speculation, pool.batching.prefix_caching
