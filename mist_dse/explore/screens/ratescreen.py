"""The largest rate at which each design keeps its limits, on the screen: many arrival rates at once, by means.

Every distinct pool is worked out at every rate that it sustains, in one call for each kind of engine; a design's means are sums over its
pools, as `analytic.combine` has them. Waits are those of an endless run. Percentiles do not add up over pools: for those take `screen` at
one rate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic import Traffic, pool_steady
from mist_dse.analytic.capacity import sequence_slots
from mist_dse.analytic.pool import Variants as Arrays
from mist_dse.analytic.traffic import realised_rate
from mist_dse.catalog import Catalog
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.screens.linkscreen import Link, link, transfer_wait
from mist_dse.explore.screens.pairscreen import PairScreen
from mist_dse.explore.screens.poolscreen import Kind, PoolScreen
from mist_dse.explore.screens.sectionscreen import section_screens
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable, Section
from mist_dse.metrics import parse_limit
from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.requests import paced, realise
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

MEANS = ("ttft_mean", "tpot_mean")
"""Metrics that limits may name here."""

CHUNK = 1 << 14
"""Designs put together at once: arrays that stay in cache."""

_VISIT = ("fresh", "start", "steps", "reserved", "gaps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateScreen:
    """``rates`` [k] (1/s) that were tried, ascending; ``largest`` [n]: the highest of them at which design n of ``table`` keeps every
    limit, 0 where none; ``best`` [k]: of the designs that keep them at that rate the one with the least mean TPOT, -1 where there is
    none, and its ``ttft`` [k] and ``tpot`` [k] (s)."""

    table: DesignTable
    rates: Floats
    largest: Floats
    best: Ints
    ttft: Floats
    tpot: Floats


class Rated(NamedTuple):
    """Means [k, v] of every variant of a pool at every rate, nan where it is saturated: demand, first emission, its own steps, TPOT and
    the time of a step."""

    demand: Floats
    first: Floats
    own: Floats
    tpot: Floats
    step: Floats


def rate_screen(space: Space, workload: Workload, rates: Sequence[float], *, limits: Sequence[str] = (),
                prices: PriceBook | str = "default", table: DesignTable | None = None) -> RateScreen:  # fmt: skip
    """Every design of ``space`` at every one of ``rates``: the requests of ``workload`` come faster or slower.

    ``limits`` are on `MEANS`, such as ``"ttft_mean <= 1 s"``. ``SpaceError`` for other limits, a closed loop, no rate above 0, and for
    designs whose servers cannot be taken one by one.
    """
    book = Catalog().prices(prices) if isinstance(prices, str) else prices
    requests, tried = realise(workload), np.unique(np.asarray(rates, dtype=float))
    kept = _upper_limits(limits)
    if requests.clients or not tried.size or tried[0] <= 0:
        raise SpaceError(f"rates are {list(rates)!r} of workload {workload.name}: give rates > 0, and arrivals that have one")
    designs = table if table is not None else space.table(book)
    fastest = paced(requests, tried[-1] / _changeable_rate(requests))
    found = RateScreen(table=designs, rates=tried, largest=np.zeros(len(designs)), best=np.full(len(tried), -1, dtype=np.int64),
                       ttft=np.full(len(tried), np.nan), tpot=np.full(len(tried), np.nan))  # fmt: skip
    for start, ttft, tpot in _means(designs, fastest, tried, book):
        _note(found, start, ttft, tpot, kept)
    return found


def _changeable_rate(requests: Requests) -> float:
    rate = realised_rate(requests)
    if not 0 < rate < np.inf:
        raise SpaceError("the workload has no arrival rate to change")
    return rate


def _upper_limits(texts: Sequence[str]) -> dict[str, float]:
    """The least upper limit on each of `MEANS`."""
    found: dict[str, float] = {}
    for text in texts:
        limit = parse_limit(text)
        if limit.metric not in MEANS or not limit.op.startswith("<"):
            raise SpaceError(f"limit {text!r}: rates are screened by upper limits on {' and '.join(MEANS)} alone")
        found[limit.metric] = min(limit.value, found.get(limit.metric, np.inf))
    return found


def _note(found: RateScreen, start: int, ttft: Floats, tpot: Floats, kept: dict[str, float]) -> None:
    """Write what a chunk of designs [k, n] from ``start`` on has to say."""
    keeps = (ttft <= kept.get("ttft_mean", np.inf)) & (tpot <= kept.get("tpot_mean", np.inf))
    rows = slice(start, start + ttft.shape[1])
    found.largest[rows] = (keeps * found.rates[:, None]).max(axis=0)
    within = np.where(keeps, tpot, np.inf)
    least = within.argmin(axis=1)
    value = within[np.arange(len(least)), least]
    better = value < np.where(found.best >= 0, found.tpot, np.inf)
    found.best[better], found.tpot[better] = start + least[better], value[better]
    found.ttft[better] = ttft[np.arange(len(least)), least][better]


def _means(designs: DesignTable, fastest: Requests, rates: Floats, prices: PriceBook) -> Iterator[tuple[int, Floats, Floats]]:
    """(first design, mean TTFT [k, n], mean TPOT [k, n]) of every chunk of designs; nan where saturated."""
    start, known = 0, dict[int, Rated]()
    for part, screened in zip(designs.sections, section_screens(designs, fastest, prices), strict=True):
        pair = screened.figures
        if not isinstance(pair, PairScreen):
            raise SpaceError("rates are screened for one pool, or one that prefills and one that decodes: take screen at each rate")
        for number in pair.engines:
            if id(pair.screens[number]) not in known:
                known[id(pair.screens[number])] = _rated(pair, part, number, rates / rates[-1])
        pools = [known[id(pair.screens[number])] for number in pair.engines]
        for low in range(0, len(part), CHUNK):
            chosen = part.variants(np.arange(low, min(low + CHUNK, len(part))))
            yield start + low, *_combined(pair, part, chosen, pools, rates)
        start += len(part)


def _rated(pair: PairScreen, part: Section, number: int, shares: Floats) -> Rated:
    """Means of one pool's variants at every rate: ``shares`` of that of the scene."""
    screen: PoolScreen = pair.screens[number]
    found = Rated(*(np.full((len(shares), len(screen.demand)), np.nan) for _ in Rated._fields))
    found.demand[:] = shares[:, None] * screen.demand
    for kind in screen.kinds:
        lowered = pair.scene.lowered_with(part.pools[number].name, kind.core)
        if isinstance(lowered, Infeasible):
            continue
        traffic, visits = pair.scene.traffic(part.pools[number].name, lowered[1], gaps=True)
        if len(visits):
            _write(found, kind, _endless(traffic), shares)
    return found


