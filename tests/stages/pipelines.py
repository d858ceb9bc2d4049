"""Small pipelines for the tests of stages: stages in a line or a graph, and a design that hosts each of them on what it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mist_dse.catalog import Catalog
from mist_dse.rows import CANCEL, Jobs, Requests
from mist_dse.specs.design import Design, Handoff
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Host, MemoryTier
from mist_dse.specs.pipeline import Pipeline, Repeat, Stage, When
from mist_dse.specs.retrieval import Index
from mist_dse.specs.service import KvTier, Service
from mist_dse.stages import Lowered, lower
from tests.perf.cases import L40S, RACKS, VLLM, pool

ENCODER = Catalog().model("e5-base-v2")
SOCKET = Host(name="socket", vendor="any", year=2023, cores=56, fp32=5e12, memory=1e12, memory_bandwidth=300e9)
INDEX = Index(kind="brute_force", vectors=1_000_000, dimensions=128)
QUIET = replace(VLLM, front_end=0.0, front_end_token=0.0, client=0.0)
"""The profile without its front end: a visit is at its engine when it is ready."""

GRID = MemoryTier(name="dram", technology="DDR5", scope="host", read=100e9, latency=1e-6)
DISK = MemoryTier(name="disk", technology="NVMe", scope="device", read=5e9, write=2.5e9, latency=1e-4)


def stage(name: str, kind: str = "tool", after: Sequence[str] = (), **more: Any) -> Stage:
    """A stage; what is no field of a stage is an option of its kind."""
    known = {key: more.pop(key) for key in ("when", "classes", "join") if key in more}
    return Stage(name=name, kind=kind, after=tuple(after), options=tuple(more.items()), **known)


def line(*stages: tuple[str, str, Mapping[str, Any]], repeats: tuple[Repeat, ...] = ()) -> Pipeline:
    """Stages one after another: (name, kind, options)."""
    names = [name for name, _, _ in stages]
    made = [stage(name, kind, names[i - 1 : i] if i else (), **options) for i, (name, kind, options) in enumerate(stages)]
    return Pipeline(name="line", stages=tuple(made), repeats=repeats)


def below(share: float, draw: str = "way") -> When:
    """The requests whose draw is below ``share``."""
    return When(draw=draw, below=share)


def above(share: float, draw: str = "way") -> When:
    """The others."""
    return When(draw=draw, above=share)


def asked(inputs: Any = 100, outputs: Any = 10, *, count: int | None = None, seed: int = 1, gap: float = 1000.0, **more: Any) -> Requests:
    """Requests that come ``gap`` seconds apart; numbers are repeated ``count`` times."""
    n = count or max(np.size(inputs), np.size(outputs))
    lengths = [np.broadcast_to(np.asarray(value, np.int64), n).copy() for value in (inputs, outputs)]
    none = np.zeros(n, np.int64)
    return Requests(np.arange(n) * gap, lengths[0], lengths[1], lengths[1].copy(), none, np.zeros(n), 0, np.nan, seed=seed, **more)


def host_kind(kind: str) -> str:
    """What hosts a stage of that kind here, where it has a choice: an engine, or the first that it names."""
    from mist_dse.stages.kinds import kind_of

    return str(kind_of(kind, "").RUNS_ON[0])


def service(name: str, stages: Sequence[str], kind: str, **changes: Any) -> Service:
    """A service of that kind."""
    fields: dict[str, dict[str, Any]] = {
        "encoder": {"model": ENCODER, "accelerator": L40S},
        "index": {"index": INDEX, "host": SOCKET},
        "tiers": {"tiers": (KvTier(name="dram", tier=GRID, capacity=1e12),)},
        "cores": {"host": SOCKET},
        "outside": {},
    }
    return Service(**({"name": name, "stages": tuple(stages)} | fields[kind] | changes))


def hosted(
    pipeline: Pipeline, hosts: Mapping[str, str] | None = None, *, pools: Mapping[str, Mapping[str, Any]] | None = None,
    services: Mapping[str, Mapping[str, Any]] | None = None, handoff: Handoff | None = None,
) -> Design:  # fmt: skip
    """A design with a host for every stage: those on engines in pool ``serve`` (or as ``pools`` say: ``hosts`` and fields), each other
    stage in a service of its kind of host, or of the kind that ``hosts`` says; ``services`` changes them by kind."""
    where = {one.name: (hosts or {}).get(one.name, host_kind(one.kind)) for one in pipeline.stages}
    engines = [name for name, kind in where.items() if kind == "engine"]
    plan = dict(pools or {"serve": {}})
    given = [name for fields in plan.values() for name in fields.get("hosts", ())]
    made = []
    for name, fields in plan.items():
        mine = fields.get("hosts") or [each for each in engines if each not in given]
        rest = {key: value for key, value in fields.items() if key != "hosts"}
        made.append(pool(**({"name": name, "stages": tuple(mine), "engine": QUIET} | rest)))
    kinds = dict.fromkeys(kind for kind in where.values() if kind != "engine")
    others = [service(kind, [n for n, k in where.items() if k == kind], kind, **dict((services or {}).get(kind, {}))) for kind in kinds]
    return Design(pipeline=pipeline, topology=RACKS, pools=tuple(made), services=tuple(others), handoff=handoff)


def rows(design: Design, requests: Requests) -> Lowered:
    """The lowered design, which must be feasible."""
    found = lower(design, requests)
    assert not isinstance(found, Infeasible), found
    return found


def edges(jobs: Jobs) -> set[tuple[int, int, int]]:
    """All edges: source, target, kind."""
    sources = np.repeat(np.arange(len(jobs.server)), np.diff(jobs.edge_first))
    return set(zip(sources.tolist(), jobs.edge_to.tolist(), jobs.edge_on.tolist(), strict=True))


def signals(jobs: Jobs) -> set[tuple[int, int]]:
    """Edges that release visits, without their kind."""
    return {(source, target) for source, target, kind in edges(jobs) if kind != CANCEL}
