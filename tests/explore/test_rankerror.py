"""How well a screen ranked: known orders and errors."""

import numpy as np
import pytest

from mist_dse.explore.screens.rankerror import rank_error


def test_the_same_order_with_a_constant_factor() -> None:
    true = np.array([1.0, 5.0, 3.0, 8.0])
    found = rank_error({"ttft_p90": 1.1 * true}, {"ttft_p90": true, "tpot_p90": true})
    assert set(found) == {"ttft_p90"}
    assert found["ttft_p90"].spearman == pytest.approx(1.0)
    assert found["ttft_p90"].median_error == pytest.approx(0.1)
    assert str(found["ttft_p90"]) == "rank correlation 1.000, median error 10.0% of 4 designs"


def test_one_swap_of_five() -> None:
    """Spearman (1904): 1 - 6 sum d^2 / (n (n^2 - 1))."""
    found = rank_error({"x": np.array([1.0, 2, 3, 5, 4])}, {"x": np.array([1.0, 2, 3, 4, 5])})["x"]
    assert found.spearman == pytest.approx(1 - 6 * 2 / (5 * 24))


def test_what_is_not_known_is_left_out() -> None:
    found = rank_error({"x": np.array([1.0, np.nan, 3.0])}, {"x": np.array([1.0, 2.0, np.nan])})["x"]
    assert found == (None, 0.0, 1)
    assert rank_error({"x": np.ones(4)}, {"x": np.arange(4.0)})["x"].spearman is None
    assert "no rank correlation" in str(found)
