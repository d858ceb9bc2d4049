"""How long a prompt takes to its first emission: its own steps, the step that it finds running, and those that are full before it.

An arrival finds a step C* (`cycle`; E[C*] = E[C^2] / E[C]), of which a uniform part U is left, and others come in it:

    first emission = (U + r) C* + X + T(own steps and what follows into the last one).

X is what does not fit: tokens beyond the budget B at starts of full steps of F s follow Lindley's recursion (X + Y - B)+, a queue with
even "arrivals" B and "service" Y, the tokens that come in F; by Kraemer and Langenbach-Belz (1976), in seconds and with s = p F / B,

    X = l E[s]^2 (ca2 + cs2) / 2 (1 - rho) x exp(-2 (1 - rho) l F / (3 rho (ca2 + cs2))), rho = l E[s].

The recursion begins when a step's prompts do not all fit; shorter steps than F see that more rarely, by the renewal-reward ratio in
`_overflow`. With small budgets this is Allen and Cunneen's wait at one server; with large ones prompts only wait for the running step.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.capacity import chunk_limit, mixed_time
from mist_dse.analytic.cycle import Cycle, beside, cycle, decoding, exceeding, work_moment
from mist_dse.analytic.operation import Operation
from mist_dse.analytic.queueing import Service, Wait, added, capped, fitting, horizon_wait, klb_factor, many_wait, single_wait
from mist_dse.analytic.traffic import Traffic, arrival_scv
from mist_dse.rows import CHUNKED, JOIN_SHORTEST_QUEUE, Engine, Floats


class _Own(NamedTuple):
    """A prompt's own steps [v, bins] beside the mean batch."""

    full: Floats  # how many with a whole limit
    whole: Floats  # s of each of them
    rest: Floats  # tokens of the last one
    batch: Floats
    attention: Floats  # s


class _Behind(NamedTuple):
    """What follows a prompt into its last step."""

    found: Cycle
    rate: Floats  # prompts per second
    ahead: Floats  # s for which it waits at full steps
    mates: Floats  # tokens that are in its first step with it

    def tokens(self, steps: Floats, rest: Floats, tokens: float) -> Floats:
        """Tokens [v, bins] behind prompts with ``steps`` full steps of their own and ``rest`` tokens in the last one."""
        time = self.rate[:, None] * (self.ahead[:, None] + steps * self.found.full[:, None])
        came = self.found.gaps.rows().renewals(time) * tokens
        return fitting(came, np.maximum(self.found.room[:, None] - rest - self.mates[:, None], 0.0))


class First(NamedTuple):
    """Up to a visit's first emission."""

    own: Floats  # s [v, bins] of a prompt's steps, with those that come behind it into the last one
    wait: Wait  # for others' prompts and steps
    left: Floats  # s [v] whose arrivals are not computed yet when it is out: its last step, and as long as it waited behind others


def first_step(engine: Engine, traffic: Traffic, op: Operation) -> First:
    """A prompt's way through the steps of a pool."""
    own = _own_steps(engine, traffic, op)
    last = _last_step(traffic, op, own, np.zeros_like(own.rest))
    found = cycle(engine, traffic, op, own.full * own.whole + last, last)
    over = _overflow(engine, traffic, op, found)
    gate, mates = _gate(traffic, op, found)
    behind = _Behind(found, op.rate, over.mean, found.found * mates).tokens(own.full, own.rest, traffic.tokens)
    last = _last_step(traffic, op, own, behind)
    backlog = over.mean * (np.maximum(1 - found.length / found.full, 0.0) if engine.policy == CHUNKED else 1.0)
    wait = added(gate, over)
    together = over.mean * np.maximum(0.5 * found.full - gate.mean, 0.0)  # who finds a backlog finds a full step running
    wait = wait._replace(second=wait.second + 2 * together)
    return First(own.full * own.whole + last, wait, last.mean(axis=1) + backlog)


def stairs(engine: Engine, traffic: Traffic, op: Operation) -> Floats:
    """Seconds of a prompt's own steps [v, bins]: full chunks, then the rest, beside the mean batch."""
    own = _own_steps(engine, traffic, op)
    return own.full * own.whole + _last_step(traffic, op, own, np.zeros_like(own.rest))


def running(engine: Engine, traffic: Traffic, op: Operation) -> Wait:
    """What is left of the step that an arrival finds running; ranks of an engine step together."""
    share = 1 - (1 - op.share) ** engine.ranks
    m1, m2, m3 = (share * op.mixed**k + (1 - share) * op.pure**k for k in (1, 2, 3))
    busy = decoding(engine, traffic, op)
    return Wait(busy * m2 / (2 * m1), busy * m3 / (3 * m1), busy)


def _own_steps(engine: Engine, traffic: Traffic, op: Operation) -> _Own:
    fresh = traffic.binned(traffic.fresh)[None, :]
    batch = beside(engine, op)[:, None]
    budget = op.variants.max_num_batched_tokens[:, None]
    limit = chunk_limit(engine, np.maximum(budget - batch, 1.0)) if engine.splits_prompts else np.maximum(budget, fresh)
    full = np.maximum(np.ceil(fresh / limit) - 1, 0)
    whole = mixed_time(op.mean, batch, limit, attention=np.zeros((1, 1)))
    return _Own(full, whole, np.maximum(fresh - full * limit, 0), batch, traffic.binned(op.mean.chunk)[None, :])


