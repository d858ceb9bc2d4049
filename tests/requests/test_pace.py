"""The same requests at another rate."""

import numpy as np
import pytest

from mist_dse.requests import paced, realise
from mist_dse.rows import Requests
from mist_dse.specs.workload import Arrivals, Lengths, Workload

LENGTH = Lengths(kind="lognormal", mean=100, cv=1.0)


def drawn(**arrivals: object) -> Requests:
    return realise(Workload(name="w", arrivals=Arrivals(**arrivals), input_tokens=LENGTH, output_tokens=LENGTH, seed=3))


@pytest.mark.parametrize("kind", ["poisson", "gamma", "uniform"])
def test_the_same_as_drawing_at_that_rate(kind: str) -> None:
    fast, slow = (drawn(kind=kind, rate=rate, requests=500, cv=2.0) for rate in (6.0, 2.0))
    np.testing.assert_allclose(paced(slow, 3.0).arrival, fast.arrival, rtol=1e-12)
    assert paced(slow, 3.0).nominal_rate == fast.nominal_rate
    np.testing.assert_array_equal(paced(slow, 3.0).output_tokens, fast.output_tokens)


def sessions() -> Requests:
    """a: 0, then 10 s later; b: 4, then 3 s later, then 1 s later. In order: a1 0, b1 4, b2 7, b3 8, a2 10. Contents are named by turn."""
    ids = [[1], [2, 3], [2, 3, 4], [2, 3, 4, 5], [1, 6]]
    count = np.arange(5) + 1
    return Requests(
        arrival=np.array([0.0, 4, 7, 8, 10]), input_tokens=count * 10, output_tokens=count, max_tokens=count + 5, cached_tokens=count % 3,
        think=np.array([0.0, 0, 3, 1, 10]), clients=0, nominal_rate=0.5, class_id=np.array([0, 1, 1, 1, 0]),
        session=np.array([7, 8, 8, 8, 7]), follows=np.array([-1, -1, 1, 2, 0]), hash_first=np.array([0, 1, 3, 6, 10, 12]),
        hash_ids=np.concatenate(ids), hash_tokens=16,
    )  # fmt: skip


def test_sessions_start_sooner_and_think_as_long() -> None:
    """Half as fast: b starts at 8, so that b2 comes at 11 and b3 at 12, after a2, which still comes 10 s after a1."""
    slow = paced(sessions(), 0.5)
    assert slow.arrival.tolist() == [0, 8, 10, 11, 12]
    assert slow.session.tolist() == [7, 8, 7, 8, 8]
    assert slow.follows.tolist() == [-1, -1, 0, 1, 3]
    assert slow.think.tolist() == [0, 0, 10, 3, 1]
    assert slow.input_tokens.tolist() == [10, 20, 50, 30, 40]
    assert slow.class_id.tolist() == [0, 1, 0, 1, 1]
    assert [slow.hash_ids[a:b].tolist() for a, b in zip(slow.hash_first[:-1], slow.hash_first[1:], strict=True)] == [
        [1], [2, 3], [1, 6], [2, 3, 4], [2, 3, 4, 5]
    ]  # fmt: skip
    assert (slow.nominal_rate, slow.hash_tokens) == (0.25, 16)


def test_sessions_come_back_as_they_were() -> None:
    there = paced(paced(sessions(), 0.5), 2.0)
    for column, value in sessions()._asdict().items():
        np.testing.assert_array_equal(getattr(there, column), value, err_msg=column)


def test_drawn_sessions_keep_their_gaps() -> None:
    table = drawn(kind="sessions", rate=2.0, requests=400, turns=4.0, think=5.0)
    quick = paced(table, 7.0)
    turns = np.flatnonzero(quick.follows >= 0)
    assert len(turns) > 100
    assert (np.diff(quick.arrival) >= 0).all()
    assert (quick.follows[turns] < turns).all()
    np.testing.assert_array_equal(quick.session[turns], quick.session[quick.follows[turns]])

    def gaps(requests: Requests) -> np.ndarray:
        later = requests.follows >= 0
        return np.sort(requests.arrival[later] - requests.arrival[requests.follows[later]])

    np.testing.assert_allclose(gaps(quick), gaps(table), atol=1e-9)
    starts = [np.sort(one.arrival[one.follows < 0]) for one in (table, quick)]
    np.testing.assert_allclose(starts[1] * 7.0, starts[0], rtol=1e-12)
