"""Settings of the pools of one section as groups of equal amounts: how many designs they make within limits, and designs drawn from them.

Counting goes pool by pool over distinct sums: sums that are equal are one row whose weight is the number of ways to reach it. Where that
is too many rows, designs are drawn pool by pool among what later pools leave room for, each with the inverse of its probability as
weight: the mean weight is an unbiased estimate of the number of designs (Knuth 1975, Mathematics of Computation 29:121).
A pool with too many settings to list is represented by settings drawn in the same way, each with its weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mist_dse.explore.errors import LargeSpaceError, SpaceError
from mist_dse.explore.spaces.amounts import Amounts
from mist_dse.explore.spaces.enumerate import Core, Scope, choices, meanings, pool_cores
from mist_dse.explore.spaces.goals import StaticLimit
from mist_dse.explore.spaces.setting import pool_with
from mist_dse.perf.capacity import kv_blocks
from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError
from mist_dse.specs.evaluation import Infeasible

DRAWN = 1000
"""Settings drawn of a pool that has too many to list."""

Limits = Sequence[tuple[int, StaticLimit]]


class Weighted(NamedTuple):
    """A setting of a pool, and how many it stands for."""

    core: Core
    weight: float


@dataclass(frozen=True)
class Population:
    """All settings of one pool, or drawn ones that stand for them: by variant v (a setting and a number of replicas)."""

    name: str
    settings: tuple[Weighted, ...]
    amounts: Amounts
    node_size: int

    @cached_property
    def core(self) -> Ints:
        """The setting of each variant."""
        return np.repeat(np.arange(len(self.settings)), [len(each.core.replicas) for each in self.settings])

    @cached_property
    def replicas(self) -> Ints:
        """The replicas of each variant."""
        return np.concatenate([np.array(each.core.replicas, dtype=np.int64) for each in self.settings])

    @cached_property
    def weight(self) -> Floats:
        """How many variants each stands for."""
        return np.array([each.weight for each in self.settings])[self.core]

    @cached_property
    def fits(self) -> Floats:
        """1 where the weights and a KV block fit the memory of the engine, else 0."""
        found: dict[Any, float] = {}
        each = []
        for setting in self.settings:
            pool = setting.core.pool
            key = (id(pool.model), id(pool.accelerator), id(pool.engine), pool.parallelism, pool.dtypes, pool.batching.max_num_seqs)
            if key not in found:
                found[key] = 0.0 if isinstance(kv_blocks(pool), Infeasible) else 1.0
            each.append(found[key])
        return np.array(each)[self.core]

    @cached_property
    def groups(self) -> tuple[Floats, Floats, Ints]:
        """Amounts [g, q] and code of the KV cache [g] of each group, and the group of each variant."""
        pools = [each.core.pool for each in self.settings]
        values = self.amounts.of(pools, self.core, self.replicas, self.node_size)
        rows = np.column_stack([np.round(values, 9), self.amounts.caches(pools, self.core)])
        distinct, group = np.unique(rows, axis=0, return_inverse=True)
        return distinct[:, :-1], distinct[:, -1], group.ravel()

    @cached_property
    def ways(self) -> Floats:
        """Variants of each group."""
        return np.bincount(self.groups[2], self.weight, len(self.groups[1])).astype(float)

    @cached_property
    def fitting(self) -> Floats:
        """Variants of each group that fit."""
        return np.bincount(self.groups[2], self.weight * self.fits, len(self.groups[1])).astype(float)

    def values(self, variant: int) -> dict[str, Any]:
        """The values of one variant by path."""
        core = self.settings[int(self.core[variant])].core
        return {path: int(self.replicas[variant]) if value is None else value for path, value in core.values.items()}


def population(scope: Scope, amounts: Amounts, rng: np.random.Generator) -> Population | None:
    """The settings of a pool, listed where they can be and else drawn; None where there is none."""
    try:
        settings = tuple(Weighted(core, 1.0) for core in pool_cores(scope))
    except LargeSpaceError:
        settings = tuple(_drawn(scope, rng))
    except SpaceError:
        return None
    return Population(scope.pool.name, settings, amounts, scope.base.topology.node_size) if settings else None


def count(pools: Sequence[Population], limits: Limits, pairs: Sequence[tuple[str, str]], *, most: int) -> tuple[float, float] | None:
    """Designs within the limits, and those of them that fit; None where that takes more than ``most`` sums at once."""
    sums: Floats = np.zeros((1, pools[0].groups[0].shape[1]))
    codes: Floats = np.zeros((1, 0))  # of the pools whose caches a later one takes over
    ways: Floats = np.ones((1, 2))
    held: list[str] = []
    for position, pool in enumerate(pools):
        amounts, code, _ = pool.groups
        if len(sums) * len(code) > most:
            return None
        left, right = np.divmod(np.arange(len(sums) * len(code)), len(code))
        sums = sums[left] + amounts[right]
        ways = ways[left] * np.column_stack([pool.ways, pool.fitting])[right]
        codes = np.column_stack([codes[left], code[right]])
        held.append(pool.name)
        keep = _reachable(sums, pools[position + 1 :], limits)
        for other in _partners(pool.name, held[:-1], pairs):
            keep &= codes[:, held.index(other)] == code[right]
        kept = [at for at, name in enumerate(held) if _partners(name, [each.name for each in pools[position + 1 :]], pairs)]
        held = [held[at] for at in kept]
        sums, codes, ways = _merged(sums[keep], codes[keep][:, kept], ways[keep])
    return float(ways[:, 0].sum()), float(ways[:, 1].sum())


class Walks(NamedTuple):
    """Designs drawn: the group of each pool [n, p], and how many designs each stands for."""

    groups: Ints
    ways: Floats


def walks(pools: Sequence[Population], limits: Limits, pairs: Sequence[tuple[str, str]], *, number: int, rng: np.random.Generator) -> Walks:
    """``number`` designs drawn pool by pool among what keeps the limits reachable; those that end nowhere stand for none."""
    sums: Floats = np.zeros((number, pools[0].groups[0].shape[1]))
    chosen: Ints = np.zeros((number, 0), dtype=np.int64)
    ways = np.ones(number)
    for position, pool in enumerate(pools):
        amounts, code, _ = pool.groups
        partners = [at for at in range(position) if _partners(pool.name, [pools[at].name], pairs)]
        picked = np.zeros(number, dtype=np.int64)
        for row in np.flatnonzero(ways):
            keep = _reachable(sums[row] + amounts, pools[position + 1 :], limits)
            for at in partners:
                keep &= pools[at].groups[1][chosen[row, at]] == code
            open_to = np.cumsum(pool.ways * keep)
            ways[row] *= open_to[-1]
            picked[row] = np.searchsorted(open_to, rng.random() * open_to[-1], side="right") if open_to[-1] > 0 else 0
        sums = sums + amounts[picked]
        chosen = np.column_stack([chosen, picked])
    return Walks(chosen, ways)


def fitting_share(pools: Sequence[Population], drawn: Walks) -> Floats:
    """The share of the designs that each draw stands for whose pools all fit."""
    shares = [(pool.fitting / pool.ways)[drawn.groups[:, position]] for position, pool in enumerate(pools)]
    return np.asarray(np.prod(shares, axis=0))


def variant_of(pool: Population, group: int, rng: np.random.Generator) -> int:
    """A variant of a group, drawn by weight."""
    members = np.flatnonzero(pool.groups[2] == group)
    weight = pool.weight[members]
    return int(rng.choice(members, p=weight / weight.sum()))


def _drawn(scope: Scope, rng: np.random.Generator) -> list[Weighted]:
    """Settings drawn value by value, each standing for as many as its draw was improbable."""
    found: list[Weighted] = []
    for _ in range(DRAWN):
        drawn = _walk(scope, rng)
        if drawn is None:
            continue
        values, counts, weight = drawn
        try:
            pool = pool_with(scope.pool, meanings(scope.fields, values))
        except SpecError:
            continue
        found.append(Weighted(Core(pool, values, counts), weight / DRAWN))
    return found


def _walk(scope: Scope, rng: np.random.Generator) -> tuple[dict[str, Any], tuple[int, ...], float] | None:
    """One draw of all fields of a pool: values, replicas and the inverse of its probability; None for a dead end."""
    values: dict[str, Any] = {}
    weight = 1.0
    for item in scope.fields:
        options = choices(item, scope, {**scope.fixed, **values})
        if options is None:
            continue
        if not options:
            return None
        values[item.path] = options[int(rng.integers(len(options)))]
        weight *= len(options)
    count = values.get(scope.replicas, scope.pool.replicas)
    if scope.replicas in values:
        values[scope.replicas] = None
    return (values, (int(count),), weight) if count >= scope.fewest else None


def _reachable(sums: Floats, later: Sequence[Population], limits: Limits) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    keep = np.ones(len(sums), dtype=bool)
    for column, limit in limits:
        extreme = np.min if limit.upper else np.max
        keep &= limit.met(sums[:, column] + sum(float(extreme(pool.groups[0][:, column])) for pool in later))
    return keep


def _partners(name: str, others: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [other for other in others if (name, other) in pairs or (other, name) in pairs]


def _merged(sums: Floats, codes: Floats, ways: Floats) -> tuple[Floats, Floats, Floats]:
    """Equal sums (and codes) as one row."""
    rows = np.column_stack([np.round(sums, 6), codes])
    distinct, row = np.unique(rows, axis=0, return_inverse=True)
    added = np.column_stack([np.bincount(row.ravel(), ways[:, at], len(distinct)) for at in (0, 1)]).astype(float)
    return distinct[:, : sums.shape[1]], distinct[:, sums.shape[1] :], added


def weighted_sample(weights: Floats, number: int, rng: np.random.Generator) -> Ints:
    """Up to ``number`` distinct rows, drawn by weight (Efraimidis and Spirakis 2006, Information Processing Letters 97:181)."""
    positive = np.flatnonzero(weights > 0)
    keys = np.log(rng.random(len(positive))) / weights[positive]
    return positive[np.argsort(-keys)[:number]]
