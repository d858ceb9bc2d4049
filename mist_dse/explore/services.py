"""Variables of services: ``services.NAME.FIELD`` and, of KV tiers, ``services.NAME.tiers.TIER.FIELD``.

A capacity keeps the text of the space file (256 GB) as its value, so that results say it as it was asked.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.specs.design import Design
from mist_dse.specs.service import TIER_SCOPES, KvTier, Service
from mist_dse.units import quantity

SERVICE_FIELDS = {"replicas": "replicas", "sockets": "hosts", "batch": "batch", "at.node": "node", "accelerator": "accelerator",
                  "host": "host", "index": "index"}  # fmt: skip
"""Fields of a service that may vary, and their names in `specs.service.Service`."""

SERVICE_ENTRIES = ("accelerator", "host", "index", "tier")
"""Fields whose values name catalogue entries."""

TIER_FIELDS = ("tier", "capacity", "scope")
"""Fields of a KV tier that may vary."""


def service_paths(path: str, base: Design) -> list[str]:
    """The full paths of a variable ``services.NAME.FIELD`` (a list of one); ``SpaceError`` where the base has no such thing."""
    names = [service.name for service in base.services]
    name, _, rest = path.removeprefix("services.").partition(".")
    if name not in names:
        text = f"the base design has no service {name!r}; {nearest(name, names)}" if names else "the base design has no services"
        raise SpaceError(f"vary.{path}: {text}")
    service = next(each for each in base.services if each.name == name)
    if rest.startswith("tiers."):
        tier, _, field = rest.removeprefix("tiers.").partition(".")
        tiers = [each.name for each in service.tiers]
        if tier not in tiers:
            text = f"it has no tier {tier!r}; {nearest(tier, tiers)}" if tiers else "it has no tiers"
            raise SpaceError(f"vary.{path}: service {name}: {text}")
        if field not in TIER_FIELDS:
            raise SpaceError(f"vary.{path}: a tier has no field {field!r}; {nearest(field, TIER_FIELDS)}")
    elif rest not in SERVICE_FIELDS:
        raise SpaceError(f"vary.{path}: a service has no field {rest!r}; {nearest(rest, [*SERVICE_FIELDS, 'tiers.TIER.capacity'])}")
    return [path]


def field_of(path: str) -> str:
    """What a path of a service sets: the last word, or ``at.node``.

    >>> field_of("services.cache.tiers.dram.capacity"), field_of("services.index.at.node")
    ('capacity', 'at.node')
    """
    rest = path.split(".", 2)[2]
    return rest.split(".")[-1] if rest.startswith("tiers.") else rest


def checked(field: str, value: Any, where: str) -> None:
    """``SpaceError`` for a value that the field cannot have."""
    if field == "scope" and value not in TIER_SCOPES:
        raise SpaceError(f"{where}: {value!r} is not a scope; {nearest(value, TIER_SCOPES)}")
    if field == "capacity":
        try:
            positive = quantity(value, "B") > 0
        except ValueError as error:
            raise SpaceError(f"{where}: {error}") from None
        if not positive:
            raise SpaceError(f"{where}: {value!r} is not a capacity above 0 bytes")
    least = 0 if field == "at.node" else 1
    if field in SERVICE_FIELDS and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise SpaceError(f"{where}: {value!r} is not an integer >= {least}")


def service_with(service: Service, values: Mapping[str, Any]) -> Service:
    """``service`` with each path of ``values`` below its name set, catalogue entries in place of their names."""
    plain = {SERVICE_FIELDS[path]: value for path, value in values.items() if path in SERVICE_FIELDS}
    return replace(service, tiers=tuple(_tier_with(tier, values) for tier in service.tiers), **plain)


def _tier_with(tier: KvTier, values: Mapping[str, Any]) -> KvTier:
    start = f"tiers.{tier.name}."
    found = {path.removeprefix(start): value for path, value in values.items() if path.startswith(start)}
    if "capacity" in found:
        found["capacity"] = quantity(found["capacity"], "B")
    return replace(tier, **found)
