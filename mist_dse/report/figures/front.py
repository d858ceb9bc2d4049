"""The front in the plane of two objectives, a third as colour, what it dominates behind it, and the limits as lines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.report.figures import palette
from mist_dse.report.figures.palette import plot_text
from mist_dse.report.goals import LimitLine
from mist_dse.report.run import Run
from mist_dse.report.shown import DOMINATED, FRONT, INFEASIBLE, SCREENED, shown_rows
from mist_dse.report.text import axis_title, design_label, metric_text, plain, short_name

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

WIDE = 20.0
"""Ratio of largest to smallest value from which an axis is logarithmic."""

_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    SCREENED: ("feasible by the screen", {"color": palette.GREY, "size": 4, "opacity": 0.25, "symbol": "circle-open"}),
    DOMINATED: ("feasible, dominated", {"color": palette.GREY, "size": 5, "opacity": 0.5}),
    INFEASIBLE: ("infeasible", {"color": palette.VERMILLION, "size": 8, "symbol": "x-thin-open", "line": {"width": 2}}),
    FRONT: ("front", {"color": palette.BLUE, "size": 10, "line": {"width": 1, "color": "#ffffff"}}),
}


def front_figure(run: Run, rows: "pd.DataFrame | None" = None) -> "Figure":
    """The front of a run; every point carries its row number as ``customdata`` and its design as hover text.

    ``rows`` as from `shown_rows`. One objective alone is drawn against the number of accelerators, or against its rank.
    """
    from plotly.graph_objects import Figure

    rows = shown_rows(run) if rows is None else rows
    x, y, colour = plane(run, rows)
    hover = hover_texts(run, rows)
    traces = [_points(rows, kind, (x, y), hover) for kind in (SCREENED, DOMINATED, INFEASIBLE, FRONT)]
    if colour:
        traces[-1]["marker"] |= _coloured(rows, colour)
    front = rows[rows["kind"] == FRONT]
    line = staircase(_column(front, x), _column(front, y), directions(run, x, y))
    traces.insert(
        3,
        {
            "type": "scatter",
            "mode": "lines",
            "name": "attained",
            "meta": "line",
            "x": line[0],
            "y": line[1],
            "hoverinfo": "skip",
            "showlegend": False,
            "line": {"color": palette.BLUE, "width": 1.5, "shape": "linear"},
        },
    )
    parts = {"x": axis_parts(run, rows, x), "y": axis_parts(run, rows, y)}
    layout = palette.plain_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 16, "b": 56},
        clickmode="event",
        dragmode="zoom",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=parts["x"]["axis"],
        yaxis=parts["y"]["axis"],
        shapes=parts["x"]["x"] + parts["y"]["y"],
    )
    return Figure({"data": [trace for trace in traces if trace["meta"] in ("line", FRONT) or trace["customdata"]], "layout": layout})


def plane(run: Run, rows: "pd.DataFrame") -> tuple[str, str, str | None]:
    """The metrics on the horizontal and vertical axis and in colour: the objectives in order."""
    names = [item.metric for item in run.objectives]
    if len(names) == 1:
        names = ["accelerators", names[0]] if "accelerators" in rows.columns and names[0] != "accelerators" else [names[0], names[0]]
    return names[0], names[1], names[2] if len(names) > 2 else None


def directions(run: Run, x: str, y: str) -> tuple[str, str]:
    """Which way is better on two axes; a metric that is no objective counts as ``min``."""
    known = {item.metric: item.direction for item in run.objectives}
    return known.get(x, "min"), known.get(y, "min")


def staircase(xs: Sequence[Any], ys: Sequence[Any], better: tuple[str, str]) -> tuple[list[float], list[float]]:
    """The edge of what the points attain, as corners of a step line; points that another beats in both axes are passed over.

    >>> staircase([1.0, 2.0, 3.0], [5.0, 6.0, 4.0], ("min", "min"))
    ([1.0, 3.0, 3.0], [5.0, 5.0, 4.0])
    """
    signs = [1.0 if way == "min" else -1.0 for way in better]
    pairs = sorted((signs[0] * x, signs[1] * y) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None)
    corners: list[tuple[float, float]] = []
    for x, y in pairs:
        if corners and y >= corners[-1][1]:
            continue
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    return [signs[0] * x for x, _ in corners], [signs[1] * y for _, y in corners]


def axis_parts(run: Run, rows: "pd.DataFrame", metric: str) -> dict[str, Any]:
    """What a metric brings to a plot: its axis, and its limits as lines for when it is horizontal (``x``) or vertical (``y``)."""
    stated = [limit for limit in run.limits if limit.drawn_on(metric)]
    values = [*_column(rows, metric), *(limit.value for limit in stated)]
    top = max((value for value in values if value is not None), default=0.0)
    return {
        "axis": axis(metric, values),
        "x": [_limit_shape(limit, "x", limit.value < top) for limit in stated],
        "y": [_limit_shape(limit, "y", limit.value < top) for limit in stated],
    }


def axis(metric: str, values: Sequence[Any]) -> dict[str, Any]:
    """An axis titled with the metric and its unit, logarithmic where its positive values span more than `WIDE`."""
    known = [value for value in values if value is not None]
    wide = bool(known) and min(known) > 0 and max(known) / min(known) > WIDE
    style = {
        "title": {"text": plot_text(axis_title(metric))},
        "type": "log" if wide else "linear",
        "automargin": True,
        "zeroline": False,
        "ticks": "outside",
    }
    return (
        style
        | ({"dtick": 1 if max(known) / min(known) > 1e3 else "D2", "minorloglabels": "complete"} if wide else {})
        | {"exponentformat": "SI"}
    )


def hover_texts(run: Run, rows: "pd.DataFrame") -> list[str]:
    """Per row the whole design: its label, its objectives with units, and each variable that the label does not spell out."""
    wanted = list(
        dict.fromkeys([item.metric for item in run.objectives] + [limit.metric for limit in run.limits if limit.metric in rows.columns])
    )
    return [_hover(record, run.columns.variables, wanted) for record in rows.to_dict("records")]


def _hover(record: Mapping[Any, Any], variables: Sequence[str], metrics: Sequence[str]) -> str:
    label = design_label(record, variables)
    spelt = [
        f"{short_name(name)} {plain(record.get(name))}"
        for name in variables
        if not name.startswith("pools.") and plain(record.get(name)) is not None
    ]
    lines = [f"<b>{plot_text(label)}</b>", *(f"{name} {plot_text(metric_text(name, record.get(name)))}" for name in metrics)]
    return "<br>".join(lines + [plot_text(text) for text in spelt if text not in label])


def _points(rows: "pd.DataFrame", kind: str, axes: tuple[str, str], hover: Sequence[str]) -> dict[str, Any]:
    name, marker = _LOOKS[kind]
    chosen = [index for index, value in enumerate(rows["kind"]) if value == kind]
    part = rows.iloc[chosen]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name} ({len(chosen):,})",
        "meta": kind,
        "x": _column(part, axes[0]),
        "y": _column(part, axes[1]),
        "customdata": chosen,
        "hovertext": [hover[index] for index in chosen],
        "hoverinfo": "text",
        "marker": dict(marker),
    }


def _coloured(rows: "pd.DataFrame", metric: str) -> dict[str, Any]:
    values = _column(rows[rows["kind"] == FRONT], metric)
    return {
        "color": values,
        "colorscale": palette.SCALE,
        "showscale": True,
        "colorbar": {"title": {"text": plot_text(axis_title(metric)), "side": "right"}},
    }


def _column(rows: "pd.DataFrame", metric: str) -> list[Any]:
    """Five significant digits: what a plot can show, and a third of the bytes."""
    values = [plain(value) for value in rows[metric]] if metric in rows.columns else [None] * len(rows)
    return [float(f"{value:.5g}") if isinstance(value, float) else value for value in values]


def _limit_shape(limit: LimitLine, along: str, beyond: bool) -> dict[str, Any]:
    """A line across the plot; its label stands beyond it where there is room, else before it."""
    other = "y" if along == "x" else "x"
    return {
        "type": "line",
        f"{along}ref": along,
        f"{other}ref": "paper",
        f"{along}0": limit.value,
        f"{along}1": limit.value,
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {"color": palette.VERMILLION, "width": 1.5, "dash": "dot" if limit.each else "dash"},
        "label": {
            "text": plot_text(limit.text),
            "textposition": "end",
            "font": {"color": palette.VERMILLION, "size": 12},
            "textangle": 0,
            "xanchor": "right" if along == "y" or not beyond else "left",
            "yanchor": "top" if along == "x" or not beyond else "bottom",
        },
    }
