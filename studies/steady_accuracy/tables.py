"""Errors of `steady` by load, ranks, and the designs whose backlog grew although their demand does not say so."""

import numpy as np
import pandas as pd

EDGES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 1.15, 2.0)
TARGETS = {"tpot_mean": (2, 2, 2, 2), "e2e_mean": (4, 4, 4, 4), "ttft_p90": (6, 10, 20, 30)}
"""Largest median absolute error (%) in the first four ranges of load."""

BAND = (0.95, 1.15)
GROWTH = 0.01
"""Requests added to the backlog per arrival, beyond which it counts as growing: 100 in a run of 10,000."""


def by_load(found: pd.DataFrame, names: tuple[str, ...], *, gated: bool = True) -> str:
    """Median absolute error, median error, 90th percentile of the absolute error (%) by load; targets and misses where ``gated``."""
    ranges = pd.cut(found["rho"], EDGES)
    lines = ["| load | designs | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for place, (load, rows) in enumerate(found.groupby(ranges, observed=True)):
        cells = [_cell(rows, name, TARGETS[name][place] if gated and name in TARGETS and place < 4 else None) for name in names]
        lines.append(f"| {load.left:g} to {load.right:g} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame, name: str, target: float | None) -> str:
    error = 100 * (rows[f"steady {name}"] / rows[f"simulated {name}"] - 1)
    middle = float(error.abs().median())
    asked = "" if target is None else f" (<= {target}{'' if middle <= target else ', MISSED'})"
    return f"{middle:.1f}{asked}, {error.median():+.1f}, {error.abs().quantile(0.9):.0f}"


def ranks(found: pd.DataFrame) -> str:
    """Spearman's rank correlation of both fidelities up to load 0.9, for each trace and for all."""
    below = found[found["rho"] < 0.9]
    parts = {"all": below, **dict(list(below.groupby("trace")))}
    lines = ["| trace | designs | ttft_p90 | tpot_mean | e2e_mean |", "|---|---|---|---|---|"]
    for trace, rows in parts.items():
        cells = [f"{_spearman(rows, name):.4f}" for name in ("ttft_p90", "tpot_mean", "e2e_mean")]
        lines.append(f"| {trace} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spearman(rows: pd.DataFrame, name: str) -> float:
    return float(rows[f"steady {name}"].rank().corr(rows[f"simulated {name}"].rank()))


def stability(found: pd.DataFrame) -> str:
    """How often the verdicts of both fidelities differ outside the band, and whose backlog grew below it."""
    outside = found[(found["rho"] < BAND[0]) | (found["rho"] > BAND[1])]
    differ = int((outside["steady saturated"] != outside["simulated saturated"]).sum())
    below = found[found["rho"] < BAND[0]]
    grew = below[below["grew"].eq(True) & (below["growth"] > GROWTH)]
    lines = [
        f"False stable by the verdict, outside demand {BAND[0]} to {BAND[1]}: {differ} of {len(outside)}.",
        f"Backlog grew by more than {GROWTH:.0%} of arrivals below demand {BAND[0]}: {len(grew)} of {len(below)}.",
    ]
    return "\n".join([*lines, "", *(_told(row) for _, row in grew.iterrows())])


def _told(row: pd.Series) -> str:
    where = f"{row['family']} {row['trace']} design {row['index']} ({row['pools']} pools), demand {row['rho']:.2f} of {row['bottleneck']}"
    return f"* {where}: {row['growth']:.1%} of arrivals; mean TTFT {_seconds(row, 'simulated')}, steady {_seconds(row, 'steady')}"


def _seconds(row: pd.Series, fidelity: str) -> str:
    return f"{np.round(row[f'{fidelity} ttft_mean'], 3):g} s"
