"""Pools without an LLM engine: encoders, vector indexes, KV tiers, CPU work and calls to the world outside."""

from dataclasses import dataclass

from mist_dse.specs._check import SpecError, at_most, not_negative, one_of, positive
from mist_dse.specs.hardware import Accelerator, Host, MemoryTier
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.retrieval import Index

MOST_TOGETHER = 65_536
"""Requests in one batch of an encoder or index."""

HOST_SCOPES = ("host", "socket", "node")
"""Scopes of catalogue entries of host memory."""

TIER_SCOPES = ("private", "node", "shared")
"""Who shares one unit of a KV tier: nobody (one per engine), the engines of a node, or all engines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvTier:
    """A place for KV blocks beside the engines: ``capacity`` bytes in every unit, read and written over a link of its own, one
    transfer at a time.

    ``resident``: the blocks are in the accelerator's own memory, so that nothing is read; its capacity is taken from the engine's.
    ``host_memory``: they are in the memory of the service's node, so that reads draw on its bandwidth (None: as the
    catalogue entry says of itself, `HOST_SCOPES`).
    """

    name: str
    tier: MemoryTier
    capacity: float
    scope: str = "private"
    resident: bool = False
    host_memory: bool | None = None

    def __post_init__(self) -> None:
        positive(self, capacity=self.capacity)
        one_of(self, TIER_SCOPES, scope=self.scope)

    @property
    def draws_on_host(self) -> bool:
        """Whether its reads take the bandwidth of a host's memory."""
        return self.tier.scope in HOST_SCOPES if self.host_memory is None else self.host_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Something that hosts ``stages`` beside the engine pools.

    What it is follows from what it has: an encoder (``model``, on ``accelerator`` or ``host``; each of ``replicas`` takes up to
    ``batch`` requests at once and waits at most ``wait`` s for them), a vector ``index`` (sharded over ``hosts`` sockets, or whole on
    an accelerator that answers up to ``batch`` queries together; each replica a whole copy), KV ``tiers``, CPU work (``host`` alone:
    ``hosts`` sockets with all their cores), or, with none of these, something outside that is never busy. ``node``: the node whose
    host sockets (and memory bandwidth) it uses; None = sockets of its own. ``dtype``: weights and products of the encoder.
    ``beside``: the engine pool on whose first replica's devices the encoder (one replica) runs as well.
    """

    name: str
    stages: tuple[str, ...]
    replicas: int = 1
    model: ModelSpec | None = None
    accelerator: Accelerator | None = None
    host: Host | None = None
    hosts: int = 1
    index: Index | None = None
    tiers: tuple[KvTier, ...] = ()
    batch: int = 1
    wait: float = 0.0
    dtype: str = "bf16"
    node: int | None = None
    beside: str = ""

    def __post_init__(self) -> None:
        positive(self, replicas=self.replicas, hosts=self.hosts, batch=self.batch)
        not_negative(self, wait=self.wait, node=self.node)
        at_most(self, MOST_TOGETHER, batch=self.batch)
        at_most(self, 10**6, replicas=self.replicas, hosts=self.hosts)
        if not self.stages:
            raise SpecError(f"Service {self.name} hosts no stage")
        if self.model is not None and self.accelerator is not None and self.host is not None:
            raise SpecError(f"Service {self.name} runs {self.model.name} on an accelerator or on a host: give one of the two")
        if self.accelerator is not None and self.model is None and self.index is None:
            raise SpecError(f"Service {self.name} has an accelerator and neither a model nor an index to use it for")
        if self.model is not None and self.accelerator is None and self.host is None:
            raise SpecError(f"Service {self.name} runs {self.model.name} on nothing: give it an accelerator or a host")
        if self.index and self.host is None and self.accelerator is None:
            raise SpecError(f"Service {self.name} has an index and neither a host nor an accelerator to keep it")
        if self.kind in ("cores", "tiers", "outside") and (self.replicas, self.batch, self.wait) != (1, 1, 0.0):
            raise SpecError(f"Service {self.name} is {self.kind}: replicas, batch and wait are of encoders and indexes")
        if self.beside and (self.model is None or self.replicas > 1):
            raise SpecError(f"Service {self.name} is beside pool {self.beside}: it must be an encoder of one replica")
        if self.model is not None and self.host is not None and self.hosts > 1:
            raise SpecError(f"Service {self.name}: an encoder runs on one socket; give it {self.hosts} replicas, not sockets")
        given = [bool(self.model), bool(self.index), bool(self.tiers)]
        if sum(given) > 1:
            raise SpecError(f"Service {self.name} must be one thing: an encoder (model), an index or KV tiers")

    @property
    def kind(self) -> str:
        """encoder, index, tiers, cores or outside."""
        if self.model is not None:
            return "encoder"
        if self.index:
            return "index"
        if self.tiers:
            return "tiers"
        return "cores" if self.host is not None else "outside"

    @property
    def devices(self) -> int:
        """Accelerators."""
        return self.replicas if self.accelerator is not None and not self.beside else 0

    @property
    def sockets(self) -> int:
        """Host sockets that it needs beside those of accelerator nodes."""
        if self.host is None or self.node is not None:
            return 0
        return self.used_sockets

    @property
    def used_sockets(self) -> int:
        """Host sockets that it runs on, its own or a node's."""
        return self.hosts * (self.replicas if self.kind in ("index", "encoder") else 1)
