"""What a run stored of the designs on its front beside their metrics (``details.json``), and their neighbours, for a page and notebooks."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mist_dse.report.neighbours import Neighbour, neighbours
from mist_dse.report.run import Run
from mist_dse.report.shown import FRONT, INFEASIBLE

if TYPE_CHECKING:
    import pandas as pd

NAME = "details.json"

MOST = 200
"""Rows whose neighbours among all results stand on a page; those of the others are looked for among the rows of the page."""

OPERATOR = ("name", "step", "dtype", "flop", "bytes", "seconds", "share")
"""What a page holds of an operator, in this order."""

VERSION = 1
"""Of the file; what another version wrote is left out."""


def stored_details(run: Run) -> dict[str, dict[str, Any]]:
    """Details by design id: ``stages``, ``pools`` (steps, operators, peaks, use), ``links``, ``intervals``, ``charges``, ``sources``.

    Empty where the run stored none: it is of an earlier version, still runs, or its file cannot be read.
    """
    path = run.path / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    if not isinstance(data, Mapping) or data.get("version") != VERSION or not isinstance(data.get("designs"), Mapping):
        return {}
    return {str(key): dict(item) for key, item in data["designs"].items() if isinstance(item, Mapping)}


def details_payload(run: Run, rows: "pd.DataFrame") -> dict[str, Any]:
    """Details by row number of ``rows``, ``intervals`` by metric; ``sources`` once each, ``note``: why some rows have none."""
    if not len(rows):
        return {"note": missing(run), "sources": []}
    stored = stored_details(run)
    keys = [str(key) for key in rows["design_id"]]
    place = {key: number for number, key in reversed([*enumerate(keys)])}
    shown = [number for number, kind in enumerate(rows["kind"]) if kind in (FRONT, INFEASIBLE)][:MOST]
    around = neighbours(run, [keys[number] for number in shown])
    sources: list[Any] = []
    found: dict[str, Any] = {"note": missing(run), "sources": sources}
    for number, key in enumerate(keys):
        detail = _shared(stored[key], sources) if key in stored else {}
        if number in shown and key in around:
            detail["neighbours"] = [_packed(item, place) for item in around[key]]
        if detail:
            found[str(number)] = detail
    return found


def missing(run: Run) -> str:
    """How a reader gets the details that a run lacks, in one line."""
    if not run.complete:
        return "Stored when the search ends: make the report again then."
    if not len(run.front):
        return "Stored for designs on the front; this run has none."
    return (
        f"Stored for the first {MOST} designs of the front when a search ends. A run without them gets them by "
        f"mist-dse sweep resume={run.path.resolve().name}, which simulates nothing twice; then make the report again."
    )


def _shared(detail: Mapping[str, Any], sources: list[Any]) -> dict[str, Any]:
    """A detail as a page has it: sources by their number, operators as lists, intervals apart from what they rest on."""
    mine = {**detail.get("sources", {}), "pools": {name: pool["provenance"] for name, pool in detail["pools"].items()}}
    if mine not in sources:
        sources.append(mine)
    intervals = detail.get("intervals") or {}
    basis = {name: value for name, value in intervals.items() if name != "metrics"}
    pools = {
        name: {key: value for key, value in pool.items() if key != "provenance"}
        | {"operators": [[item[key] for key in OPERATOR] for item in pool["operators"]]}
        for name, pool in detail["pools"].items()
    }
    return {**detail, "pools": pools, "sources": sources.index(mine), "intervals": intervals.get("metrics", {}), "basis": basis}


def _packed(item: Neighbour, place: Mapping[str, int]) -> dict[str, Any]:
    row = place.get(item.design_id, -1)
    return {"row": row, "variable": item.variable, "before": item.before, "after": item.after,
            "values": [None if value is None else float(f"{value:.5g}") for value in item.values],
            "violations": item.violations}  # fmt: skip
