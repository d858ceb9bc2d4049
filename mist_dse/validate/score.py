"""Scores of predictions: per slice the rows, the coverage and the errors, the peer's beside them on identical rows.

The error of a row is predicted/measured - 1. MdAPE is the median of its absolute value, p90 its 90th percentile, MAPE its mean,
bias its median. E2E = TTFT + TPOT (OSL - 1) on both sides. Spearman is the rank correlation of E2E over the slice, and within
it the median over groups of one model, accelerator, engine, datatype and lengths.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mist_dse.validate.slices import ROUNDING_MS, SLICES, Slice, slice_names

METRICS = ("ttft", "tpot", "e2e", "output_tok_s")

MEASURED = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2e": "e2e_ms", "output_tok_s": "output_tok_s"}

BUCKETS = (("1-8", 0, 8), ("9-32", 8, 32), ("33-128", 32, 128), (">128", 128, np.inf))
"""Concurrency buckets of the signed error: (name, above, up to)."""

LIKE = ("use_model", "use_accelerator", "use_family", "use_weight", "isl", "osl")
"""What rows share among which ranks are compared."""

BIASED = 128
"""Concurrency up to which a limit on the signed error is stated."""

PEER_COLUMNS = ("id", "aic_ttft_ms", "aic_tpot_ms")
"""Columns of the peer's file."""

VERDICT = 25
"""Rows that a slice or a bucket needs for a verdict."""


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per slice and metric: rows, covered, borrowed, errors of the rows that count, the peer's on the rows that both predict.

    ``frame`` comes from `run.predictions` over `quality.judged` rows; duplicates and quarantined rows do not count. With the
    columns of `with_peer` the peer stands beside.
    """
    rows = with_e2e(frame)
    rows = rows.assign(slice=slice_names(rows))
    found: list[dict[str, Any]] = []
    for one in SLICES:
        part = rows[(rows["slice"] == one.name) & ~rows["duplicate"]]
        found += [_score(one, metric, part) for metric in METRICS if part[MEASURED[metric]].notna().any()]
    return pd.DataFrame(found)


def with_peer(rows: pd.DataFrame, peer: pd.DataFrame) -> pd.DataFrame:
    """Rows with ``peer_*`` columns, joined by ``note`` = ``id``."""
    if "note" not in rows:
        return rows
    table = peer.drop_duplicates("id").set_index("id")
    found = {name: rows["note"].map(table[f"aic_{name}"]) for name in ("ttft_ms", "tpot_ms")}
    return rows.assign(peer_ttft_ms=found["ttft_ms"], peer_tpot_ms=found["tpot_ms"])


def coverage(frame: pd.DataFrame) -> dict[str, float]:
    """Rows and covered share of closed-loop aggregated rows whose model is known; rows that say they speculate are left out."""
    clients = pd.to_numeric(frame["concurrency"], errors="coerce") if "concurrency" in frame else pd.Series(np.nan, index=frame.index)
    speculates = frame["multi_token_prediction"] == "yes" if "multi_token_prediction" in frame else pd.Series(data=False, index=frame.index)
    rows = frame[(frame["use_mode"] == "agg") & clients.notna() & (frame["use_model"] != "") & ~speculates]
    return {"rows": len(rows), "covered": _share(rows["covered"])}


def errors(rows: pd.DataFrame, metric: str, prefix: str = "pred_") -> pd.Series:
    """predicted/measured - 1 of each row, nan where either is missing."""
    return rows[f"{prefix}{MEASURED[metric]}"] / rows[MEASURED[metric]] - 1


def summary(error: pd.Series) -> dict[str, float]:
    """MdAPE, p90, MAPE and bias of errors; nan where there are none."""
    kept = error.dropna()
    size = kept.abs()
    if kept.empty:
        return dict.fromkeys(("mdape", "p90", "mape", "bias"), np.nan)
    return {"mdape": float(size.median()), "p90": float(size.quantile(0.9)), "mape": float(size.mean()), "bias": float(kept.median())}


def buckets(rows: pd.DataFrame, metric: str) -> dict[str, tuple[float, int]]:
    """Median signed error and row count by concurrency."""
    clients, error = pd.to_numeric(rows["concurrency"], errors="coerce"), errors(rows, metric)
    inside = {name: error[(clients > low) & (clients <= high)].dropna() for name, low, high in BUCKETS}
    return {name: (float(part.median()) if len(part) else np.nan, len(part)) for name, part in inside.items()}


class Miss(NamedTuple):
    """A stated limit that a slice breaks; ``bucket`` of concurrency where it holds in each."""

    slice: str
    metric: str
    statistic: str
    value: float
    limit: float
    bucket: str = ""

    def __str__(self) -> str:
        where = f" at concurrency {self.bucket}" if self.bucket else ""
        return f"{self.slice}: {self.metric} {self.statistic}{where} is {self.value:.3g}, the limit is {self.limit:g}"


def missed(scores: pd.DataFrame, slices: tuple[Slice, ...] = SLICES) -> list[Miss]:
    """The stated limits that the scores break; a slice or bucket of fewer than `VERDICT` rows has no verdict."""
    found: list[Miss] = []
    for one in slices if not scores.empty else ():
        part = {row["metric"]: row for row in scores[scores["slice"] == one.name].to_dict("records")}
        for figure, limit in one.limits:
            metric, _, statistic = figure.partition(":")
            row = part.get(metric)
            if row is not None and row["counted"] >= VERDICT:
                found += _broken(one, row, statistic or "mdape", limit)
    return found


def _broken(one: Slice, row: Mapping[Any, Any], statistic: str, limit: float) -> list[Miss]:
    """What breaks one limit in a row of scores: nothing, the figure, or one per bucket."""
    if statistic == "bias":
        judged = [bucket for bucket, low, _ in BUCKETS if low < BIASED and row[f"rows {bucket}"] >= VERDICT]
        return [Miss(one.name, row["metric"], "bias", row[f"bias {bucket}"], limit, bucket) for bucket in judged
                if abs(row[f"bias {bucket}"]) > limit]  # fmt: skip
    value = float(row[statistic])
    broken = value < limit if statistic == "spearman" else value > max(limit, float(row["rounding"]))
    return [Miss(one.name, row["metric"], statistic, value, limit)] if broken else []


def with_e2e(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with ``e2e_ms`` measured, predicted and the peer's made the same way, since files give TTFT and TPOT only."""
    gaps = frame["osl"] - 1
    columns = {name: pd.to_numeric(frame[name], errors="coerce") if name in frame else pd.Series(np.nan, index=frame.index)
               for name in ("ttft_ms", "tpot_ms", "output_tok_s", "total_tok_s", "concurrency")}  # fmt: skip
    found = frame.assign(**columns)
    sides = [side for side in ("", "pred_", "peer_") if f"{side}ttft_ms" in found]
    return found.assign(**{f"{side}e2e_ms": found[f"{side}ttft_ms"] + found[f"{side}tpot_ms"] * gaps for side in sides})


