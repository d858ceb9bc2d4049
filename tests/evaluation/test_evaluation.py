"""The entrance: three fidelities of one design side by side."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mist_dse as md
from mist_dse.metrics import METRICS
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.workload import WorkloadClass
from tests.evaluation.fixed_service import design, service, workload as paced_workload

SESSIONS = md.Arrivals(kind="sessions", rate=1.0, requests=300, turns=3.0, think=2.0)
DESIGNS = ("tp4_colocated", "disagg_2x4")


def served(name: str) -> Design:
    return md.load_design(name, model="llama-3.1-70b")


def asked(warmup: float = 0.0, rate: float = 2.0, requests: int = 300, seed: int = 1) -> md.Workload:
    slo = md.Slo(per_request=(("ttft", 0.3), ("tpot", 0.05)))
    lengths = md.Lengths(kind="lognormal", mean=800, cv=1.0), md.Lengths(kind="lognormal", mean=100, cv=1.0)
    workload = md.Workload.poisson(rate=rate, input_tokens=lengths[0], output_tokens=lengths[1], requests=requests, seed=seed, slo=slo)
    return replace(workload, warmup=warmup)


def bounded(floor: Mapping[str, float | None], found: Mapping[str, float | None]) -> int:
    """Metrics that name a bound and have one here; none of them may be better than its bound."""
    checked = 0
    for metric in METRICS.values():
        best, real = floor[metric.name], found[metric.name]
        if metric.bound is not None and best is not None and real is not None:
            slack = 1e-9 * abs(real)
            assert best <= real + slack if metric.direction == "min" else best >= real - slack, metric.name
            checked += 1
    return checked


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_law_10_every_metric_that_names_a_bound(name: str, warmup: float, seed: int) -> None:
    """Bound never worse than simulated, for every metric that names one."""
    floor, found = (md.evaluate(served(name), asked(warmup, seed=seed), fidelity=fidelity).metrics for fidelity in ("bound", "simulated"))
    assert bounded(floor, found) >= 20


CLASSES = (
    WorkloadClass(name="chat", share=3.0, slo=md.Slo(per_request=(("ttft", 0.15),), limits=("ttft_p90 <= 1 ms",))),
    WorkloadClass(name="batch", share=1.0),
)


@pytest.mark.parametrize("change", [{"classes": CLASSES}, {"arrivals": SESSIONS}], ids=["classes", "sessions"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_law_10_where_requests_differ_and_follow_each_other(change: Mapping[str, Any], warmup: float) -> None:
    workload = replace(asked(warmup), **change)
    floor, found = (md.evaluate(served("tp4_colocated"), workload, fidelity=fidelity).metrics for fidelity in ("bound", "simulated"))
    assert floor["slo_attainment"] is not None
    assert bounded(floor, found) >= 20


def test_classes_are_counted_and_held_to_their_own_limits() -> None:
    result = md.evaluate(served("tp4_colocated"), replace(asked(), classes=CLASSES))
    assert list(result.classes) == ["chat", "batch"]
    assert sum(row["completed"] for row in result.classes.values()) == result.completed == 300
    assert result.classes["chat"]["completed"] == pytest.approx(225, abs=30)  # three of four, 300 draws
    assert sum(row["goodput_rps"] for row in result.classes.values()) == pytest.approx(result.metrics["goodput_rps"])
    assert [item.constraint for item in result.violations] == ["class chat: ttft_p90 breaks ttft_p90 <= 1 ms"]
    steady = md.evaluate(served("tp4_colocated"), replace(asked(), classes=CLASSES), fidelity="steady")
    assert (steady.classes, steady.violations) == ({}, ())  # the mean field does not tell classes apart


def test_a_single_class_is_held_to_its_limits_as_the_whole() -> None:
    for fidelity in ("steady", "simulated"):
        result = md.evaluate(served("tp4_colocated"), replace(asked(), classes=CLASSES[:1]), fidelity=fidelity)
        assert result.classes == {}
        assert [item.constraint for item in result.violations] == ["class chat: ttft_p90 breaks ttft_p90 <= 1 ms"]


def test_a_limit_that_no_class_has_is_refused() -> None:
    (chat, batch), slo = CLASSES, md.Slo(limits=("usd_per_mtok <= 1",))
    with pytest.raises(SpecError, match=r"class chat: .*usd_per_mtok is not told apart by class"):
        md.evaluate(served("tp4_colocated"), replace(asked(requests=20), classes=(replace(chat, slo=slo), batch)))


def test_a_growing_backlog_is_a_remark_and_demand_the_verdict() -> None:
    """Twice what one sequence at a time can serve: half of the arrivals pile up. A closed loop cannot."""
    result = md.evaluate(design(), paced_workload(rate=2 / service(), requests=1000))
    assert result.backlog["grew"]
    assert result.backlog["growth"] == pytest.approx(0.5, abs=0.05)
    assert [item.kind for item in result.violations] == ["saturated"]
    assert result.unfinished == 0
    calm = md.evaluate(design(), paced_workload(rate=0.5 / service(), requests=1000))
    assert (calm.backlog["grew"], calm.feasible) == (False, True)
    closed = replace(paced_workload(rate=1.0, requests=500), arrivals=md.Arrivals(kind="closed", clients=50, requests=500))
    assert md.evaluate(design(), closed).backlog == {}


def test_records_name_the_class_and_the_session() -> None:
    frame = md.simulate(served("tp4_colocated"), replace(asked(), classes=CLASSES, arrivals=SESSIONS)).to_pandas()
    assert set(frame["class"]) == {"chat", "batch"}
    assert (frame.groupby("session")["class"].nunique() == 1).all()
    assert "class" not in md.simulate(served("tp4_colocated"), asked(requests=5)).to_pandas()


@pytest.mark.parametrize("name", DESIGNS)
def test_steady_and_simulated_agree_at_low_load(name: str) -> None:
    steady, found = (md.evaluate(served(name), asked(rate=0.2, requests=2000), fidelity=kind).metrics for kind in ("steady", "simulated"))
    for metric in ("ttft_mean", "tpot_mean", "e2e_mean", "usd_per_mtok"):
        assert steady[metric] == pytest.approx(found[metric], rel=0.05), metric


def test_a_saturated_design_is_infeasible_at_every_fidelity_with_its_margin() -> None:
    workload = asked(rate=200.0)
    results = [md.evaluate(served("tp4_colocated"), workload, fidelity=fidelity) for fidelity in ("bound", "steady", "simulated")]
    assert [[item.kind for item in result.violations] for result in results] == [["saturated"]] * 3
    assert len({result.violations[0].margin for result in results}) == 1
    assert results[0].violation > 1


def test_limits_of_the_workload_are_judged() -> None:
    workload = replace(asked(), slo=md.Slo(limits=("ttft_p90 <= 1 ms", "tpot_p90 <= 10 s")))
    result = md.evaluate(served("tp4_colocated"), workload)
    assert [item.kind for item in result.violations] == ["constraint"]
    assert "ttft_p90" in result.violations[0].constraint


def test_what_can_never_fit_is_counted_against_the_design() -> None:
    workload = md.Workload.poisson(rate=1.0, input_tokens=200_000, output_tokens=10, requests=5)
    result = md.evaluate(served("tp4_colocated"), workload)
    assert result.rejected == 5
    assert any(item.kind == "length" for item in result.violations)


def test_a_simulation_has_the_columns_of_its_records() -> None:
    simulation = md.simulate(served("disagg_2x4"), asked(requests=50))
    np.testing.assert_array_equal(simulation.first_token, simulation.records.first_token)
    frame = simulation.to_pandas()
    assert list(frame["status"].unique()) == ["completed"]
    done = frame.dropna()
    assert (done["prefill_end_s"] <= done["decode_start_s"]).all()


def test_breakdown_sums_to_the_mean_latency() -> None:
    result = md.evaluate(served("disagg_2x4"), asked())
    assert sum(sum(causes.values()) for causes in result.breakdown.values()) == pytest.approx(result.metrics["e2e_mean"])


def test_a_warm_up_of_everything_is_refused() -> None:
    with pytest.raises(SpecError, match="warmup is 1"):
        asked(warmup=1.0)
