"""What a measured row is worth: duplicates, rows to quarantine with the reason, and the part that it belongs to.

Flags never drop a row from predictions; scores report flagged rows apart. The part is a hash of the configuration, so that all
rows of one configuration, whatever their source calls it, stand on the same side of the split.
"""

import hashlib

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.validate.case import COMPUTE

CALIBRATION_SHARE = 0.5
"""Share of the configurations that constants may be fitted on."""

CONFIGURATION = (
    "use_family", "use_model", "use_accelerator", "use_weight", "use_mode", "use_tp", "use_pp", "use_dp", "use_ep", "use_replicas",
    "use_prefill_replicas", "use_prefill_tp", "use_prefill_dp", "use_decode_replicas", "use_decode_tp", "use_decode_dp",
    "isl", "osl", "concurrency", "request_rate", "batch",
)  # fmt: skip
"""What names one configuration: what ran, and what was asked of it. Builds of an engine share it."""

SAME_MODEL = {"deepseek-v3": "deepseek-r1", "deepseek-v3.1": "deepseek-r1"}
"""Models of one shape that the dumps name differently for the same runs."""

VALUES = ("ttft_ms", "tpot_ms", "output_tok_s", "total_tok_s")

REPEATS = 0.10
"""Repeats of one configuration and build that differ by more disagree (repeat noise is 3% of TPOT)."""

STALL = 35.0
"""Mean TTFT over prefill at peak FLOP/s past which, with few clients, an engine was still compiling: ten times a prefill at 0.3 of peak."""

STALL_CLIENTS = 128
"""Most clients for which a long wait cannot be a queue."""

LEAST_STALL = 3.0
"""Mean TTFT (s) below which nothing is a stall, however short the prompt."""

WARM = 0.6
"""Share of peak FLOP/s that prompts would need past which they were not computed: no fitted kernel sustains it in serving."""

FALL = 0.15
"""Loss of throughput with more clients that no healthy server shows (up to `FEW` clients)."""

FEW = 64

MTP = {"yes": "multi-token prediction", "ambiguous": "multi-token prediction unclear", "unknown": "multi-token prediction unknown"}


