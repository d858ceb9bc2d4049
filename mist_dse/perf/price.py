"""Rent of a design in USD per hour under a price book, and who of its pools and services pays for what.

Accelerators: single devices, or whole nodes shared out by the devices that each takes there. Sockets of a node with accelerators come
with them and are charged once, and only where the book prices the host by name. Other sockets (a service's own, or of nodes without
accelerators) cost what the book says of the host, else of its vCPUs, else of a machine (`socket_price`). DRAM and drives come with
their host; a tier behind a network is charged where the book prices it by name. What the book cannot price gives `Infeasible` of kind
price, never a guess.
"""

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from mist_dse.perf.network import Placement, host_nodes, nodes_of, placements
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Host, PriceBook, Topology
from mist_dse.specs.service import KvTier

LOCAL_SCOPES = ("device", "socket", "host", "node")
"""Scopes of memory tiers that stand in a node: they come with it."""

TWO_THREADS = ("AMD", "Intel")
"""Vendors whose cores run two threads, each rented as one vCPU; Arm cores run one (AWS, Amazon EC2 instance types: vCPUs)."""


class Charge(NamedTuple):
    """``amount`` of ``item`` at ``usd_per_hour`` each, paid for by pool or service ``payer``; whole nodes are shared in fractions."""

    payer: str
    item: str
    amount: Fraction
    usd_per_hour: float


class SocketPrice(NamedTuple):
    """USD per hour of one ``item``, of which a socket is ``amount``."""

    item: str
    amount: Fraction
    usd_per_hour: float


def usd_per_hour(design: Design, prices: PriceBook) -> float | Infeasible:
    """USD per hour of everything provisioned, idle replicas too. ``node`` billing rents every device of a node that a pool stands on."""
    found = charges(design, prices)
    if isinstance(found, Infeasible):
        return found
    price = {charge.item: charge.usd_per_hour for charge in found}
    return sum(price[item] * float(count) for item, count in _amounts(found).items())


def usd_per_hour_by_host(design: Design, prices: PriceBook) -> dict[str, float] | Infeasible:
    """The same by pool and service, by name; it adds up to `usd_per_hour`."""
    found = charges(design, prices)
    if isinstance(found, Infeasible):
        return found
    shares = dict.fromkeys((host.name for host in design.hosts), 0.0)
    for charge in found:
        shares[charge.payer] += charge.usd_per_hour * float(charge.amount)
    return shares


def billed_devices(design: Design, prices: PriceBook) -> dict[str, float] | Infeasible:
    """Devices, sockets and whatever else the book bills for, by name."""
    found = charges(design, prices)
    return found if isinstance(found, Infeasible) else {item: float(count) for item, count in _amounts(found).items()}


def charges(design: Design, prices: PriceBook) -> tuple[Charge, ...] | Infeasible:
    """What each pool and service pays for, or the first item without a price."""
    stands = placements(design)
    if isinstance(stands, Infeasible):
        return stands
    try:
        return tuple(_everything(design, prices, stands))
    except _UnpricedError as error:
        return Infeasible(kind="price", constraint=f"price book {prices.name} has no price for {error}", margin=1.0)


def socket_price(host: Host, prices: PriceBook, topology: Topology) -> SocketPrice | None:
    """What a socket that comes with no accelerator costs: by the host's name; else ``vcpu`` x its threads; else its share of a
    ``cpu_machine``, which has the sockets of a node. None where the book has none of them.
    """
    threads = host.cores * (2 if host.vendor in TWO_THREADS else 1)
    rules = ((host.name, Fraction(1)), ("vcpu", Fraction(threads)), ("cpu_machine", Fraction(1, topology.hosts_per_node)))
    for item, count in rules:
        price = prices.usd_per_hour(item)
        if price is not None:
            return SocketPrice(item, count, price)
    return None


def provenance(design: Design, prices: PriceBook) -> dict[str, str]:
    """Where the price of hosts and storage comes from, and what is not charged, by name of the host or tier."""
    said: dict[str, str] = {}
    topology = design.topology
    if topology.host is not None:
        priced = prices.usd_per_hour(topology.host.name) is not None
        apart = "not charged apart: a device's price includes its share of the host"
        said[f"{topology.host.name} of nodes"] = "by name" if priced else apart
    for service in design.services:
        if service.host is not None and service.accelerator is None and (price := socket_price(service.host, prices, topology)) is not None:
            said[service.host.name] = "by name" if price.item == service.host.name else f"{float(price.amount):g} {price.item} per socket"
        for tier in service.tiers:
            free = "comes with its host" if tier.resident or tier.tier.scope in LOCAL_SCOPES else f"not charged: no price in {prices.name}"
            said[tier.tier.name] = "by name" if _remote_price(tier, prices) is not None else free
    return said


