"""The state before the first event, from rows."""

from typing import Any

import numpy as np

from mist_dse.rows import CANCEL, FCFS, SESSION_AFFINITY, STATIC, Jobs, Requests, Servers
from mist_dse.sim.bounds import least_step
from mist_dse.sim.state import (
    ASIDE,
    BATCHER,
    BLOCK,
    CLOCK,
    ENDLESS,
    ENTRY,
    GROUP,
    LANE,
    LINK,
    LOG,
    POOL,
    RANK,
    REPLICA,
    REQUEST,
    STATION,
    VISIT,
    State,
)


def _firsts(counts: list[int]) -> list[int]:
    return [int(total) for total in np.concatenate(([0], np.cumsum(counts)))]


def _visits(jobs: Jobs) -> Any:
    visit = np.zeros(len(jobs.server), VISIT).view(np.recarray)
    for name in ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "lease", "frees", "keep", "answers"):
        visit[name] = getattr(jobs, name)
    visit["request"] = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    visit["fresh"] = jobs.handed
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
    request["follows"] = request["next_turn"] = -1
    if requests.clients:
        request["arrival"][requests.clients :] = np.nan
    if len(requests.follows):
        later = np.flatnonzero(requests.follows >= 0)
        request["follows"] = requests.follows
        request["next_turn"][requests.follows[later]] = later
        request["arrival"][later] = np.nan
    for name in ("admitted", "first_token", "last_token", "end"):
        request[name] = np.nan
    return request


def _pools(servers: Servers, longest: int) -> Any:
    pool = np.zeros(len(servers.engines), POOL).view(np.recarray)
    ranks, lanes, groups, replicas = [], [], [], []
    for p, (engine, cost) in enumerate(zip(servers.engines, servers.costs, strict=True)):
        for name in ("replicas", "ranks", "lanes", "policy", "router", "max_num_seqs", "blocks", "block_size", "watermark", "reserve_full",
                     "reserve_output", "whole_prompts", "stream_interval", "receive_interval", "wait_steps", "wait_tokens", "balance_steps",
                     "packing", "caching", "groups", "heavy_tokens", "heavy_ranks", "guard", "slack", "max_model_len", "front_end",
                     "front_end_token", "front_end_output", "client"):  # fmt: skip
            pool[name][p] = getattr(engine, name)
        batches, balances = engine.wait_steps > 0 and engine.wait_tokens > 0, engine.balance_steps > 0
        pool["waits"][p] = batches if engine.ranks == 1 else balances
        pool["grows"][p] = engine.policy != STATIC and not engine.reserve_output
        pool["budget"][p], pool["threshold"][p] = engine.max_num_batched_tokens, engine.long_prefill_threshold
        for name in ("quad", "window_quad", "window", "read", "prefill_overhead", "mixing", "host_step", "host_sequence", "host_prefill",
                     "asynchronous", "stage_share"):  # fmt: skip
            pool[name][p] = getattr(cost, name)
        pool["token_last"][p], pool["knots"][p] = len(cost.token_time) - 1, len(cost.knots)
        pool["least"][p] = least_step(engine, cost, longest)
        pool["shared_last"][p] = cost.shared_time.shape[1] - 1 if cost.shared_time.size else -1
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


def _stations(servers: Servers) -> Any:
    station = np.zeros(len(servers.stations), STATION).view(np.recarray)
    for k, row in enumerate(servers.stations):
        for name in ("slots", "rate", "cap", "latency", "shared"):
            station[name][k] = getattr(row, name)
        station["together"][k] = servers.shared[row.shared] if row.shared >= 0 else np.inf
    station["next"] = np.inf
    return station


def _batchers(servers: Servers) -> tuple[Any, list[Any]]:
    """The batchers, and their tables of seconds by number of jobs."""
    batcher = np.zeros(len(servers.batchers), BATCHER).view(np.recarray)
    for k, row in enumerate(servers.batchers):
        for name in ("slots", "size", "wait", "work_time"):
            batcher[name][k] = getattr(row, name)
    batcher["times_at"] = _firsts([len(row.time) for row in servers.batchers])[:-1]
    return batcher, [np.asarray(row.time, np.float64) for row in servers.batchers]