def _score(one: Slice, metric: str, part: pd.DataFrame) -> dict[str, Any]:
    measured = part[part[MEASURED[metric]].notna()]
    counted = measured[(measured["quarantine"] == "") & measured["covered"]]
    error = errors(counted, metric)
    supported = measured[measured["use_model"] != ""]
    found: dict[str, Any] = {
        "slice": one.name, "metric": metric, "rows": len(measured), "covered": _share(supported["covered"]),
        "borrowed": _share(counted["borrowed"]), "counted": int(error.notna().sum()), "rounding": _rounding(one, metric, counted),
    }  # fmt: skip
    found |= summary(error)
    found |= {"spearman": spearman(counted, metric), "spearman_within": spearman_within(counted, metric)}
    for name, (bias, count) in buckets(counted, metric).items():
        found |= {f"bias {name}": bias, f"rows {name}": count}
    set_apart = measured[(measured["quarantine"] != "") & measured["covered"]]
    found |= {"quarantined": len(set_apart), "quarantined_mdape": summary(errors(set_apart, metric))["mdape"]}
    return found | _beside(counted, metric)


def _share(column: pd.Series) -> float:
    return float(column.astype(float).mean()) if len(column) else np.nan


def _rounding(one: Slice, metric: str, counted: pd.DataFrame) -> float:
    """The relative error that rounding alone makes in tables of whole ms."""
    rounded = one.name.startswith("open_loop") and metric == "tpot" and len(counted) > 0
    return ROUNDING_MS / float(counted["tpot_ms"].median()) if rounded else 0.0


def _beside(counted: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Ours and the peer's errors on the rows that both predict."""
    column = f"peer_{MEASURED[metric]}"
    if column not in counted:
        return {}
    both = counted[counted[column].notna() & errors(counted, metric).notna()]
    ours, theirs = summary(errors(both, metric)), summary(errors(both, metric, "peer_"))
    return {
        "peer_rows": len(both),
        "ours_mdape": ours["mdape"],
        "peer_mdape": theirs["mdape"],
        "ours_p90": ours["p90"],
        "peer_p90": theirs["p90"],
    }


def spearman(rows: pd.DataFrame, metric: str) -> float:
    """Rank correlation of predicted and measured."""
    pairs = rows[[f"pred_{MEASURED[metric]}", MEASURED[metric]]].dropna()
    if len(pairs) < 4:
        return np.nan
    ranks = pairs.rank()
    return float(ranks.iloc[:, 0].corr(ranks.iloc[:, 1]))


def spearman_within(rows: pd.DataFrame, metric: str) -> float:
    """Median rank correlation over groups of like rows with at least four of them."""
    groups = [spearman(group, metric) for _, group in rows.groupby(list(LIKE)) if len(group) >= 4]
    kept = [value for value in groups if value == value]
    return float(np.median(kept)) if kept else np.nan
