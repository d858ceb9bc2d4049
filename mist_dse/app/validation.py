"""What ``mist-dse validate`` prints: scores by slice, the signed error by concurrency, decisions, intervals, what is not covered."""

from collections.abc import Mapping, Sequence
from typing import Any

from mist_dse.app.output import table_text
from mist_dse.validate.score import BUCKETS, VERDICT
from mist_dse.validate.slices import SLICES

SHOWN = (
    ("slice", "slice"), ("metric", "metric"), ("rows", "rows"), ("covered", "covered"), ("borrowed", "borrowed"), ("counted", "n"),
    ("mdape", "MdAPE"), ("p90", "p90"), ("mape", "MAPE"), ("bias", "bias"), ("spearman", "Spearman"), ("contained", "in 80%"),
    ("peer_rows", "both"), ("ours_mdape", "ours"), ("ours_p90", "p90"), ("peer_mdape", "peer"), ("peer_p90", "p90"),
)  # fmt: skip
"""Columns of the table, and their headings."""

LEGEND = """\
n: covered rows that are not set apart; borrowed: share of them without operators measured on the device; in 80%: share of
them inside the 80% interval; both: rows that the peer predicts too, then MdAPE and p90 of each; *: past its limit ({least} rows or more)"""

PAST = "*"
"""Mark of a figure that breaks its limit."""

REASONS = 8
"""Reasons shown, the most frequent first."""

COUNTS = ("rows", "counted", "peer_rows")
SHARES = ("covered", "borrowed", "contained")
RANKS = ("spearman",)


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    parts = (_head(report), _scores(report), behind(report), _bias(report), _picks(report), _reasons(report))
    return "\n".join(part for part in parts if part)


def _head(report: Mapping[str, Any]) -> str:
    closed = report["closed_loop"]
    head = f"{report['rows']} rows, {report['covered']} covered; scores of part {report['part']}, duplicates and quarantined rows apart"
    more = f"closed loop, aggregated, known model, no speculation: {closed['rows']} rows, {_cell('covered', closed['covered'])} covered"
    return f"{head}\n{more}" if closed["rows"] else head


def _scores(report: Mapping[str, Any]) -> str:
    shown = [(key, name) for key, name in SHOWN if any(key in row for row in _rows(report))]
    body = [[_marked(key, row) for key, _ in shown] for row in _rows(report)]
    table = _block(body, "", [name for _, name in shown], range(2, len(shown)))
    return f"{table}\n{LEGEND.format(least=VERDICT)}" if table else ""


def _rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores with the share inside the interval, for people: short metric names."""
    inside = {(row["slice"], row["metric"]): row["contained"] for row in report["intervals"]}
    known = [dict(row) | {"contained": inside.get((row["slice"], row["metric"])), "broken": _past(report, row)} for row in report["slices"]]
    return [row | {"metric": "tok/s" if row["metric"] == "output_tok_s" else row["metric"]} for row in known]


def _past(report: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The statistics of a row of scores that break their limits."""
    return [statistic for name, metric, statistic in report["broken"] if (name, metric) == (row["slice"], row["metric"])]


def _marked(key: str, row: Mapping[str, Any]) -> str:
    """The cell of a figure, with `PAST` where it breaks its limit."""
    broken = key in row.get("broken", ())
    return _cell(key, row.get(key)) + PAST * broken


def _bias(report: Mapping[str, Any]) -> str:
    known = [row for row in report["slices"] if row["metric"] == "ttft" and any(row[f"rows {name}"] for name in _BUCKETS)]
    body = [[row["slice"], *(f"{_cell('bias', row[f'bias {name}'])} ({row[f'rows {name}']})" for name in _BUCKETS)] for row in known]
    return _block(body, "median signed TTFT error by concurrency (rows)", ["", *_BUCKETS], range(1, 5))


