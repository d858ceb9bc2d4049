"""Power and energy of a design, pool by pool and service by service, from what their resources were used for (`perf.power`).

Accelerators: idle ones too; of services (encoders, indexes) at full load while busy. What is beside a pool adds to the power of that
pool's devices. Sockets of a node with accelerators are shared out by device and draw idle power, to which a service on such a node adds
what its use takes; sockets of services, and of nodes without accelerators, draw idle power and what their use takes. Memory, drives,
network and cooling are not counted.
"""

from collections.abc import Mapping

from mist_dse.metrics.pools import ResourceUse
from mist_dse.perf import power
from mist_dse.perf.network import engine_devices, host_nodes, placements
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.service import Service

IDLE = ResourceUse(0.0, 0.0, 0.0, 0.0)


def energy(design: Design, use: Mapping[str, ResourceUse], metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """``watts`` of all accelerators and hosts, idle ones too, and ``joules_per_token`` = watts / ``metrics["output_tokens_per_s"]``.

    ``use``: as `watts_by_host` takes it. None where the power of something is unknown.
    """
    each = watts_by_host(design, use).values()
    known = [watts for watts in each if watts is not None]
    if len(known) < len(each):
        return {"watts": None, "joules_per_token": None}
    tokens = metrics.get("output_tokens_per_s")
    return {"watts": sum(known), "joules_per_token": sum(known) / tokens if tokens else None}


def watts_by_host(design: Design, use: Mapping[str, ResourceUse]) -> dict[str, float | None]:
    """Watts of each pool and service by name, None where unknown; they add up to ``watts``.

    ``use`` gives the mean use of each pool's devices by the pool's name (`pool_usage`, or a prediction), and of each service its
    ``busy`` share; what is not named is idle.
    """
    found: dict[str, float | None] = {}
    for host in design.hosts:
        if isinstance(host, Service) and host.accelerator is None:
            found[host.name] = _sockets_power(design, host, use.get(host.name, IDLE).busy)
            continue
        before = _neighbours(design, host)
        whole, rest = _devices_power(design, (*before, host), use), _devices_power(design, before, use)
        sockets = host.devices * _socket_power_per_device(design)
        found[host.name] = None if whole is None or rest is None else whole - rest + sockets
    return found


def energy_provenance(design: Design) -> dict[str, str]:
    """Where the power of services' accelerators and of hosts comes from, by name."""
    services = [service.accelerator for service in design.services if service.accelerator is not None]
    said = {accelerator.name: f"full load while a service is busy; {power.provenance(accelerator)}" for accelerator in services}
    hosts = [design.topology.host, *(service.host for service in design.services if service.accelerator is None)]
    return said | {host.name: power.host_provenance(host) for host in hosts if host is not None}


def _neighbours(design: Design, host: Pool | Service) -> tuple[Pool | Service, ...]:
    """Whose power is counted before that of ``host`` on the same devices: their owner's and that of those beside it named earlier."""
    if not host.beside:
        return ()
    owner = design.pool(host.beside)
    beside = [other for other in design.hosts if other.beside == host.beside]
    return (owner, *beside[: beside.index(host)])


def _devices_power(design: Design, users: tuple[Pool | Service, ...], use: Mapping[str, ResourceUse]) -> float | None:
    """Watts of the devices of the first of ``users``, on which all of them run; 0 without any."""
    if not users:
        return 0.0
    owner = users[0]
    assert owner.accelerator is not None
    busy, compute, memory = 0.0, 0.0, 0.0
    for user in users:
        mine, share = use.get(user.name, IDLE), 1.0 if user is owner else engine_devices(user) * user.replicas / owner.devices
        busy, compute, memory = busy + share * mine.busy, compute + share * mine.compute, memory + share * mine.memory
    shares = {"compute": compute / busy if busy > 0 else 0.0, "memory": memory / busy if busy > 0 else 0.0}
    device = power.energy(owner.accelerator, busy=min(busy, 1.0), makespan=1.0, **shares)
    return None if device is None else float(device) * owner.devices


def _socket_power_per_device(design: Design) -> float:
    """Idle watts of a node's sockets per device of the node, 0 where the host or its power is unknown."""
    host = design.topology.host
    idle = None if host is None else power.host_power(host, 0.0)
    return 0.0 if idle is None else float(idle) * design.topology.hosts_per_node / design.topology.node_size


def _sockets_power(design: Design, service: Service, busy: float) -> float | None:
    """Watts of the sockets that a service uses; of a node's, without the idle power of those that come with accelerators."""
    host, used, own = service.host, service.sockets, float(service.sockets)
    if service.node is not None and service.kind != "outside":
        host, used, own = host or design.topology.host, service.hosts, _share_of_nodes(design, service)
    if host is None or not used:
        return 0.0
    idle, full = power.host_power(host, 0.0), power.host_power(host, min(busy, 1.0))
    return None if idle is None or full is None else float(full - idle) * used + float(idle) * own


def _share_of_nodes(design: Design, service: Service) -> float:
    """Sockets of nodes without accelerators, shared out evenly among the services that use them."""
    stands = placements(design)
    if isinstance(stands, Infeasible):
        return 0.0
    users = [users for users in host_nodes(design, stands).values() if service.name in users]
    return sum(design.topology.hosts_per_node / len(names) for names in users)