def _write(found: Rated, kind: Kind, traffic: Traffic, shares: Floats) -> None:
    """The means of one kind of engine: variants whose limits come to the same sequences and tokens are worked out once."""
    limits = kind.arrays
    slots = sequence_slots(kind.engine, traffic, limits.max_num_seqs, limits.blocks)
    binding = np.stack([limits.replicas, limits.max_num_batched_tokens, slots])
    _, first, alike = np.unique(binding, axis=1, return_index=True, return_inverse=True)
    which, one = np.nonzero(found.demand[:, kind.rows[first]] < 1)
    if not len(which):
        return
    arrays = Arrays(*(value[first[one]] for value in limits))
    steady = pool_steady(kind.cost, kind.engine, traffic._replace(rate=traffic.rate * shares[which]), arrays)
    figures = (steady.first.mean, steady.first.mean - steady.wait, steady.tpot.mean, steady.step)
    for column, figure in zip((found.first, found.own, found.tpot, found.step), figures, strict=True):
        each = np.full((len(shares), len(first)), np.nan)
        each[which, one] = figure
        column[:, kind.rows] = each[:, alike.reshape(-1)]


def _endless(traffic: Traffic) -> Traffic:
    """Traffic that goes on for ever; equal visits stand for one, whose means are the same."""
    columns = {name: getattr(traffic, name) for name in _VISIT}
    if any((values != values[0]).any() for values in columns.values()):
        return traffic._replace(horizon=np.inf)
    first = np.zeros(1, dtype=np.int64)
    return traffic._replace(horizon=np.inf, order=first, edges=first, **{name: values[:1] for name, values in columns.items()})


def _combined(pair: PairScreen, part: Section, chosen: Sequence[Ints], pools: Sequence[Rated], rates: Floats) -> tuple[Floats, Floats]:
    """Mean TTFT and TPOT [k, n] of a chunk of designs."""
    first, rows = pools[0], chosen[pair.engines[0]]
    if len(pools) == 1:
        return first.first[:, rows], first.tpot[:, rows]
    ttft, own = first.first[:, rows], first.own[:, rows]
    delay, shut = _handoff(pair, part, chosen, own, rates / rates[-1])
    second, rows = pools[1], chosen[pair.engines[1]]
    tpot, emission = second.tpot[:, rows], second.first[:, rows]
    if pair.known:
        gaps = pair.traffic.gaps[pair.traffic.steps > 0]
        tpot += (emission + delay - second.step[:, rows]) * float((1 / gaps).mean())
    else:
        ttft += emission + delay
    lost = np.isnan(ttft) | np.isnan(tpot) | shut
    ttft[lost] = tpot[lost] = np.nan
    return ttft, tpot


def _handoff(pair: PairScreen, part: Section, chosen: Sequence[Ints], own: Floats,
             shares: Floats) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
    """Mean seconds [k, n] that the hand-off adds after the prompt, and whether its link is saturated [k, n]."""
    source, target = (end.at(chosen[number]) for number, end in enumerate(pair.ends) if end is not None)
    if pair.engines[0] > pair.engines[1]:
        source, target = target, source
    reference = pair.scene.reference.pools[pair.engines[0]]
    scale = source.token / float(kv_bytes_of_prompt(reference.model, reference.dtypes))
    found: Link = link(source, target, part.base.topology.node_size)
    alone = np.broadcast_to(pair.moved.m1 * scale / found.cap, own.shape)
    if part.base.handoff is None or part.base.handoff.mode != "whole":
        alone = np.maximum(alone / reference.model.layers, alone - own)
    moved = [pair.moved._replace(rate=pair.moved.rate * share) for share in shares]
    waits = np.array([transfer_wait(found, each, scale, np.inf) for each in moved])
    return alone + found.latency + waits, shares[:, None] * (pair.moved.rate * pair.moved.m1 * scale / found.rate) >= 1
