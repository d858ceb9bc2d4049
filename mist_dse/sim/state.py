"""The state of a run: arrays of records, one array per noun, so that a visit's fields share a cache line.

Everything that the compiled functions touch is in one `State`; its types do not depend on how many pools there are, so the
kernel compiles once. Indices: pool p, replica r (over all pools), rank q = first_rank[p] + (r - first_replica[p]) * ranks + d,
lane l = first_lane[p] + (r - first_replica[p]) * lanes + i, group g = one lane of one rank.
"""

from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import STATIC, Jobs, Requests, Servers


def _record(integers: str, reals: str = "") -> np.dtype[np.void]:
    """A record type with the named 8-byte fields."""
    return np.dtype([(name, "i8") for name in integers.split()] + [(name, "f8") for name in reals.split()], align=True)


NEW, INTAKE, WAITING, RUNNING, DECODING, LEASING, QUEUED, SERVED, ENDED = range(9)
"""States of a visit: not released; front end; engine queue; admitted with prompt left; one token a step; waiting for a
lease; waiting at a station; at a station; done."""

VISIT = _record(
    "request server prompt computed emit emitted limit handed need lease frees keep answers edges edges_end state rank "
    "group held chunk fresh join order finish slot",
    "work ready start end",
)
REQUEST = _record(
    "first last left status preemptions",
    "arrival think admitted first_token last_token end",
)
POOL = _record(
    "replicas ranks lanes policy router max_num_seqs budget threshold blocks block_size watermark reserve_full grows "
    "reserve_output whole_prompts stream_interval receive_interval wait_steps wait_tokens balance_steps waits "
    "max_model_len first_replica first_rank first_lane first_group turn token_at token_last decode_at sequence_at "
    "attention_at shared_at shared_last knots knots_at asynchronous",
    "front_end front_end_token front_end_output client quad window_quad window read prefill_overhead mixing host_step host_sequence "
    "host_prefill stage_share",
)
REPLICA = _record(
    "pool dirty steps tokens peak_seqs peak_blocks peak_tokens since postponed",
    "intake entrance busy pairs contexts",
)
RANK = _record(
    "pool replica waiting leasing inbox free running stalled load",
)
LANE = _record(
    "replica slot spanning anchored taken steps context waits",
    "idle start end anchor",
)
GROUP = _record(
    "rank running partial dues due decodes context count grown members batch_blocks ending step_decodes step_fresh step_context "
    "step_tokens step_chunks step_done",
    "step_time step_pairs",
)
STATION = _record(
    "queue slots active heap_at started",
    "rate cap latency attained last next done",
)
CLOCK = _record(
    "clients next_request lanes dirty timers created admitted comers timers_at comers_at parts dues skip engines ready freed "
    "preempted ended patience",
    "now",
)


EDGE = _record(
    "to on",
)
ENTRY = _record(
    "what tie",
    "key",
)
LINK = _record(
    "prev next",
)
ENDLESS = 2**62
"""A count of steps that is never reached."""
LANES, DIRTY, SETTLING = 0, 1, 2
NONE, ARRIVAL, STEP_END, JOB_END, TIMER = -1, 0, 1, 2, 3
"""Kinds of event, in the order of one instant."""


class State(NamedTuple):
    """All arrays of one run (see the module docstring for the indices)."""

    clock: Any  # [1] CLOCK
    visit: Any
    request: Any
    pool: Any
    replica: Any
    rank: Any
    lane: Any
    group: Any
    station: Any
    edge: Any  # [e] EDGE
    table: Any  # all StepCost tables, flat
    finish: Any  # [groups, max_num_seqs] heap of decoding visits by (finish, order)
    residue: Any  # [groups, block_size] decoding visits by the step in which they need a block
    calendar: Any  # [3, lanes] LANES: heap of active lanes by end; DIRTY, SETTLING: replicas with a change
    entry: Any  # ENTRY: heaps of the stations, then of timers, then of later arrivals
    link: Any  # LINK: visits, visits again (parts), once more (dues), then the sentinels of all lists


