"""Designs of any pipeline: the visit graph of each scenario, walked for arrays of designs with the stays of their servers' variants.

As `analytic.network` walks it for one design and all requests: means add along paths, joins wait for the last (or the first, or a majority)
of what they join, branches are those that each scenario takes. Percentiles are those of the scenarios. What one server's variant does to
the arrivals at the next is left at that of the reference design.
"""

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic.spread import LEVELS, Spread, total
from mist_dse.explore.screens.linkscreen import Ends, link, pool_ends
from mist_dse.explore.screens.pairscreen import Spreads, sum_of
from mist_dse.explore.screens.poolscreen import PoolScreen
from mist_dse.explore.screens.sample import shape_of
from mist_dse.explore.screens.stays import Singles, Stage, Stays, fixed_stays, pool_stays, service_stays
from mist_dse.explore.spaces.table import Section
from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.rows import CANCEL, ON_END, ON_START, Floats, Ints, Jobs
from mist_dse.specs.design import Design
from mist_dse.specs.service import Service
from mist_dse.stages import handoffs

ROWS = 256
"""Designs walked at once: their times on all scenarios stay in cache."""


class Times(NamedTuple):
    """Seconds [variants, scenarios of a shape] of one visit after it is ready: to its start, to its first message, and to its end."""

    start: Singles
    message: Singles
    end: Singles


class Place(NamedTuple):
    """One visit of requests of a shape: its server, the visits that signal it (and whether at their start), those that cancel it."""

    server: int
    times: Times | None  # of its server's variants; None of hand-offs
    sources: tuple[tuple[int, bool], ...]
    need: int
    cancels: tuple[int, ...]
    speaks_first: bool  # the user sees something of it, and of no visit that is surely before
    speaks_last: bool  # the same, and of no visit that surely comes after
    starts: bool  # something is signalled when it starts
    leaf: bool  # nothing is signalled when it ends
    work: Singles  # of hand-offs


class Shape(NamedTuple):
    """Scenarios ``rows`` whose visits follow one another alike."""

    rows: Ints
    places: tuple[Place, ...]

    @property
    def speaks(self) -> bool:
        """Whether the user sees anything of it."""
        return any(place.speaks_first for place in self.places)


