"""Small cases of requests whose branches race: the first that ends, or the second, cancels the others; and time-outs.

A request is a first visit or none, two or three branches, and a visit that joins them or none. Times are exact as in `strategies`,
or rough.
"""

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from mist_dse import rows
from tests.strategies import (
    Call,
    Case,
    after_lookup,
    arrivals,
    disaggregated,
    dyadic,
    engines,
    exact_costs,
    jobs_of,
    late_first_token,
    requests_of,
    rough_cost,
    routed,
    servers_of,
    stations,
)


def shifted(call: Call, by: int) -> Call:
    """The call, ``by`` places further back among its request's visits."""
    return call._replace(
        lease=call.lease + by if call.lease >= 0 else -1,
        frees=call.frees + by if call.frees >= 0 else -1,
        edges=tuple((to + by, on) for to, on in call.edges),
    )


def linked(call: Call, targets: Sequence[int], on: int) -> Call:
    """The call with further edges."""
    return call._replace(edges=(*call.edges, *((to, on) for to in targets)))


def raced(
    root: Call | None, branches: Sequence[Sequence[Call]], join: Call | None, *, joined_cancels: bool, cancel_first: bool
) -> list[Call]:
    """One request: what starts each branch is the root's end, each branch's last visit signals the join.

    Whoever cancels is the join at its end, or each branch's last visit at its own (before its signal, or after it).
    """
    calls = [] if root is None else [root]
    members = []
    for branch in branches:
        here = [shifted(call, len(calls)) for call in branch]
        if root is not None:
            here[0] = here[0]._replace(need=here[0].need + 1)
            calls[0] = linked(calls[0], [len(calls)], rows.ON_END)
        members.append(list(range(len(calls), len(calls) + len(here))))
        calls += here
    signalled = [] if join is None else [len(calls)]
    for mine in members:
        others = [] if joined_cancels else [v for other in members if other is not mine for v in other]
        last = calls[mine[-1]]
        if cancel_first:
            calls[mine[-1]] = linked(linked(last, others, rows.CANCEL), signalled, rows.ON_END)
        else:
            calls[mine[-1]] = linked(linked(last, signalled, rows.ON_END), others, rows.CANCEL)
    if join is not None:
        everyone = [v for mine in members for v in mine] if joined_cancels else []
        calls.append(linked(join, everyone, rows.CANCEL))
    return calls


@st.composite
def engine_calls(draw: st.DrawFn, pools: int) -> Call:
    """A visit of one of the first ``pools`` servers."""
    prompt, emit = draw(st.integers(1, 12)), draw(st.integers(1, 10))
    limit = emit + draw(st.sampled_from([0, 0, 1, 4]))
    computed = draw(st.integers(0, prompt - 1)) if draw(st.booleans()) else 0
    return Call(draw(st.integers(0, pools - 1)), prompt, emit, limit, computed, answers=draw(st.integers(0, 1)))


def station_calls(pools: int) -> st.SearchStrategy[Call]:
    """A visit of one of the two stations after the pools."""
    return st.builds(lambda which, work: Call(pools + which, work=work), st.integers(0, 1), dyadic(0, 32, 2))


@st.composite
def branches_of(draw: st.DrawFn, pools: int) -> list[Call]:
    """One visit, two in a row, or with two pools a prefill, a hand-off and a decode."""
    kinds = ["engine", "engine", "station", "looked up", *(["handed", "handed", "handed"] if pools == 2 else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "station":
        return [draw(station_calls(pools))]
    if kind == "handed":
        make = draw(st.sampled_from([disaggregated, late_first_token]))
        work = (draw(st.sampled_from([0.0, 2.0, 5.5])), draw(dyadic(0, 12, 2)))
        calls = make(draw(st.integers(1, 12)), draw(st.integers(1, 10)), work=work)
        return routed(calls) if draw(st.integers(0, 3)) == 0 else calls
    calls = [draw(engine_calls(pools))]
    return after_lookup(calls, draw(dyadic(0, 12, 2)), server=pools) if kind == "looked up" else calls


@st.composite
def time_outs(draw: st.DrawFn, pools: int) -> list[Call]:
    """An engine visit, and a station visit from the same moment or from its start whose end cancels it; its end cancels that one."""
    work, on_start = draw(dyadic(1, 40, 2)), draw(st.booleans())
    clock = Call(pools + 1, work=work, need=int(on_start), edges=((0, rows.CANCEL),))
    started = ((1, rows.ON_START),) if on_start else ()
    return [draw(engine_calls(pools))._replace(edges=(*started, (1, rows.CANCEL))), clock]


@st.composite
def racing_visits(draw: st.DrawFn, pools: int) -> list[Call]:
    """The visits of one request."""
    if draw(st.integers(0, 4)) == 0:
        return draw(time_outs(pools))
    some = st.one_of(engine_calls(pools), station_calls(pools))
    root = draw(st.one_of(st.none(), some))
    branches = draw(st.lists(branches_of(pools), min_size=2, max_size=3))
    need = draw(st.sampled_from([1, 1, 2])) if len(branches) == 3 else 1
    join = draw(some) if need == 2 else draw(st.one_of(some, some, some, st.none()))
    if join is not None:
        join = join._replace(need=need)
    joined_cancels = join is not None and (need == 2 or draw(st.integers(0, 3)) == 0)
    return raced(root, branches, join, joined_cancels=joined_cancels, cancel_first=draw(st.booleans()))


@st.composite
def tight_engines(draw: st.DrawFn) -> rows.Engine:
    """Engines that hold two or three sequences at most."""
    engine = draw(engines())
    return engine._replace(blocks=draw(st.integers(20, 48)) // engine.block_size)


@st.composite
def races(draw: st.DrawFn, *, exact: bool = True) -> Case:
    """Up to 12 requests at one pool or two, and at two stations; every request races its branches or is timed out."""
    pools = draw(st.integers(1, 2))
    called = draw(st.lists(racing_visits(pools), min_size=1, max_size=12))
    times, think, clients = draw(arrivals(len(called)))
    if exact:
        costs = [draw(exact_costs()) for _ in range(pools)]
    else:
        seed = draw(st.integers(0, 2**32 - 1))
        costs = [rough_cost(seed + i, draw(st.sampled_from([1.0, 0.4])), draw(st.booleans())) for i in range(pools)]
        chance = random.Random(seed)
        times = sorted(chance.uniform(0.0, 30.0) for _ in times)
        think = [chance.uniform(0.0, 2.0) for _ in think]
        called = [[call._replace(work=call.work * chance.uniform(0.5, 1.5)) for call in calls] for calls in called]
    servers = servers_of([(draw(tight_engines()), cost) for cost in costs], [draw(stations()), draw(stations())])
    lengths = [(max(call.prompt for call in calls), sum(call.emit for call in calls if call.answers)) for calls in called]
    return Case(servers, jobs_of(called), requests_of(times, lengths, clients=clients, think=think))
