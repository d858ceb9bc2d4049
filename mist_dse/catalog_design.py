"""Pipelines and designs as plain data: what their files may say, and the specs that they become."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from mist_dse.catalog_errors import CatalogError, located, nearest
from mist_dse.catalog_schema import Amount, ByteCount, ByteRate, Entry, Seconds, Storage, Strict, entry_of, one_of
from mist_dse.specs.design import (
    BATCHING_POLICIES,
    HANDOFF_MODES,
    PACKINGS,
    ROUTERS,
    STORAGE_BYTES,
    Batching,
    Datatypes,
    Design,
    Handoff,
    Parallelism,
    Pool,
    Routing,
    Speculation,
)  # fmt: skip
from mist_dse.specs.hardware import COMPUTE_DTYPES, Topology
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import COUNT_LAWS, JOINS, MODES, Pipeline, Repeat, Stage, When
from mist_dse.specs.retrieval import Index
from mist_dse.specs.service import TIER_SCOPES, KvTier, Service

Entries: TypeAlias = Any
"""A `Catalog`, which stands above this module."""


class WhenEntry(Strict):
    """Which requests take a stage (`specs.pipeline.When`)."""

    draw: StrictStr
    above: Amount = 0.0
    below: Amount = 1.0
    way: StrictStr = ""


class StageEntry(BaseModel):
    """One stage of a pipeline; the keys that its kind knows stand beside these, and are checked by it."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    name: StrictStr
    kind: StrictStr
    after: list[StrictStr] = []
    when: WhenEntry | None = None
    classes: list[StrictStr] = []
    join: Annotated[str, one_of(JOINS)] = "all"


class RepeatEntry(Strict):
    """Stages that a request visits several times (`specs.pipeline.Repeat`)."""

    name: StrictStr
    stages: list[StrictStr]
    mode: Annotated[str, one_of(MODES)]
    count: Amount
    law: Annotated[str, one_of(COUNT_LAWS)] = "fixed"
    most: StrictInt | None = None


class PipelineEntry(Entry):
    """conf/pipeline/NAME.yaml."""

    stages: list[StageEntry]
    repeats: list[RepeatEntry] = Field(default=[])


IndexEntry = entry_of(Index, "conf/index/NAME.yaml: a vector index.", scan_rate=ByteRate | None)


class DtypeEntry(Strict):
    """Storage of weights and KV, datatype of the products; what is left out follows the checkpoint."""

    weight: Storage | None = None
    kv: Storage | None = None
    compute: Annotated[str, one_of(COMPUTE_DTYPES)] | None = None


_SHORTHAND = {"fp32": ("fp32", "fp32", "fp32"), "fp16": ("fp16", "fp16", "bf16"), "int4": ("int4", "bf16", "bf16"),
              "mxfp4": ("mxfp4", "bf16", "bf16"), "nvfp4": ("nvfp4", "fp8", "fp4")}  # fmt: skip


def _dtype(value: object) -> object:
    """A bare name sets weight, KV and compute alike; formats that only store weights keep a wider KV and compute."""
    if not isinstance(value, str):
        return value
    if value not in STORAGE_BYTES:
        raise ValueError(f"{value!r} is unknown; {nearest(value, STORAGE_BYTES)} valid: {', '.join(STORAGE_BYTES)}")
    return dict(zip(("weight", "kv", "compute"), _SHORTHAND.get(value, (value,) * 3), strict=True))


class BatchingEntry(Strict):
    """How an engine forms its steps; what is left out keeps the default of `specs.design.Batching`."""

    policy: Annotated[str, one_of(BATCHING_POLICIES)] = "chunked"
    max_num_seqs: StrictInt = 256
    max_num_batched_tokens: StrictInt = 8192
    long_prefill_threshold: StrictInt = 0
    packing: Annotated[str, one_of(PACKINGS)] = "fcfs"
    prefix_caching: StrictBool = False


class SpeculationEntry(Strict):
    """Speculative decoding of a pool (`specs.design.Speculation`)."""

    draft_tokens: StrictInt
    acceptance: Amount
    draft_share: Amount | None = None


class RoutingEntry(Strict):
    """What a pool's router needs to know (`specs.design.Routing`)."""

    heavy_tokens: StrictInt = Routing().heavy_tokens
    heavy_share: Amount = Routing().heavy_share
    guard: Amount = Routing().guard
    slack: StrictInt = Routing().slack


