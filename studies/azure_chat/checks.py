"""Two outside checks of the model: measured closed loops, and MI300X groups given all seven links, as the first run had them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

import mist_dse as md
from mist_dse.catalog import Catalog

RUNS = "model == 'meta-llama/Llama-3.1-70B' and precision == 'fp8' and engine == 'vLLM' and isl == 1024 and osl == 1024"
LINKS = 7
"""Links of an MI300X, one to each other device of its node (AMD MI300X datasheet)."""


def pooled(design: md.Design) -> md.Design:
    """The design where a device of an MI300X group of less than eight uses all its links, the error of the first run."""
    return replace(design, pools=tuple(_widened(pool) for pool in design.pools))


def measured(runs: Path, engine: md.Design) -> pd.DataFrame:
    """Measured means in ms (1,024 tokens in and out, ten prompts per client) beside those of ``engine`` on the same devices."""
    found = []
    for run in pd.read_csv(runs, low_memory=False).query(RUNS).sort_values(["hardware", "concurrency"]).itertuples():
        pool = replace(engine.pools[0], accelerator=Catalog().accelerator(run.hardware), parallelism=md.Parallelism(tp=int(run.tp)))
        loop = Catalog().workload("closed", clients=int(run.concurrency), requests=10 * int(run.concurrency))
        m = md.evaluate(replace(engine, pools=(pool,)), loop).metrics
        ttft, tpot = m["ttft_mean"] or 0.0, m["tpot_mean"] or 0.0
        found.append({"device": run.hardware, "tp": int(run.tp), "clients": int(run.concurrency), "TTFT": run.ttft_ms, "model": ttft * 1e3,
                      "TPOT": run.tpot_ms, "model ": tpot * 1e3})  # fmt: skip
    return pd.DataFrame(found)


def _widened(pool: md.Pool) -> md.Pool:
    device, neighbours = pool.accelerator, pool.parallelism.tp - 1
    if device.name != "mi300x" or not 0 < neighbours < LINKS:
        return pool
    link = replace(device.scale_up, links=None)
    return replace(pool, accelerator=replace(device, scale_up=link))
