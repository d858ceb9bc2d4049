"""Demand on every resource of every server, on the realised requests: the one verdict that all fidelities share.

An open loop is *saturated* iff some demand is >= 1. The sharp test of an engine is ``steps``: offered rate over the largest
rate that its step time can keep up with, within its token budget, sequence slots and KV blocks (`capacity`); the mean field
has no operating point beyond it. Seconds per second of compute, memory bandwidth and interconnect are marginal work at
speed of light, summed over prefill and decode per *resource*, since mixed steps overlap them: each is necessary only, and
says what a pool is short of. ``sequences`` and ``KV blocks`` are the shares held, by Little's law. What servers share is in the row of
each of them: ``shared memory``, the work of all stations that draw from one rate, over that rate; ``device``, the steps and batches of all
that are on one device, the busiest of a pool's.
"""

from collections.abc import Mapping

import numpy as np

from mist_dse.analytic.caching import spared
from mist_dse.analytic.pool import Operation, Variants, intake_demand, occupancy, operation
from mist_dse.analytic.traffic import Traffic, arrivals_known, realised_rate, realised_scv, realised_span, visit_traffic
from mist_dse.rows import HEAVY_LIGHT, Batcher, Engine, Floats, Ints, Jobs, Load, Requests, Servers, Station, StepCost

Demands = dict[str, dict[str, float]]


def demand(servers: Servers, jobs: Jobs, requests: Requests, *, rate: float | None = None) -> Demands:
    """Demand per server and resource, by name; at the offered rate unless one is given (1/s of requests)."""
    jobs = spared(servers, jobs, any_order=False)
    offered = offered_rate(requests) if rate is None else rate
    scv, count = realised_scv(requests), len(requests.arrival)
    span = realised_span(requests) if requests.clients == 0 else np.inf
    result: Demands = {}
    for number, name in enumerate(servers.names):
        visits = np.flatnonzero(jobs.server == number)
        share = len(visits) / max(count, 1)
        other = number - len(servers.engines)
        if other >= len(servers.stations):
            result[name] = batcher_demand(servers.batchers[other - len(servers.stations)], jobs.work[visits], offered * share)
        elif other >= 0:
            result[name] = station_demand(servers.stations[other], jobs.work[visits], offered * share)
        elif len(visits):
            traffic = visit_traffic(jobs, visits, offered * share, scv=scv, horizon=span)
            rows = (servers.costs[number], servers.loads[number], servers.engines[number])
            skew = routing_skew(servers.engines[number], jobs, visits)
            result[name] = {resource: skew * float(value[0]) for resource, value in pool_demand(*rows, traffic).items()}
        else:
            result[name] = {"steps": 0.0}
    return _with_shared(servers, result)


def _with_shared(servers: Servers, demands: Demands) -> Demands:
    """Also the demand on what servers share, added up over them."""
    names = servers.names
    stations = [(names[len(servers.engines) + k], row) for k, row in enumerate(servers.stations) if row.shared >= 0]
    rates = np.zeros(len(servers.shared))
    for name, row in stations:
        rates[row.shared] += demands[name]["rate"] * row.rate / servers.shared[row.shared]
    for name, row in stations:
        demands[name]["shared memory"] = float(rates[row.shared])
    pools = [
        (name, range(row.device, row.device + row.replicas)) for name, row in zip(names, servers.engines, strict=False) if row.device >= 0
    ]
    first = len(servers.engines) + len(servers.stations)
    pools += [(names[first + b], range(row.device, row.device + 1)) for b, row in enumerate(servers.batchers) if row.device >= 0]
    taken: dict[int, float] = {}
    for name, devices in pools:
        for device in devices:
            taken[device] = taken.get(device, 0.0) + demands[name]["steps" if "steps" in demands[name] else "workers"]
    for name, devices in pools:
        demands[name]["device"] = max(taken[device] for device in devices)
    return demands


