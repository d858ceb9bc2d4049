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
    """Where a pool stands: devices ``first`` .. ``last`` - 1 of the topology, counting whole nodes' devices in order."""

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
    """Where every pool stands: at its node, or in the next node with room that holds the same accelerator or none.

    Engines that fit a node never straddle two. More devices than the topology has: `Infeasible` with the excess.
    """
    size, found, end, kind = design.topology.node_size, [], 0, ""
    for pool in design.pools:
        engine = pool.parallelism.devices
        start = pool.node * size if pool.node is not None else end
        if pool.node is None and end % size and (kind != pool.accelerator.name or engine > size - end % size):
            start = math.ceil(end / size) * size
        last = _last(start, engine, pool.replicas, size)
        found.append(Placement(pool.name, start, last))
        end, kind = (last, pool.accelerator.name) if last > end else (end, kind)
    excess = end - design.topology.devices
    if excess > 0:
        text = f"the pools reach device {end} of a topology ({design.topology.name}) of {design.topology.devices}"
        return Infeasible(kind="topology", constraint=text, margin=excess / design.topology.devices)
    return _overlap(design, found) or tuple(found)


def nodes_of(place: Placement, topology: Topology) -> range:
    """The nodes that a pool stands on."""
    return range(place.first // topology.node_size, math.ceil(place.last / topology.node_size))


def route(design: Design, source: Placement, target: Placement) -> Route:
    """What KV transfers get between two pools: the tier that joins them all, the narrower side, oversubscription shared.

    One request moves over all devices of its engine in parallel: min of both sides. Together: the narrower pool, divided by
    what the tier shares. Inside one node, different accelerators meet over the host link.
    """
    one, two = design.pool(source.pool), design.pool(target.pool)
    first, last = min(source.first, target.first), max(source.last, target.last)
    sides = [_side(pool, design.topology, first, last, mixed=one.accelerator.name != two.accelerator.name) for pool in (one, two)]
    caps = [_engine_devices(pool) * level.hop.bandwidth for pool, level in zip((one, two), sides, strict=True)]
    totals = [cap * pool.replicas * pool.parallelism.dp / level.shared for cap, pool, level in zip(caps, (one, two), sides, strict=True)]
    return Route(sides[0].hop.name, min(caps), min(totals), max(level.hop.latency for level in sides))


def _side(pool: Pool, topology: Topology, first: int, last: int, *, mixed: bool) -> Level:
    node = topology.tiers[0]
    if mixed and node.link is None and first // node.size == (last - 1) // node.size:
        return _level(node, _host_hop(pool.accelerator))
    levels = fabric(pool.accelerator, topology)
    return next((level for level in levels if first // level.size == (last - 1) // level.size), levels[-1])


def _engine_devices(pool: Pool) -> int:
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


def _overlap(design: Design, found: list[Placement]) -> Infeasible | None:
    order = sorted(found, key=lambda place: place.first)
    for one, two in pairwise(order):
        if one.last > two.first:
            shared = f"{two.first} to {min(one.last, two.last) - 1} of {design.topology.name}"
            text = f"pools {one.pool} and {two.pool} both stand on devices {shared}"
            return Infeasible(kind="topology", constraint=text, margin=(one.last - two.first) / design.topology.devices)
    return None
