"""Fields that may vary, part by part of a design, and the values that each may take.

A field is what a design file says below ``pools.NAME``, ``services.NAME``, ``services.NAME.tiers.TIER`` or ``handoff``; an index and
speculation are varied field by field. Values that carry a unit (256 GB, 2 ms) stay the text of the space file, so that results say
them as they were asked. ``none`` is written for what may be missing.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, NamedTuple

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.specs.design import (
    BATCHING_POLICIES,
    HANDOFF_MODES,
    PACKINGS,
    ROUTERS,
    STORAGE_BYTES,
    Datatypes,
    Parallelism,
)
from mist_dse.specs.hardware import COMPUTE_DTYPES
from mist_dse.specs.retrieval import COARSE, FAST_SCANS, INDEX_KINDS, VECTOR_BYTES
from mist_dse.specs.service import TIER_SCOPES
from mist_dse.units import quantity


class Field(NamedTuple):
    """What values a field takes: one of ``choices``, true or false (``switch``), an ``entry`` of a group of the catalogue, a quantity
    of ``unit``, or else a number >= ``least`` (whole unless ``real``). ``optional``: or none."""

    choices: tuple[str, ...] = ()
    switch: bool = False
    entry: str = ""
    unit: str = ""
    least: float = 1
    real: bool = False
    optional: bool = False


WHOLE = Field()
"""Whole numbers from 1 on."""

NONE = "none"
"""Written for what may be missing."""

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

DEGREES = tuple(field.name for field in fields(Parallelism))

POOL_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "beside": Field(optional=True),
        "model": Field(entry="model"),
        "accelerator": Field(entry="accelerator"),
        "engine": Field(entry="engine"),
        "dtype": Field(choices=tuple(DTYPES)),
        "dtype.weight": Field(choices=tuple(STORAGE_BYTES)),
        "dtype.kv": Field(choices=tuple(STORAGE_BYTES)),
        "dtype.compute": Field(choices=COMPUTE_DTYPES),
        **{degree: Field() for degree in DEGREES},
        "batching.policy": Field(choices=BATCHING_POLICIES),
        "batching.max_num_seqs": Field(),
        "batching.max_num_batched_tokens": Field(),
        "batching.long_prefill_threshold": Field(least=0),
        "batching.packing": Field(choices=PACKINGS),
        "batching.prefix_caching": Field(switch=True),
        "speculation.draft_tokens": Field(least=0),
        "speculation.acceptance": Field(least=0, real=True),
        "speculation.draft_share": Field(least=0, real=True, optional=True),
        "at": Field(least=0),
        "replicas": Field(),
        "router": Field(choices=ROUTERS),
        "routing.heavy_tokens": Field(least=0),
        "routing.heavy_share": Field(least=0, real=True),
        "routing.guard": Field(real=True),
        "routing.slack": Field(least=0),
    }
)
"""Fields of a pool, in the order in which they are chosen. ``at.node`` and ``at.TIER`` (of the topology) are ``at``."""

SERVICE_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "beside": Field(optional=True),
        "model": Field(entry="model"),
        "accelerator": Field(entry="accelerator", optional=True),
        "host": Field(entry="host", optional=True),
        "dtype": Field(choices=COMPUTE_DTYPES),
        "index": Field(entry="index"),
        "at": Field(least=0),
        "replicas": Field(),
        "sockets": Field(),
        "batch": Field(),
        "wait": Field(unit="s", least=0),
    }
)
"""Fields of a service; those of its index follow below ``index.``, those of its tiers below ``tiers.TIER.``."""

TIER_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "tier": Field(entry="tier"),
        "capacity": Field(unit="B"),
        "scope": Field(choices=TIER_SCOPES),
        "resident": Field(switch=True),
        "host_memory": Field(switch=True, optional=True),
    }
)
"""Fields of a KV tier of a service."""

INDEX_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "kind": Field(choices=INDEX_KINDS),
        "vectors": Field(),
        "dimensions": Field(),
        "dtype": Field(choices=tuple(VECTOR_BYTES)),
        "code_bytes": Field(least=0),
        "n_list": Field(least=0),
        "n_probe": Field(least=0),
        "imbalance": Field(real=True, optional=True),
        "coarse": Field(choices=COARSE),
        "fast_scan": Field(choices=FAST_SCANS),
        "links": Field(),
        "ef_search": Field(least=0),
        "distances": Field(least=0, real=True, optional=True),
        "rerank": Field(least=0),
        "scan_rate": Field(unit="B/s", least=0, optional=True),
        "id_bytes": Field(least=0),
    }
)
"""Fields of a vector index (`specs.retrieval.Index`): ``services.NAME.index.n_probe``."""

DESIGN_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "placement": Field(),
        "topology": Field(entry="topology"),
        "handoff.mode": Field(choices=HANDOFF_MODES),
        "handoff.groups": Field(),
    }
)
"""Fields of the design itself, before the options of its stages and repeats."""

WHEN_FIELDS: Mapping[str, Field] = MappingProxyType({"when.above": Field(least=0, real=True), "when.below": Field(least=0, real=True)})
REPEAT_FIELDS: Mapping[str, Field] = MappingProxyType({"count": Field(real=True), "most": Field()})


def checked(field: Field, name: str, value: Any, where: str) -> Any:
    """``value`` as a field holds it; ``SpaceError`` for one that it cannot hold. Entries of the catalogue are not looked up here."""
    if field.optional and (value is None or value == NONE):
        return NONE
    if field.switch:
        if not isinstance(value, bool):
            raise SpaceError(f"{where}: {value!r} is not true or false")
    elif field.choices:
        if value not in field.choices:
            raise SpaceError(f"{where}: {value!r} is not a {name.rpartition('.')[2]}; {nearest(value, field.choices)}")
    elif field.unit:
        _check_quantity(field, name, value, where)
    elif not field.entry:
        _check_number(field, value, where)
    return value


def meant(field: Field, value: Any) -> Any:
    """What a value of the space file stands for: none is None, a quantity its amount in SI units."""
    if field.optional and value == NONE:
        return None
    return quantity(value, field.unit) if field.unit else value


def _check_quantity(field: Field, name: str, value: Any, where: str) -> None:
    try:
        amount = quantity(value, field.unit)
    except ValueError as error:
        raise SpaceError(f"{where}: {error}") from None
    if amount < 0 or (field.least and not amount):
        bytes_ = " bytes" if field.unit == "B" else ""
        raise SpaceError(f"{where}: {value!r} is not a {name.rpartition('.')[2]} {'above 0' if field.least else 'of 0 or more'}{bytes_}")


def _check_number(field: Field, value: Any, where: str) -> None:
    kinds = (int, float) if field.real else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= field.least:
        raise SpaceError(f"{where}: {value!r} is not {'a number' if field.real else 'an integer'} >= {field.least:g}")
