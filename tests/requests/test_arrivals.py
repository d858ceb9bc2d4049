"""Bursts and daily swings against closed forms: dispersion of counts, gaps, shares of a period; 99.9% intervals over replications."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from mist_dse.requests import realise
from mist_dse.requests.arrivals import arrival_times, rate_shares
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals, Lengths, Workload

Z = 3.29  # two-sided 99.9%


def times(seed=0, *, nominal=False, **arrivals):
    return arrival_times(Arrivals(**arrivals), np.random.default_rng(seed), nominal=nominal)


def counts(times, width, whole):
    """Arrivals in consecutive windows of ``width`` s up to ``whole`` windows."""
    return np.bincount((times // width).astype(int), minlength=whole)[:whole]


def interval(values):
    """Mean and half width of the 99.9% interval of independent values."""
    return np.mean(values), stats.t.ppf(0.9995, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5


BURSTS = {"kind": "onoff", "rate": 2.0, "on_time": 4.0, "off_time": 12.0}


def test_gaps_of_bursts_are_those_of_an_interrupted_poisson_process():
    # Kuczura 1973: with l = 8 while on, w = 1/4 to leave and g = 1/12 to return, the transform of a gap is
    # l (s + g) / (s^2 + (l + w + g) s + l g); its first two derivatives at 0 give the moments.
    gaps = np.diff(times(3, requests=400_000, **BURSTS))
    burst, leave, enter = 8.0, 1 / 4, 1 / 12
    mean = (leave + enter) / (burst * enter)
    scv = 1 + 2 * burst * leave / (leave + enter) ** 2
    assert mean == pytest.approx(0.5)
    assert gaps.mean() == pytest.approx(mean, rel=Z * scv**0.5 / 400_000**0.5)
    for s in (0.01, 0.1, 1.0, 10.0):
        transform = burst * (s + enter) / (s**2 + (burst + leave + enter) * s + burst * enter)
        seen = np.exp(-s * gaps)
        assert seen.mean() == pytest.approx(transform, abs=Z * seen.std() / len(gaps) ** 0.5)


def test_gaps_of_bursts_are_independent():
    gaps = np.diff(times(4, requests=200_000, **BURSTS))
    ranks = stats.rankdata(gaps)  # without the heavy tail
    assert abs(np.corrcoef(ranks[:-1], ranks[1:])[0, 1]) < Z / len(gaps) ** 0.5


@pytest.mark.parametrize("width", [1.0, 5.0, 40.0])
def test_dispersion_of_counts_of_bursts(width):
    # a two-state process that is silent in one (Fischer and Meier-Hellstern, The Markov-modulated Poisson process cookbook, 1993)
    burst, leave, enter = 8.0, 1 / 4, 1 / 12
    total = leave + enter
    expected = 1 + 2 * burst * leave / total**2 * (1 - (1 - np.exp(-total * width)) / (total * width))
    found = []
    for seed in range(40):
        seen = times(seed, requests=40_000, **BURSTS)
        seen = seen[seen > 500] - 500  # the first arrival finds the source on: forgotten after many on and off times
        number = counts(seen, width, int(seen[-1] // width))
        found.append(number.var(ddof=1) / number.mean())
    mean, half = interval(found)
    assert half < 0.1 * expected
    assert mean == pytest.approx(expected, abs=half)


def test_bursts_so_long_that_they_never_end_are_poisson():
    gaps = np.diff(times(1, kind="onoff", rate=3.0, on_time=1e9, off_time=1e-3, requests=50_000))
    assert stats.kstest(gaps * 3.0, "expon").pvalue > 0.001


@pytest.mark.parametrize("profile", [(1.0, 0.0, 3.0, 2.0), (0.0, 0.0, 5.0), (7.0,)])
def test_a_profile_shares_out_the_period(profile):
    seen = times(2, kind="diurnal", rate=10.0, period=100.0, profile=profile, requests=100_000)
    part = ((seen % 100.0) / (100.0 / len(profile))).astype(int)
    number = np.bincount(part[seen < 100 * int(seen[-1] / 100)], minlength=len(profile))
    share = np.array(profile) / sum(profile)
    assert (number[share == 0] == 0).all()
    if (share > 0).sum() > 1:
        assert stats.chisquare(number[share > 0], number.sum() * share[share > 0]).pvalue > 0.001


def test_a_sinusoid_undone_is_a_poisson_process():
    rate, period, swing = 5.0, 300.0, 0.8
    seen = times(5, kind="diurnal", rate=rate, period=period, peak_to_mean=1 + swing, requests=60_000)
    angle = 2 * np.pi / period
    expected = rate * (seen + swing / angle * (1 - np.cos(angle * seen)))  # integral of rate (1 + swing sin)
    assert stats.kstest(np.diff(expected, prepend=0.0), "expon").pvalue > 0.001
    assert np.all(np.diff(seen) >= 0)


def test_dispersion_of_counts_of_a_sinusoid():
    # counts of a window are Poisson around rate w (1 + swing sinc(w / period) sin(.)): variance / mean of all windows of a period
    rate, period, swing, width = 20.0, 240.0, 0.6, 10.0
    expected = 1 + rate * width * swing**2 / 2 * np.sinc(width / period) ** 2
    found = []
    for seed in range(30):
        seen = times(seed, kind="diurnal", rate=rate, period=period, peak_to_mean=1 + swing, requests=60_000)
        whole = int(seen[-1] // period) * int(period / width)
        number = counts(seen, width, whole)
        found.append(number.var() / number.mean())
    mean, half = interval(found)
    assert mean == pytest.approx(expected, abs=half)
    assert half < 0.05 * expected


def test_the_highest_rate_of_a_sinusoid_comes_a_quarter_into_the_period():
    share = rate_shares(Arrivals(kind="diurnal", rate=1.0, peak_to_mean=1.7))
    assert share.mean() == pytest.approx(1.0)
    assert share.max() == pytest.approx(1.7, abs=1e-4)
    assert np.argmax(share) in (len(share) // 4 - 1, len(share) // 4)


@given(rate=st.floats(0.01, 100), cycles=st.integers(1, 9), each=st.integers(1, 40), swing=st.floats(1, 2), seed=st.integers(0, 99))
def test_whole_periods_hold_exactly_the_nominal_rate(rate, cycles, each, swing, seed):
    period = each / rate
    seen = times(seed, nominal=True, kind="diurnal", rate=rate, period=period, peak_to_mean=swing, requests=cycles * each)
    assert seen[-1] == pytest.approx(cycles * period, rel=1e-9)
    assert np.all(np.diff(seen) >= 0)


KINDS = (
    {"kind": "poisson"},
    {"kind": "gamma", "cv": 2.5},
    {"kind": "onoff", "on_time": 3.0, "off_time": 7.0},
    {"kind": "diurnal", "period": 60.0, "peak_to_mean": 2.0},
    {"kind": "diurnal", "period": 60.0, "profile": (1.0, 0.0, 2.0)},
    {"kind": "sessions", "turns": 3.5, "think": 20.0, "tool_share": 0.3, "tool_time": 1.0, "shared_prefix": 40},
)


@given(arrivals=st.sampled_from(KINDS), few=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers(0, 99))
def test_the_first_requests_do_not_depend_on_how_many_follow(arrivals, few, more, seed):
    def table(requests):
        law = Lengths(kind="lognormal", mean=300, cv=1.0)
        return realise(Workload(name="t", arrivals=Arrivals(rate=1.5, requests=requests, **arrivals), input_tokens=law, output_tokens=law,
                                seed=seed, nominal_rate=False))  # fmt: skip

    short, long = table(few), table(few + more)
    for name in ("arrival", "input_tokens", "output_tokens", "think", "session", "follows"):
        assert np.array_equal(getattr(short, name)[:few], getattr(long, name)[: len(getattr(short, name))])
    assert np.array_equal(short.hash_ids, long.hash_ids[: len(short.hash_ids)])


WRONG = (
    ({"kind": "onoff", "rate": 1.0, "on_time": 1.0}, r"Arrivals\.off_time is missing: onoff arrivals need it"),
    ({"kind": "onoff", "rate": 1.0, "on_time": 0.0, "off_time": 1.0}, r"Arrivals\.on_time is 0\.0: must be finite and > 0"),
    ({"kind": "diurnal", "rate": 1.0}, r"Arrivals\.peak_to_mean is missing: diurnal arrivals need it, or a profile"),
    ({"kind": "diurnal", "rate": 1.0, "peak_to_mean": 3.0}, r"must lie between 1 and 2; a sharper peak needs a profile"),
    ({"kind": "diurnal", "rate": 1.0, "profile": (1.0, -1.0)}, r"Arrivals\.profile is -1\.0: must be finite and >= 0"),
    ({"kind": "diurnal", "rate": 1.0, "profile": (0.0, 0.0)}, r"Arrivals\.profile is 0\.0: must be finite and > 0"),
    ({"kind": "diurnal", "rate": 1.0, "profile": (1.0, float("nan"))}, r"Arrivals\.profile is nan"),
    ({"kind": "sessions", "rate": 1.0}, r"Arrivals\.turns is missing: sessions arrivals need it"),
    ({"kind": "sessions", "rate": 1.0, "turns": 0.5}, r"Arrivals\.turns is 0\.5: must be >= 1"),
    ({"kind": "sessions", "rate": 1.0, "turns": 2.5, "turns_law": "fixed"}, r"Arrivals\.turns is 2\.5: must be whole where turns_law is"),
    ({"kind": "sessions", "rate": 1.0, "turns": 2, "turns_law": "poisson"}, r"turns_law is 'poisson': must be one of geometric, fixed"),
    ({"kind": "sessions", "rate": 1.0, "turns": 2, "tool_share": 1.5}, r"Arrivals\.tool_share is 1\.5: must lie between 0 and 1"),
    ({"kind": "sessions", "rate": 1.0, "turns": 2, "hash_tokens": 0}, r"Arrivals\.hash_tokens is 0: must be finite and > 0"),
    ({"kind": "sessions", "rate": 1.0, "turns": 2, "shared_prefix": -1}, r"Arrivals\.shared_prefix is -1: must be finite and >= 0"),
)


@pytest.mark.parametrize(("arrivals", "says"), WRONG)
def test_what_cannot_be_is_refused_in_one_line(arrivals, says):
    with pytest.raises(SpecError, match=says) as caught:
        Arrivals(**arrivals)
    assert "\n" not in str(caught.value)
