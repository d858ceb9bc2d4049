"""Every variant of one pool at fidelity steady: tables lowered once per kind of engine, figures once per variant.

Variants that differ only in replicas, ``max_num_seqs`` or ``max_num_batched_tokens`` share one lowering, that of the largest
limits, whose tables cover the smaller ones. Their demand is that of the one demand function, and it comes first: a variant beyond `BAND`
is dropped before any latency is worked out. Variants in `BAND` are uncertain: their latencies are those at `EASED` of the load, so that
an error of the screen near saturation does not hide a design.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic import PoolSteady, Spread, Traffic, pool_demand, pool_steady
from mist_dse.analytic.demand import routing_skew
from mist_dse.analytic.pool import Variants as Arrays
from mist_dse.explore.screens.scene import Asked, Scene
from mist_dse.explore.spaces.amounts import pool_usd_per_hour
from mist_dse.explore.spaces.table import Variants
from mist_dse.perf.capacity import kv_blocks
from mist_dse.rows import HEAVY_LIGHT, Engine, Floats, Ints, Jobs, Load, Requests, StepCost
from mist_dse.specs.design import Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook, Topology
from mist_dse.stages import context_lag
from mist_dse.stages.pool import PoolRow

BAND = (0.95, 1.15)
"""Demand in which a pool is uncertain."""

EASED = 0.95
"""Share of the load at which uncertain pools are screened."""


class Kind(NamedTuple):
    """Variants ``rows`` of one kind of engine: what they share, and the arrays of what differs."""

    rows: Ints
    core: Pool
    cost: StepCost
    load: Load
    engine: Engine
    arrays: Arrays

    def at(self, chosen: Ints) -> "Kind":
        """Some of the variants."""
        return self._replace(rows=self.rows[chosen], arrays=Arrays(*(value[chosen] for value in self.arrays)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScreen:
    """Every variant v of one pool. ``kinds``: those that can be lowered; ``demand`` [v]: highest of all resources, nan for the others;
    ``refused``: why they cannot; ``steady``: figures of variants up to `BAND`, None where the pool's time depends on other servers."""

    kinds: tuple[Kind, ...]
    demand: Floats
    usd_per_hour: Floats
    devices: Floats
    refused: tuple[Infeasible, ...]
    steady: PoolSteady | None = None


def pool_screen(pool: Variants, scene: Scene, prices: PriceBook, *, latencies: bool = True) -> PoolScreen:
    """All variants of ``pool`` as ``scene`` uses it."""
    topology = scene.reference.topology
    kinds, refused = pool_kinds(pool, topology, scene)
    demand = np.full(len(pool), np.nan)
    figures: list[tuple[Ints, PoolSteady]] = []
    for kind in kinds:
        found = scene.lowered_with(pool.name, kind.core)
        if isinstance(found, Infeasible):
            refused.append(found)
            continue
        traffic, visits = scene.traffic(pool.name, found[1], gaps=True)
        if not len(visits):
            demand[kind.rows] = 0.0
            continue
        demand[kind.rows] = kind_demand(kind, traffic, found[1], visits)
        if latencies:
            figures += eased(kind, demand[kind.rows], traffic)
    return PoolScreen(
        kinds=tuple(kinds),
        demand=demand,
        usd_per_hour=pool_usd_per_hour(pool.cores, pool.core, pool.replicas, prices=prices, node_size=topology.node_size),
        devices=pool.replicas * np.array([float(core.parallelism.devices) for core in pool.cores])[pool.core],
        refused=tuple(refused),
        steady=_gathered(figures, len(pool)) if latencies else None,
    )


def pool_kinds(pool: Variants, topology: Topology, scene: Scene) -> tuple[list[Kind], list[Infeasible]]:
    """The kinds of engine of a pool that can be lowered, and why the others cannot."""
    kinds: list[Kind] = []
    refused: list[Infeasible] = []
    for members, cores in _engines(pool):
        found = _lowered(pool, (members, cores), topology, scene)
        if isinstance(found, Infeasible):
            refused.append(found)
        else:
            kinds.append(found)
    return kinds, refused


def kind_demand(kind: Kind, traffic: Traffic, jobs: Jobs, visits: Ints) -> Floats:
    """Highest demand of each variant on any of its resources: `analytic.demand`, for arrays."""
    rows = pool_demand(kind.cost, kind.load, kind.engine, traffic, kind.arrays)
    highest = np.max([np.broadcast_to(value, kind.rows.shape) for value in rows.values()], axis=0)
    if kind.engine.router != HEAVY_LIGHT:
        return np.asarray(highest)
    skew = [routing_skew(_with_replicas(kind, int(replicas)), jobs, visits) for replicas in kind.arrays.replicas]
    return np.asarray(highest * np.array(skew))


def eased(kind: Kind, demand: Floats, traffic: Traffic) -> list[tuple[Ints, PoolSteady]]:
    """Figures of the variants of demand up to `BAND`, those within it at `EASED` of the load."""
    parts = ((np.flatnonzero(demand < BAND[0]), 1.0), (np.flatnonzero((demand >= BAND[0]) & (demand <= BAND[1])), EASED))
    found: list[tuple[Ints, PoolSteady]] = []
    for chosen, share in parts:
        if chosen.size:
            some = kind.at(chosen)
            found.append((some.rows, pool_steady(kind.cost, kind.engine, traffic._replace(rate=traffic.rate * share), some.arrays)))
    return found


