"""``mist-dse diff A B``: what differs between two runs. Exit status as of ``diff``: 0 the same, 1 different, 2 bad input."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET
from mist_dse.app.output import csv_text, format_of, json_text, show, table_text
from mist_dse.app.searched import run_of
from mist_dse.explore.reviews.difference import Change, Difference, Moved, Mover, Recorded, difference
from mist_dse.report.run import Run
from mist_dse.report.text import design_label

LONGEST = 60
"""Characters of a value that a table shows."""


def status(job: Job) -> int:
    """Compare and show; 1 where anything that counts differs."""
    form = format_of(job.config)
    a, b = (run_of(job.config[name], name) for name in ("a", "b"))
    found = difference(*(Recorded(run.results, run.front, run.manifest, run.resolved, run.objectives) for run in (a, b)))
    labels = {**_labels(b), **_labels(a)}
    movers = [_mover(item, side, labels) for side, items in (("gone", found.gone), ("new", found.new)) for item in items]
    texts = {"json": lambda: _json(found, movers), "csv": lambda: csv_text(movers), "table": lambda: _table(found, movers, (a, b))}
    show(texts[form]())
    return DONE if found.same else UNMET


def _labels(run: Run) -> dict[str, str]:
    rows = run.results.reindex(columns=["design_id", *run.columns.variables]).to_dict("records")
    return {str(row["design_id"]): design_label({str(k): v for k, v in row.items()}, run.columns.variables) for row in rows}


def _mover(item: Mover, side: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"front": side, "design_id": item.design_id, "design": labels.get(item.design_id, ""), "cause": item.cause, "why": item.why}


def _json(found: Difference, movers: Sequence[Mapping[str, Any]]) -> str:
    plain = asdict(found) | {
        "same": found.same,
        "asked": [item._asdict() for item in found.asked],
        "moved": [item._asdict() for item in found.moved],
        "gone": [row for row in movers if row["front"] == "gone"],
        "new": [row for row in movers if row["front"] == "new"],
        "hypervolume": dict(zip("ab", found.hypervolume, strict=True)) if found.hypervolume else None,
    }
    return json_text(plain)


def _table(found: Difference, movers: Sequence[Mapping[str, Any]], runs: tuple[Run, Run]) -> str:
    counts, names = found.designs, [str(run.path) for run in runs]
    volumes = "" if found.hypervolume is None else f", hypervolume {found.hypervolume[0]:.4f} and {found.hypervolume[1]:.4f} of their box"
    blocks = [table_text([("a", names[0]), ("b", names[1])])]
    if found.same:
        blocks.append("the same question, designs, metrics and front")
    if found.asked:
        blocks.append(table_text([_change(item) for item in found.asked], title="asked", header=("", "a", "b")))
    only = [counts[name] - counts["both"] for name in "ab"]
    alone = f"{only[0]:,} only in a, {only[1]:,} only in b; {len(found.verdicts):,} feasible in one only"
    blocks.append(f"designs  {counts['both']:,} in both, {alone}")
    if found.moved:
        header = ("metric, b against a", "changed", "median", "largest", "of design")
        blocks.append(table_text([_moved(item) for item in found.moved], header=header, numbers=(1, 2, 3)))
    blocks.append(f"front    {len(found.front):,} kept, {len(found.gone):,} gone, {len(found.new):,} new{volumes}")
    if movers:
        blocks.append(table_text([(row["front"], row["design_id"], row["design"], row["why"]) for row in movers]))
    return "\n".join(blocks)


def _change(item: Change) -> tuple[str, str, str]:
    shown = ["" if value is None else str(value) for value in (item.a, item.b)]
    return item.key, *(text if len(text) <= LONGEST else text[: LONGEST - 3] + "..." for text in shown)  # type: ignore[return-value]


def _moved(item: Moved) -> tuple[str, ...]:
    ends = ["" if value is None else f"{value:+.2%}" for value in (item.median, item.largest)]
    return item.metric, f"{item.changed:,}", *ends, item.design_id
