"""The front over seeds: what some, half and all of several runs of one search attain; and how sure each member of one front is.

The band is the empirical attainment function (Grunert da Fonseca, Fonseca and Hall, EMO 2001): a point is attained by a run if some
member of its front is at least as good in both objectives.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse.report.figures import palette
from mist_dse.report.figures.front import axis, directions
from mist_dse.report.figures.runs import design_texts, named_runs
from mist_dse.report.run import ReportError, Run
from mist_dse.rows import Floats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def seeds_figure(runs: Sequence[Run] | Mapping[str, Run], *, axes: Sequence[str] = ()) -> "Figure":
    """The fronts of runs of one search that differ in their seed: the band between what every run and what some run attains, the line that
    half of them attain, and every member.

    ``axes``: two of the objectives, the first two if not given; names of the runs are those of the mapping, or of their folders.
    """
    from plotly.graph_objects import Figure

    known = named_runs(runs)
    x, y = _axes(known, axes)
    better = directions(next(iter(known.values())), x, y)
    fronts = {name: _points(run, x, y) for name, run in known.items()}
    every = np.concatenate([points for points in fronts.values() if len(points)])
    traces = [*_band(list(fronts.values()), better), *(_members(name, run, x, y) for name, run in known.items())]
    layout = palette.paper_layout(
        hovermode="closest",
        margin={"l": 72, "r": 16, "t": 32, "b": 56},
        legend=palette.legend_above(),
        xaxis=axis(x, every[:, 0].tolist()),
        yaxis=axis(y, every[:, 1].tolist()),
    )
    return Figure({"data": traces, "layout": layout})


def attained(fronts: Sequence[Floats], share: float) -> Floats:
    """The corners, by the first axis, of what at least ``share`` (> 0) of ``fronts`` [n, 2] attain, to minimise; empty where nothing is.

    >>> attained([np.array([[1.0, 3.0]]), np.array([[2.0, 1.0]])], 1.0).tolist()
    [[2.0, 3.0]]
    """
    import moocore

    whole = [front for front in fronts if len(front)]
    if len(whole) < len(fronts) * share or not whole:
        return np.empty((0, 2))
    number = np.repeat(np.arange(len(whole)), [len(front) for front in whole])
    percentile = min(100.0 * share * len(fronts) / len(whole), 100.0)
    found = np.asarray(moocore.eaf(np.concatenate(whole), number, percentiles=[percentile]))
    return found[np.argsort(found[:, 0], kind="stable"), :2]


def _axes(runs: Mapping[str, Run], asked: Sequence[str]) -> tuple[str, str]:
    """Two objectives that all runs have; ``ReportError`` where there are none."""
    shared = [goal.metric for goal in next(iter(runs.values())).objectives]
    for name, run in runs.items():
        shared = [metric for metric in shared if metric in {goal.metric for goal in run.objectives}]
        if not len(run.front):
            raise ReportError(f"{name}: has no front, since nothing in it is feasible; leave it out")
    wanted = list(asked) or shared[:2]
    if len(wanted) != 2 or not set(wanted) <= set(shared):
        raise ReportError(f"axes={', '.join(wanted)}: must be two objectives of every run, which are {', '.join(shared) or 'none'}")
    return wanted[0], wanted[1]


def _points(run: Run, x: str, y: str) -> Floats:
    return np.asarray(run.front[[x, y]].to_numpy(dtype=float))


def _band(fronts: Sequence[Floats], better: tuple[str, str]) -> list[dict[str, Any]]:
    """What every front attains, what some front attains with the band up to there, and what half of them attain."""
    signs = np.array([1.0 if way == "min" else -1.0 for way in better])
    points = [front * signs for front in fronts]
    worst = np.max(np.concatenate(points), axis=0)
    count = len(points)
    edges = {share: _edge(attained(points, share), worst) * signs for share in (1.0, 1 / count, 0.5)}
    edge = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    thin = {"color": palette.faint(palette.BLUE, 0.5), "width": 1}
    looks: tuple[tuple[float, dict[str, Any]], ...] = (
        (1.0, {"meta": "every", "name": "attained by every run", "showlegend": False, "line": thin}),
        (1 / count, {"meta": "some", "name": f"between some and all of {count} runs", "line": thin, "fill": "tonexty",
                     "fillcolor": palette.faint(palette.BLUE, 0.2), "showlegend": count > 1}),
        (0.5, {"meta": "half", "name": "attained by half of them" if count > 1 else "attained",
               "line": {"color": palette.BLUE, "width": 2}}),
    )  # fmt: skip
    return [edge | look | {"x": edges[share][:, 0].tolist(), "y": edges[share][:, 1].tolist()} for share, look in looks]


def _edge(corners: Floats, worst: Floats) -> Floats:
    """The step line through ``corners``, up to the worst value of each axis."""
    if not len(corners):
        return worst[None, :]
    steps = [[corners[0, 0], worst[1]]]
    for before, after in zip(corners, [*corners[1:], None], strict=True):
        steps += [list(before), [worst[0] if after is None else after[0], before[1]]]
    return np.array(steps)


def _members(name: str, run: Run, x: str, y: str) -> dict[str, Any]:
    texts = [f"{text}<br>{palette.plot_text(name)}" for text in design_texts(run, run.front, (x, y))]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": palette.plot_text(name),
        "meta": "front",
        "showlegend": False,
        "x": run.front[x].tolist(),
        "y": run.front[y].tolist(),
        "hovertext": texts,
        "hoverinfo": "text",
        "marker": {"color": palette.BLUE, "size": 5, "opacity": 0.7},
    }
