"""Pareto arithmetic against the definition, pair by pair."""

import numpy as np
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from mist_dse.explore.front import cover, crowding, front_mask, hypervolume, ranks, reference_point

POINTS = st.integers(1, 40).flatmap(
    lambda n: st.integers(1, 3).flatmap(lambda m: arrays(float, (n, m), elements=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, np.nan])))
)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@settings(max_examples=150, deadline=None)
@given(POINTS)
def test_law_14_front_members_are_undominated_and_unique_and_cover_the_rest(points: np.ndarray) -> None:
    """No front member is dominated; every other point is dominated by or equal to one; equal points are kept once."""
    mask = front_mask(points)
    members, others = points[mask], points[~mask & np.isfinite(points).all(axis=1)]
    assert not any(dominates(a, b) for a in members for b in members)
    assert len(np.unique(members, axis=0)) == len(members)
    for point in others:
        assert any(dominates(member, point) or (member == point).all() for member in members)
    assert not mask[np.isnan(points).any(axis=1)].any()


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_ranks_peel_one_front_after_the_other(points: np.ndarray) -> None:
    rank = ranks(points)
    for level in range(rank.max(initial=-1) + 1):
        left = points[rank >= level]
        here = points[rank == level]
        assert not any(dominates(a, b) for a in left for b in here)
        if level:
            above = points[rank == level - 1]
            assert all(any(dominates(a, b) for a in above) for b in here)


def test_hypervolume_of_two_points_by_hand() -> None:
    # Squares up to (4, 4): 3 x 1 and 1 x 3 with 1 x 1 in common, from (1, 3) and (3, 1).
    assert hypervolume(np.array([[1.0, 3.0], [3.0, 1.0]]), np.array([4.0, 4.0])) == 5.0
    assert hypervolume(np.array([[5.0, 5.0]]), np.array([4.0, 4.0])) == 0.0


def test_reference_lies_a_tenth_beyond_the_worst() -> None:
    assert reference_point(np.array([[0.0, 10.0], [1.0, np.nan], [2.0, 20.0]])).tolist() == [2.2, 21.0]


def test_crowding_prefers_the_lonely() -> None:
    points = np.array([[0.0, 4.0], [1.0, 3.0], [1.1, 2.9], [4.0, 0.0]])
    distance = crowding(points)
    assert np.isinf(distance[[0, 3]]).all()
    assert distance[2] > distance[1]  # the gap to its right is wider


def test_a_cover_stands_for_every_point_and_is_small() -> None:
    """Every point has a member within the slack; a chain of points each within the slack of the next is not taken for one."""
    generator = np.random.default_rng(2)
    points = generator.uniform(1, 2, (200, 3))
    for slack in (0.0, 0.01, 0.2):
        kept = points[cover(points, slack)]
        assert (kept[:, None] <= points[None] * (1 + slack)).all(axis=2).any(axis=0).all()
    assert len(cover(points, 0.2)) < len(cover(points, 0.01)) < len(points)
    chain = 1.009 ** np.arange(6)
    assert cover(np.column_stack([chain, chain[::-1]]), 0.01).tolist() == [1, 4]