def _last_step(traffic: Traffic, op: Operation, own: _Own, more: Floats) -> Floats:
    """Seconds of the last step of prompts with ``more`` tokens of others in it."""
    attention, prompts = own.attention + op.mean.per_token * more, 1 + more / traffic.tokens
    seconds = mixed_time(op.mean, own.batch, own.rest + more, attention=attention, prompts=prompts)
    return np.where(own.rest > 0, seconds, 0.0)


def _gate(traffic: Traffic, op: Operation, found: Cycle) -> tuple[Wait, Floats]:
    """The rest U of the step that is running, and r C* for those that come in it too: (U + r) C*, and what their lengths scatter.

    Also the tokens of these.
    """
    left = np.maximum(found.room - np.minimum(traffic.tokens, found.room), 0.0)
    tokens = fitting(found.mates * traffic.tokens, left)
    rise = found.slope * tokens / found.biased
    scatter = found.slope**2 * np.minimum(tokens * float((traffic.fresh**2).mean()) / traffic.tokens, left**2)
    mean, second = (0.5 + rise) * found.biased, (1 / 3 + rise + rise**2) * found.square + scatter
    return Wait(found.found * mean, found.found * second, found.found), tokens


def _overflow(engine: Engine, traffic: Traffic, op: Operation, found: Cycle) -> Wait:
    """The wait for tokens ahead that do not fit into the next step."""
    service = Service(op.rate, *_work(engine, traffic, op, found))
    servers = op.variants.replicas * engine.ranks
    scv = np.full_like(op.rate, traffic.scv) if engine.router == JOIN_SHORTEST_QUEUE else arrival_scv(engine, traffic.scv, servers)
    rho, spread = service.rho, np.maximum(scv + service.scv, 1e-9)
    tokens = np.maximum(op.rate * found.full, 1e-12)
    even = klb_factor(rho, scv, service.scv)
    whole = op.rate * service.m1**2 * spread / (2 * (1 - rho))
    filling = whole * np.minimum(np.exp(-2 * (1 - rho) * tokens / (3 * np.maximum(rho, 1e-9) * spread)), even)
    filling = np.maximum(filling - 0.5 * op.rate * _beyond(engine, traffic, found), 0.0)
    lonely = np.maximum(whole - 0.5 * op.rate * _step_squares(engine, traffic, found), 0.0) * even
    mean = filling + np.exp(-tokens) * (lonely - filling)
    mean = capped(mean, horizon_wait(service, scv, traffic.horizon))
    if engine.router == JOIN_SHORTEST_QUEUE:
        together = many_wait(Service(op.rate * servers, *service[1:]), scv, servers, traffic.horizon).mean
        mean = mean * together / np.maximum(single_wait(service, scv, traffic.horizon).mean, 1e-300)
    odds = 2 * mean / (service.rho * found.full * (1 + spread / tokens))
    over, fewer = _seen(found, odds / (1 + odds), rho * found.room, spread / tokens)
    second = 2 * mean**2 + mean * 2 * service.m3 / (3 * service.m2)
    return Wait(mean * fewer, second * fewer, over)


def _beyond(engine: Engine, traffic: Traffic, found: Cycle) -> Floats:
    """Mean over prompts of how much the square of a step that is longer than the full one exceeds that one's (s^2): found running."""
    if engine.splits_prompts:
        return np.zeros_like(found.full)
    longer = found.slope[:, None] * np.maximum(traffic.binned(traffic.fresh)[None, :] - found.room[:, None], 0.0)
    return np.asarray(((found.full[:, None] + longer) ** 2 - found.full[:, None] ** 2).mean(axis=1))


def _step_squares(engine: Engine, traffic: Traffic, found: Cycle) -> Floats:
    """Mean over prompts of the sum of squares of its shares of full steps."""
    fresh, room = traffic.binned(traffic.fresh)[None, :], found.room[:, None]
    full = np.maximum(np.ceil(fresh / room) - 1, 0.0) if engine.splits_prompts else np.zeros_like(room)
    return np.asarray((full * room**2 + (fresh - full * room) ** 2).mean(axis=1) * (found.full / found.room) ** 2)


def _seen(found: Cycle, over: Floats, came: Floats, scv: Floats) -> tuple[Floats, Floats]:
    """(chance that an arrival finds tokens that do not fit; over ``over``, what it is where all steps are full).

    Spells of such steps begin with chance ``found.surplus`` per other step and end with a chance that follows from ``over``: of spells that
    would begin as often as ``came`` tokens (mean, squared coefficient of variation ``scv``) exceed the room.
    """
    ends = exceeding(came, came**2 * (1 + scv), found.room) * (1 - over) / np.maximum(over, 1e-12)
    share = found.surplus * found.full / np.maximum(found.surplus * found.full + ends * found.length, 1e-300)
    fewer = np.minimum(share / np.maximum(over, 1e-12), 1.0)
    return over * fewer, fewer


def _work(engine: Engine, traffic: Traffic, op: Operation, found: Cycle) -> list[Floats]:
    """Moments of a prompt's share of full steps; one that is not split and longer than the budget has a step of its own."""
    each = found.full / found.room
    whole = [work_moment(traffic, op, each, power) for power in (1, 2, 3)]
    if engine.splits_prompts or traffic.fresh.max() <= found.room.min():
        return whole
    fresh, room = traffic.binned(traffic.fresh)[None, :], found.room[:, None]
    long = np.maximum(fresh - room, 0.0)
    plain, own = each[:, None] * fresh, each[:, None] * (fresh - long) + found.slope[:, None] * long
    return [moment * (own**power).mean(axis=1) / (plain**power).mean(axis=1) for power, moment in zip((1, 2, 3), whole, strict=True)]
