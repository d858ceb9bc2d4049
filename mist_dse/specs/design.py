"""A design: all that is deployed. Pools of engines on a topology, and how a request is handed between them."""

import hashlib
import json
from collections.abc import Hashable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, cast

from mist_dse.specs._check import SpecError, at_most, fraction, not_negative, one_of, positive
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import COMPUTE_DTYPES, Accelerator, Topology
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.pipeline import Pipeline
from mist_dse.specs.service import Service

STORAGE_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.53125, "mxfp4": 0.53125, "nvfp4": 0.5625}
"""Bytes per stored value, scales included (OCP MX: 32 values share 8 bits; NVFP4: 16 values share 8; int4: 32 share 8)."""

BATCHING_POLICIES = ("static", "continuous", "chunked", "prefill_first", "mixed")
PACKINGS = ("fcfs", "priority", "shortest", "least_work")
ROUTERS = ("round_robin", "jsq", "random", "power_of_two", "least_tokens", "least_kv", "heavy_light", "prefix_affinity", "session_affinity")
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
    ``chunked``: vLLM v1, decodes first, then prompt chunks within ``max_num_batched_tokens``. ``prefill_first``: SGLang, prompt
    chunks within it alone, decodes wait meanwhile. ``mixed``: whole prompts beside decodes. ``max_num_seqs`` caps the sequences of
    one rank; ``long_prefill_threshold`` > 0 caps one request's chunk.

    ``packing``, the order of the queue: ``fcfs``; ``priority``, the class's, as in vLLM; ``shortest`` prompt; ``least_work``, fewest
    prompt and output tokens left. ``prefix_caching``: KV blocks of equal content are kept and shared, where the workload names
    contents.
    """

    policy: str = "chunked"
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    long_prefill_threshold: int = 0
    packing: str = "fcfs"
    prefix_caching: bool = False

    def __post_init__(self) -> None:
        one_of(self, BATCHING_POLICIES, policy=self.policy)
        one_of(self, PACKINGS, packing=self.packing)
        positive(self, max_num_seqs=self.max_num_seqs, max_num_batched_tokens=self.max_num_batched_tokens)
        at_most(self, 2**16, max_num_seqs=self.max_num_seqs)
        at_most(self, 2**20, max_num_batched_tokens=self.max_num_batched_tokens)
        not_negative(self, long_prefill_threshold=self.long_prefill_threshold)
        if self.policy == "static" and self.prefix_caching:
            raise SpecError("Batching.prefix_caching is set: a static batch finds no prefix, use another policy")
        if self.policy == "chunked" and self.max_num_batched_tokens < self.max_num_seqs:
            raise SpecError(f"Batching.max_num_batched_tokens is {self.max_num_batched_tokens}: below max_num_seqs {self.max_num_seqs}, "
                            "as vLLM requires")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What routers need to know. ``heavy_light``: prompts of more than ``heavy_tokens`` go to the first ``heavy_share`` of the ranks,
    the others to the rest. ``prefix_affinity``: a rank takes no more visits while it has more than ``guard`` times the mean and
    ``slack`` (so does SGLang's cache-aware router by ``balance_rel_threshold`` and ``balance_abs_threshold``; without a guard a
    prompt that all requests share would send everything to one rank).
    """

    heavy_tokens: int = 2048
    heavy_share: float = 0.5
    guard: float = 1.1
    slack: int = 8

    def __post_init__(self) -> None:
        not_negative(self, heavy_tokens=self.heavy_tokens, slack=self.slack)
        fraction(self, heavy_share=self.heavy_share)
        if not self.guard >= 1:
            raise SpecError(f"Routing.guard is {self.guard}: must be at least 1")


