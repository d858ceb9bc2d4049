"""The largest rate within an SLO: queues whose answer is known in closed form, and what the search promises."""

from dataclasses import replace

import numpy as np
import pytest

import mist_dse as md
from mist_dse.analytic import offered_rate
from mist_dse.evaluation import max_goodput
from mist_dse.metrics import slo_missed
from mist_dse.requests import paced, realise
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import WorkloadClass
from tests.evaluation.fixed_service import design, mean_stay, service, wait_beyond, workload


def load_where(times: float, beyond: float) -> float:
    """The load at which the wait exceeds ``times`` services with probability ``beyond``."""
    low, high = 0.0, 0.99
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if wait_beyond(middle, times) < beyond else (low, middle)
    return low


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_mean_latency_of_fixed_services(load: float) -> None:
    """M/D/1: the mean stay 1 + rho/(2 (1 - rho)) grows with the rate, so that a limit on it is a rate (1% of tolerance, 2% of noise)."""
    slo = md.Slo(limits=(f"e2e_mean <= {mean_stay(load) * service()} s",))
    found = max_goodput(design(), workload(rate=1.0, requests=10_000, warmup=0.02, slo=slo))
    assert found.rate == pytest.approx(load / service(), rel=0.03)
    assert found.limited_by[0].startswith("e2e_mean <= ")


@pytest.mark.parametrize(("times", "target"), [(1.0, 0.9), (2.5, 0.99)])
def test_share_of_fixed_services_in_time(times: float, target: float) -> None:
    """M/D/1: the share that waits at most so long, by Erlang's series, reaches 90% (or what is asked) up to a known load."""
    limits = () if target == 0.9 else (f"slo_attainment >= {target}",)
    slo = md.Slo(per_request=(("e2e", (1 + times) * service()),), limits=limits)
    found = max_goodput(design(), workload(rate=1.0, requests=10_000, warmup=0.02, slo=slo))
    assert found.rate == pytest.approx(load_where(times, 1 - target) / service(), rel=0.03)
    assert found.evaluation is not None
    assert found.evaluation.metrics["slo_attainment"] >= target


def test_without_any_wait_it_is_where_demand_reaches_capacity() -> None:
    """Evenly spaced arrivals of fixed services never wait below saturation, which is one per service; and it is never exceeded."""
    slo = md.Slo(limits=(f"e2e_p99 <= {1.5 * service()} s",))
    found = max_goodput(design(), workload(rate=1.0, requests=2000, kind="uniform", slo=slo))
    assert found.rate == pytest.approx(1 / service(), rel=0.01)
    assert found.rate < 1 / service()
    assert found.limited_by == ("demand reaches capacity",)
    assert found.evaluation is not None
    assert found.evaluation.feasible


def chat(rate: float = 2.0, **rest: object) -> md.Workload:
    lengths = md.Lengths(kind="lognormal", mean=800, cv=1.0), md.Lengths(kind="lognormal", mean=100, cv=1.0)
    made = md.Workload.poisson(rate=rate, input_tokens=lengths[0], output_tokens=lengths[1], requests=1500, seed=5)
    return replace(made, **{"slo": md.Slo(per_request=(("ttft", 0.5), ("tpot", 0.03)))} | rest)


SERVED = md.load_design("tp4_colocated", model="llama-3.1-70b")


def test_the_ends_are_runs_of_the_same_requests() -> None:
    asked = chat()
    found = max_goodput(SERVED, asked)
    assert found.rate
    assert found.evaluation is not None
    assert slo_missed(found.evaluation, asked) == ()
    table = realise(asked)
    factor = found.rate / offered_rate(table)
    same, above = (md.evaluate(SERVED, asked, requests=paced(table, factor * more)) for more in (1.0, 1.01))
    assert slo_missed(above, asked) == found.limited_by
    for name, value in same.metrics.items():
        assert value is found.evaluation.metrics[name] is None or value == pytest.approx(found.evaluation.metrics[name], rel=1e-6), name
    assert found.metrics["usd_per_mtok_at_max"] == found.evaluation.metrics["usd_per_mtok"]


def test_the_rate_asked_does_not_matter() -> None:
    slow, fast, overloaded = (max_goodput(SERVED, chat(rate)).rate for rate in (0.05, 2.0, 300.0))
    assert slow == pytest.approx(fast, rel=0.012)
    assert overloaded == pytest.approx(fast, rel=0.012)


