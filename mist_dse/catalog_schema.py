"""What a catalogue file may say: strict schemas that turn plain YAML data into checked values in SI units.

Every schema forbids unknown keys, every quantity carries a unit (`mist_dse.units`), every entry names its source. A mistake
becomes one line (`mist_dse.catalog_errors`).
"""

from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, StrictInt, StrictStr, create_model, model_validator

from mist_dse.catalog_errors import keys_of, nearest
from mist_dse.specs.design import STORAGE_BYTES
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import COMPUTE_DTYPES
from mist_dse.specs.model import ModelSpec
from mist_dse.units import quantity


def _in(dimension: str) -> BeforeValidator:
    return BeforeValidator(partial(quantity, dimension=dimension))


def one_of(choices: Iterable[str]) -> BeforeValidator:
    """A word of ``choices``, or else the nearest of them."""
    known = tuple(choices)

    def choice(value: object) -> object:
        if value not in known:
            close = nearest(value, known)
            raise ValueError(f"{value!r} is unknown; {close}" + ("" if close.startswith("valid") else f" valid: {', '.join(known)}"))
        return value

    return BeforeValidator(choice)


Amount = Annotated[float, _in("1")]
ByteCount = Annotated[float, _in("B")]
ByteRate = Annotated[float, _in("B/s")]
FlopRate = Annotated[float, _in("FLOP/s")]
Seconds = Annotated[float, _in("s")]
PerSecond = Annotated[float, _in("1/s")]
Watts = Annotated[float, _in("W")]
UsdPerHour = Annotated[float, _in("USD/h")]
Tokens = Annotated[float, _in("token")]
Source = Annotated[dict[str, StrictStr], BeforeValidator(lambda value: {"default": value} if isinstance(value, str) else value)]
Storage = Annotated[str, one_of(STORAGE_BYTES)]


class Strict(BaseModel):
    """A mapping that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class Entry(Strict):
    """What every catalogue file may say about itself; ``source`` is text, or text per key with a ``default``."""

    source: Source
    confidence: StrictStr = ""
    verified: StrictStr = ""
    note: StrictStr = ""
    aliases: list[StrictStr] = []

    @model_validator(mode="after")
    def _sources_name_keys(self) -> "Entry":
        known = {"default", *keys_of(type(self))}
        for key in self.source:
            if key.split(".")[0] not in known:
                raise ValueError(f"source names the key {key!r}, which is not one of this file; {nearest(key, known)}")
        if not self.source.get("default"):
            raise ValueError("source is missing its default: say where the numbers come from")
        return self

    def values(self) -> dict[str, Any]:
        """The entry's own keys and values, without what it says about itself, plus ``source`` and ``confidence`` as text."""
        own = self.model_dump(exclude={"source", "confidence", "verified", "note", "aliases"})
        return own | {"source": self.source["default"], "confidence": self.confidence}


class PeaksEntry(Strict):
    """Dense matrix rates by datatype."""

    fp32: FlopRate | None = None
    tf32: FlopRate | None = None
    bf16: FlopRate | None = None
    fp8: FlopRate | None = None
    int8: FlopRate | None = None
    fp4: FlopRate | None = None


class ScaleUpEntry(Strict):
    """The link that a baseboard carries, and how many devices it joins."""

    link: StrictStr
    domain: StrictInt


class OperatorEntry(Strict):
    """Fitted coefficients of one operator family and datatype."""

    family: Annotated[str, one_of(("gemm", "attention_prefill", "attention_decode", "moe", "elementwise"))]
    dtype: Annotated[str, one_of(COMPUTE_DTYPES)]
    overhead: Seconds
    compute: Amount
    memory: Amount
    source: StrictStr


class AcceleratorEntry(Entry):
    """conf/accelerator/NAME.yaml."""

    vendor: StrictStr
    year: StrictInt
    peaks: PeaksEntry
    memory: ByteCount
    visible_memory: ByteCount | None = None
    memory_bandwidth: ByteRate
    scale_up: ScaleUpEntry
    host_link: ByteRate | None = None
    nic: ByteRate | None = None
    tdp: Watts | None = None
    idle_power: Watts | None = None
    operators: list[OperatorEntry] = []


