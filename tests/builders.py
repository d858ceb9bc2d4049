"""Builders of hand-made cases: engines, step costs, visits and the shapes that requests have."""

from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

import numpy as np

from mist_dse import rows


class Case(NamedTuple):
    """What `simulate` takes."""

    servers: rows.Servers
    jobs: rows.Jobs
    requests: rows.Requests


class Call(NamedTuple):
    """One visit of a hand-made job; indices (lease, frees, beside, edges) count from the request's first visit."""

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
    edges: tuple[tuple[int, int], ...] = ()  # (visit, ON_END, ON_START or CANCEL)
    beside: int = -1
    priority: int = 0
    session: int = -1
    draw: tuple[float, float] = (0.0, 0.0)
    names: tuple[int, ...] = ()


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


def servers_of(
    engines: Sequence[tuple[rows.Engine, rows.StepCost]], stations: Sequence[rows.Station] = (), batchers: Sequence[rows.Batcher] = ()
) -> rows.Servers:
    """Servers with empty loads, which no simulator reads."""
    count = len(engines)
    return rows.Servers(
        engines=tuple(engine for engine, _ in engines),
        costs=tuple(cost for _, cost in engines),
        loads=(rows.Load(*([0.0] * len(rows.Load._fields))),) * count,
        stations=tuple(stations),
        names=tuple(
            f"{kind}{i}" for kind, n in (("engine", count), ("station", len(stations)), ("batcher", len(batchers))) for i in range(n)
        ),
        batchers=tuple(batchers),
    )


def jobs_of(requests: Sequence[Sequence[Call]]) -> rows.Jobs:
    """The job table of hand-made visits; columns in which all of them have the default are left out."""
    calls = [call for request in requests for call in request]
    offsets = np.cumsum([0] + [len(request) for request in requests])
    base = [int(offset) for offset, request in zip(offsets[:-1], requests, strict=True) for _ in request]
    edges = [[(at + to, on) for to, on in call.edges] for at, call in zip(base, calls, strict=True)]

    def ints(values: Sequence[int]) -> rows.Ints:
        return np.array(values, np.int64)

    def unless(default: int, values: Sequence[int]) -> rows.Ints:
        return rows.NONE if all(value == default for value in values) else ints(values)

    named = any(call.names for call in calls)

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
        priority=unless(0, [call.priority for call in calls]),
        session=unless(-1, [call.session for call in calls]),
        draw=np.array([call.draw for call in calls]) if any(call.draw != (0.0, 0.0) for call in calls) else rows.NO_DRAWS,
        beside=unless(-1, [at + call.beside if call.beside >= 0 else -1 for at, call in zip(base, calls, strict=True)]),
        hash_first=np.cumsum([0] + [len(call.names) for call in calls]).astype(np.int64) if named else rows.NONE,
        hash_ids=ints([name for call in calls for name in call.names]) if named else rows.NONE,
    )


def requests_of(
    arrival: Sequence[float],
    lengths: Sequence[tuple[int, int]],
    *,
    clients: int = 0,
    think: Sequence[float] = (),
    follows: Sequence[int] = (),
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
        follows=np.array(follows, np.int64) if len(follows) else rows.NONE,
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


def shifted(call: Call, by: int) -> Call:
    """A visit whose request has so many more before it."""
    later = {name: at + by for name in ("lease", "frees", "beside") if (at := getattr(call, name)) >= 0}
    return call._replace(edges=tuple((to + by, on) for to, on in call.edges), **later)


def after(first: Call, calls: Sequence[Call]) -> list[Call]:
    """The same visits after another one, which releases those that were released on arrival."""
    ready = tuple((i + 1, rows.ON_END) for i, call in enumerate(calls) if call.need == 0)
    return [first._replace(edges=(*first.edges, *ready)), *(shifted(call, 1)._replace(need=call.need or 1) for call in calls)]


def joined(branches: Sequence[Sequence[Call]], on: Sequence[int], join: Call, tail: Sequence[Call] = ()) -> list[Call]:
    """Branches whose last visits signal a join, at their end or start; it cancels those that it does not wait for."""
    calls: list[Call] = []
    at = sum(map(len, branches))
    for branch, when in zip(branches, on, strict=True):
        moved = [shifted(call, len(calls)) for call in branch]
        calls += [*moved[:-1], moved[-1]._replace(edges=(*moved[-1].edges, (at, when)))]
    cancels = tuple((i, rows.CANCEL) for i in range(at)) if join.need < len(branches) else ()
    last, *rest = [shifted(call, at) for call in after(join, tail)]
    return [*calls, last._replace(edges=(*cancels, *last.edges)), *rest]
