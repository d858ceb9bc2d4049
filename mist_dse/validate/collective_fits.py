"""Times of collectives and expert exchanges from measured tables, as coefficients of `specs.hardware.CollectiveFit`.

One fit per accelerator, kind, library, kernel and number of devices, over all versions of a library together (empty version) and
for each. Sizes are bytes per device. Traps: ``message_size`` counts elements; the second of two NCCL 2.26.2 collections is kept;
collectives of L40S hosts fall to 2 GB/s past a pair (no peer access) and are left out.
"""

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog, CatalogError
from mist_dse.perf.collective import fitted_time
from mist_dse.perf.fitting import Limits, fitted
from mist_dse.perf.kernels import KernelWork
from mist_dse.specs.hardware import CollectiveFit

KEYS = ("accelerator", "kind", "library", "kernel", "version", "devices")
"""What a fit is for."""

KINDS = {"alltoall": "all_to_all"}
"""Names of kinds as measured that differ from ours."""

ELEMENT_BYTES = {"half": 2.0, "bfloat16": 2.0, "int8": 1.0, "float": 4.0}
EXCHANGE_BYTES = {"default": 2.0, "bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5625, "fp4": 0.5625}
"""Bytes per element sent."""

LEFT_OUT = ("l40s",)
"""Systems whose collectives say nothing about the link."""

LEAST_ROWS = 8


def collective_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """``accelerator, kind, library, kernel, version, devices, size, seconds`` of every row of a table of collectives."""
    seconds = frame["latency_ms"].to_numpy(float) * 1e-3 if "latency_ms" in frame else np.full(len(frame), np.nan)
    width = frame["dtype"].astype(str).map(ELEMENT_BYTES).fillna(2.0).to_numpy(float)
    return pd.DataFrame({
        "accelerator": frame["system"].astype(str).to_numpy(), "kind": frame["op_name"].astype(str).replace(KINDS).to_numpy(),
        "library": _text(frame, "lib"), "kernel": frame["kernel_source"].astype(str).to_numpy(), "version": _text(frame, "lib_version"),
        "devices": frame["num_gpus"].to_numpy(int), "size": frame["message_size"].to_numpy(float) * width, "seconds": seconds,
    })  # fmt: skip


def exchange_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The same of a table of expert dispatch and combine; bytes that a device sends to its tokens' experts."""
    width = frame["comm_dtype"].astype(str).map(EXCHANGE_BYTES).fillna(2.0).to_numpy(float)
    ranks = frame["ep_size"].to_numpy(float)
    copies = ranks * (1.0 - (1.0 - 1.0 / ranks) ** frame["topk"].to_numpy(float))  # distinct ranks among a token's experts
    size = frame["num_tokens"].to_numpy(float) * frame["hidden_size"].to_numpy(float) * copies * width
    seconds = frame["latency_us"].to_numpy(float) * 1e-6 if "latency_us" in frame else np.full(len(frame), np.nan)
    return pd.DataFrame({
        "accelerator": frame["system"].astype(str).to_numpy(), "kind": "expert_" + frame["phase"].astype(str).to_numpy(),
        "library": _text(frame, "lib"), "kernel": (frame["comm_backend"].astype(str) + " " + frame["comm_dtype"].astype(str)).to_numpy(),
        "version": _text(frame, "lib_version"), "devices": ranks.astype(int), "size": size, "seconds": seconds,
    })  # fmt: skip


def collective_fits(rows: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """One row per fit: `KEYS`, latency, root, bandwidth, sharpness, rows, and median errors on the sizes fitted and held out."""
    table = rows[~rows["accelerator"].isin(LEFT_OUT) & (rows["seconds"] > 0)].copy()
    names = {system: _name(catalog, system) for system in table["accelerator"].unique()}
    table["accelerator"] = table["accelerator"].map(names)
    pooled = table.assign(version="")
    several = table.groupby([key for key in KEYS if key != "version"])["version"].transform("nunique") > 1
    groups = pd.concat([pooled, table[several]]).dropna(subset=["accelerator"]).groupby(list(KEYS), sort=True)
    return pd.DataFrame([_record(key, group) for key, group in groups if len(group) >= LEAST_ROWS])


def held_out(rows: pd.DataFrame) -> np.ndarray:
    """Which sizes stay out of fits: three in ten, by hash of devices and size."""
    mask: np.ndarray = pd.util.hash_pandas_object(rows[["devices", "size"]], index=False).to_numpy() % 10 >= 7
    return mask


def _record(key: tuple[object, ...], rows: pd.DataFrame) -> dict[str, object]:
    size, seconds, out = rows["size"].to_numpy(), rows["seconds"].to_numpy(), held_out(rows)
    inside = ~out if (~out).sum() >= LEAST_ROWS // 2 else np.ones(len(rows), bool)
    limit = 2.0 * float(np.max(size / seconds))
    # the soft corner of an operator: "compute" is the latency of a small message, "memory" the wire, "items" the pipeline
    least = 0.5 * float(seconds.min())
    work = KernelWork(np.full(inside.sum(), least), size[inside], np.sqrt(size[inside]), 0.0, 0.0)
    values = fitted(work, seconds[inside], Limits(1.0, limit), np.array([1e-7, 0.5, 0.5, 1.5, 1e-9, 0.0, 0.0]))
    fit = CollectiveFit(kind=str(key[1]), devices=int(str(key[5])), latency=values[0] + least / values[1], root=values[4],
                        bandwidth=values[2] * limit, sharpness=values[3])  # fmt: skip
    error = np.abs(np.asarray(fitted_time(fit, size)) / seconds - 1.0)
    return {
        **dict(zip(KEYS, key, strict=True)), "latency": fit.latency, "root": fit.root, "bandwidth": fit.bandwidth,
        "sharpness": fit.sharpness, "rows": len(rows),
        "fit_error": float(np.median(error[inside])), "held_out_error": float(np.median(error[out])) if out.any() else np.nan,
    }  # fmt: skip


def _name(catalog: Catalog, system: str) -> str | None:
    try:
        return catalog.accelerator(system).name
    except CatalogError:
        return None


def _text(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame[column].fillna("").astype(str).to_numpy() if column in frame else np.full(len(frame), "")
