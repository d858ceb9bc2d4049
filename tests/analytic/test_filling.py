"""Batches that fill: the closed rule against a flow line, the flow line against a naive one, streams against the simulator."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse import rows
from mist_dse.analytic.filling import burst_times, fill, last_ttft, steady_ttft, throughput
from tests.oracles.replications import assert_true, mean, visits_at
from tests.oracles.systems import FIXED, arrivals, totals
from tests.strategies import servers_of

SIZES = st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=1, max_size=5)
SECONDS = st.lists(st.floats(0.01, 10.0), min_size=5, max_size=5)


def naive_times(batches: list[int], times: list[float], groups: list[int]) -> list[float]:
    """Every batch of every stage in a loop."""
    count = max(batches)
    done, free = [0.0] * count, dict.fromkeys(groups, 0.0)
    for size, time, group in zip(batches, times, groups, strict=False):
        after = []
        for start in range(0, count, size):
            members = done[start : start + size]
            free[group] = max(free[group], *members) + time
            after += [free[group]] * len(members)
        done = after
    return done


@given(SIZES, SECONDS)
def test_fill_and_service_is_exact_for_batches_that_never_shrink(sizes, seconds):
    sizes, times = sorted(sizes), np.array(seconds[: len(sizes)])
    assert float(last_ttft(np.array(sizes), times)) == pytest.approx(burst_times(sizes, times)[-1])


@given(SIZES, SECONDS)
def test_fill_and_service_is_exact_where_all_stages_share_devices(sizes, seconds):
    sizes, times, one = sorted(sizes), np.array(seconds[: len(sizes)]), [0] * len(sizes)
    found = float(last_ttft(np.array(sizes), times, one))
    assert found == pytest.approx(burst_times(sizes, times, one)[-1])
    assert found == pytest.approx(sum(sizes[-1] / size * time for size, time in zip(sizes, times, strict=True)))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), SECONDS, st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_a_flow_line_is_its_naive_twin(sizes, seconds, groups):
    count = len(sizes)
    found = burst_times(sizes, np.array(seconds[:count]), groups[:count])
    assert found.tolist() == pytest.approx(naive_times(sizes, seconds, groups[:count]))
    apart = burst_times(sizes, np.array(seconds[:count]))
    assert apart.tolist() == pytest.approx(naive_times(sizes, seconds, list(range(count))))


def test_a_burst_by_hand():
    """Four requests, batches of 1, 2, 4, seconds 1, 3, 2: pairs are ready at 2 and 4, done at 5 and 8, the four at 10."""
    assert burst_times([1, 2, 4], np.array([1.0, 3.0, 2.0])).tolist() == [10.0] * 4
    assert float(last_ttft(np.array([1.0, 2, 4]), np.array([1.0, 3.0, 2.0]))) == 10.0


def test_shrinking_batches_by_hand():
    """Four, then pairs, then one by one, a second each: 1; 2, 3; 3, 4, 5, 6. The rule has 1 + 2 + 2 = 5: pairs hide some singles."""
    assert burst_times([4, 2, 1], np.ones(3)).tolist() == [3.0, 4.0, 5.0, 6.0]
    assert float(last_ttft(np.array([4.0, 2, 1]), np.ones(3))) == 5.0


def test_designs_come_as_arrays():
    batches, times = np.array([[1.0, 4.0], [2.0, 2.0]]), np.array([[1.0, 2.0], [1.0, 3.0]])
    assert last_ttft(batches, times).tolist() == [6.0, 4.0]
    assert throughput(batches, times).tolist() == [1.0, 2 / 3]
    assert throughput(batches, times, [0, 0]).tolist() == pytest.approx([1 / 1.5, 0.5])
    assert burst_times([1, 4], times).tolist() == [[6.0] * 4, [7.0] * 4]


@given(SIZES, SECONDS)
def test_a_long_burst_goes_at_the_throughput(sizes, seconds):
    """65,536 requests, held together at the end by a stage without time; only filling and emptying are beside."""
    times = np.array(seconds[: len(sizes)])
    last = burst_times([*sizes, 2**16], np.append(times, 0.0))[-1]
    rate = float(throughput(np.array(sizes), times))
    assert 2**16 / rate <= last * (1 + 1e-9)
    assert last <= 2**16 / rate + 5 * 16 * sum(seconds)


@pytest.mark.parametrize(("size", "limit", "wait", "batch"), [(4, np.inf, 1.5 / 2, 4.0), (1, 9.0, 0.0, 1.0), (64, 0.0, 0.0, 1.0)])
def test_fills_without_a_limit_or_a_wait(size, limit, wait, batch):
    """Of b the first waits for b - 1 gaps, the last for none."""
    found = fill(size, limit, 2.0)
    assert (found.wait, found.size) == (wait, batch)


def test_a_pair_under_a_limit():
    """The second comes within w with chance 1 - exp(-l w); mean waits: the first's until then, E[min(gap, w)], the second's 0."""
    rate, limit = 0.5, 3.0
    chance = 1 - math.exp(-rate * limit)
    assert fill(2, limit, rate) == pytest.approx((chance / rate / (1 + chance), 1 + chance))


def test_endless_batches_go_when_the_limit_says():
    """Size beyond reach: the first waits w, those that come meanwhile w / 2 on average; without arrivals it goes alone."""
    found = fill(2000, 10.0, 30.0)
    assert found == pytest.approx(((10 + 300 * 5) / 301, 301))
    assert fill(8, 10.0, 0.0) == (10.0, 1.0)
    assert fill(8, 10.0, 1e-9) == pytest.approx((10.0, 1.0))


@given(st.integers(1, 300), st.floats(0.0, 50.0), st.floats(0.01, 50.0))
def test_fills_are_within_their_limits(size, limit, rate):
    found = fill(size, limit, rate)
    assert 0 <= found.wait <= min(limit, (size - 1) / (2 * rate) + 1e-9) + 1e-9
    assert 1 <= found.size <= min(size, 1 + rate * limit) + 1e-6
    assert fill(size, 2 * limit, rate).wait >= found.wait - 1e-9


LONG = 1e6
"""s, a limit that is never met."""


def batcher(size, wait, seconds, slots=512):
    return rows.Batcher(slots=slots, size=size, wait=wait, time=np.full(size + 1, seconds), work_time=0.0)


@pytest.mark.parametrize(
    "batchers",
    [
        [batcher(8, 3.0, 0.5)],
        [batcher(8, LONG, 0.5)],
        [batcher(2, LONG, 0.5), batcher(8, LONG, 0.25)],
        [batcher(8, LONG, 0.5), batcher(2, LONG, 0.05, slots=1)],
    ],
    ids=["limit", "whole", "growing", "splitting"],
)
def test_a_stream_takes_as_long_as_in_the_simulator(batchers):
    """Twenty runs: the closed form is inside a narrow 99.9% interval."""
    names = tuple(f"batcher{i}" for i in range(len(batchers)))
    servers = servers_of([])._replace(batchers=tuple(batchers), names=names)
    laws = [FIXED] * len(batchers)
    system = arrivals(servers, 2.0, laws, 8_000, lambda _, works: visits_at(list(range(len(batchers))), works))
    assert_true(system, {"time in system": mean(totals, steady_ttft(batchers, 2.0), 0.03)})
