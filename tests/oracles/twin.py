"""A slow twin of the request simulator, written from `docs/semantics.md` alone.

Its state is in `twin_state`, the length of a step in `twin_cost`, the waits of prompts in `twin_waits`.
Every waiting job, every idle lane and every running visit is looked at again in every instant: nothing is skipped,
summed ahead or remembered to be quick. Plain lists and floats, no numba, nothing shared with `mist_dse.sim`.
"""

import heapq
from collections.abc import Callable
from functools import partial
from math import nan
from typing import Any, NamedTuple

import numpy as np

from mist_dse import rows
from tests.oracles.twin_cost import shared_length, step_length
from tests.oracles.twin_state import Batch, Desk, Lane, Rank, Replica, Visit, replicas_of, visits_of
from tests.oracles.twin_waits import postponed


class HeldError(Exception):
    """The last of RUNNING, which would have to be preempted, is in flight in another lane."""


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
        self.now = 0.0
        self.events: list[tuple[float, int, int, int, Callable[[], None]]] = []
        self.created = 0
        self.trace: list[Step] = []
        self.requests = requests
        self.count = len(requests.arrival)
        self.first = [int(x) for x in jobs.first]
        self.visits = visits_of(jobs, self.first)
        self.replicas = replicas_of(servers)
        self.pools = len(servers.engines)
        self.counter = [0] * self.pools  # round robin
        self.desks = [Desk(i, station) for i, station in enumerate(servers.stations)]
        self.arrival, self.admitted, self.first_token, self.last_token, self.end = ([nan] * self.count for _ in range(5))
        self.status = [rows.UNFINISHED] * self.count
        self.preemptions = [0] * self.count
        self.left = [self.first[i + 1] - self.first[i] for i in range(self.count)]
        self.over = 0  # requests completed or rejected
        self.ready, self.start, self.finish = ([nan] * len(self.visits) for _ in range(3))

    # Time

    def at(self, time: float, kind: int, sequence: int, action: Callable[[], None]) -> int:
        """An event; the returned number tells it from every other."""
        self.created += 1
        heapq.heappush(self.events, (time, kind, self.created if kind == 3 else sequence, self.created, action))
        return self.created

    def run(self) -> None:
        together = self.requests.clients or self.count
        for i in range(min(together, self.count)):
            self.at(float(self.requests.arrival[i]), 0, i, partial(self.arrive, i))
        while self.events:
            self.now = self.events[0][0]
            changed = True
            while changed:
                while self.events and self.events[0][0] == self.now:
                    heapq.heappop(self.events)[4]()
                changed = self.settle()

    def settle(self) -> bool:
        """Leases, then steps, everywhere; whether anything came of it."""
        changed = False
        for rank in [rank for replica in self.replicas for rank in replica.ranks]:
            while rank.leases and self.granted(rank, rank.leases[0]):
                self.join_station(rank.leases.pop(0))
                changed = True
        for replica in self.replicas:
            changed = self.steps(replica) or changed
        return changed

    # Requests and visits

    def arrive(self, i: int) -> None:
        self.arrival[i] = self.now
        mine = self.visits[self.first[i] : self.first[i + 1]]
        if any(self.never_fits(visit) for visit in mine):
            self.status[i] = rows.REJECTED
            self.next_client()
            return
        for visit in mine:
            if visit.need == 0:
                self.release(visit)

    def never_fits(self, visit: Visit) -> bool:
        if visit.server >= self.pools:
            return False
        rank = self.ranks(visit.server)[0]
        engine, most = rank.engine, visit.prompt + visit.handed + visit.limit
        splits = not engine.whole_prompts or engine.policy not in (rows.CHUNKED, rows.PREFILL_FIRST)
        if not splits and visit.rem > engine.max_num_batched_tokens:
            return True
        return rank.blocks_for(most - 1) + rank.engine.watermark > rank.engine.blocks or most > rank.engine.max_model_len

    def next_client(self) -> None:
        self.over += 1
        i = self.requests.clients + self.over - 1
        if self.requests.clients > 0 and i < self.count:
            self.at(self.now + float(self.requests.think[i]), 0, i, partial(self.arrive, i))

    def release(self, visit: Visit) -> None:
        self.ready[visit.index] = self.now
        if visit.server >= self.pools:
            if visit.lease < 0:
                self.join_station(visit)
            else:
                self.placed(self.visits[visit.lease]).leases.append(visit)
        elif visit.rank is not None:
            visit.rank.waiting.append(visit)
        else:
            self.enter(visit, self.placed(visit))

    def ranks(self, pool: int) -> list[Rank]:
        return [rank for replica in self.replicas if replica.pool == pool for rank in replica.ranks]

    def placed(self, visit: Visit) -> Rank:
        """The rank that the router picks."""
        ranks = self.ranks(visit.server)
        if ranks[0].engine.router == rows.ROUND_ROBIN:
            rank = ranks[self.counter[visit.server] % len(ranks)]
            self.counter[visit.server] += 1
        else:
            rank = min(ranks, key=lambda rank: rank.placed)  # the first of the least
        rank.placed += 1
        visit.rank = rank
        return rank

    def enter(self, visit: Visit, rank: Rank) -> None:
        """Through the front end of the replica, then to the end of WAITING."""
        engine, replica = rank.engine, rank.replica
        queue = rank.inbox if engine.receive_interval > 1 else rank.waiting
        if engine.front_end == engine.front_end_token == engine.client == 0.0:
            queue.append(visit)
            return
        alone = engine.front_end + engine.front_end_token * visit.prompt
        replica.front_free = max(self.now, replica.front_free) + alone / (1.0 - streaming(replica, visit.prompt))
        self.at(replica.front_free + engine.client, 3, 0, partial(queue.append, visit))

    def started(self, visit: Visit) -> None:
        if visit.started:
            return
        visit.started = True
        self.start[visit.index] = self.now
        self.fire(visit, rows.ON_START)

    def fire(self, visit: Visit, on: int) -> None:
        for target, when in visit.edges:
            if when == on:
                self.visits[target].need -= 1
                if self.visits[target].need == 0:
                    self.release(self.visits[target])

    def ends(self, visit: Visit) -> None:
        visit.ended = True
        self.finish[visit.index] = self.now
        if visit.rank is not None:
            if visit.answers:
                self.last_token[visit.request] = self.now
            visit.rank.placed -= 1
            if visit.rank.engine.policy != rows.STATIC:
                visit.rank.running.remove(visit)
                self.unless_kept(visit)
        if visit.frees >= 0:
            self.visits[visit.frees].keep = False
            if self.visits[visit.frees].ended:
                self.unless_kept(self.visits[visit.frees])
        self.fire(visit, rows.ON_END)
        self.left[visit.request] -= 1
        if self.left[visit.request] == 0:
            self.end[visit.request] = self.now
            self.status[visit.request] = rows.COMPLETED
            self.next_client()

    def unless_kept(self, visit: Visit) -> None:
        """Blocks are freed, unless the visit is kept or still pads a static batch."""
        assert visit.rank is not None
        if not visit.keep and visit not in visit.rank.running:
            visit.rank.free += visit.blocks
            visit.blocks = 0

    # Blocks

    def take(self, visit: Visit, rank: Rank, blocks: int) -> None:
        """The visit holds at least this many blocks."""
        more = max(0, blocks - visit.blocks)
        assert more <= rank.free
        rank.free -= more
        visit.blocks += more

    def granted(self, rank: Rank, station_visit: Visit) -> bool:
        visit = self.visits[station_visit.lease]
        blocks = rank.blocks_of(visit, visit.prompt + visit.handed)
        if blocks + rank.engine.watermark > rank.free:
            return False
        self.take(visit, rank, blocks)
        rank.note_peak()
        return True

    def admissible(self, visit: Visit, batch: Batch, blocks: int) -> bool:
        """Whether the head of WAITING finds its blocks; those behind it give theirs up if nothing runs."""
        rank = batch.rank
        while blocks > visit.blocks and blocks - visit.blocks + rank.engine.watermark > rank.free:
            holders = [waiting for waiting in rank.waiting[1:] if waiting.blocks > 0]
            if rank.running or not holders:
                return False
            self.lose(holders[-1], rank)
            batch.evicted.append(holders[-1])
        return True

    def admit(self, rank: Rank, lane: int, blocks: int) -> Visit:
        """The head of WAITING joins RUNNING."""
        visit = rank.waiting.pop(0)
        self.take(visit, rank, blocks)
        visit.lane = lane
        rank.running.append(visit)
        if self.admitted[visit.request] != self.admitted[visit.request]:
            self.admitted[visit.request] = self.now
        self.started(visit)
        return visit

    def lose(self, visit: Visit, rank: Rank) -> None:
        """A preemption: its KV is gone."""
        rank.free += visit.blocks
        visit.blocks = 0
        visit.computed = 0
        visit.emitted_here = visit.in_place = False
        self.preemptions[visit.request] += 1

    def found(self, visit: Visit, batch: Batch, lane: int, blocks: int) -> bool:
        """Blocks for a running visit, by preemption if need be; False if that fell on the visit itself."""
        rank = batch.rank
        while blocks - visit.blocks > rank.free:
            holders = [waiting for waiting in rank.waiting if waiting.blocks > 0]
            if holders:
                self.lose(holders[-1], rank)
                batch.evicted.append(holders[-1])
                continue
            last = rank.running[-1]
            if last.lane != lane and rank.replica.lanes[last.lane].batches is not None:
                raise HeldError
            self.lose(last, rank)
            batch.preempted.append(last)
            rank.running.remove(last)
            rank.waiting.insert(0, last)
            if last is visit:
                return False
        self.take(visit, rank, blocks)
        return True

    def unless_held(self, form: Callable[[Rank, int, bool], Batch], rank: Rank, lane: int, wait: bool) -> Batch:
        """The rank's batch, or an empty one with all blocks as they were if its lane has to wait for another."""
        mine = [(visit, visit.blocks) for visit in rank.running if visit.lane == lane]
        losses = sum(self.preemptions)
        try:
            return form(rank, lane, wait)
        except HeldError:
            for visit, blocks in mine:
                if visit in rank.running:
                    rank.free += visit.blocks - blocks
                    visit.blocks = blocks
            batch = Batch(rank)
            batch.tried = sum(self.preemptions) > losses
            return batch

    # Policies

    def admit_chunks(self, batch: Batch, lane: int, left: int, wait: bool) -> None:
        """WAITING from the head into the batch, split where the budget ends."""
        rank, engine = batch.rank, batch.rank.engine
        while not batch.preempted and left > 0 and len(rank.running) < engine.max_num_seqs and rank.waiting:
            head = rank.waiting[0]
            if wait and not head.in_place:
                break
            joins = head.in_place and engine.policy == rows.PREFILL_FIRST  # as a decode, in a step of decodes
            new = 1 if joins else rank.portion(head, left)
            asked = head.known if engine.reserve_full else head.computed + new
            if new == 0 or not self.admissible(head, batch, rank.blocks_of(head, asked)):
                break
            self.admit(rank, lane, rank.blocks_of(head, head.computed + new))
            if not joins:
                batch.add(head, new)
                left -= new

    def add_decodes(self, batch: Batch, lane: int) -> None:
        rank = batch.rank
        for visit in [visit for visit in rank.running if visit.lane == lane and visit.decoding]:
            if visit not in batch.preempted and self.found(visit, batch, lane, rank.blocks_for(visit.computed + 1)):
                batch.add(visit, 1)

    def chunked(self, rank: Rank, lane: int, wait: bool) -> Batch:
        batch, left = Batch(rank), rank.engine.max_num_batched_tokens
        for visit in [visit for visit in rank.running if visit.lane == lane]:
            if visit in batch.preempted:
                continue
            new = 1 if visit.decoding else rank.portion(visit, left)
            if new > 0 and self.found(visit, batch, lane, rank.blocks_for(visit.computed + new)):
                batch.add(visit, new)
                left -= new
        self.admit_chunks(batch, lane, left, wait)
        return batch

    def prefill_first(self, rank: Rank, lane: int, wait: bool) -> Batch:
        batch, left = Batch(rank), rank.engine.max_num_batched_tokens
        for visit in [visit for visit in rank.running if visit.lane == lane and not visit.decoding]:
            new = rank.portion(visit, left)
            if visit not in batch.preempted and new > 0 and self.found(visit, batch, lane, rank.blocks_for(visit.computed + new)):
                batch.add(visit, new)
                left -= new
        self.admit_chunks(batch, lane, left, wait)
        if not batch.work:
            self.add_decodes(batch, lane)
        return batch

    def admit_prompts(self, batch: Batch, lane: int, blocks: Callable[[Visit], int], wait: bool = False) -> None:
        """WAITING from the head: whole prompts within the budget (the first in any case) into the batch, handed visits into RUNNING."""
        rank, engine = batch.rank, batch.rank.engine
        while rank.waiting and len(rank.running) < engine.max_num_seqs:
            head = rank.waiting[0]
            if (wait and not head.in_place) or not self.admissible(head, batch, blocks(head)):
                break
            if not head.in_place:
                if batch.work and batch.tokens + head.rem > engine.max_num_batched_tokens:
                    break
                batch.add(head, head.rem)
            self.admit(rank, lane, blocks(head))

    def continuous(self, rank: Rank, lane: int, wait: bool) -> Batch:
        batch = Batch(rank)
        self.admit_prompts(batch, lane, lambda visit: rank.blocks_of(visit, visit.known), wait)
        if not batch.work:
            self.add_decodes(batch, lane)
        return batch

    def static(self, rank: Rank, lane: int, wait: bool) -> Batch:
        batch = Batch(rank)
        if not rank.running:
            self.admit_prompts(batch, lane, lambda visit: rank.blocks_for(visit.prompt + visit.handed + visit.limit - 1))
        if not batch.work:
            for visit in [visit for visit in rank.running if visit.lane == lane]:
                batch.add(visit, 1)
        return batch

    # Steps

    def steps(self, replica: Replica) -> bool:
        """Idle lanes start, the one idle longest first; whether any did, or lost KV in trying (then leases come before it tries again)."""
        policies = {rows.STATIC: self.static, rows.CONTINUOUS: self.continuous, rows.PREFILL_FIRST: self.prefill_first}
        form = policies.get(replica.engine.policy, self.chunked)
        self.look(replica)
        changed = False
        idle = [lane for lane in replica.lanes if lane.batches is None]
        for lane in sorted(idle, key=lambda lane: (lane.idle_since, lane.index)):
            if self.now >= replica.entrance:
                wait, count = postponed(replica, lane.index)
                batches = [self.unless_held(form, rank, lane.index, wait) for rank in replica.ranks]
                changed = changed or any(batch.work or batch.preempted or batch.evicted or batch.tried for batch in batches)
                if any(batch.work for batch in batches):
                    replica.postponed = count
                    self.begin(replica, lane, batches)
        return changed

    def look(self, replica: Replica) -> None:
        """At what has come in, if it is time."""
        if replica.since >= replica.engine.receive_interval or not any(rank.running for rank in replica.ranks):
            replica.since = 0
            for rank in replica.ranks:
                rank.waiting += rank.inbox
                rank.inbox.clear()

    def begin(self, replica: Replica, lane: Lane, batches: list[Batch]) -> None:
        tokens, prompted = sum(batch.tokens for batch in batches), any(batch.prompted for batch in batches)
        shared = shared_length(replica.cost, tokens, prompted)
        length = max(length_of(replica, batch, shared) for batch in batches if batch.work)
        lane.batches = batches
        replica.entrance = self.now + replica.cost.stage_share * length
        replica.steps += 1
        replica.busy += length
        for batch in batches:
            batch.rank.note_peak()
            replica.tokens += batch.tokens
            replica.peak_tokens = max(replica.peak_tokens, batch.tokens)
            replica.pairs += sum(new * before + new * (new + 1) / 2 for _, new, before in batch.chunks)
            replica.contexts += batch.context
        if len(self.trace) > 5000:
            raise LivelockError
        self.trace.append(Step(self.now, length, replica.index, lane.index, tuple(pictured(batch) for batch in batches)))
        self.at(self.now + length, 1, lane.key, lambda: self.step_end(lane, batches))
        if len(replica.lanes) > 1:
            self.at(replica.entrance, 3, 0, lambda: None)

    def step_end(self, lane: Lane, batches: list[Batch]) -> None:
        lane.batches = None
        lane.idle_since = self.now
        replica = batches[0].rank.replica
        prompts = any(batch.prompted for batch in batches)
        replica.since += replica.engine.receive_interval if prompts else 1
        for batch in batches:
            for visit, new, _, decode in batch.work:
                if visit.ended:
                    visit.padding += 1
                    continue
                visit.computed += new
                if decode or visit.rem == 0:
                    self.emits(visit)
            if batch.rank.engine.policy == rows.STATIC and all(visit.ended for visit in batch.rank.running):
                members, batch.rank.running = batch.rank.running, []
                for visit in members:
                    self.unless_kept(visit)

    def emits(self, visit: Visit) -> None:
        visit.emitted += 1
        visit.emitted_here = True
        assert visit.rank is not None
        message = visit.emitted >= min(visit.rank.engine.stream_interval, visit.emit)
        if visit.answers and message and self.first_token[visit.request] != self.first_token[visit.request]:
            self.first_token[visit.request] = self.now
        if visit.emitted == visit.emit:
            self.ends(visit)

    # Stations

    def join_station(self, visit: Visit) -> None:
        desk = self.desks[visit.server - self.pools]
        desk.queue.append(visit)
        self.progress(desk)
        self.serve(desk)

    def progress(self, desk: Desk) -> None:
        """Work done since the station was last looked at."""
        if desk.active:
            desk.active = [(visit, left - desk.speed * (self.now - desk.clock)) for visit, left in desk.active]
        desk.clock = self.now

    def serve(self, desk: Desk) -> None:
        """Free slots go to those who wait; the next end is foreseen anew."""
        while desk.queue and len(desk.active) < desk.station.slots:
            visit = desk.queue.pop(0)
            desk.active.append((visit, visit.work))
            desk.busy += visit.work
            self.started(visit)
        if desk.active:
            soonest = min(left for _, left in desk.active)
            when = max(self.now, self.now + soonest / desk.speed)
            event = self.created + 1
            desk.event = self.at(when, 2, desk.index, lambda: self.job_ends(desk, event, soonest))

    def job_ends(self, desk: Desk, event: int, soonest: float) -> None:
        if event != desk.event:
            return  # foreseen before something else changed
        leaving = [visit for visit, left in desk.active if left - soonest <= 1e-12 * visit.work]
        self.progress(desk)
        desk.active = [(visit, left) for visit, left in desk.active if visit not in leaving]
        self.serve(desk)
        for visit in leaving:
            if desk.station.latency > 0.0:
                self.at(self.now + desk.station.latency, 3, 0, partial(self.ends, visit))
            else:
                self.ends(visit)

    # Result

    def records(self) -> rows.Records:
        found: dict[str, Any] = {
            "arrival": self.arrival,
            "admitted": self.admitted,
            "first_token": self.first_token,
            "last_token": self.last_token,
            "end": self.end,
            "status": np.array(self.status, np.int8),
            "preemptions": self.preemptions,
            "visit_ready": self.ready,
            "visit_start": self.start,
            "visit_end": self.finish,
            "visit_replica": [visit.rank.replica.index if visit.rank is not None else -1 for visit in self.visits],
            "station_busy": [desk.busy for desk in self.desks],
        }
        counters = ("pool", "steps", "busy", "tokens", "pairs", "contexts", "peak_seqs", "peak_blocks", "peak_tokens")
        found |= {name: [getattr(replica, name) for replica in self.replicas] for name in counters}
        makespan = max([0.0, *(time for time in self.finish + self.arrival if time == time)])
        return rows.Records(**{name: np.array(column) for name, column in found.items()}, makespan=makespan)


