"""Mean-field figures of engine pools, for arrays of variants that share one step cost and one traffic.

First emission = residual of the running step + wait for the prompts ahead (one server per rank behind a router that splits
in turn, or all together behind join-shortest-queue) + wait for a slot + the prompt's own steps. Formulas, and what each
was worth in accuracy, are those of the design note on screening (section 1): Allen-Cunneen waits with the router's arrival
law, service shared among prompts that merge in a step, a cap by the finite horizon, percentiles over length bins.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.capacity import expected_longest, mixed_time, resident_tokens, static_places
from mist_dse.analytic.entrance import entrance
from mist_dse.analytic.gathering import Gathering, gathering_wait, gathers
from mist_dse.analytic.interval import aftermath, token_interval
from mist_dse.analytic.operation import Operation, Variants, elasticity, loaded, operation, variants_of
from mist_dse.analytic.prompts import First, first_step, running, stairs
from mist_dse.analytic.queueing import Service, Wait, added, klb_factor, many_wait, mixture_spread
from mist_dse.analytic.spread import LEVELS, Spread
from mist_dse.analytic.traffic import Traffic, arrival_scv
from mist_dse.analytic.uneven import unequal
from mist_dse.rows import JOIN_SHORTEST_QUEUE, STATIC, Engine, Floats, StepCost

__all__ = [
    "Operation", "PoolSteady", "Variants", "entrance", "first_emission", "intake_demand", "occupancy", "operation", "pool_steady",
    "variants_of",
]  # fmt: skip


class PoolSteady(NamedTuple):
    """Stationary figures per variant; times in s."""

    demand: Floats  # offered / sustainable rate of steps, front end, and KV that outlives its visit; >= 1 saturated
    batch: Floats  # decoding sequences per rank
    step: Floats  # s between two tokens of a sequence, mean
    tpot: Spread
    first: Spread  # arrival at the pool to first emission
    wait: Floats  # first emission less the prompt's own steps, mean
    decode: Spread  # first emission to last
    residence: Floats  # arrival to last emission, mean
    utilisation: Floats  # share of time with a step running
    kv: Floats  # share of KV blocks held
    sequences: Floats  # share of max_num_seqs held
    steps: Floats  # engine steps per second of one lane

    def at(self, *index: Any) -> "PoolSteady":
        """Every figure indexed alike."""
        parts: list[Any] = [value.at(*index) if isinstance(value, Spread) else np.asarray(value[index]) for value in self]
        return PoolSteady(*parts)

    @property
    def saturated(self) -> np.ndarray:
        """Whether the offered rate cannot be sustained."""
        return self.demand >= 1


def pool_steady(cost: StepCost, engine: Engine, traffic: Traffic, variants: Variants | None = None) -> PoolSteady:
    """Figures of each variant of ``engine`` under ``traffic``; None = the engine itself.

    ``engine`` gives policy, router, ranks, lanes and the other fields that variants share. Beyond saturation the figures
    are those at the sustainable rate, with waits capped by the horizon: an ordering, not a prediction.
    """
    asked = operation(cost, engine, traffic, variants)
    op = unequal(engine, traffic, loaded(engine, traffic, asked))
    base, wait, left = first_emission(engine, traffic, op)
    each, whole = aftermath(engine, traffic, op, (wait.mean, left))
    own = (stairs(engine, traffic, op) if engine.policy != STATIC and traffic.tokens > 0 else base).mean(axis=1)
    if traffic.entering:
        slow, line = entrance(engine, traffic, op)
        intake = engine.front_end + engine.front_end_token * traffic.binned(traffic.fresh + traffic.start)
        base, wait = base + engine.client + slow[:, None] * intake[None, :], added(wait, line)
    first = mixture_spread(base, wait)
    residence = first.mean + op.token * traffic.decodes + whole
    unseen, share = _unseen(engine, traffic)
    first = first.shifted(op.token * float(unseen.mean()))
    tpot = token_interval(engine, traffic, op).shifted(each).scaled(share * traffic.steps_per_gap)
    seen = traffic.steps - unseen
    decode = Spread(*(op.token * level for level in (float(seen.mean()), *np.quantile(seen, LEVELS)))).shifted(whole)
    kv, sequences = occupancy(engine, traffic, op, own)
    return PoolSteady(
        demand=_highest(engine, traffic, asked),
        batch=op.batch * engine.lanes,
        step=op.token,
        tpot=tpot,
        first=first,
        wait=first.mean - own,
        decode=decode,
        residence=residence,
        utilisation=_utilisation(traffic, op),
        kv=kv,
        sequences=sequences,
        steps=_utilisation(traffic, op) * op.steps,
    )


def _highest(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Highest demand, as `demand` has it."""
    highest = np.maximum(op.demand, intake_demand(engine, traffic, op))
    return np.asarray(np.maximum(highest, occupancy(engine, traffic, op)[0]) if traffic.hold > 0 else highest)


def occupancy(engine: Engine, traffic: Traffic, op: Operation, own: Floats | None = None) -> tuple[Floats, Floats]:
    """Shares of KV blocks and of sequence slots held, by Little's law; ``own``: mean seconds of a prompt's steps."""
    steps = own if own is not None else (stairs(engine, traffic, op).mean(axis=1) if traffic.tokens > 0 else 0.0)
    served = op.rate * (op.token * traffic.decodes + steps)
    resident = resident_tokens(engine, traffic) / (op.variants.blocks * engine.block_size)
    return (served + op.rate * traffic.hold) * resident, served / op.variants.max_num_seqs


