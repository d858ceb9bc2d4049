"""Laws of token counts against their closed forms; tolerances are 99.9% intervals."""

import numpy as np
import pytest
from scipy import stats

from mist_dse.requests import TraceError
from mist_dse.requests.lengths import token_counts
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Lengths

Z = 3.29
COUNT = 200_000


def drawn(count=COUNT, seed=0, **law):
    return token_counts(Lengths(**law), count, np.random.default_rng(seed))


@pytest.mark.parametrize("mean", [1.0, 1.5, 60.0, 4000.0])
def test_geometric_counts_keep_their_mean_and_spread(mean):
    tokens, variance = drawn(kind="geometric", mean=mean), mean * (mean - 1)
    assert tokens.min() >= 1
    assert tokens.mean() == pytest.approx(mean, abs=Z * (variance / COUNT) ** 0.5 + 1e-12)
    if mean > 1:
        edges = np.unique(np.ceil(mean * np.array([0, 0.3, 0.7, 1.2, 2, 4])).astype(int))
        share = np.diff(np.append(stats.geom.cdf(edges, 1 / mean), 1.0), prepend=0.0)
        number = np.bincount(np.searchsorted(edges, tokens), minlength=len(share))
        assert stats.chisquare(number[share > 0], COUNT * share[share > 0] / share.sum()).pvalue > 0.001


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0])
def test_gamma_counts_have_the_mean_and_the_spread_asked_for(cv):
    tokens = drawn(kind="gamma", mean=2000.0, cv=cv)
    assert tokens.mean() == pytest.approx(2000.0, rel=Z * cv / COUNT**0.5 + 1e-3 * (cv > 1))  # counts below 1/2 become 1
    for beyond in (1.5, 100.5, 900.5, 2000.5, 5000.5):  # rounded counts lie above it where the length does
        expected = stats.gamma.sf(beyond, cv**-2, scale=2000.0 * cv**2)
        assert (tokens > beyond).mean() == pytest.approx(expected, abs=Z * (expected * (1 - expected) / COUNT) ** 0.5 + 1e-9)


@pytest.mark.parametrize(("shape", "low", "high"), [(1.2, 100, 30_000), (0.5, 10, 5000), (3.0, 200, 201)])
def test_bounded_pareto_counts(shape, low, high):
    tokens = drawn(kind="pareto", shape=shape, low=low, high=high)
    assert low <= tokens.min() <= tokens.max() <= high
    ratio = (low / high) ** shape
    mean = low * shape / (shape - 1) * (1 - (low / high) ** (shape - 1)) / (1 - ratio)
    assert tokens.mean() == pytest.approx(mean, abs=Z * tokens.std() / COUNT**0.5 + 0.01)
    for at in np.geomspace(low, high, 7)[1:-1]:
        beyond = np.floor(at) + 0.5  # rounded counts lie above it where the length does
        expected = ((low / beyond) ** shape - ratio) / (1 - ratio)
        assert (tokens > beyond).mean() == pytest.approx(max(expected, 0.0), abs=Z * 0.5 / COUNT**0.5 + 1e-9)


def test_empirical_counts_have_the_weights_given():
    tokens = drawn(kind="empirical", values=(7, 7000, 70), weights=(5.0, 0.0, 15.0))
    assert set(tokens) == {7, 70}
    assert (tokens == 70).mean() == pytest.approx(0.75, abs=Z * (0.1875 / COUNT) ** 0.5)
    even = drawn(kind="empirical", values=[1, 2, 3, 4])
    assert stats.chisquare(np.bincount(even)[1:]).pvalue > 0.001


def test_empirical_counts_of_a_column(tmp_path):
    path = tmp_path / "lengths.csv"
    path.write_text("prompt,answer\n10,1\n30,2\n10,3\n")
    tokens = drawn(kind="empirical", path=str(path), column="prompt")
    assert set(tokens) == {10, 30}
    assert (tokens == 10).mean() == pytest.approx(2 / 3, abs=Z * (2 / 9 / COUNT) ** 0.5)
    with pytest.raises(TraceError, match=r"lengths\.csv, row 2: promt is missing"):
        drawn(kind="empirical", path=str(path), column="promt")


LAWS = (
    {"kind": "geometric", "mean": 40.0}, {"kind": "gamma", "mean": 90.0, "cv": 0.7}, {"kind": "lognormal", "mean": 90.0, "cv": 0.7},
    {"kind": "pareto", "shape": 1.5, "low": 9, "high": 900}, {"kind": "empirical", "values": (3, 5, 9)},
    {"kind": "uniform", "low": 2, "high": 7},
)  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law["kind"])
def test_the_first_counts_do_not_depend_on_how_many_follow(law):
    assert np.array_equal(drawn(50, **law), drawn(500, **law)[:50])
    assert not np.array_equal(drawn(50, **law), drawn(50, seed=1, **law))


WRONG = (
    ({"kind": "geometric"}, r"Lengths\.mean is missing: geometric lengths need it"),
    ({"kind": "geometric", "mean": 0.5}, r"Lengths\.mean is 0\.5: must be >= 1"),
    ({"kind": "gamma", "mean": 5.0}, r"Lengths\.cv is 0\.0: must be >= 1e-6 for gamma lengths"),
    ({"kind": "pareto", "low": 5, "high": 50}, r"Lengths\.shape is missing"),
    ({"kind": "pareto", "shape": 1.0, "low": 50, "high": 5}, r"need low <= high, not 50 and 5"),
    ({"kind": "empirical"}, r"need values, or path and column"),
    ({"kind": "empirical", "values": (1,), "path": "x", "column": "y"}, r"need values, or path and column"),
    ({"kind": "empirical", "values": (0,)}, r"Lengths\.values has 0: must be whole numbers of tokens >= 1"),
    ({"kind": "empirical", "values": (1, 2), "weights": (1.0,)}, r"has 1 entries: must have one for each of the 2 values"),
    ({"kind": "empirical", "values": (1, 2), "weights": (1.0, -1.0)}, r"Lengths\.weights is -1\.0: must be finite and >= 0"),
    ({"kind": "empirical", "values": (1, 2), "weights": (0.0, 0.0)}, r"Lengths\.weights is 0\.0: must be finite and > 0"),
)


@pytest.mark.parametrize(("law", "says"), WRONG)
def test_what_cannot_be_is_refused_in_one_line(law, says):
    with pytest.raises(SpecError, match=says) as caught:
        Lengths(**law)
    assert "\n" not in str(caught.value)
