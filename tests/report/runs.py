"""Synthetic run folders: designs on a smooth trade-off of cost against latency, with every column a sweep writes."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.explore.front import front_mask

OBJECTIVES = ["min usd_per_mtok", "min ttft_p90"]
FIVE = [*OBJECTIVES, "min joules_per_token", "max throughput_rps", "min e2e_p99"]
MANIFEST: dict[str, Any] = {
    "command": "mist-dse sweep",
    "seed": 7,
    "designs_in_space": 123456,
    "screened": 123456,
    "simulated": 400,
    "search": "screen",
    "certificate": "none",
    "certificate_reason": "bounds were not taken",
    "excluded_by_bound": {"0": None, "0.02": 17},
    "wall_s": {"enumerate": 0.2, "screen": 0.41, "simulate": 12.5},
    "versions": {"mist_dse": "0.1.0", "python": "3.11.2"},
}


def results(count: int = 60, *, seed: int = 1, fidelity: str = "simulated") -> pd.DataFrame:
    """``count`` feasible designs: faster ones cost more, with noise that puts most of them behind the front."""
    draw = np.random.default_rng(seed)
    speed, waste = draw.uniform(0.0, 1.0, count), draw.exponential(0.35, count)
    ttft = 0.08 * 60.0 ** (1 - speed) * (1 + waste)
    cost = 0.3 * 8.0**speed * (1 + waste)
    replicas = draw.integers(1, 9, count)
    colocated = draw.random(count) < 0.3
    columns: dict[str, Any] = {
        "design_id": [f"{fidelity[:2]}{seed}{index:012x}" for index in range(count)],
        "fidelity": fidelity,
        "seed": 7,
        "feasible": True,
        "violation": 0.0,
        "violations": "",
        "placement": np.where(colocated, "colocated", "disaggregated"),
        "pools.prefill.accelerator": draw.choice(["h100_sxm", "l40s", "mi300x"], count),
        "pools.prefill.replicas": replicas,
        "pools.prefill.tp": draw.choice([1, 2, 4, 8], count),
        "pools.prefill.batching.max_num_batched_tokens": draw.choice([2048, 8192, 131072], count),
        "pools.decode.accelerator": np.where(colocated, None, draw.choice(["h100_sxm", "l40s"], count)),
        "pools.decode.replicas": np.where(colocated, np.nan, draw.integers(1, 9, count)),
        "pools.decode.tp": np.where(colocated, np.nan, 4.0),
    }
    for name, scale in (("ttft", 1.0), ("tpot", 0.03), ("e2e", 9.0)):
        columns |= {f"{name}_{stat}": scale * ttft * share for stat, share in (("mean", 0.5), ("p50", 0.45), ("p90", 1.0), ("p99", 1.8))}
    columns |= {
        "throughput_rps": draw.uniform(1, 9, count),
        "slo_attainment": draw.uniform(0.9, 1, count),
        "usd_per_hour": 40 * cost,
        "usd_per_mtok": cost,
        "joules_per_token": draw.uniform(0.5, 3, count),
        "watts": 9000 * cost,
        "accelerators": 4 * replicas,
        "bottleneck": draw.choice(["decode: memory bandwidth", "prefill: compute"], count),
    }
    for stage, cause, share in (
        ("prefill", "queueing", 0.2),
        ("prefill", "compute", 0.3),
        ("handoff", "link", 0.05),
        ("decode", "queueing", 0.1),
        ("decode", "weights", 1.5),
        ("decode", "attention", 0.8),
        ("decode", "collectives", 0.4),
    ):
        columns[f"breakdown/{stage}/{cause}"] = share * ttft * draw.uniform(0.5, 1.5, count)
    for pool in ("prefill", "decode"):
        columns |= {f"pool/{pool}/utilisation": draw.uniform(0.2, 0.99, count), f"pool/{pool}/demand": draw.uniform(0, 4, count)}
    return pd.DataFrame(columns)


def front_of(frame: pd.DataFrame, objectives: Iterable[str]) -> pd.DataFrame:
    """The feasible non-dominated rows of a frame."""
    goals = [text.split() for text in objectives]
    able = frame[frame["feasible"]].dropna(subset=[name for _, name in goals])
    points = np.column_stack([able[name].to_numpy(dtype=float) * (1 if way == "min" else -1) for way, name in goals])
    return able[front_mask(points)]


def write_run(
    folder: Path,
    frame: pd.DataFrame | None = None,
    *,
    objectives: list[str] | None = None,
    limits: Iterable[str] = ("ttft_p90 <= 1 s",),
    manifest: Mapping[str, Any] = MANIFEST,
    finished: bool = True,
) -> Path:
    """A run folder as a sweep leaves it; unfinished ones hold two parts and no front."""
    frame = results() if frame is None else frame
    objectives = OBJECTIVES if objectives is None else objectives
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    resolved = {"space": {"objectives": objectives, "constraints": ["tpot_p90 <= 50 ms"]}, "workload": {"slo": {"limits": list(limits)}}}
    (folder / "resolved.yaml").write_text(json.dumps(resolved))
    if finished:
        frame.to_parquet(folder / "results.parquet")
        front_of(frame[frame["fidelity"] == "simulated"], objectives).to_parquet(folder / "front.parquet")
    else:
        (folder / "parts").mkdir(exist_ok=True)
        half = len(frame) // 2
        frame.iloc[:half].to_parquet(folder / "parts" / "0000.parquet")
        frame.iloc[half:].to_parquet(folder / "parts" / "0001.parquet")
    return folder
