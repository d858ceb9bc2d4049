"""Several runs side by side in one figure: each by a name, and their designs in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mist_dse.report.figures.palette import plot_text
from mist_dse.report.run import ReportError, Run
from mist_dse.report.text import design_label, metric_text

if TYPE_CHECKING:
    import pandas as pd


def named_runs(runs: Run | Sequence[Run] | Mapping[str, Run]) -> dict[str, Run]:
    """Runs by the names of a mapping, or by those of their folders; ``ReportError`` where there are none."""
    if isinstance(runs, Run):
        return {runs.path.name: runs}
    if isinstance(runs, Mapping):
        found = {str(name): run for name, run in runs.items()}
    else:
        last = [run.path.name for run in runs]
        found = {run.path.name if last.count(run.path.name) == 1 else str(run.path): run for run in runs}
    if not found:
        raise ReportError("no run to draw: give at least one, as from read_run")
    return found


def design_texts(run: Run, rows: "pd.DataFrame", metrics: Sequence[str]) -> list[str]:
    """Per row its design and its ``metrics`` with units, as hover text."""
    found = []
    for record in rows.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        label = f"<b>{plot_text(design_label(row, run.columns.variables))}</b>"
        found.append("<br>".join([label, *(f"{metric} {plot_text(metric_text(metric, row[metric]))}" for metric in metrics)]))
    return found
