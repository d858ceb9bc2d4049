"""Prefill stages that nothing later can hold back: simulated once per pool variant, exact for every design that shares it.

A pool that only prefills learns of later stages in one way alone: it keeps the KV of a prompt until its hand-off is over. Its run
alone, where KV is freed with the prompt (`ran_alone`), is therefore what happens in a design as long as no admission lacks blocks there
(with enough blocks, how many are free decides nothing: the router must not ask for them, and nothing may be found by name). It then gives
the same times, request by request. ``hold``: seconds for which every prompt's blocks could be kept without an admission being short of
one. That no design keeps them longer is for `exactpairs` to prove, pair by pair.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.bound import rejected_requests
from mist_dse.perf.network import narrowest
from mist_dse.rows import FCFS, LEAST_KV, NONE, STATIC, Engine, Floats, Ints, Jobs, Requests, Servers
from mist_dse.sim import simulate
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import Topology

HOLDS: Floats = np.array([0.03, 0.12, 0.5, 2.0, 8.0])
"""Seconds for which a prompt's KV may be held after the prompt, tried in turn."""


REFINED = 2
"""Times that holds are derived from the longest of them."""


class Stage(NamedTuple):
    """A prefill pool alone: when each prompt starts and ends (s); for how long every one could be held (s, < 0: not even so long).

    ``ordered``: whether it is known in which order hand-offs are asked for, also where prompts start or end at one instant.
    """

    start: Floats
    end: Floats
    hold: float
    ordered: bool


class Link(NamedTuple):
    """The slowest link that a hand-off from or to a pool may cross: B/s of one transfer, of all together, and s of latency."""

    cap: float
    rate: float
    latency: float


def entry(servers: Servers, jobs: Jobs, number: int) -> tuple[Servers, Jobs] | None:
    """One engine pool and its visits as a system of their own; None unless each request makes one visit there, which waits for nothing,
    computes its prompt, and is neither placed by another nor cancelled nor known by name."""
    visits = np.flatnonzero(jobs.server == number)
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    single = len(visits) == len(jobs.first) - 1 and bool((owner[visits] == np.arange(len(visits))).all())
    if not single or len(jobs.hash_ids) or (len(jobs.beside) and (jobs.beside[visits] >= 0).any()):
        return None
    if jobs.need[visits].any() or jobs.handed[visits].any() or np.isin(visits, [*jobs.lease, *jobs.edge_to]).any():
        return None
    whole = {name: getattr(jobs, name)[visits] for name in ("prompt", "computed", "emit", "limit", "handed", "work", "need")}
    optional = {name: getattr(jobs, name)[visits] for name in ("priority", "session", "draw") if len(getattr(jobs, name))}
    count = len(visits)
    own = Jobs(
        first=np.arange(count + 1), server=np.zeros(count, np.int64), lease=np.full(count, -1), keep=np.zeros(count, np.int8),
        frees=np.full(count, -1), answers=np.ones(count, np.int8), edge_first=np.zeros(count + 1, np.int64), edge_to=NONE,
        edge_on=np.zeros(0, np.int8), **whole, **optional,
    )  # fmt: skip
    rows = Servers((servers.engines[number],), (servers.costs[number],), (servers.loads[number],), (), (servers.names[number],))
    return rows, own


def ran_alone(servers: Servers, jobs: Jobs, requests: Requests) -> Stage | None:
    """The run of an `entry` pool; None where it does more than prefill, arrivals are outcomes, or blocks decide what happens."""
    engine = servers.engines[0]
    waits = requests.clients > 0 or bool((requests.follows >= 0).any())
    if waits or engine.router == LEAST_KV or engine.device >= 0 or engine.policy == STATIC or (jobs.emit != 1).any():
        return None
    if rejected_requests(servers, jobs).any():
        return None
    records = simulate(servers, jobs, requests)
    start, end = records.visit_start, records.visit_end
    if not np.isfinite(end).all():
        return None
    lines = records.visit_replica if engine.ranks == engine.lanes == 1 else np.arange(len(start))
    apart = all(_one_line(times, lines) for times in (start, end))
    hold = _longest_hold(engine, jobs, (start, end), records.visit_replica)
    return Stage(start, end, hold, apart and engine.packing == FCFS)


def _one_line(times: Floats, line: Ints) -> bool:
    """Whether all that happens at one instant happens in one line."""
    order = np.lexsort((line, times))
    same = np.diff(times[order]) == 0
    return not bool((np.diff(line[order]) != 0)[same].any())


def _longest_hold(engine: Engine, jobs: Jobs, times: tuple[Floats, Floats], replica: Ints) -> float:
    """Least over all admissions of t - (end of the prompt whose blocks must be free again by then), all ranks of a replica taken as one."""
    blocks = -(-(jobs.prompt + jobs.limit - 1) // engine.block_size)
    room, least = engine.blocks - engine.watermark, np.inf
    for number in range(int(replica.max(initial=-1)) + 1):
        mine = np.flatnonzero(replica == number)
        start, end = times[0][mine], times[1][mine]
        by_start, by_end = np.argsort(start, kind="stable"), np.argsort(end, kind="stable")
        taken, given = np.cumsum(blocks[mine][by_start]), np.cumsum(blocks[mine][by_end])
        over = taken - room
        short = over > 0
        if short.any():
            place = np.searchsorted(given, over[short])
            least = min(least, float((start[by_start][short] - end[by_end][place]).min()))
    return least


def slowest_link(pool: Pool, topology: Topology) -> Link:
    """The slowest that a hand-off from or to a pool may cross, wherever it stands."""
    level = narrowest(pool.accelerator, topology)
    cap = level.hop.bandwidth * pool.parallelism.tp * pool.parallelism.pp
    return Link(cap, cap * pool.parallelism.dp * pool.replicas / level.shared, level.hop.latency)


def longest_hops(stage: Stage, sizes: tuple[Floats, int], ends: tuple[Link, Link]) -> Floats | None:
    """Seconds [n] for which no prompt's KV is held longer, if the decode pool takes every hand-off at once; None if no one is proved.

    From the end of its prompt on a hand-off (``sizes``: bytes [n], parts) always has one part on the link, but for a latency per part. The
    link then moves at least min(cap, rate) B/s, and no more bytes than those of prompts that start within h after it and end within h
    before it: as long as all holds were at most h until now, so is this one if all these bytes move within h.
    """
    pace = min(*(each.cap for each in ends), *(each.rate for each in ends))
    latency = sizes[1] * max(each.latency for each in ends)
    for hold in HOLDS[stage.hold >= HOLDS].tolist():
        hops = _bytes_near(stage, sizes[0], hold) / pace + latency
        if hops.max() <= hold:
            for _ in range(REFINED):
                hops = _bytes_near(stage, sizes[0], float(hops.max())) / pace + latency
            return np.asarray(hops)
    return None


def _bytes_near(stage: Stage, size: Floats, hold: float) -> Floats:
    """Bytes of all prompts that start until ``hold`` after the end of each, and end from ``hold`` before it on."""
    begun, done = np.argsort(stage.start), np.argsort(stage.end)
    before, gone = (np.concatenate([[0.0], np.cumsum(size[order])]) for order in (begun, done))
    return np.asarray(
        before[np.searchsorted(stage.start[begun], stage.end + hold, side="right")]
        - gone[np.searchsorted(stage.end[done], stage.end - hold)]
    )