def judged(frame: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """``frame`` (normalised) with ``configuration``, ``part``, ``duplicate`` (a copy of an earlier row) and ``quarantine``."""
    found = frame.copy()
    names = configurations(frame)
    found["configuration"] = names
    found["part"] = np.where(names.map(_share) < CALIBRATION_SHARE, "calibration", "test")
    found["duplicate"] = _duplicates(frame, names)
    found["quarantine"] = quarantine(frame, names, catalog)
    return found


def configurations(frame: pd.DataFrame) -> pd.Series:
    """The configuration of each row as text; rows that differ only in name, origin or build have one."""
    parts = {name: frame[name] for name in CONFIGURATION if name in frame}
    if "use_model" in parts:
        parts["use_model"] = parts["use_model"].replace(SAME_MODEL)
    if "batch" in parts and "concurrency" in parts:
        parts["batch"] = parts["batch"].where(parts["concurrency"].isna())
    return _joined(list(parts.values()), frame)


def quarantine(frame: pd.DataFrame, names: pd.Series, catalog: Catalog) -> pd.Series:
    """Why each row is set apart, joined by ``; ``; empty where it is not."""
    floor, ttft, tpot = _prefill_floor(frame, catalog), _column(frame, "ttft_ms") / 1e3, _column(frame, "tpot_ms") / 1e3
    clients, group = _column(frame, "concurrency"), _server(frame)
    warm = clients * floor > WARM * (ttft + tpot * _column(frame, "osl"))
    queued = floor * (1 + clients / 20)  # a burst of all clients in the first tenth of the requests waits for half of itself
    found = {
        "prompts found in a warm prefix cache": warm.groupby(_installation(frame)).transform("any"),
        "start-up stall in the first tokens": (ttft > LEAST_STALL) & (clients <= STALL_CLIENTS) & (ttft > STALL * queued),
        "repeats disagree": _disagreeing(frame, names),
        "throughput falls with more clients": _falls(clients, clients / tpot, group),
        "time-outs at 512 clients": (frame["use_model"] == "gpt-oss-120b") & (frame["use_mode"] == "agg") & (clients >= 512),
    }
    if "multi_token_prediction" in frame:
        given = _column(frame, "draft_tokens").notna() & (_column(frame, "acceptance").notna() | _column(frame, "accepted_length").notna())
        found |= {text: (frame["multi_token_prediction"] == value) & ~given for value, text in MTP.items()}
    masks = {text: mask.fillna(value=False).to_numpy(bool) for text, mask in found.items()}
    return pd.Series(
        ["; ".join(text for text, mask in masks.items() if mask[k]) for k in range(len(frame))], index=frame.index, dtype="object"
    )


def _prefill_floor(frame: pd.DataFrame, catalog: Catalog) -> pd.Series:
    """Seconds of one prompt at peak FLOP/s on all devices of the row; nan where unknown."""
    active = {name: float(catalog.model(name).active_parameters) if name else np.nan for name in frame["use_model"].unique()}
    pairs = list(zip(frame["use_accelerator"], frame["use_weight"], strict=True))
    peaks = {pair: _peak(*pair, catalog) for pair in set(pairs)}
    peak = pd.Series([peaks[pair] for pair in pairs], index=frame.index)
    return _column(frame, "isl") * 2 * frame["use_model"].map(active) / (_devices(frame) * peak)


def _falls(clients: pd.Series, throughput: pd.Series, group: pd.Series) -> pd.Series:
    """Rows of servers whose throughput falls by more than `FALL` from one concurrency to a higher one."""
    table = pd.DataFrame({"clients": clients, "throughput": throughput, "group": group})[clients <= FEW].sort_values("clients")
    best = table.groupby("group")["throughput"].cummax()
    bad = set(table["group"][table["throughput"] < (1 - FALL) * best])
    return group.isin(bad)


def _installation(frame: pd.DataFrame) -> pd.Series:
    """One engine build with one model on one kind of device, whatever was asked of it."""
    names = ("source", "use_family", "engine_version", "use_model", "use_accelerator", "use_weight")
    return _joined([frame[name] for name in names if name in frame], frame)


def _server(frame: pd.DataFrame) -> pd.Series:
    """What one server is: everything of a configuration and build but the concurrency, and where it was published."""
    columns = [name for name in ("source", "image", "engine_version", "use_built", "multi_token_prediction") if name in frame]
    return _joined([*(frame[name] for name in columns), configurations(frame.assign(concurrency=0.0, batch=0.0))], frame)


def _duplicates(frame: pd.DataFrame, names: pd.Series) -> pd.Series:
    """Whether an earlier row has the same configuration and the same values to 0.1%: one measurement, published twice."""
    values = [np.round(np.log(_column(frame, name).clip(lower=1e-9)) * 1000).fillna(-1.0) for name in VALUES]
    copies: pd.Series = pd.concat([names, *values], axis=1).duplicated()
    return copies


def _disagreeing(frame: pd.DataFrame, names: pd.Series) -> pd.Series:
    """Rows whose configuration and build were measured more than once with TPOT further apart than `REPEATS`."""
    tpot = _column(frame, "tpot_ms")
    build = frame["image"].map(_plain) if "image" in frame else pd.Series("", index=frame.index)
    groups = tpot.groupby(names + "|" + build + "|" + frame["use_built"].map(_plain))
    far: pd.Series = groups.transform("max") / groups.transform("min") - 1 > REPEATS
    return pd.Series(far & tpot.notna(), index=frame.index)


def _peak(accelerator: str, weight: str, catalog: Catalog) -> float:
    if not accelerator or weight not in COMPUTE:
        return np.nan
    return catalog.accelerator(accelerator).peaks.at(COMPUTE[weight])


def _devices(frame: pd.DataFrame) -> pd.Series:
    if "use_devices" in frame:
        return frame["use_devices"].fillna(_column(frame, "use_prefill_devices"))
    return pd.Series(np.nan, index=frame.index)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(frame[name], errors="coerce") if name in frame else pd.Series(np.nan, index=frame.index)


def _joined(columns: list[pd.Series], frame: pd.DataFrame) -> pd.Series:
    cells = zip(*(column.map(_plain) for column in columns), strict=True)
    return pd.Series(["|".join(row) for row in cells], index=frame.index, dtype="object")


def _plain(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _share(name: str) -> float:
    """A number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) / 2**64
