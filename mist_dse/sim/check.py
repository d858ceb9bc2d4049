"""Rows that no simulation can run are refused before it starts: one line that names the table, the column and the rule."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, get_type_hints

import numpy as np

from mist_dse.rows import (
    CANCEL,
    CHUNKED,
    MIXED,
    POWER_OF_TWO,
    RANDOM,
    SESSION_AFFINITY,
    STATIC,
    Batcher,
    Bytes,
    Engine,
    Floats,
    Ints,
    Jobs,
    Requests,
    Servers,
    Station,
    StepCost,
)
from mist_dse.sim.bounds import MOST_SECONDS, extended, step_count
from mist_dse.sim.state import BLOCK, GROUP, LANE, LINK, RANK, REPLICA

MOST_TOKENS = 2**40
"""Tokens of one sequence, blocks of a store, batches of a server: whole numbers beyond it are mistakes, and their products overflow."""

MOST_STEPS = 2**30
"""Steps that a run may need at least, minutes of computing: more are a length or a budget that was meant otherwise."""

MOST_BYTES = 2**28
"""State of the engines before the first request; a thousand replicas of a thousand sequences take 10 MB."""

ARRAYS = {Floats: np.float64, Ints: np.int64, Bytes: np.int8}
FLAT = 1
DIMENSIONS = {"decode_attention": 2, "decode_step": 2, "shared_time": 2, "draw": 2}
NOT_READ = ("input_tokens", "output_tokens", "max_tokens", "cached_tokens", "nominal_rate", "priority", "class_id", "session",
            "hash_first", "hash_ids", "hash_tokens", "seed", "class_names")  # fmt: skip
"""Columns of `Requests` that no run reads."""

COUNTS = (
    "replicas",
    "ranks",
    "lanes",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "stream_interval",
    "receive_interval",
    "groups",
)
AMOUNTS = ("long_prefill_threshold", "blocks", "watermark", "max_model_len", "wait_steps", "wait_tokens", "balance_steps", "heavy_tokens",
           "heavy_ranks", "slack", "front_end", "front_end_token", "front_end_output", "client", "guard")  # fmt: skip
TIMES = ("token_time", "sequence_time", "decode_attention", "decode_step", "shared_time", "quad", "window_quad", "read",
         "prefill_overhead", "mixing", "host_step", "host_sequence", "host_prefill", "stage_share")  # fmt: skip


class RowError(ValueError):
    """Rows that no simulation can run: the message names the table and the column."""


def check(servers: Servers, jobs: Jobs, requests: Requests) -> None:
    """Raise `RowError` unless the rows are consistent."""
    _check_types("Requests", requests, NOT_READ)
    _check_types("Jobs", jobs)
    n, v = len(requests.arrival), len(jobs.server)
    if n == 0:
        raise RowError("Requests is empty: a simulation needs at least one request")
    if len(jobs.first) != n + 1 or jobs.first[0] != 0 or jobs.first[-1] != v or (np.diff(jobs.first) < 0).any():
        raise RowError(f"Jobs.first must hold {n + 1} ascending offsets from 0 to {v}, the number of visits")
    _refuse(np.diff(jobs.first) == 0, "Jobs.first gives request {row} no visit: it could never end")
    if len(servers.costs) != len(servers.engines):
        raise RowError(f"Servers.costs has {len(servers.costs)} rows for {len(servers.engines)} engine pools: must be one each")
    for number, (engine, cost) in enumerate(zip(servers.engines, servers.costs, strict=True)):
        _check_engine(f"Servers.engines[{number}]", engine)
        _check_cost(f"Servers.costs[{number}]", engine, cost)
    for number, station in enumerate(servers.stations):
        _check_station(f"Servers.stations[{number}]", station, servers.shared)
    for number, rate in enumerate(servers.shared):
        _check_rate(f"Servers.shared[{number}]", rate)
    for number, batcher in enumerate(servers.batchers):
        _check_batcher(f"Servers.batchers[{number}]", batcher)
    _check_requests(requests)
    _check_visits(servers, jobs)
    _check_edges(jobs)
    _check_optional(servers, jobs)
    _check_size(servers, jobs)
    for number in range(len(servers.engines)):
        _check_length(servers, jobs, number)
    _check_work(servers, jobs)


@lru_cache
def _types(table: type) -> dict[str, Any]:
    return get_type_hints(table)


def _check_types(where: str, row: Any, skipped: Iterable[str] = ()) -> None:
    """Every field is what `mist_dse.rows` says: a wrong type would be cut or wrapped around where the kernel takes it over."""
    for name, kind in _types(row.__class__).items():
        value = getattr(row, name)
        if name in skipped:
            continue
        if kind in ARRAYS:
            _check_array(f"{where}.{name}", value, ARRAYS[kind], DIMENSIONS.get(name, FLAT))
        elif kind is bool and not isinstance(value, (bool, np.bool_)):
            raise RowError(f"{where}.{name} is {value!r}: must be True or False")
        elif kind is int and not isinstance(value, (int, np.integer)):
            raise RowError(f"{where}.{name} is {value!r}: must be a whole number")
        elif kind is float and not isinstance(value, (int, float, np.integer, np.floating)):
            raise RowError(f"{where}.{name} is {value!r}: must be a number")


def _check_array(where: str, value: Any, kind: Any, dimensions: int) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != kind or value.ndim != dimensions:
        found = f"{value.dtype} in {value.ndim}" if isinstance(value, np.ndarray) else f"{type(value).__name__} in no"
        raise RowError(f"{where} is an array of {found} dimensions: must be {np.dtype(kind)} in {dimensions}")


def _refuse(wrong: Any, message: str) -> None:
    """Raise `RowError` if any of ``wrong``; ``{row}`` in the message is the first row that is."""
    if np.any(wrong):
        raise RowError(message.format(row=int(np.flatnonzero(np.atleast_1d(wrong))[0])))


def _not_times(values: Any) -> Any:
    return ~((np.asarray(values) >= 0) & (np.asarray(values) <= MOST_SECONDS))


def _check_requests(requests: Requests) -> None:
    n, clients = len(requests.arrival), requests.clients
    _at_least("Requests", requests, ("clients",), 0)
    follows = requests.follows
    _refuse(len(requests.think) != n, f"Requests.think must have {n} rows")
    _refuse(len(follows) not in (0, n), f"Requests.follows must have {n} rows or none")
    known = requests.arrival[:clients] if clients else requests.arrival[follows < 0] if len(follows) else requests.arrival
    _refuse(_not_times(known), "Requests.arrival of known request {row} is not a time from 0 to 2^32 s")
    _refuse(np.diff(known) < 0, "Requests.arrival must ascend: it falls after known request {row}")
    _refuse(_not_times(requests.think), "Requests.think of request {row} is not a time from 0 to 2^32 s")
    if len(follows):
        later = np.flatnonzero(follows >= 0)
        _refuse(clients > 0 and len(later) > 0, "Requests.follows needs clients 0: a closed loop has no sessions")
        _refuse(follows >= np.arange(n), "Requests.follows of request {row} must name an earlier request, or -1")
        _refuse(len(np.unique(follows[later])) < len(later), "Requests.follows names a request twice: one turn has one next turn")


def _check_visits(servers: Servers, jobs: Jobs) -> None:
    v, engines = len(jobs.server), len(servers.engines)
    every = engines + len(servers.stations) + len(servers.batchers)
    for name in ("prompt", "computed", "emit", "limit", "handed", "work", "need", "lease", "keep", "frees", "answers"):
        _refuse(len(getattr(jobs, name)) != v, f"Jobs.{name} must have {v} rows")
    _refuse((jobs.server < 0) | (jobs.server >= every), "Jobs.server of visit {row} names a server that is not in Servers")
    engine = jobs.server < engines
    _refuse(engine & (jobs.prompt < 1), "Jobs.prompt of visit {row} is below 1: a sequence has at least one token")
    for name in ("prompt", "emit", "limit"):
        column = getattr(jobs, name)
        _refuse((column < 0) | (column > MOST_TOKENS), f"Jobs.{name} of visit {{row}} does not lie between 0 and {MOST_TOKENS}")
    _refuse(engine & ((jobs.emit < 1) | (jobs.limit < jobs.emit)), "Jobs: engine visits need 1 <= emit <= limit, visit {row} has not")
    _refuse(
        engine & ((jobs.computed < 0) | (jobs.computed >= jobs.prompt + jobs.handed)),
        "Jobs: engine visits need 0 <= computed < prompt + handed, visit {row} has not",
    )
    _refuse((jobs.handed != 0) & (jobs.handed != 1), "Jobs.handed of visit {row} must be 0 or 1")
    complete = (jobs.handed == 0) | (jobs.computed == jobs.prompt)
    _refuse(engine & ~complete, "Jobs.handed of visit {row} says that its prompt is complete: computed must be prompt")
    _refuse(~engine & ~(np.isfinite(jobs.work) & (jobs.work >= 0)), "Jobs.work of visit {row} is not a finite amount >= 0")
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    for name in ("lease", "frees"):
        other = getattr(jobs, name)
        _refuse((other >= v) | (other < -1), f"Jobs.{name} of visit {{row}} names no visit, nor is it -1")
        foreign = (other >= 0) & (owner[other] != owner) if v else other > 0
        _refuse(foreign, f"Jobs.{name} of visit {{row}} names a visit of another request")
        _refuse((other >= 0) & ~engine[other] if v else other > 0, f"Jobs.{name} of visit {{row}} must name an engine visit")
    _refuse((jobs.lease >= 0) & engine, "Jobs.lease of visit {row}: only station and batcher visits wait for a lease")
    leased = np.bincount(jobs.lease[jobs.lease >= 0], minlength=v)
    _refuse(leased > 1, "Jobs.lease names visit {row} twice: it is placed once")
    freed = np.bincount(jobs.frees[jobs.frees >= 0], minlength=v)
    _refuse((jobs.keep != 0) & (jobs.keep != 1), "Jobs.keep of visit {row} must be 0 or 1")
    _refuse((jobs.answers != 0) & (jobs.answers != 1), "Jobs.answers of visit {row} must be 0 or 1")
    _refuse(engine & (jobs.keep == 1) & (freed == 0), "Jobs.keep of visit {row} is set and no visit frees it: its KV would stay for ever")


def _check_edges(jobs: Jobs) -> None:
    v, e = len(jobs.server), len(jobs.edge_to)
    if len(jobs.edge_first) != v + 1 or jobs.edge_first[0] != 0 or jobs.edge_first[-1] != e or (np.diff(jobs.edge_first) < 0).any():
        raise RowError(f"Jobs.edge_first must hold {v + 1} ascending offsets from 0 to {e}, the number of edges")
    _refuse(len(jobs.edge_on) != e, f"Jobs.edge_on must have {e} rows, as many as edge_to")
    _refuse((jobs.edge_to < 0) | (jobs.edge_to >= v), "Jobs.edge_to of edge {row} names no visit")
    _refuse((jobs.edge_on < 0) | (jobs.edge_on > CANCEL), "Jobs.edge_on of edge {row} must be ON_END, ON_START or CANCEL")
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    source = np.repeat(np.arange(v), np.diff(jobs.edge_first))
    _refuse(owner[source] != owner[jobs.edge_to], "Jobs.edge_to of edge {row} leads to another request")
    signals = jobs.edge_on != CANCEL
    got = np.bincount(jobs.edge_to[signals], minlength=v)
    _refuse((jobs.need < 0) | (jobs.need > got), "Jobs.need of visit {row} is not between 0 and the signals that lead to it")
    if (jobs.edge_to[signals] <= source[signals]).any():
        _refuse(~_released(jobs, source[signals], jobs.edge_to[signals]), "Jobs.edge_to: visit {row} waits for itself, by way of others")
    needed = signals & (jobs.need[jobs.edge_to] == got[jobs.edge_to])
    _refuse(
        ~_waited_for(jobs, source[needed], jobs.edge_to[needed]),
        "Jobs.lease of visit {row} must name a visit that cannot be released before this one, by edges to visits that wait for all theirs",
    )


def _waited_for(jobs: Jobs, source: Ints, target: Ints) -> Any:
    """Per visit: it has no lease, or needed edges lead from it to the visit that holds its lease."""
    v = len(jobs.server)
    ahead = np.concatenate(([0], np.cumsum(np.bincount(source, minlength=v))))
    lessor = np.flatnonzero(jobs.lease >= 0)
    there, found = lessor, jobs.lease < 0
    while len(lessor):
        count = ahead[there + 1] - ahead[there]
        edge = np.arange(count.sum()) + np.repeat(ahead[there] - np.cumsum(count) + count, count)
        lessor, there = np.repeat(lessor, count), target[edge]
        found[lessor[there == jobs.lease[lessor]]] = True
        lessor, there = lessor[~found[lessor]], there[~found[lessor]]
    return found


def _released(jobs: Jobs, source: Ints, target: Ints) -> Any:
    """Which visits get the signals that they need if every visit that is released ends."""
    need, out = jobs.need.copy(), np.argsort(source, kind="stable")
    first = np.searchsorted(source[out], np.arange(len(need) + 1))
    ready = list(np.flatnonzero(need == 0))
    released = need == 0
    while ready:
        at = ready.pop()
        for to in target[out[first[at] : first[at + 1]]]:
            need[to] -= 1
            if need[to] == 0:
                released[to] = True
                ready.append(to)
    return released


def _check_optional(servers: Servers, jobs: Jobs) -> None:
    v = len(jobs.server)
    for name in ("priority", "session", "beside"):
        _refuse(len(getattr(jobs, name)) not in (0, v), f"Jobs.{name} must have {v} rows or none")
    if len(jobs.beside):
        owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
        _refuse(jobs.beside >= np.arange(v), "Jobs.beside of visit {row} must name an earlier visit, or -1")
        there = np.maximum(jobs.beside, 0)
        _refuse((jobs.beside >= 0) & (owner[there] != owner), "Jobs.beside of visit {row} names a visit of another request")
        _refuse((jobs.beside >= 0) & (jobs.server[there] >= len(servers.engines)), "Jobs.beside of visit {row} must name an engine visit")
    random = [engine.router in (RANDOM, POWER_OF_TWO) for engine in servers.engines]
    if len(jobs.draw) not in (0, v) or (any(random) and v and not len(jobs.draw)):
        raise RowError(f"Jobs.draw must have {v} rows: a router that chooses at random needs them")
    if jobs.draw.shape[1] != 2:
        raise RowError(f"Jobs.draw has {jobs.draw.shape[1]} columns: must have 2")
    _refuse(((jobs.draw < 0) | (jobs.draw >= 1) | np.isnan(jobs.draw)).any(axis=1), "Jobs.draw of visit {row} must lie in [0, 1)")
    if len(jobs.hash_first) or len(jobs.hash_ids):
        offsets = jobs.hash_first
        if len(offsets) != v + 1 or offsets[0] != 0 or offsets[-1] != len(jobs.hash_ids) or (np.diff(offsets) < 0).any():
            raise RowError(f"Jobs.hash_first must hold {v + 1} ascending offsets from 0 to {len(jobs.hash_ids)}, the number of names")
    groups = {engine.groups for engine in servers.engines}
    if len(groups) > 1:
        raise RowError(f"Engine.groups are {', '.join(map(str, sorted(groups)))}: all pools must have equally many local groups")


def _at_least(where: str, row: Any, names: Iterable[str], least: int) -> None:
    for name in names:
        value = getattr(row, name)
        if not least <= value <= MOST_TOKENS:
            raise RowError(f"{where}.{name} is {value}: must lie between {least} and {MOST_TOKENS}")


def _check_engine(where: str, engine: Engine) -> None:
    _check_types(where, engine)
    _at_least(where, engine, COUNTS, 1)
    _at_least(where, engine, AMOUNTS, 0)
    if engine.guard < 1:
        raise RowError(f"{where}.guard is {engine.guard}: must be at least 1, or no rank may take a visit")
    for name in ("front_end", "front_end_token", "front_end_output", "client"):
        _refuse(_not_times(getattr(engine, name)), f"{where}.{name} is {getattr(engine, name)}: must be between 0 and 2^32 s")
    if not (STATIC <= engine.policy <= MIXED and 0 <= engine.packing <= 3 and 0 <= engine.router <= SESSION_AFFINITY):
        raise RowError(f"{where} has a policy, packing or router that does not exist")
    if engine.policy == CHUNKED and engine.max_num_batched_tokens < engine.max_num_seqs:
        raise RowError(f"{where}.max_num_batched_tokens must be >= max_num_seqs under chunked batching")
    if engine.policy == STATIC and engine.caching:
        raise RowError(f"{where}.caching: a static batch finds no prefix")
    _refuse(engine.groups > engine.replicas, f"{where}.groups is {engine.groups}: must be at most the {engine.replicas} replicas")
    _at_least(where, engine, ("device",), -1)
    _refuse(engine.device >= 0 and engine.lanes > 1, f"{where}.device is {engine.device}: one step at a time, but lanes is {engine.lanes}")


def _check_cost(where: str, engine: Engine, cost: StepCost) -> None:
    _check_types(where, cost)
    seqs = engine.max_num_seqs
    if len(cost.decode_step) <= seqs or len(cost.sequence_time) <= seqs or len(cost.decode_attention) <= seqs or len(cost.token_time) < 2:
        raise RowError(f"{where}: StepCost tables must cover S = 0..max_num_seqs and at least T = 0, 1")
    knots = len(cost.knots)
    if (
        knots < 1
        or cost.decode_step.shape[1] != knots
        or cost.decode_attention.shape[1] != knots
        or not np.isfinite(cost.knots).all()
        or (np.diff(cost.knots) <= 0).any()
    ):
        raise RowError(f"{where}.knots must be finite and ascend, one for each column of decode_step and decode_attention")
    for name in TIMES:
        _refuse(_not_times(np.ravel(getattr(cost, name))), f"{where}.{name} is not between 0 and 2^32 s throughout")
    if not cost.window >= 0 or (cost.window_quad > 0 and cost.window > MOST_TOKENS):
        raise RowError(f"{where}.window is {cost.window}: must be >= 0, and at most {MOST_TOKENS} where there is a window_quad")
    if cost.stage_share > 1:
        raise RowError(f"{where}.stage_share is {cost.stage_share}: must be at most 1, the whole step")
    _refuse(cost.decode_attention[0] != 0, f"{where}.decode_attention of no sequence must be 0 at all contexts")
    if cost.shared_time.size and (engine.ranks < 2 or cost.shared_time.shape[0] != 2 or cost.shared_time.shape[1] < 2):
        raise RowError(f"{where}: StepCost.shared_time needs an engine of two ranks or more, two rows and at least G = 0, 1")


def _check_station(where: str, station: Station, shared: tuple[float, ...]) -> None:
    _check_types(where, station)
    _at_least(where, station, ("slots",), 1)
    _refuse(
        not -1 <= station.shared < len(shared), f"{where}.shared is {station.shared}: Servers.shared has {len(shared)} rates, from 0 on"
    )
    for name in ("rate", "cap"):
        _check_rate(f"{where}.{name}", getattr(station, name))
    _refuse(_not_times(station.latency), f"{where}.latency is {station.latency}: must be finite and >= 0")


def _check_rate(where: str, rate: Any) -> None:
    if not isinstance(rate, (int, float, np.integer, np.floating)) or not 0 < rate < np.inf:
        raise RowError(f"{where} is {rate}: must be finite and > 0")


def _check_batcher(where: str, batcher: Batcher) -> None:
    _check_types(where, batcher)
    _at_least(where, batcher, ("slots", "size"), 1)
    if len(batcher.time) <= batcher.size:
        raise RowError(f"{where}.time must cover 0..size = {batcher.size} jobs")
    for name in ("wait", "work_time", "time"):
        _refuse(_not_times(getattr(batcher, name)), f"{where}.{name} is not finite and >= 0")
    _at_least(where, batcher, ("device",), -1)
    _refuse(batcher.device >= 0 and batcher.slots > 1, f"{where}.device is {batcher.device}: one worker, but slots is {batcher.slots}")


def _check_size(servers: Servers, jobs: Jobs) -> None:
    """The state of the engines fits into memory: a count that was meant otherwise is named, not met by the operating system."""
    for number, engine in enumerate(servers.engines):
        ranks, lanes = engine.replicas * engine.ranks, engine.replicas * engine.lanes
        groups, nodes = ranks * engine.lanes, 4 * ranks + 3 * ranks * engine.lanes
        size = REPLICA.itemsize * engine.replicas + RANK.itemsize * ranks + (LANE.itemsize + 24) * lanes + LINK.itemsize * nodes
        size += (GROUP.itemsize + 8 * (engine.max_num_seqs + engine.block_size)) * groups + (BLOCK.itemsize + LINK.itemsize) * 2 * ranks
        if size > MOST_BYTES:
            text = f"{engine.replicas} replicas x {engine.ranks} ranks x {engine.lanes} lanes of {engine.max_num_seqs} sequences"
            raise RowError(f"Servers.engines[{number}]: {text} and blocks of {engine.block_size} tokens need {size / 1e9:.3g} GB of state")


def _check_length(servers: Servers, jobs: Jobs, number: int) -> None:
    """The longest step and the number of steps that pool ``number`` can need are finite, and no table falls below 0 on the way there."""
    where, engine, cost = f"Servers.costs[{number}]", servers.engines[number], servers.costs[number]
    mine = jobs.server == number
    tokens = jobs.prompt[mine] + jobs.handed[mine] + jobs.limit[mine]
    fits = tokens <= min(engine.max_model_len, engine.blocks * engine.block_size + 1)
    if not fits.any():
        return
    new, longest = (jobs.prompt[mine] + jobs.handed[mine] - jobs.computed[mine])[fits], int(tokens[fits].max())
    most = max(int(new.max()), engine.max_num_batched_tokens) + engine.max_num_seqs
    ends = [extended(cost.token_time, np.arange(len(cost.token_time)), most)]
    ends += [extended(table, cost.knots, longest) for table in (cost.decode_attention, cost.decode_step)]
    ends += [extended(cost.shared_time, np.arange(cost.shared_time.shape[1]), most * engine.ranks)] if cost.shared_time.size else []
    names = ("token_time", "decode_attention", "decode_step", "shared_time")
    for name, end in zip(names, ends, strict=False):
        _refuse(_not_times(end).any(), f"{where}.{name} leaves 0 to 2^32 s at contexts or batches of up to {max(most, longest)} tokens")
    chunks = max(cost.quad, cost.window_quad) * float(longest) ** 2 + cost.read * longest + cost.host_sequence * most
    _refuse(_not_times(chunks + engine.front_end_token * longest), f"{where}: a prompt of {longest} tokens takes more than 2^32 s")
    steps = step_count(servers, jobs, number)
    if steps > MOST_STEPS:
        text = f"its {fits.sum()} visits of up to {longest} tokens need {steps:.3g} steps, more than 2^30"
        raise RowError(f"Servers.engines[{number}]: {text}; shorten them or raise max_num_batched_tokens")


def _check_work(servers: Servers, jobs: Jobs) -> None:
    first = len(servers.engines)
    work = np.bincount(jobs.server, weights=np.where(jobs.server < first, 0.0, jobs.work), minlength=first)[first:]
    rates = [min(row.rate, row.cap, servers.shared[row.shared] if row.shared >= 0 else np.inf) for row in servers.stations]
    paces = [1 / rate for rate in rates] + [batcher.work_time for batcher in servers.batchers]
    for number, (amount, pace) in enumerate(zip(work, paces, strict=False)):
        endless = amount > 0 and _not_times(float(amount) * float(pace))
        _refuse(endless, f"Jobs.work: all work at station or batcher {number} takes more than 2^32 s")
