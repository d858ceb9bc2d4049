"""The runs under the catalogue's coefficients: what they recorded, and a design's latencies under their requests."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.rows import Requests
from mist_dse.specs.design import Batching, Datatypes, Design, Parallelism
from mist_dse.specs.hardware import Link, Topology, TopologyTier

DATA, CATALOG = Path(os.environ["MIST_DSE_DATA"]), Catalog()
PCIE = Link(name="pcie_host", kind="host", bandwidth=16e9, latency=20e-6, efficiency=1.0, source="config.json of the runs")
TOPOLOGIES = {"pcie": Topology(name="pcie_host", tiers=(TopologyTier(name="node", size=8, link=PCIE),)), "hgx": CATALOG.topology("node_1")}
STATISTICS = {"mean": np.mean, "p50": np.median, "p90": lambda x: np.percentile(x, 90), "p99": lambda x: np.percentile(x, 99)}
RUNS = {"Llama-3.1-8B": "llama-3.1-8b", "Qwen3-32B": "qwen3-32b"}


def deployed(model: str, accelerator: str, *, tp: int, engine: str, topology: str, batching: Batching) -> Design:
    """One engine on one host, bf16 throughout; requests come from inside the host, so the profile's front end is left out."""
    profile = replace(CATALOG.engine(engine), front_end=0.0, front_end_token=0.0, client=0.0, front_end_output=0.0)
    found = md.load_design("tp8_colocated").with_pools(
        model=CATALOG.model(model), accelerator=CATALOG.accelerator(accelerator), engine=profile, parallelism=Parallelism(tp=tp),
        dtypes=Datatypes(), batching=batching, replicas=1)  # fmt: skip
    return replace(found, topology=TOPOLOGIES[topology])


