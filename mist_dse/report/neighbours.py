"""Designs one change away: stored designs whose variables differ from those of another in exactly one, and what that change buys."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mist_dse.report.run import Run
from mist_dse.report.text import plain
from mist_dse.rows import Ints

if TYPE_CHECKING:
    import pandas as pd

NEAREST = 6
"""Most neighbours along one variable, the nearest values first."""


class Neighbour(NamedTuple):
    """A stored design with another value of ``variable`` (``before``: that of the design itself, None: it has no meaning there).

    ``values``: its objectives, in the order of the run's; ``violations``: what it breaks, empty where it is feasible.
    """

    design_id: str
    variable: str
    before: Any
    after: Any
    values: tuple[float | None, ...]
    violations: str


def neighbours(run: Run, keys: Sequence[str], *, most: int | None = NEAREST) -> dict[str, list[Neighbour]]:
    """The neighbours of each design of ``keys`` among all results of the run at the fidelity of its front; unknown keys have none.

    Equal settings count as one design. In the order of the variables, along each the ``most`` nearest values in order (None: all).
    """
    import pandas as pd

    frame = run.results[run.results["fidelity"].astype(str) == run.fidelity].drop_duplicates("design_id", keep="last")
    names = [name for name in run.columns.variables if name in frame.columns]
    if not len(frame) or not names:
        return {}
    place = pd.Index(frame["design_id"])
    goals = [goal.metric for goal in run.objectives if goal.metric in frame.columns]
    kept = [*dict.fromkeys([*goals, "design_id", "feasible"]), *(["violations"] if "violations" in frame.columns else [])]
    stored = _Stored([_variable(name, frame[name]) for name in names], goals, {name: frame[name].to_numpy(dtype=object) for name in kept})
    return {key: _around(stored, int(place.get_loc(key)), most) for key in keys if key in place}


class _Variable(NamedTuple):
    """A column of settings: ``codes`` index ``values``, the last of which is that of designs where it has no meaning."""

    name: str
    codes: Ints
    values: Sequence[Any]


class _Stored(NamedTuple):
    """The results as columns: variables, names of the objectives, and what else is told of a neighbour."""

    variables: Sequence[_Variable]
    goals: Sequence[str]
    columns: Mapping[str, np.ndarray]


def _variable(name: str, column: "pd.Series[Any]") -> _Variable:
    import pandas as pd

    codes, values = pd.factorize(column)
    return _Variable(name, codes, [*(plain(value) for value in values), None])


def _around(stored: _Stored, at: int, most: int | None) -> list[Neighbour]:
    differs = [variable.codes != variable.codes[at] for variable in stored.variables]
    single = np.add.reduce(differs, axis=0, dtype=np.int16) == 1
    found: list[Neighbour] = []
    for (name, codes, values), mine in zip(stored.variables, differs, strict=True):
        here, rows = values[int(codes[at])], np.flatnonzero(single & mine)
        distances = np.array([_distance(value, here) for value in values])
        nearest = rows[np.argsort(distances[codes[rows]], kind="stable")][:most].tolist()
        ends = {row: values[int(codes[row])] for row in nearest}
        found += [_neighbour(stored, row, name, (here, ends[row])) for row in sorted(ends, key=lambda row: _order(ends[row]))]
    return found


def _neighbour(stored: _Stored, row: int, name: str, change: tuple[Any, Any]) -> Neighbour:
    columns = stored.columns
    words = plain(columns["violations"][row]) if "violations" in columns else None
    broken = "" if columns["feasible"][row] else str(words or "infeasible")
    values = tuple(plain(columns[goal][row]) for goal in stored.goals)
    return Neighbour(str(columns["design_id"][row]), name, *change, values, broken)


def _distance(value: Any, here: Any) -> float:
    """How far one value of a variable is from another, as a ratio where both are positive."""
    if isinstance(value, int | float) and isinstance(here, int | float) and value > 0 and here > 0:
        return abs(float(np.log(value / here)))
    return 0.0


def _order(value: Any) -> tuple[bool, float, str]:
    return (True, float(value), "") if isinstance(value, int | float) else (False, 0.0, str(value))
