"""Simulate every design of a space that is not saturated, and write what a search would find there (hours of processor time).

    python studies/search_quality/truth.py SPACE TRACE [ROUTER]

Goes on where it was stopped: chunks lie in ``truth/.parts`` until the table is whole.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from spaces import OBJECTIVES, TRUTH, space, workload

from mist_dse import metrics
from mist_dse.analytic import saturated
from mist_dse.catalog import Catalog
from mist_dse.evaluation import _pool_row
from mist_dse.explore.record import Evaluator
from mist_dse.requests import realise
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import lower

CHUNK = 256
LATENCIES = [f"{name}_{level}" for name in ("ttft", "tpot", "e2e") for level in ("mean", "p90")]
COLUMNS = ["usd_per_hour", *LATENCIES]


@cache
def _asked(name: str, trace: str, router: str):
    chosen, prices, load = space(name, router=router), Catalog().prices("default"), workload(name, trace)
    return chosen.table(prices), Evaluator(workload=load, requests=realise(load), prices=prices)


def row(design, evaluator: Evaluator) -> dict[str, object]:
    """Demand and verdict of a design, and the metrics of its simulation where it is not saturated: `evaluate` gives the same verdict."""
    lowered = lower(design, evaluator.requests, pool_row=_pool_row)
    if isinstance(lowered, Infeasible):
        return {"demand": np.nan, "feasible": False}
    asked = metrics.demands(lowered, metrics.shared_names(design), evaluator.requests)
    demand = metrics.highest(asked, steps=False)[2]
    if saturated(asked, evaluator.requests):
        return {"demand": demand, "feasible": False}
    found = evaluator.row(design)
    return {"demand": demand, "feasible": found["feasible"], **{column: found[column] for column in COLUMNS}}


def part(name: str, trace: str, router: str, start: int) -> None:
    """One chunk, unless it is there already."""
    path = TRUTH / ".parts" / f"{name}_{trace}_{router}_{start}.parquet"
    if path.exists():
        return
    table, evaluator = _asked(name, trace, router)
    rows = [row(table.design(index), evaluator) for index in range(start, min(start + CHUNK, len(table)))]
    pd.DataFrame(rows, columns=["demand", "feasible", *COLUMNS]).to_parquet(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def main(name: str, trace: str, router: str = "round_robin") -> None:
    """Every chunk, on all cores; then one table of the objectives."""
    (TRUTH / ".parts").mkdir(parents=True, exist_ok=True)
    starts = range(0, len(_asked(name, trace, router)[0]), CHUNK)
    import truth  # by its name, as workers import it: what a script defines itself is sent by value, caches cannot be

    Parallel(n_jobs=-1, verbose=1)(delayed(truth.part)(name, trace, router, start) for start in starts)
    parts = [TRUTH / ".parts" / f"{name}_{trace}_{router}_{start}.parquet" for start in starts]
    found = pd.concat([pd.read_parquet(path) for path in parts], ignore_index=True)
    found.to_parquet(TRUTH / ".parts" / f"all_{name}_{trace}_{router}.parquet")
    suffix = "" if router == "round_robin" else f"_{router}"
    kept = found[["feasible", *(goal.removeprefix("min ") for goal in OBJECTIVES)]]
    kept.to_parquet(TRUTH / f"{name}_{trace}{suffix}.parquet", compression="zstd")
    print(f"{name} {trace}: {len(found):,} designs, {int(found['feasible'].sum()):,} feasible", Path(__file__).name)


if __name__ == "__main__":
    main(*sys.argv[1:])