def test_every_class_must_be_served() -> None:
    """The stricter class decides: as if all had its promise where both are alike, and less than with the looser one alone."""
    strict, loose = md.Slo(per_request=(("ttft", 0.12),)), md.Slo(per_request=(("ttft", 3.0),))
    both = (WorkloadClass(name="a", share=1.0, slo=strict), WorkloadClass(name="b", share=1.0, slo=loose))
    mixed, relaxed, hard = (max_goodput(SERVED, chat(**rest)) for rest in ({"classes": both}, {"slo": loose}, {"slo": strict}))
    assert mixed.limited_by == ("class a: slo_attainment >= 0.9",)
    assert mixed.rate == pytest.approx(hard.rate, rel=0.05)
    assert mixed.rate < 0.8 * relaxed.rate


def test_a_promise_that_no_rate_keeps_is_zero() -> None:
    found = max_goodput(SERVED, chat(slo=md.Slo(per_request=(("ttft", 1e-6),))))
    assert found.metrics == {"max_goodput_rps": 0.0, "usd_per_mtok_at_max": None}
    assert found.limited_by == ("slo_attainment >= 0.9",)


@pytest.mark.parametrize(("asked", "why"), [
    (chat(slo=None), "promises nothing"),
    (chat(arrivals=md.Arrivals(kind="closed", clients=4, requests=50)), "no arrival rate"),
    (chat(arrivals=md.Arrivals(kind="batch", requests=50)), "no arrival rate"),
])  # fmt: skip
def test_undefined_is_none_and_says_why(asked: md.Workload, why: str) -> None:
    found = max_goodput(SERVED, asked)
    assert found.metrics == {"max_goodput_rps": None, "usd_per_mtok_at_max": None}
    assert why in found.limited_by[0]


def test_drawn_sessions_are_served_up_to_a_rate() -> None:
    asked = chat(arrivals=md.Arrivals(kind="sessions", rate=1.0, requests=600, turns=4.0, think=2.0))
    asked = replace(asked, slo=md.Slo(per_request=(("ttft", 3.0), ("tpot", 0.03))))
    found = max_goodput(SERVED, asked)
    assert found.limited_by == ("slo_attainment >= 0.9",)
    below, above = (replace(asked, arrivals=replace(asked.arrivals, rate=found.rate * factor)) for factor in (1.0, 1.3))
    assert slo_missed(md.evaluate(SERVED, below), asked) == ()
    assert slo_missed(md.evaluate(SERVED, above), asked) == found.limited_by


def test_recorded_sessions_come_no_faster_than_users_think() -> None:
    """Two turns each, the second 1,000 s after the first: at most 200 requests in 1,000 s."""
    count = 100
    table = realise(chat(arrivals=md.Arrivals(kind="uniform", rate=1.0, requests=2 * count)))
    start, first = np.arange(count, dtype=float), np.arange(2 * count) < count
    sessions = table._replace(
        arrival=np.concatenate([start, start + 1000]), think=np.where(first, 0.0, 1000.0), nominal_rate=np.nan,
        session=np.arange(2 * count) % count, follows=np.where(first, -1, np.arange(2 * count) - count),
    )  # fmt: skip
    found = max_goodput(SERVED, chat(slo=md.Slo(per_request=(("ttft", 30.0),))), requests=sessions)
    assert found.limited_by == ("users send no faster",)
    assert 0.18 < found.rate < 0.2


def test_replications_add_it_with_an_interval() -> None:
    result = md.replicate(SERVED, chat(), seeds=4, max_goodput=True)
    low, high = result.interval["max_goodput_rps"]
    rates = [max_goodput(SERVED, chat().with_seed(5 + k)).rate for k in range(4)]
    assert result.metrics["max_goodput_rps"] == rates[0]
    assert (low + high) / 2 == pytest.approx(np.mean(rates))
    assert result.provenance["max_goodput"] == ["slo_attainment >= 0.9"]
    with pytest.raises(SpecError, match="simulated"):
        md.replicate(SERVED, chat(), seeds=1, fidelity="steady", max_goodput=True)


def test_the_lengths_are_those_of_the_queue() -> None:
    """The textbook design is one: at half load of evenly spaced arrivals nobody waits, and it is busy half of the time."""
    result = md.evaluate(design(), workload(rate=0.5 / service(), requests=2000, kind="uniform"))
    assert result.metrics["e2e_p99"] == pytest.approx(service())
    assert result.metrics["utilisation"] == pytest.approx(0.5, rel=0.01)
