"""A simulated run against time: its first requests as bars by stage, and what is in service and waiting at each server.

For every step of every engine see `mist_dse.report.write_timeline`, which Perfetto opens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse.report.figures import palette
from mist_dse.report.run import ReportError
from mist_dse.rows import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from mist_dse.evaluation import Simulation

BINS = 400
"""Most points of a line of counts; past them each is the mean of its interval, which keeps the area."""


def timeline_figure(records: "pd.DataFrame", *, requests: int = 40, first: int = 0) -> "Figure":
    """``requests`` requests from the ``first`` on, a row each: waiting, then a bar per stage, and a mark at the first token.

    ``records``: ``Simulation.to_pandas()``, or the file of ``mist-dse simulate records=FILE.parquet``.
    """
    from plotly.graph_objects import Figure

    stages = [str(name).removesuffix("_start_s") for name in records.columns if str(name).endswith("_start_s")]
    rows = records.iloc[first : first + requests]
    rows = rows[rows["arrival_s"].notna()]
    if not len(rows) or not stages:
        raise ReportError(f"no request to draw from number {first} on: records hold {len(records):,} and {len(stages)} stages")
    lanes = _lanes(rows, stages)
    traces = [_waits(rows, stages), *(_bars(index, stage, rows, lanes) for index, stage in enumerate(stages)), _first_tokens(rows)]
    layout = palette.paper_layout(
        height=120 + 16 * max(len(rows), 10),
        margin={"l": 56, "r": 16, "t": 32, "b": 56},
        barmode="overlay",
        bargap=0.2,
        hovermode="closest",
        legend=palette.legend_above(),
        showlegend=True,
        xaxis=palette.plain_axis("time since the run began", "s", exponentformat="none"),
        yaxis=palette.plain_axis(
            "request, in order of arrival", autorange="reversed", exponentformat="none", showgrid=False, tickformat="d"
        ),
    )
    return Figure({"data": [trace for trace in traces if trace["x"]], "layout": layout})


def load_figure(simulation: "Simulation", servers: Sequence[str] = ()) -> "Figure":
    """Visits in service and waiting against time, a panel per server (``servers``: names; all pools, stations and batchers if none).

    The area under each line is the time that visits spend so, as Little's law wants it.
    """
    from plotly.graph_objects import Figure

    names = list(simulation.lowered.servers.names)
    wanted = list(servers) or names
    for name in wanted:
        if name not in names:
            raise ReportError(f"{name}: no such server; the run has {', '.join(names)}")
    panels = [counted(simulation, name) for name in wanted]
    height, gap = 1 / len(wanted), 0.12 / len(wanted) if len(wanted) > 1 else 0.0
    layout = palette.paper_layout(
        height=130 + 150 * len(wanted),
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        hovermode="x unified",
        legend=palette.legend_above(),
        showlegend=True,
        xaxis=palette.plain_axis(
            "time since the run began", "s", exponentformat="none", anchor=f"y{len(wanted)}" if len(wanted) > 1 else "y"
        ),
    )
    traces = []
    for row, (name, panel) in enumerate(zip(wanted, panels, strict=True)):
        key = "" if row == 0 else str(row + 1)
        top = 1 - row * height
        layout[f"yaxis{key}"] = palette.plain_axis(name, "visits", rangemode="tozero", exponentformat="none",
                                                   domain=[top - height + gap, top])  # fmt: skip
        traces += [_count(index, kind, panel, (f"y{key}", row)) for index, kind in enumerate(("running", "waiting"))]
    return Figure({"data": traces, "layout": layout})


def counted(simulation: "Simulation", server: str) -> dict[str, tuple[Floats, Floats]]:
    """Times and, from each on, the visits at ``server`` that are ``running`` and ``waiting``; at most `BINS` points each."""
    records, jobs = simulation.records, simulation.lowered.jobs
    here = np.asarray(jobs.server == list(simulation.lowered.servers.names).index(server))
    ready, start, end = (np.asarray(times)[here] for times in (records.visit_ready, records.visit_start, records.visit_end))
    over = np.where(np.isnan(end), records.makespan, end)
    begun = np.where(np.isnan(start), over, np.minimum(start, over))
    came = ~np.isnan(ready)
    spans = {"running": (begun[came], over[came]), "waiting": (ready[came], begun[came])}
    return {kind: _binned(*_steps(low, high), float(records.makespan)) for kind, (low, high) in spans.items()}


def _steps(low: Floats, high: Floats) -> tuple[Floats, Ints]:
    """When the number of open intervals changes, and the number from then on."""
    kept = high > low
    times = np.concatenate([[0.0], low[kept], high[kept]])
    change = np.concatenate([[0], np.ones(int(kept.sum()), np.int64), -np.ones(int(kept.sum()), np.int64)])
    order = np.argsort(times, kind="stable")
    times, count = times[order], np.cumsum(change[order])
    last = np.append(np.diff(times) > 0, True)
    return times[last], count[last].astype(np.int64)


def _binned(times: Floats, count: Ints, end: float) -> tuple[Floats, Floats]:
    """The steps themselves, or where they are too many the mean of each of `BINS` equal intervals."""
    if len(times) <= BINS:
        return np.append(times, max(end, float(times[-1]))), np.append(count, count[-1]).astype(float)
    edges = np.linspace(0.0, end, BINS + 1)
    area = np.concatenate([[0.0], np.cumsum(np.diff(times) * count[:-1])])
    at = np.interp(edges, times, area)
    return edges, np.append(np.diff(at) / np.diff(edges), 0.0)


def _lanes(rows: "pd.DataFrame", stages: Sequence[str]) -> int:
    """How many bars lie side by side in a row: one where stages follow one another, else one per stage."""
    starts, ends = (rows[[f"{stage}_{side}_s" for stage in stages]].to_numpy(dtype=float) for side in ("start", "end"))
    for one in range(len(stages)):
        for other in range(one + 1, len(stages)):
            overlap = np.minimum(ends[:, one], ends[:, other]) - np.maximum(starts[:, one], starts[:, other])
            if (overlap > 1e-9 * np.nanmax(ends)).any():
                return len(stages)
    return 1


def _waits(rows: "pd.DataFrame", stages: Sequence[str]) -> dict[str, Any]:
    """The whole stay of each request, behind its stages."""
    last = rows[[f"{stage}_end_s" for stage in stages]].max(axis=1)
    end = rows["end_s"].fillna(last) if "end_s" in rows else last
    length = (end - rows["arrival_s"]).fillna(0.0)
    return _bar(rows, rows["arrival_s"], length) | {
        "name": "waiting, or between stages",
        "meta": "stay",
        "width": 0.35,
        "marker": {"color": palette.faint(palette.GREY, 0.45)},
        "hovertemplate": "request %{y}: %{x:.4s}s from arrival to end<extra></extra>",
    }


def _bars(index: int, stage: str, rows: "pd.DataFrame", lanes: int) -> dict[str, Any]:
    served = rows[rows[f"{stage}_start_s"].notna() & rows[f"{stage}_end_s"].notna()]
    length = served[f"{stage}_end_s"] - served[f"{stage}_start_s"]
    place = {"width": 0.8 / lanes, "offset": -0.4 + 0.8 * index / lanes} if lanes > 1 else {"width": 0.8}
    return _bar(served, served[f"{stage}_start_s"], length) | place | {
        "name": palette.plot_text(stage),
        "meta": "stage",
        "marker": palette.series_style(index),
        "hovertemplate": "request %{y}, %{fullData.name}: %{x:.4s}s from %{base:.4s}s on<extra></extra>",
    }  # fmt: skip


def _bar(rows: "pd.DataFrame", start: "pd.Series", length: "pd.Series") -> dict[str, Any]:
    number = rows["request"] if "request" in rows else rows.index.to_series()
    return {"type": "bar", "orientation": "h", "y": number.tolist(), "base": start.tolist(), "x": length.tolist()}


def _first_tokens(rows: "pd.DataFrame") -> dict[str, Any]:
    came = rows[rows["first_token_s"].notna()]
    number = came["request"] if "request" in came else came.index.to_series()
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "first token",
        "meta": "token",
        "x": came["first_token_s"].tolist(),
        "y": number.tolist(),
        "hovertemplate": "request %{y}: first token at %{x:.4s}s<extra></extra>",
        "marker": {"symbol": "line-ns", "size": 8, "line": {"width": 1.5, "color": palette.INK}, "color": palette.INK},
    }


def _count(index: int, kind: str, panel: dict[str, tuple[Floats, Floats]], place: tuple[str, int]) -> dict[str, Any]:
    axis, row = place
    times, count = panel[kind]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": {"running": "in service", "waiting": "waiting"}[kind],
        "meta": kind,
        "legendgroup": kind,
        "showlegend": row == 0,
        "yaxis": axis,
        "x": times.tolist(),
        "y": count.tolist(),
        "fill": "tozeroy",
        "fillcolor": palette.faint(palette.SERIES[index], 0.15),
        "hovertemplate": "%{y:.4g}",
        "line": {"color": palette.SERIES[index], "width": 1.5, "shape": "hv"},
    }
