"""Services as servers: an encoder is a batcher, an index a station of bytes, cores a station of seconds, the world outside one without end.

What shares a host's memory (index scans, KV reads, encoders on processors of one node) draws from one rate together: 0.8 of the bandwidth
of the node's sockets (RAGO, arXiv 2503.14649).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mist_dse.perf import retrieval
from mist_dse.perf.capacity import usable_memory
from mist_dse.perf.encoder import encoder_bytes, encoder_time, memory_traffic
from mist_dse.perf.retrieval import MEMORY_SHARE
from mist_dse.rows import Batcher, Floats, Station
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Datatypes, Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Host
from mist_dse.specs.service import Service
from mist_dse.stages.work import Passes
from mist_dse.units import format_quantity

ENDLESS = 2**31
"""Places of a server that is never full."""

INSTANT = Station(rate=1.0, cap=1.0, slots=ENDLESS, latency=0.0)
"""Where signals meet: visits without work."""


class ServiceRow(NamedTuple):
    """The server of one service, what a unit of its stages' work (a query, a second) is in its own units, and, of an encoder, the work of
    each request of each of its stages' passes."""

    server: Station | Batcher
    unit: float = 1.0
    works: tuple[Floats, ...] = ()


def service_row(service: Service, passes: list[Passes], queries: int = 1) -> ServiceRow | Infeasible:
    """The server of a service that hosts no KV tiers. ``passes``: those of all its stages, in order; ``queries`` of a request that
    an index answers side by side."""
    if service.kind == "encoder":
        return _encoder(service, passes)
    if service.kind == "index":
        return _index_on_device(service) if service.accelerator is not None else _index(service, queries)
    if service.kind == "cores":
        assert service.host is not None
        cores = service.host.cores * service.hosts
        return ServiceRow(Station(rate=float(cores), cap=1.0, slots=cores, latency=0.0))
    return ServiceRow(Station(rate=float(ENDLESS), cap=1.0, slots=ENDLESS, latency=0.0))