class PlaceEntry(Strict):
    """Where a pool starts: a node, or the first node of a group of an outer tier of the topology (``rack: 1``), by that tier's name."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    node: StrictInt | None = None


class PoolEntry(Strict):
    """One pool of a design."""

    hosts: list[StrictStr]
    model: StrictStr
    accelerator: StrictStr
    engine: StrictStr = "generic"
    replicas: StrictInt = 1
    tp: StrictInt = 1
    pp: StrictInt = 1
    dp: StrictInt = 1
    ep: StrictInt = 1
    cp: StrictInt = 1
    dtype: Annotated[DtypeEntry, BeforeValidator(_dtype)] = DtypeEntry()
    batching: BatchingEntry = BatchingEntry()
    router: Annotated[str, one_of(ROUTERS)] = "round_robin"
    routing: RoutingEntry = RoutingEntry()
    at: PlaceEntry | None = None
    speculation: SpeculationEntry | None = None
    beside: StrictStr = ""


class KvTierEntry(Strict):
    """One KV tier of a service (`specs.service.KvTier`)."""

    tier: StrictStr
    capacity: ByteCount | None = None
    scope: Annotated[str, one_of(TIER_SCOPES)] = "private"
    resident: StrictBool = False
    host_memory: StrictBool | None = None


class ServiceEntry(Strict):
    """One service of a design (`specs.service.Service`)."""

    hosts: list[StrictStr]
    replicas: StrictInt = 1
    model: StrictStr | None = None
    accelerator: StrictStr | None = None
    host: StrictStr | None = None
    sockets: StrictInt = Field(default=1, ge=1)
    index: StrictStr | None = None
    tiers: dict[str, KvTierEntry] = Field(default={})
    batch: StrictInt = 1
    wait: Seconds = 0.0
    dtype: Annotated[str, one_of(COMPUTE_DTYPES)] = "bf16"
    at: PlaceEntry | None = None
    beside: StrictStr = ""


class HandoffEntry(Strict):
    """Which pool hands its KV cache to which, and how."""

    from_: StrictStr = Field(alias="from")
    to: StrictStr
    mode: Annotated[str, one_of(HANDOFF_MODES)] = "layerwise"
    groups: StrictInt = 1


class DesignEntry(Strict):
    """conf/design/NAME.yaml."""

    pipeline: StrictStr = "chat"
    topology: StrictStr
    pools: dict[str, PoolEntry] = Field(min_length=1)
    handoff: HandoffEntry | None = None
    services: dict[str, ServiceEntry] = Field(default={})
    name: StrictStr = ""
    source: StrictStr = ""
    note: StrictStr = ""


def pipeline_of(entry: PipelineEntry, name: str, where: str) -> Pipeline:
    """The pipeline that a file describes."""
    stages, names = [], [stage.name for stage in entry.stages]
    for repeat in entry.repeats:
        _known(repeat.stages, names, f"{where}: repeats.{repeat.name}.stages", f"stage of pipeline {name}")
    for stage in entry.stages:
        _known(stage.after, names, f"{where}: stages.{stage.name}.after", f"stage of pipeline {name}")
        options = tuple(sorted((key, _frozen(value)) for key, value in (stage.model_extra or {}).items()))
        with located(where, f"stages.{stage.name}"):
            when = When(**stage.when.model_dump()) if stage.when else None
            stages.append(Stage(name=stage.name, kind=stage.kind, after=tuple(stage.after), when=when, classes=tuple(stage.classes),
                                join=stage.join, options=options))  # fmt: skip
    with located(where, "repeats"):
        repeats = tuple(Repeat(**repeat.model_dump() | {"stages": tuple(repeat.stages)}) for repeat in entry.repeats)
    with located(where, "stages"):
        return Pipeline(name=name, stages=tuple(stages), repeats=repeats, source=entry.source["default"])


def design_of(entry: DesignEntry, catalog: Entries, where: str) -> Design:
    """The design that names catalogue entries; ``where`` begins the line of a `CatalogError`."""
    pipeline = catalog.pipeline(entry.pipeline, where=f"{where}: pipeline: ")
    topology = catalog.topology(entry.topology, where=f"{where}: topology: ")
    stages = [stage.name for stage in pipeline.stages]
    asked = [(f"pools.{name}", pool.hosts) for name, pool in entry.pools.items()]
    asked += [(f"services.{name}", service.hosts) for name, service in entry.services.items()]
    for part, hosts in asked:
        _known(hosts, stages, f"{where}: {part}.hosts", f"stage of pipeline {pipeline.name}")
    handoff = None
    if entry.handoff is not None:
        _known([entry.handoff.from_], list(entry.pools), f"{where}: handoff.from", "pool of the design")
        _known([entry.handoff.to], list(entry.pools), f"{where}: handoff.to", "pool of the design")
        with located(where, "handoff"):
            handoff = Handoff(source=entry.handoff.from_, target=entry.handoff.to, mode=entry.handoff.mode, groups=entry.handoff.groups)
    pools = tuple(_pool(name, pool, catalog, topology, where) for name, pool in entry.pools.items())
    services = tuple(_service(name, service, catalog, topology, where) for name, service in entry.services.items())
    with located(where, "pools"):
        return Design(pipeline=pipeline, topology=topology, pools=pools, services=services, handoff=handoff, name=entry.name)


def _pool(name: str, entry: PoolEntry, catalog: Entries, topology: Topology, where: str) -> Pool:
    place = f"{where}: pools.{name}"
    model = catalog.model(entry.model, where=f"{place}.model: ")
    accelerator = catalog.accelerator(entry.accelerator, where=f"{place}.accelerator: ")
    engine = catalog.engine(entry.engine, where=f"{place}.engine: ")
    with located(where, f"pools.{name}.batching"):
        batching = Batching(**entry.batching.model_dump())
    with located(where, f"pools.{name}.routing"):
        routing = Routing(**entry.routing.model_dump())
    with located(where, f"pools.{name}.speculation"):
        speculation = Speculation(**entry.speculation.model_dump()) if entry.speculation else None
    with located(where, f"pools.{name}"):
        parallelism = Parallelism(tp=entry.tp, pp=entry.pp, dp=entry.dp, ep=entry.ep, cp=entry.cp)
        return Pool(name=name, stages=tuple(entry.hosts), model=model, accelerator=accelerator, engine=engine, replicas=entry.replicas,
                    parallelism=parallelism, dtypes=_datatypes(entry.dtype, model), batching=batching, router=entry.router, routing=routing,
                    node=_node(entry.at, topology, f"{place}.at"), speculation=speculation, beside=entry.beside)  # fmt: skip


def _service(name: str, entry: ServiceEntry, catalog: Entries, topology: Topology, where: str) -> Service:
    place = f"{where}: services.{name}"
    model = catalog.model(entry.model, where=f"{place}.model: ") if entry.model else None
    accelerator = catalog.accelerator(entry.accelerator, where=f"{place}.accelerator: ") if entry.accelerator else None
    host = catalog.host(entry.host, where=f"{place}.host: ") if entry.host else None
    node = _node(entry.at, topology, f"{place}.at")
    if host is None and node is not None and entry.accelerator is None:
        host = topology.host
    index = catalog.index(entry.index, where=f"{place}.index: ") if entry.index else None
    tiers = tuple(_tier(where, f"services.{name}.tiers.{key}", tier, catalog) for key, tier in entry.tiers.items())
    with located(where, f"services.{name}"):
        return Service(name=name, stages=tuple(entry.hosts), replicas=entry.replicas, model=model, accelerator=accelerator, host=host,
                       hosts=entry.sockets, index=index, tiers=tiers, batch=entry.batch, wait=entry.wait, dtype=entry.dtype,
                       node=node, beside=entry.beside)  # fmt: skip


def _tier(where: str, path: str, entry: KvTierEntry, catalog: Entries) -> KvTier:
    tier = catalog.tier(entry.tier, where=f"{where}: {path}.tier: ")
    capacity = entry.capacity if entry.capacity is not None else tier.capacity
    if capacity is None:
        raise CatalogError(f"{where}: {path}: missing key 'capacity': tier {tier.name} has none of its own")
    with located(where, path):
        return KvTier(
            name=path.rpartition(".")[2],
            tier=tier,
            capacity=capacity,
            scope=entry.scope,
            resident=entry.resident,
            host_memory=entry.host_memory,
        )


def _node(entry: PlaceEntry | None, topology: Topology, place: str) -> int | None:
    """The first node of the place that is named: a node, or a group of a tier of the topology by its number."""
    if entry is None:
        return None
    named = {"node": entry.node} if entry.node is not None else {}
    named |= entry.model_extra or {}
    sizes = {"node": topology.node_size} | {tier.name: tier.size for tier in topology.tiers}
    if len(named) != 1:
        raise CatalogError(f"{place}: name one place, such as node: 0; valid: {', '.join(sizes)}")
    ((tier, number),) = named.items()
    if tier not in sizes:
        raise CatalogError(f"{place}.{tier}: unknown key {tier!r} (value {number!r}); {nearest(tier, sizes)}")
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise CatalogError(f"{place}.{tier}: {number!r}: should be a whole number from 0 on")
    return number * sizes[tier] // topology.node_size


def _frozen(value: object) -> object:
    """Plain data that compares and hashes."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    return value


def _datatypes(entry: DtypeEntry, model: ModelSpec) -> Datatypes:
    """What the design says, and for the rest what the checkpoint holds: fp8 and 4-bit weights stay, all else is bf16."""
    stored = next((dtype for dtype in ("fp8", "mxfp4", "int4") if model.native_dtype.startswith(dtype)), "bf16")
    weight = entry.weight or stored
    compute = "fp8" if entry.weight is None and stored == "fp8" else "bf16"
    return Datatypes(weight=weight, kv=entry.kv or "bf16", compute=entry.compute or compute)


def _known(names: Sequence[str], choices: Sequence[str], where: str, what: str) -> None:
    for name in names:
        if name not in choices:
            raise CatalogError(f"{where}: {name!r} is not a {what}; {nearest(name, choices)}")