class _UnpricedError(Exception):
    """The item that a book has no price for."""


class _Resident(NamedTuple):
    """Who stands on a node, on how many of its devices."""

    name: str
    accelerator: str
    devices: int


def _amounts(found: tuple[Charge, ...]) -> dict[str, Fraction]:
    amounts: dict[str, Fraction] = {}
    for charge in found:
        amounts[charge.item] = amounts.get(charge.item, Fraction(0)) + charge.amount
    return amounts


def _residents(design: Design, stands: tuple[Placement, ...]) -> dict[int, list[_Resident]]:
    """By node, who has devices of its own there."""
    size, nodes = design.topology.node_size, dict[int, list[_Resident]]()
    where = {place.pool: place for place in stands}
    for host in design.hosts:
        if host.accelerator is None or host.beside:
            continue
        place = where[host.name]
        for node in nodes_of(place, design.topology):
            here = min(place.last, (node + 1) * size) - max(place.first, node * size)
            nodes.setdefault(node, []).append(_Resident(host.name, host.accelerator.name, here))
    return nodes


def _everything(design: Design, prices: PriceBook, stands: tuple[Placement, ...]) -> Iterator[Charge]:
    nodes = _residents(design, stands)
    yield from _accelerators(design, prices, nodes)
    host, each = design.topology.host, design.topology.hosts_per_node
    if host is not None and (price := prices.usd_per_hour(host.name)) is not None:
        for here in nodes.values():
            yield from (Charge(one.name, host.name, each * share, price) for one, share in _shares(here))
    for node, users in host_nodes(design, stands).items():
        yield from _sockets(design, prices, [(name, Fraction(each, len(users))) for name in users], f"node {node}", _host_of(design, users))
    for service in design.services:
        if service.host is not None and service.accelerator is None and service.sockets:
            yield from _sockets(design, prices, [(service.name, Fraction(service.sockets))], f"service {service.name}", service.host)
        for tier in service.tiers:
            if (price := _remote_price(tier, prices)) is not None:
                yield Charge(service.name, tier.tier.name, Fraction(_units(design, tier, len(nodes))), price)


def _accelerators(design: Design, prices: PriceBook, nodes: Mapping[int, list[_Resident]]) -> Iterator[Charge]:
    price: dict[str, float] = {}
    for host in design.hosts:
        if host.accelerator is None:
            continue
        name = host.accelerator.name
        found = prices.usd_per_hour(name)
        if found is None:
            raise _UnpricedError(name)
        price[name] = found
        if prices.billing == "device":
            yield Charge(host.name, name, Fraction(host.devices), found)
    if prices.billing == "node":
        for here in nodes.values():
            for one, share in _shares(here):
                yield Charge(one.name, one.accelerator, design.topology.node_size * share, price[one.accelerator])


def _shares(here: list[_Resident]) -> list[tuple[_Resident, Fraction]]:
    """The share of a node that each of its residents pays for."""
    total = sum(one.devices for one in here)
    return [(one, Fraction(one.devices, total)) for one in here]


def _host_of(design: Design, users: tuple[str, ...]) -> Host | None:
    named = [service.host for service in design.services if service.name in users and service.host is not None]
    return named[0] if named else design.topology.host


def _sockets(design: Design, prices: PriceBook, payers: list[tuple[str, Fraction]], where: str, host: Host | None) -> Iterator[Charge]:
    if host is None:
        return
    price = socket_price(host, prices, design.topology)
    if price is None:
        raise _UnpricedError(f"{host.name}, which {where} needs, nor for vcpu or cpu_machine: give the service a node with accelerators, "
                       "or choose a book that has one with prices=NAME")  # fmt: skip
    total = sum((sockets for _, sockets in payers), Fraction(0))
    amount = total * price.amount
    whole = Fraction(math.ceil(amount)) if price.item == "cpu_machine" else amount
    for name, sockets in payers:
        yield Charge(name, price.item, whole * sockets / total, price.usd_per_hour)


def _remote_price(tier: KvTier, prices: PriceBook) -> float | None:
    return None if tier.resident or tier.tier.scope in LOCAL_SCOPES else prices.usd_per_hour(tier.tier.name)


def _units(design: Design, tier: KvTier, nodes: int) -> int:
    """One for all, one per node with accelerators, or one per rank of every engine pool."""
    if tier.scope == "shared":
        return 1
    return nodes if tier.scope == "node" else sum(pool.replicas * pool.parallelism.dp for pool in design.pools if not pool.beside)
