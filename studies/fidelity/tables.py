"""Tables of the study: errors by layer and what each removes, transfer, decisions, bias and ranks."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from mist_dse.validate.decision import decision_error
from mist_dse.validate.kinds import KINDS
from mist_dse.validate.residuals import UNKNOWN_ENGINE, WIDENING
from mist_dse.validate.score import BUCKETS, buckets, errors, spearman, summary, with_e2e

METRICS = ("tpot", "ttft", "e2e")
TRANSFER = {"generic": (0.09, 0.15), "left out": (0.12, 0.25)}
"""Targets of TPOT and TTFT on dense rows, by how the name of a way begins."""


def by_kind(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """MdAPE and p90 in per cent of each way on the rows that all ways cover, by kind of model."""
    common = np.logical_and.reduce([frame["covered"] for frame in found.values()])
    table = []
    for way, frame in found.items():
        rows = with_e2e(frame[common])
        for kind in KINDS:
            part = rows[rows["kind"] == kind]
            each = {metric: summary(errors(part, metric)) for metric in METRICS}
            figures = {
                f"{metric} {name}": 100 * each[metric][key] for metric in METRICS for name, key in (("MdAPE", "mdape"), ("p90", "p90"))
            }
            table.append({"way": way, "kind": kind, "rows": len(part)} | figures)
    return pd.DataFrame(table)


def removed(table: pd.DataFrame, chain: tuple[str, ...]) -> pd.DataFrame:
    """Points of MdAPE that each way of ``chain`` removes from the way before it."""
    columns = [f"{metric} MdAPE" for metric in METRICS]
    wide = table.set_index(["way", "kind"])[columns]
    steps = [(-(wide.loc[after] - wide.loc[before])).assign(layer=after) for before, after in pairwise(chain)]
    return pd.concat(steps).reset_index()[["layer", "kind", *columns]]


def missing(table: pd.DataFrame, full: str, without: Mapping[str, str]) -> pd.DataFrame:
    """Points of MdAPE that come back when one layer alone is left out of the full model; ``without``: way by layer."""
    wide = table.set_index(["way", "kind"])[[f"{metric} MdAPE" for metric in METRICS]]
    steps = [(wide.loc[way] - wide.loc[full]).assign(layer=layer) for layer, way in without.items()]
    return pd.concat(steps).reset_index()[["layer", "kind", *wide.columns]]


def transfer(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Errors on dense rows by way and accelerator, and how much wider the middle 80% of residuals is than that of the first way."""
    table, first = [], next(iter(found))
    for way, frame in found.items():
        for name in ("all", *sorted(frame["use_accelerator"].unique())):
            part, own = (with_e2e(rows[(rows["kind"] == "dense") & ((name == "all") | (rows["use_accelerator"] == name))])
                         for rows in (frame, found[first]))  # fmt: skip
            figures = {f"{metric} {key}": 100 * summary(errors(part, metric))[key] for metric in METRICS for key in ("mdape", "p90")}
            wider = {f"{metric} width": _width(part, metric) / _width(own, metric) for metric in METRICS}
            table.append({"way": way, "accelerator": name, "rows": len(part)} | figures | wider)
    return pd.DataFrame(table)


def _width(rows: pd.DataFrame, metric: str) -> float:
    low, high = np.log1p(errors(rows, metric)).quantile([0.1, 0.9])
    return float(high - low)


def claims(frame: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """What is stated of these rows beside medians: target and figure."""
    dense, picks = with_e2e(frame[frame["kind"] == "dense"]), decision_error(frame)
    table = [("picks under a TPOT limit: truly feasible", ">= 0.93", picks.feasible, picks.picks),
             ("picks: within 3% of the limit", "", picks.nearly_feasible, picks.picks),
             ("picks: share of the best throughput, median", ">= 0.98", picks.median_reached, picks.picks),
             ("dense: Spearman of E2E", ">= 0.98", spearman(dense, "e2e"), len(dense))]  # fmt: skip
    for name, (bias, rows) in buckets(dense, "ttft").items():
        held = name in [bucket for bucket, low, _ in BUCKETS if low < 128]
        table.append((f"dense: median signed TTFT error at concurrency {name}", "within 0.10" if held else "", bias, rows))
    table += list(_widths(moved))
    for row in moved[moved["accelerator"] == "all"].to_dict("records"):
        limits = next((limits for start, limits in TRANSFER.items() if row["way"].startswith(start)), None)
        for metric, limit in zip(("tpot", "ttft"), limits or (), strict=False):
            table.append((f"{row['way']}: dense {metric.upper()}", f"<= {limit:.2f}", row[f"{metric} mdape"] / 100, row["rows"]))
    return pd.DataFrame(table, columns=["claim", "target", "found", "rows"])


def _widths(moved: pd.DataFrame) -> Iterator[tuple[str, str, float, int]]:
    """How much wider residuals are with constants from elsewhere, beside what intervals are widened by."""
    stated = {"other": WIDENING["fitted"], "left out: class defaults, the other": WIDENING["class default"], "generic": UNKNOWN_ENGINE}
    for start, width in stated.items():
        rows = moved[moved["way"].str.startswith(start) & (moved["accelerator"] != "all")]
        found = float(np.exp(np.log(rows[[f"{metric} width" for metric in METRICS]]).mean(axis=None)))
        yield (
            f"width of the middle 80% over that with own constants: {rows['way'].iloc[0]}",
            f"{width:g} taken",
            found,
            int(rows["rows"].sum()),
        )


def markdown(table: pd.DataFrame, digits: int = 1) -> str:
    """A Markdown table."""

    def cell(value: object) -> str:
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    lines = [list(table.columns), ["---"] * len(table.columns), *([cell(value) for value in row] for row in table.itertuples(index=False))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
