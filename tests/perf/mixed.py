"""Designs of engine pools and services, for the tests of placement, rent and power: a pipeline with one stage for each of them."""

from typing import Any

from mist_dse.catalog import Catalog
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.hardware import Host, Link, MemoryTier, Price, PriceBook, Topology, TopologyTier
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.specs.service import KvTier, Service
from tests.perf.cases import L40S, NDR, pool

ENCODER = Catalog().model("e5-base-v2")
SOCKET = Host(name="socket", vendor="Intel", year=2023, cores=50, fp32=5e12, memory=1e12, memory_bandwidth=300e9, tdp=300.0)
ARM = Host(name="arm", vendor="AWS", year=2024, cores=96, fp32=5e12, memory=1e12, memory_bandwidth=300e9, tdp=200.0)
OBJECTS = MemoryTier(name="objects", technology="object storage", scope="connection", read=1e9, latency=0.1)
DRAM = MemoryTier(name="dram", technology="DDR5", scope="host", read=100e9, latency=1e-6)


def nodes(count: int = 4, *, host: Host | None = SOCKET, link: Link = NDR) -> Topology:
    """Nodes of eight devices and two sockets."""
    tiers = (TopologyTier(name="node", size=8), TopologyTier(name="rack", size=8 * count, link=link))
    return Topology(name="rack", tiers=tiers, host=host)


def encoder(name: str = "enc", **changes: Any) -> Service:
    """An encoder on one L40S, but for the changes."""
    return Service(**({"name": name, "stages": (name,), "model": ENCODER, "accelerator": L40S} | changes))


def cores(name: str = "text", **changes: Any) -> Service:
    """CPU work on one socket of its own, but for the changes."""
    return Service(**({"name": name, "stages": (name,), "host": SOCKET} | changes))


def cache(name: str = "cache", *, tier: MemoryTier = OBJECTS, scope: str = "shared", **changes: Any) -> Service:
    """One KV tier."""
    return Service(name=name, stages=(name,), tiers=(KvTier(name="far", tier=tier, capacity=1e12, scope=scope),), **changes)


def mixed(*services: Service, pools: tuple[Pool, ...] | None = None, topology: Topology | None = None) -> Design:
    """The services and one pool of tp 2 on H100, but for ``pools``, each with one stage of its own."""
    every = pools or (pool(name="serve", stages=("serve",), tp=2),)
    names = [stage for host in (*services, *every) for stage in host.stages]
    stages = [Stage(name=name, kind="tool", after=tuple(names[i - 1 : i]) if i else ()) for i, name in enumerate(names)]
    return Design(pipeline=Pipeline(name="line", stages=tuple(stages)), topology=topology or nodes(), pools=every, services=services)


def book(billing: str = "device", **usd: float) -> PriceBook:
    """A price book."""
    prices = tuple(
        Price(item=item, usd_per_hour=price, provider="example", date="2026-11", kind="on demand") for item, price in usd.items()
    )
    return PriceBook(name="book", prices=prices, billing=billing)
