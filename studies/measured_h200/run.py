"""Our own measurements against the model, errors by family: see README.md.

Usage: ``python studies/measured_h200/run.py [measured.csv]``. The accelerator is the one that the file's first line names.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.perf import step
from mist_dse.perf.kernels import kernel_time, product_work
from mist_dse.perf.operator import coefficients, operator_time
from mist_dse.specs.design import Parallelism, Pool
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import Accelerator

FILE, CATALOG = Path(__file__).parent / "measured.csv", Catalog()
DEVICES = {"H200": "h200", "H100 80GB": "h100_sxm", "B200": "b200", "A100-SXM4-80GB": "a100_sxm_80gb"}
SLICES = {"1-16": (1, 16), "17-256": (17, 256), "257-": (257, 10**9)}


def predicted(accelerator: Accelerator, row: pd.Series) -> float:
    """Seconds of one measured call."""
    m, n, k = row.m, row.n, row.k
    if row.family == "gemm":
        width = 1.0 if row["dtype"] == "fp8" else 2.0
        return float(kernel_time(coefficients(accelerator, "gemm", row["dtype"]), product_work(m, n, k, weight=width, taken=width)))
    if row.family == "norm":
        return float(operator_time(coefficients(accelerator, "elementwise", "bf16"), 0.0, 8.0 * m * n))
    changes = {"engine": EngineProfile(name="none"), "parallelism": Parallelism(tp=int(row.tp)), "model": CATALOG.model(row.model)}
    pool = md.load_design("tp8_colocated").with_pools(accelerator=accelerator, **changes).pools[0]
    return layers_time(pool, row) / pool.model.layers


def layers_time(pool: Pool, row: pd.Series) -> float:
    """All layers of the model on one of ``tp`` devices, no engine and no collectives; of a stack, as many as were measured."""
    m, s = float(row.m), float(row.context)
    if row.family == "prefill":
        chunk = step.prefill_attention(pool)
        return float(chunk.overhead + max(chunk.quad * s**2, chunk.read * s) + chunk.token * s)
    attention = float(step.decode_attention_time(pool, m, s))
    return (float(step.linear_time(pool, m)) + attention) * row.layers if row.family == "stack" else attention


def errors(path: Path) -> pd.DataFrame:
    """MdAPE, p90 and median signed error in % by family, variant, datatype and m (tokens or sequences)."""
    accelerator = CATALOG.accelerator(next(name for text, name in DEVICES.items() if text in path.open().readline()))
    table = pd.read_csv(path, comment="#")
    table["error"] = 100 * (np.array([predicted(accelerator, row) for _, row in table.iterrows()]) * 1e6 / table["us"] - 1)
    table["m "] = [next(name for name, (low, high) in SLICES.items() if low <= m <= high) for m in table["m"]]
    groups = table.groupby(["family", "variant", "dtype", "m "])["error"]
    return groups.agg(rows="size", MdAPE=lambda e: e.abs().median(), p90=lambda e: e.abs().quantile(0.9), bias="median").round(1)


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    print(errors(file).to_string() if file.exists() else f"{file}: no such file; make it with measure.py on an accelerator (README.md)")
