"""What each pool of engines did: time busy, resources in use, occupancy of the KV cache, work per step.

The use of a resource is the seconds it would need at its datasheet peak (`rows.Load` x the work recorded) over the time
that the pool's replicas stand: what power follows. Tokens of a replica are shared evenly by its ranks.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.rows import Engine, Load, Records, Servers


class ResourceUse(NamedTuple):
    """Mean over time of one device's work: share of time with a step running, and compute, memory bandwidth and links in use,
    each 0 to 1 of peak.
    """

    busy: float
    compute: float
    memory: float
    link: float


class PoolUsage(NamedTuple):
    """One pool over a run: ``utilisation`` = share of time with a step running, ``kv_occupancy`` = highest share of blocks
    in use, greatest batch and step, tokens computed per step, time per step (s), and the mean use of its devices.
    """

    utilisation: float
    kv_occupancy: float
    peak_seqs: int
    peak_step_tokens: int
    tokens_per_step: float
    step_seconds: float
    use: ResourceUse


def pool_usage(records: Records, servers: Servers) -> dict[str, PoolUsage]:
    """Usage of each engine pool by name, over ``records.makespan``, replicas averaged (peaks: the highest)."""
    rows = zip(servers.names, servers.engines, servers.loads, strict=False)
    return {name: _usage(records, k, engine, load) for k, (name, engine, load) in enumerate(rows)}


def usage_metrics(usage: dict[str, PoolUsage]) -> dict[str, float | None]:
    """The metrics ``utilisation`` and ``kv_occupancy``: of the busiest and of the fullest pool."""
    return {
        "utilisation": max((pool.utilisation for pool in usage.values()), default=None),
        "kv_occupancy": max((pool.kv_occupancy for pool in usage.values()), default=None),
    }


def limiting_resource(usage: PoolUsage, engine: Engine) -> str:
    """What a pool is shortest of: a limit of its batch that was reached, else the device resource used most while stepping.

    Where no resource is used for 30% of the time that steps run, it is the fixed time of a step (launches, host, latency).
    """
    if usage.kv_occupancy >= 0.99:
        return "KV blocks"
    if usage.peak_seqs >= engine.max_num_seqs:
        return "sequences"
    shares = {"compute": usage.use.compute, "memory bandwidth": usage.use.memory, "interconnect": usage.use.link}
    busiest = max(shares, key=lambda name: shares[name])
    return busiest if shares[busiest] >= 0.3 * usage.use.busy else "fixed step time"


def _usage(records: Records, index: int, engine: Engine, load: Load) -> PoolUsage:
    mine = records.pool == index
    time = max(records.makespan, np.finfo(float).tiny) * engine.replicas
    steps = float(records.steps[mine].sum())
    tokens, pairs, contexts = (float(column[mine].sum()) / engine.ranks for column in (records.tokens, records.pairs, records.contexts))
    use = ResourceUse(
        busy=float(records.busy[mine].sum()) / time,
        compute=(tokens * load.flop_seconds_token + (pairs + contexts) * load.flop_seconds_pair) / time,
        memory=(steps * load.byte_seconds_step + contexts * load.byte_seconds_context) / time,
        link=tokens * load.link_seconds_token / time,
    )
    return PoolUsage(
        utilisation=use.busy,
        kv_occupancy=float(records.peak_blocks[mine].max(initial=0)) / engine.blocks,
        peak_seqs=int(records.peak_seqs[mine].max(initial=0)),
        peak_step_tokens=int(records.peak_tokens[mine].max(initial=0)),
        tokens_per_step=float(records.tokens[mine].sum()) / max(steps, 1.0),
        step_seconds=float(records.busy[mine].sum()) / max(steps, 1.0),
        use=use,
    )