def _asides(jobs: Jobs, pool: Any) -> tuple[Any, bool]:
    """What few runs need of a visit, and whether this one does."""
    given = any(len(column) for column in (jobs.priority, jobs.session, jobs.beside, jobs.hash_ids, jobs.draw))
    read = given or bool(((pool["packing"] != FCFS) | (pool["caching"] == 1) | (pool["router"] == SESSION_AFFINITY)).any())
    aside = np.zeros(len(jobs.server) if read else 1, ASIDE).view(np.recarray)
    aside["session"] = aside["beside"] = -1
    for name in ("priority", "beside"):
        if len(getattr(jobs, name)):
            aside[name] = getattr(jobs, name)
    if len(jobs.session):
        aside["session"] = np.where(jobs.session >= 0, np.unique(jobs.session, return_inverse=True)[1], -1)
    if len(jobs.draw):
        aside["draw"], aside["other_draw"] = jobs.draw[:, 0], jobs.draw[:, 1]
    if len(jobs.hash_ids):
        leased = np.zeros(len(jobs.server), bool)
        leased[jobs.lease[jobs.lease >= 0]] = True
        aside["names"] = jobs.hash_first[:-1]
        aside["names_end"] = np.where(leased, jobs.hash_first[:-1], jobs.hash_first[1:])
    return aside, read


class _Shelf:
    """Columns of whole numbers end to end, each known by where it begins."""

    def __init__(self) -> None:
        self.columns: list[Any] = [np.zeros(1, np.int64)]
        self.next = 1

    def put(self, column: Any) -> int:
        self.columns.append(np.ravel(column))
        self.next += self.columns[-1].size
        return int(self.next - self.columns[-1].size)

    def rows(self, counts: Any) -> Any:
        """Where each of many rows of zeros begins, one of so many numbers each."""
        first = self.put(np.zeros(int(counts.sum()), np.int64))
        return first + np.cumsum(counts) - counts


def _named_blocks(jobs: Jobs, pool: Any, rank: Any) -> tuple[Any, Any]:
    """The `BLOCK` records, and every visit's names as whole numbers from 0.

    Room for all blocks that a name or a queue can know at once: no more than there are names, and a run of others before each.
    """
    caching = pool["caching"][rank["pool"]] == 1
    if not caching.any():
        return np.zeros(1, BLOCK).view(np.recarray), np.zeros(0, np.int64)
    names = np.unique(jobs.hash_ids, return_inverse=True)[1].astype(np.int64)
    most = min(len(names), int(rank["free"][caching].sum()))
    block = np.zeros(2 * most + 2 * len(rank) + 2, BLOCK).view(np.recarray)
    block["chain"] = np.append(np.arange(1, len(block)), -1)  # all of them spare
    return block, names


def _shelve(state: State, jobs: Jobs, names: Any, shelf: _Shelf) -> Any:
    """Everything of whole numbers that is not a record; its places go into the records."""
    clock, pool, rank, group, aside = state.clock, state.pool, state.rank, state.group, state.aside
    edges = shelf.put(np.stack([jobs.edge_to, jobs.edge_on.astype(np.int64)], axis=1))
    state.visit["edges"], state.visit["edges_end"] = edges + 2 * jobs.edge_first[:-1], edges + 2 * jobs.edge_first[1:]
    owner = rank["pool"][group["rank"]]
    group["finish_at"], group["residue_at"] = shelf.rows(pool["max_num_seqs"][owner]), shelf.rows(pool["block_size"][owner])
    for name in ("lanes_at", "dirty_at", "settling_at"):
        clock[name] = shelf.put(np.zeros(len(state.lane), np.int64))
    clock["leavers_at"] = shelf.put(np.zeros(len(state.visit) if clock["cancels"][0] else 0, np.int64))
    clock["seat_at"] = shelf.put(np.full((int(aside["session"].max(initial=-1)) + 1, len(pool)), -1))
    buckets = 1 << len(state.block).bit_length()
    clock["bucket_at"], clock["bucket_mask"] = shelf.put(np.full(buckets, -1)), buckets - 1
    clock["name_at"], clock["named_at"] = shelf.put(names), shelf.put(np.full(len(names), -1))
    return np.concatenate(shelf.columns)


def _share_devices(state: State, servers: Servers, shelf: _Shelf) -> None:
    """Who shares a device with others, replicas first; what has one to itself needs no turns."""
    sharers: dict[int, list[int]] = {}
    replicas = 0
    for engine in servers.engines:
        for r in range(engine.replicas if engine.device >= 0 else 0):
            sharers.setdefault(engine.device + r, []).append(replicas + r)
        replicas += engine.replicas
    for b, batcher in enumerate(servers.batchers):
        if batcher.device >= 0:
            sharers.setdefault(batcher.device, []).append(replicas + b)
    shared = [mine for _, mine in sorted(sharers.items()) if len(mine) > 1]
    state.replica["device_no"] = state.batcher["device_no"] = -1
    for e, mine in enumerate(shared):
        for sharer in mine:
            records, at = (state.replica, sharer) if sharer < replicas else (state.batcher, sharer - replicas)
            records["device_no"][at] = e
    first = [shelf.put(mine) for mine in shared]
    rows = np.array([[at, len(mine), -1] for at, mine in zip(first, shared, strict=True)], np.int64)
    state.clock["devices"], state.clock["devices_at"] = len(shared), shelf.put(rows)