def _firsts(counts: list[int]) -> list[int]:
    return [int(total) for total in np.concatenate(([0], np.cumsum(counts)))]


def _visits(jobs: Jobs) -> Any:
    visit = np.zeros(len(jobs.server), VISIT).view(np.recarray)
    for name in ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "lease", "frees", "keep", "answers"):
        visit[name] = getattr(jobs, name)
    visit["request"] = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    visit["edges"], visit["edges_end"] = jobs.edge_first[:-1], jobs.edge_first[1:]
    for name in ("rank", "group", "slot"):
        visit[name] = -1
    for name in ("ready", "start", "end"):
        visit[name] = np.nan
    return visit


def _requests(jobs: Jobs, requests: Requests) -> Any:
    request = np.zeros(len(requests.arrival), REQUEST).view(np.recarray)
    request["first"], request["last"] = jobs.first[:-1], jobs.first[1:]
    request["left"] = np.diff(jobs.first)
    request["status"] = 2
    request["arrival"], request["think"] = requests.arrival, requests.think
    if requests.clients:
        request["arrival"][requests.clients :] = np.nan
    for name in ("admitted", "first_token", "last_token", "end"):
        request[name] = np.nan
    return request


def _pools(servers: Servers) -> Any:
    pool = np.zeros(len(servers.engines), POOL).view(np.recarray)
    ranks, lanes, groups, replicas = [], [], [], []
    for p, (engine, cost) in enumerate(zip(servers.engines, servers.costs, strict=True)):
        for name in ("replicas", "ranks", "lanes", "policy", "router", "max_num_seqs", "blocks", "block_size", "watermark", "reserve_full",
                     "reserve_output", "whole_prompts", "stream_interval", "receive_interval", "wait_steps", "wait_tokens", "balance_steps",
                     "max_model_len", "front_end", "front_end_token", "front_end_output", "client"):  # fmt: skip
            pool[name][p] = getattr(engine, name)
        batches, balances = engine.wait_steps > 0 and engine.wait_tokens > 0, engine.balance_steps > 0
        pool["waits"][p] = batches if engine.ranks == 1 else balances
        pool["grows"][p] = engine.policy != STATIC and not engine.reserve_output
        pool["budget"][p], pool["threshold"][p] = engine.max_num_batched_tokens, engine.long_prefill_threshold
        for name in ("quad", "window_quad", "window", "read", "prefill_overhead", "mixing", "host_step", "host_sequence", "host_prefill",
                     "asynchronous", "stage_share"):  # fmt: skip
            pool[name][p] = getattr(cost, name)
        pool["token_last"][p], pool["knots"][p] = len(cost.token_time) - 1, len(cost.knots)
        pool["shared_last"][p] = cost.shared_time.shape[1] - 1
        replicas.append(engine.replicas)
        ranks.append(engine.replicas * engine.ranks)
        lanes.append(engine.replicas * engine.lanes)
        groups.append(engine.replicas * engine.ranks * engine.lanes)
    for name, counts in (("first_replica", replicas), ("first_rank", ranks), ("first_lane", lanes), ("first_group", groups)):
        pool[name] = _firsts(counts)[:-1]
    return pool


TABLES = (
    ("token_at", "token_time"),
    ("sequence_at", "sequence_time"),
    ("attention_at", "decode_attention"),
    ("decode_at", "decode_step"),
    ("shared_at", "shared_time"),
    ("knots_at", "knots"),
)


def _table(servers: Servers, pool: Any) -> Any:
    """All step-cost tables end to end; writes where each begins into ``pool``."""
    parts = [np.ravel(getattr(cost, name)) for cost in servers.costs for _, name in TABLES]
    starts = np.reshape(_firsts([len(part) for part in parts])[:-1], (-1, len(TABLES)))
    for k, (field, _) in enumerate(TABLES):
        pool[field] = starts[:, k]
    return np.concatenate([*parts, np.zeros(1)]).astype(np.float64)


