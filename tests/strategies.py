"""Small cases of everything the simulator does.

`cases()` draws servers, jobs and requests whose times are exact: multiples of powers of two throughout, so that
sums come out the same in any order of addition and ties are ties. `rough_cases()` gives the same shapes with costs and
arrivals that have full mantissas and context slopes for every batch size, where ties do not happen. What is drawn is one string
of bytes: every choice is made from the next of them, so that choices are independent, quick to draw and shrink to the first option.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from mist_dse import rows
from tests.builders import (
    Call,
    Case,
    after,
    colocated,
    disaggregated,
    jobs_of,
    joined,
    late_first_token,
    requests_of,
    routed,
    servers_of,
    simple_cost,
    simple_engine,
)
from tests.sharing import Dice, coupled, on_devices, shared_cost

__all__ = [
    "Call",
    "Case",
    "Dice",
    "cases",
    "colocated",
    "disaggregated",
    "jobs_of",
    "late_first_token",
    "requests_of",
    "rough_cases",
    "rough_cost",
    "servers_of",
    "simple_cost",
    "simple_engine",
    "traits",
]

ROLLS = 440
POLICIES = (rows.CHUNKED, rows.CONTINUOUS, rows.PREFILL_FIRST, rows.MIXED, rows.STATIC)
ROUTERS = tuple(range(9))
PACKINGS = (rows.FCFS, rows.PRIORITY, rows.SHORTEST, rows.LEAST_WORK)
ARRIVALS = ("once", "spread", "ties", "closed", "sessions")
PARALLELISM = ("single", "replicas", "ranks", "lanes", "disaggregated", "groups")
HANDED = ("whole", "layerwise", "late", "late layerwise", "routed")

WAYS: dict[str, tuple[int, ...]] = {
    "reserve_output": (False, False, True),
    "whole_prompts": (False, False, True),
    "stream_interval": (1, 1, 2, 3, 7),
    "receive_interval": (1, 1, 2, 3, 6),
    "wait_steps": (0, 1, 2, 5),
    "wait_tokens": (0, 4, 12, 30),
    "balance_steps": (0, 2, 5),
}


class Traits(NamedTuple):
    """What a case is about; of two pools, the first."""

    policy: int
    router: int
    arrivals: str
    parallelism: str
    packing: int
    caching: bool
    coupled: bool
    device: bool


def traits(case: Case) -> Traits:
    """Read off a case, so that what was drawn can be counted."""
    engine, asked = case.servers.engines[0], case.requests
    spread = "spread" if len(set(asked.arrival)) == len(asked.arrival) else "ties"
    arrivals = "closed" if asked.clients else "sessions" if len(asked.follows) else spread if asked.arrival.any() else "once"
    sides = [name for name in ("lanes", "ranks", "replicas") if getattr(engine, name) > 1]
    pools = "groups" if engine.groups > 1 else "disaggregated"
    parallelism = pools if len(case.servers.engines) > 1 else (sides or ["single"])[0]
    coupled = any(station.shared >= 0 for station in case.servers.stations)
    return Traits(engine.policy, engine.router, arrivals, parallelism, engine.packing, engine.caching, coupled, engine.device >= 0)


@st.composite
def cases(draw: st.DrawFn, *, exact: bool = True, policy: int | None = None) -> Case:
    """Up to 8 requests at one pool, or at two with a hand-off between them, among stations and batchers that may share what they run on."""
    return rolled(Dice(draw(st.binary(min_size=ROLLS, max_size=ROLLS))), exact, policy)


def rough_cases(*, policy: int | None = None) -> st.SearchStrategy[Case]:
    """Cases without ties, with any batch size sloped over the context."""
    return cases(exact=False, policy=policy)


def rolled(dice: Dice, exact: bool, policy: int | None) -> Case:
    """The case that the dice give."""
    parallelism = dice(PARALLELISM)
    pools = 2 if parallelism in ("disaggregated", "groups") else 1
    count = dice.whole(1, 8)
    engines = [engine_of(dice, parallelism, dice(POLICIES) if policy is None or pool else policy) for pool in range(pools)]
    groups = dice((2, 3)) if parallelism == "groups" else 1
    engines = [engine._replace(groups=groups, replicas=groups if groups > 1 else engine.replicas) for engine in engines]
    costs = [exact_cost(dice) if exact else rough_cost(dice.whole(0, 255), dice((1.0, 0.4)), dice((False, True))) for _ in engines]
    costs = [shared_cost(cost, dice, exact=exact) if e.ranks > 1 else cost for e, cost in zip(engines, costs, strict=True)]
    asked, sessions = arrivals_of(dice, count, exact)
    beside = parallelism == "groups" or dice((False, True))
    called = [calls_of(dice, pools, exact, beside) for _ in range(count)]
    called = [labelled(dice, calls, engines, i, sessions[i]) for i, calls in enumerate(called)]
    lengths = [(max(call.prompt for call in calls), sum(call.emit for call in calls if call.answers)) for calls in called]
    stations, batchers = [station_of(dice)], [batcher_of(dice)]
    rates: tuple[float, ...] = ()
    if dice((False, True)):
        stations, rates = coupled(stations[0], dice, exact=exact)
    if dice((False, True)):
        engines, batchers = on_devices(engines, [*batchers, batcher_of(dice)], dice)
    rough = dice.rough() if rates and not exact else None
    called = [[elsewhere_too(dice, call, len(stations), len(batchers), pools, rough) for call in calls] for calls in called]
    servers = servers_of(list(zip(engines, costs, strict=True)), stations, batchers)._replace(shared=rates)
    jobs = jobs_of(called)
    if not len(jobs.draw):  # all of them nothing, and yet a router may ask for them
        jobs = jobs._replace(draw=np.zeros((len(jobs.server), 2)))
    times = requests_of(asked.arrival.tolist(), lengths, clients=asked.clients, think=asked.think.tolist(), follows=asked.follows.tolist())
    return Case(servers, jobs, times)


def engine_of(dice: Dice, parallelism: str, policy: int) -> rows.Engine:
    """An engine pool small enough to run short of everything."""
    front = dice([(0.0, 0.0, 0.0), (0.25, 0.0, 0.0), (0.25, 0.125, 0.5), (0.0, 0.0, 1.0)])
    seqs, block_size = dice((1, 2, 3, 4, 4, 5)), dice.whole(1, 5)
    lone, few, many = (1,), (1, 2), (2, 3)
    sides = {"single": (lone, lone, lone), "replicas": (many, lone, lone), "ranks": (few, many, lone), "lanes": (few, few, many)}
    replicas, ranks, lanes = sides.get(parallelism, (few, few, few))
    engine = simple_engine(
        replicas=dice(replicas),
        ranks=dice(ranks),
        lanes=dice(lanes),
        policy=policy,
        router=dice(ROUTERS),
        max_num_seqs=seqs,
        max_num_batched_tokens=max(dice.whole(2, 24), seqs if policy == rows.CHUNKED else 0),
        long_prefill_threshold=dice([0, 0, 1, 3, 8]),
        blocks=dice((24, 28, 32, 40, 64)) // block_size,
        block_size=block_size,
        watermark=dice([0, 0, 1, 2]),
        reserve_full=dice((False, True)),
        max_model_len=dice([1000, 1000, 1000, 22]),
        front_end=front[0],
        front_end_token=front[1],
        client=front[2],
        front_end_output=dice([0.0, 0.0, 0.125]),
        packing=dice(PACKINGS),
        caching=dice((False, True)) and policy != rows.STATIC,
        heavy_tokens=dice((0, 5, 10)),
        heavy_ranks=dice((0, 1, 2)),
        guard=dice((1.0, 1.25)),
        slack=dice((0, 1)),
    )
    if dice((True, False)):  # half of the engines have no ways of their own
        return engine
    return engine._replace(**{name: dice(values) for name, values in WAYS.items()})


def exact_cost(dice: Dice) -> rows.StepCost:
    """A cost that adds up without rounding."""
    return simple_cost(
        base=dice.exact(1, 8, 4),
        per_token=dice.exact(0, 4, 4),
        per_seq=dice.exact(0, 2, 4),
        per_context=dice.exact(0, 2, 8),
        bend=dice.exact(0, 2, 8),
        any_batch=False,
        tokens=dice((4, 40)),
        quad=dice.exact(0, 2, 64),
        window_quad=dice.exact(0, 2, 64),
        window=dice((4.0, 1e9)),
        read=dice.exact(0, 4, 8),
        prefill_overhead=dice.exact(0, 2, 4),
        mixing=dice((1.0, 1.5)),
        host=dice([(0.0, 0.0, 0.0), (0.5, 0.25, 1.0), (4.0, 1.0, 2.0)]),
        asynchronous=dice((False, True)),
        stage_share=dice((1.0, 0.5, 0.25)),
    )


def rough_cost(seed: int, share: float, asynchronous: bool) -> rows.StepCost:
    """A cost with full mantissas."""
    chance = random.Random(seed)
    return simple_cost(
        base=chance.uniform(0.5, 2.0),
        per_token=chance.uniform(0.1, 0.5),
        per_seq=chance.uniform(0.1, 0.5),
        per_context=chance.uniform(0.01, 0.1),
        bend=chance.uniform(0.0, 0.1),
        knots=(0.0, 5.1, 11.3, 29.7),
        quad=chance.uniform(0.001, 0.01),
        window_quad=chance.uniform(0.001, 0.01),
        read=chance.uniform(0.0, 0.1),
        prefill_overhead=chance.uniform(0.1, 0.5),
        mixing=1.7,
        host=(chance.uniform(0.1, 2.0), chance.uniform(0.1, 0.3), chance.uniform(0.1, 0.3)),
        asynchronous=asynchronous,
        stage_share=share,
    )


def station_of(dice: Dice) -> rows.Station:
    """A station whose shares stay powers of two: one or two slots, or room for all."""
    slots, rate, cap = dice((1, 2, 1000)), dice((0.5, 1.0, 4.0)), dice((0.5, 1.0, 4.0))
    return rows.Station(rate if slots < 3 else 1000.0 * cap, cap, slots, dice((0.0, 0.5)))


def batcher_of(dice: Dice) -> rows.Batcher:
    """A batcher of one or two workers; a larger batch takes longer."""
    size, step = dice.whole(1, 3), dice.exact(0, 4, 2)
    times = [dice.exact(0, 4, 2) + step * k for k in range(size + 1)]
    return rows.Batcher(dice((1, 2)), size, dice((0.0, 0.5, 4.0)), np.array(times), dice((0.0, 0.25)))


def arrivals_of(dice: Dice, count: int, exact: bool) -> tuple[rows.Requests, list[int]]:
    """Arrival times of any kind, and each request's session (-1: none)."""
    kind, chance = dice(ARRIVALS), dice.rough()
    times = sorted({"once": 0.0, "ties": dice.whole(0, 3) * 2.0}.get(kind, dice.whole(0, 160) / 8) for _ in range(count))
    think = [dice.whole(0, 32) / 16 for _ in range(count)]
    if not exact:
        times = sorted(time and time + chance.uniform(0.0, 0.1) for time in times)
        think = [chance.uniform(0.0, 2.0) for _ in think]
    sessions, follows = [dice.whole(-1, 2) for _ in range(count)], [-1] * count
    if kind == "sessions":
        for i in range(count):
            earlier = [j for j in range(i) if j not in follows]
            follows[i] = dice([*earlier, -1])
            sessions[i] = sessions[follows[i]] if follows[i] >= 0 else i
    clients = dice.whole(1, 4) if kind == "closed" else 0
    lengths = [(1, 1)] * count
    return requests_of(times, lengths, clients=clients, think=think, follows=follows if kind == "sessions" else ()), sessions


