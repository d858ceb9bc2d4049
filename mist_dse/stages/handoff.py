"""The hand-off of a KV cache from a prefill pool to a decode pool, over the links between where the two stand.

``whole``: all layers move when prefill ends. ``layerwise``: all but the last layer move from the start of prefill on, the last
one when it ends, so that done = max(prefill end + last layer/bandwidth, prefill start + all layers/bandwidth). The decode side
reserves its blocks before the transfer starts and the prefill side holds its own until the transfer ends.
"""

from mist_dse.perf.network import Placement, route
from mist_dse.rows import Station
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible

MANY = 2**31
"""Transfers share a link without limit of number."""


def handoff_station(design: Design, source: Placement, target: Placement) -> Station:
    """The link between two placed pools as a processor-sharing server of bytes."""
    found = route(design, source, target)
    return Station(rate=found.rate, cap=min(found.cap, found.rate), slots=MANY, latency=found.latency)


def mismatch(source: Pool, target: Pool) -> Infeasible | None:
    """Why one pool cannot take over the other's KV cache, None where it can."""
    for noun, one, two in (("model", source.model.name, target.model.name), ("KV datatype", source.dtypes.kv, target.dtypes.kv)):
        if one != two:
            text = f"a hand-off needs one {noun} on both sides: pool {source.name} has {one}, pool {target.name} has {two}"
            return Infeasible(kind="constraint", constraint=text, margin=1.0)
    return None
