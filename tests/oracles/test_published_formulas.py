"""Formulas of speculation, branches, cascades and prefill queues against their papers' figures and their limits."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import integrate, stats

from mist_dse import rows
from mist_dse.analytic.demand import station_demand
from mist_dse.analytic.queueing import Service, single_wait
from mist_dse.perf.strategies import blend_share, branch_kv_tokens, cascade_cost, normal_maximum, routed_cost, speculative_speed_up
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Speculation


def speculation(acceptance: float, guesses: int, share: float | None = None) -> Speculation:
    return Speculation(draft_tokens=guesses, acceptance=acceptance, draft_share=share)


@pytest.mark.parametrize(
    ("acceptance", "guesses", "tokens"),
    [(0.8, 1, 1.8), (0.8, 2, 2.44), (0.8, 3, 2.952), (0.8, 4, 3.3616), (0.8, 5, 3.689), (0.8, 7, 4.161), (0.6, 5, 2.383), (0.9, 5, 4.686)],
)
def test_tokens_of_a_speculative_step(acceptance: float, guesses: int, tokens: float) -> None:
    """Leviathan et al. 2023 (arXiv 2211.17192), equation 1: (1 - a^(g + 1)) / (1 - a)."""
    assert speculation(acceptance, guesses).emitted == pytest.approx(tokens, abs=5e-4)
    assert speculation(acceptance, guesses).emitted == pytest.approx((1 - acceptance ** (guesses + 1)) / (1 - acceptance))


@pytest.mark.parametrize("guesses", [1, 4, 8])
def test_limits_of_a_speculative_step(guesses: int) -> None:
    """Nothing accepted: one token. All accepted: all of them and one."""
    assert speculation(1e-300, guesses).emitted == 1.0
    assert speculation(1 - 1e-15, guesses).emitted == pytest.approx(guesses + 1, rel=1e-12)


def test_speculative_speed_up() -> None:
    """Leviathan et al., theorem 3.8 (a = 0.8, g = 5, c = 0.05): 2.9514; memory bound."""
    assert speculative_speed_up(speculation(0.8, 5, 0.05)) == pytest.approx(2.9514, abs=5e-5)


def test_speculation_loses_where_steps_are_bound_by_compute() -> None:
    """A step of six tokens then takes six times as long, for 3.7 tokens."""
    assert speculative_speed_up(speculation(0.8, 5, 0.05), verify=6.0) < 1
    assert speculative_speed_up(speculation(0.8, 5, 0.0), verify=6.0) == pytest.approx(3.68928 / 6)


def test_speed_up_needs_the_draft() -> None:
    with pytest.raises(SpecError, match="draft_share is not given"):
        speculative_speed_up(speculation(0.8, 5))


def test_kv_of_branches() -> None:
    """Multi-path reasoning, eight branches: P + B O where the prompt is shared, B (P + O) where not."""
    assert (branch_kv_tokens(4096, 2000, 8), branch_kv_tokens(4096, 2000, 8, shared=False)) == (20_096, 48_768)
    assert (branch_kv_tokens(1155, 2000, 8), branch_kv_tokens(1155, 2000, 8, shared=False)) == (17_155, 25_240)
    assert branch_kv_tokens(700, 300, 1) == branch_kv_tokens(700, 300, 1, shared=False) == 1000


@pytest.mark.parametrize(
    ("count", "known"), [(1, 0.0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (8, 1.42360), (10, 1.53875)]
)
def test_the_slowest_of_normal_branches(count: int, known: float) -> None:
    """Closed forms to three, then the table of Harter (1961)."""
    assert normal_maximum(count) == pytest.approx(known, abs=1e-5)


@pytest.mark.parametrize("count", [2, 5, 64, 1000])
def test_the_slowest_by_quadrature(count: int) -> None:
    """The density of the maximum, count phi(x) Phi(x)^(count - 1), integrated with scipy."""
    truth, _ = integrate.quad(lambda x: x * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1), -12, 12, limit=200)
    assert normal_maximum(count) == pytest.approx(truth, abs=1e-7)


def test_no_branch_is_refused() -> None:
    with pytest.raises(SpecError, match="count is 0"):
        normal_maximum(0)


def test_cascade_and_router_by_hand() -> None:
    """FrugalGPT's rule: weak 0.1, strong 15, a fifth escalates: 3.1, of which a judge of 0.02 is extra; a router saves the weak calls."""
    assert cascade_cost(0.1, 15.0, 0.2) == pytest.approx(3.1)
    assert cascade_cost(0.1, 15.0, 0.2, score=0.02) == pytest.approx(3.12)
    assert routed_cost(0.1, 15.0, 0.2) == pytest.approx(0.08 + 3.0)
    assert routed_cost(0.1, 15.0, 0.2, router=0.02) == pytest.approx(3.10)


def test_a_cascade_that_always_escalates_costs_both_models() -> None:
    assert cascade_cost(0.1, 15.0, 1.0) == pytest.approx(0.1 + 15.0)
    assert cascade_cost(0.1, 15.0, 1.0) > 15.0


@given(st.floats(0, 10), st.floats(0, 100), st.floats(0, 1))
def test_a_router_without_cost_is_never_dearer_than_a_cascade(weak: float, strong: float, share: float) -> None:
    assert routed_cost(weak, strong, share) <= cascade_cost(weak, strong, share) + 1e-9
    assert min(weak, strong) - 1e-9 <= routed_cost(weak, strong, share) <= max(weak, strong) + 1e-9


@pytest.mark.parametrize(("load", "share"), [(0.0, 0.15), (0.075, 0.15), (0.2, 0.4), (0.5, 1.0), (9.0, 1.0)])
def test_cache_blend(load: float, share: float) -> None:
    """CacheBlend (arXiv 2405.16444): as much is computed again as loading hides, at least 15%; half a second computes all."""
    assert blend_share(load, 0.5) == share


def test_distserve_prefill_queue() -> None:
    """DistServe (OSDI 2024), section 3.1: TTFT = D + R D^2 / 2 (1 - R D); D = 0.13 s, R = 4/s: 0.20042 s."""
    service = Service(*(np.array([value]) for value in (4.0, 0.13, 0.13**2, 0.13**3)))
    ttft = 0.13 + float(single_wait(service, np.ones(1), np.inf).mean[0])
    assert ttft == pytest.approx(0.20042, abs=5e-6)
    assert ttft == pytest.approx(0.13 + 4 * 0.13**2 / (2 * (1 - 4 * 0.13)))


def test_distserve_prefill_queue_diverges() -> None:
    """At R = 1 / D the demand is 1, where an open loop is refused; just below it the wait grows past any service."""
    server = rows.Station(rate=1.0, cap=1.0, slots=1, latency=0.0)
    assert station_demand(server, np.array([0.13]), 1 / 0.13)["rate"] == pytest.approx(1.0)
    assert station_demand(server, np.array([0.13]), 4.0)["rate"] == pytest.approx(0.52)
    near = Service(*(np.array([value]) for value in (0.999 / 0.13, 0.13, 0.13**2, 0.13**3)))
    assert float(single_wait(near, np.ones(1), np.inf).mean[0]) > 100 * 0.13
