"""Which variables move the front: what is lost where each is held at one value, beside the share of variance that it takes part in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.report.figures import palette
from mist_dse.report.run import ReportError
from mist_dse.report.text import short_name

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mist_dse.explore.reviews.sensitivity import Importance


def sensitivity_figure(variables: "Sequence[Importance] | Sequence[Mapping[str, Any]]", *, most: int = 16) -> "Figure":
    """The ``most`` variables by their loss; left what holding each at its best value costs, right its total Sobol indices by output.

    ``variables`` as `sensitivity` finds them, or as ``mist-dse sensitivity format=json`` prints them.
    """
    from plotly.graph_objects import Figure

    rows = [_plain(item) for item in variables]
    if not rows:
        raise ReportError("no variable to draw: none takes more than one value among the feasible designs")
    rows = sorted(rows, key=lambda row: -row["loss"])[:most]
    outputs = list(dict.fromkeys(name for row in rows for name in row["total"]))
    names = [palette.plot_text(short_name(row["variable"])) for row in rows]
    down = {"autorange": "reversed", "type": "category"}
    layout = palette.paper_layout(
        height=150 + (16 + 9 * len(outputs)) * len(rows),
        margin={"l": 16, "r": 16, "t": 32, "b": 56},
        bargap=0.3,
        hovermode="closest",
        legend=palette.legend_above(),
        showlegend=True,
        xaxis=palette.plain_axis("hypervolume lost", "%", rangemode="tozero", domain=[0, 0.46]),
        xaxis2=palette.plain_axis("total index", "share", rangemode="tozero", domain=[0.54, 1], anchor="y2", exponentformat="none"),
        yaxis=palette.plain_axis("variable") | down,
        yaxis2=palette.plain_axis("variable") | down | {"matches": "y", "anchor": "x2", "visible": False},
    )
    traces = [_losses(rows, names), *(_totals(index, name, rows, names) for index, name in enumerate(outputs))]
    return Figure({"data": traces, "layout": layout})


def _plain(item: "Importance | Mapping[str, Any]") -> dict[str, Any]:
    found: dict[str, Any] = dict(item) if isinstance(item, Mapping) else item._asdict()
    total = {name: None if value is None or value != value else float(value) for name, value in found["total"].items()}
    return {**found, "total": total, "loss": float(found["loss"])}


def _losses(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "meta": "loss",
        "name": "lost",
        "showlegend": False,
        "x": [100 * row["loss"] for row in rows],
        "y": list(names),
        "customdata": [palette.plot_text(str(row["best"])) for row in rows],
        "hovertemplate": "%{y} held at %{customdata}: %{x:.3g}% lost<extra></extra>",
        "marker": palette.series_style(0),
    }


def _totals(index: int, output: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """One output's indices; ``near``: of being within 5% of the front."""
    said = "within 5% of the front" if output == "near" else output
    return {
        "type": "bar",
        "orientation": "h",
        "meta": "total",
        "name": palette.plot_text(said),
        "xaxis": "x2",
        "yaxis": "y2",
        "x": [row["total"].get(output) for row in rows],
        "y": list(names),
        "hovertemplate": "%{y}, %{fullData.name}: %{x:.3f}<extra></extra>",
        "marker": palette.series_style(index + 1),
    }
