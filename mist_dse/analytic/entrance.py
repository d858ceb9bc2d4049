"""The serial front end of an engine in load: how much streaming slows it, and how long visits wait for it.

What it takes in is held up by the output tokens that it streams meanwhile: a visit takes its own seconds over 1 - s, where s = seconds per
token x decoding sequences / length of a decode step, as the simulator reads it when the visit comes (`docs/semantics.md`, front end). The
decoding batch fluctuates like a Poisson count and far more slowly than the front end's queue, so the queue is at rest at each batch: its
wait is the mean over the batch of single-server waits (quasi-stationary limit of a queue in a random environment).
"""

import numpy as np

from mist_dse.analytic.capacity import NODES, pure_time
from mist_dse.analytic.operation import Operation, batch_variance
from mist_dse.analytic.queueing import Service, Wait, single_wait
from mist_dse.analytic.traffic import Traffic, arrival_scv
from mist_dse.rows import MOST_STREAMING, STATIC, Engine, Floats


def entrance(engine: Engine, traffic: Traffic, op: Operation) -> tuple[Floats, Wait]:
    """(factor on a visit's own seconds in the front end [v], wait for it)."""
    alone = engine.front_end + engine.front_end_token * (traffic.fresh + traffic.start)
    factor, waits = np.zeros_like(op.rate), []
    moments = [float((alone**k).mean()) for k in (1, 2, 3)]
    if moments[0] <= 0:
        return np.ones_like(op.rate), Wait(*(np.zeros_like(op.rate) for _ in Wait._fields))
    scv = arrival_scv(engine, traffic.scv, op.variants.replicas)
    for node, weight in NODES:
        slow = 1 / (1 - _streaming(engine, traffic, op, node))
        service = Service(op.rate * engine.ranks, *(slow**k * moment for k, moment in zip((1, 2, 3), moments, strict=True)))
        factor = factor + weight * slow
        waits.append([weight * part for part in single_wait(service, scv, traffic.horizon)])
    return factor, Wait(*(np.asarray(sum(parts)) for parts in zip(*waits, strict=True)))


def _streaming(engine: Engine, traffic: Traffic, op: Operation, node: float) -> Floats:
    """Share of the front end that output tokens take beside a batch ``node`` deviations from its mean."""
    if engine.policy == STATIC or engine.front_end_output == 0:
        return np.zeros_like(op.rate)
    batch = op.batch * engine.lanes
    held = np.maximum(batch + node * np.sqrt(batch_variance(engine, traffic, op)), 0.0)
    pace = held * engine.ranks / np.maximum(pure_time(op.mean, np.maximum(held, 1.0)), 1e-12)
    return np.asarray(np.minimum(engine.front_end_output * pace, MOST_STREAMING))
