"""The sections of a space one after another: settings of each pool, the limits that are left after its services, and their combinations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from mist_dse.explore.errors import LargeSpaceError, SpaceError
from mist_dse.explore.spaces.amounts import Amounts, bounded
from mist_dse.explore.spaces.enumerate import Core, Scope, least_and_most, pool_cores, pool_variants
from mist_dse.explore.spaces.frame import Frame
from mist_dse.explore.spaces.goals import StaticLimit, distance
from mist_dse.explore.spaces.table import Section, Variants, section
from mist_dse.rows import Floats
from mist_dse.specs.design import Design, Pool

Limits = list[tuple[int, StaticLimit]]
"""Column of `Amounts`, and the limit on its sum over pools."""


@dataclass(frozen=True, slots=True)
class Parts:
    """One section before it is put together: its base, values and pools, and the ``limits`` that services leave to the pools."""

    base: Design
    values: Mapping[str, Any]
    cores: tuple[list[Core], ...]
    ends: tuple[tuple[Floats, Floats], ...]
    limits: Limits
    taken: Floats

    @property
    def grid(self) -> float:
        """Combinations of the pools' settings, whatever the limits."""
        return float(prod(float(sum(len(core.replicas) for core in each)) for each in self.cores))

    @property
    def least_and_most(self) -> tuple[Floats, Floats]:
        """The extremes of each amount, services counted."""
        return self.taken + sum(end[0] for end in self.ends), self.taken + sum(end[1] for end in self.ends)


@dataclass(slots=True)
class Listing:
    """The sections of a space within its limits. ``ends``: least and most of each amount, by section met so far.

    ``refused``: why pools had no valid setting in a section; ``settled``: pools that had some in one.
    """

    frame: Frame
    where: tuple[StaticLimit, ...]
    amounts: Amounts
    cores: dict[Any, list[Core]] = field(default_factory=dict)
    variants: dict[Any, Variants] = field(default_factory=dict)
    extremes: dict[Any, tuple[Floats, Floats]] = field(default_factory=dict)
    ends: list[tuple[Floats, Floats]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def sections(self) -> Iterator[tuple[Section, float]]:
        """Every section with the size of its grid. ``SpaceError`` for a pool without any valid setting in all of them."""
        for parts in self.parts():
            yield self.section(parts), parts.grid

    def parts(self) -> Iterator[Parts]:
        """Every section before it is put together."""
        for values, base in self.frame.choices():
            found = self.of(values, base)
            if found is not None:
                yield found
        self.check()

    def check(self) -> None:
        """``SpaceError`` for a pool that had no valid setting anywhere, or where nothing can stand at all."""
        for pool, reason in self.refused.items():
            if pool not in self.settled or not self.ends:
                raise SpaceError(reason)
        if not self.ends:
            raise SpaceError(self.frame.excuse)

    def of(self, values: Mapping[str, Any], base: Design) -> Parts | None:
        """One section; None where one of its pools has no valid setting."""
        found: list[list[Core]] = []
        for scope in self.frame.scopes(base, values):
            try:
                found.append(self._cores(scope))
            except LargeSpaceError:
                raise
            except SpaceError as error:
                self.refused.setdefault(scope.pool.name, str(error))
                return None
            self.settled.add(scope.pool.name)
        node = base.topology.node_size
        taken = self.amounts.of_services(base)
        ends = tuple(self._ends(each, node) for each in found)
        parts = Parts(base, values, tuple(found), ends, limits_left(base, self.where, self.amounts), taken)
        self.ends.append(parts.least_and_most)
        return parts

    def section(self, parts: Parts) -> Section:
        """The designs of one section within the limits."""
        pools = [self._variants(parts, position) for position in range(len(parts.cores))]
        return section(parts.base, parts.values, pools, limits=parts.limits)

    def emptied(self, base: Design) -> str:
        """Which limit leaves nothing, and by how much."""
        for limit in (*self.where, room(base)):
            column = self.amounts.names.index(limit.quantity)
            best = float((min if limit.upper else max)(end[0 if limit.upper else 1][column] for end in self.ends))
            if limit.excess(best) > 0:
                text = f"the {'least' if limit.upper else 'most'} that any has is {best:g}{distance(limit.excess(best), limit.value)}"
                return f"where: {limit} removes every design: {text}"
        if not self.where:
            return "no combination of the pools' values can be one design: pools that hand KV over need one model and one KV datatype"
        return f"where: no design meets {' and '.join(map(str, self.where))} together, though each limit alone leaves some"

    def _cores(self, scope: Scope) -> list[Core]:
        key = scope.key
        if key not in self.cores:
            self.cores[key] = pool_cores(scope)
        return self.cores[key]

    def _ends(self, cores: list[Core], node_size: int) -> tuple[Floats, Floats]:
        key = (id(cores), node_size)
        if key not in self.extremes:
            self.extremes[key] = least_and_most(cores, self.amounts, node_size)
        return self.extremes[key]

    def _variants(self, parts: Parts, position: int) -> Variants:
        """Variants of one pool that some setting of the others can stand beside, services left out of the count."""
        cores = parts.cores[position]
        others = [end for place, end in enumerate(parts.ends) if place != position]
        spare = [(col, limit.less(-float(parts.taken[col]))) for col, limit in parts.limits]
        budgets = [(col, limit, float(sum(end[0 if limit.upper else 1][col] for end in others))) for col, limit in spare]
        part = role(parts.base, cores[0].pool)
        key = (id(cores), part, tuple(budgets))
        if key not in self.variants:
            node = parts.base.topology.node_size
            self.variants[key] = pool_variants(cores, role=part, amounts=self.amounts, node_size=node, budgets=budgets)
        return self.variants[key]


def room(design: Design) -> StaticLimit:
    """No more devices than the topology has."""
    return StaticLimit("accelerators", "<=", design.topology.devices)


def limits_left(base: Design, where: Sequence[StaticLimit], amounts: Amounts) -> Limits:
    """The limits that decide what pools may be beside the services of a section, and the room in its topology, by column of amounts."""
    taken = amounts.of_services(base)
    limits = [(amounts.names.index(limit.quantity), limit) for limit in where if bounded(limit, base, amounts.prices)]
    return [(column, limit.less(float(taken[column]))) for column, limit in (*limits, (0, room(base)))]


def role(design: Design, pool: Pool) -> str:
    """What a pool does with a request: ``prefill``, ``decode`` or ``both``."""
    kinds = {design.pipeline.stage(stage).kind for stage in pool.stages} & {"prefill", "decode"}
    return kinds.pop() if len(kinds) == 1 else "both"
