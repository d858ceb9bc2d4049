"""How full each server of a design is: what is asked of every resource over what it can give, and how much of the time it was in use."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mist_dse.report.figures import palette
from mist_dse.report.figures.palette import plain_axis, plot_text
from mist_dse.report.figures.waterfall import ordered

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SEEN = 5e-4
"""Least demand that is drawn where it is not its server's highest."""

STEPS = "step time"
"""The resource of an engine that its whole demand is of where no other row explains it."""


def utilisation_figure(pools: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Demand by server and resource as bars, in percent of capacity, the largest apart; the share of time in use as diamonds.

    ``pools``: by server its quantities (`Evaluation.pools`, or the ``pool/`` columns of a row): ``demand``, ``demand RESOURCE``,
    ``utilisation``. A server is saturated at 100%.
    """
    from plotly.graph_objects import Figure

    rows = [
        (server, resource, value)
        for server in ordered(pools)
        for resource, value in demands(pools[server]).items()
        if value >= SEEN or resource == _first(pools[server])
    ]
    most = max((value for _, _, value in rows), default=0.0)
    used = {server: row["utilisation"] for server, row in pools.items() if row.get("utilisation") is not None and demands(row)}
    traces: list[dict[str, Any]] = [
        _bars([row for row in rows if (row[2] == most) is wanted], name, colour)
        for wanted, name, colour in ((False, "demand", palette.BLUE), (True, "binds first", palette.VERMILLION))
    ]
    traces.append(
        {"type": "scatter", "mode": "markers", "name": "time in use, measured in the run", "meta": "utilisation",
         "y": [_label(server, _first(pools[server])) for server in used],
         "x": [100 * value for value in used.values()],
         "marker": {"symbol": "diamond-tall", "size": 12, "color": palette.ORANGE, "line": {"width": 1, "color": palette.DIM}},
         "hovertemplate": "%{y}: in use %{x:.3g} % of the time<extra></extra>"}
    )  # fmt: skip
    layout = palette.plain_layout(
        barmode="overlay",
        height=140 + 22 * len(rows),
        margin={"l": 180, "r": 24, "t": 8, "b": 48},
        bargap=0.3,
        xaxis=plain_axis("asked of what each can give", "%", range=[0, max(105.0, 108 * most)]),
        yaxis={"autorange": "reversed", "type": "category", "automargin": True, "title": {"text": "server, resource", "standoff": 12},
               "categoryorder": "array", "categoryarray": [_label(server, resource) for server, resource, _ in rows]},
        legend=palette.legend_above(),
        shapes=[{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 100, "x1": 100,
                 "line": {"color": palette.VERMILLION, "width": 1.5, "dash": "dash"},
                 "label": {"text": "saturated", "textposition": "start", "textangle": 0, "xanchor": "right", "yanchor": "bottom",
                           "font": {"color": palette.VERMILLION, "size": 12}}}],
    )  # fmt: skip
    return Figure({"data": [trace for trace in traces if trace["x"]], "layout": layout})


def demands(row: Mapping[str, Any]) -> dict[str, float]:
    """What is asked of each resource of one server, as shares of what it can give; the whole demand is the step time's where it is above
    all of them.

    >>> demands({"demand": 0.5, "demand compute": 0.2, "demand KV blocks": 0.1, "utilisation": 0.6})
    {'step time': 0.5, 'compute': 0.2, 'KV blocks': 0.1}
    """
    found = {name.removeprefix("demand "): float(value) for name, value in row.items() if name.startswith("demand ") and value is not None}
    whole = row.get("demand")
    if whole is not None and all(value < whole for value in found.values()):
        found[STEPS if found else "demand"] = float(whole)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def headroom(demand: float) -> float:
    """By what share the load of a server can grow until it is saturated; negative where it is already.

    Demand is proportional to the rate of requests.

    >>> headroom(0.8)
    0.25
    """
    return 1.0 / demand - 1.0


def _bars(rows: list[tuple[str, str, float]], name: str, colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "meta": name,
        "y": [_label(server, resource) for server, resource, _ in rows],
        "x": [100 * value for _, _, value in rows],
        "marker": {"color": colour},
        "hovertemplate": "%{y}: %{x:.3g} %<extra></extra>",
    }


def _label(server: str, resource: str) -> str:
    return plot_text(f"{server}: {resource}")


def _first(row: Mapping[str, Any]) -> str:
    """The resource of a server that most is asked of, beside which its use stands."""
    return next(iter(demands(row)), "demand")
