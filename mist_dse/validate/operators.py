"""Predicted times of measured operators, and how far off they are.

`operator_predictions` answers for any table like aiconfigurator's: products, attention, experts, collectives, expert exchanges;
which one a frame is follows from its columns. Every row gets ``pred_latency_ms`` (NaN where nothing answers, with the ``reason``)
and ``provenance``: table, fitted, borrowed from NAME, class default or datasheet. The fit of the row's own engine and kernel
answers where there is one, else the preferred one.
"""

from typing import cast

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog, CatalogError
from mist_dse.perf.collective import Hop, Span, all_gather_time, all_reduce_time, exchange_time, fitted_time
from mist_dse.perf.kernels import kernel_time
from mist_dse.perf.operator import coefficients_of, operator_fit
from mist_dse.perf.tables import product_table, product_time
from mist_dse.specs.hardware import Accelerator, CollectiveFit
from mist_dse.validate.collective_fits import collective_rows, exchange_rows
from mist_dse.validate.kernel_rows import kernel_rows, kind_of, work_of

PREDICTED = ("pred_latency_ms", "provenance", "reason")
"""Columns that predictions add."""

_KERNEL = ["accelerator", "family", "dtype", "storage", "engine", "kernel"]
_COLLECTIVE = ["accelerator", "kind", "library", "kernel", "version", "devices"]


def operator_predictions(frame: pd.DataFrame, catalog: Catalog | None = None) -> pd.DataFrame:
    """Every row of ``frame``, in order, with `PREDICTED`."""
    given = catalog or Catalog()
    known = Catalog(given.directories, operators=given.operators, kernels=True)
    kind = kind_of(frame)
    if kind == "collective":
        found = _collectives(collective_rows(frame), known)
    elif kind == "expert_exchange":
        found = _collectives(exchange_rows(frame), known)
    else:
        found = _kernels(kernel_rows(frame), known)
    return pd.concat([frame.reset_index(drop=True), found], axis=1).set_axis(frame.index)


def operator_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows, covered rows, median and mean |error| and median signed error, by system, operator and datatype."""
    measured = _measured_ms(predictions)
    signed = predictions["pred_latency_ms"].to_numpy(float) / measured - 1.0
    table = pd.DataFrame({"system": predictions["system"].astype(str), "operator": _operator(predictions), "dtype": _dtype(predictions),
                          "provenance": predictions["provenance"], "signed": signed, "error": np.abs(signed)})  # fmt: skip
    groups = table.groupby(["system", "operator", "dtype"], sort=True)
    return pd.DataFrame({
        "rows": groups.size(), "covered": groups["error"].count(),
        "borrowed": groups["provenance"].apply(lambda said: int(said.str.contains("borrowed").sum())),
        "mdape": groups["error"].median(), "p90": groups["error"].quantile(0.9),
        "mape": groups["error"].mean(), "bias": groups["signed"].median(),
    }).reset_index()  # fmt: skip


def _kernels(rows: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    found = _unanswered(len(rows))
    for key, index in rows.groupby(_KERNEL, sort=False).indices.items():
        system, family, dtype, storage, engine, kernel = _texts(key)
        device, reason = _device(catalog, system)
        if device is None or not dtype:
            found.loc[index, "reason"] = reason or "unknown datatype"
            continue
        fit, exact = (operator_fit(device, family, dtype, storage, engine, kernel=name) for name in ("", kernel))
        part = rows.iloc[index]
        table = product_table(device, fit)
        if table is not None and (fit.engine, fit.storage) == (engine, exact.storage):
            each = (float(part["weight"].iloc[0]), float(part["taken"].iloc[0]))
            seconds = product_time(coefficients_of(device, fit), table, *(part[name].to_numpy() for name in "mnk"), bytes_each=each)
            provenance = "table" if fit.provenance == "fitted" else f"table {fit.provenance}"
        else:
            seconds, provenance = kernel_time(coefficients_of(device, exact), work_of(part)), exact.provenance
        found.loc[index, "pred_latency_ms"] = 1e3 * seconds
        found.loc[index, "provenance"] = provenance
    return found


def _collectives(rows: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    found = _unanswered(len(rows))
    for key, index in rows.groupby(_COLLECTIVE, sort=False).indices.items():
        system, kind, library, kernel, version, devices = _texts(key)
        device, reason = _device(catalog, system)
        size = rows["size"].to_numpy()[index]
        if device is None:
            found.loc[index, "reason"] = reason
            continue
        fit = _collective_fit(device, kind, int(devices), (library, kernel, version))
        seconds = _link_time(device, kind, int(devices), size) if fit is None else fitted_time(fit, size)
        found.loc[index, "pred_latency_ms"] = 1e3 * seconds
        found.loc[index, "provenance"] = "class default" if fit is None else fit.provenance
    return found


def _collective_fit(device: Accelerator, kind: str, devices: int, source: tuple[str, str, str]) -> CollectiveFit | None:
    """The fit of the same library, kernel and version, else of any version, else of the same kernel, else of any."""
    known = [fit for fit in device.collectives if fit.kind == kind and fit.devices == devices]
    for wanted in (source, (*source[:2], ""), ("", source[1], "")):
        found = [fit for fit in known if (fit.kernel, fit.version) == wanted[1:] and wanted[0] in ("", fit.library)]
        if found:
            return found[0]
    return next((fit for fit in known if not fit.version), None)


def _link_time(device: Accelerator, kind: str, devices: int, size: np.ndarray) -> np.ndarray:
    """Alpha-beta over the scale-up link where nothing was measured."""
    link = device.scale_up
    span = Span(devices, Hop(link.name, link.bandwidth * link.efficiency, link.latency, link.links or 0).among(devices))
    if kind == "all_reduce":
        time = all_reduce_time((span,), size)
    elif kind == "all_gather":
        time = all_gather_time((span,), size)
    else:
        time = exchange_time(span, size)
    return np.asarray(time, float)


def _texts(key: object) -> tuple[str, ...]:
    return tuple(str(part) for part in cast(tuple[object, ...], key))


def _unanswered(count: int) -> pd.DataFrame:
    return pd.DataFrame({"pred_latency_ms": np.full(count, np.nan), "provenance": "", "reason": ""})


def _device(catalog: Catalog, system: str) -> tuple[Accelerator | None, str]:
    try:
        return catalog.accelerator(system), ""
    except CatalogError as error:
        return None, str(error)


def _measured_ms(frame: pd.DataFrame) -> np.ndarray:
    if "latency_us" in frame:
        return 1e-3 * frame["latency_us"].to_numpy(float)
    return frame["latency_ms"].to_numpy(float) if "latency_ms" in frame else np.full(len(frame), np.nan)


def _operator(frame: pd.DataFrame) -> pd.Series:
    kind = kind_of(frame)
    if kind in ("collective", "mla"):
        return frame["op_name"].astype(str)
    return "expert_" + frame["phase"].astype(str) if kind == "expert_exchange" else pd.Series(kind, index=frame.index)


def _dtype(frame: pd.DataFrame) -> pd.Series:
    names = [name for name in ("gemm_dtype", "attn_dtype", "mla_dtype", "moe_dtype", "comm_dtype", "dtype") if name in frame]
    computed = frame[names[0]].astype(str) if names else pd.Series("", index=frame.index)
    return computed + "/" + frame["kv_cache_dtype"].astype(str) if "kv_cache_dtype" in frame else computed
