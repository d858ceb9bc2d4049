"""Designs of one pool, or of a prefill pool that hands over to a decode pool: figures of pools, put together as `analytic.combine` does."""

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from mist_dse.analytic import PoolSteady, Spread, Traffic
from mist_dse.analytic.combine import Handed
from mist_dse.analytic.spread import total
from mist_dse.analytic.traffic import realised_span
from mist_dse.explore.screens.linkscreen import Ends, Transfers, link, pool_ends, transfer_wait
from mist_dse.explore.screens.poolscreen import PoolScreen
from mist_dse.explore.screens.scene import Scene
from mist_dse.explore.spaces.table import Section
from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.rows import Floats, Ints

FIELDS = {"ttft": ("first", "wait"), "tpot": ("tpot", "first", "step"), "e2e": ("first", "decode", "step")}
"""Figures of pools that each latency needs."""

Spreads = dict[str, Spread]
"""``ttft``, ``tpot`` and ``e2e`` as far as they were asked for."""


class Chosen(NamedTuple):
    """A pool's screen, its links where it hands over, and which variant each design has."""

    screen: PoolScreen
    ends: Ends | None
    rows: Ints


class PairScreen:
    """What is the same for all designs of some sections whose requests meet one pool, or two by a hand-off."""

    def __init__(self, part: Section, scene: Scene, screens: Sequence[PoolScreen]) -> None:
        self.scene, self.screens = scene, tuple(screens)
        self.refused = tuple(reason for screen in screens for reason in screen.refused)
        engines = [number for number in range(len(screens)) if (scene.jobs.server == number).any()]
        first = scene.jobs.server[scene.jobs.first[:-1][np.diff(scene.jobs.first) > 0]]
        self.engines = sorted(engines, key=lambda number: not bool((first == number).any()))
        self.ends = [pool_ends(pool, part.base.topology) for pool in part.pools] if len(self.engines) == 2 else [None for _ in part.pools]
        traffics = [scene.traffic(part.pools[number].name, scene.jobs, gaps=True) for number in self.engines]
        self.traffic: Traffic = traffics[-1][0]
        self.known = bool(scene.jobs.answers[traffics[0][1]].any())
        lengths = self.traffic.fresh if len(self.engines) == 1 else self.traffic.start
        self.correlation = _correlation(lengths, self.traffic.steps)
        self.moved = self._transfers()

    def demand(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Highest demand of all servers of each design; nan where a pool does not fit."""
        asked = np.asarray(sum_of([screen.demand[rows] for screen, rows in zip(self.screens, chosen, strict=True)], np.maximum))
        if len(self.engines) == 2:
            source, target = self._sides(chosen)
            found = link(source, target, part.base.topology.node_size)
            asked = np.maximum(asked, self.moved.rate * self.moved.m1 * self._scale(source) / found.rate)
        return asked

    def latencies(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        """The latencies asked for, of each design."""
        pools = [pool_rows(self.screens[number].steady, chosen[number], wanted) for number in self.engines]
        if len(pools) == 1:
            found = {"ttft": pools[0].first, "tpot": pools[0].tpot}
            if "e2e" in wanted:
                found["e2e"] = total(pools[0].first, pools[0].decode, self.correlation)
            return {name: found[name] for name in wanted}
        free = self.known and not wanted - {"ttft"}
        delay = 0.0 if free else self._delay(part, chosen)
        handed = Handed(pools[0], pools[1], self.traffic, delay, self.known, self.correlation)
        return {name: getattr(handed, name) for name in wanted}

    def _delay(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Mean seconds that the hand-off adds after the prompt."""
        source, target = self._sides(chosen)
        found, scale = link(source, target, part.base.topology.node_size), self._scale(source)
        alone = self.moved.m1 * scale / found.cap
        if part.base.handoff is None or part.base.handoff.mode != "whole":
            first = self.screens[self.engines[0]].steady
            assert first is not None
            own = (first.first.mean - first.wait)[chosen[self.engines[0]]]
            layers = part.pools[self.engines[0]].cores[0].model.layers
            alone = np.maximum(alone / layers, alone - own)
        return np.asarray(alone + found.latency + transfer_wait(found, self.moved, scale, realised_span(self.scene.requests)))

    def _sides(self, chosen: Sequence[Ints]) -> tuple[Ends, Ends]:
        source, target = (self.ends[number] for number in self.engines)
        assert source is not None
        assert target is not None
        return source.at(chosen[self.engines[0]]), target.at(chosen[self.engines[1]])

    def _scale(self, source: Ends) -> Floats:
        """Bytes of a prompt token over those of the reference."""
        own = self.scene.reference.pools[self.engines[0]]
        return np.asarray(source.token / float(kv_bytes_of_prompt(own.model, own.dtypes)))

    def _transfers(self) -> Transfers:
        """The hand-offs of the reference: bytes of all visits of a request to the link together."""
        jobs, servers = self.scene.jobs, self.scene.lowered.servers
        counts = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
        moved = (jobs.server >= len(servers.engines)) & (jobs.work > 0)
        size = np.bincount(counts[moved], weights=jobs.work[moved], minlength=len(jobs.first) - 1)
        some = size[size > 0]
        if not some.size:
            return Transfers(0.0, 0.0, 0.0, 0.0)
        rate = float(self.traffic.rate.reshape(-1)[0])
        return Transfers(rate, *(float((some**power).mean()) for power in (1, 2, 3)))


def sum_of(values: Sequence[Floats], join: Any) -> Floats:
    """All values joined by a binary function."""
    found = values[0]
    for value in values[1:]:
        found = join(found, value)
    return found


def pool_rows(pool: PoolSteady | None, rows: Ints, wanted: Set[str]) -> PoolSteady:
    """The fields that the latencies ``wanted`` need, at some variants; the others are left as one number."""
    assert pool is not None
    needed = {name for latency in wanted for name in FIELDS[latency]}
    kept: dict[str, Any] = {name: np.zeros(1) for name in PoolSteady._fields}
    for name in needed:
        value = getattr(pool, name)
        kept[name] = value.at(rows) if isinstance(value, Spread) else value[rows]
    return PoolSteady(**kept)


def _correlation(first: Floats, second: Floats) -> float:
    """Correlation of two lengths; 0 where one does not vary."""
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
