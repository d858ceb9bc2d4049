"""Bounds over a space, against every design of it simulated: never worse, and no design that they exclude is on the front."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.explore import ScreenTable, screen
from mist_dse.explore.front import front_mask
from mist_dse.explore.proofs.bounds import BOUNDED, Floors, design_bounds
from mist_dse.explore.proofs.certificate import EPSILONS, Asked, certificate, excluded
from mist_dse.explore.runs.record import Evaluator
from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.spaces.goals import minimised
from mist_dse.metrics import METRICS
from mist_dse.requests import realise
from tests.explore.spaces import space, workload

VARY = {
    "placement": ["colocated", "disaggregated"],
    "pools.*.accelerator": ["h100_sxm", "l40s"],
    "pools.*.replicas": [1, 2],
    "pools.prefill.router": ["round_robin", "jsq"],
    "pools.prefill.batching.max_num_batched_tokens": [512, 4096],
    "pools.decode.batching.max_num_seqs": [8, 128],
}


def asked(**changes: Any) -> Asked:
    job = workload(120)
    return Asked(space(vary=VARY, where=["accelerators <= 5"], **changes), job, realise(job), Catalog().prices("default"))


@cache
def screened() -> ScreenTable:
    job = asked()
    return screen(job.space, job.workload, prices=job.prices, requests=job.requests)


@cache
def simulated() -> pd.DataFrame:
    """Every design of the space, by index."""
    job, table = asked(), screened().table
    evaluator = Evaluator(workload=job.workload, requests=job.requests, prices=job.prices, constraints=job.space.constraints)
    return pd.DataFrame(evaluator([table.design(index) for index in range(len(table))]))


def test_law_10_no_bound_is_worse_than_the_simulation_of_any_design() -> None:
    job, table = asked(), screened().table
    bounds = design_bounds(table, np.arange(len(table)), BOUNDED, floors=Floors(job.workload, job.requests), prices=job.prices)
    assert bounds is not None
    assert len(table) > 100
    for name in BOUNDED:
        real = simulated()[name].to_numpy(dtype=float)
        assert np.isfinite(bounds[name]).all(), name
        better = bounds[name] <= real * (1 + 1e-9) if METRICS[name].direction == "min" else bounds[name] >= real * (1 - 1e-9)
        assert (better | np.isnan(real)).all(), name


@pytest.mark.parametrize("constraints", [[], ["tpot_p90 <= 12 ms"]])
def test_no_excluded_design_would_have_been_on_the_front(constraints: list[str]) -> None:
    job, table = asked(constraints=constraints), screened()
    goals = job.space.objectives
    order = screen_order(minimised(table.metrics, goals), table.feasible)[:30]
    points = np.array(simulated()[[goal.metric for goal in goals]], dtype=float)
    points[simulated()["violations"].str.contains("saturated")] = np.nan
    if constraints:
        points[~(simulated()["tpot_p90"] <= 0.012)] = np.nan
    left = np.setdiff1d(np.flatnonzero(table.demand <= 1.15), order)
    seen = order[front_mask(points[order])]
    masks = excluded(job, table, left, points[seen])
    assert masks is not None
    assert masks["0"].sum() > len(left) / 4
    assert (masks["0"] <= masks["0.02"]).all()
    ranked = np.concatenate([order, left])  # of equals the first, which was simulated, is kept
    front = set(ranked[front_mask(points[ranked])])
    assert not front & set(left[masks["0"]])
    for name, slack in EPSILONS.items():
        for point in points[left[masks[name]]]:
            if np.isfinite(point).all():
                assert (points[seen] <= point * (1 + slack) * (1 + 1e-9)).all(axis=1).any()


def test_certificates_by_what_is_left() -> None:
    job, table = asked(constraints=[]), screened()
    may = np.flatnonzero(table.demand <= 1.15)
    goals = [goal.metric for goal in job.space.objectives]
    best = np.array([[simulated()[goal].min() * 0.5 for goal in goals]])  # as if one design had beaten every bound
    assert certificate(job, table, may, best).found == "exact"
    assert certificate(job, table, may[:10], best * 0.1).found == "exact"
    weak = certificate(job, table, may[:1], best * 100)
    assert (weak.found, weak.excluded["0"], weak.left) == ("none", 0, len(may) - 1)
    blind = certificate(asked(constraints=[], objectives=["min watts", "min ttft_p90"]), table, may[:10], best)
    assert (blind.found, blind.excluded["0"]) == ("not certifiable", None)


def test_epsilon_lies_between_exact_and_none() -> None:
    job, table = asked(constraints=[], objectives=["min accelerators"]), screened()
    may = np.flatnonzero(table.demand <= 1.15)
    least = table.metrics["accelerators"][may].min()
    assert certificate(job, table, may[:1], np.array([[least * 0.999]])).found == "exact"
    assert certificate(job, table, may[:1], np.array([[least * 1.01]])).found == "epsilon"
    assert certificate(job, table, may[:1], np.array([[least * 1.05]])).found == "none"


def test_too_many_combinations_take_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from mist_dse.explore.proofs import bounds

    monkeypatch.setattr(bounds, "MOST_BOUNDS", 1)
    job, table = asked(constraints=[]), screened()
    found = certificate(job, table, np.arange(3), np.ones((1, 2)))
    assert (found.found, found.excluded["0"]) == ("none", None)
    assert "combinations" in found.reason
