"""The choices that a section of a space stands for: placement, topology, hand-off, stages, services, and what pools need of each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mist_dse.explore.errors import LargeSpaceError
from mist_dse.explore.spaces.enumerate import Scope, candidates, meanings
from mist_dse.explore.spaces.placements import crossing
from mist_dse.explore.spaces.rules import FOLLOWED
from mist_dse.explore.spaces.setting import pipeline_with, pool_with, service_with
from mist_dse.explore.spaces.variables import Variable
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Handoff, Parallelism, Pool

MOST_SECTIONS = 20_000
"""Most sections that are enumerated (a millisecond each)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is chosen before pools are: the variables of the design and of services, and those of pools that others need (``bound``)."""

    base: Design
    variables: tuple[Variable, ...]
    bound: frozenset[str]
    refused: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def excuse(self) -> str:
        """Why nothing could stand."""
        return self.refused[0] if self.refused else "the conditions and formulas of vary leave no design"

    @property
    def _plain(self) -> bool:
        """Whether nothing but the placement is chosen here."""
        alone = all(item.pool or item.path == "placement" for item in self.variables)
        return alone and not self.bound and not any(pool.beside for pool in self.base.pools)

    @property
    def fields(self) -> tuple[Variable, ...]:
        """The variables that are chosen here, each after those that it needs."""
        return tuple(item for item in self.variables if not item.pool or item.path in self.bound)

    def placed(self, values: Mapping[str, Any]) -> Design:
        """The base with its stages placed."""
        if "placement" not in values:
            return self.base
        found: Design = next(item for item in self.variables if item.path == "placement").meaning(values["placement"])
        return found

    def options(self, item: Variable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """What a variable may be after ``values``, None where it has no meaning; nothing where its formula has no value."""
        try:
            return candidates(item, values, self.placed(values))
        except SpecError:
            return ()

    def choices(self) -> Iterator[tuple[dict[str, Any], Design]]:
        """Every choice that can be, with the base so made, each once; ``LargeSpaceError`` beyond `MOST_SECTIONS`."""
        seen: set[Any] = set()
        for number, values in enumerate(self._combinations(self.fields, {})):
            if number == MOST_SECTIONS:
                raise LargeSpaceError(
                    f"the space has more than {MOST_SECTIONS:,} combinations of placement, stages, services and what needs them"
                )
            try:
                base = self.made(values)
            except SpecError as error:
                self.refused.append(str(error))
                continue
            kept = tuple((path, value) for path, value in values.items() if path in self.bound or path.startswith(("stages.", "repeats.")))
            key = (kept, _told_apart(base))
            if key not in seen:
                seen.add(key)
                yield values, base

    def made(self, values: Mapping[str, Any]) -> Design:
        """The base with the choices made that are not of pools; ``SpecError`` where they cannot be together."""
        base = self.placed(values)
        if self._plain:
            return base
        topology = next(
            (item.meaning(values["topology"]) for item in self.variables if item.path == "topology" and "topology" in values), None
        )
        if topology is not None:
            base = replace(base, topology=topology)
        mine = {item.path: item.meaning(values[item.path]) for item in self.variables if not item.part and item.path in values}
        pipeline = pipeline_with(base.pipeline, {path: value for path, value in mine.items() if path.startswith(("stages.", "repeats."))})
        handoff = self._handoff(base, {path.removeprefix("handoff."): value for path, value in mine.items() if path.startswith("handoff.")})
        pools = self._beside(base.pools, values)
        owners = {pool.name: pool for pool in pools}
        services = []
        for service in base.services:
            fields = [item for item in self.variables if item.part == f"services.{service.name}"]
            chosen = service_with(service, meanings(fields, values))
            if chosen.beside in owners:
                chosen = replace(chosen, accelerator=owners[chosen.beside].accelerator)
            services.append(chosen)
        return replace(base, pipeline=pipeline, handoff=handoff, pools=pools, services=tuple(services), name="")

    def scopes(self, base: Design, values: Mapping[str, Any]) -> tuple[Scope, ...]:
        """The pools of a section, each with its variables."""
        groups = base.handoff.groups if base.handoff is not None and crossing(base) else 1
        ends = {base.handoff.source, base.handoff.target} if base.handoff is not None else set()
        fields = {pool.name: tuple(item for item in self.variables if item.pool == pool.name) for pool in base.pools}
        return tuple(Scope(base, pool, fields[pool.name], values, self.bound, groups if pool.name in ends else 1) for pool in base.pools)

    def _combinations(self, fields: Sequence[Variable], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not fields:
            yield values
            return
        options = self.options(fields[0], values)
        if options is None:
            yield from self._combinations(fields[1:], values)
            return
        for value in options:
            yield from self._combinations(fields[1:], {**values, fields[0].path: value})

    def _beside(self, pools: tuple[Pool, ...], values: Mapping[str, Any]) -> tuple[Pool, ...]:
        """``pools`` with those beside another on its devices: its accelerator, degrees and replicas."""
        beside = {pool.name: str(values.get(f"pools.{pool.name}.beside", pool.beside or "none")) for pool in pools}
        if set(beside.values()) == {"none"}:
            return pools
        owners = {}
        for pool in pools:
            mine = [item for item in self.variables if item.pool == pool.name and item.field in FOLLOWED]
            owners[pool.name] = pool_with(pool, meanings(mine, values)) if pool.name in beside.values() else pool
        return tuple(_on(owners, pool, beside[pool.name], self) for pool in owners.values())

    @staticmethod
    def _handoff(base: Design, values: Mapping[str, Any]) -> Handoff | None:
        pairs = crossing(base)
        if not values or not pairs:
            return base.handoff if pairs or base.handoff is None else None
        known = base.handoff if base.handoff is not None else Handoff(source=pairs[0][0], target=pairs[0][1])
        return replace(known, **values)


def _told_apart(base: Design) -> tuple[Any, ...]:
    """What tells the bases of sections apart; entries of one catalogue are one object each."""
    services = []
    for each in base.services:
        entries = (id(each.model), id(each.accelerator), id(each.host), each.index)
        tiers = tuple((id(tier.tier), tier.capacity, tier.scope, tier.resident, tier.host_memory) for tier in each.tiers)
        services.append((entries, tiers, each.beside, each.replicas, each.hosts, each.batch, each.wait, each.dtype, each.node))
    pools = tuple((pool.name, pool.stages, pool.beside) for pool in base.pools)
    return (pools, base.topology.name, base.handoff, *services)


def _on(owners: Mapping[str, Pool], pool: Pool, owner: str, frame: Frame) -> Pool:
    if owner == "none":
        return replace(pool, beside="")
    if owner not in owners:
        raise SpecError(f"Pool {pool.name} is beside {owner!r}, which does not stand in this placement")
    varied = {item.field for item in frame.variables if item.pool in (owner, pool.name)} & set(FOLLOWED)
    if not varied and pool.beside == owner:
        return pool  # as the base has it, which may split the same devices otherwise
    ways = owners[owner].parallelism
    mine = Parallelism(tp=ways.tp, pp=ways.pp, dp=ways.dp, cp=ways.cp, ep=pool.parallelism.ep)
    return replace(pool, beside=owner, accelerator=owners[owner].accelerator, replicas=owners[owner].replicas, parallelism=mine)