def intake_demand(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Seconds per second that a replica's serial front end is asked for."""
    seconds = engine.front_end + engine.front_end_token * float((traffic.fresh + traffic.start).mean()) if traffic.entering else 0.0
    return op.rate * engine.ranks * seconds + _streaming(engine, traffic, op)


def _streaming(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Share of a front end that output tokens take."""
    return op.rate * engine.ranks * (engine.front_end_output * (traffic.decodes + 1.0) if traffic.entering else 0.0)


def _utilisation(traffic: Traffic, op: Operation) -> Floats:
    """Share of time with a step running: a server of sequences is idle when it holds none."""
    idle = np.exp(-op.batch) if traffic.decodes > 0 else np.maximum(1 - op.demand, 0.0)
    return np.asarray(np.minimum(1 - idle * np.maximum(1 - op.demand, 0.0) if traffic.decodes > 0 else 1 - idle, 1.0))


def first_emission(engine: Engine, traffic: Traffic, op: Operation) -> First:
    """From arrival at the queue to the first emission."""
    none = np.zeros_like(op.rate)
    if engine.policy == STATIC:
        return First(*_static_emission(engine, traffic, op), none)
    if traffic.tokens > 0:
        own, wait, left = first_step(engine, traffic, op)
    else:
        own, wait, left = op.token[:, None] * np.ones((1, 1)), running(engine, traffic, op), none
    if traffic.decodes > 0:
        wait = added(wait, _slot_wait(engine, traffic, op))
    if traffic.decodes > 0 and traffic.tokens > 0 and gathers(engine):
        wait = added(wait, _gathering(engine, traffic, op))
    return First(own, wait, left)


def _slot_wait(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """Wait for one of the rank's sequence slots, each held for a whole decode.

    Where KV blocks limit them, sequences of many sizes fill them more unevenly than equal ones: the blocks held vary like z times as few
    places with z times as few arrivals, z = E[x^2] / E[x]^2 of the tokens x held (Hayward's approximation; Fredericks 1980). So do
    sequences that slow each other (`operation.elasticity`).
    """
    stay = op.token * traffic.decodes
    ranked = traffic.steps / traffic.decodes
    uneven = np.where(op.slots < op.variants.max_num_seqs, 1 + traffic.context_variance / traffic.context**2, 1.0)
    places = np.maximum(op.slots / uneven * (1 - elasticity(op, op.batch)), 1.0)
    rate = op.rate * places / op.slots
    service = Service(rate, stay, stay**2 * float((ranked**2).mean()), stay**3 * float((ranked**3).mean()))
    ranks = op.variants.replicas * engine.ranks
    if engine.router == JOIN_SHORTEST_QUEUE:
        pooled = Service(rate * ranks, *service[1:])
        return many_wait(pooled, np.full_like(op.rate, traffic.scv), places * ranks, traffic.horizon)
    return many_wait(service, arrival_scv(engine, traffic.scv, ranks), places, traffic.horizon)


def _static_emission(engine: Engine, traffic: Traffic, op: Operation) -> tuple[Floats, Wait]:
    """Static batches: the rest of the running batch, then the own batch's prompts; beyond one batch, a queue for places.

    With places for one the sum is Pollaczek and Khinchine's; the residual is not counted twice.
    """
    members = np.maximum(op.rate / op.steps, 1.0)
    prefill = op.mixed if traffic.tokens > 0 else np.zeros_like(op.mixed)
    longest = [expected_longest(traffic.steps**k, members) for k in (1, 2, 3)]
    m1 = prefill + op.pure * longest[0]
    m2 = prefill**2 + 2 * prefill * op.pure * longest[0] + op.pure**2 * longest[1]
    m3 = prefill**3 + 3 * prefill**2 * op.pure * longest[0] + 3 * prefill * op.pure**2 * longest[1] + op.pure**3 * longest[2]
    busy = np.minimum(op.rate * m1, 1.0)
    places = static_places(traffic, op.variants.max_num_batched_tokens, op.slots)
    ranks = op.variants.replicas * engine.ranks
    arrivals = np.full_like(op.rate, traffic.scv) / (1.0 if engine.router == JOIN_SHORTEST_QUEUE else ranks)
    queue = many_wait(Service(op.rate, m1, m2, m3), arrivals, places, traffic.horizon)
    full = np.minimum(op.rate * m1 / places, 1.0)
    beyond = Wait(full * queue.mean, full * queue.second, queue.positive)
    own = (prefill + (0.0 if traffic.tokens > 0 else op.pure))[:, None]
    scv = np.maximum(m2 / m1**2 - 1, 0.0)
    smooth = klb_factor(busy, arrivals, scv) * (arrivals + scv) / (1 + scv)
    return own, added(Wait(smooth * busy * m2 / (2 * m1), smooth * busy * m3 / (3 * m1), smooth * busy), beyond)


def _unseen(engine: Engine, traffic: Traffic) -> tuple[Floats, float]:
    """Decode steps [n] that the first message takes beyond the first token, and the mean share of its steps that a visit has left."""
    unseen = np.where(traffic.fresh > 0, np.minimum(traffic.steps, engine.stream_interval - 1), 0.0)
    some = traffic.steps > 0
    return unseen, float((1 - unseen[some] / traffic.steps[some]).mean()) if some.any() else 1.0


def _gathering(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """Wait for the end of a gathering of prompts (`gathering`)."""
    none, one = np.zeros_like(op.batch), np.ones_like(op.batch)
    tokens = mixed_time(op.mean, none, 1 + traffic.tokens * one, attention=none) - mixed_time(op.mean, none, one, attention=none)
    each = np.maximum(tokens, 0.0) + op.mean.per_token * traffic.tokens
    return gathering_wait(engine, traffic, Gathering(op.rate, op.batch, op.variants.max_num_batched_tokens, op.pure, op.mixed, each))
