"""Which stored rows a report shows: the front, a sample of what it dominates, and the nearest misses where nothing is feasible."""

from typing import TYPE_CHECKING

from mist_dse.report.run import Run

if TYPE_CHECKING:
    import pandas as pd

FRONT, DOMINATED, SCREENED, INFEASIBLE = "front", "dominated", "screened", "infeasible"
FRONT_ROWS, SAMPLE_ROWS, MISSED_ROWS = 2000, 5000, 100
"""Upper bounds on the rows of one report; ``front.csv`` holds the whole front whatever its length."""


def shown_rows(run: Run, *, sample: int = SAMPLE_ROWS, front: int = FRONT_ROWS) -> "pd.DataFrame":
    """The rows with a column ``kind``: front first (by the first objective), then a fixed random sample of the feasible rest.

    ``dominated`` rows have the fidelity of the front, ``screened`` ones a coarser one and no row at that fidelity.
    Where nothing is feasible, the rows of least violation come as ``infeasible`` instead.
    """
    import pandas as pd

    best = _best_first(run).head(front).assign(kind=FRONT)
    feasible = run.results[run.results["feasible"].astype(bool)].dropna(subset=_metrics(run))
    rest = feasible[~feasible["design_id"].isin(set(run.front["design_id"]) if len(run.front) else set())]
    fine = rest[rest["fidelity"].astype(str) == run.fidelity].assign(kind=DOMINATED)
    coarse = rest[~rest["design_id"].isin(set(run.results["design_id"][run.results["fidelity"].astype(str) == run.fidelity]))]
    dominated = _sample(fine, sample)
    screened = _sample(coarse.assign(kind=SCREENED), sample - len(dominated))
    missed = _missed(run).assign(kind=INFEASIBLE) if not run.results["feasible"].any() and not len(best) else best.head(0)
    parts = [part for part in (best, dominated, screened, missed) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else run.results.head(0).assign(kind="")


def _metrics(run: Run) -> list[str]:
    return [item.metric for item in run.objectives[:2]]


def _best_first(run: Run) -> "pd.DataFrame":
    first = run.objectives[0]
    if first.metric not in run.front.columns:
        return run.front
    return run.front.sort_values(first.metric, ascending=first.direction == "min", kind="stable")


def _sample(rows: "pd.DataFrame", count: int) -> "pd.DataFrame":
    return rows if len(rows) <= count else rows.sample(max(count, 0), random_state=0).sort_index()


def _missed(run: Run) -> "pd.DataFrame":
    """The designs nearest to feasible, each once at its finest fidelity: those that ran first, least violation first, since what does not
    fit a memory lacks a share of it, and limits on latencies are missed by more."""
    rows = run.results
    rows = rows.assign(_fine=rows["fidelity"].astype(str) == run.fidelity).sort_values("_fine", ascending=False, kind="stable")
    rows = rows.drop_duplicates("design_id").drop(columns="_fine")
    rows = rows.assign(_never=rows[_metrics(run)].isna().any(axis=1))
    keys = ["_never", *(["violation"] if "violation" in rows.columns else [])]
    return rows.sort_values(keys, kind="stable").drop(columns="_never").head(MISSED_ROWS)
