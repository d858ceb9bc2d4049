"""The screen against `evaluate` at fidelity steady, design by design: same rows, same formulas, so nearly the same numbers."""

from dataclasses import replace

import numpy as np
import pytest

from mist_dse.analytic.demand import demand, highest
from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.explore import screen
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.screening import METRICS
from mist_dse.metrics import METRICS as KNOWN
from mist_dse.requests import realise
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.workload import Arrivals
from mist_dse.stages import lower
from tests.explore.spaces import BASE, VARY, catalog, space, workload


@pytest.fixture(scope="module")
def small():
    here, asked = space(), workload()
    return here, asked, screen(here, asked)


def test_screened_figures_are_those_of_evaluate(small) -> None:
    _, asked, screened = small
    requests, book = realise(asked), catalog().prices("default")
    certain = np.flatnonzero((screened.demand < 0.9) & np.isfinite(screened.demand))
    for index in certain[:: max(len(certain) // 12, 1)]:
        one = evaluate(screened.table.design(int(index)), asked, fidelity="steady", prices=book, requests=requests)
        for name in ("usd_per_hour", "accelerators"):
            assert screened.metrics[name][index] == pytest.approx(one.metrics[name])
        assert screened.metrics["usd_per_mtok"][index] == pytest.approx(one.metrics["usd_per_mtok"], rel=0.01)
        for name in ("ttft_mean", "ttft_p90", "tpot_mean", "e2e_mean"):
            assert screened.metrics[name][index] == pytest.approx(one.metrics[name], rel=0.05), name


def test_the_verdict_saturated_is_that_of_evaluate(small) -> None:
    here, asked, _ = small
    busy = replace(asked, arrivals=replace(asked.arrivals, rate=40.0))
    screened = screen(here, busy)
    requests = realise(busy)
    rows = np.flatnonzero(np.isfinite(screened.demand))[::9]
    for index in rows:
        one = evaluate(screened.table.design(int(index)), busy, fidelity="steady", requests=requests)
        saturated = any(item.kind == "saturated" for item in one.violations)
        if not 0.97 < screened.demand[index] < 1.03:
            assert saturated == (screened.demand[index] >= 1)
    assert (screened.demand[rows] >= 1).any()
    assert (screened.demand[rows] < 1).any()


def test_the_demand_is_that_of_the_one_function_and_latencies_come_after_it(small) -> None:
    here, asked, _ = small
    busy = replace(asked, arrivals=replace(asked.arrivals, rate=40.0))
    screened, requests = screen(here, busy), realise(busy)
    for index in range(0, len(screened), 7):
        lowered = lower(screened.table.design(index), requests)
        assert not isinstance(lowered, Infeasible)
        assert screened.demand[index] == pytest.approx(highest(demand(lowered.servers, lowered.jobs, requests))[2], rel=1e-9)
    beyond = screened.demand > BAND[1]
    assert beyond.any()
    for name in ("ttft_p90", "tpot_mean", "e2e_p99"):
        assert np.isnan(screened.metrics[name][beyond]).all()
        assert np.isfinite(screened.metrics[name][~beyond]).all()
    assert np.isfinite(screened.metrics["usd_per_hour"]).all()


def test_saturated_and_constraint_breaking_designs_are_not_feasible(small) -> None:
    _, _, screened = small
    assert not screened.feasible[screened.demand >= 1].any()
    assert (screened.metrics["tpot_p90"][screened.feasible] <= 0.06).all()
    assert not screened.feasible[~np.isfinite(screened.demand)].any()


def test_every_screened_metric_is_a_metric(small) -> None:
    assert set(METRICS) <= set(KNOWN)
    assert set(small[2].metrics) == set(METRICS)


def test_only_what_is_asked_is_kept() -> None:
    assert set(screen(space(), workload(), metrics=["ttft_p50"]).metrics) == {"ttft_p50", "tpot_p90"}


def test_hand_off_mode_matters_and_whole_is_slower() -> None:
    vary = {"handoff.mode": ["whole", "layerwise"]}
    screened = screen(space(vary=vary, where=[]), workload(rate=1.0))
    whole, layers = screened.metrics["e2e_mean"]
    assert whole > layers


def test_pools_that_do_not_fit_say_why() -> None:
    base = BASE | {"pools": {name: pool | {"model": "llama-3.1-70b"} for name, pool in BASE["pools"].items()}}
    with pytest.raises(EmptySpaceError, match=r"no pool of the space fits; the nearest miss: .*70b.*% off"):
        screen(space(base=base, vary=VARY | {"pools.*.tp": [1]}), workload())


def test_a_closed_loop_is_not_screened() -> None:
    closed = replace(workload(), arrivals=Arrivals(kind="closed", clients=8, requests=80))
    with pytest.raises(SpaceError, match="closed loop"):
        screen(space(), closed)


def test_prices_come_from_the_book_asked_for() -> None:
    low, high = (
        screen(space(where=[]), workload(), prices=name, metrics=["usd_per_hour"]).metrics["usd_per_hour"] for name in ("low", "high")
    )
    assert (low < high).all()
    assert isinstance(Catalog().prices("low").name, str)
