"""The roofline of one pool's device with the operators of its mean step as points.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009. FLOP, bytes and seconds are those
that the run stored (``details.json``); an operator without FLOP (element-wise kernels, collectives) is no point and takes its share
of the time outside the plot.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.report.figures import palette
from mist_dse.report.figures.palette import plot_text
from mist_dse.report.text import value_text
from mist_dse.units import format_quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STEPS = ("decode", "prompts")
"""Kinds of steps: of decodes alone, and those that compute prompts; each has its colour."""

LEAST, MOST = 8.0, 34.0
"""Diameters of points in px; their areas go by the share of time."""


def roofline_figure(pool: Mapping[str, Any]) -> "Figure":
    """Operators of one pool under its device's roofs, both axes logarithmic; points are sized by their share of the pool's time.

    ``pool``: one of ``pools`` of a design's details (`report.details.stored_details`): ``operators`` with FLOP, bytes, seconds and
    share, ``peaks`` in FLOP/s by datatype, ``bandwidth`` in B/s.
    """
    from plotly.graph_objects import Figure

    points = [item for item in pool["operators"] if item["flop"] > 0 and item["bytes"] > 0]
    low, high = span(points, pool)
    peaks = {dtype: peak for dtype, peak in pool["peaks"].items() if dtype in {item["dtype"] for item in points}} or pool["peaks"]
    traces = [*(_roof(dtype, peak, pool["bandwidth"], (low, high)) for dtype, peak in peaks.items()),
              *(_points(step, [item for item in points if item["step"] == step], number) for number, step in enumerate(STEPS))]  # fmt: skip
    rates = [item["flop"] / item["seconds"] for item in points]
    top, bottom = max(peaks.values(), default=1.0) * 2, min([*rates, max(peaks.values(), default=1.0) / 100]) / 3
    layout = palette.plain_layout(
        height=380,
        margin={"l": 72, "r": 20, "t": 8, "b": 52},
        hovermode="closest",
        xaxis=_axis("arithmetic intensity (FLOP/B)", low, high),
        yaxis=_axis("attained by one device (FLOP/s)", bottom, top) | _rates(bottom, top),
        legend=palette.legend_above(),
        annotations=[*_labels(peaks, high), _bandwidth_label(pool["bandwidth"], low, min(peaks.values(), default=1.0))],
    )
    return Figure({"data": [trace for trace in traces if len(trace["x"])], "layout": layout})


def attainable(intensity: float, peak: float, bandwidth: float) -> float:
    """FLOP/s under the roofs at an intensity (FLOP/B).

    >>> attainable(100.0, 1e15, 3e12), attainable(1000.0, 1e15, 3e12)
    (300000000000000.0, 1000000000000000.0)
    """
    return min(peak, intensity * bandwidth)


def span(points: Iterable[Mapping[str, Any]], pool: Mapping[str, Any]) -> tuple[float, float]:
    """The intensities that a plot shows, in FLOP/B: those of all points and the ridge of the highest roof, with room at both ends."""
    ridge = max(pool["peaks"].values(), default=1.0) / pool["bandwidth"]
    known = [*(item["flop"] / item["bytes"] for item in points), ridge]
    return min(known) / 3, max(known) * 4


def _roof(dtype: str, peak: float, bandwidth: float, ends: tuple[float, float]) -> dict[str, Any]:
    ridge = peak / bandwidth
    corners = [ends[0], *([ridge] if ends[0] < ridge < ends[1] else []), ends[1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"roof, {dtype}",
        "meta": "roof",
        "showlegend": False,
        "x": corners,
        "y": [attainable(x, peak, bandwidth) for x in corners],
        "line": {"color": palette.DIM, "width": 1.5},
        "hoverinfo": "skip",
    }


def _points(step: str, items: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{'steps of decodes' if step == 'decode' else 'steps with prompts'}",
        "meta": step,
        "x": [item["flop"] / item["bytes"] for item in items],
        "y": [item["flop"] / item["seconds"] for item in items],
        "hovertext": [_hover(item) for item in items],
        "hoverinfo": "text",
        "marker": {
            "color": palette.SERIES[number],
            "opacity": 0.75,
            "size": [diameter(item["share"]) for item in items],
            "symbol": palette.SYMBOLS[number],
            "line": {"width": 1, "color": "#ffffff"},
        },
    }


def diameter(share: float) -> float:
    """Pixels of a point whose operator takes ``share`` of the time: areas tell shares apart.

    >>> diameter(0.0), diameter(1.0)
    (8.0, 34.0)
    """
    return LEAST + (MOST - LEAST) * math.sqrt(share)


def _hover(item: Mapping[str, Any]) -> str:
    rows = (
        f"<b>{plot_text(item['name'])}</b>",
        f"{value_text(item['seconds'], 's')} a step, {100 * item['share']:.3g} % of the pool's time",
        f"{format_quantity(item['flop'], 'FLOP')}, {format_quantity(item['bytes'], 'B')}",
        f"{value_text(item['flop'] / item['seconds'], 'FLOP/s')} in {item['dtype']}, {value_text(item['bytes'] / item['seconds'], 'B/s')}",
    )
    return "<br>".join(rows)


def _axis(title: str, low: float, high: float) -> dict[str, Any]:
    return {"title": {"text": title}, "type": "log", "range": [math.log10(low), math.log10(high)], "dtick": 1, "exponentformat": "SI",
            "ticks": "outside", "zeroline": False, "automargin": True}  # fmt: skip


def _rates(low: float, high: float) -> dict[str, Any]:
    """Ticks at powers of ten with decimal prefixes, which plotly has up to tera alone."""
    ticks = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return {"tickvals": ticks, "ticktext": [format_quantity(tick, "") for tick in ticks]}


def _labels(peaks: Mapping[str, float], high: float) -> list[dict[str, Any]]:
    """The name of each roof over its right end; datatypes of one peak share theirs."""
    same: dict[float, list[str]] = {}
    for dtype, peak in peaks.items():
        same.setdefault(peak, []).append(dtype)
    return [
        _text(f"{', '.join(dtypes)}: {value_text(peak, 'FLOP/s')}", (high, peak), xanchor="right", yanchor="bottom")
        for peak, dtypes in same.items()
    ]


def _bandwidth_label(bandwidth: float, low: float, peak: float) -> dict[str, Any]:
    at = low**0.4 * max(peak / bandwidth, low) ** 0.6
    return _text(f"memory: {value_text(bandwidth, 'B/s')}", (at, at * bandwidth), xanchor="right", yanchor="bottom")


def _text(text: str, at: tuple[float, float], **anchors: str) -> dict[str, Any]:
    return {"text": plot_text(text), "x": math.log10(at[0]), "y": math.log10(at[1]), "showarrow": False, "font": {"size": 12}} | anchors
