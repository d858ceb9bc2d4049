"""Small cases of everything the simulator does, and builders for hand-made ones.

`cases()` draws servers, jobs and requests whose times are exact: multiples of powers of two throughout, so that
sums come out the same in any order of addition and ties are ties. `rough_cases()` gives the same shapes with costs and
arrivals that have full mantissas and context slopes for every batch size, where ties do not happen.
"""

import random
from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from mist_dse import rows
from tests.sharing import shared_costs


class Case(NamedTuple):
    """What `simulate` takes."""

    servers: rows.Servers
    jobs: rows.Jobs
    requests: rows.Requests


class Call(NamedTuple):
    """One visit of a hand-made job; indices (lease, frees, edges) count from the request's first visit."""

    server: int
    prompt: int = 0
    emit: int = 0
    limit: int = 0  # 0: emit
    computed: int = 0
    handed: int = 0
    work: float = 0.0
    need: int = 0
    lease: int = -1
    keep: int = 0
    frees: int = -1
    answers: int = 1
    edges: tuple[tuple[int, int], ...] = ()  # (visit, ON_END or ON_START)


def simple_cost(
    *,
    base: float = 0.0,
    per_token: float = 0.0,
    per_seq: float = 0.0,
    per_context: float = 0.0,
    knots: Sequence[float] = (0.0, 8.0, 16.0, 32.0),
    bend: float = 0.0,
    any_batch: bool = True,
    seqs: int = 8,
    tokens: int = 32,
    quad: float = 0.0,
    window_quad: float = 0.0,
    window: float = 16.0,
    read: float = 0.0,
    prefill_overhead: float = 0.0,
    mixing: float = 1.0,
    host: tuple[float, float, float] = (0.0, 0.0, 0.0),
    asynchronous: bool = False,
    stage_share: float = 1.0,
) -> rows.StepCost:
    """A step of T tokens, S decodes of K context tokens lasts base + per_token T + per_seq S + per_context K.

    ``bend`` adds to the context slope from the second knot on. Without ``any_batch`` only batches of 1, 2, 4, ...
    have a slope over the context, since K/S is exact for those alone.
    """
    sizes = np.arange(seqs + 1, dtype=float)
    x = np.asarray(knots, float)
    sloped = sizes if any_batch else np.where([s > 0 and s & (s - 1) == 0 for s in range(seqs + 1)], sizes, 0.0)
    attention = sloped[:, None] * (per_context * x + bend * np.maximum(x - x[1], 0.0))
    device = base + (per_token + per_seq) * sizes[:, None] + attention
    hosts = (host[0] + host[1] * sizes)[:, None]
    return rows.StepCost(
        token_time=base + per_token * np.arange(tokens + 1, dtype=np.float64),
        sequence_time=per_seq * sizes,
        decode_attention=attention,
        decode_step=np.maximum(device, hosts) if asynchronous else device + hosts,
        knots=x,
        quad=quad,
        window_quad=window_quad,
        window=window,
        read=read,
        prefill_overhead=prefill_overhead,
        mixing=mixing,
        host_step=host[0],
        host_sequence=host[1],
        host_prefill=host[2],
        asynchronous=asynchronous,
        stage_share=stage_share,
    )


def simple_engine(**changes: Any) -> rows.Engine:
    """One chunked engine of 4 sequences and 8 tokens a step, 64 blocks of 4 tokens and no front end, but for the changes."""
    engine = rows.Engine(replicas=1, ranks=1, lanes=1, policy=rows.CHUNKED, router=rows.ROUND_ROBIN, max_num_seqs=4,
                         max_num_batched_tokens=8, long_prefill_threshold=0, blocks=64, block_size=4, watermark=0, reserve_full=False,
                         max_model_len=1000, front_end=0.0, front_end_token=0.0, client=0.0)  # fmt: skip
    return engine._replace(**changes)


def servers_of(engines: Sequence[tuple[rows.Engine, rows.StepCost]], stations: Sequence[rows.Station] = ()) -> rows.Servers:
    """Servers with empty loads, which no simulator reads."""
    count = len(engines)
    return rows.Servers(
        engines=tuple(engine for engine, _ in engines),
        costs=tuple(cost for _, cost in engines),
        loads=(rows.Load(*([0.0] * len(rows.Load._fields))),) * count,
        stations=tuple(stations),
        names=tuple(f"engine{i}" for i in range(count)) + tuple(f"station{i}" for i in range(len(stations))),
    )


