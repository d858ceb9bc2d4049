"""How a search came to its front: hypervolume against the share of the space simulated, one line per run.

Hypervolume is on log axes, of the box of the front of all runs together, as a share of what that front has. Designs whose row was
copied from another of the same outcome cost nothing and move no run along.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mist_dse.explore.front import front_mask
from mist_dse.explore.reviews.standing import Box
from mist_dse.explore.spaces.goals import minimised
from mist_dse.report.figures import palette
from mist_dse.report.figures.runs import named_runs
from mist_dse.report.run import ReportError, Run
from mist_dse.rows import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure


class History(NamedTuple):
    """After how many simulations the front of a run changed, and the share of the joint front's hypervolume that it then had;
    ``share``: simulations as a share of the designs of the space, nan where that is not known."""

    simulated: Ints
    share: Floats
    hypervolume: Floats


def history_figure(runs: Run | Sequence[Run] | Mapping[str, Run]) -> "Figure":
    """One line per run, in the order in which it simulated; ``ReportError`` where runs have other objectives or nothing is feasible."""
    from plotly.graph_objects import Figure

    known = named_runs(runs)
    found = histories(known)
    counted = any(np.isnan(history.share).any() for history in found.values())
    columns = {name: history.simulated.astype(float) if counted else 100 * history.share for name, history in found.items()}
    every = np.concatenate(list(columns.values()))
    title = ("designs simulated", "count") if counted else ("designs simulated, share of the space", "%")
    traces = [_line(index, name, columns[name], found[name]) for index, name in enumerate(known)]
    layout = palette.paper_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        legend=palette.legend_above(),
        showlegend=len(traces) > 1,
        xaxis=palette.plain_axis(*title, exponentformat="none", **palette.log_ticks(float(every.min()), float(every.max()))),
        yaxis=palette.plain_axis("hypervolume of the front, share of the best", "%", range=[0, 103]),
    )
    return Figure({"data": traces, "layout": layout})


def histories(runs: Mapping[str, Run]) -> dict[str, History]:
    """How the hypervolume of each run grew, measured in the box of the front of all of them."""
    goals = next(iter(runs.values())).objectives
    for name, run in runs.items():
        if run.objectives != goals:
            asked = [", ".join(map(str, one)) for one in (run.objectives, goals)]
            raise ReportError(f"{name}: has other objectives ({asked[0]}) than the first run ({asked[1]}); draw it by itself")
    rows = {name: _in_order(run) for name, run in runs.items()}
    points = {name: _points(frame, run) for (name, run), frame in zip(runs.items(), rows.values(), strict=True)}
    every = np.concatenate(list(points.values()))
    joint = every[front_mask(every)]
    if not len(joint):
        raise ReportError(f"{', '.join(runs)}: nothing is feasible, so that there is no front to measure")
    box = Box.of(joint)
    sizes, whole = _sizes(runs), box.volume(joint)
    return {name: _history(points[name], _cost(rows[name]), box, whole, sizes[name]) for name in runs}


def _in_order(run: Run) -> "pd.DataFrame":
    """The rows at the fidelity of the front in the order of their simulation: of parts, which are named by what they hold, that of
    their writing."""
    import pandas as pd

    parts = sorted((run.path / "parts").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    rows = run.results
    if not run.complete and parts:
        order = {key: place for place, key in enumerate(key for part in parts for key in pd.read_parquet(part)["design_id"])}
        rows = rows.sort_values("design_id", key=lambda keys: keys.map(order), kind="stable")
    return rows[rows["fidelity"].astype(str) == run.fidelity]


def _points(rows: "pd.DataFrame", run: Run) -> Floats:
    """Objectives to minimise on log axes, nan for what is not feasible."""
    points = minimised({goal.metric: rows[goal.metric] for goal in run.objectives}, run.objectives, logarithmic=True)
    points[~rows["feasible"].to_numpy(dtype=bool)] = np.nan
    return points


def _cost(rows: "pd.DataFrame") -> Ints:
    """Simulations up to and with each row; a copied row costs none."""
    copied = rows["same_as"].fillna("").astype(str) != "" if "same_as" in rows else np.zeros(len(rows), dtype=bool)
    return np.cumsum(~np.asarray(copied, dtype=bool)).astype(np.int64)


def _sizes(runs: Mapping[str, Run]) -> dict[str, float]:
    """Designs in the space of each run, as it or another run of the same space counted them; nan where none did."""
    spaces = {name: str((run.manifest.get("identity") or {}).get("space", name)) for name, run in runs.items()}
    counts = {name: run.manifest.get("designs_in_space") for name, run in runs.items()}
    known = {spaces[name]: float(count) for name, count in counts.items() if isinstance(count, int | float) and count > 0}
    return {name: known.get(space, np.nan) for name, space in spaces.items()}


def _history(points: Floats, cost: Ints, box: Box, whole: float, designs: float) -> History:
    """The steps at which the front grew, and the end of the run."""
    front = np.empty((0, points.shape[1]))
    simulated, volumes = [max(int(cost[0]), 1)] if len(cost) else [1], [0.0]
    for row in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist():
        point = points[row]
        if (front <= point).all(axis=1).any():
            continue
        front = np.concatenate([front[~(point <= front).all(axis=1)], point[None, :]])
        simulated.append(int(cost[row]))
        volumes.append(box.volume(front) / whole)
    if len(cost):
        simulated.append(int(cost[-1]))
        volumes.append(volumes[-1])
    count = np.maximum(np.array(simulated, dtype=np.int64), 1)
    return History(count, count / designs, np.array(volumes))


def _line(index: int, name: str, across: Floats, history: History) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": palette.plot_text(name),
        "meta": "run",
        "x": across.tolist(),
        "y": (100 * history.hypervolume).tolist(),
        "customdata": history.simulated.tolist(),
        "hovertemplate": "%{customdata:,} designs simulated: %{y:.2f}%<extra>%{fullData.name}</extra>",
        "line": palette.line_style(index) | {"shape": "hv"},
    }
