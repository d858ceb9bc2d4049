"""A slow twin of the request simulator, written from `docs/semantics.md` alone.

Its state is in `twin_state`, the length of a step in `twin_cost`, the policies in `twin_batch`, routers in `twin_router`, stations and
batchers in `twin_servers`. Every waiting job, every idle lane and every running visit is looked at again in every instant: nothing is
skipped, summed ahead or remembered to be quick. Plain lists and floats, no numba, nothing shared with `mist_dse.sim`.
"""

import heapq
from functools import partial
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np

from mist_dse import rows
from tests.oracles.twin_batch import formed, postponed
from tests.oracles.twin_cost import length_of, shared_length, streaming
from tests.oracles.twin_router import Routers
from tests.oracles.twin_servers import Bench, Clock, Desk, desks_of, devices_of
from tests.oracles.twin_state import Batch, Lane, Rank, Replica, Visit, replicas_of, visits_of

SUMS = ("steps", "tokens", "busy", "pairs", "contexts")
PEAKS = ("peak_seqs", "peak_blocks", "peak_tokens")


class LivelockError(RuntimeError):
    """Far more steps than any case needs: visits preempt each other, or themselves, for ever."""


class RankBatch(NamedTuple):
    """One rank's part of a step: visits, and the chunks as (visit, new tokens, tokens computed before)."""

    decodes: tuple[int, ...]
    chunks: tuple[tuple[int, int, int], ...]
    preempted: tuple[int, ...]


class Step(NamedTuple):
    """One engine step as it started (times in s)."""

    time: float
    length: float
    replica: int  # counted over all pools
    lane: int
    ranks: tuple[RankBatch, ...]


def simulate(servers: rows.Servers, jobs: rows.Jobs, requests: rows.Requests) -> rows.Records:
    """What happens to every request, visit and replica."""
    return traced(servers, jobs, requests)[0]


def traced(servers: rows.Servers, jobs: rows.Jobs, requests: rows.Requests) -> tuple[rows.Records, list[Step]]:
    """The records, and every step's batch in order of start."""
    twin = Twin(servers, jobs, requests)
    twin.run()
    return twin.records(), twin.trace


