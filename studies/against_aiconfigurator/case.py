"""aiconfigurator's case in our language: its two kinds of deployment as spaces, what it lists as designs of them, its front.

A listed row stands for the whole cluster: a unit of ``devices`` devices as often as it fits on 32. Its *batch* is the number of
sequences that a worker is kept filled with: our ``max_num_seqs``, under a closed loop of as many clients.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.explore import Space
from mist_dse.explore.screens.ratescreen import rate_screen
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Arrivals, Lengths, Workload

DEVICES = 32
PROMPT, ANSWER = 4000, 500
LIMITS = ("ttft_mean <= 1000 ms",)
USER = 50.0  # tokens/s of a user: TPOT <= 20 ms, the other limit of the case, is a place on the front
RATES = (4, 8, 13, 18, 24, 30, 36, 43, 50, 57, 65, 75)  # 1/s: 62 to 1,172 tokens/s per device
ENGINE = "trtllm_1_1_hopper_dense"
BATCHES = [*range(1, 16), *range(16, 32, 2), *range(32, 128, 4), *range(128, 512, 8), 512]  # its schedules of both kinds, united
MODES = ("colocated", "disaggregated")
_POOL: dict[str, Any] = {"model": "qwen3-32b", "accelerator": "h200", "dtype": "fp8", "engine": ENGINE, "router": "round_robin"}
_VARY: dict[str, Any] = {"pools.*.tp": [1, 2, 4, 8], "pools.*.pp": [1], "pools.*.dp": [1], "pools.*.replicas": "1..32"}


def space(mode: str, catalog: Catalog | None = None) -> Space:
    """The deployments of one kind on up to 32 devices; the worker that reads a prompt gives the first token, as it counts TTFT."""
    split = {"prefill": {"hosts": ["prefill"], **_POOL, "batching": {"policy": "continuous", "max_num_batched_tokens": 4096}},
             "decode": {"hosts": ["decode"], **_POOL}}  # fmt: skip
    one = {"decode": {"hosts": ["prefill", "decode"], **_POOL, "batching": {"max_num_batched_tokens": 8192}}}
    base = {"pipeline": "chat", "topology": "cluster_32x8", "pools": one if mode == "colocated" else split}
    handoff = {} if mode == "colocated" else {"handoff": {"from": "prefill", "to": "decode", "mode": "layerwise"}}
    vary = {**_VARY, "pools.decode.batching.max_num_seqs": BATCHES}
    goals = {"objectives": ["max output_tokens_per_s", "min tpot_mean"], "constraints": list(LIMITS)}
    data = {"base": base | handoff, "vary": vary, "where": [f"accelerators <= {DEVICES}"], **goals}
    found = Space.from_dict(data, catalog, name=mode)
    pools = tuple(replace(pool, engine=replace(pool.engine, first_token_from="prefill")) for pool in found.base.pools)
    return replace(found, base=replace(found.base, pools=pools))


def workload(rate: float, requests: int = 4000) -> Workload:
    """Poisson arrivals of the case's requests."""
    return Workload.poisson(rate=rate, input_tokens=PROMPT, output_tokens=ANSWER, requests=requests, seed=1)


def closed_loop(clients: int) -> Workload:
    """As many users as its batches hold, each with the next request as soon as one is answered; three of four waves count."""
    arrivals = Arrivals(kind="closed", clients=clients, requests=max(8 * clients, 400))
    lengths = {side: Lengths(kind="fixed", mean=tokens) for side, tokens in (("input_tokens", PROMPT), ("output_tokens", ANSWER))}
    return Workload(name="closed", arrivals=arrivals, warmup=0.25, seed=1, **lengths)


def listed() -> pd.DataFrame:
    """What aiconfigurator 0.12.0 lists (``listed.py``)."""
    return pd.read_csv(Path(__file__).with_name("listed.csv"))


def as_values(row: Any) -> dict[str, int]:
    """A listed deployment, on the whole cluster, as values of our variables."""
    units = DEVICES // row.devices
    if row.mode == "colocated":
        return _values("decode", row.tp, row.pp, row.dp, units) | {"pools.decode.batching.max_num_seqs": int(row.bs)}
    prefill = _values("prefill", row.prefill_tp, row.prefill_pp, row.prefill_dp, units * row.prefill_workers)
    decode = _values("decode", row.tp, row.pp, row.dp, units * row.workers)
    return prefill | decode | {"pools.decode.batching.max_num_seqs": int(row.bs)}


def _values(pool: str, tp: float, pp: float, dp: float, replicas: float) -> dict[str, int]:
    found = {"tp": tp, "pp": pp, "dp": dp, "replicas": replicas}
    return {f"pools.{pool}.{name}": int(value) for name, value in found.items()}