class WalkScreen:
    """Sections of one pipeline: the stays of every variant of every server, and the scenarios' shapes."""

    def __init__(self, parts: Sequence[Section], here: Stage, screens: Sequence[PoolScreen]) -> None:
        self.here, self.screens, part = here, tuple(screens), parts[0]
        self.refused = tuple(reason for screen in screens for reason in screen.refused)
        names = here.servers.names
        self.links = _links(part, here)
        self.services = {
            service.name: list(dict.fromkeys(_service(each.base, service.name) for each in parts)) for service in part.base.services
        }
        self.stays: dict[int, Stays] = {}
        for number, name in enumerate(names):
            if number < len(screens):
                self.stays[number] = pool_stays(here, number, screens[number])
            elif name in self.services:
                self.stays[number] = service_stays(here, name, self.services[name])
            elif number not in self.links:
                self.stays[number] = fixed_stays(here, number)
        self.shapes = _shapes(here, self.stays)
        order = np.concatenate([shape.rows for shape in self.shapes if shape.speaks] or [np.zeros(0, dtype=np.int64)])
        tokens = here.scene.requests.output_tokens[here.chosen[order]]
        self.several, self.gaps = tokens >= 2, (1 / np.maximum(tokens - 1, 1)).astype(np.float32)
        self.main = self._main()

    def demand(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Highest demand of all servers of each design; nan where a pool does not fit."""
        rows = self._rows(part, chosen)
        asked = sum_of([np.broadcast_to(self.stays[number].demand[rows[number]], chosen[0].shape) for number in self.stays], np.maximum)
        for handed in self.links.values():
            asked = np.maximum(asked, handed.demand(chosen))
        return np.asarray(asked)

    def latencies(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        """The latencies asked for, of each design."""
        pieces = [self._block(part, [each[low : low + ROWS] for each in chosen], wanted) for low in range(0, len(chosen[0]), ROWS)]
        return {name: Spread(*(np.concatenate([piece[name][level] for piece in pieces]) for level in range(4))) for name in wanted}

    def _block(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        rows, moved = self._rows(part, chosen), {number: handed.seconds(chosen) for number, handed in self.links.items()}
        names = [name for name in ("first", "last", "end") if _needs(name, wanted)]
        every = [(shape.speaks, walked(shape, rows, moved, names)) for shape in self.shapes]
        spoken = [found for speaks, found in every if speaks]
        spreads: Spreads = {}
        if "tpot" in wanted:  # first: `spread` puts rows in order
            spreads["tpot"] = self._tpot(_beside([found["last"] - found["first"] for found in spoken], len(chosen[0])), rows)
        if "ttft" in wanted:
            spreads["ttft"] = spread(_beside([found["first"] for found in spoken], len(chosen[0])))
        if "e2e" in wanted:
            spreads["e2e"] = spread(_beside([found["end"] for _, found in every], len(chosen[0])))
        return spreads

    def _tpot(self, interval: Singles, rows: dict[int, Any]) -> Spread:
        """Time between output tokens: of each scenario, and by chance as in the pool that most answers come from."""
        interval *= self.gaps
        sample = spread(interval if self.several.all() else interval[:, self.several])
        own = self.stays[self.main].tpot
        if own is None:
            return sample
        tpot = own.at(rows[self.main])
        chance = tpot.shifted(-tpot.mean)
        factor = sample.mean / np.where(tpot.mean > 0, tpot.mean, np.inf)
        return total(sample, Spread(*(value * factor for value in chance)))

    def _rows(self, part: Section, chosen: Sequence[Ints]) -> dict[int, Any]:
        """The variant of each server; a number where it is the same for all designs."""
        rows: dict[int, Any] = dict(enumerate(chosen))
        for number in self.stays:
            if number >= len(chosen):
                name = self.here.servers.names[number]
                rows[number] = self.services[name].index(_service(part.base, name)) if name in self.services else 0
        return rows

    def _main(self) -> int:
        jobs = self.here.whole.jobs
        return int(np.argmax(np.bincount(jobs.server, weights=jobs.emit * (jobs.answers > 0), minlength=len(self.screens))))


class Moment(NamedTuple):
    """A time [designs, scenarios] in two parts that are added up where they must be: what designs differ in, and what they share."""

    own: Any  # [designs, scenarios], or 0
    same: Any  # [1, scenarios], or 0

    def after(self, table: Singles, rows: Any) -> "Moment":
        """Later by the seconds of a server's variants; a whole number where that is the same for all designs."""
        if isinstance(rows, int):
            return Moment(self.own, self.same + table[rows][None, :])
        taken = np.take(table, rows, axis=0)
        taken += self.own
        return Moment(taken, self.same)

    @property
    def whole(self) -> Any:
        """The time."""
        return self.own + self.same


def walked(shape: Shape, rows: dict[int, Any], moved: dict[int, tuple[Singles, Singles]], wanted: Sequence[str]) -> dict[str, Any]:
    """First message, last token and end [designs, scenarios] of the requests of one shape, as far as ``wanted``."""
    start: list[Moment] = []
    end: list[Moment] = []
    cut: dict[int, Any] = {}
    message: dict[int, Moment] = {}
    for place, at in enumerate(shape.places):
        ready = _joined([(start if on_start else end)[source] for source, on_start in at.sources], at.need)
        for loser in at.cancels:
            cut[loser] = np.minimum(cut.get(loser, np.float32(np.inf)), ready.whole)
        begin, finish, said = _visited(at, ready, rows, moved)
        start.append(begin)
        end.append(finish)
        if said is not None:
            message[place] = said
    return {name: _outcome(name, shape, (message, end, cut)) for name in wanted}


def _visited(at: Place, ready: Moment, rows: dict[int, Any],
             moved: dict[int, tuple[Singles, Singles]]) -> tuple[Moment, Moment, Moment | None]:  # fmt: skip
    """Start, end and first message of one visit that is ready, the first and the last where somebody waits for them."""
    if at.times is None:
        pace, latency = moved[at.server]
        taken = at.work * pace[:, None]
        taken += latency[:, None]
        taken += ready.own
        return ready, Moment(taken, ready.same), None
    variant = rows[at.server]
    start = ready.after(at.times.start, variant) if at.starts else ready
    return start, ready.after(at.times.end, variant), ready.after(at.times.message, variant) if at.speaks_first else None


def _outcome(name: str, shape: Shape, times: tuple[dict[int, Moment], list[Moment], dict[int, Any]]) -> Any:
    message, end, cut = times
    if name == "end":
        leaves = [place for place, at in enumerate(shape.places) if at.leaf or place in cut]
        return sum_of([np.minimum(end[place].whole, cut[place]) if place in cut else end[place].whole for place in leaves], np.maximum)
    if not shape.speaks:
        return np.float32(np.nan)
    if name == "first":
        seen = [np.where(said.whole <= cut[place], said.whole, np.inf) if place in cut else said.whole for place, said in message.items()]
        return sum_of(seen, np.minimum)
    final = [(end[place].whole, cut.get(place)) for place, at in enumerate(shape.places) if at.speaks_last]
    return sum_of([value if limit is None else np.where(value <= limit, value, -np.inf) for value, limit in final], np.maximum)


def _joined(times: list[Moment], need: int) -> Moment:
    """Time of the ``need``-th signal; 0 without signals."""
    nothing = np.float32(0.0)
    if not times:
        return Moment(nothing, nothing)
    if len(times) == 1:
        return times[0]
    if need >= len(times):
        return Moment(sum_of([time.whole for time in times], np.maximum), nothing)
    ordered = np.sort(np.stack(np.broadcast_arrays(*(time.whole for time in times))), axis=0)
    return Moment(ordered[need - 1], nothing)


def _beside(parts: list[Any], designs: int) -> Singles:
    """The scenarios of all shapes, one row per design."""
    if len(parts) == 1 and len(parts[0]) == designs:
        return np.asarray(parts[0])
    every = [np.broadcast_to(part, (designs, part.shape[1])) for part in parts]
    return np.concatenate(every, axis=1) if every else np.zeros((designs, 0), dtype=np.float32)


def spread(values: Singles) -> Spread:
    """Mean and percentiles of each row, which is put in order."""
    count = values.shape[1]
    if not count:
        return Spread(*(np.full(len(values), np.nan) for _ in range(4)))
    mean = values.mean(axis=1).astype(float)
    values.sort(axis=1)
    levels = []
    for level in LEVELS:
        place = level * (count - 1)
        low, high = int(place), min(int(place) + 1, count - 1)
        levels.append((values[:, low] + (place - low) * (values[:, high] - values[:, low])).astype(float))
    return Spread(mean, *levels)


class Handover:
    """One hand-off: pools ``source`` and ``target``, and the bytes per request over its link."""

    def __init__(self, ends: tuple[tuple[int, Ends], tuple[int, Ends]], load: float, node: int, token: float) -> None:
        (self.source, self.first), (self.target, self.second) = ends
        self.load, self.node, self.token = load, node, token

    def demand(self, chosen: Sequence[Ints]) -> Floats:
        """Demand on the link of each design."""
        source, target = self.first.at(chosen[self.source]), self.second.at(chosen[self.target])
        return np.asarray(self.load * source.token / self.token / link(source, target, self.node).rate)

    def seconds(self, chosen: Sequence[Ints]) -> tuple[Singles, Singles]:
        """Seconds per byte of the reference, and latency, of each design."""
        source, target = self.first.at(chosen[self.source]), self.second.at(chosen[self.target])
        found = link(source, target, self.node)
        return (source.token / self.token / found.cap).astype(np.float32), found.latency.astype(np.float32)


def _links(part: Section, here: Stage) -> dict[int, Handover]:
    """The hand-offs between pools, by the number of their station."""
    found: dict[int, Handover] = {}
    names, requests = [pool.name for pool in part.pools], here.scene.requests
    for place, pair in enumerate(handoffs(here.scene.reference)):
        number = len(names) + place
        source, target = names.index(pair.source), names.index(pair.target)
        ends = tuple((each, pool_ends(part.pools[each], part.base.topology)) for each in (source, target))
        work = float(here.scene.jobs.work[here.scene.jobs.server == number].sum()) / max(len(requests.arrival), 1)
        own = here.scene.reference.pools[source]
        token = float(kv_bytes_of_prompt(own.model, own.dtypes))
        found[number] = Handover((ends[0], ends[1]), here.offered[0].rate * work, part.base.topology.node_size, token)
    return found


def _service(base: Design, name: str) -> Service:
    return next(each for each in base.services if each.name == name)


def _needs(name: str, wanted: Set[str]) -> bool:
    return bool({"first": {"ttft", "tpot"}, "last": {"tpot"}, "end": {"e2e"}}[name] & wanted)


def _shapes(here: Stage, stays: dict[int, Stays]) -> list[Shape]:
    """Scenarios by the shape of their visits."""
    jobs = here.small.cancels
    column = np.zeros(len(jobs.server), dtype=np.int64)
    for each in here.small.visits:
        column[each.number] = np.arange(len(each.number))
    groups: dict[bytes, list[int]] = {}
    for request in range(len(jobs.first) - 1):
        groups.setdefault(shape_of(jobs, request), []).append(request)
    return [Shape(np.array(members), _places(jobs, stays, np.array(members), column)) for members in groups.values()]


def _places(jobs: Jobs, stays: dict[int, Stays], members: Ints, column: Ints) -> tuple[Place, ...]:
    base, stop = int(jobs.first[members[0]]), int(jobs.first[members[0] + 1])
    signals = [
        [(int(jobs.edge_to[edge]) - base, int(jobs.edge_on[edge])) for edge in range(*jobs.edge_first[visit : visit + 2].tolist())]
        for visit in range(base, stop)
    ]
    speaks = [bool(jobs.answers[visit]) and (own := stays.get(int(jobs.server[visit]))) is not None and own.tpot is not None
              for visit in range(base, stop)]  # fmt: skip
    early, late = _outer(speaks, signals, jobs.need[base:stop].tolist())
    return tuple(
        Place(
            server=int(jobs.server[base + place]),
            times=_times(stays[int(jobs.server[base + place])], column[jobs.first[members] + place])
            if int(jobs.server[base + place]) in stays
            else None,
            sources=tuple(
                (source, on == ON_START) for source, each in enumerate(signals) for to, on in each if to == place and on != CANCEL
            ),
            need=int(jobs.need[base + place]),
            cancels=tuple(target for target, on in out if on == CANCEL),
            speaks_first=early[place],
            speaks_last=late[place],
            starts=any(on == ON_START for _, on in out),
            leaf=all(on != ON_END for _, on in out),
            work=jobs.work[jobs.first[members] + place].astype(np.float32),
        )
        for place, out in enumerate(signals)
    )


def _outer(speaks: Sequence[bool], signals: Sequence[Sequence[tuple[int, int]]], need: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """Visits that speak while none that speaks is surely before them, or surely after; with cancellations nothing is sure."""
    come = [sum(to == place and on != CANCEL for out in signals for to, on in out) for place in range(len(speaks))]
    if any(on == CANCEL for out in signals for _, on in out):
        return list(speaks), list(speaks)
    alone = {(source, to) for source, out in enumerate(signals) for to, on in out if on == ON_END and need[to] >= come[to]}
    spoken, speaking = list(speaks), list(speaks)
    early, late = list(speaks), list(speaks)
    for place in range(len(speaks)):
        before = any(spoken[source] for source, to in alone if to == place)
        early[place], spoken[place] = speaks[place] and not before, speaks[place] or before
    for place in reversed(range(len(speaks))):
        after = any(speaking[to] for source, to in alone if source == place)
        late[place], speaking[place] = speaks[place] and not after, speaks[place] or after
    return early, late


def _times(own: Stays, columns: Ints) -> Times:
    """The stays of one visit of each scenario of a shape."""
    before = np.ascontiguousarray(own.before[:, columns])
    return Times(before, before + own.message[:, columns], before + own.whole[:, columns])
