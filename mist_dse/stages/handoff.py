"""The hand-off of a KV cache from a prefill pool to a decode pool, over the links between where the two stand.

``whole``: all layers move when prefill ends. ``layerwise``: all but the last layer move from the start of prefill on, the last
one when it ends, so that done = max(prefill end + last layer/bandwidth, prefill start + all layers/bandwidth). The decode side
reserves its blocks before the transfer starts and the prefill side holds its own until the transfer ends.
"""

import numpy as np

from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.perf.network import Placement, route
from mist_dse.rows import ON_END, ON_START, Requests, Station
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages.visits import Link, Slot

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


def handoff_slots(pool: Pool, requests: Requests, *, server: int, mode: str, present: object) -> tuple[tuple[Slot, ...], tuple[Link, ...]]:
    """Transfer visits between slot 0 (prefill) and the last slot (decode), and all links of such a request."""
    size = requests.input_tokens * kv_bytes_of_prompt(pool.model, pool.dtypes)
    if mode == "whole":
        move = Slot(server=server, stage=-1, work=size, lease=2, frees=0, present=present)
        return (move,), (Link(0, 1), Link(1, 2))
    last = size / pool.model.layers
    early = Slot(server=server, stage=-1, work=size - last, lease=3, present=present)
    late = Slot(server=server, stage=-1, work=np.asarray(last), frees=0, present=present)
    return (early, late), (Link(0, 1, ON_START), Link(0, 2, ON_END), Link(1, 2), Link(2, 3))
