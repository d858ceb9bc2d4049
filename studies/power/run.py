"""Power of an A100 against utilisation, fitted and left out, and what the whole package says of the same runs: see README.md.

Usage: ``MIST_DSE_DATA=/path/to/data python studies/power/run.py``; half a minute.
Source of the rows: splitwise-sim data/perf_model.csv (MIT).
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.perf import power
from mist_dse.perf.load import Work, step_load
from mist_dse.rows import Requests
from mist_dse.specs.design import Datatypes, Parallelism

CATALOG = Catalog()
MODELS = {"llama2-70b": CATALOG.model("llama-2-70b"), "bloom-176b": CATALOG.model("bloom-176b")}
CONTEXTS = {"llama2-70b": 4096, "bloom-176b": 2048}  # positions trained on (model cards); longer prompts are no valid runs
A100, OUTPUT, SPLITS = CATALOG.accelerator("a100_sxm_80gb"), 128, 50
KEYS = ["model", "tensor_parallel", "prompt_size", "batch_size"]
Law = Callable[[np.ndarray, pd.Series, pd.Series], np.ndarray]
LAWS: dict[str, tuple[Law, list[float]]] = {
    "p + a u_compute + b u_memory": (lambda k, c, m: np.minimum(1, k[0] + k[1] * c + k[2] * m), [0.3, 1.0, 0.7]),
    "p + b max(u)": (lambda k, c, m: np.minimum(1, k[0] + k[1] * np.maximum(c, m)), [0.3, 0.7]),
    "constant": (lambda k, c, m: np.minimum(1, k[0] + 0 * c), [0.6]),
}


def rows(path: Path) -> pd.DataFrame:
    """One row per configuration whose power was recorded: ``n`` repeats, and the utilisation of each phase at its measured time."""
    table = pd.read_csv(path)
    columns = {"average_power": "mean", "peak_power": "mean", "prompt_time": "median", "token_time": "median", "e2e_time": "median"}
    groups = table[table["average_power"] > 0].groupby(KEYS)
    found = groups.agg(columns).assign(n=groups.size()).reset_index()
    found["fits"] = found["prompt_size"] + OUTPUT <= found["model"].map(CONTEXTS)
    found["prompt_s"], found["decode_s"] = found["prompt_time"] / 1e3, found["token_time"] / 1e3 * (OUTPUT - 1)
    return pd.concat([found, pd.DataFrame([utilisation(row) for row in found.itertuples()])], axis=1)


def utilisation(row: tuple) -> dict[str, float]:
    """Share of the datasheet peaks in the prompt step and in the middle decode step."""
    b, s, layout = row.batch_size, row.prompt_size, Parallelism(tp=row.tensor_parallel)
    prompt = Work(tokens=b * s, sequences=b, pairs=b * s * (s + 1) / 2)
    middle = Work(tokens=b, sequences=b, contexts=b * (s + OUTPUT // 2))
    whole, token = (step_load(MODELS[row.model], layout, Datatypes(), work) for work in (prompt, middle))
    flops, bandwidth = A100.peaks.at("bf16"), A100.memory_bandwidth
    seconds = {"prompt": (whole, row.prompt_s), "decode": (token, row.token_time / 1e3)}
    return {f"{phase}_{part}": float(value) for phase, (load, time) in seconds.items()
            for part, value in (("compute", load.flop / flops / time), ("memory", load.bytes / bandwidth / time))}  # fmt: skip


def averages(law: Law, k: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Power over TDP of whole runs: each phase weighted by its time."""
    prompt, decode = (law(k, table[f"{phase}_compute"], table[f"{phase}_memory"]) for phase in ("prompt", "decode"))
    total = table["prompt_s"] + table["decode_s"]
    return np.asarray((prompt * table["prompt_s"] + decode * table["decode_s"]) / total)


def fitted(name: str, table: pd.DataFrame) -> np.ndarray:
    """Least squares of relative errors over the configurations that fit the model's context."""
    law, start = LAWS[name]
    good = table[table["fits"]]
    return least_squares(lambda k: averages(law, k, good) / good["average_power"] - 1, start).x


