"""Realised requests against closed forms of the laws they are drawn from; tolerances are 99.9% intervals."""

import time

import numpy as np
import pytest

from mist_dse.requests import JOINTS, joint_table, realise
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals, Lengths, Workload

Z = 3.29  # two-sided 99.9%


def workload(*, seed=0, input_tokens=None, output_tokens=None, joint=None, nominal_rate=True, cached=0.0, **arrivals):
    given = {"kind": "poisson", "rate": 2.0, "requests": 10_000} | arrivals
    return Workload(
        name="test",
        arrivals=Arrivals(**given),
        input_tokens=input_tokens or (None if joint else Lengths(kind="fixed", mean=100)),
        output_tokens=output_tokens or (None if joint else Lengths(kind="fixed", mean=10)),
        joint=joint,
        nominal_rate=nominal_rate,
        cached_prompt_fraction=cached,
        seed=seed,
    )


def gaps(requests):
    return np.diff(requests.arrival, prepend=0.0)


@pytest.mark.parametrize(("kind", "cv"), [("poisson", 1.0), ("gamma", 0.5), ("gamma", 1.0), ("gamma", 2.0), ("uniform", 0.0)])
def test_gaps_have_the_rate_and_the_coefficient_of_variation_asked_for(kind, cv):
    count = 200_000
    found = gaps(realise(workload(kind=kind, cv=cv or 1.0, requests=count, nominal_rate=False, seed=11)))
    assert found.mean() == pytest.approx(0.5, rel=Z * cv / count**0.5 + 1e-12)
    # the sample cv varies by cv^2 ((k - 1)/4 + cv^2 - skew cv) / n; a gamma law has kurtosis k = 3 + 6 cv^2 and skew 2 cv
    assert found.std() / found.mean() == pytest.approx(cv, abs=Z * cv * ((1 + cv**2) / 2 / count) ** 0.5 + 1e-9)


@pytest.mark.parametrize("kind", ["poisson", "gamma", "uniform"])
def test_rescaled_arrivals_have_exactly_the_nominal_rate(kind):
    requests = realise(workload(kind=kind, cv=3.0, rate=7.0, requests=1000))
    assert requests.arrival[-1] == pytest.approx(1000 / 7.0, rel=1e-12)
    assert requests.nominal_rate == 7.0
    assert np.all(gaps(requests) >= 0)


def test_rescaling_only_stretches_time():
    raw, scaled = realise(workload(nominal_rate=False)).arrival, realise(workload()).arrival
    ratio = scaled / raw
    assert ratio == pytest.approx(np.full(len(raw), ratio[0]), rel=1e-9)
    assert ratio[0] != 1.0


def test_batch_requests_come_at_once_and_name_no_rate():
    requests = realise(workload(kind="batch", rate=None, requests=50))
    assert requests.arrival.tolist() == [0.0] * 50
    assert np.isnan(requests.nominal_rate)
    assert requests.clients == 0


def test_closed_loop_has_clients_that_think():
    requests = realise(workload(kind="closed", rate=None, clients=8, think=1.5, requests=80))
    assert requests.clients == 8
    assert set(requests.think) == {1.5}
    assert set(requests.arrival[:8]) == {0.0}
    assert realise(workload(kind="closed", rate=None, clients=8, requests=5)).clients == 5


def test_gamma_so_bursty_that_gaps_vanish_is_refused_by_name():
    with pytest.raises(SpecError, match=r"cv is 1000000\.0: too large for 2 requests"):
        realise(workload(kind="gamma", cv=1e6, requests=2))


def test_lognormal_mean_and_cv_are_those_of_the_token_counts():
    count, mean, cv = 200_000, 1024.0, 0.8
    tokens = realise(workload(requests=count, input_tokens=Lengths(kind="lognormal", mean=mean, cv=cv), seed=5)).input_tokens
    assert tokens.dtype == np.int64
    assert tokens.mean() == pytest.approx(mean, rel=Z * cv / count**0.5)
    w = 1 + cv**2  # excess kurtosis of the log-normal law in w = exp(sigma^2)
    kurtosis, skew = w**4 + 2 * w**3 + 3 * w**2 - 6, (w + 2) * (w - 1) ** 0.5
    assert tokens.std() / tokens.mean() == pytest.approx(cv, rel=Z * ((kurtosis + 2) / 4 + cv**2 - skew * cv) ** 0.5 / count**0.5)


