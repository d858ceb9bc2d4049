"""Growth of the number in the system, against systems whose growth is known."""

from itertools import permutations

import numpy as np
import pytest

from mist_dse.metrics import backlog
from mist_dse.metrics.backlog import BLOCKS, RISING
from mist_dse.rows import COMPLETED, REJECTED, UNFINISHED, Records
from tests.metrics import hand


def single_server(arrival: np.ndarray, service: np.ndarray) -> Records:
    """First come first served (Lindley's recursion, summed up)."""
    done = np.cumsum(service)
    end = done + np.maximum.accumulate(arrival - (done - service))
    return hand.records(arrival=arrival, end=end, status=np.full(len(arrival), COMPLETED))


def random_run(load: float, *, seed: int, count: int) -> Records:
    """M/M/1 at service rate 1."""
    generator = np.random.default_rng(seed)
    return single_server(np.cumsum(generator.exponential(1 / load, count)), generator.exponential(1, count))


def test_what_a_server_cannot_take_piles_up() -> None:
    """One arrival a second, 1.25 s of service: of five arrivals four leave."""
    found = backlog(single_server(np.arange(1000.0), np.full(1000, 1.25)))
    assert found["growth"] == pytest.approx(1 - 1 / 1.25, rel=0.01)
    assert found["grew"]


def test_a_queue_that_comes_and_goes_does_not_grow() -> None:
    assert backlog(single_server(np.arange(1000.0), np.full(1000, 0.75))) == {"growth": 0.0, "grew": False}


def test_a_burst_that_drains_does_not_grow() -> None:
    found = backlog(single_server(np.concatenate([np.zeros(500), np.arange(500.0)]), np.full(1000, 0.75)))
    assert found["growth"] < 0
    assert not found["grew"]


def test_a_constant_queue_is_as_good_as_none() -> None:
    """Requests that never end are in the system as well: the growth is their share of the arrivals."""
    run = single_server(np.arange(1000.0), np.full(1000, 0.5))
    stuck = np.arange(1000) % 4 == 0
    kept = run._replace(end=np.where(stuck, np.nan, run.end), status=np.where(stuck, UNFINISHED, COMPLETED))
    assert backlog(kept)["growth"] == pytest.approx(0.25, rel=0.01)
    assert backlog(kept._replace(status=np.where(stuck, REJECTED, COMPLETED)))["growth"] == pytest.approx(0, abs=1e-3)


def test_the_sign_test_errs_in_less_than_one_order_of_a_hundred() -> None:
    """Kendall's S of all 40,320 orders of eight values."""
    order = np.array(list(permutations(range(BLOCKS))))
    total = sum(np.sign(order[:, j] - order[:, i]) for i in range(BLOCKS) for j in range(i + 1, BLOCKS))
    assert np.mean(total >= RISING) < 0.01 < np.mean(total >= RISING - 2)


@pytest.mark.parametrize(
    ("load", "count", "low", "high"), [(0.6, 3000, 0, 3), (0.8, 10_000, 0, 3), (1.1, 10_000, 97, 100), (1.3, 3000, 100, 100)]
)
def test_random_runs_are_told_apart(load: float, count: int, low: int, high: int) -> None:
    found = [backlog(random_run(load, seed=seed, count=count)) for seed in range(100)]
    assert low <= sum(bool(one["grew"]) for one in found) <= high
    assert np.mean([one["growth"] for one in found]) == pytest.approx(max(0.0, 1 - 1 / load), abs=0.01)


def test_too_few_arrivals_say_nothing() -> None:
    assert backlog(single_server(np.arange(100.0), np.ones(100))) == {}
    assert backlog(single_server(np.zeros(1000), np.ones(1000))) == {}
