"""From nouns to rows: a design and its requests become `Servers` and `Jobs`.

The pipeline is unrolled (`unroll`), every copy of a stage becomes visits (`build`), and pools and services become servers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mist_dse.perf.capacity import shared_reserve
from mist_dse.perf.network import placements
from mist_dse.rows import RANDOM, Batcher, Engine, Ints, Jobs, Requests, Servers, Station
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Handoff, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.pipeline import Stage
from mist_dse.specs.service import Service
from mist_dse.stages.balance import equal_shares, shares_by_load, with_shares
from mist_dse.stages.build import build
from mist_dse.stages.built import Built, Layout
from mist_dse.stages.decode import context_lag
from mist_dse.stages.handoff import handoff_station, mismatch
from mist_dse.stages.kinds import kind_of
from mist_dse.stages.names import described
from mist_dse.stages.pool import PoolRow, lower_pool
from mist_dse.stages.servers import INSTANT, ServiceRow, memory_rates, service_row, shares_memory
from mist_dse.stages.tiers import Plan, links, tier_plan, usable
from mist_dse.stages.unroll import Copy, unrolled

JOINLESS = ("prefill", "decode", "kv_fetch", "kv_store")
"""Kinds that may be several visits, none of which could wait for the first of some paths."""


class Lowered(NamedTuple):
    """Rows of a design under its requests; ``stage_of_visit`` indexes ``design.pipeline.stages`` (-1 = a hand-off).

    A visit that prefills and decodes counts for the prefill stage until the user's first token, and then for the stage that ``later``
    [stages] names.
    """

    servers: Servers
    jobs: Jobs
    stage_of_visit: Ints
    provenance: dict[str, Any]
    later: Ints


def lower(design: Design, requests: Requests, *, pool_row: Callable[..., PoolRow | Infeasible] = lower_pool) -> Lowered | Infeasible:
    """Rows of a design, or the first constraint that it violates.

    ``pool_row``: `lower_pool` or a memoised form of it, since many designs share pools. ``SpecError`` for a pipeline that cannot be
    lowered: a kind that does not exist, a host that cannot run it, a decode without its prefill.
    """
    check_hosts(design)
    shares = equal_shares(design.pipeline)
    found = _lowered(with_shares(design, shares), requests, pool_row)
    if not shares or isinstance(found, Infeasible):
        return found if isinstance(found, Infeasible) else found[0]
    shares = shares_by_load(design, *found[1:], shares)
    found = _lowered(with_shares(design, shares), requests, pool_row)
    if isinstance(found, Infeasible):
        return found
    said = {f"{draw}: {way}": share for (draw, way), share in shares.items()}
    return found[0]._replace(provenance=found[0].provenance | {"shares by load": said})


def _lowered(
    design: Design, requests: Requests, pool_row: Callable[..., PoolRow | Infeasible]
) -> tuple[Lowered, Built, list[PoolRow]] | Infeasible:
    stands = placements(design)
    if isinstance(stands, Infeasible):
        return stands
    copies = unrolled(design.pipeline, requests)
    pairs = handoffs(design)
    for pair in pairs:
        differs = mismatch(design.pool(pair.source), design.pool(pair.target)) or _too_many_groups(design, pair)
        if differs is not None:
            return differs
    where = {place.pool: place for place in stands}
    moves = [handoff_station(design, where[pair.source], where[pair.target]) for pair in pairs]
    plans = _plans(design, copies, requests, len(design.pools) + len(pairs))
    built = build(design, copies, requests, Layout(pairs, plans))
    rows = _pool_rows(design, built, requests, pool_row)
    if isinstance(rows, Infeasible):
        return rows
    if plans:
        plans = _worth(plans, built, design, rows)
        built = build(design, copies, requests, Layout(pairs, plans))
    services = _service_rows(design, built)
    if isinstance(services, Infeasible):
        return services
    servers = _servers(design, rows, (pairs, moves), (services, plans), built)
    jobs, stage = built.jobs(services, len(servers.engines) + len(servers.stations))
    jobs = described(jobs, requests, servers.engines, built.conversations())
    provenance = {pool.name: row.provenance for pool, row in zip(design.pools, rows, strict=True)}
    return Lowered(servers, _forced(jobs, plans, design), stage, provenance, built.later), built, rows


def check_hosts(design: Design) -> None:
    """``SpecError`` where a stage is of no kind that exists, or stands where it cannot run."""
    for stage in design.pipeline.stages:
        where = f"Pipeline {design.pipeline.name}: stage {stage.name!r}"
        kind, host = kind_of(stage.kind, where), design.host_of(stage.name)
        runs = host.kind if isinstance(host, Service) else "engine"
        if stage.join != "all" and stage.kind in JOINLESS:
            raise SpecError(
                f"{where} is of kind {stage.kind} and waits for all that comes before it: join the {stage.join} in a stage before it"
            )
        if runs not in kind.RUNS_ON:
            noun = "service" if isinstance(host, Service) else "pool"
            what = "has an engine" if runs == "engine" else f"is {runs}"
            needs = " or ".join(kind.RUNS_ON)
            raise SpecError(f"{where} is of kind {stage.kind} and cannot run in {noun} {host.name}, which {what}: it needs {needs}")


def handoffs(design: Design) -> tuple[Handoff, ...]:
    """The hand-offs that decodes on another pool than their prefill need: the design's, or layer by layer."""
    found: dict[tuple[str, str], Handoff] = {}
    for stage in design.pipeline.stages:
        if stage.kind == "decode":
            source, target = design.host_of(prefill_of(design, stage)).name, design.host_of(stage.name).name
            if source != target:
                found[source, target] = Handoff(source=source, target=target)
    asked = design.handoff
    if asked is not None:
        if (asked.source, asked.target) in found:
            found[asked.source, asked.target] = asked
        elif found:
            expected = " or ".join(f"from {source} to {target}" for source, target in found)
            raise SpecError(f"Handoff goes from {asked.source} to {asked.target}: the pipeline's goes {expected}")
    return tuple(found.values())


