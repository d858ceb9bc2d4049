"""KV tiers of one pool: which instance serves a request, what each tier then has of its prompt, and the links that bring it.

Instances are chosen before the run (in turn, at random, or by the content of the prompt), so that what a tier holds is known exactly, from
the stack distances of all requests before (`requests.reuse`); a router that looks at the load would make it an outcome. Each unit of a tier
has one link: transfers wait for one another, reads and writes alike, and every tier that is asked costs its latency.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf import tiers as equations
from mist_dse.requests import reuse
from mist_dse.requests.streams import named_stream
from mist_dse.rows import Floats, Ints, Load, Requests, Station, StepCost
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.service import KvTier, Service
from mist_dse.stages.visits import Slot

STATIC_ROUTERS = ("round_robin", "random", "session_affinity", "prefix_affinity")
"""Routers whose choice does not depend on the load. ``session_affinity`` deals sessions in turn; without sessions, and with
``prefix_affinity``, equal second blocks go to one instance."""


class Reach(NamedTuple):
    """One tier as its readers see it: ``units`` of ``sharers`` instances each, links from station ``first`` on (-1: resident)."""

    tier: KvTier
    sharers: int
    units: int
    first: int


class Plan(NamedTuple):
    """Who serves each request [n], and blocks of ``size`` bytes and ``tokens`` tokens found in and written to each tier [n, tiers]."""

    service: Service
    pool: Pool
    instance: Ints
    reaches: tuple[Reach, ...]
    found: Ints
    written: Ints
    size: float
    tokens: int

    @property
    def links(self) -> int:
        """Stations of all units of all tiers that are read over a link."""
        return sum(reach.units for reach in self.reaches if reach.first >= 0)


def tier_plan(design: Design, service: Service, pool: Pool, requests: Requests, first: int) -> Plan:
    """The plan of the tiers of ``service`` for ``pool``, whose links are stations from ``first`` on. ``SpecError`` without names."""
    if not len(requests.hash_ids):
        why = "the workload names no content (hash_ids), so that nothing could be found in them"
        raise SpecError(f"Service {service.name} has KV tiers, and {why}: use a trace with hash_ids, or sessions")
    if pool.batching.prefix_caching:
        raise SpecError(f"Service {service.name}: pool {pool.name} has prefix_caching, too; a resident tier stands for it")
    instances = pool.replicas * pool.parallelism.dp
    instance = _instances(pool, requests, instances)
    size = float(equations.block_bytes(pool.model, pool.dtypes, requests.hash_tokens))
    reaches, at = [], first
    for tier in service.tiers:
        sharers = min({"private": 1, "node": _on_a_node(design, pool), "shared": instances}[tier.scope], instances)
        units = -(-instances // sharers)
        reaches.append(Reach(tier, sharers, units, -1 if tier.resident else at))
        at += 0 if tier.resident else units
    sharing = [reach.sharers for reach in reaches]
    if sharing != sorted(sharing):
        raise SpecError(f"Service {service.name}: its tiers must go from private to shared, nearest first")
    capacities = [equations.whole_blocks(tier.capacity, size) for tier in service.tiers]
    found, written = (count(requests, capacities, instances, instance, sharers=sharing) for count in (reuse.tier_hits, reuse.tier_writes))
    return Plan(service, pool, instance, tuple(reaches), found, written, size, requests.hash_tokens)


def links(plan: Plan, shared: int) -> list[Station]:
    """One link for each unit of each tier that is not resident, first in first out; ``shared``: their host's memory, -1 = none.

    Only tiers in host memory draw from it.
    """
    return [
        Station(rate=reach.tier.tier.read, cap=reach.tier.tier.read, slots=1, latency=reach.tier.tier.latency,
                shared=shared if reach.tier.draws_on_host else -1)
        for reach in plan.reaches
        if reach.first >= 0
        for _ in range(reach.units)
    ]  # fmt: skip


def usable(plan: Plan, requests: Requests, step: StepCost, load: Load) -> Plan:
    """``plan`` without what the engine of ``step`` and ``load`` computes faster than it is read.

    Reading alone is compared with the marginal seconds of those tokens in a prompt; past the first tier that is not worth it, nothing is.
    """
    tokens = reuse.hit_tokens(plan.found, requests.input_tokens, plan.tokens).astype(float)
    before = np.cumsum(tokens, axis=1) - tokens
    compute = load.token_fit * tokens + step.quad * ((before + tokens) ** 2 - before**2)
    read = np.stack([_reading(reach, tokens[:, k] / plan.tokens * plan.size) for k, reach in enumerate(plan.reaches)], axis=1)
    worth = np.logical_and.accumulate((read <= compute) | (plan.found == 0), axis=1)
    return plan._replace(found=np.where(worth, plan.found, 0))


def fetch_slots(plan: Plan, requests: Requests, *, stage: int, present: np.ndarray) -> list[Slot]:
    """One visit per tier that is asked, nearest first: until all of the prompt is found."""
    blocks = -(-requests.input_tokens // plan.tokens)
    asked = equations.tiers_asked(plan.found, blocks) & present[:, None]
    tokens = reuse.hit_tokens(plan.found, requests.input_tokens, plan.tokens)
    moved = tokens / plan.tokens * plan.size
    return [
        Slot(server=_link(plan, reach), stage=stage, work=moved[:, k], present=asked[:, k], branch=-1)
        for k, reach in enumerate(plan.reaches)
        if reach.first >= 0
    ]


def store_slots(plan: Plan, *, stage: int, present: np.ndarray) -> list[Slot]:
    """One visit per tier that is written to, in bytes as its link reads them (a slower write counts for more)."""
    slots = []
    for k, reach in enumerate(plan.reaches):
        if reach.first < 0:
            continue
        tier = reach.tier.tier
        work = plan.written[:, k] * plan.size * (tier.read / (tier.write or tier.read))
        slots.append(Slot(server=_link(plan, reach), stage=stage, work=work, present=present & (work > 0), branch=-1))
    return slots


def found_tokens(plan: Plan, requests: Requests) -> Ints:
    """Prompt tokens [n] that need not be computed."""
    return np.asarray(reuse.hit_tokens(plan.found, requests.input_tokens, plan.tokens).sum(axis=1), np.int64)


def _link(plan: Plan, reach: Reach) -> Ints:
    return np.asarray(reach.first + plan.instance // reach.sharers, np.int64)


def _reading(reach: Reach, size: Floats) -> Floats:
    if reach.first < 0:
        return np.zeros(len(size))
    return np.asarray(equations.transfer_time(reach.tier.tier, size))


def _instances(pool: Pool, requests: Requests, instances: int) -> Ints:
    count = len(requests.arrival)
    if pool.router == "round_robin":
        return reuse.round_robin(count, instances)
    if pool.router == "random":
        return np.asarray(np.floor(named_stream(requests.seed, "instance").random(count) * instances), np.int64)
    if pool.router == "session_affinity" and len(requests.session):
        return _dealt(requests.session, instances)
    if pool.router in STATIC_ROUTERS:
        return reuse.by_session(requests.hash_first, requests.hash_ids, instances)
    why = "what tiers hold is known before a run only with a router that does not look at the load"
    raise SpecError(f"Pool {pool.name}: router is {pool.router}; {why}: {', '.join(STATIC_ROUTERS)}")


def _dealt(session: Ints, instances: int) -> Ints:
    """Sessions in turn, by their first requests; a request of none (-1) is one of its own.

    >>> _dealt(np.array([7, -1, 7, 5, -1]), 3).tolist()
    [0, 1, 0, 2, 0]
    """
    own = np.where(session >= 0, session, -1 - np.arange(len(session)))
    _, first, of = np.unique(own, return_index=True, return_inverse=True)
    turn = np.argsort(np.argsort(first))
    return np.asarray(turn[of] % instances, np.int64)


def _on_a_node(design: Design, pool: Pool) -> int:
    """Engines of a pool that stand on one node."""
    return max(design.topology.node_size // pool.parallelism.devices, 1) * pool.parallelism.dp