def streaming(replica: Replica, prompt: int) -> float:
    """Share of the front end that output tokens take: those of one decode step of the fullest rank, at contexts of ``prompt``."""
    engine = replica.engine
    if engine.front_end_output == 0.0 or engine.policy == rows.STATIC:
        return 0.0
    decoding = [sum(visit.emitted_here for visit in rank.running) for rank in replica.ranks]
    if not sum(decoding):
        return 0.0
    shared = shared_length(replica.cost, sum(decoding), False)
    length = step_length(replica.cost, max(decoding), max(decoding) * prompt, [], shared)
    return min(engine.front_end_output * sum(decoding) / length, 0.95) if length > 0 else 0.95


def pictured(batch: Batch) -> RankBatch:
    """A batch as it goes into the trace."""
    chunks = tuple((visit.index, new, before) for visit, new, before in batch.chunks)
    lost = tuple(visit.index for visit in batch.evicted + batch.preempted)
    return RankBatch(tuple(visit.index for visit in batch.decodes), chunks, lost)


def length_of(replica: Replica, batch: Batch, shared: float) -> float:
    """Seconds of the batch beside what the ranks share."""
    chunks = [(new, before, new == visit.rem) for visit, new, before in batch.chunks]
    return step_length(replica.cost, len(batch.decodes), batch.context, chunks, shared)
