"""A fixed random sample of designs, each at a rate that loads it as asked, with the figures of both fidelities.

Designs are drawn from the tables of the search spaces (`studies/search_quality/spaces.py`), half colocated and half disaggregated, and from
a fourth space of a mixture whose engine computes whole prompts first. Qwen3's engine computes prompt chunks first, as SGLang does; the
others mix chunks with decodes. Each design's requests are sped up until its highest demand is the load drawn for it.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "search_quality"))
import spaces

from mist_dse import metrics
from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.explore import Space
from mist_dse.requests import paced, realise
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.stages import lower

REQUESTS = 10_000
WARMUP = 0.1
LOADS = (((0.05, 0.3), 3), ((0.3, 0.6), 4), ((0.6, 0.8), 4), ((0.8, 0.9), 4), ((0.9, 0.95), 1), ((0.95, 1.15), 1), ((1.15, 1.5), 1))
"""Ranges of load, and how often each is drawn."""

FAMILIES = {
    "llama_70b": ("chunked", (1024, 1.2), (256, 1.0)),
    "qwen3_30b": ("prefill_first", (2000, 1.2), (300, 1.0)),
    "llama_8b": ("chunked", (1000, 1.2), (250, 1.0)),
    "mixtral": ("continuous", (1500, 1.2), (200, 1.0)),
}
"""Policy, and mean and coefficient of variation of log-normal input and output lengths."""

_MIXTRAL: dict[str, Any] = {
    "placement": ["colocated", "disaggregated"],
    "pools.*.accelerator": ["h100_sxm", "h200", "b200"],
    "pools.*.tp": [2, 4],
    "pools.*.replicas": "1..8",
    "pools.prefill.batching.max_num_batched_tokens": [4096, 16384],
    "pools.*.batching.max_num_seqs": [64, 256],
}


class Case(NamedTuple):
    """One design at one load."""

    index: int
    rho: float
    design: Design
    factor: float  # on the rate of 1 request/s


@cache
def table(family: str, router: str) -> Any:
    """The designs of a family."""
    if family in spaces.SPACES:
        return spaces.space(family, router=router).table(Catalog().prices("default"))
    common = {"model": "mixtral-8x7b", "accelerator": "h100_sxm", "tp": 2, "dtype": "fp8", "engine": "vllm", "router": router}
    base = {"pipeline": "chat", "topology": "cluster_32x8", "pools": {host: {"hosts": [host], **common} for host in ("prefill", "decode")},
            "handoff": {"from": "prefill", "to": "decode", "mode": "layerwise"}}  # fmt: skip
    found = Space.from_dict({"base": base, "vary": _MIXTRAL, "objectives": ["min usd_per_hour", "min ttft_p90"]}, name=family)
    return found.table(Catalog().prices("default"))


def workload(family: str, trace: str) -> Workload:
    """One trace at 1 request/s: ``s1`` and ``s2`` have log-normal lengths, ``az`` Azure's; ``gamma``, ``onoff``: bursts."""
    arrivals = Arrivals(kind="poisson", rate=1.0, requests=REQUESTS)
    if trace == "az":
        return replace(Catalog().workload("azure_conv"), name=trace, arrivals=arrivals, seed=1, warmup=WARMUP, slo=None)
    if trace == "gamma":
        arrivals = replace(arrivals, kind="gamma", cv=3.0)
    if trace == "onoff":
        arrivals = replace(arrivals, kind="onoff", on_time=20.0, off_time=60.0)
    _, (prompt, spread), (answer, wide) = FAMILIES[family]
    lengths = {
        "input_tokens": Lengths(kind="lognormal", mean=prompt, cv=spread),
        "output_tokens": Lengths(kind="lognormal", mean=answer, cv=wide),
    }
    return Workload(name=trace, arrivals=arrivals, seed=2 if trace == "s2" else 1, warmup=WARMUP, **lengths)


def cases(family: str, trace: str, *, count: int, router: str = "round_robin", seed: int = 7) -> Iterator[Case]:
    """``count`` designs, less those that do not fit; the same designs and loads for every trace."""
    designs, generator = table(family, router), np.random.default_rng(seed)
    sizes = [len(section) for section in designs.sections]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    bag = [load for load, often in LOADS for _ in range(often)]
    unit = realise(workload(family, trace))
    for k in range(count):
        section = k % len(sizes)
        index = int(first[section] + generator.integers(sizes[section]))
        rho = float(generator.uniform(*bag[(k // len(sizes)) % len(bag)]))
        design = _with_policy(designs.design(index), FAMILIES[family][0])
        lowered = lower(design, unit)
        if not isinstance(lowered, Infeasible):
            asked = metrics.demands(lowered, metrics.shared_names(design), unit)
            yield Case(index, rho, design, rho / metrics.highest(asked, steps=True)[2])


def _with_policy(design: Design, policy: str) -> Design:
    pools = tuple(replace(pool, batching=replace(pool.batching, policy=policy)) for pool in design.pools)
    return replace(design, pools=pools)


def compared(family: str, trace: str, *, count: int, router: str = "round_robin") -> pd.DataFrame:
    """One row per design: its load, and its figures at both fidelities (``simulated``, ``steady``)."""
    load = workload(family, trace)
    unit = realise(load)
    rows = []
    for case in cases(family, trace, count=count, router=router):
        asked = paced(unit, case.factor)
        runs = {fidelity: evaluate(case.design, load, fidelity=fidelity, requests=asked) for fidelity in ("simulated", "steady")}
        known = {f"{fidelity} {name}": run.metrics[name] for fidelity, run in runs.items() for name in METRICS}
        verdict = {f"{fidelity} saturated": any(one.kind == "saturation" for one in run.violations) for fidelity, run in runs.items()}
        asked_for = {"family": family, "trace": trace, "pools": len(case.design.pools), "index": case.index, "rho": case.rho}
        rows.append({**asked_for, "bottleneck": runs["steady"].bottleneck, **runs["simulated"].backlog, **verdict, **known})
    return pd.DataFrame(rows)


METRICS = ("tpot_mean", "tpot_p90", "e2e_mean", "ttft_mean", "ttft_p50", "ttft_p90")
