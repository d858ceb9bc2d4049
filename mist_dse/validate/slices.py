"""Slices: groups of rows that one claim is made about, with the limits that it states.

A limit is (figure, limit): a metric's MdAPE, or ``metric:statistic``, errors as fractions, bias in every bucket of concurrency.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from mist_dse.validate.kinds import FEW, MANY, MOST


class Slice(NamedTuple):
    """A name, what it covers in words, and its limits by figure."""

    name: str
    covers: str
    limits: tuple[tuple[str, float], ...] = ()


DENSE = (("tpot", 0.05), ("tpot:p90", 0.12), ("ttft", 0.10), ("ttft:bias", 0.10), ("e2e", 0.04), ("e2e:spearman", 0.98))

SLICES = (
    Slice("dense", "dense models, closed loop", DENSE),
    Slice("moe", "mixtures without latent attention, concurrency <= 256", (("tpot", 0.07), ("ttft", 0.18), ("e2e", 0.07))),
    Slice("moe_many", "mixtures without latent attention, concurrency > 256"),
    Slice("mla", "latent attention, concurrency <= 64", (("tpot", 0.05), ("ttft", 0.20), ("e2e", 0.05))),
    Slice("mla_many", "latent attention, concurrency 65 to 256, or attention data parallelism", (("tpot", 0.12),)),
    Slice("disagg_trtllm", "disaggregated TensorRT-LLM, concurrency <= 512", (("tpot", 0.10), ("ttft", 0.30), ("e2e", 0.10))),
    Slice("disagg_trtllm_many", "disaggregated TensorRT-LLM, concurrency > 512"),
    Slice("disagg_sglang", "disaggregated SGLang", (("tpot", 0.15),)),
    Slice("disagg_other", "disaggregated, other engines"),
    Slice("offline", "offline, all requests at once: output tokens per second", (("output_tok_s", 0.12),)),
    Slice("open_loop", "open loop below 80% of saturation", (("ttft", 0.15), ("tpot", 0.08))),
    Slice("open_loop_full", "open loop at 80% of saturation and past it, and bursts"),
    Slice("static", "static batches and first tokens"),
)

REGIMES = {
    "dense": "closed", "moe": "closed", "moe_many": "many", "mla": "closed", "mla_many": "many", "disagg_trtllm": "disagg",
    "disagg_trtllm_many": "disagg_many", "disagg_sglang": "disagg", "disagg_other": "disagg", "offline": "offline", "open_loop": "open",
    "open_loop_full": "open_full", "static": "static",
}  # fmt: skip
"""The regime of load (`kinds`) of each slice."""

ROUNDING_MS = 0.7
"""Inter-token latencies of the open-loop tables are whole ms: a limit on their error is never below this."""


def slice_names(frame: pd.DataFrame) -> pd.Series:
    """The slice of each predicted row; empty where none is (model unknown)."""
    clients, mode, kind = _numbers(frame, "concurrency"), frame["use_mode"], frame["kind"]
    with_dp = frame["use_dp"].fillna(1) > 1 if "use_dp" in frame else pd.Series(data=False, index=frame.index)
    names = pd.Series("", index=frame.index, dtype="object")
    agg = (mode == "agg") & clients.notna()
    names[agg & (kind == "dense")] = "dense"
    names[agg & (kind == "moe")] = "moe"
    names[agg & (kind == "moe") & (clients > MANY)] = "moe_many"
    names[agg & (kind == "mla")] = "mla"
    names[agg & (kind == "mla") & ((clients > FEW) | with_dp)] = "mla_many"
    for family, found in (("trtllm", "disagg_trtllm"), ("sglang", "disagg_sglang")):
        names[(mode == "disagg") & (frame["use_family"] == family)] = found
    names[(names == "disagg_trtllm") & (clients > MOST)] = "disagg_trtllm_many"
    names[(mode == "disagg") & (names == "")] = "disagg_other"
    alone = (mode == "agg") & clients.isna()
    names[alone & (frame["recipe"] == "trtllm_offline")] = "offline"
    names[alone & (frame["recipe"] == "trtllm_static")] = "static"
    names[alone & (names == "")] = "open_loop_full"
    names[(names == "open_loop_full") & _light(frame)] = "open_loop"
    return names.where(frame["use_model"] != "", "")


def _light(frame: pd.DataFrame) -> pd.Series:
    """Open-loop rows that ask for less than 80% of the most that the same server was measured to serve at any rate."""
    rate, served = _numbers(frame, "request_rate"), _numbers(frame, "output_tok_s")
    server = (
        frame["source"].astype(str) + frame["model"] + frame["hardware"] + frame["precision"].astype(str)
        if "source" in frame
        else frame["model"]
    )
    most = served.groupby(server).transform("max")
    asked = rate * pd.to_numeric(frame["osl"], errors="coerce")
    return (rate > 0) & (asked < 0.8 * most)


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    return pd.to_numeric(frame[name], errors="coerce") if name in frame else pd.Series(np.nan, index=frame.index)
