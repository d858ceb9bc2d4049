"""Small spaces and workloads for the tests of the search."""

from functools import cache
from pathlib import Path
from typing import Any

from mist_dse.catalog import Catalog
from mist_dse.explore import Space
from mist_dse.specs.workload import Lengths, Workload

BASE: dict[str, Any] = {
    "topology": "cluster_32x8",
    "pools": {
        "prefill": {"hosts": ["prefill"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm", "router": "jsq"},
        "decode": {"hosts": ["decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm", "router": "jsq"},
    },
    "handoff": {"from": "prefill", "to": "decode", "mode": "layerwise"},
}
VARY: dict[str, Any] = {
    "placement": ["colocated", "disaggregated"],
    "pools.*.accelerator": ["h100_sxm", "l40s"],
    "pools.*.tp": [1, 2],
    "pools.*.replicas": "1..3",
}


@cache
def catalog() -> Catalog:
    return Catalog()


def space(**changes: Any) -> Space:
    data = {
        "base": BASE, "vary": VARY, "where": ["accelerators <= 5", "usd_per_hour <= 18"],
        "objectives": ["min usd_per_mtok", "min ttft_p90"], "constraints": ["tpot_p90 <= 60 ms"],
    } | changes  # fmt: skip
    return Space.from_dict(data, catalog())


def workload(requests: int = 250, rate: float = 6.0) -> Workload:
    return Workload.poisson(
        rate=rate, input_tokens=Lengths(kind="lognormal", mean=800, cv=0.8), output_tokens=Lengths(kind="lognormal", mean=120, cv=0.6),
        requests=requests, seed=3,
    )  # fmt: skip


def packaged() -> Path:
    from mist_dse.catalog import conf_dir

    return conf_dir() / "space" / "azure_chat.yaml"
