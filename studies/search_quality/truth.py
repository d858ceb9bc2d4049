"""Simulate every design of a space that is not saturated, and write what a search would find there (hours of processor time).

    python studies/search_quality/truth.py SPACE TRACE [ROUTER]

Goes on where it was stopped: chunks lie in ``truth/.parts`` until the table is whole.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from spaces import OBJECTIVES, TRUTH, space, workload

from mist_dse import metrics
from mist_dse.analytic import saturated
from mist_dse.catalog import Catalog
from mist_dse.evaluation import _pool_row
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.perf.capacity import kv_blocks
from mist_dse.requests import realise
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import lower

CHUNK = 256
LATENCIES = [f"{name}_{level}" for name in ("ttft", "tpot", "e2e") for level in ("mean", "p90")]
COLUMNS = ["usd_per_hour", *LATENCIES]


@cache
def _asked(name: str, trace: str, router: str):
    chosen, prices, load = space(name, router=router), Catalog().prices("default"), workload(name, trace)
    return chosen.table(prices), Evaluator(workload=load, requests=realise(load), prices=prices)


def limits(design: Design) -> np.ndarray:
    """The batch limits [pool, 2] of a design."""
    return np.array([(pool.batching.max_num_seqs, pool.batching.max_num_batched_tokens) for pool in design.pools])


def unlimited(design: Design) -> str:
    """What designs that differ in batch limits alone have in common."""
    least = {"max_num_seqs": 1, "max_num_batched_tokens": 1}
    return replace(design, pools=tuple(replace(pool, batching=replace(pool.batching, **least)) for pool in design.pools)).design_id


def same(design: Design, other: Design, found: dict[str, Any], longest: int) -> bool:
    """Whether ``design`` has the outcome ``found`` of ``other``: its batch limits are lower, and none of them would ever have bound."""
    if (limits(design) > limits(other)).any():
        return False
    peaks = [[found[f"pool/{pool.name}/{peak}"] for peak in ("peak_seqs", "peak_step_tokens")] for pool in design.pools]
    if (limits(design) < peaks).any():
        return False
    for pool, larger in zip(design.pools, other.pools, strict=True):
        blocks, before = kv_blocks(pool), kv_blocks(larger)
        used = found[f"pool/{pool.name}/kv_occupancy"] * before + longest / pool.engine.block_size + pool.engine.watermark * blocks + 1
        if blocks != before and used > blocks:
            return False
    return True


def group(designs: Sequence[Design], evaluator: Evaluator) -> list[dict[str, object]]:
    """Rows of designs that differ in batch limits alone: demand and verdict, and metrics where it is not saturated (`evaluate`
    gives the same verdict); a run stands for all whose limits would not have bound in it, and ``run`` is the place of its design."""
    rows: list[dict[str, object]] = [{}] * len(designs)
    ran: list[tuple[int, dict[str, Any]]] = []
    longest = int((evaluator.requests.input_tokens + evaluator.requests.max_tokens).max())
    for place in sorted(range(len(designs)), key=lambda index: tuple(-limits(designs[index]).ravel())):
        design = designs[place]
        lowered = lower(design, evaluator.requests, pool_row=_pool_row)
        asked = {} if isinstance(lowered, Infeasible) else metrics.demands(lowered, metrics.shared_names(design), evaluator.requests)
        demand = metrics.highest(asked, steps=False)[2] if asked else np.nan
        rows[place] = {"run": place, "demand": demand, "feasible": False}
        if not asked or saturated(asked, evaluator.requests):
            continue
        run, found = next(((run, known) for run, known in ran if same(design, designs[run], known, longest)), (place, None))
        if found is None:
            found = evaluator.row(design)
            ran.append((place, found))
        rows[place] = {"run": run, "demand": demand, "feasible": found["feasible"], **{column: found[column] for column in COLUMNS}}
    return rows


def part(name: str, trace: str, router: str, number: int, groups: Sequence[Sequence[int]]) -> None:
    """One chunk of groups, unless it is there already."""
    path = TRUTH / ".parts" / f"{name}_{trace}_{router}_{number}.parquet"
    if path.exists():
        return
    table, evaluator = _asked(name, trace, router)
    rows = [
        {**row, "run": each[int(str(row["run"]))]} for each in groups for row in group([table.design(index) for index in each], evaluator)
    ]
    found = pd.DataFrame(rows, columns=["run", "demand", "feasible", *COLUMNS], index=[index for each in groups for index in each])
    found.to_parquet(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def chunks(table: DesignTable) -> list[list[list[int]]]:
    """Designs by group, and groups in chunks of some `CHUNK` designs."""
    groups: dict[str, list[int]] = {}
    for index in range(len(table)):
        groups.setdefault(unlimited(table.design(index)), []).append(index)
    ends = np.cumsum([len(each) for each in groups.values()]) // CHUNK
    found: list[list[list[int]]] = [[] for _ in range(int(ends[-1]) + 1)]
    for number, each in zip(ends, groups.values(), strict=True):
        found[int(number)].append(each)
    return found


def main(name: str, trace: str, router: str = "round_robin") -> None:
    """Every chunk, on all cores; then one table of the objectives."""
    import truth  # by its name, as workers import it: what a script defines itself is sent by value, caches cannot be

    (TRUTH / ".parts").mkdir(parents=True, exist_ok=True)
    work = list(enumerate(chunks(_asked(name, trace, router)[0])))
    Parallel(n_jobs=-1, verbose=1)(delayed(truth.part)(name, trace, router, number, groups) for number, groups in work)
    parts = [TRUTH / ".parts" / f"{name}_{trace}_{router}_{number}.parquet" for number, _ in work]
    found = pd.concat([pd.read_parquet(path) for path in parts]).sort_index()
    found.to_parquet(TRUTH / ".parts" / f"all_{name}_{trace}_{router}.parquet")
    suffix = "" if router == "round_robin" else f"_{router}"
    kept = found[["run", "feasible", *(goal.removeprefix("min ") for goal in OBJECTIVES)]]
    kept.to_parquet(TRUTH / f"{name}_{trace}{suffix}.parquet", compression="zstd")
    print(f"{name} {trace}: {len(found):,} designs, {int(found['feasible'].sum()):,} feasible", Path(__file__).name)


if __name__ == "__main__":
    main(*sys.argv[1:])
