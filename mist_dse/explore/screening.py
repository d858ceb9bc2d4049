"""Every design of a space at fidelity steady, as arrays: each distinct pool once, combinations by broadcasting.

What a screen is for is the order in which designs are simulated: latencies are the mean field's, the hand-off crosses the
narrowest link that joins as many devices as the design has, and rejections are not foreseen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic import DesignSteady, PoolSteady, Spread, colocated, combine
from mist_dse.analytic.traffic import realised_rate
from mist_dse.catalog import Catalog
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.poolscreen import BAND, PoolScreen, mean_cache_bytes, pool_screen, pool_traffic
from mist_dse.explore.space import Space
from mist_dse.explore.table import DesignTable, Section
from mist_dse.metrics import parse_limit
from mist_dse.requests import realise
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

CHUNK = 1 << 15
"""Designs combined at once: arrays that stay in cache."""

LATENCIES = tuple(f"{name}_{level}" for name in ("ttft", "tpot", "e2e") for level in Spread._fields)
METRICS = (*LATENCIES, "throughput_rps", "output_tokens_per_s", "usd_per_hour", "usd_per_mtok", "accelerators")
"""Metrics that a screen gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenTable:
    """The screened designs of ``table``, by index: ``metrics`` by name, ``demand`` (highest of all servers, nan where a pool
    does not fit), ``feasible``: fits, is not saturated and keeps the constraints. ``refused``: why pools do not fit."""

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


def screen(space: Space, workload: Workload, *, prices: PriceBook | str = "default", requests: Requests | None = None,
           metrics: Sequence[str] | None = None, table: DesignTable | None = None) -> ScreenTable:  # fmt: skip
    """Every design of ``space`` under ``workload`` at fidelity steady.

    ``metrics``: names of `METRICS` to keep (None: all), beside those of the space's constraints; ``requests`` and ``table``
    spare their computation. ``EmptySpaceError`` where no design fits or is within limits, ``SpaceError`` for a closed loop.
    """
    book = Catalog().prices(prices) if isinstance(prices, str) else prices
    asked = requests if requests is not None else realise(workload)
    if asked.clients:
        raise SpaceError("a closed loop has no rate to screen at: search it with nsga2, tpe or random")
    designs = table if table is not None else space.table(book)
    limits = [limit for limit in map(parse_limit, space.constraints) if limit.metric in METRICS]
    kept = tuple(dict.fromkeys([*(METRICS if metrics is None else metrics), *(limit.metric for limit in limits)]))
    columns = {name: np.full(len(designs), np.nan) for name in ("demand", *kept)}
    refused = _fill(columns, designs, asked, book)
    demand = columns.pop("demand")
    if not np.isfinite(demand).any():
        raise EmptySpaceError(_nothing_fits(refused))
    feasible = demand < 1
    for limit in limits:
        feasible &= limit.excess(columns[limit.metric]) <= 0
    return ScreenTable(table=designs, metrics=columns, demand=demand, feasible=feasible, refused=refused)


def section_figures(part: Section, screens: Sequence[PoolScreen], index: Ints, requests: Requests) -> tuple[DesignSteady, list[Ints]]:
    """Figures of designs ``index`` of a section, and the variant of each pool; nan where a pool does not fit."""
    chosen = list(part.variants(index))
    correlation = _correlation(requests)
    if len(screens) == 1:
        return colocated(_rows(screens[0].steady, chosen[0]), correlation), chosen
    if len(screens) != 2:
        raise SpaceError(f"a screen covers one pool, or one that prefills and one that decodes: these designs have {len(screens)}")
    first, second = sorted((0, 1), key=lambda position: part.pools[position].role == "decode")
    prefill, decode = _rows(screens[first].steady, chosen[first]), _rows(screens[second].steady, chosen[second])
    pool = part.pools[second].cores[0]
    ends = (screens[first], chosen[first]), (screens[second], chosen[second])
    delay, demand = _handoff(part, *ends, own=prefill.first.mean - prefill.wait, requests=requests)
    # `combine` adds an axis after prefill's and one before decode's: with decode as a column they pair up one to one.
    pairs = combine(
        prefill,
        _map(decode, lambda value: value[:, None]),
        pool_traffic("decode", pool, requests),
        delay=delay[:, None],
        demand=demand[:, None],
        first_token_from=part.pools[first].cores[0].engine.first_token_from,
        correlation=correlation,
    )
    flat = [Spread(*(np.ravel(value) for value in spread)) for spread in pairs[1:]]
    return DesignSteady(np.ravel(pairs.demand), *flat), chosen


