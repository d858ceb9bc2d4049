"""Every design of a space at fidelity steady, as arrays: each distinct server once, designs by broadcasting.

What a screen is for is the order in which designs are simulated: latencies are the mean field's, the hand-off crosses the
narrowest link that joins as many devices as the design has, and rejections are not foreseen. Demand, and with it the verdict, is that of
the one demand function. A whole table of figures is `screen`; what may be on the first fronts of a space too large for one is `shortlist`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic import Spread
from mist_dse.analytic.traffic import realised_rate
from mist_dse.catalog import Catalog
from mist_dse.explore.errors import EmptySpaceError, LargeSpaceError, UnscreenableError
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.sectionscreen import SectionScreen, section_screens
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable, Section
from mist_dse.metrics import Limit, parse_limit
from mist_dse.requests import realise
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

CHUNK = 1 << 15
"""Designs combined at once: arrays that stay in cache."""

WHOLE = 20_000_000
"""Most designs of a whole table of figures: 160 MB for each screened metric."""

THREADS = 2
"""Chunks worked on at once; NumPy releases the interpreter's lock in the operations that take the time."""

LATENCIES = tuple(f"{name}_{level}" for name in ("ttft", "tpot", "e2e") for level in Spread._fields)
METRICS = (*LATENCIES, "throughput_rps", "output_tokens_per_s", "usd_per_hour", "usd_per_mtok", "accelerators")
"""Metrics that a screen gives."""

Reached = Callable[[int, int], object]
"""Called with the designs screened and the designs in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenTable:
    """The screened designs of ``table``, by index: ``metrics`` by name, ``demand`` (highest of all servers, nan where a pool
    does not fit), ``feasible``: fits, is not saturated and keeps the constraints. ``refused``: why pools do not fit.

    Latencies of designs of a demand beyond `BAND` are nan: capacity comes first.
    """

    table: DesignTable
    metrics: dict[str, Floats]
    demand: Floats
    feasible: NDArray[np.bool_]
    refused: tuple[Infeasible, ...]

    def __len__(self) -> int:
        return len(self.demand)

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Demand so near 1 that the screen cannot be sure."""
        return (self.demand >= BAND[0]) & (self.demand <= BAND[1])


class Chunk(NamedTuple):
    """Designs ``start`` .. ``stop`` - 1 of a table: ``columns`` by metric, ``demand`` and ``feasible`` as in `ScreenTable`."""

    start: int
    stop: int
    columns: dict[str, Floats]
    demand: Floats
    feasible: NDArray[np.bool_]


