"""What no schedule can beat, where nothing more is known: one bound per combination of kinds of engine, whatever the pipeline.

A *kind* is a pool without what can only worsen its floors. Relaxed, so that one number holds for every design of a combination:
``max_num_seqs`` and ``max_num_batched_tokens`` at the largest in the space, queues left out (floors are those of each request alone, for
any router and number of replicas), the hand-off free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from mist_dse.analytic import bound
from mist_dse.explore.spaces.table import Section, Variants
from mist_dse.metrics import counted_requests, latency_summary, least_rates
from mist_dse.rows import Floats, Ints, Requests, Servers, Station
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.workload import Workload
from mist_dse.stages import lower, lower_pool

FREE = Station(rate=np.inf, cap=np.inf, slots=1, latency=0.0)
"""A station that takes no time."""

Floor = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Floors:
    """Designs to floors, in any process: the same requests for each."""

    workload: Workload
    requests: Requests

    def __call__(self, designs: Sequence[Design]) -> list[Floor]:
        """One mapping of metric to bound per design, in order."""
        pool_row = lru_cache(maxsize=64)(lower_pool)
        return [self.of(design, pool_row) for design in designs]

    def of(self, design: Design, pool_row: Any = lower_pool) -> Floor:
        """Bounds of one design without its hand-off; empty where it cannot be lowered or would turn requests away, which designs
        with smaller limits may not."""
        lowered = lower(design, self.requests, pool_row=pool_row)
        if isinstance(lowered, Infeasible):
            return {}
        floor = bound(freed(lowered.servers), lowered.jobs, self.requests)
        return self.summary(floor.ttft, floor.tpot, floor.e2e)

    def summary(self, ttft: Floats, tpot: Floats, e2e: Floats) -> Floor:
        """The bounds that floors of the requests give; empty where some would be turned away."""
        counted = counted_requests(len(e2e), self.workload.warmup)
        if np.isnan(e2e).any() or not counted.any():
            return {}
        return {
            **latency_summary(*(values[counted] for values in (ttft, tpot, e2e))),
            **least_rates(e2e, counted, self.requests),
        }


def freed(servers: Servers) -> Servers:
    """``servers`` whose stations take no time."""
    return servers._replace(stations=tuple(FREE for _ in servers.stations))


def combinations(part: Section, chosen: Sequence[Ints]) -> tuple[list[Design], Ints]:
    """One design per combination of kinds among the variants ``chosen``, and which of them each design is."""
    kinds = [_kinds(pool) for pool in part.pools]
    labels = np.column_stack([label[pool.core[variant]] for (label, _), pool, variant in zip(kinds, part.pools, chosen, strict=True)])
    distinct, which = np.unique(labels, axis=0, return_inverse=True)
    designs = [replace(part.base, pools=tuple(pools[k] for (_, pools), k in zip(kinds, row, strict=True))) for row in distinct]
    return designs, which.ravel()


def _kinds(pool: Variants) -> tuple[Ints, list[Pool]]:
    """The kind of each core, and a pool of each kind with its largest limits."""
    members: dict[Pool, list[int]] = {}
    for number, core in enumerate(pool.cores):
        batching = replace(core.batching, max_num_seqs=1, max_num_batched_tokens=1)
        members.setdefault(replace(core, replicas=1, router="jsq", batching=batching), []).append(number)
    label = np.empty(len(pool.cores), dtype=np.int64)
    pools = []
    for position, (kind, cores) in enumerate(members.items()):
        label[cores] = position
        batchings = [pool.cores[core].batching for core in cores]
        most = {name: max(getattr(each, name) for each in batchings) for name in ("max_num_seqs", "max_num_batched_tokens")}
        pools.append(replace(kind, batching=replace(kind.batching, **most)))
    return label, pools
