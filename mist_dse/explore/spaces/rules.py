"""When a variable has any meaning, by the model itself: a router needs ranks to choose among, a hand-off two pools.

What has no meaning is left out of a design (it keeps the base's value) and is empty in results, so that a design is listed once.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from mist_dse.explore.spaces.fields import NONE
from mist_dse.explore.spaces.placements import crossing
from mist_dse.specs.design import Design, Pool

FOLLOWED = ("accelerator", "tp", "pp", "dp", "cp", "replicas")
"""Fields that a pool beside another has from it: both are the same devices."""

_RANKS = ("replicas", "dp")
NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys((*FOLLOWED, "at.node"), ("beside",)),
        "router": _RANKS,
        **dict.fromkeys(("routing.heavy_tokens", "routing.heavy_share", "routing.guard", "routing.slack"), ("router", *_RANKS)),
        **dict.fromkeys(("speculation.acceptance", "speculation.draft_share"), ("speculation.draft_tokens",)),
    }
)
"""Fields of the same pool or service that decide whether a field has a meaning."""

_ROUTERS = {"routing.heavy_tokens": "heavy_light", "routing.heavy_share": "heavy_light", "routing.guard": "prefix_affinity",
            "routing.slack": "prefix_affinity"}  # fmt: skip


def has_meaning(part: str, name: str, values: Mapping[str, Any], base: Design) -> bool:
    """Whether field ``name`` of ``part`` matters where ``values`` say the rest; ``base``: with its stages placed."""
    if name.startswith("handoff."):
        return bool(crossing(base))
    head, _, owner = part.partition(".")
    if head == "services":
        service = next(each for each in base.services if each.name == owner)
        beside = values.get(f"{part}.beside", service.beside or NONE)
        return name != "accelerator" or beside == NONE
    if head != "pools":
        return True
    pools = {pool.name: pool for pool in base.pools}
    if owner not in pools:
        return False
    beside = values.get(f"{part}.beside", current(pools[owner], "beside"))

    def now(field: str) -> Any:
        whose = beside if field in FOLLOWED and beside in pools else owner
        return values.get(f"pools.{whose}.{field}", current(pools[whose], field))

    return _matters(name, now)


def _matters(name: str, now: Callable[[str], Any]) -> bool:
    if name in FOLLOWED or name.startswith("at."):
        return bool(now("beside") == NONE)
    if name == "router":
        return bool(now("replicas") * now("dp") > 1)
    if name in _ROUTERS:
        return bool(now("router") == _ROUTERS[name] and now("replicas") * now("dp") > 1)
    return name not in ("speculation.acceptance", "speculation.draft_share") or now("speculation.draft_tokens") > 0


def current(pool: Pool, name: str) -> Any:
    """What a pool has for a field, as a space file would say it; entries of the catalogue themselves."""
    if name == "beside":
        return pool.beside or NONE
    if name.startswith("speculation."):
        return getattr(pool.speculation, name.partition(".")[2]) if pool.speculation else 0
    if hasattr(pool.parallelism, name):
        return getattr(pool.parallelism, name)
    head, _, rest = name.partition(".")
    return getattr(getattr(pool, head), rest) if rest else getattr(pool, head)
