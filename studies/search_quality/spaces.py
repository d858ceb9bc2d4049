"""The three spaces that were simulated whole, the three traces of each, and their truth tables.

Large: Llama-3.1-70B in 8 bits on six accelerators, and Qwen3-30B-A3B in 8 bits on five. Small: Llama-3.1-8B in 16 bits on three.
All may prefill and decode in one pool or in two, on accelerators of different kinds; engines are chosen in turn, requests served
first come first served.
Traces: fixed lengths (``s1``), log-normal lengths (``s2``), and the joint lengths of the Azure conversation trace (``az``).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.explore import Space
from mist_dse.specs.workload import Arrivals, Lengths, Workload

TRUTH = Path(__file__).parent / "truth"
REQUESTS = 4000
TRACES = ("s1", "s2", "az")
CV = {"input_tokens": 1.31, "output_tokens": 0.8}
"""Log-normal lengths whose logarithms spread by 1 and 0.7; prompts of Qwen3-30B by 0.83, so that all fit its context of 40,960."""
OBJECTIVES = ("min usd_per_hour", "min ttft_p90", "min tpot_p90")

_LLAMA_70B: dict[str, Any] = {
    "pools.*.accelerator": ["h100_sxm", "h200", "b200", "a100_sxm_80gb", "l40s", "mi300x"],
    "pools.*.tp": [2, 4, 8],
    "pools.*.replicas": "1..16",
    "pools.prefill.batching.max_num_batched_tokens": [2048, 8192],
    "pools.*.batching.max_num_seqs": [64, 256],
}
_QWEN3_30B: dict[str, Any] = {
    "pools.*.accelerator": ["h100_sxm", "b200", "a100_sxm_80gb", "l40s", "rtx_pro_6000"],
    "pools.*.tp": [1, 2, 4],
    "pools.*.replicas": "1..24",
    "pools.prefill.batching.max_num_batched_tokens": [2048, 16384],
    "pools.*.batching.max_num_seqs": [32, 128],
}
_LLAMA_8B: dict[str, Any] = {
    "pools.*.accelerator": ["h100_sxm", "l40s", "a100_sxm_80gb"],
    "pools.*.tp": [1, 2],
    "pools.*.replicas": "1..12",
    "pools.*.batching.max_num_seqs": [64, 256],
}
SPACES: dict[str, dict[str, Any]] = {
    "llama_70b": {"model": "llama-3.1-70b", "dtype": "fp8", "engine": "vllm", "vary": _LLAMA_70B,
                  "usd": 66, "rate": 8.0, "tokens": (1024, 256)},
    "qwen3_30b": {"model": "qwen3-30b-a3b", "dtype": "fp8", "engine": "sglang", "vary": _QWEN3_30B,
                  "usd": 35, "rate": 22.0, "tokens": (2000, 300)},
    "llama_8b": {"model": "llama-3.1-8b", "dtype": "bf16", "engine": "vllm", "vary": _LLAMA_8B,
                 "usd": 36, "rate": 16.0, "tokens": (1000, 250)},
}  # fmt: skip


def space(name: str, *, router: str = "round_robin", objectives: tuple[str, ...] = OBJECTIVES) -> Space:
    """One of the spaces, for two or three of the objectives."""
    asked = SPACES[name]
    common = {**{key: asked[key] for key in ("model", "dtype", "engine")}, "accelerator": "h100_sxm", "tp": 2, "router": router}
    base = {
        "pipeline": "chat",
        "topology": "cluster_32x8",
        "pools": {host: {"hosts": [host], **common} for host in ("prefill", "decode")},
        "handoff": {"from": "prefill", "to": "decode", "mode": "layerwise"},
    }
    vary = {"placement": ["colocated", "disaggregated"], **asked["vary"]}
    data = {"base": base, "vary": vary, "where": [f"usd_per_hour <= {asked['usd']}"], "objectives": list(objectives)}
    return Space.from_dict(data, name=name)


def workload(name: str, trace: str) -> Workload:
    """One trace of a space."""
    rate, (prompt, answer) = SPACES[name]["rate"], SPACES[name]["tokens"]
    if trace == "az":
        arrivals = Arrivals(kind="poisson", rate=rate, requests=REQUESTS)
        return replace(Catalog().workload("azure_conv"), name="az", arrivals=arrivals, seed=1, warmup=0.1, slo=None)
    lengths = {"input_tokens": prompt, "output_tokens": answer}
    if trace == "s2":
        spread = CV | ({"input_tokens": 1.0} if name == "qwen3_30b" else {})
        lengths = {side: Lengths(kind="lognormal", mean=mean, cv=spread[side]) for side, mean in lengths.items()}
    return Workload.poisson(rate=rate, **lengths, requests=REQUESTS, seed=int(trace[1:]))


def truth(name: str, trace: str, router: str = "round_robin") -> pd.DataFrame:
    """Every design of a space in the order of its table: ``feasible``, and the objectives where it is; ``run``: the design whose
    run, in which no other limit on batches would have bound, shows its outcome."""
    suffix = "" if router == "round_robin" else f"_{router}"
    return pd.read_parquet(TRUTH / f"{name}_{trace}{suffix}.parquet")