def left_out(name: str, table: pd.DataFrame) -> np.ndarray:
    """Absolute relative errors of each configuration by the fit to the other half of the configurations, over `SPLITS` halvings."""
    errors = np.zeros((SPLITS, len(table)))
    for seed in range(SPLITS):
        fold = np.random.default_rng(seed).permutation(len(table)) % 2
        for half in (0, 1):
            k = fitted(name, table[fold != half])
            errors[seed, fold == half] = averages(LAWS[name][0], k, table[fold == half])
    return np.abs(errors / table["average_power"].to_numpy() - 1)


def scores(errors: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """Errors in per cent over all 260 measured rows and over those of prompts that fit the context."""
    found = {}
    for name, chosen in (("all", np.ones(len(table), bool)), ("fits", table["fits"].to_numpy())):
        each = np.repeat(errors[..., chosen], table["n"][chosen], axis=-1)
        found |= {f"{name}: rows": each.shape[-1], "MAPE " + name: 100 * each.mean(), "MdAPE " + name: 100 * float(np.median(each)),
                  "p90 " + name: 100 * float(np.quantile(each, 0.9))}  # fmt: skip
    return found


def served(table: pd.DataFrame, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Watts over TDP and seconds of the simulated runs; ``floor``: host time of a step in s, hidden behind longer device steps."""
    found = []
    for row in table.itertuples():
        b, engine = row.batch_size, CATALOG.engine("generic")
        engine = replace(engine, front_end=0.0, front_end_token=0.0, client=0.0, memory_fraction=1.0, reserve=0.0,
                         host_step=floor or engine.host_step, async_scheduling=floor > 0)  # fmt: skip
        design = md.load_design("tp8_colocated").with_pools(model=MODELS[row.model], accelerator=A100, dtypes=Datatypes(), engine=engine,
                                                            parallelism=Parallelism(tp=row.tensor_parallel))  # fmt: skip
        design = replace(design, topology=replace(design.topology, host=None))  # the meter read the accelerators alone
        lengths = [np.full(b, value, np.int64) for value in (row.prompt_size, OUTPUT, OUTPUT, 0)]
        asked = Requests(np.zeros(b), *lengths, np.zeros(b), b, np.nan)
        outcome = md.evaluate(design, CATALOG.workload("closed"), requests=asked).metrics
        found.append((outcome["watts"] / (A100.tdp * row.tensor_parallel), outcome["e2e_mean"]))
    return tuple(np.array(found).T)


if __name__ == "__main__":
    measured = rows(Path(os.environ["MIST_DSE_DATA"]) / "profiles/splitwise/perf_model.csv.gz")
    print(f"{len(measured)} configurations, {measured.n.sum()} rows; {measured.fits.sum()} configurations fit the context")
    table = {name: {"constants": np.round(fitted(name, measured), 3)} | scores(left_out(name, measured), measured) for name in LAWS}
    print("\nTwo-fold by configuration, times measured, %:", pd.DataFrame(table).T.to_string(float_format="{:.1f}".format), sep="\n")
    shipped = np.array([power.RUNNING_SHARE, power.COMPUTE_SHARE, power.MEMORY_SHARE])
    law = LAWS["p + a u_compute + b u_memory"][0]
    measured["predicted"] = averages(law, shipped, measured)
    measured["prompt phase"] = law(shipped, measured["prompt_compute"], measured["prompt_memory"])
    print("\nEach configuration by the shipped constants, and the prompt phase beside the recorded peak (a column not fitted on):")
    shown = [*KEYS, "fits", "average_power", "predicted", "peak_power", "prompt phase", "prompt_compute", "prompt_s", "decode_s"]
    print(measured[shown].to_string(index=False, float_format="{:.3f}".format))
    for name, floor in (("generic engine", 0.0), ("and 42 ms of host time per step", 0.042)):
        watts, seconds = served(measured[measured.fits], floor)
        good = measured[measured.fits]
        errors = {"power": watts / good.average_power - 1, "seconds": seconds / (good.e2e_time / 1e3) - 1}
        errors["joules"] = (1 + errors["power"]) * (1 + errors["seconds"]) - 1
        print(f"\nSimulated, {name}:", {key: f"MAPE {100 * abs(e).mean():.1f}% bias {100 * e.mean():+.1f}%" for key, e in errors.items()})
