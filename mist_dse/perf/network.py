"""Which links join devices: tiers between placements, where pools stand, and what a transfer between two pools gets.

Innermost first: the accelerator's scale-up domain, the host link inside a node past it, then the tiers of the topology. A
device behind a NIC never gets more than the NIC. Traffic between two placements takes the narrowest tier between them.
"""

import math
from itertools import pairwise
from typing import NamedTuple

from mist_dse.perf.collective import Hop, Span
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Accelerator, Link, Topology, TopologyTier
from mist_dse.specs.service import Service

HOST_LINK_EFFICIENCY = 0.64
"""Collective share of a PCIe link (aiconfigurator 0.12: L40S pair 20 of 31.5 GB/s, RTX PRO 6000 pair 38.6 of 63 GB/s)."""

HOST_LINK_LATENCY = 20e-6
"""Small collective over PCIe through host memory, s (served RTX PRO 6000 pair)."""


class Level(NamedTuple):
    """Groups of ``size`` devices whose members reach each other over ``hop``; ``shared`` is its oversubscription."""

    size: int
    hop: Hop
    shared: float = 1.0


class Placement(NamedTuple):
    """Where a pool (or service) stands: devices ``first`` .. ``last`` - 1 of the topology, counting whole nodes' devices in order."""

    pool: str
    first: int
    last: int


class Route(NamedTuple):
    """A KV transfer between two pools: B/s of one request, B/s of all together, and the latency of the link."""

    tier: str
    cap: float
    rate: float
    latency: float


def fabric(accelerator: Accelerator, topology: Topology) -> tuple[Level, ...]:
    """The nested links around one device, innermost first."""
    node = topology.tiers[0]
    levels = [_level(tier, _tier_hop(accelerator, tier)) for tier in topology.tiers[1:] if tier.link is not None]
    if node.link is not None:
        return (_level(node, _hop(node.link)), *levels)
    domain = min(accelerator.scale_up_domain, node.size)
    inner = [Level(domain, _hop(accelerator.scale_up)._replace(fits=accelerator.collectives), node.oversubscription)] if domain > 1 else []
    if domain < node.size:
        inner.append(_level(node, _host_hop(accelerator)))
    return (*inner, *levels)


def narrowest(accelerator: Accelerator, topology: Topology) -> Level:
    """What no transfer of one device falls below, wherever its pool stands: least bandwidth, most latency and most oversubscription of all
    its links."""
    levels = (*fabric(accelerator, topology), Level(1, _host_hop(accelerator)))
    hop = min((level.hop for level in levels), key=lambda hop: hop.bandwidth)
    return Level(1, hop._replace(latency=max(level.hop.latency for level in levels)), max(level.shared for level in levels))