MOST_DRAFTED = 64
"""Guesses of one step at most: engines draft a handful, and a step computes all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Speculative decoding: a step verifies ``draft_tokens`` guesses per sequence, each accepted with probability ``acceptance``.

    Mean tokens out of a step: (1 - a^(g + 1)) / (1 - a), the guesses accepted before the first refusal and one of the step's own
    (Leviathan et al. 2023, arXiv 2211.17192, eq. 1). ``draft_share``: seconds of one draft step over those of the model's plain
    decode step (Leviathan's cost coefficient); None = a module of one layer and the output head (multi-token prediction).

    >>> Speculation(draft_tokens=1, acceptance=0.8).emitted
    1.8
    """

    draft_tokens: int
    acceptance: float
    draft_share: float | None = None

    def __post_init__(self) -> None:
        positive(self, draft_tokens=self.draft_tokens)
        if self.draft_tokens > MOST_DRAFTED:
            raise SpecError(f"Speculation.draft_tokens is {self.draft_tokens}: must be at most {MOST_DRAFTED}")
        not_negative(self, draft_share=self.draft_share)
        if not 0 < self.acceptance < 1:
            raise SpecError(f"Speculation.acceptance is {self.acceptance}: must lie between 0 and 1, both excluded")

    @classmethod
    def of_length(cls, draft_tokens: int, length: float, **rest: float | None) -> "Speculation":
        """With the acceptance at which a step emits ``length`` tokens in the mean, the figure that engines log.

        >>> round(Speculation.of_length(3, 2.5).acceptance, 3)  # 1 + 0.691 + 0.691^2 + 0.691^3 = 2.5
        0.691
        """
        if not 1 < length < draft_tokens + 1:
            raise SpecError(f"accepted length is {length}: must lie between 1 and draft_tokens + 1 = {draft_tokens + 1}, both excluded")
        low, high = 0.0, 1.0
        while high - low > 1e-12:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if cls(draft_tokens=draft_tokens, acceptance=middle).emitted > length else (middle, high)
        return cls(draft_tokens=draft_tokens, acceptance=high, **rest)

    @property
    def emitted(self) -> float:
        """Mean tokens that a step emits per sequence."""
        return sum(self.acceptance**guess for guess in range(self.draft_tokens + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """``replicas`` identical engines that host the same ``stages`` behind one ``router``.

    ``node``: the node where the pool starts (it fills consecutive nodes); None = the next node with room. ``beside``: the pool whose
    devices it runs on as well, replica by replica: they share the timeline (one step at a time, in turn) and the memory (all weights
    first, the rest in equal parts).
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
    routing: Routing = Routing()
    node: int | None = None
    speculation: Speculation | None = None
    beside: str = ""

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
    def verified(self) -> int:
        """Tokens that a decode step computes per sequence: one, and the guesses that it verifies."""
        return 1 if self.speculation is None else self.speculation.draft_tokens + 1

    @property
    def devices(self) -> int:
        """Accelerators of the whole pool, none where they are another's."""
        return 0 if self.beside else self.replicas * self.parallelism.devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff:
    """KV cache moves from pool ``source`` to pool ``target``, whole at the end or layer by layer meanwhile.

    ``groups`` > 1: the replicas of both pools are split, in order and evenly, into so many local groups, and a hand-off stays
    inside its group; 1: any decode replica may follow any prefill replica.
    """

    source: str
    target: str
    mode: str = "layerwise"
    groups: int = 1

    def __post_init__(self) -> None:
        one_of(self, HANDOFF_MODES, mode=self.mode)
        positive(self, groups=self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Pools of engines and ``services`` that together host every stage of ``pipeline``, standing in ``topology``."""

    pipeline: Pipeline
    topology: Topology
    pools: tuple[Pool, ...]
    handoff: Handoff | None = None
    services: tuple[Service, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        everyone = self.hosts
        names = [pool.name for pool in everyone]
        if len(set(names)) != len(names):
            raise SpecError(f"Design has two pools of one name among {', '.join(names)}")
        if taken := {"handoff", "signals"} & set(names):
            raise SpecError(f"Design has a pool named {taken.pop()!r}: the links of hand-offs and the meeting of signals are called that")
        hosted = [stage for pool in everyone for stage in pool.stages]
        for stage in hosted:
            self.pipeline.stage(stage)
            if hosted.count(stage) > 1:
                raise SpecError(f"Design hosts stage {stage!r} in more than one pool")
        missing = [stage.name for stage in self.pipeline.stages if stage.name not in hosted]
        if missing:
            raise SpecError(f"Design hosts no pool for stage {missing[0]!r} of pipeline {self.pipeline.name}")
        engines = [pool.name for pool in self.pools]
        if self.handoff is not None:
            for end in (self.handoff.source, self.handoff.target):
                if end not in engines:
                    raise SpecError(f"Handoff names pool {end!r}: the design has {', '.join(engines)}")
        self._check_neighbours()

    def _check_neighbours(self) -> None:
        for pool in self.hosts:
            if not pool.beside:
                continue
            other = next((other for other in self.pools if other.name == pool.beside and not other.beside), None)
            if other is None or other is pool:
                alone = ", ".join(other.name for other in self.pools if not other.beside and other is not pool) or "none"
                raise SpecError(f"Pool {pool.name} is beside {pool.beside!r}, which is no pool with devices of its own ({alone})")
            if pool.accelerator != other.accelerator:
                raise SpecError(f"Pool {pool.name} is beside {other.name} and must have its accelerator, {other.accelerator.name}")
            if pool.replicas > other.replicas:
                raise SpecError(f"Pool {pool.name} is beside {other.name} and its {pool.replicas} replicas do not fit {other.replicas}")
            if isinstance(pool, Pool) and pool.parallelism.devices != other.parallelism.devices:
                raise SpecError(f"Pool {pool.name} is beside {other.name} and both must use {other.parallelism.devices} devices a replica")

    @property
    def hosts(self) -> "tuple[Pool | Service, ...]":
        """All that hosts stages."""
        return (*self.pools, *self.services)

    @property
    def accelerators(self) -> int:
        """Accelerators over all pools."""
        return sum(pool.devices for pool in self.pools) + sum(service.devices for service in self.services)

    def pool(self, name: str) -> Pool:
        """The pool of that name; ``SpecError`` if there is none."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise SpecError(f"Design has no pool {name!r}: it has {', '.join(pool.name for pool in self.pools)}")

    def host_of(self, stage: str) -> Pool | Service:
        """The pool or service that hosts ``stage``."""
        return next(pool for pool in self.hosts if stage in pool.stages)

    def with_pools(self, **changes: Any) -> "Design":
        """The same design with each given field changed in every pool."""
        return replace(self, pools=tuple(replace(pool, **changes) for pool in self.pools))

    @property
    def design_id(self) -> str:
        """Hash of everything that is deployed (16 hex digits); names of designs do not count."""
        return hashlib.blake2b(_text(replace(self, name="")).encode(), digest_size=8).hexdigest()


def _text(value: Any) -> str:
    """``value`` as JSON with sorted keys: specs become their fields, provenance left out."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 1 and 1.0 are equal, so are the designs that hold them
    if not is_dataclass(value) or isinstance(value, type):
        return json.dumps(value, sort_keys=True)
    try:
        return _known_text(cast(Hashable, value))
    except TypeError:  # a spec that holds a mapping has no hash
        return _fields_text(value)


def _fields_text(value: Any) -> str:
    return f"{{{', '.join(f'{json.dumps(name)}: {_text(getattr(value, name))}' for name in _identity(cast(Hashable, type(value))))}}}"


_known_text = lru_cache(maxsize=4096)(_fields_text)
"""Designs of a space share most of what they name: each part is written out once."""


@lru_cache(maxsize=256)
def _identity(kind: type) -> tuple[str, ...]:
    return tuple(sorted(field.name for field in fields(kind) if field.name not in ("source", "confidence", "date", "provider")))