class Screener:
    """A space ready to be screened, any part of it at any time: every distinct server's figures are known, no design's are kept.

    ``metrics``: names of `METRICS` (None: all), beside those of the space's constraints. ``UnscreenableError`` for what cannot be screened.
    """

    def __init__(self, space: Space, requests: Requests, *, prices: PriceBook, metrics: Sequence[str] | None = None,
                 table: DesignTable | None = None) -> None:  # fmt: skip
        if requests.clients:
            raise UnscreenableError("a closed loop has no rate to screen at")
        self.table = table if table is not None else space.table(prices)
        self.limits: list[Limit] = [limit for limit in map(parse_limit, space.constraints) if limit.metric in METRICS]
        self.names = tuple(dict.fromkeys([*(METRICS if metrics is None else metrics), *(limit.metric for limit in self.limits)]))
        self.requests = requests
        self._screens = section_screens(self.table, requests, prices)
        self._wanted = frozenset(name.split("_")[0] for name in self.names if name in LATENCIES)
        self.refused = tuple(dict.fromkeys(reason for screen in self._screens for reason in screen.refused))
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in self.table.sections])]).astype(np.int64)

    def part(self, start: int, stop: int) -> Chunk:
        """The figures of designs ``start`` .. ``stop`` - 1."""
        found = {name: np.full(stop - start, np.nan) for name in ("demand", *self.names)}
        sections = range(int(np.searchsorted(self._starts, start, side="right")) - 1, len(self._screens))
        for number in sections:
            low, high = max(start, int(self._starts[number])), min(stop, int(self._starts[number + 1]))
            if low >= stop:
                break
            if low < high:
                index = np.arange(low, high) - self._starts[number]
                self._write(found, slice(low - start, high - start), (self.table.sections[number], self._screens[number], index))
        demand = found.pop("demand")
        feasible = demand < 1
        for limit in self.limits:
            feasible &= limit.excess(found[limit.metric]) <= 0
        return Chunk(start, stop, found, demand, feasible)

    def chunks(self, progress: Reached | None = None) -> Iterator[Chunk]:
        """All designs in order, a chunk at a time; memory is that of a few chunks."""
        count, size = len(self.table), CHUNK
        with ThreadPoolExecutor(THREADS) as threads:
            ahead: list[Future[Chunk]] = []
            for start in range(0, count, size):
                ahead.append(threads.submit(self.part, start, min(start + size, count)))
                if len(ahead) > THREADS:
                    yield from self._taken(ahead, progress)
            while ahead:
                yield from self._taken(ahead, progress)

    def _taken(self, ahead: "list[Future[Chunk]]", progress: Reached | None) -> Iterator[Chunk]:
        found = ahead.pop(0).result()
        yield found
        if progress is not None:
            progress(found.stop, len(self.table))

    def _write(self, into: dict[str, Floats], rows: slice, what: "tuple[Section, SectionScreen, Ints]") -> None:
        """The columns of one section's designs; latencies of those that capacity leaves alone."""
        part, screen, index = what
        chosen = part.variants(index)
        demand = into["demand"][rows] = screen.demand(part, chosen)
        kept: Any = np.flatnonzero(demand <= BAND[1])
        if kept.size == len(demand):
            kept = slice(None)
        if not np.isfinite(demand[kept]).any():
            latencies = dict.fromkeys(self._wanted, Spread(*(np.full(1, np.nan),) * 4))
        else:
            latencies = screen.latencies(part, [variant[kept] for variant in chosen], self._wanted)
        fixed = self._fixed(screen, part, chosen)
        for name in self.names:
            if name in LATENCIES:
                latency, level = name.split("_")
                into[name][rows][kept] = getattr(latencies[latency], level)
            else:
                into[name][rows] = fixed[name]

    def _fixed(self, screen: "SectionScreen", part: Section, chosen: Sequence[Ints]) -> dict[str, Floats | float]:
        rate, tokens = realised_rate(self.requests), float(self.requests.output_tokens.mean())
        found: dict[str, Floats | float] = {"throughput_rps": rate, "output_tokens_per_s": rate * tokens}
        if "accelerators" in self.names:
            found["accelerators"] = screen.devices(part, chosen)
        if {"usd_per_hour", "usd_per_mtok"} & set(self.names):
            found["usd_per_hour"] = rent = screen.rent(part, chosen)
            found["usd_per_mtok"] = rent / 3600 / (rate * tokens) * 1e6
        return found


def screen(space: Space, workload: Workload, *, prices: PriceBook | str = "default", requests: Requests | None = None,
           metrics: Sequence[str] | None = None, table: DesignTable | None = None,
           progress: Reached | None = None) -> ScreenTable:  # fmt: skip
    """Every design of ``space`` under ``workload`` at fidelity steady.

    ``metrics``: names of `METRICS` to keep (None: all), beside those of the space's constraints; ``requests`` and ``table``
    spare their computation. ``EmptySpaceError`` where no design fits or is within limits, ``LargeSpaceError`` from `WHOLE` designs on
    (`shortlist` takes them), ``UnscreenableError`` for a closed loop and for servers that share devices, memory or KV tiers.
    """
    book = Catalog().prices(prices) if isinstance(prices, str) else prices
    asked = requests if requests is not None else realise(workload)
    found = Screener(space, asked, prices=book, metrics=metrics, table=table)
    size = len(found.table)
    if size > WHOLE:
        raise LargeSpaceError(f"the space has {size:,} designs, more than the {WHOLE:,} of one table of figures: ask for a shortlist")
    columns = {name: np.empty(size) for name in found.names}
    demand, feasible = np.empty(size), np.empty(size, dtype=bool)
    for chunk in found.chunks(progress):
        rows = slice(chunk.start, chunk.stop)
        demand[rows], feasible[rows] = chunk.demand, chunk.feasible
        for name, column in chunk.columns.items():
            columns[name][rows] = column
    if not np.isfinite(demand).any():
        raise EmptySpaceError(nothing_fits(found.refused))
    return ScreenTable(table=found.table, metrics=columns, demand=demand, feasible=feasible, refused=found.refused)


def nothing_fits(refused: Sequence[Infeasible]) -> str:
    """Why no design is left at all."""
    nearest = min(refused, key=lambda reason: reason.margin)
    return f"no pool of the space fits; the nearest miss: {nearest.constraint} ({nearest.margin:.0%} off)"