def spans(levels: tuple[Level, ...], devices: int, stride: int = 1) -> tuple[Span, ...]:
    """How ``devices`` devices that stand ``stride`` apart exchange: ways per level, oversubscribed links shared by all.

    >>> nvlink, rail = Hop("nvlink", 360e9, 5e-6), Hop("rail", 36e9, 5e-6)
    >>> [(span.ways, span.hop.name) for span in spans((Level(8, nvlink), Level(64, rail)), 16)]
    [(8, 'nvlink'), (2, 'rail')]
    """
    found: list[Span] = []
    left = devices
    for position, level in enumerate(levels):
        room = max(level.size // (stride * math.prod(span.ways for span in found)), 1)
        ways = left if position == len(levels) - 1 else math.gcd(left, room) if left > room else left
        if ways > 1:
            hop = level.hop.among(ways)
            found.append(Span(ways, hop._replace(bandwidth=hop.bandwidth / level.shared)))
            left //= ways
    return tuple(found)


def placements(design: Design) -> tuple[Placement, ...] | Infeasible:
    """Where all that has accelerators stands, pools before services: at its node, or in the next with room that holds the same or none.

    Engines that fit a node never straddle two. A service takes the first devices of its node that nobody before it took. What is beside
    a pool stands where that pool stands. More devices than the topology has: `Infeasible` with the excess.
    """
    size, found, end, kind = design.topology.node_size, dict[str, Placement](), 0, ""
    for host, accelerator in _standing(design):
        start = _start(host, accelerator, found, (end, kind), design)
        found[host.name] = place = Placement(host.name, start, _last(start, engine_devices(host), host.replicas, size))
        end, kind = (place.last, accelerator) if place.last > end else (end, kind)
    refused = _beyond(design, end) or _overlap(design, list(found.values()))
    if refused is not None:
        return refused
    for host in design.hosts:
        if host.beside:
            first = found[host.beside].first
            found[host.name] = Placement(host.name, first, _last(first, engine_devices(host), host.replicas, size))
    return tuple(found[host.name] for host in design.hosts if host.name in found)


def nodes_of(place: Placement, topology: Topology) -> range:
    """The nodes that a pool or service stands on."""
    return range(place.first // topology.node_size, math.ceil(place.last / topology.node_size))


def host_nodes(design: Design, stands: tuple[Placement, ...]) -> dict[int, tuple[str, ...]]:
    """Nodes without accelerators, and the services that use their sockets; other nodes' sockets come with the accelerators."""
    accelerated = {node for place in stands for node in nodes_of(place, design.topology)}
    found: dict[int, tuple[str, ...]] = {}
    for service in design.services:
        for node in _host_nodes(service, design.topology):
            if node not in accelerated:
                found[node] = (*found.get(node, ()), service.name)
    return found


def engine_devices(host: Pool | Service) -> int:
    """Devices of one replica."""
    return host.parallelism.devices if isinstance(host, Pool) else 1


def route(design: Design, source: Placement, target: Placement) -> Route:
    """What KV transfers get between two pools: the tier that joins them all, the narrower side, oversubscription shared.

    One request moves over all devices of its engine in parallel: min of both sides. Together: the narrower pool, divided by
    what the tier shares. Inside one node, different accelerators meet over the host link.
    """
    one, two = design.pool(source.pool), design.pool(target.pool)
    first, last = min(source.first, target.first), max(source.last, target.last)
    sides = [_side(pool, design.topology, first, last, mixed=one.accelerator.name != two.accelerator.name) for pool in (one, two)]
    caps = [_shards(pool) * level.hop.bandwidth for pool, level in zip((one, two), sides, strict=True)]
    totals = [cap * pool.replicas * pool.parallelism.dp / level.shared for cap, pool, level in zip(caps, (one, two), sides, strict=True)]
    return Route(sides[0].hop.name, min(caps), min(totals), max(level.hop.latency for level in sides))


def _side(pool: Pool, topology: Topology, first: int, last: int, *, mixed: bool) -> Level:
    node = topology.tiers[0]
    if mixed and node.link is None and first // node.size == (last - 1) // node.size:
        return _level(node, _host_hop(pool.accelerator))
    levels = fabric(pool.accelerator, topology)
    joins = next((k for k, level in enumerate(levels) if first // level.size == (last - 1) // level.size), len(levels) - 1)
    outward = [level for level in levels[: joins + 1] if level.size > node.size] or [levels[joins]]
    narrowest = min(outward, key=lambda level: level.hop.bandwidth)
    return levels[joins]._replace(
        hop=narrowest.hop, shared=max(level.shared * narrowest.hop.bandwidth / level.hop.bandwidth for level in outward)
    )


def _shards(pool: Pool) -> int:
    return pool.parallelism.tp * pool.parallelism.pp


def _level(tier: TopologyTier, hop: Hop) -> Level:
    return Level(tier.size, hop, tier.oversubscription)


def _hop(link: Link) -> Hop:
    return Hop(link.name, link.bandwidth * link.efficiency, link.latency, link.links or 0)


def _tier_hop(accelerator: Accelerator, tier: TopologyTier) -> Hop:
    assert tier.link is not None
    width = tier.link.bandwidth if accelerator.nic is None else min(tier.link.bandwidth, accelerator.nic)
    return Hop(tier.link.name, width * tier.link.efficiency, tier.link.latency)


def _host_hop(accelerator: Accelerator) -> Hop:
    width = accelerator.host_link or accelerator.nic or accelerator.scale_up.bandwidth
    return Hop("host link", width * HOST_LINK_EFFICIENCY, HOST_LINK_LATENCY)


def _last(start: int, engine: int, replicas: int, size: int) -> int:
    """End of ``replicas`` engines of ``engine`` devices from ``start``: whole nodes each, or as many as a node has room for."""
    if engine >= size:
        return start + replicas * math.ceil(engine / size) * size
    here = min((size - start % size) // engine, replicas)
    left, each = replicas - here, size // engine
    if left == 0:
        return start + here * engine
    full, rest = divmod(left, each)
    node = math.ceil((start + 1) / size) * size
    return node + full * size + rest * engine if rest else node + (full - 1) * size + each * engine


def _standing(design: Design) -> list[tuple[Pool | Service, str]]:
    """Pools and services with devices of their own, and the accelerator of each."""
    return [(host, host.accelerator.name) for host in design.hosts if host.accelerator is not None and not host.beside]


def _host_nodes(service: Service, topology: Topology) -> range:
    """The nodes whose sockets a service uses."""
    if service.node is None or service.accelerator is not None or service.kind == "outside":
        return range(0)
    return range(service.node, service.node + math.ceil(service.used_sockets / topology.hosts_per_node))


def _start(host: Pool | Service, accelerator: str, found: dict[str, Placement], last: tuple[int, str], design: Design) -> int:
    size, (end, kind) = design.topology.node_size, last
    if host.node is None:
        return math.ceil(end / size) * size if end % size and (kind != accelerator or engine_devices(host) > size - end % size) else end
    first = host.node * size
    if isinstance(host, Pool):
        return first
    there = [(other, found[other.name]) for other, _ in _standing(design) if other.name in found]
    here = [(other, place) for other, place in there if place.first < first + size and place.last > first]
    free = max((place.last for _, place in here), default=first)
    same = all(other.accelerator == host.accelerator for other, _ in here)
    return free if same and free < first + size else first  # without room it stands on theirs, which is refused


def _beyond(design: Design, end: int) -> Infeasible | None:
    """What the topology lacks: devices, or a node that a service names."""
    topology = design.topology
    excess, nodes = end - topology.devices, topology.devices // topology.node_size
    if excess > 0:
        text = f"the pools reach device {end} of a topology ({topology.name}) of {topology.devices}"
        return Infeasible(kind="topology", constraint=text, margin=excess / topology.devices)
    for service in design.services:
        last = -1 if service.node is None else max(_host_nodes(service, topology), default=service.node)
        if last >= nodes:
            text = f"service {service.name} is on node {last} of a topology ({topology.name}) of {nodes}, counted from 0"
            return Infeasible(kind="topology", constraint=text, margin=(last + 1) / nodes - 1)
    return None


def _overlap(design: Design, found: list[Placement]) -> Infeasible | None:
    order = sorted(found, key=lambda place: place.first)
    for one, two in pairwise(order):
        if one.last > two.first:
            shared = f"{two.first} to {min(one.last, two.last) - 1} of {design.topology.name}"
            text = f"pools {one.pool} and {two.pool} both stand on devices {shared}"
            return Infeasible(kind="topology", constraint=text, margin=(one.last - two.first) / design.topology.devices)
    return None