def _fill(columns: dict[str, Floats], designs: DesignTable, requests: Requests, prices: PriceBook) -> tuple[Infeasible, ...]:
    """Write every column, chunk by chunk; why pools do not fit."""
    known: dict[int, PoolScreen] = {}
    refused: dict[Infeasible, None] = {}
    start = 0
    for part in designs.sections:
        for pool in part.pools:
            if id(pool) not in known:
                known[id(pool)] = pool_screen(pool, part.base.topology, requests, prices)
                refused |= dict.fromkeys(known[id(pool)].refused)
        screens = [known[id(pool)] for pool in part.pools]
        for low in range(0, len(part), CHUNK):
            index = np.arange(low, min(low + CHUNK, len(part)))
            figures, chosen = section_figures(part, screens, index, requests)
            for name, column in columns.items():
                column[start + index] = _metric(name, figures, screens, chosen, requests)
        start += len(part)
    return tuple(refused)


def _metric(name: str, figures: DesignSteady, screens: Sequence[PoolScreen], chosen: Sequence[Ints], requests: Requests) -> Floats | float:
    rate, tokens = realised_rate(requests), float(requests.output_tokens.mean())
    if name == "demand":
        return figures.demand
    if name in LATENCIES:
        latency, level = name.split("_")
        found: Floats = getattr(getattr(figures, latency), level)
        return found
    if name == "accelerators":
        return np.asarray(sum(each.devices[variant] for each, variant in zip(screens, chosen, strict=True)))
    if name == "throughput_rps":
        return rate
    if name == "output_tokens_per_s":
        return rate * tokens
    price = np.asarray(sum(each.usd_per_hour[variant] for each, variant in zip(screens, chosen, strict=True)))
    return price if name == "usd_per_hour" else price / 3600 / (rate * tokens) * 1e6


def _handoff(part: Section, source: tuple[PoolScreen, Ints], target: tuple[PoolScreen, Ints], *, own: Floats,
             requests: Requests) -> tuple[Floats, Floats]:  # fmt: skip
    """Mean seconds that the hand-off adds after the prompt, and the demand on its link."""
    (one, p), (two, d) = source, target
    pool = part.pools[0].cores[0]
    size = mean_cache_bytes(pool, requests)
    level = _level(part, source, target)
    cap = np.minimum(one.reach[p, level], two.reach[d, level])
    rate = np.minimum(one.share[p, level], two.share[d, level])
    latency = np.maximum(one.latency[p, level], two.latency[d, level])
    demand = realised_rate(requests) * size / rate
    alone = size / np.minimum(cap, rate)
    if part.base.handoff is not None and part.base.handoff.mode == "whole":
        return alone + latency, demand
    return np.maximum(alone / pool.model.layers, alone - own) + latency, demand


def _level(part: Section, source: tuple[PoolScreen, Ints], target: tuple[PoolScreen, Ints]) -> Ints:
    """The innermost link that joins both pools: pools of different accelerators never share a node unless told to."""
    (one, p), (two, d) = source, target
    node = part.base.topology.node_size
    span = one.devices[p] + two.devices[d]
    span = np.where((one.kind[p] != two.kind[d]) & (span <= node), 2 * node, span)
    return np.asarray(np.minimum((one.sizes[p] < span[:, None]).sum(axis=1), one.sizes.shape[1] - 1))


def _rows(pool: PoolSteady, rows: Ints) -> PoolSteady:
    """The fields that combining reads, at some variants; the others are left as one number."""
    read = ("demand", "step", "tpot", "first", "wait", "decode")
    kept: dict[str, Any] = {name: np.zeros(1) for name in PoolSteady._fields}
    for name in read:
        value = getattr(pool, name)
        kept[name] = value.at(rows) if isinstance(value, Spread) else value[rows]
    return PoolSteady(**kept)


def _map(pool: PoolSteady, change: Callable[[Floats], Floats]) -> PoolSteady:
    changed: list[Any] = [Spread(*map(change, value)) if isinstance(value, Spread) else change(value) for value in pool]
    return PoolSteady(*changed)


def _correlation(requests: Requests) -> float:
    """Correlation of prompt and answer lengths; 0 where one does not vary."""
    fresh, output = requests.input_tokens - requests.cached_tokens, requests.output_tokens
    if len(fresh) < 2 or fresh.std() == 0 or output.std() == 0:
        return 0.0
    return float(np.corrcoef(fresh, output)[0, 1])


def _nothing_fits(refused: Sequence[Infeasible]) -> str:
    nearest = min(refused, key=lambda reason: reason.margin)
    return f"no pool of the space fits; the nearest miss: {nearest.constraint} ({nearest.margin:.0%} off)"
