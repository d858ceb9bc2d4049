"""What-if slices: the best value of an objective along one variable, a line per value of a second one, everything else at its best.

Drawn from designs that were simulated or screened; a gap is where there is none that is feasible.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.metrics import METRICS
from mist_dse.report.figures import palette
from mist_dse.report.figures.front import axis
from mist_dse.report.run import ReportError, Run, column_kinds
from mist_dse.report.text import axis_title, design_label, metric_text, plain, short_name

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from mist_dse.explore.screens.screening import ScreenTable

UNITS: Mapping[str, str] = {
    "replicas": "engines", "tp": "devices", "pp": "stages", "dp": "engines", "ep": "devices", "cp": "devices",
    "max_num_seqs": "sequences", "max_num_batched_tokens": "tokens",
}  # fmt: skip
"""What a variable counts, by the last word of its name; others are names and plain numbers."""


def slices_figure(table: "Run | ScreenTable | pd.DataFrame", x: str, y: str, *, by: str | None = None,
                  only: Mapping[str, Any] | None = None) -> "Figure":  # fmt: skip
    """The best ``y`` (a metric) among the feasible designs of each value of ``x``, a line per value of ``by`` (both variables).

    ``table``: a run (its front's fidelity), rows of results, or a screened space; ``only``: variables held at one value.
    ``ReportError`` for a name that the table lacks and where nothing feasible is left.
    """
    from plotly.graph_objects import Figure

    rows = best_rows(_frame(table, [name for name in (x, by, *(only or {})) if name], y), x, y, by=by, only=only)
    ticks = _in_order(rows[x])
    kinds = _in_order(rows[by]) if by else [None]
    traces = [_line(index, rows if by is None else rows[rows[by] == kind], (x, y, by), ticks) for index, kind in enumerate(kinds)]
    better = METRICS[y].direction
    layout = palette.paper_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        legend=palette.legend_above() | ({"title": {"text": palette.plot_text(_title(by)), "side": "top"}} if by else {}),
        showlegend=by is not None,
        xaxis=_across(x, ticks),
        yaxis=axis(y, rows[y].tolist())
        | {"title": {"text": palette.plot_text(f"{'least' if better == 'min' else 'most'} {axis_title(y)}")}},
    )
    return Figure({"data": traces, "layout": layout})


def best_rows(frame: "pd.DataFrame", x: str, y: str, *, by: str | None = None, only: Mapping[str, Any] | None = None) -> "pd.DataFrame":
    """The feasible row that is best in ``y`` for each value of ``x`` and of ``by``, in their order."""
    if y not in METRICS:
        raise ReportError(f"y={y}: must be a metric, such as {', '.join(name for name in METRICS if name in frame.columns)[:80]}")
    for name in (x, y, *([by] if by else []), *(only or {})):
        if name not in frame.columns:
            raise ReportError(f"{name}: no such column; the table has {', '.join(map(str, frame.columns))[:400]}")
    rows = frame[frame["feasible"].eq(True)]
    for name, value in (only or {}).items():
        rows = rows[rows[name].eq(value)]
    rows = rows.dropna(subset=[name for name in (x, by, y) if name])
    if not len(rows):
        held = f" with {', '.join(f'{name}={value}' for name, value in (only or {}).items())}" if only else ""
        raise ReportError(f"{x}: no feasible design{held} has a value of it and of {y}")
    groups = [name for name in (x, by) if name]
    ordered = rows.sort_values(y, ascending=METRICS[y].direction == "min", kind="stable")
    return ordered.drop_duplicates(groups).sort_values(groups, kind="stable")


def _frame(table: "Run | ScreenTable | pd.DataFrame", variables: Sequence[str], metric: str) -> "pd.DataFrame":
    """The table as rows; of a screened space the columns asked for alone."""
    import pandas as pd

    from mist_dse.explore.screens.screening import ScreenTable

    if isinstance(table, Run):
        return table.results[table.results["fidelity"].astype(str) == table.fidelity]
    if not isinstance(table, ScreenTable):
        return table
    if metric not in table.metrics:
        raise ReportError(f"y={metric}: the screen was not asked for it; it has {', '.join(table.metrics)}")
    columns = table.table.columns(variables, 0, len(table))
    return pd.DataFrame({**columns, metric: table.metrics[metric], "feasible": table.feasible})


def _line(index: int, rows: "pd.DataFrame", names: tuple[str, str, str | None], ticks: Sequence[Any]) -> dict[str, Any]:
    """One line over all ``ticks``, broken where there is no design."""
    x, y, by = names
    variables = column_kinds([str(name) for name in rows.columns if name != "feasible"]).variables
    found = {row[x]: row for row in rows.to_dict("records")}
    kept = [found.get(tick) for tick in ticks]
    said = [None if row is None else _hover(row, variables, y) for row in kept]
    names_along = any(isinstance(plain(tick), str | bool) for tick in ticks)
    return {
        "type": "scatter",
        "mode": "markers" if names_along else "lines+markers",
        "name": "" if by is None else palette.plot_text(_value(rows[by].iloc[0])),
        "meta": "slice",
        "x": [_value(tick) if isinstance(plain(tick), str | bool) else plain(tick) for tick in ticks],
        "y": [None if row is None else row[y] for row in kept],
        "hovertext": said,
        "hoverinfo": "text",
        "connectgaps": False,
        "line": palette.line_style(index),
        "marker": palette.point_style(index, 9) | {"symbol": palette.SYMBOLS[index % len(palette.SYMBOLS)]},
    }


def _hover(row: Mapping[Any, Any], variables: Sequence[str], y: str) -> str:
    label = design_label(row, variables)
    return f"<b>{palette.plot_text(label)}</b><br>{y} {palette.plot_text(metric_text(y, row[y]))}"


def _in_order(column: Any) -> list[Any]:
    """The distinct values, numbers by size and names by the alphabet."""
    return sorted(column.drop_duplicates().tolist(), key=lambda value: (isinstance(value, str), value))


def _value(value: Any) -> str:
    return str(plain(value))


def _title(variable: str) -> str:
    unit = UNITS.get(variable.rsplit(".", 1)[-1], "")
    return f"{short_name(variable)} ({unit})" if unit else short_name(variable)


def _across(x: str, ticks: Sequence[Any]) -> dict[str, Any]:
    """The axis of a variable: names side by side, numbers at their values, on a log axis where each is about a multiple of the last."""
    numbers = [value for tick in ticks if not isinstance(value := plain(tick), str | bool)]
    titled = palette.plain_axis(_title(x), exponentformat="none")
    if len(numbers) < len(ticks):
        return titled | {"type": "category"}
    wide = len(ticks) > 2 and min(numbers) > 0 and (max(numbers) / min(numbers)) ** (1 / (len(ticks) - 1)) >= 1.8
    few = {"tickvals": numbers, "ticktext": [f"{number:,}" for number in numbers]} if len(numbers) <= 16 else {}
    return titled | ({"type": "log"} if wide else {}) | few