def prefill_of(design: Design, stage: Stage) -> str:
    """The prefill stage that a decode stage continues; ``SpecError`` unless it comes right after exactly one."""
    names = [name for name in stage.after if design.pipeline.stage(name).kind == "prefill"]
    if len(names) != 1:
        raise SpecError(
            f"Pipeline {design.pipeline.name}: stage {stage.name!r} is of kind decode and must come right after one prefill stage"
        )
    _check_pair(design, design.pipeline.stage(names[0]), stage)
    return names[0]


def _check_pair(design: Design, prefill: Stage, decode: Stage) -> None:
    where = f"Pipeline {design.pipeline.name}: stage {decode.name!r} continues {prefill.name!r}"
    if (prefill.when, prefill.classes) != (decode.when, decode.classes):
        raise SpecError(f"{where}, and both must have the same when and classes")
    outer, inner = (design.pipeline.repeat_of(stage.name) for stage in (prefill, decode))
    if outer != inner and not (outer is None and inner is not None and inner.mode == "parallel"):
        raise SpecError(f"{where}, and both must be in one repeat, or the decode alone in a parallel one")


def _plans(design: Design, copies: tuple[Copy, ...], requests: Requests, first: int) -> dict[str, Plan]:
    """Of every service with KV tiers: for the pool of the first prefill that follows one of its stages, or else of the first."""
    plans: dict[str, Plan] = {}
    for service in design.services:
        if service.kind != "tiers":
            continue
        here = [index for index, copy in enumerate(copies) if copy.stage.name in service.stages]
        prompts = [copy for copy in copies[min(here) :] if copy.stage.kind == "prefill"] or [c for c in copies if c.stage.kind == "prefill"]
        if not prompts:
            raise SpecError(f"Service {service.name} has KV tiers, and pipeline {design.pipeline.name} has no prefill that could use them")
        pool = design.host_of(prompts[0].stage.name)
        assert isinstance(pool, Pool)
        plans[service.name] = tier_plan(design, service, pool, requests, first)
        first += plans[service.name].links
    return plans


def _worth(plans: dict[str, Plan], built: Built, design: Design, rows: list[PoolRow]) -> dict[str, Plan]:
    """Plans without what is computed faster than it is read, where the fetching stage leaves that choice."""
    kept = dict(plans)
    for name in built.choosing:
        row = rows[design.pools.index(plans[name].pool)]
        kept[name] = usable(plans[name], built.requests, row.cost, row.load)
    return kept


def _pool_rows(
    design: Design, built: Built, requests: Requests, pool_row: Callable[..., PoolRow | Infeasible]
) -> list[PoolRow] | Infeasible:
    found: list[PoolRow] = []
    for number, pool in enumerate(design.pools):
        role = built.role(number)
        lag = 0.0 if role == "prefill" else context_lag(requests, pool.speculation)
        row = pool_row(
            _with_neighbours(pool, design, _resident(pool, built.layout.plans)),
            design.topology,
            role=role,
            longest=built.longest(number),
            lag=lag,
        )
        if isinstance(row, Infeasible):
            return row
        found.append(row)
    return found


def _with_neighbours(pool: Pool, design: Design, resident: float) -> Pool:
    """``pool`` with the memory of its devices that those beside it leave: all weights first, the rest in equal parts."""
    owner = pool.beside or pool.name
    engines = [other for other in design.pools if owner in (other.name, other.beside) and other is not pool]
    encoders = [service for service in design.services if service.beside == owner and service.model is not None]
    reserve = shared_reserve(pool, engines, encoders) if engines or encoders else pool.engine.reserve
    reserve += resident
    return pool if reserve == pool.engine.reserve else replace(pool, engine=replace(pool.engine, reserve=reserve))


