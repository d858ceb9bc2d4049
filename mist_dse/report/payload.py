"""The data of a report's page as JSON that can stand inside a script element: columns of the shown rows, units, limits, figures.

Columns are stored once each: text as a dictionary and indices, numbers with five significant digits, anything undefined as null.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mist_dse.metrics import METRICS
from mist_dse.report.details import details_payload
from mist_dse.report.figures.breakdown import breakdown_figure
from mist_dse.report.figures.front import axis_parts, directions, front_figure, plane
from mist_dse.report.figures.palette import SCALE
from mist_dse.report.run import BOOKKEEPING, Run
from mist_dse.report.shown import FRONT
from mist_dse.report.stays import SOURCES, front_shares
from mist_dse.report.text import SCALED_UNITS, design_label, plain, quantity_unit, short_name, unit_of

if TYPE_CHECKING:
    import pandas as pd


def payload(run: Run, rows: "pd.DataFrame") -> dict[str, Any]:
    """Everything that the page's script reads, as JSON data; ``rows`` as from `shown_rows`."""
    columns = run.columns
    variables = columns.variables
    stored = [name for name in (*BOOKKEEPING, "kind", *variables, *columns.metrics) if name in rows.columns]
    breakdown = [(stage, cause, f"breakdown/{stage}/{cause}") for stage, cause in columns.breakdown]
    pools = [(pool, quantity, f"pool/{pool}/{quantity}", quantity_unit(quantity)) for pool, quantity in columns.pools]
    stored += [item[2] for item in (*breakdown, *pools) if item[2] in rows.columns]
    shares = front_shares(run, rows)
    return {
        "rows": len(rows),
        "scaled": SCALED_UNITS,
        "scale": scale_stops(),
        "label": labels(run, rows),
        "columns": {name: packed(rows[name]) for name in stored} | {name: packed(values) for name, values in shares.items()},
        "robustness": [source._asdict() for source in SOURCES if source.name in shares],
        "details": details_payload(run, rows),
        "variables": [{"name": name, "short": short_name(name), "varies": _varies(rows, name)} for name in variables],
        "metrics": {name: _metric(name) for name in columns.metrics},
        "objectives": [{"metric": item.metric, "direction": item.direction} for item in run.objectives],
        "limits": [limit._asdict() for limit in run.limits],
        "breakdown": breakdown,
        "pools": pools,
        "plane": _plane(run, rows),
        "figures": _figures(run, rows, breakdown),
    }


def scale_stops() -> list[list[Any]]:
    """The continuous colour scale as pairs of share and colour, for lines that the script draws itself."""
    from plotly.colors import get_colorscale

    return [list(stop) for stop in get_colorscale(SCALE)]


def labels(run: Run, rows: "pd.DataFrame") -> list[str]:
    """One line per row that says what the design is."""
    variables = run.columns.variables
    records = rows.reindex(columns=[*variables, "design_id"]).to_dict("records")
    return [design_label({str(name): value for name, value in record.items()}, variables) for record in records]


def packed(values: Iterable[Any]) -> Any:
    """A column of values: a list of numbers and nulls, or ``{"words": [...], "at": [...]}`` where any is text.

    >>> packed([1.5, float("nan"), 2.0]), packed(["a", "b", "a", None])
    ([1.5, None, 2], {'words': ['a', 'b'], 'at': [0, 1, 0, -1]})
    """
    items = [plain(value) for value in values]
    if not any(isinstance(item, str) for item in items):
        return [_rounded(item) for item in items]
    words = list(dict.fromkeys(str(item) for item in items if item is not None))
    place = {word: index for index, word in enumerate(words)}
    return {"words": words, "at": [-1 if item is None else place[str(item)] for item in items]}


def script_json(data: Any) -> str:
    """Strict JSON in which no ``<``, ``>``, ``&`` or line separator is left, so that no text can end the script element that holds it."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _varies(rows: "pd.DataFrame", name: str) -> bool:
    return name in rows.columns and len({plain(value) for value in rows[name]}) > 1


def _metric(name: str) -> dict[str, str]:
    return {"unit": unit_of(name), "direction": METRICS[name].direction, "description": METRICS[name].description}


def _plane(run: Run, rows: "pd.DataFrame") -> dict[str, Any]:
    """The axes that the plot can take, each with its title, scale, limits and better direction, and the three it starts with."""
    start = plane(run, rows)
    names = dict.fromkeys([name for name in start if name] + [item.metric for item in run.objectives])
    return {"start": start, "axes": {name: axis_parts(run, rows, name) | {"better": directions(run, name, name)[0]} for name in names}}


def _figures(run: Run, rows: "pd.DataFrame", breakdown: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    first: Mapping[Any, Any] = rows.iloc[0].to_dict() if len(rows) else {}
    stages: dict[str, dict[str, float]] = {}
    for stage, cause, name in breakdown:
        stages.setdefault(stage, {})[cause] = float(plain(first.get(name)) or 0.0)
    return {"front": _front(run, rows)} | ({"breakdown": json.loads(breakdown_figure(stages).to_json())} if stages else {})


def _front(run: Run, rows: "pd.DataFrame") -> dict[str, Any]:
    """The front's figure without what the columns hold already: the script puts places, colours and texts in."""
    goals = [*(item.metric for item in run.objectives), *(limit.metric for limit in run.limits)]
    kept = [name for name in dict.fromkeys([*goals, "accelerators", "kind"]) if name in rows.columns]
    figure: dict[str, Any] = json.loads(front_figure(run, rows[kept]).to_json())
    for trace in figure["data"]:
        for name in ("x", "y", "hovertext"):
            trace.pop(name, None)
        for name in ("color", "colorscale", "colorbar") if trace["meta"] == FRONT else ():
            trace["marker"].pop(name, None)
    return figure