def _fill_queues(state: State) -> None:
    """Every rank that caches begins with all its blocks in its queue, as one run without a name."""
    for q in np.flatnonzero((state.pool["caching"][state.rank["pool"]] == 1) & (state.rank["free"] > 0)):
        b, sentinel = int(state.clock["spare"][0]), int(state.rank["queue"][q])
        state.clock["spare"] = state.block["chain"][b]
        state.block[b] = (state.rank["free"][q], -1, 0, -1, q)
        node = int(state.clock["blocks_at"][0]) + b
        state.link[node], state.link[sentinel] = (sentinel, sentinel), (node, node)


class _Nodes:
    """Hands out the sentinels of all lists, from the first free node on."""

    def __init__(self, first: int) -> None:
        self.next = first

    def __call__(self, count: int) -> Any:
        self.next += count
        return np.arange(self.next - count, self.next)


def _lists(state: State, workers: list[int], shelf: _Shelf) -> Any:
    """The nodes of all lists: of visits, sentinels and blocks; the sentinels go into the records."""
    nodes = _Nodes(3 * len(state.visit))
    for records, names in (
        (state.rank, "waiting leasing inbox queue"), (state.group, "running partial dues"), (state.station, "queue"),
        (state.batcher, "queue"), (state.clock, "ready"),
    ):  # fmt: skip
        for name in names.split():
            records[name] = nodes(len(records))
    state.batcher["worker_at"] = shelf.put(nodes(sum(workers))) + np.cumsum([0, *workers])[:-1]
    state.clock["blocks_at"] = nodes.next
    link = np.zeros(nodes.next + len(state.block), LINK).view(np.recarray)
    link["prev"] = link["next"] = np.arange(len(link))
    return link


def _calendars(state: State, requests: Requests, workers: list[int]) -> Any:
    """Room for the heaps of stations, batchers, timers and later arrivals; where they begin goes into the records."""
    counts = np.bincount(state.visit["server"], minlength=int(state.clock["batchers"][0]))[len(state.pool) :][: len(state.station)]
    *heaps, timers, comers = _firsts([*map(int, counts), *workers, len(state.visit) + len(state.replica)])
    state.station["heap_at"], state.batcher["heap_at"] = heaps[: len(counts)], heaps[len(counts) :]
    state.clock["timers_at"], state.clock["comers_at"] = timers, comers
    later = len(requests.arrival) if requests.clients or len(requests.follows) else 0
    return np.zeros(comers + later + 1, ENTRY).view(np.recarray)


def initial_state(servers: Servers, jobs: Jobs, requests: Requests, *, skip: bool, log: int = 0) -> State:
    """The state before the first event, with room for so many rows of the ``log`` of steps."""
    longest = int((jobs.prompt + jobs.handed + jobs.limit).max(initial=0))
    visit, pool, clock, shelf = _visits(jobs), _pools(servers, longest), np.zeros(1, CLOCK).view(np.recarray), _Shelf()
    replica, rank, lane, group = _engine_arrays(pool)
    station, (batcher, times) = _stations(servers), _batchers(servers)
    aside, read = _asides(jobs, pool)
    block, names = _named_blocks(jobs, pool, rank)
    table = _table(servers, pool)
    batcher["times_at"] += len(table)
    table = np.concatenate([table, *times, np.zeros(len(LOG) * log)])
    workers = [min(row.slots, int((visit["server"] == len(pool) + len(station) + b).sum())) for b, row in enumerate(servers.batchers)]
    batcher["slots"] = workers
    clock["clients"], clock["skip"], clock["engines"], clock["batchers"] = requests.clients, skip, len(pool), len(pool) + len(station)
    clock["parts"], clock["dues"], clock["aside"], clock["cancels"] = len(visit), 2 * len(visit), read, (jobs.edge_on == CANCEL).any()
    clock["log_at"], clock["room"] = len(table) - len(LOG) * log, log
    clock["patience"] = 100_000 + 4 * int(jobs.prompt.sum() + jobs.emit.sum()) + 4 * (len(visit) + len(requests.arrival))
    state = State(clock, visit, aside, _requests(jobs, requests), pool, replica, rank, lane, group, station, batcher, table, block,
                  np.zeros(0), np.zeros(0), np.zeros(0))  # fmt: skip
    state = state._replace(entry=_calendars(state, requests, workers), link=_lists(state, workers, shelf))
    _fill_queues(state)
    _share_devices(state, servers, shelf)
    return state._replace(whole=_shelve(state, jobs, names, shelf))
