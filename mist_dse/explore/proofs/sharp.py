"""Chats bounded pair by pair: where the prefill pool is not held back its own run is exact, and the decode pool is as busy as it makes it.

A few ms a design, a tenth of a simulation or less: for those that the floors of single pools leave over (`bounds.Bounds.sharpened`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from mist_dse.explore.proofs.combinations import Floor, Floors
from mist_dse.explore.proofs.exact import Stage, entry, longest_hops, ran_alone, slowest_link
from mist_dse.explore.proofs.exactdecoders import Decoder, decoder
from mist_dse.explore.proofs.exactpairs import pair_floors
from mist_dse.rows import Requests
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Topology
from mist_dse.stages import lower, lower_pool


@dataclass(frozen=True, slots=True)
class PairFloors:
    """Disaggregated chats to floors, in any process: the same requests for each; empty where nothing is proved."""

    floors: Floors

    def __call__(self, designs: Sequence[Design]) -> list[Floor]:
        """One mapping of metric to bound per design, in order; designs of one prefill pool stand together."""
        known = _Known(self.floors.requests)
        return [self.of(design, known) for design in designs]

    def of(self, design: Design, known: "_Known") -> Floor:
        """Bounds of one design."""
        pools = known.pools(design)
        if pools is None:
            return {}
        (source, stage), (target, after) = pools
        ends = slowest_link(source, design.topology), slowest_link(target, design.topology)
        hops = longest_hops(stage, after.sizes, ends)
        found = None if hops is None else pair_floors(stage, hops, after, target.replicas, self.floors.requests)
        return {} if found is None else self.floors.summary(found.ttft, found.tpot, found.e2e)


class _Known:
    """Prefill pools that have run, and decode pools by all but their replicas."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._row: Any = lru_cache(maxsize=64)(lower_pool)
        self._stages: dict[tuple[Pool, Topology], Stage | None] = {}
        self._decoders: dict[tuple[Pool, Topology, object], Decoder | None] = {}

    def pools(self, design: Design) -> tuple[tuple[Pool, Stage], tuple[Pool, Decoder]] | None:
        """The prefill pool and its run, and the decode pool and what it is asked; None where one is not known."""
        first, second = _places(design)
        source, target = design.pools[first], design.pools[second]
        one, two = (source, design.topology), (replace(target, replicas=1), design.topology, design.handoff)
        if one not in self._stages or two not in self._decoders:
            lowered = lower(design, self._requests, pool_row=self._row)
            if isinstance(lowered, Infeasible):
                return None
            if one not in self._stages:
                alone = entry(lowered.servers, lowered.jobs, first)
                self._stages = {one: None if alone is None else ran_alone(*alone, self._requests)}
            if two not in self._decoders:
                self._decoders[two] = decoder(lowered, second, self._requests)
        stage, after = self._stages[one], self._decoders[two]
        return None if stage is None or after is None else ((source, stage), (target, after))


def _places(design: Design) -> tuple[int, int]:
    """Places of the prefill and the decode pool."""
    prefill = next(stage.name for stage in design.pipeline.stages if stage.kind == "prefill")
    first = next(number for number, pool in enumerate(design.pools) if prefill in pool.stages)
    return first, 1 - first
