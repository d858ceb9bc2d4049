"""A run folder as it is read back: results, front, manifest and resolved configuration, whole or still being written.

A folder without ``results.parquet`` is read from ``parts/*.parquet`` (whole parts only: the writer renames them into place),
and a folder without ``front.parquet`` gets its front from the stored objectives. Nothing is evaluated again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mist_dse.explore.front import front_mask
from mist_dse.metrics import METRICS, Objective, parse_objective
from mist_dse.report.goals import LimitLine, limits, objectives
from mist_dse.specs.evaluation import FIDELITIES

if TYPE_CHECKING:
    import pandas as pd

BOOKKEEPING = ("design_id", "fidelity", "seed", "feasible", "violation", "violations", "bottleneck", "completed", "rejected", "unfinished",
               "same_as")  # fmt: skip
"""Columns of the results that are neither a variable nor a metric; so is every name with a slash except breakdown and pool."""


class ReportError(ValueError):
    """The folder cannot be reported on: one line that names the file and the way out."""


class Columns(NamedTuple):
    """The columns of the results by what they mean, in their stored order; ``breakdown``: (stage, cause), ``pools``: (pool, quantity)."""

    variables: tuple[str, ...]
    metrics: tuple[str, ...]
    breakdown: tuple[tuple[str, str], ...]
    pools: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder holds. ``complete``: the search has ended and wrote its front; ``fidelity``: the one that the front is drawn at."""

    path: Path
    results: "pd.DataFrame"
    front: "pd.DataFrame"
    manifest: Mapping[str, Any]
    resolved: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    limits: tuple[LimitLine, ...]
    columns: Columns
    fidelity: str
    complete: bool


def read_run(folder: Path | str) -> Run:
    """The run in ``folder``; ``ReportError`` where it holds no results."""
    path = Path(folder)
    manifest, resolved = _json(path / "manifest.json"), _yaml(path / "resolved.yaml")
    complete = manifest.get("status") != "running" and (path / "front.parquet").is_file()
    results = _results(path, complete)
    columns = column_kinds(list(results.columns))
    wanted = tuple(item for item in objectives(manifest, resolved) if item.metric in results.columns)
    lost = [item.metric for item in objectives(manifest, resolved) if item.metric not in results.columns]
    if wanted and lost:
        raise ReportError(f"{path}: results hold no column {lost[0]}, an objective of the run; they are not those of its manifest.json")
    wanted = wanted or tuple(parse_objective(name) for name in ("usd_per_mtok", "ttft_p90") if name in columns.metrics)
    if len(wanted) < 1:
        raise ReportError(f"{path}: names no objective that its results hold; expected 'objectives' in manifest.json or resolved.yaml")
    fidelity = _finest(results)
    front = _frame(path / "front.parquet") if complete else non_dominated(results[results["fidelity"] == fidelity], wanted)
    return Run(path=path, results=results, front=front.reset_index(drop=True), manifest=manifest, resolved=resolved, objectives=wanted,
               limits=limits(manifest, resolved), columns=columns, fidelity=fidelity, complete=complete)  # fmt: skip


def column_kinds(names: list[str]) -> Columns:
    """Sort column names into variables, metrics, breakdown and pools.

    >>> column_kinds(["design_id", "placement", "breakdown/decode/attention", "pool/prefill/utilisation"])[2:]
    ((('decode', 'attention'),), (('prefill', 'utilisation'),))
    """
    split = [(name, name.split("/", 2)) for name in names]
    breakdown = tuple((part[1], part[2]) for _, part in split if len(part) == 3 and part[0] == "breakdown")
    pools = tuple((part[1], part[2]) for _, part in split if len(part) == 3 and part[0] == "pool")
    plain = [name for name in names if "/" not in name and name not in BOOKKEEPING]
    return Columns(tuple(name for name in plain if name not in METRICS), tuple(name for name in plain if name in METRICS), breakdown, pools)


def non_dominated(results: "pd.DataFrame", wanted: tuple[Objective, ...]) -> "pd.DataFrame":
    """The feasible rows that no other feasible row beats in every objective; equal points are kept once, rows without a value never."""
    names = [item.metric for item in wanted]
    able = results[results["feasible"].astype(bool)].dropna(subset=names)
    signs = [1.0 if item.direction == "min" else -1.0 for item in wanted]
    return able[front_mask(able[names].to_numpy(dtype=float) * signs)].sort_values(names[0])


def _results(path: Path, complete: bool) -> "pd.DataFrame":
    """The table of a run that has ended, else its parts, which are ahead of a table that an earlier search left."""
    import pandas as pd

    whole, parts = path / "results.parquet", sorted((path / "parts").glob("*.parquet"))
    frames = [_frame(part) for part in (parts if parts and not complete else [whole] if whole.is_file() else parts)]
    if not frames:
        raise ReportError(f"{path}: no results.parquet and no parts/*.parquet; name the folder that 'mist-dse sweep' wrote")
    results = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    missing = [name for name in ("design_id", "fidelity", "feasible") if name not in results.columns]
    if missing or results.empty:
        raise ReportError(f"{path}: results hold no {'column ' + missing[0] if missing else 'row yet; try again once a part is written'}")
    return results.assign(feasible=results["feasible"].eq(True))


def _frame(path: Path) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ReportError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    return frame.assign(**{name: _numbers(frame[name]) for name in frame.columns if name in METRICS})


def _numbers(column: Any) -> Any:
    """A column of floats where None and infinities (a saturated design has no latency) are NaN."""
    import numpy as np
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def _finest(results: "pd.DataFrame") -> str:
    present = set(results["fidelity"].astype(str))
    return next((name for name in reversed(FIDELITIES) if name in present), str(results["fidelity"].iloc[0]))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ReportError(f"{path}: not JSON ({error})") from None
    return data if isinstance(data, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except yaml.YAMLError as error:
        raise ReportError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    return data if isinstance(data, dict) else {}