def jobs_of(requests: Sequence[Sequence[Call]]) -> rows.Jobs:
    """The job table of hand-made visits."""
    calls = [call for request in requests for call in request]
    offsets = np.cumsum([0] + [len(request) for request in requests])
    base = [int(offset) for offset, request in zip(offsets[:-1], requests, strict=True) for _ in request]
    edges = [[(at + to, on) for to, on in call.edges] for at, call in zip(base, calls, strict=True)]

    def ints(values: Sequence[int]) -> rows.Ints:
        return np.array(values, np.int64)

    return rows.Jobs(
        first=offsets.astype(np.int64),
        server=ints([call.server for call in calls]),
        prompt=ints([call.prompt for call in calls]),
        computed=ints([call.computed for call in calls]),
        emit=ints([call.emit for call in calls]),
        limit=ints([call.limit or call.emit for call in calls]),
        handed=np.array([call.handed for call in calls], np.int8),
        work=np.array([call.work for call in calls], float),
        need=ints([call.need for call in calls]),
        lease=ints([at + call.lease if call.lease >= 0 else -1 for at, call in zip(base, calls, strict=True)]),
        keep=np.array([call.keep for call in calls], np.int8),
        frees=ints([at + call.frees if call.frees >= 0 else -1 for at, call in zip(base, calls, strict=True)]),
        answers=np.array([call.answers for call in calls], np.int8),
        edge_first=np.cumsum([0] + [len(out) for out in edges]).astype(np.int64),
        edge_to=ints([to for out in edges for to, _ in out]),
        edge_on=np.array([on for out in edges for _, on in out], np.int8),
    )


def requests_of(
    arrival: Sequence[float], lengths: Sequence[tuple[int, int]], *, clients: int = 0, think: Sequence[float] = ()
) -> rows.Requests:
    """Requests with (input, output) lengths."""
    count = len(arrival)
    return rows.Requests(
        arrival=np.array(arrival, float),
        input_tokens=np.array([tokens for tokens, _ in lengths], np.int64),
        output_tokens=np.array([tokens for _, tokens in lengths], np.int64),
        max_tokens=np.array([tokens for _, tokens in lengths], np.int64),
        cached_tokens=np.zeros(count, np.int64),
        think=np.array(think if len(think) else [0.0] * count, float),
        clients=clients,
        nominal_rate=nan,
    )


def colocated(prompt: int, emit: int, *, limit: int = 0, computed: int = 0) -> list[Call]:
    """Prefill and decode in one visit of server 0."""
    return [Call(0, prompt, emit, limit, computed)]


def disaggregated(prompt: int, emit: int, *, limit: int = 0, computed: int = 0, work: tuple[float, float] = (0.0, 0.0)) -> list[Call]:
    """Prefill on server 0, hand-off over server 2, decode on server 1; the first token comes from prefill.

    ``work`` is (what may start with prefill, what follows it); without the first the hand-off is whole, else layer by layer.
    """
    limit = limit or emit
    if limit == 1:
        return colocated(prompt, 1, computed=computed)
    if emit == 1:
        return colocated(prompt, 1, limit=limit, computed=computed)
    decode = Call(1, prompt, emit - 1, limit - 1, prompt, handed=1, need=1)
    return handed_over(Call(0, prompt, 1, 1, computed, keep=1), decode, work)


def late_first_token(prompt: int, emit: int, *, limit: int = 0, computed: int = 0, work: tuple[float, float] = (0.0, 0.0)) -> list[Call]:
    """As `disaggregated`, with the first token from decode, which computes the last prompt token again."""
    decode = Call(1, prompt, emit, limit or emit, prompt - 1, need=1)
    return handed_over(Call(0, prompt, 1, 1, computed, keep=1, answers=0), decode, work)


def handed_over(prefill: Call, decode: Call, work: tuple[float, float]) -> list[Call]:
    """Prefill, hand-off and decode joined."""
    early, late = work
    if early == 0.0:
        return [
            prefill._replace(edges=((1, rows.ON_END),)),
            Call(2, work=late, need=1, lease=2, frees=0, edges=((2, rows.ON_END),)),
            decode,
        ]
    return [
        prefill._replace(edges=((1, rows.ON_START), (2, rows.ON_END))),
        Call(2, work=early, need=1, lease=3, edges=((3, rows.ON_END),)),
        Call(2, work=late, need=1, frees=0, edges=((3, rows.ON_END),)),
        decode._replace(need=2),
    ]