def first_fitting(pool: Variants, topology: Topology, requests: Requests, lowering: Any) -> Pool | Infeasible:
    """A variant that can be lowered, with the fewest replicas that it comes with; or why the nearest cannot."""
    reason: Infeasible | None = None
    for members, cores in _engines(pool):
        found = lowering(pool.cores[cores[0]], topology, role=pool.role, longest=int(requests.input_tokens.max(initial=1)))
        if not isinstance(found, Infeasible):
            return pool.pool(int(members[np.argmin(pool.replicas[members])]))
        reason = reason if reason is not None and reason.margin <= found.margin else found
    assert reason is not None
    return reason


def longest_sequence(role: str, requests: Requests) -> int:
    """Most tokens that one visit to a pool of that role may come to hold."""
    answer = requests.max_tokens if role != "prefill" else np.ones_like(requests.max_tokens)
    return int((requests.input_tokens + answer).max(initial=1))


def _with_replicas(kind: Kind, replicas: int) -> Engine:
    heavy = round(kind.core.routing.heavy_share * replicas * kind.core.parallelism.dp)
    return kind.engine._replace(replicas=replicas, heavy_ranks=heavy)


def _holds(blocks: Floats, engine: Engine, watermark: float, tokens: int) -> NDArray[np.bool_]:
    """Whether the longest sequence can ever be admitted; else requests would be turned away."""
    needed = math.ceil((tokens - 1) / engine.block_size) + np.floor(watermark * blocks)
    return np.asarray((needed <= blocks) & (tokens <= engine.max_model_len))


def _too_short(pool: Pool, engine: Engine, tokens: int) -> Infeasible:
    text = f"pool {pool.name}: sequences of {tokens} tokens, {pool.accelerator.name} x {pool.parallelism.tp} holds {engine.max_model_len}"
    return Infeasible(kind="length", constraint=text, margin=max(tokens / engine.max_model_len - 1, 1e-3))


def _engines(pool: Variants) -> Iterator[tuple[Ints, list[int]]]:
    """Variants by kind of engine, with the cores of that kind."""
    kinds: dict[Any, list[int]] = {}
    for number, core in enumerate(pool.cores):
        batching = replace(core.batching, max_num_seqs=1, max_num_batched_tokens=1)
        key = (core.model.name, core.accelerator.name, core.engine, core.parallelism, core.dtypes, batching, core.router, core.speculation,
               core.routing)  # fmt: skip
        kinds.setdefault(key, []).append(number)
    label = np.empty(len(pool.cores), dtype=np.int64)
    for position, cores in enumerate(kinds.values()):
        label[cores] = position
    of_variant = label[pool.core]
    order = np.argsort(of_variant, kind="stable")
    ends = np.searchsorted(of_variant[order], np.arange(len(kinds) + 1))
    for position, cores in enumerate(kinds.values()):
        yield order[ends[position] : ends[position + 1]], cores


def _lowered(pool: Variants, kind: tuple[Ints, list[int]], topology: Topology, scene: Scene) -> Kind | Infeasible:
    """The variants of one kind of engine that fit, their shared tables, and what differs between them."""
    members, cores = kind
    settings = [pool.cores[core] for core in cores]
    asked = scene.asked[pool.name]
    most = _largest(settings)
    lag = 0.0 if asked.role == "prefill" else context_lag(scene.requests, most.speculation)
    row = scene.pool_row(most, topology, role=asked.role, longest=asked.longest, lag=lag)
    if isinstance(row, Infeasible):
        return row
    values = np.zeros((len(pool.cores), 3))
    for core, setting in zip(cores, settings, strict=True):
        blocks = kv_blocks(setting)
        room = 0 if isinstance(blocks, Infeasible) else blocks
        values[core] = (setting.batching.max_num_seqs, setting.batching.max_num_batched_tokens, room)
    return _kept(pool, members, (most, row), values, _longest(scene, pool.name, asked))


def _kept(pool: Variants, members: Ints, found: tuple[Pool, PoolRow], values: Floats, longest: int) -> Kind | Infeasible:
    """The members that can hold the ``longest`` sequence."""
    most, row = found
    members = members[_holds(values[pool.core[members], 2], row.engine, most.engine.watermark, longest)]
    if not members.size:
        return _too_short(most, row.engine, longest)
    chosen = values[pool.core[members]]
    arrays = Arrays(pool.replicas[members].astype(float), *(chosen[:, column] for column in range(3)))
    return Kind(members, most, row.cost, row.load, row.engine, arrays)


def _longest(scene: Scene, name: str, asked: Asked) -> int:
    jobs = scene.jobs
    visits = jobs.server == scene.number(name)
    tokens = jobs.prompt[visits] + (jobs.limit[visits] if asked.role != "prefill" else 1)
    return int(tokens.max(initial=1))


def _largest(settings: Sequence[Pool]) -> Pool:
    """One pool with the largest limits of all."""
    limits = {name: max(getattr(core.batching, name) for core in settings) for name in ("max_num_seqs", "max_num_batched_tokens")}
    return replace(settings[0], batching=replace(settings[0].batching, **limits))


def _gathered(figures: Sequence[tuple[Ints, PoolSteady]], size: int) -> PoolSteady:
    """Figures of all variants of a pool, nan where there are none."""

    def column(values: Sequence[tuple[Ints, Floats]]) -> Floats:
        whole = np.full(size, np.nan)
        for rows, value in values:
            whole[rows] = value
        return whole

    def field(name: str) -> Any:
        parts = [(rows, getattr(part, name)) for rows, part in figures]
        if name in ("tpot", "first", "decode"):
            return Spread(*(column([(rows, part[level]) for rows, part in parts]) for level in range(4)))
        return column(parts)

    return PoolSteady(*(field(name) for name in PoolSteady._fields))