def calls_of(dice: Dice, pools: int, exact: bool, beside: bool) -> list[Call]:
    """The visits of one request: an answer, alone, after a look-up, or after branches that are joined."""
    calls = answer_of(dice, pools, beside)
    shape = dice(("alone", "alone", "alone", "alone", "after a look-up", "after a join", "join", "race" if exact else "join"))
    if shape == "alone":
        return calls
    if shape == "after a look-up":
        return after(elsewhere(dice, pools), calls)
    branches = [branch_of(dice, pools, beside) for _ in range(dice.whole(2, 3))]
    if shape == "race":
        branches = [answer_of(dice, 1, False) for _ in branches]
    need = dice((1, len(branches) // 2 + 1, len(branches)))
    on = [dice((rows.ON_END, rows.ON_END, rows.ON_START)) for _ in branches]
    if shape == "join":
        return joined(branches, on, answer_of(dice, 1, False)[0]._replace(need=need))
    return joined(branches, on, elsewhere(dice, pools)._replace(need=need), calls if shape == "after a join" else ())


def answer_of(dice: Dice, pools: int, beside: bool) -> list[Call]:
    """A sequence at one pool, or at two with a hand-off."""
    prompt, emit = dice.whole(1, 16), dice.whole(1, 10)
    limit = emit + dice((0, 0, 1, 4))
    computed = dice.whole(0, prompt - 1) if dice((False, False, True)) else 0
    if pools == 1:
        return colocated(prompt, emit, limit=limit, computed=computed)
    shape = dice(HANDED)
    work = (dice.exact(1, 12, 2) if "layerwise" in shape else 0.0, dice.exact(0, 6, 2))
    kind = late_first_token if "late" in shape else disaggregated
    calls = kind(prompt, emit, limit=limit, computed=computed, work=work)
    calls = routed(calls) if shape == "routed" else calls
    return [call._replace(beside=0) if beside and call.server == 1 else call for call in calls]


def branch_of(dice: Dice, pools: int, beside: bool) -> list[Call]:
    """Work at a station, a batcher or engines that the user does not see; some of it beside its own kind."""
    if dice((True, False)):
        return [elsewhere(dice, pools)]
    calls = [call._replace(answers=0) for call in answer_of(dice, pools, beside)]
    if len(calls) == 1 and dice((True, False)):
        first, second = after(calls[0], answer_of(dice, 1, False))
        return [first, second._replace(answers=0, beside=0)]
    return calls


def elsewhere(dice: Dice, pools: int) -> Call:
    """A visit to the station or the batcher."""
    return Call(pools + dice((0, 1)), work=dice.exact(0, 6, 2))


def elsewhere_too(dice: Dice, call: Call, stations: int, batchers: int, pools: int, rough: random.Random | None) -> Call:
    """A visit to the station or the batcher at one of as many as there are; ``rough``: with work that hardly ever ends at one instant."""
    if call.server < pools:
        return call
    if call.server > pools:
        return call._replace(server=pools + stations + dice(range(batchers)))
    return call._replace(server=pools + dice(range(stations)), work=call.work * rough.uniform(0.5, 1.5) if rough else call.work)


def labelled(dice: Dice, calls: list[Call], engines: Sequence[rows.Engine], request: int, session: int) -> list[Call]:
    """The visits with priority, session, draws and names: a common beginning of few kinds, then their own, or their session's."""
    priority = dice.whole(0, 2)
    kind, common = (dice.whole(0, 2), dice.whole(0, 12)) if session < 0 else (session % 3, 4 * session % 13)  # in tokens
    own = 1000 * (13 * kind + common + 39 * (session if session >= 0 else 100 + request))
    found = []
    for call in calls:
        names: tuple[int, ...] = ()
        if call.server < len(engines) and dice((True, True, True, False)):
            size = engines[call.server].block_size
            most = (call.prompt + call.handed + call.limit) // size
            names = tuple((100 * kind if i < common // size else 1000 + own) + i for i in range(most))
        draw = (dice.whole(0, 255) / 256, dice.whole(0, 255) / 256)
        found.append(call._replace(priority=priority, session=session, draw=draw, names=names))
    return found
