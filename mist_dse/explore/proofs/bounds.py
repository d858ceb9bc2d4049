"""What no schedule can beat, for many designs at once: bounds of pools and of their combinations, times each design's rent.

Chats (one prefill before one decode) are bounded by their pool variants, each once (`poolbounds`): distinct pools are few, designs are
found by indexing. All other pipelines take one relaxed bound per combination of kinds of engine (`combinations`). The rent is exact where
the book bills by device, else that of the devices alone (`amounts`). Preconditions stand with each bound: `analytic.bound`, `exact`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.proofs.combinations import Floor, Floors, combinations
from mist_dse.explore.proofs.pairbounds import Wanted, pool_bounds
from mist_dse.explore.proofs.poolbounds import Demands, PoolFloors, covered
from mist_dse.explore.proofs.sharp import PairFloors
from mist_dse.explore.runs.executor import Execute, Lost, serial
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.screening import ScreenTable
from mist_dse.explore.spaces.amounts import pool_usd_per_hour
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable, Section
from mist_dse.metrics import METRICS, Limit, Objective, parse_limit
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

MOST_BOUNDS = 4000
"""Most combinations of kinds, and engines of chats, that are bounded, 10 ms each; beyond that no bounds are taken."""

CHUNK = 16
"""Of them bounded at once: their pools are lowered once."""

PAIRS = 256
"""Designs bounded pair by pair at once."""

BOUNDED = (*(name for name, metric in METRICS.items() if metric.unit == "s" and metric.bound == "unloaded"),
           "throughput_rps", "output_tokens_per_s", "total_tokens_per_s", "usd_per_hour", "usd_per_mtok", "accelerators")  # fmt: skip
"""Metrics that `design_bounds` gives."""

FIXED = ("usd_per_hour", "accelerators", "usd_per_mtok")
"""Bounds that follow from what a design is, the last also from its rate."""

ROUNDING = 1e-9
"""Relative error of sums in floating point: values closer than that are equal, to a bound and to a member of the front alike."""

SLACK = float(np.log10(1 + ROUNDING))
"""`ROUNDING` on log axes."""

ROWS = 1 << 16
"""Designs compared with a front at once."""


class Asked(NamedTuple):
    """What the search was asked, and where bounds are taken."""

    space: Space
    workload: Workload
    requests: Requests
    prices: PriceBook
    execute: Execute = serial


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of every design of a screened table: what a search may leave unsimulated.

    ``points`` [n, m]: bound of each objective, to minimise, on log axes (nan where none was found: such a design is never excluded);
    ``may`` [n]: designs that fit, are not saturated by the demand function, and whose bounds break no constraint; ``sharp`` [n]: designs
    bounded pair by pair already, which takes ms each (`sharp`).
    """

    points: Floats
    may: NDArray[np.bool_]
    goals: tuple[Objective, ...]
    sharp: NDArray[np.bool_]
    source: "Source"

    @classmethod
    def taken(cls, asked: Asked, screened: ScreenTable) -> "Bounds | None":
        """Bounds of all designs that may be feasible; None where an objective has none, or there are more than `MOST_BOUNDS` to take."""
        if unbounded(asked.space):
            return None
        source = Source(asked, screened.table)
        index = np.flatnonzero(screened.demand <= BAND[1])
        floors = Floors(asked.workload, asked.requests)
        found = design_bounds(screened.table, index, source.names, floors=floors, prices=asked.prices, execute=asked.execute)
        if found is None:
            return None
        may = np.zeros(len(screened.demand), dtype=bool)
        may[index] = ~source.broken(found)
        band = np.flatnonzero(may & screened.uncertain)
        may[band] = ~saturated(screened.table, band, asked.requests, execute=asked.execute)
        points = np.full((len(may), len(source.goals)), np.nan)
        points[index] = minimised(found, source.goals, logarithmic=True)
        return cls(points, may, source.goals, np.zeros(len(may), dtype=bool), source)

    def left(self, front: Floats, simulated: Ints, epsilon: float = 0.0) -> Ints:
        """Indices, ascending, of designs that ``front`` does not exclude and that are not ``simulated``; empty: certified.

        ``front`` [k, m]: objectives of feasible simulated designs as measured, in the order of the space's objectives (all of them or
        the non-dominated ones: the same); ``simulated``: indices into the table, designs of a certified outcome class counted. At
        ``epsilon`` a design is excluded if some member is at least as good as 1 + epsilon times its bound in every objective; values
        within `ROUNDING` are equal. Keeps nothing between calls and takes tens of ms at 1e6 designs: call it after each batch.
        """
        may = self.may.copy()
        may[simulated] = False
        rest = np.flatnonzero(may)
        return rest[~reached(self.points[rest], self.measured(front), epsilon)]

    def remaining(self, front: Floats, simulated: Ints, epsilon: float = 0.0) -> "tuple[Bounds, Ints]":
        """Sharper bounds of what is `left`, and what is left by them: before anything of it is simulated."""
        left = self.left(front, simulated, epsilon)
        sharper = self.sharpened(left)
        return sharper, left if sharper is self else sharper.left(front, simulated, epsilon)

    def sharpened(self, index: Ints) -> "Bounds":
        """These bounds, those of the designs ``index`` taken pair by pair where they have not been."""
        some = self.source.paired(index[~self.sharp[index]])
        if not some.size:
            return self
        found = self.source.by_pair(some)
        points, may, sharp = self.points.copy(), self.may.copy(), self.sharp.copy()
        points[some] = np.fmax(points[some], minimised(found, self.goals, logarithmic=True))
        may[some] &= ~self.source.broken(found)
        sharp[some] = True
        return replace(self, points=points, may=may, sharp=sharp)

    def violated(self, simulated: Ints, values: Floats) -> Ints:
        """Of the designs ``simulated``, whose objectives were measured as ``values`` [k, m] (nan: not measured), those better than their
        own bound: an alarm, since the bounds of this search then prove nothing."""
        better = self.points[simulated] > self.measured(values) + SLACK
        return simulated[better.any(axis=1)]

    def measured(self, values: Floats) -> Floats:
        """Measured objectives on the axes of ``points``."""
        return minimised({goal.metric: values[:, column] for column, goal in enumerate(self.goals)}, self.goals, logarithmic=True)


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked of the designs of a table, and how to bound it."""

    asked: Asked
    table: DesignTable

    @property
    def goals(self) -> tuple[Objective, ...]:
        """The objectives."""
        return tuple(self.asked.space.objectives)

    @property
    def limits(self) -> list[Limit]:
        """Limits that a bound can break: upper ones where less is better, lower ones where more is."""
        slo = self.asked.workload.slo
        limits = [parse_limit(text) for text in (*self.asked.space.constraints, *(slo.limits if slo else ()))]
        return [limit for limit in limits if limit.metric in BOUNDED and (limit.op[0] == "<") == (METRICS[limit.metric].direction == "min")]

    @property
    def names(self) -> list[str]:
        """Metrics of objectives and limits."""
        return list(dict.fromkeys([*(goal.metric for goal in self.goals), *(limit.metric for limit in self.limits)]))

    def broken(self, bounds: Mapping[str, Floats]) -> NDArray[np.bool_]:
        """Designs whose bound breaks a limit, by more than rounding."""
        broken = np.zeros(len(next(iter(bounds.values()))), dtype=bool)
        for limit in self.limits:
            weaker = bounds[limit.metric] * (1 - ROUNDING if METRICS[limit.metric].direction == "min" else 1 + ROUNDING)
            known = ~np.isnan(weaker)
            broken[known] |= limit.excess(weaker[known]) > 0
        return broken

    def paired(self, index: Ints) -> Ints:
        """Those of the designs ``index`` (ascending) that pair floors cover, and have something to say of."""
        if set(self.names) <= {"usd_per_hour", "accelerators"}:
            return index[:0]
        spans = [span for span in _spans(self.table, index) if len(span.part.pools) == 2 and covered(span.part, self.asked.requests)]
        return np.concatenate([index[span.rows] for span in spans]) if spans else index[:0]

    def by_pair(self, index: Ints) -> dict[str, Floats]:
        """Bounds of the designs ``index`` (of `paired`), pair by pair: nan where nothing is proved."""
        asked = _asked_of(self.names)
        spans, found = _spans(self.table, index), {name: np.full(len(index), np.nan) for name in dict.fromkeys([*self.names, *asked])}
        for span in spans:
            first = next(number for number, pool in enumerate(span.part.pools) if pool.role == "prefill")
            order = np.argsort(span.chosen[first], kind="stable") + span.rows.start
            designs = [self.table.design(int(index[row])) for row in order]
            work = PairFloors(Floors(self.asked.workload, self.asked.requests))
            floors = _executed(work, designs, self.asked.execute, {}, size=PAIRS)
            for name in asked:
                found[name][order] = np.array([floor.get(name) for floor in floors], dtype=float)
            _add_fixed(found, span, self.asked.prices)
        return {name: found[name] for name in self.names}


def reached(points: Floats, front: Floats, epsilon: float) -> NDArray[np.bool_]:
    """Which ``points`` [n, m] some member of ``front`` [k, m] equals or beats in every axis, up to a factor 1 + epsilon; log axes."""
    found = np.zeros(len(points), dtype=bool)
    if not len(front):
        return found
    members = np.unique(front[np.isfinite(front).all(axis=1)], axis=0) - np.log10(1 + epsilon) - SLACK
    members = members[np.argsort(-_share_beaten(points, members), kind="stable")]
    for low in range(0, len(points), ROWS):
        rest = np.arange(low, min(low + ROWS, len(points)))
        for member in members:
            hit = (points[rest] >= member).all(axis=1)
            found[rest[hit]] = True
            rest = rest[~hit]
            if not rest.size:
                break
    return found


def _share_beaten(points: Floats, members: Floats) -> Floats:
    """Share of a sample of the points that each member beats: those that beat most are compared first."""
    sample = points[:: max(len(points) // 512, 1)]
    return np.array([(sample >= member).all(axis=1).mean() for member in members]) if len(sample) else np.zeros(len(members))


def unbounded(space: Space) -> list[str]:
    """Objectives without a bound in their direction."""
    return [goal.metric for goal in space.objectives if goal.metric not in BOUNDED or goal.direction != METRICS[goal.metric].direction]


class Span(NamedTuple):
    """Designs of one section: where their rows are, and the variant of each pool."""

    part: Section
    rows: slice
    chosen: tuple[Ints, ...]


def design_bounds(table: DesignTable, index: Ints, names: Sequence[str], *, floors: Floors, prices: PriceBook,
                  execute: Execute = serial) -> dict[str, Floats] | None:  # fmt: skip
    """Bounds of the metrics ``names`` (of `BOUNDED`) of designs ``index`` (ascending); nan where none was found.

    None where more than `MOST_BOUNDS` engines and combinations of engines would have to be bounded.
    """
    spans = _spans(table, index)
    asked = _asked_of(names)
    found = {name: np.full(len(index), np.nan) for name in dict.fromkeys([*names, *asked])}
    chats = [span for span in spans if asked and covered(span.part, floors.requests)]
    others = [(span, *combinations(span.part, span.chosen)) for span in spans if asked and not covered(span.part, floors.requests)]
    wanted = Wanted({})
    for span in chats:
        wanted.add(span.part, span.chosen)
    if len(wanted.tasks) + sum(len(designs) for _, designs, _ in others) > MOST_BOUNDS:
        return None
    pools = dict(zip(wanted.tasks, _executed(PoolFloors(floors), list(wanted.tasks.values()), execute, None), strict=True))
    for span in chats:
        _write(found, span.rows, pool_bounds(span.part, span.chosen, asked, tasks=wanted.tasks, found=pools, floors=floors))
    for span, designs, which in others:
        kinds: list[Floor] = _executed(floors, designs, execute, {})
        _write(found, span.rows, {name: np.array([floor.get(name) for floor in kinds], dtype=float)[which] for name in asked})
    for span in spans:
        _add_fixed(found, span, prices)
    return {name: found[name] for name in names}


def saturated(table: DesignTable, index: Ints, requests: Requests, *, execute: Execute = serial) -> NDArray[np.bool_]:
    """Which of the designs ``index`` (ascending) are saturated for certain by the demand function, without simulating any.

    Of chats the demand on each pool variant is found once, and that on the hand-off left out; of others, that on every server of at most
    `MOST_BOUNDS` designs. What is left out can only make more of them saturated.
    """
    out = np.zeros(len(index), dtype=bool)
    asked = Demands(requests)
    for span in _spans(table, index):
        if covered(span.part, requests):
            for pool, variants in zip(span.part.pools, span.chosen, strict=True):
                _, first, which = np.unique(variants, return_index=True, return_inverse=True)
                designs = [table.design(int(index[span.rows.start + row])) for row in first]
                each = _executed(asked, designs, execute, {})
                out[span.rows] |= np.array([row.get(pool.name, 0.0) >= 1 for row in each], dtype=bool)[which.ravel()]
        elif len(index) <= MOST_BOUNDS:
            each = _executed(asked, [table.design(int(row)) for row in index[span.rows]], execute, {})
            out[span.rows] = [max(row.values(), default=0.0) >= 1 for row in each]
    return out


def _asked_of(names: Sequence[str]) -> list[str]:
    """What floors must give for the metrics ``names``."""
    return list(dict.fromkeys([name for name in names if name not in FIXED] + ["output_tokens_per_s"] * ("usd_per_mtok" in names)))


def _executed(work: Callable[[Any], Any], items: Sequence[Any], execute: Execute, lost: Any, size: int = CHUNK) -> list[Any]:
    """``work`` on every item, in order, chunk by chunk; ``lost`` for those of a chunk that killed its worker."""
    chunks = [items[low : low + size] for low in range(0, len(items), size)]
    done = dict(execute(work, chunks))
    return [
        each for number, chunk in enumerate(chunks) for each in ([lost] * len(chunk) if isinstance(done[number], Lost) else done[number])
    ]


def _spans(table: DesignTable, index: Ints) -> list[Span]:
    """Designs ``index`` by section."""
    found, offset = [], 0
    for part in table.sections:
        low, high = (int(place) for place in np.searchsorted(index, [offset, offset + len(part)]))
        if low < high:
            found.append(Span(part, slice(low, high), part.variants(index[low:high] - offset)))
        offset += len(part)
    return found


def _write(found: dict[str, Floats], rows: slice, values: Mapping[str, Floats]) -> None:
    for name, column in values.items():
        found[name][rows] = column


def _add_fixed(found: dict[str, Floats], span: Span, prices: PriceBook) -> None:
    """What designs cost and hold at least; services may add to both."""
    book, node = replace(prices, billing="device"), span.part.base.topology.node_size
    pools = list(zip(span.part.pools, span.chosen, strict=True))
    rents = [pool_usd_per_hour(pool.cores, pool.core, pool.replicas, prices=book, node_size=node)[variant] for pool, variant in pools]
    rent = np.asarray(sum(rents), dtype=float)
    if "usd_per_hour" in found:
        found["usd_per_hour"][span.rows] = rent
    if "accelerators" in found:
        devices = [
            np.array([core.parallelism.devices for core in pool.cores])[pool.core[variant]] * pool.replicas[variant]
            for pool, variant in pools
        ]
        found["accelerators"][span.rows] = np.sum(devices, axis=0)
    if "usd_per_mtok" in found:
        found["usd_per_mtok"][span.rows] = rent / 3600 / found["output_tokens_per_s"][span.rows] * 1e6
