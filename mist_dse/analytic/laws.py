"""How one server treats its visits in load: the law of its waits, and the seconds of each visit at its own lengths.

An engine visit decodes in steps of the mean batch of others and of those of its own request that decode on its rank meanwhile; prompts that
a request brings to a rank at one instant are computed in order, in steps that they share. A station's jobs share its rate with those of
their own request in full, and with others as `sharing` has it; batches as `batching` has them, with what one request brings at one instant.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.batching import Batching, batch_seconds, batching
from mist_dse.analytic.capacity import NODES, chunk_limit, mixed_time
from mist_dse.analytic.pool import Operation, PoolSteady, Variants, entrance, first_emission, operation, pool_steady
from mist_dse.analytic.queueing import Wait, added
from mist_dse.analytic.sharing import Offered, Sharing, sharing
from mist_dse.analytic.siblings import Volleys, summed, summed_until
from mist_dse.analytic.step import chunk_time, decode_time, shared_time, together
from mist_dse.analytic.traffic import Traffic, visit_traffic
from mist_dse.rows import CHUNKED, Batcher, Engine, Floats, Ints, Jobs, Station, StepCost

_LEAST = 0.02
"""Share of a shared rate that others leave at least."""


class Company(NamedTuple):
    """Visits [n] of one server and those of their own request that are with them."""

    number: Ints  # of the visits
    leased: np.ndarray  # placed by a lease: no front end
    epoch: Volleys  # that join the server together
    volley: Volleys  # that join one rank of it together
    beside: Floats  # others in service meanwhile (engines: decoding on the same rank)
    line: Floats  # s behind others: in the front end, for a slot, for batches before


class Times(NamedTuple):
    """Seconds [n] of visits, waits for other requests left out."""

    entrance: Floats  # before the queue
    message: Floats  # start of service to what the user sees first
    first: Floats  # start of service to the first emission
    whole: Floats  # start of service to the end


class EngineLaw(NamedTuple):
    """An engine pool in load."""

    op: Operation
    pool: PoolSteady
    traffic: Traffic
    entering: Wait
    wait: Wait
    cost: StepCost  # with what ranks share inside


class BatcherLaw(NamedTuple):
    """A batcher in load, and what it takes more than without any."""

    state: Batching
    wait: Wait
    slower: float  # s that a batch takes more


class StationLaw(NamedTuple):
    """A station in load; ``alone``: what a lone job has of it."""

    alone: Station
    state: Sharing
    wait: Wait


Law = EngineLaw | StationLaw | BatcherLaw


def engine_law(engine: Engine, cost: StepCost, jobs: Jobs, company: Company, offered: Offered, hold: float = 0.0) -> EngineLaw:
    """The pool under its visits, which come at ``offered``; ``hold``: s that KV outlives a visit, mean."""
    return engine_laws(engine, cost, company_traffic(jobs, company, offered, hold), offered.bulk)


def company_traffic(jobs: Jobs, company: Company, offered: Offered, hold: float = 0.0) -> Traffic:
    """The visits of an engine pool, which come at ``offered``, as its law takes them."""
    scv = offered.scv + offered.volley - 1
    traffic = visit_traffic(jobs, company.number, offered.rate, scv=scv, horizon=offered.horizon, hold=hold)
    return traffic._replace(entering=bool((~company.leased).any()), clump=1.0 + float(company.beside.mean()))


def engine_laws(engine: Engine, cost: StepCost, traffic: Traffic, bulk: float = 1.0, variants: Variants | None = None) -> EngineLaw:
    """The law of ``engine`` or, field by field, of its ``variants``; ``bulk``: of several requests that come at one instant."""
    op = operation(cost, engine, traffic, variants)
    wait = first_emission(engine, traffic, op).wait
    _, entering = entrance(engine, traffic, op)
    if bulk > 1 and traffic.tokens > 0:
        mates = (bulk - 1) / (op.variants.replicas * engine.ranks) * np.maximum(_more_tokens(op, traffic.tokens), 0.0)
        wait = added(wait, Wait(mates, 2 * mates**2, np.ones_like(mates)))
    ranks = engine.ranks * np.arange(len(cost.decode_step))
    alike = together(cost, shared_time(cost, ranks, prompts=False)[None, :].repeat(2, axis=0))
    return EngineLaw(op, pool_steady(cost, engine, traffic, variants), traffic, entering, wait, alike)


def _more_tokens(op: Operation, tokens: float) -> Floats:
    """Seconds that one more prompt adds to a step."""
    none, one = np.zeros_like(op.batch), np.ones_like(op.batch)
    both = (mixed_time(op.mean, op.batch, k * tokens * one, attention=none) for k in (2, 1))
    return np.asarray(next(both) - next(both) + op.mean.per_token * tokens)


def station_law(station: Station, work: Floats, offered: Offered, most: tuple[float, float] = (np.inf, np.inf)) -> StationLaw:
    """The station under jobs of ``work``; ``most``: the rate that it shares with others, and what these leave of it on average."""
    alone = station._replace(rate=min(station.rate, most[0]))
    left = station._replace(rate=min(station.rate, max(most[1], _LEAST * most[0])))
    state = sharing(left, work, offered)
    slower = min(alone.cap, alone.rate) / min(left.cap, left.rate)
    utilisation = state.utilisation * left.rate / station.rate
    return StationLaw(alone, state._replace(stretch=state.stretch * slower, utilisation=utilisation), state.wait)


def batcher_law(batcher: Batcher, work: Floats, company: Company, offered: Offered) -> BatcherLaw:
    """The batcher under jobs of ``work``; what a request's own volley waits for itself is left out (`Company.line`)."""
    mean = float(work.mean()) if len(work) else 0.0
    state, light = (batching(batcher, mean, offered._replace(rate=rate)) for rate in (offered.rate, 0.0))
    own = volley_wait(batcher, np.arange(max(round(offered.volley), 1)), batch_seconds(batcher, batcher.size, mean)).mean()
    left = np.maximum(state.wait.mean - own, 0.0)
    ratio = left / max(float(state.wait.mean), 1e-300)
    return BatcherLaw(state, Wait(left, state.wait.second * ratio**2, state.wait.positive), max(state.service - light.service, 0.0))


