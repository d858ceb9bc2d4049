"""Decision error: a user picks the configuration of highest throughput per device that is predicted to keep a TPOT limit.

A problem is one model, accelerator, engine, datatype and pair of lengths, with the limit at a quantile of the measured TPOT of its
configurations. Throughput is Little's law, C OSL / (TTFT + TPOT (OSL - 1)), per device. Reported: the share of picks that
really keep the limit, and what part of the best throughput that keeps it they really reach.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mist_dse.validate.score import LIKE, with_e2e

QUANTILES = (0.25, 0.5, 0.75)
"""Where the limits of one group of configurations lie among its measured TPOT."""

LEAST = 4
"""Fewest configurations that make a choice."""

SLACK = 0.03
"""Excess over the limit within the noise of repeated measurements."""


class Decision(NamedTuple):
    """Problems, picks (a limit may look out of reach), shares of picks within the limit, and throughput reached over the best."""

    problems: int
    picks: int
    feasible: float
    nearly_feasible: float
    median_reached: float
    p10_reached: float


NONE = Decision(0, 0, np.nan, np.nan, np.nan, np.nan)
"""Nothing to decide."""


def decision_error(frame: pd.DataFrame, prefix: str = "pred_") -> Decision:
    """Decisions on aggregated closed-loop rows of `run.predictions`; ``prefix`` = ``peer_`` judges the peer's columns."""
    if f"{prefix}tpot_ms" not in frame or frame.empty:
        return NONE
    rows = with_e2e(frame)
    rows = rows[
        rows["covered"] & ~rows["duplicate"] & (rows["quarantine"] == "") & (rows["use_mode"] == "agg") & rows["concurrency"].notna()
    ]
    rows = rows[rows[f"{prefix}tpot_ms"].notna() & rows["tpot_ms"].notna()]
    problems = [
        (group, float(group["tpot_ms"].quantile(q))) for _, group in rows.groupby(list(LIKE)) if len(group) >= LEAST for q in QUANTILES
    ]
    picks = [found for group, limit in problems if (found := _pick(group, limit, prefix)) is not None]
    if not picks:
        return NONE._replace(problems=len(problems))
    excess, reached = (np.array(column) for column in zip(*picks, strict=True))
    return Decision(len(problems), len(picks), float((excess <= 0).mean()), float((excess <= SLACK).mean()), float(np.median(reached)),
                    float(np.quantile(reached, 0.1)))  # fmt: skip


def _pick(group: pd.DataFrame, limit: float, prefix: str) -> tuple[float, float] | None:
    """The picked configuration's measured excess over the limit, and its measured throughput over the best that keeps it."""
    predicted, measured = _rate(group, prefix), _rate(group, "")
    allowed = group[f"{prefix}tpot_ms"] <= limit
    if not allowed.any():
        return None
    chosen: Any = predicted[allowed].idxmax()
    excess = float(group.loc[chosen, "tpot_ms"]) / limit - 1
    best = float(measured[group["tpot_ms"] <= limit].max())
    return excess, min(float(measured[chosen]) / best, 1.0)


def _rate(group: pd.DataFrame, prefix: str) -> pd.Series:
    found: pd.Series = group["concurrency"] * group["osl"] / group[f"{prefix}e2e_ms"] / group["use_devices"]
    return found
