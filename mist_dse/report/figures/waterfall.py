"""The way of a mean request from its arrival to its last token: each stage and cause begins where the one before it ends."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mist_dse.report.figures import palette
from mist_dse.report.figures.breakdown import waiting_first
from mist_dse.report.figures.palette import plain_axis, plot_text
from mist_dse.report.text import value_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FLOW = ("prefill", "handoff", "decode")
"""How stages follow each other where nothing says so; others come before them."""


def waterfall_figure(
    breakdown: Mapping[str, Mapping[str, float | None]], *, causes: Sequence[str] = (), stages: Sequence[str] = ()
) -> "Figure":
    """Stages down, seconds since the arrival across, one colour per cause, which is also each trace's ``meta``.

    ``breakdown``: mean seconds by stage and cause (`Evaluation.breakdown`, or the ``breakdown/`` columns of a row); ``stages``: their
    order of service, as the details of a run name it. ``causes`` fixes the order of causes within a stage, and so their colours.
    """
    from plotly.graph_objects import Figure

    rows = ordered(breakdown, stages)
    order = list(dict.fromkeys([*causes, *sorted((cause for stage in rows for cause in breakdown[stage]), key=waiting_first)]))
    begun, total = starts(breakdown, rows, order)
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plot_text(cause),
            "meta": cause,
            "y": [plot_text(stage) for stage in rows],
            "customdata": rows,
            "x": [breakdown[stage].get(cause) or 0.0 for stage in rows],
            "base": [begun[stage, cause] for stage in rows],
            "marker": palette.series_style(index),
            "hovertemplate": "%{y}, %{fullData.name}: %{x:.4s}s, from %{base:.4s}s on<extra></extra>",
        }
        for index, cause in enumerate(order)
    ]
    layout = palette.plain_layout(
        barmode="overlay",
        height=130 + 40 * len(rows),
        margin={"l": 96, "r": 24, "t": 8, "b": 48},
        bargap=0.35,
        xaxis=plain_axis("time since arrival, mean request", "s", rangemode="tozero"),
        yaxis={"autorange": "reversed", "automargin": True, "type": "category", "title": {"text": "stage", "standoff": 12}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        showlegend=True,
        shapes=[{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": total, "x1": total, "layer": "below",
                 "line": {"color": palette.GREY, "width": 1, "dash": "dot"},
                 "label": {"text": f"{value_text(total, 's')} in all", "textposition": "end", "textangle": 0, "xanchor": "right",
                           "yanchor": "top", "font": {"size": 12}}}],
    )  # fmt: skip
    return Figure({"data": traces, "layout": layout})


def ordered(breakdown: Mapping[str, Mapping[str, float | None]], stages: Sequence[str] = ()) -> list[str]:
    """The stages of a breakdown in the order in which a request meets them.

    >>> ordered({"decode": {}, "handoff": {}, "prefill": {}, "retrieve": {}})
    ['retrieve', 'prefill', 'handoff', 'decode']
    """
    flow = [*stages] or [*(stage for stage in breakdown if stage not in FLOW), *FLOW]
    return sorted(breakdown, key=lambda stage: flow.index(stage) if stage in flow else len(flow))


def starts(
    breakdown: Mapping[str, Mapping[str, float | None]], stages: Sequence[str], causes: Sequence[str]
) -> tuple[dict[tuple[str, str], float], float]:
    """When each part begins, in seconds since the arrival, and when the last one ends.

    >>> starts({"prefill": {"queue": 1.0, "service": 2.0}, "decode": {"service": 4.0}}, ["prefill", "decode"], ["queue", "service"])[1]
    7.0
    """
    begun, now = {}, 0.0
    for stage in stages:
        for cause in causes:
            begun[stage, cause] = now
            now += breakdown[stage].get(cause) or 0.0
    return begun, now
