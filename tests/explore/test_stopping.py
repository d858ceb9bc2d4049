"""When a search ends."""

import numpy as np

from mist_dse.explore.searches.stopping import Seen, Stopping


def fed(batches: list[list[tuple[float, float]]], feasible: bool = True) -> Seen:
    seen = Seen()
    for batch in batches:
        seen.add([np.array(point) for point in batch], [feasible] * len(batch))
    return seen


def test_the_front_moves_and_rests() -> None:
    seen = fed([[(1.0, 2.0), (2.0, 1.0)]])
    assert seen.resting == 0
    assert seen.front.tolist() == [0, 1]
    seen.add([np.array([3.0, 3.0])], [True])
    assert seen.resting == 1
    seen.add([np.array([0.5, 0.5])], [True])
    assert seen.resting == 0
    assert seen.front.tolist() == [3]


def test_infeasible_points_are_counted_but_never_on_the_front() -> None:
    seen = fed([[(1.0, 2.0), (2.0, 1.0)]], feasible=False)
    assert seen.count == 2
    assert seen.front.size == 0
    assert seen.hypervolume == 0


def test_a_budget_of_evaluations_is_exact() -> None:
    rule = Stopping(evaluations=3)
    assert not rule.enough(fed([[(1.0, 2.0), (2.0, 1.0)]]), 1e6)
    assert rule.enough(fed([[(1.0, 2.0)] * 3]), 1e6)


def test_without_a_budget_share_and_rest_decide() -> None:
    rule = Stopping(share=0.01, fronts=3, least=10)
    busy = fed([[(1.0, 2.0), (2.0, 1.0)]])
    assert not rule.enough(busy, 1000)
    rested = fed([[(1.0, 2.0), (2.0, 1.0)], [(5.0, 5.0)] * 9])
    assert rule.enough(rested, 1000)  # 11 of at least 10, front of 2 at rest for 9 of at least 5
    assert not rule.enough(rested, 5000)  # the share asks for 50
    assert rule.budget(5000) == 500


def test_seconds_end_a_search() -> None:
    assert Stopping(seconds=1e-9).enough(fed([[(1.0, 1.0)]]), 1e6)
