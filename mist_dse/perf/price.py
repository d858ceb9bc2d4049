"""Rent of a design in USD per hour under a price book: whole nodes or single devices, hosts where the book prices them apart.

A book that has no price for an accelerator gives `Infeasible` of kind price, never a guess.
"""

from mist_dse.perf.network import nodes_of, placements
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook


def usd_per_hour(design: Design, prices: PriceBook) -> float | Infeasible:
    """USD per hour of all pools, idle replicas too. ``node`` billing rents every device of a node that a pool stands on."""
    billed = billed_devices(design, prices)
    if isinstance(billed, Infeasible):
        return billed
    total = 0.0
    for name, count in billed.items():
        price = prices.usd_per_hour(name)
        if price is None:
            return Infeasible(kind="price", constraint=f"price book {prices.name} has no price for {name}", margin=1.0)
        total += price * count
    return total


def billed_devices(design: Design, prices: PriceBook) -> dict[str, int] | Infeasible:
    """Devices (and host sockets that the book prices) by name that the book bills for."""
    stands = placements(design)
    if isinstance(stands, Infeasible):
        return stands
    nodes: dict[str, set[int]] = {}
    devices: dict[str, int] = {}
    for pool, place in zip(design.pools, stands, strict=True):
        nodes.setdefault(pool.accelerator.name, set()).update(nodes_of(place, design.topology))
        devices[pool.accelerator.name] = devices.get(pool.accelerator.name, 0) + pool.devices
    if prices.billing == "node":
        devices = {name: len(found) * design.topology.node_size for name, found in nodes.items()}
    host = design.topology.host
    if host is not None and prices.usd_per_hour(host.name) is not None:
        devices[host.name] = len(set().union(*nodes.values())) * design.topology.hosts_per_node
    return devices
