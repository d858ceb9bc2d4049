import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.analytic.queueing import Service, Wait, added, horizon_wait, many_wait, mixture_spread, single_wait, weibull
from mist_dse.analytic.spread import Spread, sample_spread, total

ONE = np.ones(1)


def service(rate, *moments):
    return Service(*(np.array([value]) for value in (rate, *moments)))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_m_d_1_and_m_m_1(rho):
    deterministic = single_wait(service(rho, 1, 1, 1), ONE, np.inf)
    assert deterministic.mean[0] == pytest.approx(rho / (2 * (1 - rho)))
    exponential = single_wait(service(rho, 1, 2, 6), ONE, np.inf)
    assert exponential.mean[0] == pytest.approx(rho / (1 - rho))
    assert exponential.positive[0] == pytest.approx(rho)
    assert exponential.second[0] == pytest.approx(2 * rho / (1 - rho) ** 2)


@pytest.mark.parametrize(("servers", "rho", "erlang"), [(2, 0.5, 0.333), (4, 0.7, 0.429), (10, 0.9, 0.669)])
def test_m_m_c_against_erlang_c(servers, rho, erlang):
    """W = C(c, rho) / (c (1 - rho)): Erlang C values from the formula, Sakasegawa within 10%."""
    wait = many_wait(service(servers * rho, 1, 2, 6), ONE, np.array([float(servers)]), np.inf)
    assert wait.mean[0] == pytest.approx(erlang / (servers * (1 - rho)), rel=0.1)


def test_regular_arrivals_wait_less_and_bursts_more():
    waits = [single_wait(service(0.8, 1, 2, 6), np.array([ca2]), np.inf).mean[0] for ca2 in (0.0, 0.25, 1.0, 4.0)]
    assert waits == sorted(waits)
    assert waits[0] < 0.6 * waits[2]


@given(st.floats(0.01, 3.0), st.floats(0.01, 3.0), st.floats(1.0, 1e6))
def test_waits_grow_with_the_rate_and_stay_under_the_horizon(low, high, horizon):
    low, high = sorted((low, high))
    first, second = (single_wait(service(rate, 1, 2, 6), ONE, horizon) for rate in (low, high))
    assert first.mean[0] <= second.mean[0] + 1e-9
    assert second.mean[0] <= horizon_wait(service(high, 1, 2, 6), ONE, horizon)[0]


@pytest.mark.parametrize(("scv", "shape"), [(1.0, 1.0), (5.0, 0.5), (0.27324, 2.0)])
def test_weibull_of_known_shapes(scv, shape):
    """Shape 1 is exponential, 1/2 has scv 5, 2 (Rayleigh) 4/pi - 1."""
    _, found = weibull(np.array([3.0]), np.array([9.0 * (1 + scv)]))
    assert found[0] == pytest.approx(shape, rel=0.01)


def test_mixture_of_m_m_1_waits():
    """P(W > x) = rho exp(-(1 - rho) x): quantiles ln(rho / (1 - q)) / (1 - rho) behind a constant service."""
    rho = 0.8
    wait = single_wait(service(rho, 1, 2, 6), ONE, np.inf)
    spread = mixture_spread(np.full((1, 32), 2.0), wait)
    expected = [2 + np.log(rho / (1 - q)) / (1 - rho) for q in (0.5, 0.9, 0.99)]
    assert [float(value[0]) for value in spread[1:]] == pytest.approx(expected, rel=0.02)
    assert spread.mean[0] == pytest.approx(2 + rho / (1 - rho))


def test_mixture_without_waits_has_the_services_quantiles():
    base = np.linspace(0, 1, 32)[None, :]
    spread = mixture_spread(base, Wait(np.zeros(1), np.zeros(1), np.zeros(1)))
    assert [float(value[0]) for value in spread[1:3]] == pytest.approx([0.5, 0.9], abs=0.04)


def test_sums_of_normal_samples():
    generator = np.random.default_rng(0)
    first, second = generator.normal(5, 1, 100_000), generator.normal(3, 2, 100_000)
    found, true = total(sample_spread(first), sample_spread(second)), sample_spread(first + second)
    for value, exact in zip(found, true, strict=True):
        assert float(value[0]) == pytest.approx(float(exact[0]), rel=0.01)


def test_sum_with_a_constant_is_a_shift():
    spread = sample_spread(np.random.default_rng(0).exponential(size=1000))
    constant = Spread(*(np.full(1, 2.0),) * 4)
    for value, exact in zip(total(spread, constant), spread.shifted(2.0), strict=True):
        assert float(value[0]) == pytest.approx(float(exact[0]))


def test_added_waits_have_added_means():
    wait = added(Wait(ONE, 2 * ONE, 0.5 * ONE), Wait(2 * ONE, 8 * ONE, 0.7 * ONE))
    assert (wait.mean[0], wait.second[0], wait.positive[0]) == (3.0, 14.0, 0.7)
