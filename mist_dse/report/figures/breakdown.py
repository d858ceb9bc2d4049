"""Where a request's time goes: mean end-to-end latency by stage and cause, as stacked horizontal bars in seconds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mist_dse.report.figures import palette
from mist_dse.report.figures.palette import plot_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def breakdown_figure(breakdown: Mapping[str, Mapping[str, float | None]], *, causes: Sequence[str] = ()) -> "Figure":
    """Stages down, seconds across, one colour per cause, which is also each trace's ``meta``; an absent cell takes no time.

    ``causes`` fixes their order and so their colours, which lets two designs be compared; else waiting comes first.
    """
    from plotly.graph_objects import Figure

    stages = list(breakdown)
    order = list(dict.fromkeys([*causes, *sorted((cause for cells in breakdown.values() for cause in cells), key=waiting_first)]))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plot_text(cause),
            "meta": cause,
            "y": [plot_text(stage) for stage in stages],
            "customdata": stages,
            "x": [breakdown[stage].get(cause) or 0.0 for stage in stages],
            "marker": palette.series_style(index),
            "hovertemplate": "%{y}, %{fullData.name}: %{x:.4s}s<extra></extra>",
        }
        for index, cause in enumerate(order)
    ]
    layout = palette.plain_layout(
        barmode="stack",
        height=150 + 44 * len(stages),
        margin={"l": 96, "r": 16, "t": 8, "b": 48},
        bargap=0.35,
        xaxis={"title": {"text": "time per request, mean (s)"}, "rangemode": "tozero", "ticks": "outside", "exponentformat": "SI"},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category", "title": {"text": "stage", "standoff": 12}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        showlegend=True,
    )
    return Figure({"data": traces, "layout": layout})


def waiting_first(cause: str) -> int:
    """Sorts causes of waiting before the others."""
    return 0 if cause.startswith("queue") else 1
