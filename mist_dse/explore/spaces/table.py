"""The designs of a space as a table that is never written out: arrays of pool variants, and a rule from index to combination.

A *variant* is one way to set one pool. Variants of one pool that use the same static amounts (devices, USD/h) form a
*group*; limits on sums are decided between groups, so every index is a design within the limits and none is rejected.
A *section* holds the designs that share placement, topology and hand-off mode.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.errors import LargeSpaceError
from mist_dse.explore.spaces.goals import StaticLimit
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Design, Pool
from mist_dse.stages import handoffs

LARGEST = 200_000_000
"""Most designs that are enumerated: minutes of screening."""

MOST_TUPLES = 20_000_000
"""Most combinations of groups that are kept, 4 B for each of their pools."""

BLOCK = 1 << 21
"""Combinations of groups looked at together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """All ways to set one pool: variant v is ``cores[core[v]]`` with ``replicas[v]``, sorted by group.

    ``group_amounts`` [g, q]: the static amounts that limits sum over pools. A *core* is everything but ``replicas``.
    """

    name: str
    role: str
    cores: tuple[Pool, ...]
    values: tuple[Mapping[str, Any], ...]
    core: Ints
    replicas: Ints
    group_amounts: Floats
    group_cache: Floats
    group_first: Ints
    group_count: Ints

    @classmethod
    def grouped(cls, *, name: str, role: str, cores: Sequence[tuple[Pool, Mapping[str, Any]]], core: Ints, replicas: Ints,
                amounts: Floats, caches: Floats) -> "Variants":  # fmt: skip
        """Variants with their groups formed: equal ``amounts`` [v, q] and equal code of the KV cache."""
        distinct, group = np.unique(np.column_stack([np.round(amounts, 9), caches]), axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        count = np.bincount(group.ravel(), minlength=len(distinct))
        return cls(
            name=name, role=role, cores=tuple(pool for pool, _ in cores), values=tuple(values for _, values in cores),
            core=core[order], replicas=replicas[order], group_amounts=distinct[:, :-1], group_cache=distinct[:, -1],
            group_first=np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64), group_count=count.astype(np.int64),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.core)

    def pool(self, variant: int) -> Pool:
        """The pool of one variant."""
        core: Pool = self.cores[int(self.core[variant])]
        return replace(core, replicas=int(self.replicas[variant]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Combinations of the variants of ``pools`` within the limits; row t of ``tuples`` is one combination of groups."""

    base: Design
    values: Mapping[str, Any]
    pools: tuple[Variants, ...]
    tuples: NDArray[np.int32]
    offsets: Ints

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def variants(self, index: Ints) -> tuple[Ints, ...]:
        """The variant of each pool for each index of the section, one array per pool."""
        row = np.searchsorted(self.offsets, index, side="right") - 1
        rest = index - self.offsets[row]
        found: list[Ints] = []
        for position in reversed(range(len(self.pools))):
            pool, group = self.pools[position], self.tuples[row, position]
            found.append(pool.group_first[group] + rest % pool.group_count[group])
            rest = rest // pool.group_count[group]
        return tuple(reversed(found))


def section(base: Design, values: Mapping[str, Any], pools: Sequence[Variants], *, limits: Sequence[tuple[int, StaticLimit]]) -> Section:
    """The combinations of ``pools`` whose summed amounts satisfy ``limits`` (amount column, limit), pool by pool.

    Pools that hand KV caches over need one model and one KV datatype. A partial sum survives only where the least (for upper
    limits) or most (for lower ones) that later pools can add still satisfies each limit. ``LargeSpaceError`` from `LARGEST` on.
    """
    tuples: Groups = np.zeros((1, 0), dtype=np.int32)
    amounts: Floats = np.zeros((1, pools[0].group_amounts.shape[1]))
    for position in range(len(pools)):
        tuples, amounts = _extended(tuples, amounts, pools[: position + 1], _within(base, pools, position, limits))
    counts = [pool.group_count[tuples[:, position]] for position, pool in enumerate(pools)]
    size = float(np.prod(np.asarray(counts, dtype=float), axis=0).sum())
    if size >= LARGEST:
        raise LargeSpaceError(f"the space has {size:.3g} designs, more than the {LARGEST:,} that are enumerated")
    offsets = np.concatenate([[0], np.cumsum(np.prod(counts, axis=0))]).astype(np.int64)
    return Section(base=base, values=values, pools=tuple(pools), tuples=tuples, offsets=offsets)


Groups = NDArray[np.int32]

_Within = Callable[[Groups, Floats], NDArray[np.bool_]]
"""Which rows of groups [r, pools so far], with summed amounts [r, q], can become designs."""


def _within(base: Design, pools: Sequence[Variants], position: int, limits: Sequence[tuple[int, StaticLimit]]) -> _Within:
    pairs = {frozenset((each.source, each.target)) for each in handoffs(base)}
    pool = pools[position]
    handed = [earlier for earlier in range(position) if frozenset((pools[earlier].name, pool.name)) in pairs]

    def kept(tuples: Groups, amounts: Floats) -> NDArray[np.bool_]:
        keep = _reachable(amounts, pools[position + 1 :], limits)
        for earlier in handed:
            keep &= pools[earlier].group_cache[tuples[:, earlier]] == pool.group_cache[tuples[:, position]]
        return keep

    return kept


def _extended(tuples: Groups, amounts: Floats, pools: Sequence[Variants], within: _Within) -> tuple[Groups, Floats]:
    """Each row of groups with each group of the last of ``pools``, block by block, as far as they can become designs."""
    pool = pools[-1]
    groups = len(pool.group_amounts)
    rows = max(BLOCK // max(groups, 1), 1)
    found: list[tuple[Groups, Floats]] = [(np.zeros((0, len(pools)), dtype=np.int32), np.zeros((0, amounts.shape[1])))]
    kept = 0
    for low in range(0, len(tuples), rows):
        left, right = np.divmod(np.arange(min(rows, len(tuples) - low) * groups, dtype=np.int32), max(groups, 1))
        sums = amounts[low + left] + pool.group_amounts[right]
        wider = np.column_stack([tuples[low + left], right])
        keep = within(wider, sums)
        kept += int(keep.sum())
        if kept > min(MOST_TUPLES, LARGEST):
            raise LargeSpaceError(f"the space has more than {min(MOST_TUPLES, LARGEST):,} combinations of pools")
        found.append((wider[keep], sums[keep]))
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def _reachable(amounts: Floats, later: Sequence[Variants], limits: Sequence[tuple[int, StaticLimit]]) -> NDArray[np.bool_]:
    keep = np.ones(len(amounts), dtype=bool)
    for column, limit in limits:
        extreme = np.min if limit.upper else np.max
        keep &= limit.met(amounts[:, column] + sum(float(extreme(pool.group_amounts[:, column])) for pool in later if len(pool)))
    return keep


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignTable:
    """All designs of a space within its static limits, by index 0..len - 1; ``grid`` counts the full product of all variables."""

    sections: tuple[Section, ...]
    grid: float

    def __len__(self) -> int:
        return sum(len(part) for part in self.sections)

    def place(self, index: int) -> tuple[Section, int]:
        """The section of a design and its index there."""
        for part in self.sections:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(f"design {index} is beyond the end of the table of {len(self)} designs")

    def design(self, index: int) -> Design:
        """The design at ``index``."""
        part, local = self.place(index)
        chosen = part.variants(np.array([local]))
        pools = tuple(pool.pool(int(variant[0])) for pool, variant in zip(part.pools, chosen, strict=True))
        return replace(part.base, pools=pools)

    def values(self, index: int) -> dict[str, Any]:
        """The values of the active variables of one design, by path."""
        part, local = self.place(index)
        found = dict(part.values)
        for pool, variant in zip(part.pools, part.variants(np.array([local])), strict=True):
            chosen = dict(pool.values[pool.core[variant[0]]])
            found |= {path: int(pool.replicas[variant[0]]) if path.endswith(".replicas") else value for path, value in chosen.items()}
        return found

    def columns(self, paths: Sequence[str], start: int, stop: int) -> dict[str, NDArray[Any]]:
        """The values of the variables for designs start..stop - 1, inactive ones None; memory is bounded by the span asked for."""
        found: dict[str, list[Any]] = {path: [] for path in paths}
        for part, local in self.spans(start, stop):
            chosen = part.variants(local)
            for path in paths:
                found[path].append(_column(part, path, chosen, len(local)))
        return {path: np.concatenate(parts) if parts else np.empty(0, dtype=object) for path, parts in found.items()}

    def spans(self, start: int, stop: int) -> list[tuple[Section, Ints]]:
        """The sections that designs start..stop - 1 fall into, each with its indices there."""
        found, offset = [], 0
        for part in self.sections:
            low, high = max(start - offset, 0), min(stop - offset, len(part))
            if low < high:
                found.append((part, np.arange(low, high)))
            offset += len(part)
        return found


def _column(part: Section, path: str, chosen: Sequence[Ints], rows: int) -> NDArray[Any]:
    for pool, variant in zip(part.pools, chosen, strict=True):
        if path.startswith(f"pools.{pool.name}."):
            if path.endswith(".replicas"):
                held = np.array([path in values for values in pool.values])
                counts = pool.replicas[variant].astype(object)
                counts[~held[pool.core[variant]]] = None
                return counts
            lookup = np.empty(len(pool.cores), dtype=object)
            lookup[:] = [values.get(path) for values in pool.values]
            return lookup[pool.core[variant]]
    return np.full(rows, part.values.get(path), dtype=object)
