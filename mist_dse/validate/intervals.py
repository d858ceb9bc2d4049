"""Intervals beside the predictions of a file, and the share of measurements that lies inside.

The residuals come from the file itself where it has enough held-out rows (those of the test part), else from the package;
either way a row's own fold is left out of its interval.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.validate.residuals import GRADES, KEYS, METRICS, Interval, Residuals, Subject, fold_of, packaged, residuals_of
from mist_dse.validate.score import MEASURED, errors, with_e2e
from mist_dse.validate.slices import REGIMES, slice_names

ENOUGH = 400
"""Held-out rows of a file that make residuals of their own."""


def residual_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The residuals of judged predictions: of held-out rows that count, one row each with `KEYS`, ``fold`` and the metrics."""
    rows = _counted(frame[frame["part"] == "test"])
    rows = rows[rows["regime"] != ""]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {metric: -np.log1p(errors(rows, metric)).replace([np.inf, -np.inf], np.nan) for metric in METRICS}
    named = {"family": "use_family", "accelerator": "use_accelerator", "kind": "kind", "regime": "regime", "fold": "fold"}
    found = pd.DataFrame({name: rows[column] for name, column in named.items()} | values)
    return found.dropna(subset=list(METRICS), how="all").reset_index(drop=True)


def write_residuals(frame: pd.DataFrame, target: Path) -> int:
    """Write the residuals of judged predictions as the package holds them; the number of rows."""
    rows = residual_rows(frame).sort_values([*KEYS, "fold"], kind="stable")
    rows.to_csv(target, index=False, float_format="%.4f")
    return len(rows)


def residuals(frame: pd.DataFrame) -> Residuals:
    """The residuals to use for ``frame``: its own where it has `ENOUGH` held-out rows, else the packaged ones."""
    own = residual_rows(frame)
    return residuals_of(own.to_dict("records")) if len(own) >= ENOUGH else packaged()  # type: ignore[arg-type]


def with_intervals(frame: pd.DataFrame, table: Residuals) -> pd.DataFrame:
    """``frame`` with ``low_*`` and ``high_*`` beside each ``pred_*`` of the metrics."""
    rows = _regimes(with_e2e(frame))
    graded = rows["grade"] if "grade" in rows else pd.Series(GRADES[0], index=rows.index)
    subjects = list(zip(rows["use_family"], rows["use_accelerator"], rows["kind"], rows["regime"], graded, strict=True))
    columns: dict[str, Any] = {}
    for metric in METRICS:
        known: dict[Any, Interval | None] = {}
        for key in set(zip(subjects, rows["fold"], strict=True)):
            known[key] = table.interval(Subject(*key[0]), metric, without=int(key[1])) if key[0][3] and key[0][4] else None
        each = [known[key] for key in zip(subjects, rows["fold"], strict=True)]
        for side in ("low", "high"):
            factor = np.array([np.nan if found is None else getattr(found, side) for found in each])
            columns[f"{side}_{MEASURED[metric]}"] = rows[f"pred_{MEASURED[metric]}"] * factor
    return frame.assign(**columns)


def contained(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of measurements inside their intervals, by slice and metric, for rows of `with_intervals`."""
    rows = _counted(frame)
    found = []
    for name in (name for name in REGIMES if (rows["slice"] == name).any()):
        part = rows[rows["slice"] == name]
        for metric in METRICS:
            low, high, value = (part[f"{prefix}{MEASURED[metric]}"] for prefix in ("low_", "high_", ""))
            known = low.notna() & value.notna()
            if known.any():
                inside = (value >= low) & (value <= high)
                found.append({"slice": name, "metric": metric, "rows": int(known.sum()), "contained": float(inside[known].mean())})
    return pd.DataFrame(found, columns=["slice", "metric", "rows", "contained"])


def _counted(frame: pd.DataFrame) -> pd.DataFrame:
    rows = _regimes(with_e2e(frame))
    return rows[rows["covered"] & ~rows["duplicate"] & (rows["quarantine"] == "")]


def _regimes(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with their slice, regime and fold."""
    names = slice_names(rows)
    return rows.assign(slice=names, regime=names.map(REGIMES).fillna(""), fold=[fold_of(name) for name in rows["configuration"]])
