"""How sure a front is: each design in the plane of two objectives, its colour the share of draws in which it stays on the front."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.report.figures import palette
from mist_dse.report.figures.front import axis
from mist_dse.report.figures.runs import design_texts
from mist_dse.report.run import ReportError, Run

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

DRAWS = {
    "prices": "prices drawn",
    "books": "price books",
    "intervals": "errors of prediction drawn, shared by kind",
    "apart": "errors of prediction drawn, each design apart",
    "load": "loads",
    "seeds": "seeds of the workload",
}
"""What each ``p_front_NAME`` of ``robustness.parquet`` is a share of."""


def robustness_figure(run: Run, source: str = "seeds", *, axes: Sequence[str] = ()) -> "Figure":
    """The designs of a run's ``robustness.parquet``: members of its front as large points, others that some draw puts there as small ones.

    ``source`` is a key of `DRAWS`; ``axes`` two metrics of that table, the first two objectives if not given.
    """
    from plotly.graph_objects import Figure

    table = _table(run, source)
    x, y = _axes(run, table, axes)
    table = table.dropna(subset=[x, y, f"p_front_{source}"])
    member = table["on_front"].astype(bool)
    traces = [_points(run, part, (x, y, source), on_front=on) for part, on in ((table[~member], False), (table[member], True)) if len(part)]
    scale = {
        "colorscale": palette.SCALE,
        "cmin": 0,
        "cmax": 100,
        "colorbar": {"title": {"text": palette.plot_text(f"on the front, share of {DRAWS[source]} (%)"), "side": "right"}},
    }
    layout = palette.paper_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        legend=palette.legend_above(),
        showlegend=True,
        coloraxis=scale,
        xaxis=axis(x, table[x].tolist()),
        yaxis=axis(y, table[y].tolist()),
    )
    return Figure({"data": [*traces, *map(_key, traces)], "layout": layout})


def _table(run: Run, source: str) -> "pd.DataFrame":
    import pandas as pd

    path = run.path / "robustness.parquet"
    if not path.is_file():
        raise ReportError(f"{path}: no such file; 'mist-dse robustness {run.path}' writes it")
    table = pd.read_parquet(path)
    known = [name for name in DRAWS if f"p_front_{name}" in table]
    if source not in known:
        raise ReportError(f"source={source}: nothing was drawn of it; {path} has {', '.join(known) or 'none'}")
    return table


def _axes(run: Run, table: "pd.DataFrame", asked: Sequence[str]) -> tuple[str, str]:
    wanted = list(asked) or [goal.metric for goal in run.objectives][:2]
    if len(wanted) != 2 or not set(wanted) <= set(table):
        raise ReportError(f"axes={', '.join(wanted)}: must be two objectives of the run: {', '.join(map(str, run.objectives))}")
    return wanted[0], wanted[1]


def _points(run: Run, part: "pd.DataFrame", names: tuple[str, str, str], *, on_front: bool) -> dict[str, Any]:
    x, y, source = names
    shares = (100 * part[f"p_front_{source}"]).tolist()
    said = design_texts(run, part, (x, y))
    texts = [f"{text}<br>on the front in {share:.0f}% of {DRAWS[source]}" for text, share in zip(said, shares, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"on the front of the run ({len(part):,})" if on_front else f"others ({len(part):,})",
        "meta": "front" if on_front else "others",
        "x": part[x].tolist(),
        "y": part[y].tolist(),
        "hovertext": texts,
        "hoverinfo": "text",
        "showlegend": False,
        "marker": {
            "color": shares,
            "coloraxis": "coloraxis",
            "size": 11 if on_front else 6,
            "symbol": "circle" if on_front else "diamond",
            "line": {"width": 1, "color": palette.GREY},
        },
    }


def _key(trace: dict[str, Any]) -> dict[str, Any]:
    """The entry of the legend for a trace whose points have no one colour."""
    marker = {"color": palette.GREY, "size": trace["marker"]["size"], "symbol": trace["marker"]["symbol"]}
    return {"type": "scatter", "mode": "markers", "name": trace["name"], "meta": "key", "x": [None], "y": [None], "marker": marker}
