"""How a search ended: its tables, its front, its counts, and why nothing was feasible where nothing was."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.front import front_mask
from mist_dse.explore.runs.record import Row
from mist_dse.explore.runs.store import frame
from mist_dse.explore.screens.screening import ScreenTable
from mist_dse.explore.spaces.goals import distance, minimised
from mist_dse.metrics import Objective, parse_limit

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("design_id", "fidelity", "seed", "feasible", "violation", "violations")
"""Columns that come first in the results."""


def results_table(rows: Mapping[str, Row], variables: Mapping[str, Mapping[str, Any]], paths: Sequence[str]) -> "pd.DataFrame":
    """One row per simulated design: bookkeeping, its variables (inactive ones empty), then everything measured."""
    table = frame(labelled_rows(rows.values(), variables, paths))
    known = [path for path in paths if path in table]
    switches = [path for path in known if any(isinstance(values.get(path), bool) for values in variables.values())]
    whole = [path for path in known if table[path].dtype == float and not (table[path].dropna() % 1).any()]
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(switches, "boolean"))


def labelled_rows(rows: Iterable[Row], variables: Mapping[str, Mapping[str, Any]], paths: Sequence[str]) -> list[Row]:
    """Rows with the variables of their designs, inactive ones None."""
    return [_labelled(row, {path: variables[row["design_id"]].get(path) for path in paths}) for row in rows]


def _labelled(row: Row, values: Mapping[str, Any]) -> Row:
    """A row with its variables after the bookkeeping; what an earlier run stored of them is replaced."""
    return {**{name: row[name] for name in HEAD}, **values, **row, **values}


def front_table(results: "pd.DataFrame", objectives: Sequence[Objective]) -> "pd.DataFrame":
    """The feasible rows that none dominates, by the first objective."""
    if not len(results):
        return results
    points = minimised({goal.metric: results[goal.metric] for goal in objectives}, objectives, logarithmic=False)
    points[~results["feasible"].to_numpy(dtype=bool)] = np.nan
    return results[front_mask(points)].sort_values(objectives[0].metric, kind="stable").reset_index(drop=True)


def nothing_feasible(screened: ScreenTable, constraints: Sequence[str]) -> str:
    """Which constraint removes every design of the screen, and by how much the nearest one misses it."""
    fits = np.isfinite(screened.demand)
    stable: NDArray[np.bool_] = screened.demand < 1
    if not stable.any():
        least = float(screened.demand[fits].min())
        return f"every design is saturated at the rate asked: the least demand is {least:.2f} of capacity ({least - 1:.0%} too much)"
    for text in constraints:
        limit = parse_limit(text)
        values = screened.metrics.get(limit.metric, np.zeros(len(stable)))[stable]
        excess = limit.excess(values)
        if (excess > 0).all():
            best = int(np.argmin(excess))
            return f"constraints: {text} removes every design: the nearest reaches {values[best]:.4g}{distance(excess[best], limit.value)}"
    return f"constraints: no design keeps {' and '.join(constraints)} together, though each alone leaves some"


def named(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The variables of a design as a key, whatever types a table gave them."""
    return tuple(sorted((path, str(value)) for path, value in values.items() if value is not None))