class HostEntry(Entry):
    """conf/host/NAME.yaml: one CPU socket."""

    vendor: StrictStr
    year: StrictInt
    cores: StrictInt
    fp32: FlopRate
    bf16: FlopRate | None = None
    memory: ByteCount
    memory_bandwidth: ByteRate
    pq_scan: ByteRate | None = None
    tdp: Watts | None = None


class LinkEntry(Entry):
    """conf/link/NAME.yaml."""

    kind: Annotated[str, one_of(("scale-up", "scale-out", "host"))]
    bandwidth: ByteRate
    latency: Seconds
    efficiency: Amount = 0.8
    links: int | None = None


class TierEntry(Entry):
    """conf/tier/NAME.yaml: a place to keep bytes."""

    technology: StrictStr
    scope: StrictStr
    read: ByteRate
    write: ByteRate | None = None
    latency: Seconds
    capacity: ByteCount | None = None


class TopologyTierEntry(Strict):
    """One tier of a topology."""

    name: StrictStr
    size: StrictInt
    link: StrictStr | None = None
    oversubscription: Amount = 1.0


class TopologyEntry(Entry):
    """conf/topology/NAME.yaml: tiers from the node outwards."""

    tiers: list[TopologyTierEntry]
    host: StrictStr | None = None
    hosts_per_node: StrictInt = 2


PLAIN: dict[Any, Any] = {int: StrictInt, bool: StrictBool, str: StrictStr, float: Amount, int | None: StrictInt | None,
                         float | None: Amount | None, tuple[str, ...]: list[StrictStr], tuple[int, ...]: list[StrictInt]}  # fmt: skip
"""How a file says a field of a spec that has no unit."""

ENGINE_SECONDS = ("host_step", "host_sequence", "host_prefill", "residue", "residue_sequence", "moe_layer_time", "quantise_saving",
                  "front_end", "front_end_token", "front_end_output", "client")  # fmt: skip
"""Fields of an engine profile that are times."""


def entry_of(spec: type[Any], text: str, **said: Any) -> type[Entry]:
    """The schema of a file with the fields of ``spec``; ``said``: the types of those with a unit or a choice of words."""
    own = [field for field in fields(spec) if field.name not in ("name", "source", "confidence", "verified", "note")]
    usual = {f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in own}
    columns: dict[str, Any] = {f.name: (said.get(f.name) or PLAIN[f.type], ... if f.default is MISSING else usual[f.name]) for f in own}
    return create_model(f"{spec.__name__}Entry", __base__=Entry, __doc__=text, **columns)


ModelEntry = entry_of(ModelSpec, "conf/model/NAME.yaml: the shape of a model.")

EngineEntry = entry_of(
    EngineProfile,
    "conf/engine/NAME.yaml: an engine profile.",
    **dict.fromkeys(ENGINE_SECONDS, Seconds),
    reserve=ByteCount,
    models=Annotated[str, one_of(("", "dense", "moe", "mla"))],
    first_token_from=Annotated[str, one_of(("prefill", "decode"))],
)


class PriceEntry(Strict):
    """One price of a book."""

    price: UsdPerHour
    provider: StrictStr
    date: StrictStr
    kind: Annotated[str, one_of(("on_demand", "list", "marketplace", "study", "median"))]
    source: StrictStr
    confidence: StrictStr = ""


class PriceBookEntry(Entry):
    """conf/price/NAME.yaml: one consistent set of prices."""

    billing: Annotated[str, one_of(("device", "node"))] = "device"
    date: StrictStr = ""
    prices: dict[str, PriceEntry]


class SloFile(Entry):
    """conf/slo/NAME.yaml: limits per request, and on aggregate metrics."""

    per_request: dict[Annotated[str, one_of(("ttft", "tpot", "e2e"))], Seconds] = {}
    limits: list[StrictStr] = []


class SloEntry(SloFile):
    """The same inside a workload, which need not say where it comes from."""

    source: Source = {"default": "stated in the workload"}
