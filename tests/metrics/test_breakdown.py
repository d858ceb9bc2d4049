"""The parts of a breakdown: hand-made paths through one and two pools, and the sum on random ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.metrics import breakdown
from mist_dse.rows import COMPLETED, ON_END, ON_START, REJECTED
from tests.metrics import hand

STAGES = ("prefill", "decode")


def total(parts):
    return sum(seconds for causes in parts.values() for seconds in causes.values())


def test_one_pool_splits_its_visit_at_the_first_token():
    records = hand.records(
        arrival=[0.0, 1.0],
        first_token=[3.0, 4.0],
        end=[10.0, 6.0],
        status=[COMPLETED, COMPLETED],
        visit_start=[1.0, 3.5],
        visit_end=[10.0, 6.0],
    )
    parts = breakdown(records, hand.jobs([0, 1, 2], emit=[5, 5]), np.array([0, 0]), STAGES)
    assert parts == {"prefill": {"queue": (1 + 2.5) / 2, "service": (2 + 0.5) / 2}, "decode": {"service": (7 + 2) / 2}}


def disaggregated(on):
    """One request: prefill 1..3, hand-off 4..6 or, layer by layer, 2..5, decode 7..11."""
    handoff = (4.0, 6.0) if on == ON_END else (2.0, 5.0)
    records = hand.records(
        arrival=[0.5],
        first_token=[3.0],
        end=[11.0],
        status=[COMPLETED],
        visit_start=[1.0, handoff[0], 7.0],
        visit_end=[3.0, handoff[1], 11.0],
    )
    jobs = hand.jobs([0, 3], [(0, 1, on), (1, 2, ON_END)], emit=[1, 0, 9], handed=[0, 0, 1])
    return breakdown(records, jobs, np.array([0, -1, 1]), STAGES)


def test_two_pools_and_a_handoff_at_the_end_of_prefill():
    assert disaggregated(ON_END) == {
        "prefill": {"queue": 0.5, "service": 2.0},
        "decode": {"queue": 1.0, "service": 4.0},
        "handoff": {"queue": 1.0, "service": 2.0},
    }


def test_a_handoff_from_the_start_of_prefill_hides_the_prefill():
    # the transfer was released when prefill started, at 1: prefill is off the critical path
    assert disaggregated(ON_START) == {
        "prefill": {"queue": 0.5},
        "decode": {"queue": 2.0, "service": 4.0},
        "handoff": {"queue": 1.0, "service": 3.0},
    }


def test_the_last_of_two_signals_is_on_the_path():
    # visits 0 and 1 from the arrival, 2 after both; 1 ends later
    records = hand.records(
        arrival=[0.0], first_token=[9.0], end=[9.0], status=[COMPLETED], visit_start=[0, 1.0, 5.0], visit_end=[2.0, 4.0, 9.0]
    )
    jobs = hand.jobs([0, 3], [(0, 2, ON_END), (1, 2, ON_END)])
    assert breakdown(records, jobs, np.array([0, 1, 2]), ("a", "b", "c")) == {
        "b": {"queue": 1.0, "service": 3.0},
        "c": {"queue": 1.0, "service": 4.0},
    }


def test_only_completed_and_counted_requests_enter():
    records = hand.records(
        arrival=[0.0, 0, 0], first_token=[1.0, 2, np.nan], end=[1.0, 2, np.nan], status=[COMPLETED, COMPLETED, REJECTED],
        visit_start=[0.0, 0, np.nan], visit_end=[1.0, 2, np.nan],
    )  # fmt: skip
    jobs, stages = hand.jobs([0, 1, 2, 3]), np.zeros(3, int)
    assert total(breakdown(records, jobs, stages, ("only",))) == 1.5
    assert total(breakdown(records, jobs, stages, ("only",), counted=np.array([False, True, True]))) == 2.0
    assert breakdown(records, jobs, stages, ("only",), counted=np.array([False, False, True])) == {}


lengths = st.floats(0, 100)
path = st.lists(st.tuples(lengths, lengths, st.booleans()), min_size=1, max_size=5)


@given(st.lists(path, min_size=1, max_size=8), st.floats(0, 1), st.integers(1, 3))
def test_parts_sum_to_the_mean_latency(paths, share, stages):
    """Chains of visits with random queues and services, each edge at the end or at the start of its source."""
    first, start, end, edges, arrival, token = [0], [], [], [], [], []
    for number, steps in enumerate(paths):
        clock = released = float(number)
        arrival.append(clock)
        for k, (queue, service, at_start) in enumerate(steps):
            start.append(released + queue)
            end.append(start[-1] + service)
            if k + 1 < len(steps):
                edges.append((len(start) - 1, len(start), ON_START if at_start else ON_END))
            released = start[-1] if at_start else end[-1]
        first.append(len(start))
        token.append(arrival[-1] + share * (max(end[first[-2] :]) - arrival[-1]))
    last = [max(end[a:b]) for a, b in itertools.pairwise(first)]
    records = hand.records(arrival=arrival, first_token=token, end=last, status=[COMPLETED] * len(paths), visit_start=start, visit_end=end)
    parts = breakdown(records, hand.jobs(first, edges), np.arange(len(start)) % stages, [f"s{k}" for k in range(stages)])
    assert total(parts) == pytest.approx(np.mean(np.array(last) - arrival), abs=1e-9)
    assert all(seconds > 0 for causes in parts.values() for seconds in causes.values())