def missing(mode: str, table: DesignTable) -> set[tuple[tuple[str, int], ...]]:
    """Deployments of a kind that aiconfigurator lists and our space does not have."""
    rows = listed()
    asked = {tuple(sorted(as_values(row).items())) for row in rows[rows["mode"] == mode].itertuples()}
    paths = sorted({path for key in asked for path, _ in key})
    columns = table.columns(paths, 0, len(table))
    ours = set(zip(*(columns[path].tolist() for path in paths), strict=True))
    return {key for key in asked if tuple(value for _, value in key) not in ours}


def missing_workers(table: DesignTable) -> set[tuple[int, ...]]:
    """(tp, pp, dp, batch) of the workers that its disaggregated deployments are made of and our pools cannot be."""
    rows, found = listed(), set[tuple[int, ...]]()
    for pool in ("prefill", "decode"):
        paths = [f"pools.{pool}.{name}" for name in ("tp", "pp", "dp")]
        variants = next(each for each in table.sections[0].pools if each.name == pool)
        ours = {(*(values[path] for path in paths), _batch(core)) for core, values in zip(variants.cores, variants.values, strict=True)}
        asked = rows[rows["mode"] == f"{pool} worker"][["tp", "pp", "dp", "bs"]].astype(int)
        found |= {key for key in asked.itertuples(index=False, name=None) if key not in ours}
    return found


def _batch(pool: Pool) -> int:
    """Prompts of one step where a worker only reads them, sequences where it answers."""
    return pool.batching.max_num_batched_tokens // PROMPT if pool.name == "prefill" else pool.batching.max_num_seqs


def front(backend: str = "trtllm", most_ttft: float = 1000.0) -> pd.DataFrame:
    """The listed deployments that none beats in both axes: ``user`` tokens/s of a user, ``device`` tokens/s per device of the cluster."""
    rows = listed().query("backend == @backend and mode in @MODES and ttft_ms <= @most_ttft")
    filled = DEVICES // rows["devices"] * rows["devices"] / DEVICES
    rows = rows.assign(user=rows["tokens_per_s_per_user"], device=rows["tokens_per_s_per_device"] * filled)
    rows = rows.sort_values(["device", "user"], ascending=False)
    return rows[rows["user"] > rows["user"].cummax().shift(fill_value=0.0)].reset_index(drop=True)


def screened_front(spaces: dict[str, Space], tables: dict[str, DesignTable], prices: PriceBook) -> pd.DataFrame:
    """At each rate the design of either kind with the fastest tokens that keeps the limits, by the screen."""
    asked = workload(RATES[-1])
    found = {mode: rate_screen(spaces[mode], asked, RATES, limits=LIMITS, prices=prices, table=tables[mode]) for mode in MODES}
    rows = []
    for number, rate in enumerate(RATES):
        mode = min(MODES, key=lambda mode: np.nan_to_num(found[mode].tpot[number], nan=np.inf))
        if found[mode].best[number] >= 0:
            rows.append({"rate": rate, "mode": mode, "index": int(found[mode].best[number]), "screened_user": 1 / found[mode].tpot[number]})
    return pd.DataFrame(rows)


def simulated_front(front: pd.DataFrame, tables: dict[str, DesignTable], prices: PriceBook) -> pd.DataFrame:
    """The same designs simulated at their rates; ``device`` is what the rate asks, nan where the design is not feasible."""
    rows = []
    for row in front.itertuples():
        design = tables[row.mode].design(row.index)
        run = evaluate(design, workload(row.rate), prices=prices)
        device = row.rate * ANSWER / DEVICES if run.feasible else np.nan
        said = " + ".join(f"{pool.replicas} x tp{pool.parallelism.tp}" for pool in design.pools)
        figures = {"ttft_ms": 1e3 * run.metrics["ttft_mean"], "ttft_p90_ms": 1e3 * run.metrics["ttft_p90"]}
        rows.append({"design": said, "device": device, "user": 1 / run.metrics["tpot_mean"], **figures})
    return pd.concat([front, pd.DataFrame(rows)], axis=1)


def theirs_in_ours(prices: PriceBook, most_clients: int = 2000) -> pd.DataFrame:
    """Its front in our simulator, at its own operating points: a closed loop that keeps its batches full."""
    rows = front().assign(clients=lambda rows: rows["concurrency"] * (DEVICES // rows["devices"]))
    rows = rows[rows["clients"] <= most_clients].reset_index(drop=True)
    ours = []
    for row in rows.itertuples():
        run = evaluate(space(row.mode).design(as_values(row)), closed_loop(int(row.clients)), prices=prices).metrics
        served = row.clients / run["e2e_mean"]  # Little's law: the start and the end of the run do not count
        ours.append({"our_device": served * ANSWER / DEVICES, "our_user": 1 / run["tpot_mean"], "our_ttft_ms": 1e3 * run["ttft_mean"]})
    return pd.concat([rows, pd.DataFrame(ours)], axis=1)