class Twin:
    """The state of a run; `run` it once, then ask for its `records`."""

    def __init__(self, servers: rows.Servers, jobs: rows.Jobs, requests: rows.Requests) -> None:
        self.clock = Clock()
        self.trace: list[Step] = []
        self.requests, count = requests, len(requests.arrival)
        self.visits = visits_of(jobs)
        self.replicas = replicas_of(servers)
        self.ranks = [rank for replica in self.replicas for rank in replica.ranks]
        self.routers = Routers(self.replicas)
        self.pools, stations = len(servers.engines), len(servers.stations)
        calls = (self.clock, self.started, self.ends)
        self.benches = [Bench(stations + i, *calls, batcher) for i, batcher in enumerate(servers.batchers)]
        self.desks: list[Desk | Bench] = [*desks_of(servers, *calls), *self.benches]
        self.devices = devices_of(self.replicas, self.benches)
        self.alone = [unit for unit in (*self.replicas, *self.benches) if not any(unit in device for device in self.devices)]
        self.arrival, self.admitted, self.first_token, self.last_token, self.end = ([nan] * count for _ in range(5))
        self.status = [rows.UNFINISHED] * count
        self.over = 0  # requests completed or rejected
        self.follows = requests.follows.tolist() or [-1] * count
        self.ready, self.start, self.finish = ([nan] * len(self.visits) for _ in range(3))
        self.cancelled: list[Visit] = []  # released, and to leave
        self.due: list[Visit] = []  # to release
        self.last = 0.0  # end of a step

    # Time

    def run(self) -> None:
        clock, count = self.clock, len(self.status)
        for i in range(min(self.requests.clients or count, count)):
            if self.follows[i] < 0:
                clock.at(float(self.requests.arrival[i]), 0, i, partial(self.arrive, i))
        while clock.events:
            clock.advance()
            changed = True
            while changed:
                while clock.events and clock.events[0][0] == clock.now:
                    heapq.heappop(clock.events)[4]()
                    self.release_due()
                changed = self.settle()

    def settle(self) -> bool:
        """Cancelled visits, leases, steps and batches, everywhere; whether anything came of it."""
        leaving, self.cancelled = self.cancelled, []
        for visit in leaving:
            self.leave(visit)
        changed = bool(leaving)
        for rank in self.ranks:
            while rank.leases and self.granted(rank, self.visits[rank.leases[0].lease]):
                self.join_server(rank.leases.pop(0))
                changed = True
        self.release_due()
        for unit in self.alone:
            changed = self.starts(unit) or changed
            if isinstance(unit, Replica):
                self.release_due()  # of all batchers together
        self.release_due()
        for sharers in self.devices:
            changed = self.offered(sharers) or changed
            self.release_due()
        return changed

    def offered(self, sharers: list[Replica | Bench]) -> bool:
        """A free device goes to the first of its sharers that can start, who is the last to be asked next; whether anything came of it."""
        changed = False
        for unit in [] if any(unit.is_busy() for unit in sharers) else list(sharers):
            changed = self.starts(unit) or changed
            if unit.is_busy():
                at = sharers.index(unit) + 1
                sharers[:] = sharers[at:] + sharers[:at]
                break
        return changed

    def starts(self, unit: Replica | Bench) -> bool:
        return unit.serve() if isinstance(unit, Bench) else self.steps(unit)

    def release_due(self) -> None:
        """Everything that has got its last signal, in order."""
        while self.due:
            self.release(self.due.pop(0))

    # Requests and visits

    def arrive(self, i: int) -> None:
        self.arrival[i] = self.clock.now
        mine = [visit for visit in self.visits if visit.request == i]
        if any(self.never_fits(visit) for visit in mine):
            self.is_over(i, rows.REJECTED)
            return
        for visit in [visit for visit in mine if visit.need == 0]:
            self.release(visit)

    def never_fits(self, visit: Visit) -> bool:
        if visit.server >= self.pools:
            return False
        rank = next(rank for rank in self.ranks if rank.replica.pool == visit.server)
        engine, most = rank.engine, visit.prompt + visit.handed + visit.limit
        whole = engine.whole_prompts and engine.policy in (rows.CHUNKED, rows.PREFILL_FIRST)
        too_long = most > engine.max_model_len or (whole and visit.rem > engine.max_num_batched_tokens)
        return too_long or rank.blocks_for(most - 1) + engine.watermark > engine.blocks

    def is_over(self, i: int, status: int) -> None:
        """A request is completed or rejected: others may come."""
        self.status[i] = status
        self.over += 1
        client = self.requests.clients + self.over - 1
        comes = [client] if self.requests.clients and client < len(self.status) else []
        for j in comes + [j for j, earlier in enumerate(self.follows) if earlier == i]:
            self.clock.at(self.clock.now + float(self.requests.think[j]), 0, j, partial(self.arrive, j))

    def release(self, visit: Visit) -> None:
        if visit.cancelled:
            return
        visit.released = True
        self.ready[visit.index] = self.clock.now
        self.fire(visit, rows.CANCEL)
        if visit.server < self.pools:
            if visit.leased and visit.rank is not None:
                visit.rank.join(visit)
            else:
                self.enter(visit, self.placed(visit))
        elif visit.lease < 0 or self.visits[visit.lease].cancelled:
            self.join_server(visit)
        else:
            handed = self.visits[visit.lease]
            handed.leased = True
            self.placed(handed).leases.append(visit)

    def placed(self, visit: Visit) -> Rank:
        return self.routers.place(visit, self.visits[visit.beside].rank if visit.beside >= 0 else None)

    def enter(self, visit: Visit, rank: Rank) -> None:
        """Through the front end of the replica."""
        engine, replica = rank.engine, rank.replica
        if engine.front_end == engine.front_end_token == engine.client == 0.0:
            self.come_in(visit, rank)
            return
        alone = engine.front_end + engine.front_end_token * visit.prompt
        replica.front_free = max(self.clock.now, replica.front_free) + alone / (1.0 - streaming(replica, visit.prompt))
        self.clock.at(replica.front_free + engine.client, 3, 0, partial(self.come_in, visit, rank))

    def come_in(self, visit: Visit, rank: Rank) -> None:
        if visit.ended:
            return
        if rank.engine.receive_interval > 1:
            rank.inbox.append(visit)
        else:
            rank.join(visit)

    def join_server(self, visit: Visit) -> None:
        self.desks[visit.server - self.pools].join(visit)

    def granted(self, rank: Rank, visit: Visit) -> bool:
        """Whether a lease finds its blocks, which it takes; one for a cancelled visit needs none."""
        if not visit.cancelled:
            blocks = rank.blocks_of(visit, visit.prompt + visit.handed)
            if blocks + rank.engine.watermark > len(rank.queue):
                return False
            rank.hold(visit, blocks)
            rank.replica.note_peaks(rank)
        return True

    def started(self, visit: Visit) -> None:
        if not visit.started:
            visit.started = True
            self.start[visit.index] = self.clock.now
            self.fire(visit, rows.ON_START)

    def admits(self, visit: Visit) -> None:
        if isnan(self.admitted[visit.request]):
            self.admitted[visit.request] = self.clock.now
        self.started(visit)

    def fire(self, visit: Visit, on: int) -> None:
        for target in [self.visits[to] for to, when in visit.edges if when == on and not visit.cancelled]:
            if on == rows.CANCEL:
                self.cancel(target)
            else:
                target.need -= 1
                if target.need == 0:
                    self.due.append(target)

    def cancel(self, visit: Visit) -> None:
        if visit.ended or visit.cancelled:
            return
        visit.cancelled, visit.keep = True, False
        if visit.released:
            self.cancelled.append(visit)
        else:
            self.ends(visit)

    def leave(self, visit: Visit) -> None:
        """A cancelled visit leaves where it is, unless its lane has to end its step first."""
        if visit.ended:
            return
        if visit.server >= self.pools:
            for rank in self.ranks:
                rank.leases = [other for other in rank.leases if other is not visit]
            self.desks[visit.server - self.pools].leave(visit)
        elif visit.rank is not None and visit in visit.rank.running:
            replica = visit.rank.replica
            if replica.engine.policy != rows.STATIC and replica.lanes[visit.lane].batches is not None:
                return
        self.ends(visit)

    def ends(self, visit: Visit) -> None:
        if visit.ended:
            return  # cancelled, in a batch or on its way
        visit.ended = True
        self.finish[visit.index] = self.clock.now
        if visit.rank is not None:
            if visit.answers and not visit.cancelled:
                self.last_token[visit.request] = self.clock.now
            self.leave_rank(visit, visit.rank)
        if visit.frees >= 0:
            self.visits[visit.frees].keep = False
            self.unless_kept(self.visits[visit.frees])
        self.fire(visit, rows.ON_END)
        if all(other.ended for other in self.visits if other.request == visit.request):
            self.end[visit.request] = self.clock.now
            self.is_over(visit.request, rows.COMPLETED)

    def leave_rank(self, visit: Visit, rank: Rank) -> None:
        rank.placed.remove(visit)
        rank.name(visit, visit.computed)
        for queue in (rank.inbox, rank.waiting, *([rank.running] if rank.engine.policy != rows.STATIC else [])):
            if visit in queue:
                queue.remove(visit)
        self.unless_kept(visit)
        self.end_batch(rank)

    def end_batch(self, rank: Rank) -> None:
        """A static batch is over when every member's part of it is: all blocks are freed."""
        if rank.engine.policy == rows.STATIC and all(visit.ended and visit.emitted + visit.padding >= visit.emit for visit in rank.running):
            members, rank.running = rank.running, []
            for visit in members:
                self.unless_kept(visit)

    def unless_kept(self, visit: Visit) -> None:
        """Blocks are freed, unless the visit goes on, is kept or still pads a static batch."""
        if visit.rank is not None and visit.ended and not visit.keep and visit not in visit.rank.running:
            visit.rank.free(visit)

    # Steps

    def steps(self, replica: Replica) -> bool:
        """Idle lanes start, the one idle longest first; whether any did, or lost KV in trying (then leases come before it tries again)."""
        self.look(replica)
        changed, idle = False, [lane for lane in replica.lanes if lane.batches is None]
        for lane in sorted(idle, key=lambda lane: (lane.idle_since, lane.index)):
            if self.clock.now >= replica.entrance:
                wait, count = postponed(replica, lane.index)
                batches = [formed(Batch(rank, lane.index, wait), self.admits) for rank in replica.ranks]
                changed = changed or any(batch.work or batch.preempted or batch.evicted for batch in batches)
                if any(batch.work for batch in batches):
                    replica.postponed = count
                    self.begin(replica, lane, batches)
        return changed

    def look(self, replica: Replica) -> None:
        """At what has come in, if it is time."""
        if replica.since >= replica.engine.receive_interval or not any(rank.running for rank in replica.ranks):
            replica.since = 0
            for rank in replica.ranks:
                for visit in rank.inbox:
                    rank.join(visit)
                rank.inbox.clear()

    def begin(self, replica: Replica, lane: Lane, batches: list[Batch]) -> None:
        shared = shared_length(replica.cost, sum(batch.tokens for batch in batches), any(batch.chunks for batch in batches))
        length = max(length_of(replica, batch, shared) for batch in batches if batch.work)
        lane.batches = batches
        replica.entrance = self.clock.now + replica.cost.stage_share * length
        replica.sums.update(steps=1)
        replica.sums["busy"] += length  # type: ignore[assignment]
        for batch in batches:
            replica.note_peaks(batch.rank)
            replica.peaks["peak_tokens"] = max(replica.peaks["peak_tokens"], batch.tokens)
            replica.sums["tokens"] += batch.tokens
            replica.sums["pairs"] += sum(new * before + new * (new + 1) // 2 for _, new, before in batch.chunks)
            replica.sums["contexts"] += batch.context
        if len(self.trace) > 5000:
            raise LivelockError
        self.trace.append(Step(self.clock.now, length, replica.index, lane.index, tuple(pictured(batch) for batch in batches)))
        self.clock.at(self.clock.now + length, 1, lane.key, lambda: self.step_ends(replica, lane, batches))
        if len(replica.lanes) > 1:
            self.clock.wake(replica.entrance)

    def step_ends(self, replica: Replica, lane: Lane, batches: list[Batch]) -> None:
        lane.batches = None
        lane.idle_since = self.last = self.clock.now
        replica.since += replica.engine.receive_interval if any(batch.chunks for batch in batches) else 1
        work = [part for batch in batches for part in batch.work]
        for visit, new, _, _ in work:
            visit.computed += 0 if visit.ended else new
            visit.padding += 1 if visit.ended else 0
        if replica.engine.policy != rows.STATIC:
            for visit in [visit for rank in replica.ranks for visit in rank.members(lane.index) if visit.cancelled]:
                self.ends(visit)
        for visit, _, _, decode in work:
            if not visit.ended and (decode or visit.rem == 0):
                self.emits(visit, replica.engine.stream_interval)
        for rank in replica.ranks:
            self.end_batch(rank)

    def emits(self, visit: Visit, message: int) -> None:
        visit.emitted += 1
        visit.emitted_here = True
        seen = visit.answers and not visit.cancelled and visit.emitted >= min(message, visit.emit)
        if seen and isnan(self.first_token[visit.request]):
            self.first_token[visit.request] = self.clock.now
        if visit.emitted == visit.emit:
            self.ends(visit)

    # Result

    def records(self) -> rows.Records:
        found: dict[str, Any] = {name: getattr(self, name) for name in ("arrival", "admitted", "first_token", "last_token", "end")}
        found |= {f"visit_{name}": getattr(self, name) for name in ("ready", "start")}
        found |= {name: [replica.sums[name] for replica in self.replicas] for name in SUMS}
        found |= {name: [replica.peaks[name] for replica in self.replicas] for name in PEAKS}
        owned = [[visit.lost for visit in self.visits if visit.request == i] for i in range(len(self.status))]
        return rows.Records(
            **{name: np.array(column) for name, column in found.items()},
            status=np.array(self.status, np.int8),
            preemptions=np.array([sum(lost) for lost in owned]),
            visit_end=np.array(self.finish),
            visit_replica=np.array([visit.rank.replica.index if visit.rank is not None else -1 for visit in self.visits]),
            visit_cached=np.array([visit.cached for visit in self.visits]),
            pool=np.array([replica.pool for replica in self.replicas]),
            station_busy=np.array([desk.busy for desk in self.desks]),
            makespan=max([self.last, *(time for time in self.finish + self.arrival if not isnan(time))]),
        )


def pictured(batch: Batch) -> RankBatch:
    """A batch as it goes into the trace."""
    chunks = tuple((visit.index, new, before) for visit, new, before in batch.chunks)
    lost = tuple(visit.index for visit in batch.evicted + batch.preempted)
    return RankBatch(tuple(visit.index for visit in batch.decodes), chunks, lost)
