"""Every server of a lowered design: what is asked of it, and for what share of the time it was used.

Rates that several stations draw from together (`Servers.shared`, a host's memory) are servers of their own here: their demand and their
use are the sums over those stations.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mist_dse.analytic import demand
from mist_dse.analytic.demand import Demands
from mist_dse.metrics.pools import ResourceUse
from mist_dse.rows import Records, Requests, Servers, Station
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import Lowered
from mist_dse.stages.servers import INSTANT, memory_rates

SHARED = "shared memory"
"""The resource in `analytic.demand` that is a server of its own here."""


def shared_names(design: Design) -> list[str]:
    """A name for each of `Servers.shared`."""
    return [f"host memory of node {node}" for node in memory_rates(design)]


def demands(lowered: Lowered, shared: Sequence[str], requests: Requests, *, rate: float | None = None) -> Demands:
    """Demand per server and resource, rates that stations share among them, as `analytic.demand` has it for the others."""
    return with_shared(demand(lowered.servers, lowered.jobs, requests, rate=rate), lowered.servers, shared)


def with_shared(asked: Demands, servers: Servers, shared: Sequence[str]) -> Demands:
    """``asked`` and the demand on rates that stations share, which stands in the row of each of them."""
    memory = {name: {"rate": 0.0} for name in shared}
    for name, station in _stations(servers):
        if station.shared >= 0:
            memory[shared[station.shared]] = {"rate": asked[name][SHARED]}
    return asked | memory


def utilisations(records: Records, servers: Servers, shared: Sequence[str]) -> dict[str, float]:
    """Share of the run that each server but the engines was used: work done over what it could do, and of batchers' workers."""
    time = max(records.makespan, np.finfo(float).tiny)
    done = dict(zip(servers.names[len(servers.engines) :], (float(value) for value in records.station_busy), strict=True))
    rates = {name: station.rate for name, station in _stations(servers)}
    batchers = servers.names[len(servers.engines) + len(servers.stations) :]
    rates |= {name: float(batcher.slots) for name, batcher in zip(batchers, servers.batchers, strict=True)}
    found = {name: done[name] / (rate * time) for name, rate in rates.items()}
    return found | {name: total / time for name, total in _sums(servers, shared, done).items()}


def real_servers(servers: Servers, shared: Sequence[str]) -> list[str]:
    """Names of all servers but the place where signals meet."""
    signals = [name for name, station in _stations(servers) if station == INSTANT]
    return [name for name in (*servers.names, *shared) if name not in signals]


def service_use(design: Design, used: Mapping[str, float]) -> dict[str, ResourceUse]:
    """Busy share of each service from those of its servers (the mean over the links of its tiers), at full load while busy."""
    found: dict[str, ResourceUse] = {}
    for service in design.services:
        names = [service.name, *(f"{service.name} {tier.name}" for tier in service.tiers)]
        mine = [share for name, share in used.items() if name in names or name.rpartition(" ")[0] in names[1:]]
        busy = min(sum(mine) / len(mine), 1.0) if mine else 0.0
        found[service.name] = ResourceUse(busy, busy, busy, 0.0)
    return found


def demand_columns(asked: Mapping[str, float]) -> dict[str, float]:
    """Demands of one server by resource; ``demand`` is the highest."""
    return {"demand": max(asked.values())} | {f"demand {name}": value for name, value in asked.items() if name != "steps"}


def highest(asked: Demands, *, steps: bool) -> tuple[str, str, float]:
    """The server that is asked most of, the resource (other than its steps as such, unless ``steps``), and how much."""
    rows = {name: _own(row) for name, row in asked.items()}
    server = max(rows, key=lambda name: max(rows[name].values()))
    row = rows[server]
    named = {name: value for name, value in row.items() if name != "steps"} or row
    resource = max(row if steps else named, key=lambda name: row[name])
    return server, "step time" if resource == "steps" else resource, row[resource]


def saturation(asked: Demands) -> Infeasible:
    """The verdict on demands of which at least one is 1 or more: the server asked most of and its excess, and the others by name."""
    server, resource, value = highest(asked, steps=True)
    others = [f"{name} {most:.3g}" for name, row in asked.items() if name != server and (most := max(_own(row).values())) >= 1]
    text = f"{server} is saturated: {value:.3g} of what its {resource} can serve is asked"
    text = f"{text}; also over: {', '.join(others)}" if others else text
    return Infeasible(kind="saturated", constraint=text, margin=value - 1.0)


def _own(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != SHARED}


def _stations(servers: Servers) -> list[tuple[str, Station]]:
    first = len(servers.engines)
    return list(zip(servers.names[first : first + len(servers.stations)], servers.stations, strict=True))


def _sums(servers: Servers, shared: Sequence[str], work: Mapping[str, float]) -> dict[str, float]:
    """Over each shared rate: the sum of its stations' ``work``, per unit of the rate."""
    sums = dict.fromkeys(shared, 0.0)
    for name, station in _stations(servers):
        if station.shared >= 0:
            sums[shared[station.shared]] += work.get(name, 0.0) / servers.shared[station.shared]
    return sums
