"""Outcome classes against brute force: every design of a small space, copied or not, has the row of its own simulation."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.evaluation import simulate
from mist_dse.explore import sweep
from mist_dse.explore.runs.record import Row
from mist_dse.explore.searches.twins import ClassedEvaluator, Classes, Twin, group, twin_row
from mist_dse.requests import realise
from mist_dse.specs.design import Design
from tests.explore.spaces import space, workload

LIMITED = {
    "placement": ["colocated", "disaggregated"],
    "pools.*.replicas": [1, 2],
    "pools.*.batching.max_num_seqs": [8, 48, 256],
    "pools.prefill.batching.max_num_batched_tokens": [512, 4096, 16384],
}


def evaluator(rate: float = 6.0) -> ClassedEvaluator:
    load = workload(150, rate=rate)
    return ClassedEvaluator(workload=load, requests=realise(load), prices=Catalog().prices("default"))


def designs() -> list[tuple[dict, Design]]:
    table = space(vary=LIMITED, constraints=[]).table(Catalog().prices("default"))
    return [(table.values(index), table.design(index)) for index in range(len(table))]


@pytest.mark.parametrize("rate", [1.5, 12.0])
def test_a_search_that_copies_gives_every_design_the_row_of_its_own_run(rate: float) -> None:
    load = workload(150, rate=rate)
    found = sweep(space(vary=LIMITED, constraints=[]), load, executor="serial", evaluations=10_000, sampler={"batch": 40})
    copied = found.results["same_as"].notna()
    assert copied.sum() == found.manifest["copied_from_class"] > len(found.results) / 4
    assert (~copied).sum() == found.manifest["simulated"]
    own = evaluator(rate)
    by_id = {design.design_id: design for _, design in designs()}
    truth = pd.DataFrame([own.row(by_id[key]) for key in found.results["design_id"]])
    common = [name for name in truth.columns if name in found.results.columns]
    assert len(common) > 60
    pd.testing.assert_frame_equal(found.results[common], truth[common], check_dtype=False, check_exact=True)


def test_limits_that_bound_are_never_copied() -> None:
    """At high load the smallest batches fill up: designs with larger ones differ from them, and are simulated."""
    own = evaluator(12.0)
    rows = {design.design_id: own.row(design) for _, design in designs()}
    bound, classes = 0, Classes()
    for values, design in designs():
        row = rows[design.design_id]
        twin = classes.twin(group(values), design)
        if twin is None:
            classes.add(group(values), design, row)
        for pool in design.pools:
            if row[f"pool/{pool.name}/peak_seqs"] == pool.batching.max_num_seqs:
                bound += 1
                assert twin is None or twin.like.pool(pool.name).batching.max_num_seqs == pool.batching.max_num_seqs
    assert bound > 3


def test_what_only_looks_alike_is_simulated() -> None:
    """A twin named by mistake, whose batch would have been full, is found out by its rows or its peaks, or has the outcome all the same."""
    own, every = evaluator(12.0), designs()
    small = next(d for _, d in every if len(d.pools) == 1 and d.pools[0].batching.max_num_seqs == 8 and d.pools[0].replicas == 1)
    other = replace(small, pools=(replace(small.pools[0], replicas=2),))
    row = twin_row(own, Twin(small, other, own.row(other)))
    assert row == own.row(small)


def test_peaks_are_those_of_the_steps() -> None:
    _, design = designs()[0]
    own = evaluator()
    row: Row = own.row(design)
    steps = simulate(design, own.workload, requests=own.requests, steps=True, skip=False).steps
    assert steps is not None
    assert row["pool/prefill/peak_step_tokens"] == (steps.decodes + steps.prompt_tokens).max()


def test_a_limit_that_the_run_just_meets_is_a_shortage_of_sequences() -> None:
    """A run that peaks at twelve sequences shows what a limit of twelve would do, and that the limit is then reached."""
    own = evaluator(12.0)
    _, like = next((values, d) for values, d in designs() if len(d.pools) == 1 and d.pools[0].batching.max_num_seqs == 256)
    row = own.row(like)
    peak = int(row["pool/prefill/peak_seqs"])
    met = replace(like, pools=(replace(like.pools[0], batching=replace(like.pools[0].batching, max_num_seqs=peak)),))
    copy, truth = twin_row(own, Twin(met, like, row)), own.row(met)
    assert copy["same_as"] == like.design_id
    assert truth["bottleneck"] == "prefill: sequences"
    assert {name: value for name, value in copy.items() if name != "same_as"} == truth


@pytest.mark.parametrize("steps", [2, 5])
def test_a_search_that_was_interrupted_copies_what_an_undisturbed_one_copies(steps: int, tmp_path: Path) -> None:
    load, options = workload(150, rate=6.0), {"executor": "serial", "evaluations": 60, "sampler": {"batch": 24}}
    whole = sweep(space(vary=LIMITED, constraints=[]), load, **options)
    left = iter(range(steps))

    def ends(state: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(space(vary=LIMITED, constraints=[]), load, folder=tmp_path / "run", progress=ends, **options)
    parts = pd.concat(pd.read_parquet(path) for path in (tmp_path / "run" / "parts").glob("*.parquet"))
    assert set(pd.read_parquet(tmp_path / "run" / "results.parquet")["design_id"]) == set(parts["design_id"])
    again = sweep(space(vary=LIMITED, constraints=[]), load, resume=tmp_path / "run", **options)
    assert whole.manifest["copied_from_class"] > 10
    pd.testing.assert_frame_equal(again.results, whole.results, check_dtype=False, check_exact=True)