def _picks(report: Mapping[str, Any]) -> str:
    deciders = (("all rows", "decision"), ("rows of both", "decision_beside_peer"), ("peer", "peer_decision"))
    figures = ("feasible", "nearly_feasible", "median_reached", "p10_reached")
    known = [(name, report[key]) for name, key in deciders if report[key]["picks"]]
    body = [[name, str(row["picks"]), *(_cell(figure, row[figure]) for figure in figures)] for name, row in known]
    return _block(body, "picked under a TPOT limit", ["", "picks", "feasible", "within 3%", "reached, median", "p10"], range(1, 6))


def _reasons(report: Mapping[str, Any]) -> str:
    return _block([[str(count), reason] for reason, count in list(report["uncovered"].items())[:REASONS]], "not covered", [], range(1))


def _block(body: list[list[str]], title: str, header: list[str], numbers: range) -> str:
    return table_text(body, title=title, header=header, numbers=numbers) if body else ""


_BUCKETS = tuple(name for name, _, _ in BUCKETS)


def _cell(key: str, value: Any) -> str:
    if value is None or value != value or (key == "peer_rows" and not value):
        return "-"
    if isinstance(value, str):
        return value
    if key in COUNTS:
        return f"{int(value)}"
    if key in RANKS:
        return f"{value:.3f}"
    return f"{100 * value:.0f}%" if key in SHARES or abs(value) >= 1 else f"{100 * value:.1f}%"


def markdown(report: Mapping[str, Any]) -> str:
    """One line per slice that states a limit, as a Markdown table: MdAPE (p90) of each metric, and the peer's on the rows of both."""
    lines = [
        "| slice | rows | covered | counted | TPOT | TTFT | E2E, or tok/s | both | TPOT: ours, peer | TTFT: ours, peer |",
        "|" + "---|" * 10,
    ]
    claimed = {one.name: one.covers for one in SLICES if one.limits}
    for name in claimed:
        rows = {row["metric"]: dict(row) | {"broken": _past(report, row)} for row in report["slices"] if row["slice"] == name}
        if rows:
            lines.append("| " + " | ".join([claimed[name], *_counts(rows), *_errors(rows), *_beside(rows)]) + " |")
    return "\n".join([*lines, *(["", said] if (said := behind(report)) else [])])


def behind(report: Mapping[str, Any]) -> str:
    """Where the peer's median error is smaller on the rows of both, among slices that state a limit; empty where nowhere."""
    claimed = {one.name: one.covers for one in SLICES if one.limits}
    found = [f"{claimed[row['slice']]}: {row['metric'].upper()} ({int(row['peer_rows'])} rows)" for row in report["slices"]
             if row["slice"] in claimed and row.get("peer_rows") and row["ours_mdape"] > row["peer_mdape"]]  # fmt: skip
    return f"The peer is nearer in: {'; '.join(found)}." if found else ""


def _counts(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    first = next(iter(rows.values()))
    return [_cell(key, first[key]) for key in ("rows", "covered", "counted")]


def _errors(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = [rows.get("tpot"), rows.get("ttft"), rows.get("e2e", rows.get("output_tok_s"))]
    return ["-" if row is None else f"{_marked('mdape', row)} ({_cell('p90', row['p90'])})" for row in known]


def _beside(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    known = [row for name in ("tpot", "ttft") if (row := rows.get(name)) and row.get("peer_rows")]
    if len(known) < 2:
        return ["-"] * 3
    return [
        _cell("peer_rows", known[0]["peer_rows"]),
        *(f"{_cell('', row['ours_mdape'])}, {_cell('', row['peer_mdape'])}" for row in known),
    ]


def operators_table(rows: Sequence[Mapping[Any, Any]]) -> str:
    """Scores of operators for people: names as they are, counts, errors in percent."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    body = [[_operator_cell(row.get(key)) for key in header] for row in rows]
    numbers = [index for index, key in enumerate(header) if rows and not isinstance(rows[0].get(key), str)]
    return table_text(body, header=header, numbers=numbers)


def _operator_cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{100 * value:.1f}%"
    return str(value)