def _resident(pool: Pool, plans: Mapping[str, Plan]) -> float:
    """Bytes of each device that hold the blocks of resident tiers."""
    tiers = [reach for plan in plans.values() if plan.pool is pool for reach in plan.reaches if reach.tier.resident]
    return sum(reach.tier.capacity / reach.sharers for reach in tiers) * pool.parallelism.dp / pool.parallelism.devices


def _service_rows(design: Design, built: Built) -> dict[str, ServiceRow] | Infeasible:
    found: dict[str, ServiceRow] = {}
    for service in design.services:
        if service.kind == "tiers":
            continue
        row = service_row(service, built.passes(service), built.queries(service) if service.kind == "index" else 1)
        if isinstance(row, Infeasible):
            return row
        found[service.name] = row
    return found


def _servers(
    design: Design,
    rows: list[PoolRow],
    moves: tuple[tuple[Handoff, ...], list[Station]],
    services: tuple[dict[str, ServiceRow], dict[str, Plan]],
    built: Built,
) -> Servers:
    """Engines, then hand-offs, links of tiers, services and the place where signals meet, then batchers."""
    pairs, stations = moves
    names = ["handoff" if len(pairs) == 1 else f"handoff {pair.source} {pair.target}" for pair in pairs]
    rates = memory_rates(design)
    groups = {node: number for number, node in enumerate(rates)}
    batchers: list[Batcher] = []
    stations, late = list(stations), []
    for service in design.services:
        shared = -1 if service.node is None else groups.get(service.node, -1)
        if service.name in services[1]:
            plan = services[1][service.name]
            stations += links(plan, shared)
            named = [(reach, unit) for reach in plan.reaches if reach.first >= 0 for unit in range(reach.units)]
            names += [f"{service.name} {reach.tier.name}" + (f" {unit}" if reach.units > 1 else "") for reach, unit in named]
    for service in design.services:
        if service.name in services[1]:
            continue
        shared = groups.get(service.node, -1) if service.node is not None and shares_memory(service) else -1
        server = services[0][service.name].server
        if isinstance(server, Station):
            stations.append(server._replace(shared=shared))
            names.append(service.name)
        else:
            batchers.append(server._replace(device=_device(design, service.beside)) if service.beside else server)
            late.append(service.name)
    if built.meets:
        stations.append(INSTANT)
        names.append("signals")
    engines = tuple(_engine(design, pool, row, pairs, services[1]) for pool, row in zip(design.pools, rows, strict=True))
    every = (*(pool.name for pool in design.pools), *names, *late)
    return Servers(engines, tuple(row.cost for row in rows), tuple(row.load for row in rows), tuple(stations), every, tuple(batchers),
                   tuple(rates.values()))  # fmt: skip


def _engine(design: Design, pool: Pool, row: PoolRow, pairs: tuple[Handoff, ...], plans: dict[str, Plan]) -> Engine:
    groups = max((pair.groups for pair in pairs if pool.name in (pair.source, pair.target)), default=1)
    engine = row.engine._replace(groups=groups)
    if any(plan.pool.name == pool.name for plan in plans.values()):
        engine = engine._replace(router=RANDOM)  # visits carry their instance as a draw
    if pool.beside or any(other.beside == pool.name for other in design.hosts):
        engine = engine._replace(device=_device(design, pool.beside or pool.name))
    return engine


def _device(design: Design, owner: str) -> int:
    """The first of the devices that the replicas of ``owner`` share with others."""
    before = [other for other in design.pools if not other.beside]
    return sum(other.replicas for other in before[: [other.name for other in before].index(owner)])


def _forced(jobs: Jobs, plans: dict[str, Plan], design: Design) -> Jobs:
    """Draws that send every visit of a pool with tiers to its request's instance."""
    if not plans:
        return jobs
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    draw = jobs.draw.copy() if len(jobs.draw) else np.zeros((len(owner), 2))
    for plan in plans.values():
        here = jobs.server == design.pools.index(plan.pool)
        instances = plan.pool.replicas * plan.pool.parallelism.dp
        draw[here, 0] = (plan.instance[owner[here]] + 0.5) / instances
    return jobs._replace(draw=draw)


def _too_many_groups(design: Design, pair: Handoff) -> Infeasible | None:
    """Why the replicas of the two pools cannot be split into the local groups of their hand-off, None where they can."""
    least = min(design.pool(pair.source).replicas, design.pool(pair.target).replicas)
    if pair.groups <= least:
        return None
    text = f"handoff.groups is {pair.groups}: the smaller of its pools has {least} replicas"
    return Infeasible(kind="constraint", constraint=text, margin=pair.groups / least - 1)