def _edges(jobs: Jobs) -> Any:
    edge = np.zeros(len(jobs.edge_to), EDGE).view(np.recarray)
    edge["to"], edge["on"] = jobs.edge_to, jobs.edge_on
    return edge


def _engine_arrays(pool: Any) -> tuple[Any, Any, Any, Any]:
    replica = np.zeros(int(pool["replicas"].sum()), REPLICA).view(np.recarray)
    rank = np.zeros(int((pool["replicas"] * pool["ranks"]).sum()), RANK).view(np.recarray)
    lane = np.zeros(int((pool["replicas"] * pool["lanes"]).sum()), LANE).view(np.recarray)
    group = np.zeros(int((pool["replicas"] * pool["ranks"] * pool["lanes"]).sum()), GROUP).view(np.recarray)
    replica["pool"] = np.repeat(np.arange(len(pool)), pool["replicas"])
    rank["pool"] = np.repeat(np.arange(len(pool)), pool["replicas"] * pool["ranks"])
    rank["replica"] = np.repeat(np.arange(len(replica)), pool["ranks"][replica["pool"]])
    rank["free"] = pool["blocks"][rank["pool"]]
    lane["replica"] = np.repeat(np.arange(len(replica)), pool["lanes"][replica["pool"]])
    group["rank"] = np.repeat(np.arange(len(rank)), pool["lanes"][rank["pool"]])
    lane["slot"] = -1
    group["due"] = ENDLESS
    return replica, rank, lane, group


def _stations(servers: Servers, visit: Any) -> Any:
    station = np.zeros(len(servers.stations), STATION).view(np.recarray)
    for k, row in enumerate(servers.stations):
        for name in ("slots", "rate", "cap", "latency"):
            station[name][k] = getattr(row, name)
    counts = np.bincount(visit["server"], minlength=len(servers.engines) + len(servers.stations))[len(servers.engines) :]
    station["heap_at"] = _firsts([int(count) for count in counts])[:-1] if len(station) else []
    station["next"] = np.inf
    return station


def initial_state(servers: Servers, jobs: Jobs, requests: Requests, *, skip: bool) -> State:
    """The state before the first event."""
    visit, pool = _visits(jobs), _pools(servers)
    replica, rank, lane, group = _engine_arrays(pool)
    station = _stations(servers, visit)
    clock = np.zeros(1, CLOCK).view(np.recarray)
    n, v, at_stations = len(requests.arrival), len(visit), int((visit["server"] >= len(pool)).sum())
    clock["clients"], clock["skip"], clock["engines"] = requests.clients, skip, len(pool)
    clock["parts"], clock["dues"] = v, 2 * v
    clock["timers_at"], clock["comers_at"] = at_stations, at_stations + v + len(replica)
    clock["patience"] = 100_000 + 4 * int(jobs.prompt.sum() + jobs.emit.sum()) + 4 * (v + n)
    entries = at_stations + v + len(replica) + (n if requests.clients else 0)
    sentinels = 3 * v + np.arange(3 * len(rank) + 3 * len(group) + len(station) + 1)
    each = np.split(sentinels, np.cumsum([len(rank)] * 3 + [len(group)] * 3 + [len(station)]))
    rank["waiting"], rank["leasing"], rank["inbox"] = each[:3]
    group["running"], group["partial"], group["dues"], station["queue"], clock["ready"] = each[3:]
    link = np.zeros(3 * v + len(sentinels), LINK).view(np.recarray)
    link["prev"] = link["next"] = np.arange(len(link))
    seqs, block = int(pool["max_num_seqs"].max(initial=1)), int(pool["block_size"].max(initial=1))
    return State(
        clock, visit, _requests(jobs, requests), pool, replica, rank, lane, group, station, _edges(jobs), _table(servers, pool),
        np.zeros((len(group), seqs), np.int64), np.zeros((len(group), block), np.int64), np.zeros((3, max(len(lane), 1)), np.int64),
        np.zeros(entries + 1, ENTRY).view(np.recarray), link,
    )  # fmt: skip