def requests_of(arrival: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> Requests:
    """Requests that arrive at given times."""
    count = len(arrival)
    return Requests(arrival - arrival[0], inputs, outputs, outputs.copy(), np.zeros(count, np.int64), np.zeros(count), 0, np.nan)


def latencies(design: Design, asked: Requests) -> pd.DataFrame:
    """TTFT, TPOT and latency of every request, simulated, in s."""
    run = md.simulate(design, CATALOG.workload("closed"), requests=asked)
    return times(run.arrival, run.first_token, run.last_token, asked.output_tokens)


def times(arrival: np.ndarray, first: np.ndarray, last: np.ndarray, outputs: np.ndarray) -> pd.DataFrame:
    """The three latencies from time stamps."""
    return pd.DataFrame({"ttft": first - arrival, "tpot": (last - first) / np.maximum(outputs - 1, 1), "latency": last - arrival})


def signed_errors(ours: pd.DataFrame, seen: pd.DataFrame) -> dict[str, float]:
    """Signed error in % of each statistic."""
    return {f"{metric} {name}": 100 * (of(ours[metric]) / of(seen[metric]) - 1) for metric in seen for name, of in STATISTICS.items()}


def recorded(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Requests of a run in order of arrival, and what each saw; times count from the engine's queue."""
    with gzip.open(folder / "vllm" / "requests.jsonl.gz", "rt") as file:
        rows = pd.DataFrame([json.loads(line) for line in file]).sort_values("queued_ts", kind="stable").reset_index(drop=True)
    origin, clock = rows["queued_ts"].iloc[0], (rows["arrival_time"] - rows["arrival_time"].iloc[0]).to_numpy()
    rows = rows.assign(**{name: rows[f"{name}_ts"] - origin for name in ("queued", "scheduled", "first_token", "last_token")})
    rows["arrival"] = np.minimum(clock, rows["queued"])  # the queue is stamped when the engine looks, once a step: later than the arrival
    return rows, times(*(rows[name].to_numpy() for name in ("arrival", "first_token", "last_token", "output_toks")))


def peer_errors(folder: Path) -> dict[str, float]:
    """Errors of LLMServingSim on the same run, as its authors published them."""
    found, names = {}, {"Mean": "mean", "Median": "p50", "P90": "p90", "P99": "p99"}
    for line in (folder / "validation" / "summary.txt").read_text().splitlines()[2:]:
        words = line.split()
        if len(words) == 5 and words[1] in names:
            found[f"{words[0].lower()} {names[words[1]]}"] = float(words[4].rstrip("%"))
    return found


def rtx_design(run: str, engine: str) -> Design:
    """The design of one of the RTX PRO 6000 runs, from its own configuration."""
    asked = json.loads((DATA / "serving_runs" / "RTXPRO6000" / run / "vllm" / "meta.json").read_text())["engine_kwargs"]
    batching = Batching(max_num_seqs=asked["max_num_seqs"], max_num_batched_tokens=asked["max_num_batched_tokens"])
    tp = asked["tensor_parallel_size"]
    return deployed(RUNS[run], "rtx_pro_6000", tp=tp, engine=engine, topology="pcie", batching=batching)


def rtx_pro_6000(engine: str) -> pd.DataFrame:
    """Signed errors in % of each statistic, and the median error of single requests."""
    table: list[dict[str, Any]] = []
    for run in RUNS:
        rows, seen = recorded(DATA / "serving_runs" / "RTXPRO6000" / run)
        ours = latencies(
            rtx_design(run, engine), requests_of(*(rows[name].to_numpy() for name in ("arrival", "input_toks", "output_toks")))
        )
        alone = {"each ttft": 100 * float(np.median(np.abs(ours["ttft"] / seen["ttft"] - 1)))}
        table += [{"run": run, "by": "coefficients"} | signed_errors(ours, seen) | alone,
                  {"run": run, "by": "LLMServingSim"} | peer_errors(DATA / "serving_runs" / "RTXPRO6000" / run)]  # fmt: skip
    return pd.DataFrame(table)


def apex(engine: str) -> pd.DataFrame:
    """Means of vLLM 0.6.0 with Llama-3.1-70B on an 8 x H100 node, all replicas together; errors in %.

    Answers ended where the model chose, at 0.3 to 0.5 of the trace's tokens: the trace's lengths are scaled to the run's total.
    """
    runs = pd.read_csv(DATA / "serving_runs" / "apex" / "e2e_8xH100.csv")
    runs = runs[(runs["engine"] == "vllm-0.6.0") & (runs["model"] == "meta-llama/Llama-3.1-70B")]
    runs["layout"] = runs["layout"].str.replace(r"_\d$", "", regex=True)
    table = []
    for (workload, rate, layout), run in runs.groupby(["workload", "rate_rps", "layout"]):
        path = DATA / "serving_runs" / "apex" / "traces" / f"llama_{workload}_{str(rate).replace('.', '')}.jsonl.gz"
        with gzip.open(path, "rt") as file:
            arrival, inputs, outputs = np.array([json.loads(line) for line in file]).T
        replicas, tp = (int(layout[0]), int(layout[3])) if "DP" in layout else (1, int(layout[0]))
        design = deployed("llama-3.1-70b", "h100_sxm", tp=tp, engine=engine, topology="hgx", batching=Batching())
        roomy = replace(design.pools[0].engine, memory_fraction=0.98)  # unstated; at tp 2 the weights leave no room in 0.9 of 80 GB
        design = design.with_pools(replicas=replicas, engine=roomy)
        scaled = np.maximum(np.rint(outputs * (run["out_tokens"].sum() / outputs.sum())), 1).astype(np.int64)
        ours, count = latencies(design, requests_of(arrival / 1e9, inputs, scaled)).mean(), run["n_request_lines"].sum()
        seen = {name: float(np.average(run[f"{name}_s"], weights=run["n_request_lines"])) for name in ("ttft", "tpot")}
        seen["latency"] = run["total_latency_sum_s"].sum() / count
        table.append({"workload": workload, "rate": rate, "layout": layout, "requests": int(count)}
                     | {f"{name} ms": 1e3 * value for name, value in seen.items()}
                     | {f"{name} %": 100 * (ours[name] / value - 1) for name, value in seen.items()})  # fmt: skip
    return pd.DataFrame(table)
