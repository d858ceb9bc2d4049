"""A file of measured serving rows: read, and brought to the catalogue's names and one meaning per column.

Columns are those of ``measured/e2e.csv.gz`` of the reference data: at least `REQUIRED`, ``concurrency`` or ``request_rate``, and
any measured value; every other column is optional (``draft_tokens`` with ``acceptance`` or ``accepted_length``: speculation).
Each row keeps its place and its columns and gains ``use_*`` columns (what will be simulated) and ``reason`` (why it cannot be,
empty where it can).
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.specs.model import ModelSpec
from mist_dse.validate import layout, names
from mist_dse.validate.errors import MeasurementError

REQUIRED = ("model", "hardware", "engine", "precision", "mode", "n_gpus", "tp", "isl", "osl")
"""Columns that a file must have; any but the lengths may be empty in a row."""

LOADS = ("concurrency", "request_rate", "batch")
"""How much is asked: one of these, unless everything is sent at once."""

TEXTS = (
    "source", "regime", "engine", "engine_version", "model", "precision", "hardware", "mode", "parallel", "note", "origin",
    "measured_on", "image", "multi_token_prediction", "statistic", "benchmark",
)  # fmt: skip

BUILT = (
    ("trtllm-perf-overview-v0.9", "2024-04-16"),
    ("trtllm-online-serving-v0.14", "2024-11-01"),
    ("trtllm-perf-overview-v0.17", "2025-02-07"),
    ("trtllm-perf-overview-v1.0", "2025-09-24"),
    ("trtllm-perf-overview-v1.2", "2026-01-15"),
)
"""Dates of builds that a source names by version only: when that TensorRT-LLM release came out."""

NUMBERS = ("n_gpus", "tp", "pp", "ep", "attention_dp", "isl", "osl", "concurrency", "batch", "request_rate", "output_tok_s", "total_tok_s",
           "ttft_ms", "tpot_ms", "gpus", "moe_ep", "num_prompts", "range_ratio", "draft_tokens", "acceptance", "accepted_length",
           "prefill_workers", "prefill_worker_gpus", "prefill_ep", "decode_workers", "decode_worker_gpus", "decode_ep",
           "decode_slots_per_worker")  # fmt: skip
"""Columns that are read as numbers; a file may hold any others."""

VERSIONS = {
    ("vllm", "0.12"): "2025-12-03", ("vllm", "0.15"): "2026-01-29", ("vllm", "0.16"): "2026-02-25", ("vllm", "0.17"): "2026-03-07",
    ("sglang", "0.5.6"): "2025-12-02", ("sglang", "0.5.9"): "2026-02-23",
    ("trtllm", "1.0.0"): "2025-07-15", ("trtllm", "1.2.0"): "2026-01-07",
}  # fmt: skip
"""Release dates of engine versions (their projects' release pages), for rows without ``measured_on``."""


def measurements(path: Path | str, *, catalog: Catalog | None = None, rows: int | None = None) -> pd.DataFrame:
    """The rows of a file in order, with the ``use_*`` columns and ``reason``; ``rows`` reads only so many from the start.

    Raises `MeasurementError` for a file that lacks what `normalised` needs.
    """
    try:
        frame = pd.read_csv(path, low_memory=False, nrows=rows, dtype=dict.fromkeys(TEXTS, "object"))
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: cannot be read as CSV: {str(error).splitlines()[0]}") from None
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise MeasurementError(f"{path}: no column {', '.join(missing)}; a file of measurements has at least {', '.join(REQUIRED)}")
    if not any(name in frame.columns for name in LOADS):
        raise MeasurementError(f"{path}: no column of {', '.join(LOADS)}: one must say how much is asked")
    if frame.empty:
        raise MeasurementError(f"{path}: no rows below the header")
    numbers, bad = _numbers(frame)
    found = normalised(numbers, catalog or Catalog())
    found["reason"] = np.where(bad == "", found["reason"], bad)
    return found


def _numbers(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """``frame`` with its columns of numbers as such, and for each row which of its cells are none."""
    reasons = np.full(len(frame), "", dtype=object)
    columns = {}
    for name in (name for name in NUMBERS if name in frame):
        values = pd.to_numeric(frame[name], errors="coerce").astype(float)
        wrong = (frame[name].notna() & ~np.isfinite(values)).to_numpy()
        if wrong.any():
            columns[name] = values.where(~wrong)
            reasons[wrong] = [f"{name} is {cell!s}: must be a finite number" for cell in frame[name][wrong]]
    return frame.assign(**columns), pd.Series(reasons, index=frame.index)


def normalised(frame: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """``frame`` with what each row stands for in the catalogue's terms: ``use_*`` columns and ``reason``."""
    found = pd.DataFrame([_row(dict(row), catalog) for row in frame.to_dict("records")], index=frame.index)
    return pd.concat([frame.drop(columns=[name for name in found if name in frame]), found], axis=1)


def _row(row: dict[Hashable, Any], catalog: Catalog) -> dict[str, Any]:
    data = {str(key): value for key, value in row.items()}
    texts = {name: _text(data, name) for name in TEXTS}
    family = names.engine_family(texts["engine"])
    model, accelerator = names.catalogued_model(texts["model"], catalog), names.catalogued_accelerator(texts["hardware"], catalog)
    weight = names.weight_dtype(texts["precision"], texts["model"])
    found: dict[str, Any] = {"use_family": family or "", "use_model": model or "", "use_accelerator": accelerator or "",
                             "use_weight": weight or "", "use_built": _built(texts, family), "use_mode": "", "reason": ""}  # fmt: skip
    found["reason"] = _unknown(texts, family, model, accelerator, weight) or _lengths(data) or ""
    if not found["reason"] and model:
        found |= _layout(data, texts, catalog.model(model))
    return found


def _layout(data: Mapping[str, Any], texts: Mapping[str, str], model: ModelSpec) -> dict[str, Any]:
    """Layout columns: of the one pool, or of the prefill and the decode side."""
    mixture = bool(model.experts)
    if not texts["mode"].startswith("disagg"):
        one = layout.aggregated(data, mixture=mixture)
        return {"use_mode": "agg", "reason": one} if isinstance(one, str) else {"use_mode": "agg"} | _columns("", one)
    sides: dict[str, Any] = {"use_mode": "disagg"}
    for side in ("prefill", "decode"):
        found = layout.worker(data, side, mixture=mixture)
        if isinstance(found, str):
            return {"use_mode": "disagg", "reason": found}
        sides |= _columns(f"{side}_", found)
    return sides


def _columns(prefix: str, found: layout.Layout) -> dict[str, Any]:
    return {f"use_{prefix}{name}": value for name, value in found._asdict().items()} | {f"use_{prefix}devices": found.devices}


def _unknown(texts: Mapping[str, str], family: str | None, model: str | None, accelerator: str | None, weight: str | None) -> str:
    if family is None:
        return f"engine {texts['engine']!r} is unknown: vLLM, SGLang, TensorRT-LLM or generic"
    if model is None:
        return f"model {texts['model']!r} is not in the catalogue"
    if accelerator is None:
        return f"hardware {texts['hardware']!r} is not in the catalogue"
    if weight is None:
        return f"precision {texts['precision']!r} is unknown"
    return ""


def _lengths(data: Mapping[str, Any]) -> str:
    for name in ("isl", "osl"):
        if not layout.number(data, name) >= 1:
            return f"{name} is {data.get(name)}: must be at least one token"
    return ""


def _built(texts: Mapping[str, str], family: str | None) -> str:
    """The ISO date of the engine's build as near as it is known: the day of the run, the release of the source or version."""
    if texts["measured_on"]:
        return texts["measured_on"][:10]
    for source, date in BUILT:
        if texts["source"].startswith(source):
            return date
    version = texts["engine_version"]
    return next((date for (engine, start), date in VERSIONS.items() if engine == family and version.startswith(start)), "")


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return "" if value is None or value != value else str(value).strip()
