"""Where points stand against a front, by hand and against the definitions written out."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.explore.reviews.standing import Box, judged, members, regret
from mist_dse.explore.spaces.goals import objective
from mist_dse.metrics import parse_limit

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12)


@given(POINTS)
@settings(deadline=None, max_examples=50)
def test_members_are_those_that_no_other_beats(pairs: list[tuple[int, int]]) -> None:
    points = np.array(pairs, dtype=float)
    for point, member in zip(points, members(points), strict=True):
        assert member == (not any((other <= point).all() and (other < point).any() for other in points))


@given(POINTS, POINTS)
@settings(deadline=None, max_examples=50)
def test_regret_is_the_least_step_that_leaves_no_member_ahead(pairs: list[tuple[int, int]], ahead: list[tuple[int, int]]) -> None:
    points, front = np.array(pairs, dtype=float), np.array(ahead, dtype=float)
    for point, found in zip(points, regret(points, front), strict=True):
        assert not any((member < point - found).all() for member in front)
        assert found == 0 or any((member <= point - found).all() for member in front)


def test_rows_without_a_value_are_no_members_and_endlessly_far() -> None:
    points = np.array([[1.0, np.nan], [2.0, 2.0]])
    assert members(points).tolist() == [False, True]
    assert regret(points, points[1:]).tolist() == [np.inf, 0.0]


def test_the_volume_of_a_staircase_by_hand() -> None:
    front = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])
    box = Box.of(front)
    # spans of 2, reference 1.1: columns of width 0.5, 0.5, 0.1 and heights 0.1, 0.6, 1.1
    assert box.volume(front) == pytest.approx((0.5 * 0.1 + 0.5 * 0.6 + 0.1 * 1.1) / 1.21)
    assert box.volume(front[:0]) == 0.0
    assert box.volume(np.array([[-5.0, -5.0]])) == pytest.approx(1.0)  # beyond the ideal counts no further


def test_broken_limits_and_directions() -> None:
    values = {"usd_per_hour": [1.0, 10.0, 10.0], "throughput_rps": [10.0, 100.0, 1.0]}
    goals = [objective("min usd_per_hour"), objective("max throughput_rps")]
    points = judged(values, goals, [parse_limit("throughput_rps >= 5")], np.array([True, True, True]))
    assert points[:2].tolist() == [[0.0, -1.0], [1.0, -2.0]]
    assert np.isnan(points[2]).all()
