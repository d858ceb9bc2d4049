"""Limits and objectives as text: what they mean, and one line for what they cannot mean."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.metrics import METRICS, GoalError, Limit, Objective, parse_limit, parse_objective


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ttft_p90 <= 1 s", ("ttft_p90", "<=", 1.0)),
        ("tpot_mean<50ms", ("tpot_mean", "<", 0.05)),
        (" throughput_rps >= 2 req/s ", ("throughput_rps", ">=", 2.0)),
        ("output_tokens_per_s > 1.5 ktokens/s", ("output_tokens_per_s", ">", 1500.0)),
        ("slo_attainment >= 90 %", ("slo_attainment", ">=", 0.9)),
        ("usd_per_mtok <= 2 USD/Mtoken", ("usd_per_mtok", "<=", 2.0)),
        ("usd_per_hour <= 150", ("usd_per_hour", "<=", 150.0)),
        ("accelerators <= 32", ("accelerators", "<=", 32.0)),
        ("joules_per_token <= 500 mJ/token", ("joules_per_token", "<=", 0.5)),
        ("watts <= 10 kW", ("watts", "<=", 10_000.0)),
    ],
)
def test_limits_in_si_units(text, limit):
    assert parse_limit(text) == Limit(metric=limit[0], op=limit[1], value=pytest.approx(limit[2]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttft_p95 <= 1 s", "limit 'ttft_p95 <= 1 s': 'ttft_p95' is not a metric, did you mean ttft_p"),
        ("ttft <= 1 s", "did you mean ttft_"),
        ("xyzzy <= 1", "'xyzzy' is not a metric, must be one of ttft_mean, "),
        ("ttft_p90 <= 1 GB", "'1 GB' is a quantity of B, expected s"),
        ("watts <= 3 s", "'3 s' is a quantity of s, expected W"),
        ("ttft_p90 <= 1 parsec", "unknown unit 'parsec'"),
        ("ttft_p90 <= soon", "'soon' is not a quantity"),
        ("ttft_p90 <= nan", "is not finite"),
        ("ttft_p90 == 1 s", "must read like 'ttft_p90 <= 1 s'"),
        ("ttft_p90 1 s", "must read like 'ttft_p90 <= 1 s'"),
        ("", "must read like"),
    ],
)
def test_wrong_limits_are_one_line(text, message):
    with pytest.raises(GoalError) as caught:
        parse_limit(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_excess_is_relative_to_the_limit():
    assert parse_limit("ttft_p90 <= 2 s").excess(np.array([1.0, 2.0, 3.0, np.nan])).tolist() == [0.0, 0.0, 0.5, 1.0]
    assert parse_limit("throughput_rps >= 4").excess(3.0) == 0.25
    assert parse_limit("preemptions <= 0").excess(0.5) == 0.5
    assert parse_limit("ttft_p90 <= 2 s").excess(None) == 1.0


def test_strict_limits_do_not_hold_where_they_are_met_exactly():
    assert parse_limit("ttft_p90 <= 1 s").holds(1.0)
    assert not parse_limit("ttft_p90 < 1 s").holds(1.0)
    assert parse_limit("throughput_rps >= 1").holds(1.0)
    assert not parse_limit("throughput_rps > 1").holds(1.0)
    assert not parse_limit("ttft_p90 < 1 s").holds(None)


@given(st.sampled_from(list(METRICS)), st.sampled_from(["<=", ">=", "<", ">"]), st.integers(1, 999))
def test_a_limit_printed_is_the_limit_read(metric, op, value):
    limit = Limit(metric=metric, op=op, value=float(value))
    again = parse_limit(str(limit))
    assert (again.metric, again.op, again.value) == (metric, op, pytest.approx(value))


def test_objectives_and_the_direction_that_a_metric_has_by_itself():
    assert parse_objective("min ttft_p90") == parse_objective("ttft_p90") == Objective(metric="ttft_p90", direction="min")
    best = parse_objective("max throughput_rps")
    assert (str(best), best.sign) == ("max throughput_rps", -1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max ttft_p90", "ttft_p90 is better when smaller, write 'min ttft_p90'"),
        ("min goodput_rps", "goodput_rps is better when larger, write 'max goodput_rps'"),
        ("min usd_per_mtoken", "did you mean usd_per_mtok"),
        ("least cost", "must read like 'min usd_per_mtok'"),
    ],
)
def test_wrong_objectives_are_one_line(text, message):
    with pytest.raises(GoalError, match=message):
        parse_objective(text)
