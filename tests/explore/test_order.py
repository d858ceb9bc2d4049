"""The order of simulation: ranks, twins one rank later, alarms at random."""

import numpy as np

from mist_dse.explore.order import screen_order, with_alarms

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
