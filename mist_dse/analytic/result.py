"""What the mean field says of a design: `SteadyResult`, a row of figures for every server, and what is short."""

from collections.abc import Mapping
from typing import NamedTuple

from mist_dse.analytic.demand import Demands, highest
from mist_dse.analytic.pool import PoolSteady
from mist_dse.analytic.spread import Spread
from mist_dse.analytic.traffic import Traffic
from mist_dse.rows import Servers


class SteadyResult(NamedTuple):
    """Stationary figures of one design (s, 1/s)."""

    ttft: Spread
    tpot: Spread
    e2e: Spread
    rate: float  # completed requests per second
    saturated: bool
    demand: Demands
    bottleneck: str  # "server: resource"
    pools: dict[str, dict[str, float]]  # a row for every server
    completed: int
    rejected: int


def pool_row(pool: PoolSteady, asked: Mapping[str, float]) -> dict[str, float]:
    """Figures of an engine pool."""
    names = ("demand", "batch", "utilisation", "kv", "sequences", "wait", "steps")
    return {name: float(getattr(pool, name)[0]) for name in names} | _demands(asked)


def server_row(asked: Mapping[str, float], *, utilisation: float, wait: float) -> dict[str, float]:
    """Figures of any other server, and of an engine pool without visits."""
    return {"demand": max(asked.values()), "utilisation": min(utilisation, 1.0), "wait": wait} | _demands(asked)


def _demands(asked: Mapping[str, float]) -> dict[str, float]:
    return {f"demand {key}": value for key, value in asked.items() if key != "steps"}


def bottleneck(servers: Servers, pools: Mapping[str, tuple[PoolSteady, Traffic]], asked: Demands) -> str:
    """``server: resource``: the server of the highest demand, and what its steps (or its places) are short of.

    ``pools``: engine pools by name and the traffic that their figures are of.
    """
    name, resource, _ = highest(asked)
    if name not in pools or resource != "steps":
        return f"{name}: {resource}"
    (pool, traffic), row, number = pools[name], asked[name], servers.names.index(name)
    full = max(("KV blocks", "sequences"), key=lambda key: row[key])
    if row[full] >= 0.9:
        return f"{name}: {full}"
    load, engine = servers.loads[number], servers.engines[number]
    weights = load.byte_seconds_step * float(pool.steps[0]) * engine.lanes
    at_rank = float(traffic.rate.reshape(-1)[0]) / (engine.replicas * engine.ranks)
    context = at_rank * traffic.decodes * traffic.context * load.byte_seconds_context
    shares = {"compute": row["compute"], "memory bandwidth": weights + context, "interconnect": row["interconnect"]}
    busiest = max(shares, key=lambda key: shares[key])
    return f"{name}: {busiest if shares[busiest] >= 0.3 * float(pool.utilisation[0]) else 'fixed step time'}"
