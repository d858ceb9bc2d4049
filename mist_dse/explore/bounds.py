"""What no schedule can beat, for many designs at once: one bound per combination of kinds of engine, times each design's rent.

A *kind* is a pool without what can only worsen its floors. Relaxed, so that one number holds for every design of a
combination: ``max_num_seqs`` and ``max_num_batched_tokens`` at the largest in the space, queues left out (floors are those of
each request alone, for any router and number of replicas), the hand-off free, the rent by device (`amounts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic import bound
from mist_dse.explore.amounts import pool_usd_per_hour
from mist_dse.explore.executor import Execute, Lost, serial
from mist_dse.explore.table import DesignTable, Section, Variants
from mist_dse.metrics import METRICS, counted_requests, latency_summary, least_rates
from mist_dse.rows import Floats, Ints, Requests, Station
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload
from mist_dse.stages import lower, lower_pool

MOST_BOUNDS = 1000
"""Most combinations of kinds that are bounded, 10 ms each; beyond that no bounds are taken."""

CHUNK = 32
"""Combinations bounded at once: their pools are lowered once."""

BOUNDED = (*(name for name, metric in METRICS.items() if metric.unit == "s" and metric.bound == "unloaded"),
           "throughput_rps", "output_tokens_per_s", "total_tokens_per_s", "usd_per_hour", "usd_per_mtok", "accelerators")  # fmt: skip
"""Metrics that `design_bounds` gives."""

FREE = Station(rate=np.inf, cap=np.inf, slots=1, latency=0.0)
"""A station that takes no time."""

Floor = dict[str, float | None]


class Span(NamedTuple):
    """Designs of one section: where their rows are, the variant of each pool, and which combination of kinds each is."""

    part: Section
    rows: slice
    chosen: tuple[Ints, ...]
    which: Ints


@dataclass(frozen=True, slots=True)
class Floors:
    """Designs to floors, in any process: the same requests for each."""

    workload: Workload
    requests: Requests

    def __call__(self, designs: Sequence[Design]) -> list[Floor]:
        """One mapping of metric to bound per design, in order."""
        pool_row = lru_cache(maxsize=2 * CHUNK)(lower_pool)
        return [self.of(design, pool_row) for design in designs]

    def of(self, design: Design, pool_row: Any = lower_pool) -> Floor:
        """Bounds of one design without its hand-off; empty where it cannot be lowered or would turn requests away, which designs
        with smaller limits may not."""
        lowered = lower(design, self.requests, pool_row=pool_row)
        if isinstance(lowered, Infeasible):
            return {}
        requests = self.requests
        floor = bound(lowered.servers._replace(stations=tuple(FREE for _ in lowered.servers.stations)), lowered.jobs, requests)
        counted = counted_requests(len(requests.arrival), self.workload.warmup)
        if np.isnan(floor.e2e).any() or not counted.any():
            return {}
        return {
            **latency_summary(*(values[counted] for values in (floor.ttft, floor.tpot, floor.e2e))),
            **least_rates(floor.e2e, counted, requests),
        }


def design_bounds(table: DesignTable, index: Ints, names: Sequence[str], *, floors: Floors, prices: PriceBook,
                  execute: Execute = serial) -> dict[str, Floats] | None:  # fmt: skip
    """Bounds of the metrics ``names`` (of `BOUNDED`) of designs ``index`` (ascending); nan where none was found.

    None where the designs are of more than `MOST_BOUNDS` combinations of kinds.
    """
    spans, designs = _combinations(table, index)
    if len(designs) > MOST_BOUNDS:
        return None
    every = _executed(floors, designs, execute)
    of_kind = {name: np.array([floor.get(name) for floor in every], dtype=float) for name in (*names, "output_tokens_per_s")}
    found = {name: np.full(len(index), np.nan) for name in names}
    for span in spans:
        fixed = {"usd_per_hour": _rent(span, prices), "accelerators": _devices(span)}
        fixed["usd_per_mtok"] = fixed["usd_per_hour"] / 3600 / of_kind["output_tokens_per_s"][span.which] * 1e6
        for name in names:
            found[name][span.rows] = fixed[name] if name in fixed else of_kind[name][span.which]
    return found


def _executed(floors: Floors, designs: Sequence[Design], execute: Execute) -> list[Floor]:
    chunks = [designs[low : low + CHUNK] for low in range(0, len(designs), CHUNK)]
    done = dict(execute(floors, chunks))
    return [
        floor for number, chunk in enumerate(chunks) for floor in ([{}] * len(chunk) if isinstance(done[number], Lost) else done[number])
    ]


def _combinations(table: DesignTable, index: Ints) -> tuple[list[Span], list[Design]]:
    """The designs by section, and one design per combination of kinds among them."""
    spans: list[Span] = []
    designs: list[Design] = []
    offset = 0
    for part in table.sections:
        low, high = (int(place) for place in np.searchsorted(index, [offset, offset + len(part)]))
        chosen = part.variants(index[low:high] - offset)
        offset += len(part)
        kinds = [_kinds(pool) for pool in part.pools]
        labels = np.column_stack([label[pool.core[variant]] for (label, _), pool, variant in zip(kinds, part.pools, chosen, strict=True)])
        distinct, which = np.unique(labels, axis=0, return_inverse=True)
        spans.append(Span(part, slice(low, high), chosen, which.ravel() + len(designs)))
        designs += [replace(part.base, pools=tuple(pools[k] for (_, pools), k in zip(kinds, row, strict=True))) for row in distinct]
    return spans, designs


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


def _rent(span: Span, prices: PriceBook) -> Floats:
    """Least USD per hour: devices alone."""
    book, node = replace(prices, billing="device"), span.part.base.topology.node_size
    each = [pool_usd_per_hour(pool.cores, pool.core, pool.replicas, prices=book, node_size=node) for pool in span.part.pools]
    return np.asarray(sum(rent[variant] for rent, variant in zip(each, span.chosen, strict=True)), dtype=float)


def _devices(span: Span) -> Floats:
    each = [np.array([core.parallelism.devices for core in pool.cores])[pool.core] * pool.replicas for pool in span.part.pools]
    return np.asarray(sum(count[variant] for count, variant in zip(each, span.chosen, strict=True)), dtype=float)
