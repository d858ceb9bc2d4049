"""A fit finds the coefficients that made the times, whatever a few wild rows say."""

import numpy as np
import pytest

from mist_dse.perf.fitting import COEFFICIENTS, Limits, fitted, modelled_time
from mist_dse.perf.kernels import KernelWork

LIMITS = Limits(flops=989e12, bandwidth=3.35e12)
TRUE = np.array([4e-6, 0.7, 0.8, 3.0, 8e-9, 0.5e-9, 0.0])
START = np.array([1e-5, 0.55, 0.8, 2.0, 1e-8, 1e-9, 1e-7])


def measured(seed: int, noise: float) -> tuple[KernelWork, np.ndarray]:
    """Products of random shapes and times that ``TRUE`` makes of them."""
    rng = np.random.default_rng(seed)
    rows, n, k = (np.exp2(rng.uniform(low, high, 3000)) for low, high in ((0, 14), (8, 16), (8, 15)))
    work = KernelWork(2 * rows * n * k, n * k + rows * (k + 2 * n), rows, k, 0.0)
    return work, modelled_time(work, LIMITS, TRUE) * np.exp(rng.normal(0, noise, 3000))


def test_coefficients_are_recovered_from_noisy_times() -> None:
    work, seconds = measured(1, 0.05)
    found = fitted(work, seconds, LIMITS, START)
    assert found[[0, 1, 2, 4]] == pytest.approx(TRUE[[0, 1, 2, 4]], rel=0.05)
    assert found[6] == 0.0  # no groups were asked of any call
    assert len(found) == len(COEFFICIENTS)


def test_one_row_in_ten_times_slower_hardly_bends_the_fit() -> None:
    work, seconds = measured(2, 0.02)
    wild = np.where(np.arange(len(seconds)) % 20 == 0, 10.0, 1.0)
    found = fitted(work, seconds * wild, LIMITS, START)
    assert found[[0, 1, 2]] == pytest.approx(TRUE[[0, 1, 2]], rel=0.10)


def test_what_the_shapes_cannot_tell_stays_where_it_started() -> None:
    work, _ = measured(3, 0.0)
    light = work._replace(flop=work.flop * 1e-6)
    found = fitted(light, modelled_time(light, LIMITS, TRUE), LIMITS, START)
    assert found[1] == pytest.approx(START[1], rel=0.05)


def test_shares_of_the_peak_stay_at_most_one() -> None:
    work, seconds = measured(4, 0.0)
    found = fitted(work, seconds / 3, LIMITS, START)
    assert np.all(found[1:3] <= 1.0)
