"""Predicted against measured serving figures, each row of the measurements a point, with bands of 10 and 25% around equality."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse.report.figures import palette
from mist_dse.report.run import ReportError
from mist_dse.report.text import number_text, plain

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

FIGURES = {
    "ttft": ("ttft_ms", "TTFT", "ms"),
    "tpot": ("tpot_ms", "TPOT", "ms"),
    "e2e": ("e2e_ms", "E2E", "ms"),
    "output_tok_s": ("output_tok_s", "output", "token/s"),
    "total_tok_s": ("total_tok_s", "input and output", "token/s"),
}
"""What can be drawn: its column (predicted: with ``pred_`` before it), its name and its unit."""

BANDS = ((0.25, 0.12), (0.10, 0.18))
"""Relative errors whose bands are drawn, and how opaque."""

DESCRIBED = ("model", "hardware", "engine", "precision", "mode", "n_gpus", "tp", "isl", "osl", "concurrency", "request_rate")
"""Columns that the hover text of a point repeats."""


def validation_figure(predictions: "pd.DataFrame", figure: str = "tpot", *, by: str | None = None) -> "Figure":
    """Predicted against measured ``figure`` (a key of `FIGURES`) on log axes, one colour per value of the column ``by``.

    ``predictions``: the file that ``mist-dse validate predictions=FILE.csv`` writes. Rows that are not covered, duplicates and
    quarantined ones are left out, as in its scores. ``by`` is the slice where the file has it, else mode and kind of model.
    """
    from plotly.graph_objects import Figure

    rows = compared(predictions, figure, by=by)
    _, name, unit = FIGURES[figure]
    known = rows[["measured", "predicted"]].to_numpy()
    least, most = float(known.min()) / 1.3, float(known.max()) * 1.3
    groups = rows["group"].value_counts().index.tolist()
    traces = [*(_band(error, opacity, least, most) for error, opacity in BANDS), _equal(least, most)]
    traces += [_points(index, rows[rows["group"] == group]) for index, group in enumerate(groups)]
    ends = {"range": [float(np.log10(least)), float(np.log10(most))]} | palette.log_ticks(least, most)
    layout = palette.paper_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        height=520,
        legend=palette.legend_above() | {"title": {"text": "median error (rows)", "side": "top"}},
        xaxis=palette.plain_axis(f"measured {name}", unit) | ends,
        yaxis=palette.plain_axis(f"predicted {name}", unit) | ends,
    )
    return Figure({"data": traces, "layout": layout})


def compared(predictions: "pd.DataFrame", figure: str, *, by: str | None = None) -> "pd.DataFrame":
    """The rows that count, with the columns measured, predicted and group; ``ReportError`` where there are none."""
    import pandas as pd

    if figure not in FIGURES:
        raise ReportError(f"figure={figure}: must be one of {', '.join(FIGURES)}")
    column = FIGURES[figure][0]
    frame = _with_e2e(predictions) if figure == "e2e" else predictions
    absent = [name for name in (column, f"pred_{column}", *([by] if by else [])) if name not in frame]
    if absent:
        raise ReportError(f"{absent[0]}: no such column; give the file of 'mist-dse validate predictions=FILE.csv'")
    both = {name: pd.to_numeric(frame[key], errors="coerce") for name, key in (("measured", column), ("predicted", f"pred_{column}"))}
    rows = frame.assign(**both, group=_groups(frame, by))
    kept = (rows["measured"] > 0) & (rows["predicted"] > 0)
    for name, value in (("covered", True), ("duplicate", False)):
        if name in rows:
            kept &= rows[name].eq(value)
    if "quarantine" in rows:
        kept &= rows["quarantine"].fillna("").eq("")
    if not kept.any():
        raise ReportError(f"figure={figure}: no covered row has it both measured and predicted; all figures: {', '.join(FIGURES)}")
    return rows[kept]


def _with_e2e(frame: "pd.DataFrame") -> "pd.DataFrame":
    """E2E as `validate.score.with_e2e` makes it: files give TTFT and TPOT only."""
    from mist_dse.validate.score import with_e2e

    return with_e2e(frame) if {"osl", "ttft_ms", "tpot_ms"} <= set(frame) else frame


def _groups(frame: "pd.DataFrame", by: str | None) -> "pd.Series":
    if by is None and "slice" in frame:
        by = "slice"
    if by is not None:
        return frame[by].fillna("").astype(str)
    parts = [frame[name].fillna("").astype(str) for name in ("mode", "kind") if name in frame]
    if not parts:
        return frame.index.to_series().map(lambda row: "rows")
    return parts[0] if len(parts) == 1 else (parts[0] + " " + parts[1]).str.strip()


def _band(error: float, opacity: float, least: float, most: float) -> dict[str, Any]:
    """All predictions within a relative error of what is measured."""
    low, high = 1 - error, 1 + error
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"±{error:.0%}",
        "meta": "band",
        "x": [least, most, most, least],
        "y": [least * low, most * low, most * high, least * high],
        "fill": "toself",
        "fillcolor": palette.faint(palette.GREY, opacity),
        "line": {"width": 0, "color": palette.faint(palette.GREY, opacity)},
        "hoverinfo": "skip",
    }


def _equal(least: float, most: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "predicted = measured",
        "meta": "equal",
        "showlegend": False,
        "x": [least, most],
        "y": [least, most],
        "hoverinfo": "skip",
        "line": {"color": palette.DIM, "width": 1},
    }


def _points(index: int, rows: "pd.DataFrame") -> dict[str, Any]:
    error = (rows["predicted"] / rows["measured"] - 1).abs().median()
    described = [name for name in DESCRIBED if name in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": palette.plot_text(f"{rows['group'].iloc[0] or 'other'} {error:.1%} ({len(rows):,})"),
        "meta": "rows",
        "x": rows["measured"].tolist(),
        "y": rows["predicted"].tolist(),
        "hovertext": [_hover(row, described) for row in rows.to_dict("records")],
        "hoverinfo": "text",
        "marker": palette.point_style(index) | {"opacity": 0.8},
    }


def _hover(row: dict[Any, Any], described: list[str]) -> str:
    words = [f"{name} {value}" for name in described if (value := plain(row[name])) not in (None, "")]
    signed = row["predicted"] / row["measured"] - 1
    ends = f"<b>measured {number_text(row['measured'])}, predicted {number_text(row['predicted'])} ({signed:+.1%})</b>"
    return "<br>".join([ends, *(palette.plot_text(", ".join(words[at : at + 4])) for at in range(0, len(words), 4))])
