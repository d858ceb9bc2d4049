"""Variables of a space: dotted paths into a design and the values that each may take.

``placement``, ``topology`` and ``handoff.mode`` belong to the design, ``pools.NAME.FIELD`` to one pool, ``pools.*.FIELD`` to
each, and ``services.NAME.FIELD`` to a service (`services`). Values: a list, one value, ``1..16`` (every integer), ``powers 1..64``
(powers of two) or, for ``tp`` and ``pp``, ``divisors`` (of the heads, within the scale-up domain and the node; of the layers).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.services import SERVICE_ENTRIES, checked, field_of, service_paths
from mist_dse.specs.design import (
    BATCHING_POLICIES,
    HANDOFF_MODES,
    PACKINGS,
    ROUTERS,
    STORAGE_BYTES,
    Datatypes,
    Design,
    Parallelism,
    Pool,
)
from mist_dse.specs.hardware import COMPUTE_DTYPES, Topology

PLACEMENTS = ("colocated", "disaggregated")
DESIGN_PATHS = ("placement", "topology", "handoff.mode")
DTYPES = {
    "fp32": Datatypes(weight="fp32", kv="fp32", compute="fp32"),
    "bf16": Datatypes(),
    "fp16": Datatypes(weight="fp16", kv="fp16", compute="bf16"),
    "fp8": Datatypes(weight="fp8", kv="fp8", compute="fp8"),
    "int8": Datatypes(weight="int8", kv="int8", compute="int8"),
    "int4": Datatypes(weight="int4", kv="bf16", compute="bf16"),
    "mxfp4": Datatypes(weight="mxfp4", kv="bf16", compute="bf16"),
    "nvfp4": Datatypes(weight="nvfp4", kv="fp8", compute="fp4"),
}
"""What one name in ``dtype`` sets: weight, KV cache and compute together; ``dtype.weight`` and the others set one alone."""

_DEGREES = tuple(field.name for field in fields(Parallelism))
_CHOICES = {
    "dtype": tuple(DTYPES),
    "dtype.weight": tuple(STORAGE_BYTES),
    "dtype.kv": tuple(STORAGE_BYTES),
    "dtype.compute": COMPUTE_DTYPES,
    "batching.policy": BATCHING_POLICIES,
    "batching.packing": PACKINGS,
    "router": ROUTERS,
    "handoff.mode": HANDOFF_MODES,
    "placement": PLACEMENTS,
}
ENTRIES = ("model", "accelerator", "engine")
POOL_FIELDS = (
    *ENTRIES,
    "dtype",
    "dtype.weight",
    "dtype.kv",
    "dtype.compute",
    *_DEGREES,
    "batching.policy",
    "batching.max_num_seqs",
    "batching.max_num_batched_tokens",
    "batching.long_prefill_threshold",
    "batching.packing",
    "router",
    "at.node",
    "replicas",
)
"""Fields of a pool that may vary, in the order in which they are chosen."""


class Library(Protocol):
    """What a space needs of the catalogue: entries by name."""

    def accelerator(self, name: str) -> Any:
        """The accelerator of that name."""

    def model(self, name: str) -> Any:
        """The model of that name."""

    def engine(self, name: str) -> Any:
        """The engine profile of that name."""

    def topology(self, name: str) -> Topology:
        """The topology of that name."""

    def host(self, name: str) -> Any:
        """The host of that name."""

    def index(self, name: str) -> Any:
        """The vector index of that name."""

    def tier(self, name: str) -> Any:
        """The memory tier of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One varied path; ``entries`` holds the catalogue entry behind each value that names one.

    ``divisors``: the values are limited further by what each accelerator and model allow.
    """

    path: str
    pool: str
    field: str
    values: tuple[Any, ...]
    divisors: bool = False
    entries: tuple[Any, ...] = ()

    def entry(self, value: Any) -> Any:
        """The catalogue entry that ``value`` names."""
        return self.entries[self.values.index(value)]


def variables(vary: Mapping[str, Any], *, base: Design, library: Library) -> tuple[Variable, ...]:
    """All variables of a ``vary`` mapping, wildcards expanded (the specific path wins), in a canonical order.

    Raises ``SpaceError`` for a path, field, name or value that does not exist.
    """
    if not isinstance(vary, Mapping):
        raise SpaceError(f"vary is {vary!r}: must map paths to values, such as pools.*.replicas: 1..16")
    wanted: dict[str, tuple[str, Any]] = {}
    for path in sorted(map(str, vary), key=lambda item: "*" not in item.split(".")):
        for full in _expanded(path, base):
            wanted[full] = (path, vary[path])
    found = [_variable(full, path, spec, base=base, library=library) for full, (path, spec) in wanted.items()]
    return tuple(sorted(found, key=lambda variable: _rank(variable, base)))


def pool_with(pool: Pool, values: Mapping[str, Any], chosen: Mapping[str, Any]) -> Pool:
    """``pool`` with each field of ``values`` set; ``chosen`` maps model, accelerator and engine to catalogue entries."""
    degrees = {name: values[name] for name in _DEGREES if name in values}
    dtypes = {name.removeprefix("dtype."): value for name, value in values.items() if name.startswith("dtype.")}
    batching = {name.removeprefix("batching."): value for name, value in values.items() if name.startswith("batching.")}
    plain = {name: values[name] for name in ("router", "replicas") if name in values}
    if "at.node" in values:
        plain["node"] = values["at.node"]
    return replace(
        pool,
        parallelism=replace(pool.parallelism, **degrees),
        dtypes=replace(DTYPES[values["dtype"]] if "dtype" in values else pool.dtypes, **dtypes),
        batching=replace(pool.batching, **batching),
        **chosen,
        **plain,
    )


def _expanded(path: str, base: Design) -> list[str]:
    names = [pool.name for pool in base.pools]
    if path in DESIGN_PATHS:
        return [path]
    head, _, rest = path.partition(".")
    if head == "services" and rest:
        return service_paths(path, base)
    if head != "pools" or not rest:
        raise SpaceError(f"vary.{path}: there is no such path; {nearest(path, _all_paths(names))}")
    pool, _, name = rest.partition(".")
    if pool != "*" and pool not in names:
        raise SpaceError(f"vary.{path}: the base design has no pool {pool!r}; {nearest(pool, [*names, '*'])}")
    name = "at.node" if name == "node" else name
    if name not in POOL_FIELDS:
        raise SpaceError(f"vary.{path}: a pool has no field {name!r}; {nearest(name, POOL_FIELDS)}")
    return [f"pools.{each}.{name}" for each in (names if pool == "*" else [pool])]


def _all_paths(names: Sequence[str]) -> list[str]:
    return [*DESIGN_PATHS, *(f"pools.{pool}.{name}" for pool in ("*", *names) for name in POOL_FIELDS)]


def _rank(variable: Variable, base: Design) -> tuple[int, int]:
    if variable.path.startswith("services."):
        return -1, len(DESIGN_PATHS)
    if not variable.pool:
        return -1, DESIGN_PATHS.index(variable.path)
    return [pool.name for pool in base.pools].index(variable.pool), POOL_FIELDS.index(variable.field)


def _variable(full: str, path: str, spec: Any, *, base: Design, library: Library) -> Variable:
    pool, name = ("", full) if full in DESIGN_PATHS else (full.split(".")[1], full.split(".", 2)[2])
    where, served = f"vary.{path}", full.startswith("services.")
    if served:
        pool, name = "", field_of(full)
    if spec == "divisors":
        if name not in ("tp", "pp"):
            raise SpaceError(f"{where} is 'divisors': only tp and pp have divisors; give a list, 1..16 or powers 1..64")
        return Variable(path=full, pool=pool, field=name, values=(), divisors=True)
    values = value_list(spec, where)
    if name in (SERVICE_ENTRIES if served else (*ENTRIES, "topology")):
        entries = tuple(_entry(library, name, value, where) for value in values)
        return Variable(path=full, pool=pool, field=name, values=values, entries=entries)
    for value in values:
        (checked if served else _check_value)(name, value, where)
    return Variable(path=full, pool=pool, field=name, values=values)


def _entry(library: Library, kind: str, name: Any, where: str) -> Any:
    try:
        return getattr(library, kind)(str(name))
    except ValueError as error:
        raise SpaceError(f"{where}: {error}") from None


def _check_value(name: str, value: Any, where: str) -> None:
    choices = _CHOICES.get(name)
    if choices is not None:
        if value not in choices:
            raise SpaceError(f"{where}: {value!r} is not a {name}; {nearest(value, choices)}")
        return
    least = 0 if name in ("at.node", "batching.long_prefill_threshold") else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpaceError(f"{where}: {value!r} is not an integer >= {least}")


_RANGE = re.compile(r"\s*(powers\s+)?(\d+)\s*\.\.\s*(\d+)\s*$")


def value_list(spec: Any, where: str) -> tuple[Any, ...]:
    """The values that a list, a range or one value stands for, each once; ``SpaceError`` if there are none.

    >>> value_list("powers 1..20", "tp")
    (1, 2, 4, 8, 16)
    """
    if isinstance(spec, str) and ".." in spec:
        match = _RANGE.match(spec)
        if match is None:
            raise SpaceError(f"{where} is {spec!r}: a range is written 1..16 or powers 1..64")
        low, high = int(match[2]), int(match[3])
        integers = [2**power for power in range(high.bit_length()) if low <= 2**power <= high] if match[1] else list(range(low, high + 1))
        if not integers:
            raise SpaceError(f"{where} is {spec!r}: the range holds no value")
        return tuple(integers)
    if isinstance(spec, Mapping) or spec is None:
        raise SpaceError(f"{where} is {spec!r}: give a list of values, 1..16, powers 1..64 or divisors")
    values = list(spec) if isinstance(spec, list | tuple) else [spec]
    if not values:
        raise SpaceError(f"{where} is an empty list: give at least one value")
    return tuple(dict.fromkeys(values))
