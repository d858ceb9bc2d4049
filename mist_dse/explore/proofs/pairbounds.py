"""From floors of pools to bounds of designs: a prefill and a decode pool at a time, each distinct pair once.

TTFT = the end of the prompt + what the decode pool needs to the first token (nothing where the prefill gives it), E2E = the end of the
prompt + what it needs to the last, TPOT = the decode pool's own. Sums are taken request by request, statistics of them afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mist_dse.explore.proofs.combinations import Floors
from mist_dse.explore.proofs.poolbounds import Answers, Found, Prompts, Task
from mist_dse.explore.spaces.table import Section, Variants
from mist_dse.metrics import counted_requests, least_rates
from mist_dse.metrics.table import STATISTICS
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.hardware import Topology

Key = tuple[str, Pool, Topology]
"""What floors of a pool hang on: its role, its settings, where it stands."""

RATES = ("throughput_rps", "output_tokens_per_s", "total_tokens_per_s")
"""Bounds that the latest end gives."""

Columns = dict[str, Floats]


class Wanted(NamedTuple):
    """The tasks of a section's pools, by what they hang on."""

    tasks: dict[Key, Task]

    def add(self, part: Section, chosen: Sequence[Ints]) -> None:
        """The pools of some designs of a section, with all numbers of replicas among them."""
        for number, (pool, variants) in enumerate(zip(part.pools, chosen, strict=True)):
            cores = pool.core[variants]
            for core, first in zip(*np.unique(cores, return_index=True), strict=True):
                key = _key(part, pool, int(core))
                known = self.tasks[key].replicas if key in self.tasks else ()
                counts = tuple(sorted({*known, *np.unique(pool.replicas[variants[cores == core]]).tolist()}))
                design = self.tasks[key].design if key in self.tasks else _design(part, [int(each[first]) for each in chosen])
                position = self.tasks[key].pool if key in self.tasks else number
                self.tasks[key] = Task(design, position, pool.role, counts)


def pool_bounds(part: Section, chosen: Sequence[Ints], names: Sequence[str], *, tasks: Mapping[Key, Task], found: Mapping[Key, Found],
                floors: Floors) -> Columns:  # fmt: skip
    """Bounds of the metrics ``names`` of the designs of a section; nan where none was found."""
    if len(part.pools) == 1:
        return _colocated(part, chosen[0], names, tasks, found)
    return _apart(part, chosen, names, tasks=tasks, found=found, floors=floors)


def _colocated(part: Section, variants: Ints, names: Sequence[str], tasks: Mapping[Key, Task], found: Mapping[Key, Found]) -> Columns:
    pool = part.pools[0]
    out = {name: np.full(len(variants), np.nan) for name in names}
    for variant in np.unique(variants).tolist():
        key = _key(part, pool, int(pool.core[variant]))
        floors, place = found[key], tasks[key].replicas.index(int(pool.replicas[variant]))
        if isinstance(floors, list):
            for name in names:
                value = floors[place].get(name)
                out[name][variants == variant] = np.nan if value is None else value
    return out


class _Sides(NamedTuple):
    """The distinct prefill variants and decode cores of some designs; ``pair`` [design]: which of their distinct ``pairs`` [k, 2]."""

    least: Floats  # [v, n]
    answers: tuple[Answers | None, ...]
    pairs: Ints
    pair: Ints

    @classmethod
    def of(cls, part: Section, chosen: Sequence[Ints], order: tuple[int, int], tasks: Mapping[Key, Task],
           found: Mapping[Key, Found]) -> "_Sides":  # fmt: skip
        source, target = part.pools[order[0]], part.pools[order[1]]
        variants, one = np.unique(chosen[order[0]], return_inverse=True)
        cores, two = np.unique(target.core[chosen[order[1]]], return_inverse=True)
        pairs, pair = np.unique(np.column_stack([one.ravel(), two.ravel()]), axis=0, return_inverse=True)
        answers = tuple(known if isinstance(known := found[_key(part, target, int(core))], Answers) else None for core in cores)
        prompts = [_prompts(part, source, int(variant), tasks, found) for variant in variants]
        none = np.full(next((len(each) for each in prompts if each is not None), 1), np.nan)
        return cls(np.array([none if each is None else each for each in prompts]), answers, pairs, pair.ravel())


def _prompts(part: Section, pool: Variants, variant: int, tasks: Mapping[Key, Task], found: Mapping[Key, Found]) -> Floats | None:
    key = _key(part, pool, int(pool.core[variant]))
    known = found[key]
    return known.least[tasks[key].replicas.index(int(pool.replicas[variant]))] if isinstance(known, Prompts) else None


def _apart(part: Section, chosen: Sequence[Ints], names: Sequence[str], *, tasks: Mapping[Key, Task], found: Mapping[Key, Found],
           floors: Floors) -> Columns:  # fmt: skip
    sides = _Sides.of(part, chosen, _positions(part), tasks, found)
    counted = counted_requests(len(floors.requests.arrival), floors.workload.warmup)
    of_pair = {name: np.full(len(sides.pairs), np.nan) for name in names}
    levels = {name: name.split("_")[1] for name in names if name.split("_")[0] in ("ttft", "tpot", "e2e")}
    if not counted.any():
        return {name: of_pair[name][sides.pair] for name in names}
    for column, answer in enumerate(sides.answers):
        rows = np.flatnonzero(sides.pairs[:, 1] == column)
        if answer is None or np.isnan(answer.whole).any():
            continue
        prompts = sides.least[sides.pairs[rows, 0]]
        for family, after in (("ttft", answer.lead), ("e2e", answer.whole)):
            asked = [name for name in levels if name.startswith(family)]
            if asked:
                values = (prompts + after)[:, counted]
                for name in asked:
                    of_pair[name][rows] = _statistic(values, levels[name])
        between = answer.tpot[counted]
        for name in (name for name in levels if name.startswith("tpot")):
            of_pair[name][rows] = _statistic(between[~np.isnan(between)][None], levels[name]) if (~np.isnan(between)).any() else np.nan
        if asked := [name for name in names if name in RATES]:
            for row, prompt in zip(rows, prompts, strict=True):
                rates = least_rates(prompt + answer.whole, counted, floors.requests)
                for name in asked:
                    value = rates[name]
                    of_pair[name][row] = np.nan if value is None else value
    return {name: values[sides.pair] for name, values in of_pair.items()}


def _statistic(values: Floats, level: str) -> Floats:
    """A statistic of each row, as `metrics.latency_summary` has it."""
    percentile = STATISTICS[level]
    return np.asarray(values.mean(axis=1) if percentile is None else np.percentile(values, percentile, axis=1))


def _positions(part: Section) -> tuple[int, int]:
    """Places of the prefill and the decode pool."""
    first = next(number for number, pool in enumerate(part.pools) if pool.role == "prefill")
    return first, 1 - first


def _key(part: Section, pool: Variants, core: int) -> Key:
    return pool.role, pool.cores[core], part.base.topology


def _design(part: Section, variants: Sequence[int]) -> Design:
    return replace(part.base, pools=tuple(pool.pool(variant) for pool, variant in zip(part.pools, variants, strict=True)))
