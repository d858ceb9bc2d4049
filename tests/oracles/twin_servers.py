"""The twin's stations and batchers, and the clock that all servers share (`docs/semantics.md`, Time, Stations and Batchers)."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

from mist_dse import rows
from tests.oracles.twin_state import Replica, Visit


@dataclass(eq=False)
class Clock:
    """Events in order of (time, kind, sequence)."""

    now: float = 0.0
    events: list[tuple[float, int, int, int, Callable[[], None]]] = field(default_factory=list)
    created: int = 0
    instants: list[float] = field(default_factory=list)  # all that were

    def advance(self) -> None:
        """To the next event."""
        self.now = self.events[0][0]
        self.instants.append(self.now)

    def at(self, time: float, kind: int, sequence: int, action: Callable[[], None]) -> int:
        """An event; the returned number tells it from every other."""
        self.created += 1
        heapq.heappush(self.events, (time, kind, self.created if kind == 3 else sequence, self.created, action))
        return self.created

    def wake(self, time: float) -> None:
        """Everything is looked at again then."""
        self.at(time, 3, 0, lambda: None)


@dataclass(eq=False)
class Server:
    """What stations and batchers need; the seconds or the work that they were ``busy`` with."""

    index: int
    clock: Clock
    started: Callable[[Visit], None]
    ends: Callable[[Visit], None]
    kind: Any
    busy: float = 0.0


@dataclass(eq=False)
class Desk(Server):
    """A rate-shared station at work."""

    kind: rows.Station
    together: list["Desk"] = field(default_factory=list)  # all that draw from one rate, itself too
    shared: float = inf  # that rate
    active: list[tuple[Visit, float]] = field(default_factory=list)  # (visit, work left)
    queue: list[Visit] = field(default_factory=list)
    seen: float = 0.0  # when the work left was last brought up to date
    event: int = -1  # the one event that still counts

    @property
    def speed(self) -> float:
        return min(self.alone, fair(sorted(desk.alone for desk in self.together for _ in desk.active), self.shared))

    @property
    def alone(self) -> float:
        """What each job would get if nobody else drew from the rate."""
        return min(self.kind.cap, self.kind.rate / len(self.active))

    def join(self, visit: Visit) -> None:
        self.queue.append(visit)
        self.progress()
        self.serve()

    def leave(self, visit: Visit) -> None:
        """A cancelled visit, wherever it is."""
        self.progress()
        self.busy -= sum(left for other, left in self.active if other is visit)
        self.active = [(other, left) for other, left in self.active if other is not visit]
        self.queue = [other for other in self.queue if other is not visit]
        self.serve()

    def progress(self) -> None:
        """All that draw from one rate have worked until now."""
        speeds = [desk.speed if desk.active else 0.0 for desk in self.together]
        for desk, speed in zip(self.together, speeds, strict=True):
            desk.active = [(visit, left - speed * (self.clock.now - desk.seen)) for visit, left in desk.active]
            desk.seen = self.clock.now

    def serve(self) -> None:
        """Free slots go to those who wait; the next ends are foreseen anew."""
        while self.queue and len(self.active) < self.kind.slots:
            visit = self.queue.pop(0)
            self.active.append((visit, visit.work))
            self.busy += visit.work
            self.started(visit)
        for desk in self.together:
            desk.foresee()

    def foresee(self) -> None:
        self.event = -1
        if self.active:
            soonest = min(left for _, left in self.active)
            event = self.clock.created + 1
            end = max(self.clock.now, self.clock.now + soonest / self.speed)
            self.event = self.clock.at(end, 2, self.index, lambda: self.job_ends(event, soonest))

    def job_ends(self, event: int, soonest: float) -> None:
        if event != self.event:
            return  # foreseen before something else changed
        leaving = [visit for visit, left in self.active if left - soonest <= 1e-12 * visit.work]
        self.progress()
        for done in leaving:
            self.active = [(visit, left) for visit, left in self.active if visit is not done]
            self.serve()
            if self.kind.latency > 0.0:
                self.clock.at(self.clock.now + self.kind.latency, 3, 0, partial(self.ends, done))
            else:
                self.ends(done)


def fair(wanted: list[float], rate: float) -> float:
    """The most that anybody gets of a rate that many draw from, who want so much each, the least first."""
    left = rate
    for i, most in enumerate(wanted):
        if most * (len(wanted) - i) > left:
            return left / (len(wanted) - i)
        left -= most
    return inf


@dataclass(eq=False)
class Bench(Server):
    """A batcher at work."""

    kind: rows.Batcher
    queue: list[tuple[Visit, float]] = field(default_factory=list)  # (visit, when it joined)
    taken: int = 0  # workers

    def join(self, visit: Visit) -> None:
        self.queue.append((visit, self.clock.now))
        if self.kind.wait > 0.0:
            self.clock.wake(self.clock.now + self.kind.wait)

    def leave(self, visit: Visit) -> None:
        """A cancelled visit; a batch that it is in keeps its place."""
        self.queue = [(other, joined) for other, joined in self.queue if other is not visit]

    def serve(self) -> bool:
        """Free workers start batches; whether any did."""
        batcher, before = self.kind, self.taken
        while self.taken < batcher.slots and self.is_due():
            batch = [visit for visit, _ in self.queue[: batcher.size]]
            self.queue = self.queue[batcher.size :]
            length = float(batcher.time[len(batch)]) + batcher.work_time * sum(visit.work for visit in batch)
            self.taken += 1
            self.busy += length
            self.clock.at(self.clock.now + length, 2, self.index, partial(self.batch_ends, batch))
            for visit in batch:
                self.started(visit)
        return self.taken > before

    def is_busy(self) -> bool:
        return self.taken > 0

    def is_due(self) -> bool:
        return bool(self.queue) and (len(self.queue) >= self.kind.size or self.clock.now >= self.queue[0][1] + self.kind.wait)

    def batch_ends(self, batch: list[Visit]) -> None:
        self.taken -= 1
        for visit in batch:
            self.ends(visit)


def desks_of(servers: rows.Servers, *calls: Any) -> list[Desk]:
    """The stations, each with those that it draws from one rate with."""
    desks = [Desk(i, *calls, station) for i, station in enumerate(servers.stations)]
    for desk in desks:
        at = desk.kind.shared
        desk.together = [desk] if at < 0 else [other for other in desks if other.kind.shared == at]
        desk.shared = inf if at < 0 else servers.shared[at]
    return desks


def devices_of(replicas: list[Replica], benches: list[Bench]) -> list[list[Replica | Bench]]:
    """Who shares a device with others."""
    sharers: dict[int, list[Replica | Bench]] = {}
    for replica in replicas:
        if replica.engine.device >= 0:
            sharers.setdefault(replica.engine.device + replica.number, []).append(replica)
    for bench in benches:
        if bench.kind.device >= 0:
            sharers.setdefault(bench.kind.device, []).append(bench)
    return [sharers[device] for device in sorted(sharers) if len(sharers[device]) > 1]