def test_uniform_lengths_reach_both_ends_evenly():
    tokens = realise(workload(requests=60_000, output_tokens=Lengths(kind="uniform", low=3, high=8), seed=2)).output_tokens
    counts = np.bincount(tokens, minlength=9)[3:]
    assert counts.sum() == 60_000
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 20.5  # chi-squared, 5 degrees of freedom, 99.9%


def test_fixed_and_tiny_lengths_are_whole_and_at_least_one():
    fixed = realise(workload(input_tokens=Lengths(kind="fixed", mean=211.4))).input_tokens
    assert set(fixed) == {211}
    tiny = realise(workload(output_tokens=Lengths(kind="lognormal", mean=1.0, cv=3.0))).output_tokens
    assert tiny.min() == 1


@pytest.mark.parametrize("fraction", [0.0, 0.29, 0.5, 1.0])
def test_cached_tokens_are_whole_and_leave_at_least_one_to_compute(fraction):
    requests = realise(workload(input_tokens=Lengths(kind="uniform", low=1, high=200), cached=fraction))
    share = requests.cached_tokens / requests.input_tokens
    assert np.all(requests.cached_tokens < requests.input_tokens)
    assert np.all(requests.cached_tokens >= 0)
    assert np.all(share <= fraction + 1e-12)
    assert np.all(
        (requests.cached_tokens + 1 > fraction * requests.input_tokens - 1e-9) | (requests.cached_tokens == requests.input_tokens - 1)
    )


LAWS = {
    "lognormal": {"input_tokens": Lengths(kind="lognormal", mean=500, cv=1.0), "output_tokens": Lengths(kind="uniform", low=1, high=99)},
    "joint": {"joint": "azure_conv"},
}


@pytest.mark.parametrize("laws", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("change", [{"rate": 9.0}, {"requests": 3000}, {"kind": "gamma", "cv": 4.0}, {"kind": "batch"}])
def test_lengths_do_not_depend_on_arrivals_or_on_how_many_requests(laws, change):
    base, changed = realise(workload(**laws)), realise(workload(**laws, **change))
    count = len(changed.arrival)
    assert np.array_equal(base.input_tokens[:count], changed.input_tokens)
    assert np.array_equal(base.output_tokens[:count], changed.output_tokens)


def test_one_side_may_change_and_leave_the_other_and_the_arrivals():
    base = realise(workload(joint="azure_conv"))
    changed = realise(workload(joint="azure_conv", input_tokens=Lengths(kind="fixed", mean=512)))
    assert set(changed.input_tokens) == {512}
    assert np.array_equal(base.output_tokens, changed.output_tokens)
    assert np.array_equal(base.arrival, changed.arrival)


def test_a_greater_mean_makes_every_request_longer():
    short, long = (realise(workload(input_tokens=Lengths(kind="lognormal", mean=mean, cv=1.0))).input_tokens for mean in (500, 1000))
    assert np.all(long >= short)


def test_the_rate_only_scales_the_arrivals():
    slow, fast = realise(workload(rate=1.0)).arrival, realise(workload(rate=4.0)).arrival
    assert fast * 4 == pytest.approx(slow, rel=1e-12)


def test_equal_seeds_give_equal_requests_and_other_seeds_others():
    first, again, other = (realise(workload(joint="azure_code", seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.arrival, other.arrival)
    assert not np.array_equal(first.input_tokens, other.input_tokens)


@pytest.mark.parametrize("name", JOINTS)
def test_draws_from_a_joint_have_the_mean_of_the_trace(name):
    count, facts = 200_000, joint_table(name).facts
    requests = realise(workload(joint=name, requests=count, seed=8))
    for side in ("input", "output"):
        tokens = getattr(requests, f"{side}_tokens")
        assert tokens.mean() == pytest.approx(facts[f"{side}_mean"], abs=Z * tokens.std() / count**0.5)
        assert tokens.min() >= 1
        assert tokens.max() <= getattr(joint_table(name), side).high.max()


def test_max_tokens_never_cut_an_output():
    requests = realise(workload(joint="azure_conv"))
    assert np.array_equal(requests.max_tokens, requests.output_tokens)
    assert requests.max_tokens is not requests.output_tokens


def test_an_unknown_joint_names_the_packaged_ones():
    with pytest.raises(SpecError, match="joint is 'azure': must be one of azure_conv, azure_code"):
        realise(workload(joint="azure"))


def test_ten_thousand_requests_take_milliseconds():
    asked = workload(joint="azure_conv")
    realise(asked)  # the table is read once
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        realise(asked)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.005