def volley_wait(batcher: Batcher, place: Ints, service: Floats | float) -> Floats:
    """Seconds until the batch of each place in a volley starts, all workers free."""
    return np.asarray((place // batcher.size) // batcher.slots * service)


def engine_times(engine: Engine, law: EngineLaw, jobs: Jobs, company: Company) -> Times:
    """Seconds of the visits of an engine pool."""
    visits = company.number
    handed = jobs.handed[visits] > 0
    fresh = np.where(handed, 0, np.maximum(jobs.prompt[visits] - jobs.computed[visits], 0)).astype(float)
    steps = np.maximum(jobs.emit[visits] - 1 + handed, 0).astype(float)
    prompt, rest = prompt_times(engine, law, fresh, jobs.prompt[visits] - fresh, company)
    token = token_times(law, jobs.prompt[visits] + 0.5 * (steps + 1), company.beside)
    late = np.where(
        steps > 0, np.maximum(rest.seconds - (np.minimum(rest.steps, steps) * token if engine.policy == CHUNKED else 0.0), 0.0), 0.0
    )
    unseen = np.minimum(steps, engine.stream_interval - 1 + handed)
    slow = 1.0 if not company.leased.size else float(entrance(engine, law.traffic, law.op)[0][0])
    intake = (engine.front_end + engine.front_end_token * jobs.prompt[visits]) * slow + engine.client
    return Times(
        np.where(company.leased, 0.0, intake), prompt + token * unseen, np.where(handed, token, prompt), prompt + late + token * steps
    )


class Rest(NamedTuple):
    """What a volley's prompts take beyond a visit's own."""

    seconds: Floats
    steps: Floats


def prompt_times(engine: Engine, law: EngineLaw, fresh: Floats, start: Floats, company: Company) -> tuple[Floats, Rest]:
    """Seconds of prompts from the first step that takes a part of their volley's to the one that completes them; and of the rest of it."""
    volley = company.volley
    until, total, count = summed_until(volley, fresh), summed(volley.number, fresh), summed(volley.number, (fresh > 0).astype(float))
    limit = _step_limit(engine, law, total / np.maximum(count, 1), count)
    attention = summed(volley.number, chunk_time(law.op.mean.cost, fresh, start))
    batch = np.full_like(fresh, float(law.op.batch[0]) if engine.policy == CHUNKED else 0.0)

    def done(tokens: Floats) -> tuple[Floats, Floats]:
        full = np.maximum(np.ceil(tokens / np.maximum(limit, 1)) - 1, 0)
        last = np.clip(total - full * limit, 0, limit)
        share = np.minimum((full * limit + last) / np.maximum(total, 1), 1.0)
        finished = np.maximum(count * last / np.maximum(total, 1), 1.0)
        whole = mixed_time(law.op.mean, batch, limit, attention=np.zeros_like(fresh))
        return full * whole + mixed_time(law.op.mean, batch, last, attention=attention * share, prompts=finished), full

    (own, before), (end, all_before) = done(until), done(total)
    return np.where(fresh > 0, own, 0.0), Rest(np.where(fresh > 0, end - own, 0.0), all_before - before)


def _step_limit(engine: Engine, law: EngineLaw, each: Floats, count: Floats) -> Floats:
    """Prompt tokens of a full step, with ``count`` prompts of ``each`` tokens."""
    budget = float(law.op.variants.max_num_batched_tokens[0])
    if not engine.splits_prompts:
        return np.asarray(np.maximum(np.floor(budget / np.maximum(each, 1)), 1) * each)
    beside = float(law.op.batch[0]) if engine.policy == CHUNKED else 0.0
    return np.asarray(np.minimum(max(budget - beside, 1.0), chunk_limit(engine, np.full_like(each, budget)) * np.maximum(count, 1)))


def token_times(law: EngineLaw, context: Floats, beside: Floats) -> Floats:
    """Seconds between a sequence's tokens at its own mean context, with ``beside`` more of its request on its rank."""
    mean = np.full_like(context, law.traffic.context)
    own, usual = _pure(law, context, beside), _pure(law, mean, np.full_like(beside, law.traffic.clump - 1))
    return np.asarray(np.maximum(law.op.token[0] + own - usual, 1e-12))


def _pure(law: EngineLaw, context: Floats, beside: Floats) -> Floats:
    """Seconds of a decode step beside the mean batch, over its fluctuation."""
    batch, most = float(law.op.batch[0]), max(float(law.op.slots[0]), 1.0)
    total = np.zeros_like(context)
    for node, weight in NODES:
        others = np.clip(batch + node * np.sqrt(batch * law.traffic.clump), 0.0, most - 1)
        count = np.minimum(1 + others + beside, most)
        mixed = (context * (1 + beside) + law.traffic.context * others) / (1 + beside + others)
        total = total + weight * decode_time(law.cost, count, mixed)
    return total


def station_times(law: StationLaw, work: Floats, company: Company, luck: Floats) -> Times:
    """Seconds of jobs; ``luck``: of each, its share of the mean slow-down by others."""
    seconds, crowd = crowded(law.alone, work, company.beside)
    together = np.maximum(crowd * 2 / (1 + company.epoch.size), 1.0)
    whole = seconds * (crowd + (law.state.stretch - 1) * together * luck) + law.alone.latency
    return Times(np.zeros_like(work), whole, whole, whole)


def crowded(station: Station, work: Floats, beside: Floats) -> tuple[Floats, Floats]:
    """(seconds of jobs alone, how many times that with ``beside`` others in service)."""
    pace = min(station.cap, station.rate)
    return work / pace, np.maximum(np.minimum(1 + beside, station.slots) * pace / station.rate, 1.0)


def slowed(cost: StepCost, factor: float) -> StepCost:
    """Steps that take ``factor`` as long."""
    if factor == 1.0:
        return cost
    rates = ("stage_share", "window", "knots", "mixing", "asynchronous")
    return cost._replace(**{name: value * factor for name, value in cost._asdict().items() if name not in rates})


def device_use(law: Law | None) -> tuple[float, float]:
    """(share of time that a server takes of its device, seconds at a time)."""
    if isinstance(law, EngineLaw):
        share = float(law.op.share[0])
        step = share * float(law.op.mixed[0]) + (1 - share) * float(law.op.pure[0])
        return float(law.pool.utilisation[0]), step
    return (law.state.utilisation, law.state.service) if isinstance(law, BatcherLaw) else (0.0, 0.0)


def batcher_times(batcher: Batcher, law: BatcherLaw, work: Floats, company: Company) -> Times:
    """Seconds of jobs in the batches that their volley fills."""
    epoch = company.epoch
    mates = np.minimum(batcher.size, epoch.size - epoch.place // batcher.size * batcher.size).astype(float)
    mean = summed(epoch.number, work) / epoch.size
    seconds = batch_seconds(batcher, mates, 0.0) + batcher.work_time * mean * mates + law.slower
    return Times(np.zeros_like(work), seconds, seconds, seconds)
