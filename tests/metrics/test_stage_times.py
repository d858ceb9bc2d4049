"""When requests are at stages, by hand: one visit for two stages is parted at the first token, several visits count as one stay."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from mist_dse.metrics import stage_times

NAN = np.nan


def times(stage: list[int], later: list[int], first: list[int], **columns: list[float]) -> tuple[list[list[float]], list[list[float]]]:
    """Start and end by stage and request."""
    records = SimpleNamespace(**{name: np.array(columns[name], float) for name in ("visit_start", "visit_end", "first_token")})
    jobs = SimpleNamespace(first=np.array(first), answers=np.array(columns["answers"], np.int8))
    found = stage_times(cast("Any", records), cast("Any", jobs), np.array(stage), np.array(later))
    return found.start.tolist(), found.end.tolist()


def test_a_visit_of_two_stages_is_parted_at_the_first_token() -> None:
    start, end = times([0], [1, 1], [0, 1], visit_start=[1], visit_end=[9], first_token=[3], answers=[1])
    assert start == [[1], [3]]
    assert end == [[3], [9]]


def test_a_visit_that_gives_no_answer_is_of_its_first_stage() -> None:
    """The weak model of a cascade: its prefill stage has it all; the strong one answers."""
    start, end = times([0, 2], [1, 1, 3, 3], [0, 2], visit_start=[1, 5], visit_end=[4, 9], first_token=[6], answers=[0, 1])
    np.testing.assert_equal(start, [[1], [NAN], [5], [6]])
    np.testing.assert_equal(end, [[4], [NAN], [6], [9]])


def test_several_visits_of_a_stage_are_one_stay_and_absent_ones_none() -> None:
    """Request 0 goes round twice with a hand-off between; request 1 never comes to stage 1."""
    start, end = times([0, -1, 0, 1, 0], [0, 1], [0, 4, 5], visit_start=[1, 2, 3, 6, 7], visit_end=[2, 3, 5, 8, 9], first_token=[7, 8],
                       answers=[0, 0, 0, 0, 0])  # fmt: skip
    np.testing.assert_equal(start, [[1, 7], [6, NAN]])
    np.testing.assert_equal(end, [[5, 9], [8, NAN]])
