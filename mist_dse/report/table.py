"""The front as rows of short strings, for a terminal and for whoever wants the numbers with their units."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mist_dse.explore.front import cover
from mist_dse.metrics import Objective, parse_objective
from mist_dse.report.run import column_kinds
from mist_dse.report.text import design_label, metric_text, plain

if TYPE_CHECKING:
    import pandas as pd


class Table(NamedTuple):
    """Column titles, and one list of cells per row; ``omitted`` counts the rows left out."""

    columns: list[str]
    rows: list[list[str]]
    omitted: int = 0


def front_table(
    front: "pd.DataFrame",
    objectives: Sequence[str | Objective],
    *,
    limit: int | None = 20,
    extra: Sequence[str] = (),
    tolerance: float = 0.0,
) -> Table:
    """The front, best in the first objective first: design, objectives, ``extra`` metrics, accelerators, bottleneck.

    ``objectives`` as in a space file (``"min ttft_p90"``) or bare names; a column that the front lacks is left out.
    With a ``tolerance`` members that another equals or beats up to it in every objective are left out first. A front longer than
    ``limit`` is thinned evenly, both ends kept; None keeps all.
    """
    wanted = [parse_objective(item) if isinstance(item, str) else item for item in objectives]
    names = [name for name in dict.fromkeys([item.metric for item in wanted] + list(extra) + ["accelerators"]) if name in front.columns]
    ordered = _distinct(_ordered(front, wanted), wanted, tolerance)
    kept = _spread(len(ordered), limit)
    variables = column_kinds([str(name) for name in front.columns]).variables
    tail = ["bottleneck"] if "bottleneck" in front.columns else []
    rows = [_row(record, variables, names, tail) for record in ordered.iloc[kept].to_dict("records")]
    return Table(["design", *names, *tail], rows, len(front) - len(kept))


def _ordered(front: "pd.DataFrame", wanted: Sequence[Objective]) -> "pd.DataFrame":
    first = next((item for item in wanted if item.metric in front.columns), None)
    return front if first is None else front.sort_values(first.metric, ascending=first.direction == "min", kind="stable")


def _distinct(front: "pd.DataFrame", wanted: Sequence[Objective], tolerance: float) -> "pd.DataFrame":
    """Rows that stand for all others up to ``tolerance``; all of them where a value is absent or not above 0."""
    names = [item.metric for item in wanted if item.metric in front.columns]
    values = front[names].to_numpy(dtype=float)
    if tolerance <= 0 or not names or not (values > 0).all():
        return front
    signs = np.array([1.0 if item.direction == "min" else -1.0 for item in wanted if item.metric in front.columns])
    return front.iloc[cover(values**signs, tolerance)]


def _spread(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` positions of ``count``, evenly spread with both ends.

    >>> _spread(9, 3), _spread(2, 3), _spread(9, 1)
    ([0, 4, 8], [0, 1], [0])
    """
    if limit is None or count <= limit:
        return list(range(count))
    return [round(index * (count - 1) / max(limit - 1, 1)) for index in range(max(limit, 1))]


def _row(record: dict[Any, Any], variables: Sequence[str], names: Sequence[str], tail: Sequence[str]) -> list[str]:
    return [
        design_label(record, variables),
        *(metric_text(name, record[name]) for name in names),
        *(plain(record[name]) or "" for name in tail),
    ]