def _index(service: Service, queries: int) -> ServiceRow | Infeasible:
    """A whole copy of the index on each replica's sockets, which scan side by side: bytes of all sockets together.

    A request's ``queries`` take a thread each.
    """
    assert service.host is not None
    assert service.index is not None
    refused = retrieval.misfit(service.index, service.host, service.hosts)
    if refused is not None:
        return replace(refused, constraint=f"service {service.name}: {refused.constraint}")
    scan = retrieval.scan(service.index, service.host, hosts=service.hosts)
    sockets = service.hosts * service.replicas
    station = Station(
        rate=MEMORY_SHARE * service.host.memory_bandwidth * sockets,
        cap=float(scan.thread_rate) * service.hosts * min(queries, service.host.cores),
        slots=max(service.host.cores // queries, 1) * service.replicas,
        latency=float(scan.fixed),
    )
    return ServiceRow(station, float(scan.bytes_per_query) * service.hosts)


def _index_on_device(service: Service) -> ServiceRow | Infeasible:
    """A whole copy of the index in the memory of each accelerator, which answers queries in batches."""
    assert service.accelerator is not None
    assert service.index is not None
    missing = float(retrieval.missing_bytes(service.index, usable_memory(service.accelerator)))
    if missing > 0:
        text = f"service {service.name}: its index is {format_quantity(missing, 'B')} over the memory of one {service.accelerator.name}"
        return Infeasible(kind="memory", constraint=text, margin=missing / usable_memory(service.accelerator))
    queries = np.arange(max(service.batch, 2) + 1)
    time = np.asarray(retrieval.device_time(service.index, service.accelerator, queries), float)
    more = float(time[2] - time[1])  # seconds that another query of the same request adds
    time = (time - more * queries)[: service.batch + 1]
    return ServiceRow(Batcher(slots=service.replicas, size=service.batch, wait=service.wait, time=time, work_time=more))


def _encoder(service: Service, passes: list[Passes]) -> ServiceRow | Infeasible:
    """Batches of requests: a batch of k takes the time of k of the shortest, and each longer one what it takes longer by itself."""
    assert service.model is not None
    device = service.accelerator or service.host
    assert device is not None
    dtypes = Datatypes(weight=service.dtype, compute=service.dtype)
    room = device.memory if isinstance(device, Host) else usable_memory(device)
    missing = encoder_bytes(service.model, dtypes) - room
    if missing > 0:
        over = f"{format_quantity(missing, 'B')} over the memory of one {device.name}"
        text = f"service {service.name}: the weights of {service.model.name} are {over}"
        return Infeasible(kind="memory", constraint=text, margin=missing / room)
    longest = service.model.max_context or np.iinfo(np.int64).max  # embedders cut what is longer
    passes = [each._replace(tokens=np.minimum(each.tokens, longest)) for each in passes]
    alone = [np.asarray(encoder_time(service.model, device, each.items, each.tokens, dtypes), float) for each in passes]
    least = [(float(seconds.min()), each.items[np.argmin(seconds)], each.tokens[np.argmin(seconds)])
             for seconds, each in zip(alone, passes, strict=True) if len(seconds)]  # fmt: skip
    shortest, items, tokens = min(least, default=(0.0, 1, 1))
    if shares_memory(service):
        return _encoder_on_shared_memory(service, passes, alone, dtypes)
    time = np.asarray(encoder_time(service.model, device, np.arange(service.batch + 1) * items, tokens, dtypes), float)
    server = Batcher(slots=service.replicas, size=service.batch, wait=service.wait, time=time, work_time=1.0)
    return ServiceRow(server, works=tuple(np.maximum(seconds - shortest, 0.0) for seconds in alone))


def _encoder_on_shared_memory(service: Service, passes: list[Passes], alone: list[Floats], dtypes: Datatypes) -> ServiceRow:
    """One request at a time on each replica, in bytes that it moves: at most as fast as alone, slower where others use the memory, too."""
    assert service.model is not None
    if service.batch > 1:
        raise SpecError(f"Service {service.name} shares its host's memory and takes one request at a time: its batch must be 1")
    moved = sum(float(np.sum(memory_traffic(service.model, each.items, each.tokens, dtypes))) for each in passes)
    rate = moved / max(sum(float(seconds.sum()) for seconds in alone), np.finfo(float).tiny)
    station = Station(rate=rate * service.replicas, cap=rate, slots=service.replicas, latency=0.0)
    return ServiceRow(station, works=tuple(seconds * rate for seconds in alone))


def shares_memory(service: Service) -> bool:
    """Whether a service uses the memory of a node's host sockets; plain CPU work is seconds of cores, and takes none of it."""
    return service.node is not None and service.accelerator is None and service.kind in ("encoder", "index", "tiers")


def memory_rates(design: Design) -> Mapping[int, float]:
    """B/s of the host memory of each node that at least two services use."""
    nodes: dict[int, list[Service]] = {}
    for service in design.services:
        if shares_memory(service):
            assert service.node is not None
            nodes.setdefault(service.node, []).append(service)
    shared = {node: users for node, users in nodes.items() if len(users) > 1}
    return {node: MEMORY_SHARE * _sockets(design, users) * _host(design, users).memory_bandwidth for node, users in shared.items()}


def _host(design: Design, users: list[Service]) -> Host:
    hosts: set[Host | None] = {user.host for user in users if user.host is not None} or {design.topology.host}
    host = next(iter(hosts))
    if len(hosts) > 1 or host is None:
        raise SpecError(f"services {', '.join(user.name for user in users)} share a node and must name one host")
    return host


def _sockets(design: Design, users: list[Service]) -> int:
    """Sockets of the nodes that the largest of the users stands on."""
    each = design.topology.hosts_per_node
    return max(-(-user.used_sockets // each) for user in users) * each