def routing_skew(engine: Engine, jobs: Jobs, visits: Ints) -> float:
    """Demand of the busier ranks over that of a router that spreads tokens evenly: heavy and light prompts have ranks of their own."""
    ranks = engine.replicas * engine.ranks
    if engine.router != HEAVY_LIGHT or not 0 < engine.heavy_ranks < ranks:
        return 1.0
    tokens = jobs.prompt[visits] - jobs.computed[visits] + jobs.emit[visits]
    heavy = float(tokens[jobs.prompt[visits] > engine.heavy_tokens].sum() / max(tokens.sum(), 1))
    return max(heavy * ranks / engine.heavy_ranks, (1 - heavy) * ranks / (ranks - engine.heavy_ranks))


def saturated(demands: Mapping[str, Mapping[str, float]], requests: Requests) -> bool:
    """Whether an open loop asks more than some server can give; a closed loop waits for its own answers and never does.

    Sessions are open as far as their starts are: they are judged at the rate that the workload names, and not without one.
    """
    open_loop = arrivals_known(requests) or (requests.clients == 0 and np.isfinite(requests.nominal_rate))
    return bool(open_loop) and highest(demands)[2] >= 1.0


def highest(demands: Mapping[str, Mapping[str, float]]) -> tuple[str, str, float]:
    """(server, resource, value) of the highest demand."""
    rows = [(value, server, resource) for server, row in demands.items() for resource, value in row.items()]
    value, server, resource = max(rows, key=lambda row: row[0])
    return server, resource, value


def offered_rate(requests: Requests) -> float:
    """Requests per second that an open loop offers, realised; nan for a closed loop, whose rate is an outcome (`steady`)."""
    return float("nan") if requests.clients else realised_rate(requests)


def pool_demand(cost: StepCost, load: Load, engine: Engine, traffic: Traffic, variants: Variants | None = None) -> dict[str, Floats]:
    """Demand per resource for arrays of variants of one engine pool (None: the engine itself).

    No resource can be asked for longer than the steps that use it, so none exceeds ``steps``; KV that outlives its visit can.
    """
    op = operation(cost, engine, traffic, variants)
    kv, sequences = occupancy(engine, traffic, op)
    rows = {
        **roofline_demand(load, engine, traffic, op),
        "sequences": sequences,
        "KV blocks": kv if traffic.hold > 0 else np.minimum(kv, op.demand),
    }
    rows = {name: value if name == "KV blocks" else np.minimum(value, op.demand) for name, value in rows.items()}
    return {"steps": op.demand, **rows, "front end": intake_demand(engine, traffic, op)}


def roofline_demand(load: Load, engine: Engine, traffic: Traffic, op: Operation) -> dict[str, Floats]:
    """Seconds per second of each device resource, weights read once per step of the largest sustainable batch."""
    end = traffic.fresh + traffic.start
    pairs = float((0.5 * (end**2 - traffic.start**2) + traffic.fresh * 0.5).mean()) + traffic.decodes * traffic.context
    tokens = traffic.tokens + traffic.decodes
    least_steps = np.maximum(traffic.decodes / np.maximum(op.slots, 1.0), tokens / op.variants.max_num_batched_tokens)
    return {
        "compute": op.rate * (load.flop_seconds_token * tokens + load.flop_seconds_pair * pairs),
        "memory bandwidth": op.rate
        * (load.byte_seconds_step * least_steps + load.byte_seconds_context * traffic.decodes * traffic.context),
        "interconnect": op.rate * load.link_seconds_token * tokens,
    }


def station_demand(station: Station, work: Floats, rate: float) -> dict[str, float]:
    """Demand of jobs of ``work`` that come at ``rate`` on a station's shared rate, and on its slots at full pace."""
    if not len(work) or rate == 0:
        return {"rate": 0.0}
    mean = float(np.mean(work))
    return {"rate": rate * mean / station.rate, "slots": rate * mean / min(station.cap, station.rate) / station.slots}


def batcher_demand(batcher: Batcher, work: Floats, rate: float) -> dict[str, float]:
    """Demand of jobs of ``work`` that come at ``rate`` on a batcher's workers, in the batches that take least time per job."""
    if not len(work) or rate == 0:
        return {"workers": 0.0}
    return {"workers": rate * float(np.mean(batcher_time(batcher, work))) / batcher.slots}


def batcher_time(batcher: Batcher, work: Floats) -> Floats:
    """Least seconds of a worker that each job takes, its share of the batch."""
    return np.asarray((batcher.time[1:] / np.arange(1, batcher.size + 1)).min() + batcher.work_time * work)
