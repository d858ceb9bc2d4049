"""How often the shown designs stay on the front: the shares that ``mist-dse robustness`` stored beside a run, row by row."""

from typing import TYPE_CHECKING, NamedTuple

from mist_dse.report.run import Run

if TYPE_CHECKING:
    import pandas as pd

STORED = "robustness.parquet"


class Source(NamedTuple):
    """One thing that was drawn: its column, its title in a table, what it means."""

    name: str
    title: str
    description: str


SOURCES = (
    Source("p_front_prices", "prices", "Share of draws of the prices in which the design is on the front"),
    Source("p_front_books", "books", "Share of the packaged price books by which the design is on the front"),
    Source("p_front_intervals", "interval", "Share of draws of the errors of prediction in which the design is on the front"),
    Source("p_front_apart", "apart", "The same, with errors drawn for each design by itself"),
    Source("p_front_load", "load", "Share of loads, simulated again, at which the design is on the front"),
    Source("p_front_seeds", "seeds", "Share of seeds of the workload, simulated again, with which the design is on the front"),
)
"""Sources of doubt that a run may have stored, in the order of a table."""


def front_shares(run: Run, rows: "pd.DataFrame") -> "pd.DataFrame":
    """A column per source that the run stored, a value per row of ``rows``; NaN for designs that no draw brought up.

    A design whose outcome another has as well (all metrics equal) stands as that one does.
    """
    table = stored_shares(run)
    if table is None or "design_id" not in table.columns:
        return rows[[]]
    names = [source.name for source in SOURCES if source.name in table.columns and table[source.name].notna().any()]
    table = table.drop_duplicates("design_id").set_index("design_id")[names]
    outcome = _outcomes(run)
    known = table.set_axis(outcome.reindex(table.index), axis=0)
    known = known[known.index.notna() & ~known.index.duplicated()]
    own, shared = table.reindex(rows["design_id"]), known.reindex(outcome.reindex(rows["design_id"]))
    return own.reset_index(drop=True).fillna(shared.reset_index(drop=True))


def stored_shares(run: Run) -> "pd.DataFrame | None":
    """The table that ``mist-dse robustness`` wrote into the run's folder; None where it has not, or the file cannot be read."""
    import pandas as pd
    import pyarrow

    try:
        return pd.read_parquet(run.path / STORED)
    except (OSError, ValueError, pyarrow.ArrowException):
        return None


def outdated(run: Run) -> bool:
    """Whether results were written after the shares."""
    stored, results = run.path / STORED, run.path / "results.parquet"
    return stored.is_file() and results.is_file() and results.stat().st_mtime > stored.stat().st_mtime


def _outcomes(run: Run) -> "pd.Series":
    """The outcome's number by design, at the front's fidelity."""
    fine = run.results[run.results["fidelity"].astype(str) == run.fidelity].drop_duplicates("design_id", keep="last")
    groups = fine.groupby(["feasible", *run.columns.metrics], dropna=False, sort=False).ngroup()
    return groups.set_axis(fine["design_id"])
