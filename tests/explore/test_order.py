"""The order of simulation: ranks, twins one rank later, alarms at random."""

import numpy as np
import pytest

from mist_dse.explore.front import front_mask, hypervolume
from mist_dse.explore.searches.order import by_gain, distances, screen_order, with_alarms

POINTS = np.array([[0.0, 2.0], [0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.0, 2.0], [0.0, 0.0], [np.nan, 0.0]])


def test_ranks_first_and_twins_one_rank_later() -> None:
    feasible = np.array([True, True, True, True, True, False, True])
    order = screen_order(POINTS, feasible).tolist()
    assert set(order[:3]) == {0, 2, 3}
    assert set(order[3:]) == {1, 4}


def test_an_infeasible_twin_never_stands_for_a_feasible_one() -> None:
    order = screen_order(POINTS, np.array([False, True, True, True, False, False, False])).tolist()
    assert set(order[:3]) == {1, 2, 3}


def test_one_in_fifty_is_drawn_at_random_and_none_is_lost() -> None:
    order, alarms = with_alarms(np.arange(1000), seed=5)
    assert sorted(order.tolist()) == list(range(1000))
    assert alarms.sum() == 20
    assert np.flatnonzero(alarms)[:2].tolist() == [49, 99]
    assert (np.diff(order[~alarms]) > 0).all()
    assert (with_alarms(np.arange(1000), seed=5)[0] == order).all()


def test_no_feasible_design_gives_an_empty_order() -> None:
    assert screen_order(POINTS, np.zeros(7, dtype=bool)).size == 0


def cloud(rows: int, axes: int, seed: int = 2) -> np.ndarray:
    """Points with families that share a value in an axis, as designs share pools."""
    found = np.random.default_rng(seed).normal(size=(rows, axes))
    found[:, 1] = np.round(found[:, 1], 1)
    return found


def asked_by_brute_force(points: np.ndarray, exact: list[bool]) -> np.ndarray:
    found = np.zeros(len(points))
    for i, point in enumerate(points):
        for other in points:
            if (other <= point).all() and (other < point).any():
                gaps = [point[k] - other[k] for k in range(len(point)) if not exact[k] and point[k] > other[k]]
                found[i] = max(found[i], min(gaps, default=np.inf))
    return found


@pytest.mark.parametrize("exact", [[True, False], [True, False, False], [False, True, False]])
def test_distances_are_those_of_every_pair(exact: list[bool]) -> None:
    points = cloud(120, len(exact))
    found, truth = distances(points, exact), asked_by_brute_force(points, exact)
    shared = np.array([sum((points[:, 1] == value).sum() > 1 for value in point[1:2]) > 0 for point in points])
    assert shared.sum() > 60
    np.testing.assert_allclose(found, truth, atol=1e-12)


def test_the_front_is_ordered_by_what_each_design_adds() -> None:
    points = cloud(400, 3)
    front = points[front_mask(points)]
    low, span = front.min(axis=0), np.ptp(front, axis=0)
    scaled, taken = (front - low) / span, []
    for _ in range(len(front)):
        best = max(
            (number for number in range(len(front)) if number not in taken),
            key=lambda number: hypervolume(scaled[[*taken, number]], np.full(3, 1.1)),
        )
        taken.append(best)
    gained = [hypervolume(scaled[list(by_gain(front)[:count])], np.full(3, 1.1)) for count in range(1, len(front) + 1)]
    greedy = [hypervolume(scaled[taken[:count]], np.full(3, 1.1)) for count in range(1, len(front) + 1)]
    np.testing.assert_allclose(gained, greedy, rtol=1e-9)
    assert sorted(by_gain(front, most=5).tolist()) == list(range(len(front)))
    assert by_gain(front, most=5)[:5].tolist() == by_gain(front)[:5].tolist()


def test_nothing_comes_later_than_its_places_allow() -> None:
    points, feasible = cloud(500, 2), np.ones(500, dtype=bool)
    by_rank = screen_order(points, feasible).tolist()
    mixed = screen_order(points, feasible, ["usd_per_hour", "ttft_p90"]).tolist()
    assert sorted(mixed) == sorted(by_rank)
    far = distances(points, [True, False])
    for place, row in enumerate(mixed):
        assert place <= by_rank.index(row) * 4 / 3 + 1
    nearest = np.lexsort((far,))[:20]
    assert max(mixed.index(row) for row in nearest if far[row] < np.sort(far)[20]) <= 4 * 20
    assert screen_order(points, feasible, ["ttft_p90", "tpot_p90"]).tolist() == by_rank


def test_a_member_hidden_behind_a_family_comes_early() -> None:
    """A hundred designs share the pool that decides their latency and differ in cost: by rank, a hair slower is last."""
    family = np.column_stack([np.linspace(0.0, 0.99, 100), np.full(100, 1.0)])
    hidden = np.array([[1.0, 1.001], [0.5, 3.0]])
    points = np.concatenate([family, hidden])
    metrics = ["usd_per_hour", "ttft_p90"]
    assert screen_order(points, np.ones(102, dtype=bool)).tolist().index(100) >= 100
    assert screen_order(points, np.ones(102, dtype=bool), metrics).tolist().index(100) < 10


def test_alarms_among_others_are_proposed_once() -> None:
    order, alarms = with_alarms(np.arange(500), seed=1, share=0.1, among=np.arange(450, 900))
    assert alarms.sum() == 50
    assert len(set(order.tolist())) == len(order)
    assert set(range(500)) <= set(order.tolist())
    assert (order[alarms] >= 450).all()
