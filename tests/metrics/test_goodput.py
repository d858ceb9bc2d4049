"""The search for the largest rate on functions whose answer is known, and what counts as meeting an SLO."""

from dataclasses import replace
from typing import Any

from hypothesis import given, strategies as st

from mist_dse.metrics import METRICS, MaxGoodput, largest_factor, promises, saturating_factor, slo_missed
from mist_dse.metrics.goodput import LOWEST, TOLERANCE
from mist_dse.specs.evaluation import Evaluation, Infeasible
from mist_dse.specs.workload import Slo, Workload, WorkloadClass

PLAIN = Workload.poisson(rate=1.0, input_tokens=1, output_tokens=1, requests=6)


def late(above: float, tried: list[float]) -> Any:
    def misses(factor: float) -> tuple[str, ...]:
        tried.append(factor)
        return ("late",) if factor > above else ()

    return misses


@given(top=st.floats(1e-6, 1e6), share=st.floats(LOWEST, 0.999999))
def test_the_edge_is_found_to_one_per_cent_in_eleven_runs(top: float, share: float) -> None:
    tried: list[float] = []
    found, limited = largest_factor(late(share * top, tried), top, limit="")
    assert found <= share * top * (1 + 1e-12)
    assert share * top <= found * (1 + TOLERANCE) * (1 + 1e-12)
    assert limited == ("late",)
    assert found in tried
    assert len(tried) <= 11
    assert len(set(tried)) == len(tried)


def test_the_ends_are_verified() -> None:
    tried: list[float] = []
    assert largest_factor(late(9.0, tried), 8.0, limit="full") == (8.0, ("full",))
    assert tried == [8.0]
    assert largest_factor(late(0.0, tried := []), 8.0, limit="full") == (0.0, ("late",))
    assert tried == [8.0, 8.0 * LOWEST]


@given(edges=st.lists(st.floats(0.02, 0.99), min_size=3, max_size=3, unique=True).map(sorted))
def test_where_attainment_comes_and_goes_the_answer_still_meets_it(edges: list[float]) -> None:
    """Met below the first edge and between the others: the answer is one of the two upper ends, and above it is a miss."""

    def misses(factor: float) -> tuple[str, ...]:
        return () if factor <= edges[0] or edges[1] < factor <= edges[2] else ("late",)

    found, _ = largest_factor(misses, 1.0, limit="full")
    assert not misses(found)
    assert any(edge / (1 + TOLERANCE) <= found * (1 + 1e-12) and found <= edge for edge in edges)


@given(rate=st.floats(1e-3, 1e3), capacity=st.floats(1e-3, 1e3))
def test_saturation_is_where_demand_reaches_one(rate: float, capacity: float) -> None:
    factor, why = saturating_factor(lambda factor: (rate * factor, rate * factor / capacity))
    assert capacity / rate / 1.0011 < factor < capacity / rate
    assert why == "demand reaches capacity"


def run(
    *, classes: dict[str, dict[str, float | None]] | None = None, violations: tuple[Infeasible, ...] = (), **metrics: float
) -> Evaluation:
    values = dict.fromkeys(METRICS) | metrics
    rows = {name: dict.fromkeys(METRICS) | row for name, row in (classes or {}).items()}
    return Evaluation(design_id="x", fidelity="simulated", metrics=values, classes=rows, violations=violations)


def test_limits_on_latency_and_the_target_of_attainment() -> None:
    asked = replace(PLAIN, slo=Slo(per_request=(("ttft", 1.0),), limits=("ttft_p90 <= 1 s", "usd_per_mtok <= 1")))
    assert slo_missed(run(ttft_p90=1.0, slo_attainment=0.9, usd_per_mtok=5.0), asked) == ()
    assert slo_missed(run(ttft_p90=1.01, slo_attainment=0.9), asked) == ("ttft_p90 <= 1 s",)
    assert slo_missed(run(ttft_p90=1.0, slo_attainment=0.899), asked) == ("slo_attainment >= 0.9",)
    assert len(slo_missed(run(slo_attainment=0.5), asked)) == 2  # an undefined percentile is not kept


def test_a_target_of_its_own_replaces_the_usual_one() -> None:
    asked = replace(PLAIN, slo=Slo(per_request=(("ttft", 1.0),), limits=("slo_attainment >= 0.5",)))
    assert slo_missed(run(slo_attainment=0.6), asked) == ()
    assert slo_missed(run(slo_attainment=0.4), asked) == ("slo_attainment >= 0.5",)


def test_saturation_misses_whatever_the_latencies() -> None:
    asked = replace(PLAIN, slo=Slo(limits=("ttft_p90 <= 1 s",)))
    saturated = Infeasible(kind="saturated", constraint="serve is saturated", margin=0.1)
    assert slo_missed(run(ttft_p90=0.5, violations=(saturated,)), asked) == ("serve is saturated",)


def test_every_class_keeps_its_own() -> None:
    chat = WorkloadClass(name="chat", share=1.0, slo=Slo(per_request=(("ttft", 1.0),), limits=("ttft_p90 <= 1 s",)))
    asked = replace(PLAIN, slo=Slo(per_request=(("ttft", 9.0),)), classes=(chat, WorkloadClass(name="batch", share=9.0)))
    good = {"chat": {"ttft_p90": 0.9, "slo_attainment": 0.95}, "batch": {"slo_attainment": 0.9}}
    assert slo_missed(run(classes=good, slo_attainment=0.9), asked) == ()
    bad = {"chat": {"ttft_p90": 1.1, "slo_attainment": 0.5}, "batch": {"slo_attainment": 1.0}}
    assert slo_missed(run(classes=bad, slo_attainment=0.95), asked) == ("class chat: ttft_p90 <= 1 s", "class chat: slo_attainment >= 0.9")


def test_what_is_a_promise() -> None:
    assert not promises(PLAIN)
    assert not promises(replace(PLAIN, slo=Slo(limits=("usd_per_mtok <= 1",))))
    assert promises(replace(PLAIN, slo=Slo(per_request=(("e2e", 1.0),))))
    assert promises(replace(PLAIN, classes=(WorkloadClass(name="a", share=1.0, slo=Slo(limits=("tpot_p90 <= 1 s",))),)))


def test_the_metrics_of_a_search_are_known_ones() -> None:
    assert MaxGoodput(2.0, run(usd_per_mtok=3.0), ()).metrics == {"max_goodput_rps": 2.0, "usd_per_mtok_at_max": 3.0}
    assert MaxGoodput(0.0, None, ()).metrics == {"max_goodput_rps": 0.0, "usd_per_mtok_at_max": None}
    assert set(MaxGoodput(None, None, ()).metrics) <= set(METRICS)