def routed(calls: list[Call]) -> list[Call]:
    """A hand-over whose decode side reserves nothing: the router places it when it is ready."""
    return [call._replace(lease=-1) for call in calls]


def after_lookup(calls: list[Call], work: float, *, server: int) -> list[Call]:
    """The same visits after one at a station."""
    moved = [
        call._replace(
            need=call.need or 1,
            lease=call.lease + 1 if call.lease >= 0 else -1,
            frees=call.frees + 1 if call.frees >= 0 else -1,
            edges=tuple((to + 1, on) for to, on in call.edges),
        )
        for call in calls
    ]
    return [Call(server, work=work, edges=((1, rows.ON_END),)), *moved]


def dyadic(low: int, high: int, per: int = 64) -> st.SearchStrategy[float]:
    """Multiples of 1/per from low/per to high/per."""
    return st.integers(low, high).map(lambda n: n / per)


WAYS: dict[str, tuple[int, ...]] = {
    "reserve_output": (False, False, True),
    "whole_prompts": (False, False, True),
    "stream_interval": (1, 1, 2, 3, 7),
    "receive_interval": (1, 1, 2, 3, 6),
    "wait_steps": (0, 1, 2, 5),
    "wait_tokens": (0, 4, 12, 30),
    "balance_steps": (0, 2, 5),
}


@st.composite
def engines(draw: st.DrawFn) -> rows.Engine:
    """Engine pools small enough to run short of everything."""
    front = draw(st.sampled_from([(0.0, 0.0, 0.0), (0.25, 0.0, 0.0), (0.25, 0.125, 0.5), (0.0, 0.0, 1.0)]))
    seqs = draw(st.integers(1, 5))
    block_size = draw(st.integers(1, 5))
    policy = draw(st.sampled_from([rows.CHUNKED, rows.CHUNKED, rows.CONTINUOUS, rows.PREFILL_FIRST, rows.STATIC]))
    plain = draw(st.booleans())  # half of the engines have no ways of their own
    return simple_engine(
        replicas=draw(st.integers(1, 3)),
        ranks=draw(st.integers(1, 2)),
        lanes=draw(st.integers(1, 2)),
        policy=policy,
        router=draw(st.sampled_from([rows.ROUND_ROBIN, rows.JOIN_SHORTEST_QUEUE])),
        max_num_seqs=seqs,
        max_num_batched_tokens=max(draw(st.integers(2, 24)), seqs if policy == rows.CHUNKED else 0),
        long_prefill_threshold=draw(st.sampled_from([0, 0, 1, 3, 8])),
        blocks=draw(st.integers(24, 80)) // block_size,
        block_size=block_size,
        watermark=draw(st.sampled_from([0, 0, 1, 2])),
        reserve_full=draw(st.booleans()),
        max_model_len=draw(st.sampled_from([1000, 1000, 1000, 28])),
        front_end=front[0],
        front_end_token=front[1],
        client=front[2],
        front_end_output=draw(st.sampled_from([0.0, 0.0, 0.125])),
        **({} if plain else {name: draw(st.sampled_from(values)) for name, values in WAYS.items()}),
    )


