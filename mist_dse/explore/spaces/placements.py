"""Stage placement: which engine pool hosts which stages. The base has the finest split; a placement merges and regroups it.

``colocated``: the first pool hosts every stage. ``disaggregated``: as the base. ``prefill+decode | guard``: these groups of stages, each
in the pool that hosts the first of its stages in the base. ``partitions``: every way of merging pools of one model (a merged pool has
the settings of its first one), ``contiguous``: merging neighbours alone. Pools of different models share devices by ``beside``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.specs.design import Design, Handoff, Pool
from mist_dse.specs.pipeline import Pipeline

NAMES = ("colocated", "disaggregated")
MANY = ("contiguous", "partitions")
"""Words for many placements at once."""

MOST = 10_000
"""Most placements that one word may stand for: all partitions of eight pools of one model are 4,140, of nine 21,147."""


Groups: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""The pools that stand, each with its stages."""


def placements(spec: Any, base: Design, where: str) -> tuple[tuple[str, ...], tuple[Design, ...]]:
    """The placements that a value of the space file stands for: texts that name them, and the base so placed, each once."""
    items = spec if isinstance(spec, list | tuple) else [spec]
    found: dict[Groups, str] = {}
    for item in items:
        for text, groups in _read(item, base, where):
            found.setdefault(groups, text)
    return tuple(found.values()), tuple(placed(base, groups) for groups in found)


def crossing(design: Design) -> tuple[tuple[str, str], ...]:
    """Pairs of pools between which KV caches are handed over."""
    host = {stage: pool.name for pool in design.pools for stage in pool.stages}
    pairs = [(host[one], host[two]) for one, two in _continued(design.pipeline) if one in host and two in host]
    return tuple(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


def placed(base: Design, groups: Groups) -> Design:
    """``base`` with its stages so placed; a hand-off and what stands beside a pool follow the stages that they were meant for."""
    pools = {pool.name: pool for pool in base.pools}
    host = {stage: name for name, stages in groups for stage in stages}
    kept = []
    for name, stages in groups:
        beside = pools[name].beside and host[pools[pools[name].beside].stages[0]]
        kept.append(replace(pools[name], stages=stages, beside="" if beside == name else beside))
    services = tuple(replace(each, beside=host[pools[each.beside].stages[0]]) if each.beside in pools else each for each in base.services)
    return replace(base, pools=tuple(kept), handoff=_handoff(base, host), services=services, name="")


def _handoff(base: Design, host: dict[str, str]) -> Handoff | None:
    asked = base.handoff
    if asked is None:
        return None
    for prefill, decode in _continued(base.pipeline):
        ends = base.host_of(prefill).name, base.host_of(decode).name
        if ends == (asked.source, asked.target):
            source, target = host[prefill], host[decode]
            return None if source == target else replace(asked, source=source, target=target)
    return asked if {asked.source, asked.target} <= set(host.values()) else None


def _continued(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Pairs of a prefill stage and the decode stage that continues it."""
    kinds = {stage.name: stage.kind for stage in pipeline.stages}
    for stage in pipeline.stages:
        if stage.kind == "decode":
            yield from ((before, stage.name) for before in stage.after if kinds[before] == "prefill")


def _read(item: Any, base: Design, where: str) -> list[tuple[str, Groups]]:
    own = tuple((pool.name, pool.stages) for pool in base.pools)
    every = tuple(stage.name for stage in base.pipeline.stages if any(stage.name in pool.stages for pool in base.pools))
    if item == "colocated":
        return [(item, ((own[0][0], every),))]
    if item == "disaggregated":
        if len(own) == 1:
            raise SpaceError(f"{where} has 'disaggregated', but the base design has one pool only: give it a pool for each side")
        return [(item, own)]
    if item in MANY:
        return [(_named(groups, own, base), groups) for groups in _merged(base.pools, every, neighbours=item == "contiguous")]
    if isinstance(item, str) and ("|" in item or "+" in item):
        item = [[stage.strip() for stage in group.split("+")] for group in item.split("|")]
    if not isinstance(item, list | tuple) or not all(isinstance(group, list | tuple) and group for group in item):
        clause = nearest(str(item), [*NAMES, *MANY])
        raise SpaceError(f"{where}: {item!r} is not a placement; {clause} or groups of stages such as 'prefill+decode | guard'")
    groups = _grouped([[str(stage) for stage in group] for group in item], base.pools, every, where)
    return [(_named(groups, own, base), groups)]


def _grouped(groups: Sequence[Sequence[str]], pools: Sequence[Pool], every: Sequence[str], where: str) -> Any:
    """Groups of stages with the pool that takes each."""
    named = [stage for group in groups for stage in group]
    for stage in named:
        if stage not in every:
            raise SpaceError(f"{where}: {stage!r} is not a stage of an engine pool; {nearest(stage, every)}")
        if named.count(stage) > 1:
            raise SpaceError(f"{where}: stage {stage!r} stands in more than one group")
    missing = [stage for stage in every if stage not in named]
    if missing:
        raise SpaceError(f"{where}: no group has stage {missing[0]!r}")
    host = {stage: pool.name for pool in pools for stage in pool.stages}
    taken: dict[str, tuple[str, ...]] = {}
    for group in groups:
        free = [host[stage] for stage in group if host[stage] not in taken]
        if not free:
            raise SpaceError(f"{where}: no pool of the base is left for the group {'+'.join(group)}: give the base a pool for each")
        taken[free[0]] = tuple(stage for stage in every if stage in group)
    order = [pool.name for pool in pools]
    return tuple(sorted(taken.items(), key=lambda item: order.index(item[0])))


def _merged(pools: Sequence[Pool], every: Sequence[str], *, neighbours: bool) -> Iterator[Any]:
    """Every partition of the pools into groups of one model, finest last; a group is its first pool with all its stages."""
    for number, groups in enumerate(_partitions(tuple(range(len(pools))), pools, neighbours)):
        if number >= MOST:
            raise SpaceError(f"vary.placement: the {len(pools)} pools have more than {MOST:,} partitions; list those that matter")
        yield tuple(
            (pools[group[0]].name, tuple(stage for stage in every if any(stage in pools[one].stages for one in group)))
            for group in sorted(groups)
        )


def _partitions(rest: tuple[int, ...], pools: Sequence[Pool], neighbours: bool) -> Iterator[list[list[int]]]:
    if not rest:
        yield []
        return
    *before, last = rest
    for groups in _partitions(tuple(before), pools, neighbours):
        for position, group in enumerate(groups):
            near = not neighbours or group[-1] == last - 1
            if near and pools[group[0]].model == pools[last].model:
                yield [*groups[:position], [*group, last], *groups[position + 1 :]]
        yield [*groups, [last]]


def _named(groups: Any, own: Any, base: Design) -> str:
    if groups == own and len(own) > 1:
        return "disaggregated"
    if len(groups) == 1 and groups[0][0] == own[0][0]:
        return "colocated"
    return " | ".join("+".join(stages) for _, stages in groups)
