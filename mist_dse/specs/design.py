"""A design: all that is deployed. Pools of engines on a topology, and how a request is handed between them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from mist_dse.specs._check import SpecError, fraction, not_negative, one_of, positive
from mist_dse.specs.hardware import COMPUTE_DTYPES, Accelerator, Topology
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import Pipeline

STORAGE_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53125, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Bytes per stored value, scales included (OCP MX: 32 values share 8 bits; NVFP4: 16 values share 8; int4: 32 share 8)."""

BATCHING_POLICIES = ("static", "continuous", "chunked")
PACKINGS = ("fcfs",)
ROUTERS = ("round_robin", "jsq")
HANDOFF_MODES = ("whole", "layerwise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Degrees of tensor, pipeline, attention-data, expert and context parallelism; ep divides tp x dp and adds no devices."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    cp: int = 1

    def __post_init__(self) -> None:
        positive(self, tp=self.tp, pp=self.pp, dp=self.dp, ep=self.ep, cp=self.cp)
        if (self.tp * self.dp) % self.ep:
            raise SpecError(f"Parallelism.ep is {self.ep}: must divide tp x dp = {self.tp * self.dp}")

    @property
    def devices(self) -> int:
        """Devices of one engine: tp x pp x dp x cp."""
        return self.tp * self.pp * self.dp * self.cp


@dataclass(frozen=True, slots=True, kw_only=True)
class Datatypes:
    """How weights and KV cache are stored (`STORAGE_BYTES`), and the datatype that matrix products compute in."""

    weight: str = "bf16"
    kv: str = "bf16"
    compute: str = "bf16"

    def __post_init__(self) -> None:
        one_of(self, tuple(STORAGE_BYTES), weight=self.weight, kv=self.kv)
        one_of(self, COMPUTE_DTYPES, compute=self.compute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How an engine forms its steps.

    ``static``: a batch runs until its longest member ends. ``continuous``: whole prompts first, decodes wait meanwhile.
    ``chunked``: vLLM v1, decodes first, then prompt chunks within ``max_num_batched_tokens``. ``max_num_seqs`` caps the
    sequences of one rank; ``long_prefill_threshold`` > 0 caps one request's chunk.
    """

    policy: str = "chunked"
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    long_prefill_threshold: int = 0
    packing: str = "fcfs"

    def __post_init__(self) -> None:
        one_of(self, BATCHING_POLICIES, policy=self.policy)
        one_of(self, PACKINGS, packing=self.packing)
        positive(self, max_num_seqs=self.max_num_seqs, max_num_batched_tokens=self.max_num_batched_tokens)
        not_negative(self, long_prefill_threshold=self.long_prefill_threshold)
        if self.policy == "chunked" and self.max_num_batched_tokens < self.max_num_seqs:
            raise SpecError(f"Batching.max_num_batched_tokens is {self.max_num_batched_tokens}: below max_num_seqs {self.max_num_seqs}, "
                            "as vLLM requires")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """What an engine adds to the operators, in seconds and bytes (MODEL: engine profile).

    Host time of a step: ``host_step + host_sequence x sequences + host_prefill`` where a prefill runs;
    ``async_scheduling``: step = max(device, host), else the sum. ``attention_factor`` and ``mixing_factor`` multiply decode
    attention (always; in steps that also prefill). ``front_end`` + ``front_end_token`` x input tokens: serial intake, one
    request at a time; ``client``: constant delay. KV memory = ``memory_fraction`` x visible memory - weights - ``reserve``;
    ``watermark``: share of blocks kept free at admission; ``reserve_full_isl``: admit only if the whole prompt fits.
    ``graph_sizes``: sequence counts that pure decode steps are padded to. ``first_token_from``: the pool that the user's
    first token comes from in a disaggregated design. ``overlap``: share of communication hidden behind compute.
    """

    name: str
    host_step: float = 0.0
    host_sequence: float = 0.0
    host_prefill: float = 0.0
    async_scheduling: bool = False
    linear_factor: float = 1.0
    attention_factor: float = 1.0
    mixing_factor: float = 1.0
    overlap: float = 0.0
    front_end: float = 0.0
    front_end_token: float = 0.0
    client: float = 0.0
    block_size: int = 16
    memory_fraction: float = 0.9
    reserve: float = 4e9
    watermark: float = 0.0
    reserve_full_isl: bool = True
    graph_sizes: tuple[int, ...] = ()
    max_model_len: int | None = None
    first_token_from: str = "prefill"
    source: str = ""

    def __post_init__(self) -> None:
        not_negative(self, host_step=self.host_step, host_sequence=self.host_sequence, host_prefill=self.host_prefill,
                     front_end=self.front_end, front_end_token=self.front_end_token, client=self.client, reserve=self.reserve)  # fmt: skip
        positive(self, linear_factor=self.linear_factor, attention_factor=self.attention_factor, mixing_factor=self.mixing_factor,
                 block_size=self.block_size, max_model_len=self.max_model_len)  # fmt: skip
        fraction(self, memory_fraction=self.memory_fraction, watermark=self.watermark, overlap=self.overlap)
        one_of(self, ("prefill", "decode"), first_token_from=self.first_token_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """``replicas`` identical engines that host the same ``stages`` behind one ``router``.

    ``node``: the node where the pool starts (it fills consecutive nodes); None = the next node with room.
    """

    name: str
    stages: tuple[str, ...]
    model: ModelSpec
    accelerator: Accelerator
    engine: EngineProfile
    replicas: int = 1
    parallelism: Parallelism = Parallelism()
    dtypes: Datatypes = Datatypes()
    batching: Batching = Batching()
    router: str = "round_robin"
    node: int | None = None

    def __post_init__(self) -> None:
        positive(self, replicas=self.replicas)
        not_negative(self, node=self.node)
        one_of(self, ROUTERS, router=self.router)
        if not self.stages:
            raise SpecError(f"Pool {self.name} hosts no stage")
        tp = self.parallelism.tp
        if self.model.heads % tp:
            raise SpecError(
                f"Pool {self.name}: tp is {tp}, which does not divide the {self.model.heads} attention heads of {self.model.name}"
            )
        if self.model.layers % self.parallelism.pp:
            raise SpecError(
                f"Pool {self.name}: pp is {self.parallelism.pp}, which does not divide the {self.model.layers} layers of {self.model.name}"
            )

    @property
    def devices(self) -> int:
        """Accelerators of the whole pool."""
        return self.replicas * self.parallelism.devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """KV cache moves from pool ``source`` to pool ``target``, whole at the end or layer by layer meanwhile."""

    source: str
    target: str
    mode: str = "layerwise"

    def __post_init__(self) -> None:
        one_of(self, HANDOFF_MODES, mode=self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Pools that together host every stage of ``pipeline``, standing in ``topology``."""

    pipeline: Pipeline
    topology: Topology
    pools: tuple[Pool, ...]
    handoff: Handoff | None = None
    name: str = ""

    def __post_init__(self) -> None:
        names = [pool.name for pool in self.pools]
        if len(set(names)) != len(names):
            raise SpecError(f"Design has two pools of one name among {', '.join(names)}")
        hosted = [stage for pool in self.pools for stage in pool.stages]
        for stage in hosted:
            self.pipeline.stage(stage)
            if hosted.count(stage) > 1:
                raise SpecError(f"Design hosts stage {stage!r} in more than one pool")
        missing = [stage.name for stage in self.pipeline.stages if stage.name not in hosted]
        if missing:
            raise SpecError(f"Design hosts no pool for stage {missing[0]!r} of pipeline {self.pipeline.name}")
        if self.handoff is not None:
            for end in (self.handoff.source, self.handoff.target):
                if end not in names:
                    raise SpecError(f"Handoff names pool {end!r}: the design has {', '.join(names)}")

    @property
    def accelerators(self) -> int:
        """Accelerators over all pools."""
        return sum(pool.devices for pool in self.pools)

    def pool(self, name: str) -> Pool:
        """The pool of that name; ``SpecError`` if there is none."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise SpecError(f"Design has no pool {name!r}: it has {', '.join(pool.name for pool in self.pools)}")

    def pool_of(self, stage: str) -> Pool:
        """The pool that hosts ``stage``."""
        return next(pool for pool in self.pools if stage in pool.stages)

    def with_pools(self, **changes: Any) -> "Design":
        """The same design with each given field changed in every pool."""
        return replace(self, pools=tuple(replace(pool, **changes) for pool in self.pools))

    @property
    def design_id(self) -> str:
        """Hash of everything that is deployed (16 hex digits); names of designs do not count."""
        text = json.dumps(_plain(replace(self, name="")), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """``value`` as JSON data: specs become their fields, provenance left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in _identity(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _identity(value: Any) -> Iterator[Any]:
    return (field for field in fields(value) if field.name not in ("source", "confidence", "date", "provider"))
