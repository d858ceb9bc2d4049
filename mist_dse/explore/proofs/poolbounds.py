"""Floors of each pool variant of a chat (one prefill before one decode): its own queues and limits.

A design's floors come from its pools. Colocated: the variant's own `analytic.bound`. Apart: the prompt ends no sooner than the prefill
pool lets it (Lindley's recursion per replica where its preconditions hold), and what follows takes at least as long as the decode pool
needs without a queue, the hand-off free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic import bound
from mist_dse.analytic.bound import bounds
from mist_dse.explore.proofs.combinations import Floor, Floors, freed
from mist_dse.explore.proofs.exact import entry
from mist_dse.explore.spaces.table import Section
from mist_dse.metrics import demands
from mist_dse.rows import JOIN_SHORTEST_QUEUE, Engine, Floats, Requests
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import Lowered, lower, lower_pool


class Task(NamedTuple):
    """A design that stands for all with one of its pools, that pool's place and role, and the numbers of replicas asked for."""

    design: Design
    pool: int
    role: str
    replicas: tuple[int, ...]


class Prompts(NamedTuple):
    """A prefill pool: least seconds from arrival to the end of the prompt, per number of replicas [r, n]."""

    least: Floats


class Answers(NamedTuple):
    """A decode pool: least seconds from the end of the prompt to the first token and to the last [n], and between tokens [n]."""

    lead: Floats
    whole: Floats
    tpot: Floats


Found = list[Floor] | Prompts | Answers | None
"""What is known of a task: of a pool that does both, floors per number of replicas; None where the pool serves nothing."""


@dataclass(frozen=True, slots=True)
class PoolFloors:
    """Tasks to floors, in any process: the same requests for each."""

    floors: Floors

    def __call__(self, tasks: Sequence[Task]) -> list[Found]:
        """What is known of each task, in order."""
        pool_row = lru_cache(maxsize=64)(lower_pool)
        return [self.of(task, pool_row) for task in tasks]

    def of(self, task: Task, pool_row: Any = lower_pool) -> Found:
        """What is known of one task."""
        lowered = lower(task.design, self.floors.requests, pool_row=pool_row)
        if isinstance(lowered, Infeasible):
            return None
        if task.role == "both":
            every = bounds(freed(lowered.servers), lowered.jobs, self.floors.requests, [(count,) for count in task.replicas])
            return [self.floors.summary(floor.ttft, floor.tpot, floor.e2e) for floor in every]
        if task.role == "prefill":
            return self._prompts(lowered, task)
        return self._answers(lowered, task)

    def _prompts(self, lowered: Lowered, task: Task) -> Prompts | None:
        alone = entry(lowered.servers, lowered.jobs, task.pool)
        if alone is None:
            return None
        every = bounds(*alone, self.floors.requests, [(count,) for count in task.replicas])
        return Prompts(np.stack([floor.ttft for floor in every]))

    def _answers(self, lowered: Lowered, task: Task) -> Answers | None:
        return answers(lowered, task.pool, self.floors.requests)


def answers(lowered: Lowered, pool: int, requests: Requests) -> Answers | None:
    """Floors of what comes after the prompt, of the decode pool of a lowered chat."""
    servers = freed(lowered.servers)._replace(engines=tuple(map(_unqueued, lowered.servers.engines)))
    alone = entry(servers, lowered.jobs, 1 - pool)
    if alone is None:
        return None
    prompt, floor = bound(*alone, requests).ttft, bound(servers, lowered.jobs, requests)
    return Answers(np.maximum(floor.ttft - prompt, 0.0), np.maximum(floor.e2e - prompt, 0.0), floor.tpot)


def covered(part: Section, requests: Requests) -> bool:
    """Whether the designs of a section are a chat whose pools have floors of their own: one prefill before one decode, nothing else,
    on one pool or two, no prompt found by name, and arrivals that do not wait for answers."""
    roles = sorted(pool.role for pool in part.pools)
    kinds = [stage.kind for stage in part.base.pipeline.stages]
    if roles not in (["both"], ["decode", "prefill"]) or kinds != ["prefill", "decode"] or part.base.services or requests.clients:
        return False
    named = len(requests.hash_ids) > 0 and any(core.batching.prefix_caching for pool in part.pools for core in pool.cores)
    beside = any(core.beside for pool in part.pools for core in pool.cores)
    return not named and not beside


@dataclass(frozen=True, slots=True)
class Demands:
    """Designs to the demand on each server by name, in any process; nothing for one that cannot be."""

    requests: Requests

    def __call__(self, designs: Sequence[Design]) -> list[dict[str, float]]:
        """Highest demand of each server of each design, by the one demand function."""
        pool_row = lru_cache(maxsize=64)(lower_pool)
        return [self.of(design, pool_row) for design in designs]

    def of(self, design: Design, pool_row: Any = lower_pool) -> dict[str, float]:
        """Highest demand of each server."""
        lowered = lower(design, self.requests, pool_row=pool_row)
        if isinstance(lowered, Infeasible):
            return {}
        asked = demands(lowered, [f"shared {number}" for number in range(len(lowered.servers.shared))], self.requests)
        return {name: max(row.values()) for name, row in asked.items()}


def _unqueued(engine: Engine) -> Engine:
    """An engine whose router lets nothing be known of its queues."""
    return engine._replace(router=JOIN_SHORTEST_QUEUE)
