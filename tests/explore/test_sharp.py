"""Bounds pair by pair, against every design of two small spaces simulated: none is beaten, and what is called exact is."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.catalog import Catalog
from mist_dse.evaluation import simulate
from mist_dse.explore import ScreenTable, screen
from mist_dse.explore.front import front_mask
from mist_dse.explore.proofs.bounds import Asked, Bounds, reached
from mist_dse.explore.proofs.certificate import certificate
from mist_dse.explore.proofs.combinations import Floors
from mist_dse.explore.proofs.exact import entry, longest_hops, ran_alone, slowest_link
from mist_dse.explore.proofs.sharp import PairFloors
from mist_dse.explore.runs.record import Evaluator
from mist_dse.requests import realise
from mist_dse.rows import Jobs
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import lower
from tests.explore.spaces import BASE, space, workload

ENGINES = ("vllm", "sglang")
"""The first token comes from the prefill pool, or from the decode pool."""

VARY = {
    "placement": ["colocated", "disaggregated"],
    "pools.*.accelerator": ["h100_sxm", "l40s"],
    "pools.prefill.tp": [1, 2],
    "pools.*.replicas": "1..3",
    "pools.decode.batching.max_num_seqs": [16, 128],
}
OBJECTIVES = ("min usd_per_hour", "min ttft_p90", "min tpot_p90")
METRICS = [text.removeprefix("min ") for text in OBJECTIVES]


@cache
def asked(engine: str, router: str = "round_robin") -> Asked:
    pools = {name: {**pool, "engine": engine, "router": router} for name, pool in BASE["pools"].items()}
    job = workload(260, rate=9.0)
    given = space(base={**BASE, "pools": pools}, vary=VARY, where=["accelerators <= 6"], objectives=list(OBJECTIVES), constraints=[])
    return Asked(given, job, realise(job), Catalog().prices("default"))


@cache
def screened(engine: str) -> ScreenTable:
    job = asked(engine)
    return screen(job.space, job.workload, prices=job.prices, requests=job.requests)


@cache
def simulated(engine: str) -> pd.DataFrame:
    job, table = asked(engine), screened(engine).table
    evaluator = Evaluator(workload=job.workload, requests=job.requests, prices=job.prices)
    return pd.DataFrame(evaluator([table.design(index) for index in range(len(table))]))


@cache
def bounds(engine: str) -> Bounds:
    taken = Bounds.taken(asked(engine), screened(engine))
    assert taken is not None
    return taken


@cache
def sharp(engine: str) -> Bounds:
    return bounds(engine).sharpened(np.flatnonzero(bounds(engine).may))


def measured(engine: str) -> np.ndarray:
    return simulated(engine)[METRICS].to_numpy(dtype=float)


def feasible(engine: str) -> np.ndarray:
    return np.flatnonzero(simulated(engine)["feasible"])


@pytest.mark.parametrize("engine", ENGINES)
def test_law_10_no_design_beats_its_own_bound(engine: str) -> None:
    every = feasible(engine)
    assert len(every) > 100
    for taken in (bounds(engine), sharp(engine)):
        assert not taken.violated(every, measured(engine)[every]).size
    assert (sharp(engine).points[every] >= bounds(engine).points[every]).all()
    assert (sharp(engine).points[every] > bounds(engine).points[every] + 1e-6).any(axis=0)[1:].all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_verdict_is_found_without_simulating(engine: str) -> None:
    assert np.array_equal(np.flatnonzero(bounds(engine).may), feasible(engine))


def test_prefill_stages_that_nothing_holds_back_are_exact() -> None:
    every = feasible("vllm")
    apart = every[sharp("vllm").sharp[every]]
    real = np.log10(measured("vllm")[apart, 1])
    assert (np.abs(sharp("vllm").points[apart, 1] - real) < 1e-9).mean() > 0.9
    assert (np.abs(bounds("vllm").points[apart, 1] - real) < 1e-9).mean() < 0.5


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("column", [1, 2])
def test_a_bound_that_is_one_per_cent_too_high_is_an_alarm(engine: str, column: int) -> None:
    every, good = feasible(engine), sharp(engine)
    tight = np.log10(measured(engine)[:, column]) - good.points[:, column]
    wrong = good.points.copy()
    wrong[:, column] += np.nanmin(tight[every]) + np.log10(1.01)
    spoilt = replace(good, points=wrong)
    assert spoilt.violated(every, measured(engine)[every]).size
    points = measured(engine)[every]
    front = points[front_mask(points)]
    spared = np.setdiff1d(every, good.left(front, np.zeros(0, dtype=np.int64)))[:1]
    rest = np.setdiff1d(every, spared)
    values = measured(engine)[rest]
    found = certificate(asked(engine), screened(engine), rest, front, measured=values, bounds=spoilt)
    assert found.found == "none"
    assert "better than their own bound" in found.reason
    assert certificate(asked(engine), screened(engine), rest, front, measured=values, bounds=good).found == "exact"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [2, 3])
def test_simulating_what_is_left_gives_the_true_front(engine: str, count: int) -> None:
    """Cheapest first, until nothing is left: the front found is the front of the whole space, and most designs were spared."""
    every, points = feasible(engine), measured(engine)[:, :count]
    taken = replace(sharp(engine), points=sharp(engine).points[:, :count], goals=sharp(engine).goals[:count])
    done = np.zeros(0, dtype=np.int64)
    while (left := taken.left(points[done], done)).size:
        done = np.append(done, left[np.argsort(points[left, 0], kind="stable")[:4]])
    true, found = (points[which][front_mask(points[which])] for which in (every, done))
    assert np.allclose(np.unique(true, axis=0), np.unique(found, axis=0), rtol=1e-9)
    assert len(done) < 0.6 * len(every)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.floats(0.0, 0.3))
def test_reached_is_what_comparing_all_pairs_says(seed: int, axes: int, epsilon: float) -> None:
    rng = np.random.default_rng(seed)
    points, front = rng.integers(0, 6, (80, axes)) / 4.0, rng.integers(0, 6, (12, axes)) / 4.0
    slow = np.any(np.all(10 ** front[None] <= 10 ** points[:, None] * (1 + epsilon) * (1 + 1e-9), axis=2), axis=1)
    assert np.array_equal(reached(points, front, epsilon), slow)


def pair(engine: str, **decode: Any) -> Design:
    table = screened(engine).table
    design = next(d for d in (table.design(index) for index in reversed(range(len(table)))) if len(d.pools) == 2)
    return replace(design, pools=tuple(replace(pool, **decode) if pool.name == "decode" else pool for pool in design.pools))


def alone(design: Design, job: Asked) -> Any:
    lowered = lower(design, job.requests)
    assert not isinstance(lowered, Infeasible)
    number = next(number for number, pool in enumerate(design.pools) if pool.name == "prefill")
    system = entry(lowered.servers, lowered.jobs, number)
    assert system is not None
    stage = ran_alone(*system, job.requests)
    assert stage is not None
    return lowered, number, stage


def test_a_prefill_pool_alone_runs_as_in_the_design() -> None:
    job = asked("vllm")
    lowered, number, stage = alone(pair("vllm"), job)
    run = simulate(pair("vllm"), job.workload, requests=job.requests)
    visits = np.flatnonzero(lowered.jobs.server == number)
    assert np.array_equal(run.records.visit_start[visits], stage.start)
    assert np.array_equal(run.records.visit_end[visits], stage.end)


def test_no_hand_off_takes_longer_than_proved() -> None:
    job = asked("vllm")
    design = pair("vllm")
    lowered, number, stage = alone(design, job)
    run = simulate(design, job.workload, requests=job.requests)
    sizes, parts = np.zeros(len(stage.end)), np.bincount(owners(lowered.jobs)[lowered.jobs.server == 2])
    np.add.at(sizes, owners(lowered.jobs), np.where(lowered.jobs.server == 2, lowered.jobs.work, 0.0))
    hops = longest_hops(stage, (sizes, int(parts.max())), tuple(slowest_link(pool, design.topology) for pool in design.pools))  # type: ignore[arg-type]
    assert hops is not None
    decoded = np.flatnonzero(lowered.jobs.server == 1 - number)
    waited = run.records.visit_ready[decoded] - stage.end[owners(lowered.jobs)[decoded]]
    assert (waited <= hops[owners(lowered.jobs)[decoded]] + 1e-9).all()
    assert waited.max() > 0


def owners(jobs: Jobs) -> np.ndarray:
    return np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))


def test_a_decode_pool_without_room_proves_nothing() -> None:
    """One slot: sequences pile up, and with them the KV that prompts wait for."""
    job = asked("vllm")
    few = pair("vllm", replicas=1)
    few = replace(few, pools=tuple(replace(pool, batching=replace(pool.batching, max_num_seqs=1)) for pool in few.pools))
    assert PairFloors(Floors(job.workload, job.requests)).of(few, known(job)) == {}


def known(job: Asked) -> Any:
    from mist_dse.explore.proofs.sharp import _Known

    return _Known(job.requests)


@pytest.mark.parametrize("router", ["jsq", "random"])
def test_other_routers_of_the_decode_pool_keep_the_bound(router: str) -> None:
    job = asked("vllm")
    work, pools = PairFloors(Floors(job.workload, job.requests)), known(job)
    table, proved = screened("vllm").table, 0
    for index in range(len(table) - 1, 0, -23):
        design = table.design(index)
        if len(design.pools) == 1:
            continue
        design = replace(design, pools=tuple(replace(pool, router=router) if pool.name == "decode" else pool for pool in design.pools))
        floor = work.of(design, pools)
        row = Evaluator(workload=job.workload, requests=job.requests, prices=job.prices).row(design)
        for name in METRICS[1:]:
            assert name not in floor or floor[name] <= row[name] * (1 + 1e-9)
        proved += bool(floor)
    assert proved


def test_pools_that_cannot_run_alone() -> None:
    job = asked("vllm")
    lowered, number, _ = alone(pair("vllm"), job)
    assert entry(lowered.servers, lowered.jobs, 1 - number) is None
    servers, jobs = entry(lowered.servers, lowered.jobs, number)  # type: ignore[misc]
    closed = job.requests._replace(clients=4)
    assert ran_alone(servers, jobs, closed) is None
    picky = servers._replace(engines=(servers.engines[0]._replace(router=5),))  # most free blocks
    assert ran_alone(picky, jobs, job.requests) is None
    assert ran_alone(servers, jobs._replace(emit=jobs.emit + 1), job.requests) is None