@st.composite
def exact_costs(draw: st.DrawFn) -> rows.StepCost:
    """Costs that add up without rounding."""
    return simple_cost(
        base=draw(dyadic(1, 8, 4)),
        per_token=draw(dyadic(0, 4, 4)),
        per_seq=draw(dyadic(0, 2, 4)),
        per_context=draw(dyadic(0, 2, 8)),
        bend=draw(dyadic(0, 2, 8)),
        any_batch=False,
        tokens=draw(st.sampled_from([4, 40])),
        quad=draw(dyadic(0, 2)),
        window_quad=draw(dyadic(0, 2)),
        window=draw(st.sampled_from([4.0, 1e9])),
        read=draw(dyadic(0, 4, 8)),
        prefill_overhead=draw(dyadic(0, 2, 4)),
        mixing=draw(st.sampled_from([1.0, 1.5])),
        host=draw(st.sampled_from([(0.0, 0.0, 0.0), (0.5, 0.25, 1.0), (4.0, 1.0, 2.0)])),
        asynchronous=draw(st.booleans()),
        stage_share=draw(st.sampled_from([1.0, 0.5, 0.25])),
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


@st.composite
def stations(draw: st.DrawFn) -> rows.Station:
    """Stations whose shares stay powers of two: one or two slots, or room for all."""
    slots = draw(st.sampled_from([1, 2, 1000]))
    rate = draw(st.sampled_from([0.5, 1.0, 4.0]))
    cap = draw(st.sampled_from([0.5, 1.0, 4.0]))
    return rows.Station(rate if slots < 3 else 1000.0 * cap, cap, slots, draw(st.sampled_from([0.0, 0.5])))


SHAPES = ("whole", "layerwise", "late", "late layerwise", "routed")


@st.composite
def visits(draw: st.DrawFn, shapes: Sequence[str], lookup: int) -> list[Call]:
    """The visits of one request, after one at station ``lookup`` unless that is 0."""
    prompt = draw(st.integers(1, 20))
    emit = draw(st.integers(1, 12))
    limit = emit + draw(st.sampled_from([0, 0, 1, 4]))
    computed = draw(st.integers(0, prompt - 1)) if draw(st.booleans()) else 0
    shape = draw(st.sampled_from(shapes))
    if shape == "colocated":
        calls = colocated(prompt, emit, limit=limit, computed=computed)
    else:
        work = (draw(dyadic(1, 12, 2)) if "layerwise" in shape else 0.0, draw(dyadic(0, 6, 2)))
        kind = late_first_token if "late" in shape else disaggregated
        calls = kind(prompt, emit, limit=limit, computed=computed, work=work)
    calls = routed(calls) if shape == "routed" else calls
    return after_lookup(calls, draw(dyadic(0, 6, 2)), server=lookup) if lookup else calls


@st.composite
def arrivals(draw: st.DrawFn, count: int) -> tuple[list[float], list[float], int]:
    """(arrival, think, clients): all at once, open, or closed."""
    kind = draw(st.sampled_from(["once", "open", "closed"]))
    if kind == "once":
        return [0.0] * count, [0.0] * count, 0
    times = sorted(draw(st.lists(dyadic(0, 64 * 20), min_size=count, max_size=count)))
    if kind == "open":
        return times, [0.0] * count, 0
    think = draw(st.lists(dyadic(0, 128), min_size=count, max_size=count))
    return times, think, draw(st.integers(1, 4))


@st.composite
def cases(draw: st.DrawFn, *, exact: bool = True) -> Case:
    """Up to 25 requests at one pool, or at two with a hand-off between them, with or without a look-up before."""
    pools = draw(st.sampled_from([1, 2]))
    count = draw(st.integers(1, 25))
    lookup = draw(st.sampled_from([0, pools]))
    shapes = ("colocated",) if pools == 1 else draw(st.sampled_from([*((shape,) for shape in SHAPES), SHAPES]))
    called = [draw(visits(shapes, lookup)) for _ in range(count)]
    times, think, clients = draw(arrivals(count))
    if exact:
        costs = [draw(exact_costs()) for _ in range(pools)]
    else:
        seed = draw(st.integers(0, 2**32 - 1))
        costs = [rough_cost(seed + i, draw(st.sampled_from([1.0, 0.4])), draw(st.booleans())) for i in range(pools)]
        chance = random.Random(seed)
        times = sorted(chance.uniform(0.0, 30.0) for _ in times)
        think = [chance.uniform(0.0, 2.0) for _ in think]
    machines = [(draw(engines()), cost) for cost in costs]
    machines = [(engine, draw(shared_costs(cost, exact=exact)) if engine.ranks > 1 else cost) for engine, cost in machines]
    servers = servers_of(machines, [draw(stations())])
    lengths = [(max(call.prompt for call in calls), sum(call.emit for call in calls if call.answers)) for calls in called]
    return Case(servers, jobs_of(called), requests_of(times, lengths, clients=clients, think=think))


def rough_cases() -> st.SearchStrategy[Case]:
    """Cases without ties, with any batch size sloped over the context."""
    return cases(exact=False)
