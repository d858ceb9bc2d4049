"""Dotted paths of variables: which fields a path of a space file names in its base design."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.spaces.fields import (
    DESIGN_FIELDS,
    INDEX_FIELDS,
    POOL_FIELDS,
    REPEAT_FIELDS,
    SERVICE_FIELDS,
    TIER_FIELDS,
    WHEN_FIELDS,
    Field,
)
from mist_dse.specs.design import Design
from mist_dse.specs.service import Service
from mist_dse.stages.kinds import kind_of

OPTION = Field(choices=("option",))
"""Options of stages are checked by their kind."""


class Place(NamedTuple):
    """Where a variable is: the ``part`` of the design (``pools.NAME``, ``services.NAME`` or empty), ``name`` within it, its field and
    its place in the canonical order."""

    part: str
    name: str
    field: Field
    rank: tuple[int, ...]


def expanded(path: str, base: Design) -> dict[str, Place]:
    """The full paths that a path of a space file stands for; ``SpaceError`` where the base has no such thing."""
    if path in DESIGN_FIELDS:
        if path.startswith("handoff.") and len(base.pools) == 1:
            raise SpaceError(f"vary.{path}: the base design has one pool only, and nothing to hand over")
        return {path: Place("", path, DESIGN_FIELDS[path], (0, list(DESIGN_FIELDS).index(path)))}
    head, _, rest = path.partition(".")
    readers = {"pools": _pool_paths, "services": _service_paths, "stages": _stage_paths, "repeats": _repeat_paths}
    if head not in readers or not rest:
        raise SpaceError(f"vary.{path}: there is no such path; {nearest(path, _all_paths(base))}")
    return readers[head](path, rest, base)


def _pool_paths(path: str, rest: str, base: Design) -> dict[str, Place]:
    names = [pool.name for pool in base.pools]
    pool, name = _split(rest, [*names, "*"])
    if not pool:
        raise SpaceError(
            f"vary.{path}: the base design has no pool {rest.partition('.')[0]!r}; {nearest(rest.partition('.')[0], [*names, '*'])}"
        )
    if name == "hosts":
        raise SpaceError(f"vary.{path}: which pool hosts which stages is varied by placement, such as placement: partitions")
    name = "at.node" if name == "node" else name
    known = "at" if name in _spots(base) else name
    if known not in POOL_FIELDS or name == "at":
        raise SpaceError(f"vary.{path}: a pool has no field {name!r}; {nearest(name, _pool_fields(base))}")
    order = list(POOL_FIELDS).index(known)
    each = names if pool == "*" else [pool]
    return {f"pools.{one}.{name}": Place(f"pools.{one}", name, POOL_FIELDS[known], (2, names.index(one), order)) for one in each}


def _service_paths(path: str, rest: str, base: Design) -> dict[str, Place]:
    names = [service.name for service in base.services]
    name, below = _split(rest, names)
    if not name:
        wrong = rest.partition(".")[0]
        text = f"the base design has no service {wrong!r}; {nearest(wrong, names)}" if names else "the base design has no services"
        raise SpaceError(f"vary.{path}: {text}")
    service = base.services[names.index(name)]
    at = (1, names.index(name))
    if below.startswith("tiers."):
        return {path: Place(f"services.{name}", below, *_tier_field(path, below, service, at))}
    if below.startswith("index.") and service.index is not None:
        field = below.removeprefix("index.")
        if field not in INDEX_FIELDS:
            raise SpaceError(f"vary.{path}: an index has no field {field!r}; {nearest(field, INDEX_FIELDS)}")
        return {path: Place(f"services.{name}", below, INDEX_FIELDS[field], (*at, 50 + list(INDEX_FIELDS).index(field)))}
    known = "at" if below in _spots(base) else below
    if known not in SERVICE_FIELDS or below == "at":
        fields_ = [*SERVICE_FIELDS, *_spots(base), "tiers.TIER.capacity", "index.n_probe"]
        raise SpaceError(f"vary.{path}: a service has no field {below!r}; {nearest(below, fields_)}")
    return {path: Place(f"services.{name}", below, SERVICE_FIELDS[known], (*at, list(SERVICE_FIELDS).index(known)))}


def _tier_field(path: str, below: str, service: Service, at: tuple[int, int]) -> tuple[Field, tuple[int, ...]]:
    tiers = [each.name for each in service.tiers]
    rest = below.removeprefix("tiers.")
    tier, field = _split(rest, tiers)
    if not tier:
        wrong = rest.partition(".")[0]
        text = f"it has no tier {wrong!r}; {nearest(wrong, tiers)}" if tiers else "it has no tiers"
        raise SpaceError(f"vary.{path}: service {service.name}: {text}")
    if field not in TIER_FIELDS:
        raise SpaceError(f"vary.{path}: a tier has no field {field!r}; {nearest(field, TIER_FIELDS)}")
    return TIER_FIELDS[field], (*at, 100 + 10 * tiers.index(tier) + list(TIER_FIELDS).index(field))


def _stage_paths(path: str, rest: str, base: Design) -> dict[str, Place]:
    names = [stage.name for stage in base.pipeline.stages]
    name, below = _split(rest, names)
    if not name:
        raise SpaceError(f"vary.{path}: pipeline {base.pipeline.name} has no stage {rest.partition('.')[0]!r}; {nearest(rest, names)}")
    stage = base.pipeline.stage(name)
    options = [field.name for field in fields(kind_of(stage.kind, f"vary.{path}").Options)]
    if below in WHEN_FIELDS and stage.when is None:
        raise SpaceError(f"vary.{path}: every request takes stage {name!r}: it has no `when` in pipeline {base.pipeline.name}")
    known = [*options, *(WHEN_FIELDS if stage.when is not None else ())]
    if below not in known:
        raise SpaceError(
            f"vary.{path}: a stage of kind {stage.kind} has no option {below!r}; {nearest(below, known) if known else 'it has none'}"
        )
    return {path: Place("", path, WHEN_FIELDS.get(below, OPTION), (0, 10, names.index(name), known.index(below)))}


def _repeat_paths(path: str, rest: str, base: Design) -> dict[str, Place]:
    names = [repeat.name for repeat in base.pipeline.repeats]
    name, below = _split(rest, names)
    if not name or below not in REPEAT_FIELDS:
        known = [f"repeats.{each}.{field}" for each in names for field in REPEAT_FIELDS]
        clause = nearest(path, known) if known else f"pipeline {base.pipeline.name} has no repeats"
        raise SpaceError(f"vary.{path}: there is no such path; {clause}")
    return {path: Place("", path, REPEAT_FIELDS[below], (0, 11, names.index(name), list(REPEAT_FIELDS).index(below)))}


def _split(rest: str, names: Iterable[str]) -> tuple[str, str]:
    """The known name that ``rest`` begins with, and what follows it; two empty strings where there is none."""
    for name in sorted(names, key=len, reverse=True):
        if rest.startswith(f"{name}."):
            return name, rest.removeprefix(f"{name}.")
    return "", ""


def _spots(base: Design) -> Mapping[str, int]:
    """``at.node`` and ``at.TIER`` of the topology, with the devices in one such place."""
    sizes = {"node": base.topology.node_size} | {tier.name: tier.size for tier in base.topology.tiers}
    return {f"at.{name}": size for name, size in sizes.items()}


def spot(name: str, number: Any, base: Design) -> int:
    """The first node of a place such as ``at.rack``, by its number."""
    return int(number) * _spots(base)[name] // base.topology.node_size


def _pool_fields(base: Design) -> list[str]:
    return [*(name for name in POOL_FIELDS if name != "at"), *_spots(base)]


def _all_paths(base: Design) -> list[str]:
    pools = [f"pools.{pool}.{name}" for pool in ("*", *(pool.name for pool in base.pools)) for name in _pool_fields(base)]
    return [*DESIGN_FIELDS, *pools, *(f"services.{each.name}.{name}" for each in base.services for name in SERVICE_FIELDS)]
