"""Metrics of hand-made records, worked out beside them."""

import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.metrics import METRICS, latency_summary, measure, outcomes
from mist_dse.rows import COMPLETED, REJECTED, UNFINISHED
from mist_dse.specs.workload import Slo, Workload
from tests.metrics import hand

NAN = float("nan")
SLO = Slo(per_request=(("ttft", 1.0), ("tpot", 0.1)))

# Five requests. 0: ttft 0.5, tpot 1/10, e2e 1.5. 1: ttft 2, one token. 2: rejected. 3: unfinished. 4: ttft 1, tpot 4/20 = 0.2, e2e 5.
TABLE = hand.requests([0, 1, 2, 3, 5], [100, 200, 300, 400, 500], [11, 1, 7, 9, 21])
RECORDS = hand.records(
    arrival=[0.0, 1, 2, 3, 5],
    first_token=[0.5, 3, NAN, 4, 6],
    last_token=[1.5, 3, NAN, NAN, 10],
    end=[1.5, 3, NAN, NAN, 10],
    status=[COMPLETED, COMPLETED, REJECTED, UNFINISHED, COMPLETED],
    preemptions=[0, 0, 0, 2, 1],
)


def workload(*, warmup=0.0, slo=SLO):
    made = Workload.poisson(rate=1.0, input_tokens=1, output_tokens=1, requests=5, slo=slo)
    return Workload(
        name="w", arrivals=made.arrivals, input_tokens=made.input_tokens, output_tokens=made.output_tokens, warmup=warmup, slo=slo
    )


def test_latencies_are_those_of_completed_requests():
    found = measure(RECORDS, TABLE, workload())
    assert found["ttft_mean"] == pytest.approx((0.5 + 2 + 1) / 3)
    assert found["ttft_p50"] == pytest.approx(1.0)
    assert found["e2e_mean"] == pytest.approx((1.5 + 2 + 5) / 3)
    assert found["tpot_mean"] == pytest.approx((0.1 + 0.2) / 2)  # the single token of request 1 has none
    assert found["tpot_p90"] == pytest.approx(0.1 + 0.9 * 0.1)


def test_rates_are_over_first_arrival_to_last_end():
    found = measure(RECORDS, TABLE, workload())
    assert found["throughput_rps"] == pytest.approx(3 / 10)
    assert found["output_tokens_per_s"] == pytest.approx((11 + 1 + 21) / 10)
    assert found["total_tokens_per_s"] == pytest.approx((33 + 800) / 10)
    assert found["preemptions"] == pytest.approx(3 / 5)


def test_attainment_is_over_arrived_requests():
    # 0 meets both, 1 has ttft 2, 2 and 3 never complete, 4 has tpot 0.2
    found = measure(RECORDS, TABLE, workload())
    assert found["slo_attainment"] == pytest.approx(1 / 5)
    assert found["goodput_rps"] == pytest.approx(1 / 10)
    relaxed = measure(RECORDS, TABLE, workload(slo=Slo(per_request=(("ttft", 2.0),))))
    assert relaxed["slo_attainment"] == pytest.approx(3 / 5)  # a limit met exactly is met


def test_without_a_per_request_slo_attainment_is_undefined():
    for slo in (None, Slo(limits=("ttft_p90 <= 1 s",))):
        found = measure(RECORDS, TABLE, workload(slo=slo))
        assert (found["goodput_rps"], found["slo_attainment"]) == (None, None)


def test_warm_up_leaves_out_the_first_arrivals():
    found = measure(RECORDS, TABLE, workload(warmup=0.4))  # requests 2, 3, 4: from 2 s to 10 s
    assert found["throughput_rps"] == pytest.approx(1 / 8)
    assert found["ttft_p99"] == pytest.approx(1.0)
    assert found["slo_attainment"] == 0.0
    assert found["preemptions"] == pytest.approx(1.0)


def test_what_is_undefined_is_none():
    nothing = measure(RECORDS._replace(status=np.full(5, REJECTED)), TABLE, workload())
    assert nothing["ttft_p90"] is None
    assert nothing["e2e_mean"] is None
    assert nothing["throughput_rps"] is None
    assert nothing["slo_attainment"] == 0.0
    single = measure(RECORDS, TABLE._replace(output_tokens=np.ones(5, int)), workload())
    assert single["tpot_mean"] is None
    assert single["ttft_mean"] is not None


def test_every_metric_measured_is_a_known_one():
    assert set(measure(RECORDS, TABLE, workload())) <= set(METRICS)


def test_outcomes_sum_to_what_arrived():
    assert outcomes(RECORDS) == (3, 1, 1)
    assert sum(outcomes(RECORDS)) == 5


values = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@given(values, st.floats(0, 10), st.floats(0, 10))
def test_a_pointwise_smaller_sample_has_smaller_statistics(sample, add, stretch):
    low = np.array(sample)
    below, above = latency_summary(low, low, low), latency_summary(*[low * (1 + stretch) + add] * 3)
    assert all(below[name] <= above[name] * (1 + 1e-12) + 1e-12 for name in below)


@given(values)
def test_percentiles_are_ordered_and_within_the_sample(sample):
    found = latency_summary(np.array(sample), np.array([NAN]), np.array(sample))
    assert min(sample) <= found["ttft_p50"] <= found["ttft_p90"] <= found["ttft_p99"] <= max(sample)
    assert found["tpot_p50"] is None


def test_ten_thousand_requests_take_milliseconds():
    rng, count = np.random.default_rng(0), 10_000
    arrival = np.cumsum(rng.exponential(1, count))
    first, output = arrival + rng.exponential(1, count), rng.integers(1, 500, count)
    last = first + 0.02 * (output - 1)
    made = hand.records(
        arrival=arrival, first_token=first, last_token=last, end=last, status=np.zeros(count, np.int8), preemptions=0 * output
    )
    table = hand.requests(arrival, output, output)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        measure(made, table, workload())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.003
