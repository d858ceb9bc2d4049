"""Hardware nouns: accelerators, hosts, links, memory tiers, topologies and price books.

Peaks are dense (no sparsity). Link bandwidths are per device and per direction. Interconnect belongs to the fabric
(`Topology`), an accelerator only names the scale-up link that its baseboard carries.
"""

import math
from dataclasses import dataclass, fields
from itertools import pairwise

from mist_dse.specs._check import SpecError, fraction, not_negative, one_of, positive

COMPUTE_DTYPES = ("fp32", "tf32", "bf16", "fp8", "int8", "fp4")
"""Datatypes that an accelerator may have matrix units for."""

OPERATOR_FAMILIES = (
    "gemm", "attention_prefill", "attention_decode", "latent_prefill", "latent_decode", "linear_prefill", "linear_decode",
    "sparse_prefill", "sparse_decode", "indexer", "moe", "elementwise",
)  # fmt: skip
"""Kinds of operator that share coefficients; latent: attention with compressed keys and values (MLA), linear: gated delta-net,
sparse: latent attention to selected tokens (DSA), indexer: what selects them."""

_WIDER = {"fp4": "fp8", "fp8": "bf16", "int8": "bf16", "bf16": "tf32", "tf32": "fp32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Dense matrix rates in FLOP/s by datatype; None = no native units."""

    fp32: float | None = None
    tf32: float | None = None
    bf16: float | None = None
    fp8: float | None = None
    int8: float | None = None
    fp4: float | None = None

    def __post_init__(self) -> None:
        positive(self, **{field.name: getattr(self, field.name) for field in fields(self)})

    def native(self, dtype: str) -> str:
        """The datatype in which ``dtype`` really computes: itself, or the next wider one that has units."""
        while getattr(self, dtype) is None:
            if dtype not in _WIDER:
                raise SpecError(f"Peaks has no rate for {dtype} or anything wider")
            dtype = _WIDER[dtype]
        return dtype

    def at(self, dtype: str) -> float:
        """FLOP/s at ``dtype``, or at the next wider datatype where there are no native units."""
        return float(getattr(self, self.native(dtype)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link technology: ``bandwidth`` B/s per device and direction, ``latency`` s of a small message, ``efficiency`` 0..1.

    ``links``: how many links the bandwidth is the sum of, each to a neighbour of its own, as in a mesh or a torus: n devices
    use at most n - 1 of them. None: a switch or one link, any pair gets it all.
    """

    name: str
    kind: str
    bandwidth: float
    latency: float
    efficiency: float = 0.8
    links: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        positive(self, bandwidth=self.bandwidth, links=self.links)
        not_negative(self, latency=self.latency)
        fraction(self, efficiency=self.efficiency)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFit:
    """Fitted time of one operator family, a roofline with a soft corner and three linear terms.

    ``t = overhead + soft_max(FLOP/(compute peak), bytes/(memory bandwidth)) + item items + depth steps + group groups``

    ``family``: one of `OPERATOR_FAMILIES`. ``dtype``: a compute datatype; ``storage``: what weights or KV cache are kept in where
    that sets a kernel apart (empty: as computed); ``engine``: whose kernels; ``kernel``: one of them by name, empty for all
    together. ``overhead`` s per call, ``compute`` and ``memory`` fractions of the datasheet peaks, ``sharpness`` of the corner
    (inf: the maximum), ``item``, ``depth``, ``group`` s each. ``provenance``: fitted, borrowed from NAME, class default or
    datasheet. ``error``: median relative error on shapes held out of the fit, None if unknown.
    """

    family: str
    dtype: str
    overhead: float
    compute: float
    memory: float
    source: str
    sharpness: float = math.inf
    item: float = 0.0
    depth: float = 0.0
    group: float = 0.0
    storage: str = ""
    engine: str = ""
    kernel: str = ""
    provenance: str = "fitted"
    error: float | None = None

    def __post_init__(self) -> None:
        not_negative(self, overhead=self.overhead, item=self.item, depth=self.depth, group=self.group)
        positive(self, compute=self.compute, memory=self.memory)
        if not self.sharpness >= 1:
            raise SpecError(f"OperatorFit.sharpness is {self.sharpness}: must be >= 1, inf for a plain maximum")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFit:
    """Fitted time of one collective over the scale-up link: ``t = soft_max(latency, size / bandwidth) + root sqrt(size)``.

    ``kind``: all_reduce, all_gather, reduce_scatter, all_to_all (``size`` bytes per device, of which all end with all), or what
    an expert exchange is called. ``devices`` that take part. The root is what a pipeline of chunks costs beside its ends
    (``2 sqrt(latency per chunk x size / bandwidth)`` at the best chunk); ``sharpness`` 1 adds latency and wire time, inf takes
    the greater. ``library``, ``kernel`` and ``version``: whose.
    """

    kind: str
    devices: int
    latency: float
    root: float
    bandwidth: float
    sharpness: float = 1.0
    library: str = ""
    kernel: str = ""
    version: str = ""
    provenance: str = "fitted"
    error: float | None = None

    def __post_init__(self) -> None:
        not_negative(self, latency=self.latency, root=self.root)
        positive(self, bandwidth=self.bandwidth, devices=self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTable:
    """How measured products differ from their fit: log(measured / fitted) over (n, k, rows), in hundredths.

    ``hundredths``: int8 bytes of that array in C order; axes ascend. Bytes, not an array, so that specs compare and hash.
    """

    dtype: str
    storage: str
    engine: str
    n: tuple[int, ...]
    k: tuple[int, ...]
    rows: tuple[int, ...]
    hundredths: bytes

    def __post_init__(self) -> None:
        shape = (len(self.n), len(self.k), len(self.rows))
        if len(self.hundredths) != math.prod(shape) or min(shape) < 2:
            raise SpecError(f"ProductTable.hundredths has {len(self.hundredths)} values for axes of {shape}: each axis needs 2 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One accelerator device.

    ``memory`` and ``visible_memory`` in bytes (visible = what the driver reports; None = 0.95 of nominal is assumed and
    said), ``memory_bandwidth`` B/s, ``scale_up`` the link between devices of one ``scale_up_domain`` (devices),
    ``host_link`` and ``nic`` B/s per direction (None = unknown), ``tdp`` and ``idle_power`` W.
    """

    name: str
    vendor: str
    year: int
    peaks: Peaks
    memory: float
    memory_bandwidth: float
    scale_up: Link
    scale_up_domain: int
    visible_memory: float | None = None
    host_link: float | None = None
    nic: float | None = None
    tdp: float | None = None
    idle_power: float | None = None
    operators: tuple[OperatorFit, ...] = ()
    collectives: tuple[CollectiveFit, ...] = ()
    tables: tuple[ProductTable, ...] = ()
    source: str = ""
    confidence: str = ""

    def __post_init__(self) -> None:
        positive(self, memory=self.memory, memory_bandwidth=self.memory_bandwidth, visible_memory=self.visible_memory,
                 host_link=self.host_link, nic=self.nic, tdp=self.tdp, scale_up_domain=self.scale_up_domain)  # fmt: skip
        not_negative(self, idle_power=self.idle_power)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host CPU socket: ``cores``, ``fp32``/``bf16`` FLOP/s, DRAM ``memory`` bytes and ``memory_bandwidth`` B/s.

    ``pq_scan`` is the product-quantised scan rate in B/s per core (None = unknown).
    """

    name: str
    vendor: str
    year: int
    cores: int
    fp32: float
    memory: float
    memory_bandwidth: float
    bf16: float | None = None
    pq_scan: float | None = None
    tdp: float | None = None
    source: str = ""
    confidence: str = ""

    def __post_init__(self) -> None:
        positive(self, cores=self.cores, fp32=self.fp32, memory=self.memory, memory_bandwidth=self.memory_bandwidth,
                 bf16=self.bf16, pq_scan=self.pq_scan, tdp=self.tdp)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTier:
    """A place to keep bytes: ``capacity`` (None = unbounded), ``read`` and ``write`` B/s of large transfers, ``latency`` s."""

    name: str
    technology: str
    scope: str
    read: float
    latency: float
    write: float | None = None
    capacity: float | None = None
    source: str = ""
    confidence: str = ""

    def __post_init__(self) -> None:
        positive(self, read=self.read, write=self.write, capacity=self.capacity)
        not_negative(self, latency=self.latency)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyTier:
    """Devices that reach each other over ``link``: ``size`` of them in one group of this tier.

    ``link`` None in the innermost tier means each accelerator's own scale-up link. A transfer between two placements
    takes the narrowest tier between them; ``oversubscription`` divides what each device gets when all send at once.
    """

    name: str
    size: int
    link: Link | None = None
    oversubscription: float = 1.0

    def __post_init__(self) -> None:
        positive(self, size=self.size)
        if self.oversubscription < 1:
            raise SpecError(f"TopologyTier.oversubscription of {self.name} is {self.oversubscription}: must be >= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Nested tiers from the node outwards, the last one holding everything; ``host`` sockets per node."""

    name: str
    tiers: tuple[TopologyTier, ...]
    host: Host | None = None
    hosts_per_node: int = 2
    source: str = ""

    def __post_init__(self) -> None:
        if not self.tiers:
            raise SpecError(f"Topology {self.name} has no tiers: give at least the node")
        sizes = [tier.size for tier in self.tiers]
        if any(outer % inner or outer <= inner for inner, outer in pairwise(sizes)):
            raise SpecError(f"Topology.tiers of {self.name} have sizes {sizes}: each must be a multiple of the one inside it")
        for tier in self.tiers[1:]:
            if tier.link is None:
                raise SpecError(
                    f"TopologyTier.link of {self.name}.{tier.name} is missing: only the innermost tier may leave it to the accelerator"
                )

    @property
    def devices(self) -> int:
        """Devices that fit."""
        return self.tiers[-1].size

    @property
    def node_size(self) -> int:
        """Devices of one node (the innermost tier)."""
        return self.tiers[0].size


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per hour of one ``item`` (accelerator or host by name), with where and when it was read."""

    item: str
    usd_per_hour: float
    provider: str
    date: str
    kind: str
    source: str = ""
    confidence: str = ""

    def __post_init__(self) -> None:
        not_negative(self, usd_per_hour=self.usd_per_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """One consistent set of prices; ``billing`` is ``device`` or ``node`` (whole nodes are rented)."""

    name: str
    prices: tuple[Price, ...]
    billing: str = "device"
    date: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        one_of(self, ("device", "node"), billing=self.billing)

    def usd_per_hour(self, item: str) -> float | None:
        """The price of one ``item`` per hour, None where the book has none."""
        return next((price.usd_per_hour for price in self.prices if price.item == item), None)
