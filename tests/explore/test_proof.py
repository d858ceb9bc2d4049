"""A search that goes on until its front is certified."""

import numpy as np
import pytest

from mist_dse.explore import SweepResult, sweep
from tests.explore.spaces import space, workload

GOALS = ["usd_per_hour", "ttft_p90"]


@pytest.fixture(scope="module")
def whole() -> SweepResult:
    return sweep(space(constraints=[]), workload(120), executor="serial", evaluations=10_000, objectives=[f"min {goal}" for goal in GOALS])


@pytest.mark.parametrize("epsilon", [0, 0.02])
def test_it_ends_certified_and_the_certificate_is_true(whole: SweepResult, epsilon: float) -> None:
    found = sweep(
        space(constraints=[]), workload(120), executor="serial", objectives=[f"min {goal}" for goal in GOALS],
        sampler={"certify": epsilon, "batch": 16, "least": 16},
    )  # fmt: skip
    assert found.manifest["certificate"] in ("exact", "epsilon")[: 1 if epsilon == 0 else 2]
    assert found.manifest["simulated"] < len(whole.results)
    front = found.front[GOALS].to_numpy(dtype=float)
    for point in whole.front[GOALS].to_numpy(dtype=float):
        assert ((front <= point * (1 + epsilon) * (1 + 1e-9)).all(axis=1)).any()
    if epsilon == 0:
        np.testing.assert_allclose(np.unique(front, axis=0), np.unique(whole.front[GOALS].to_numpy(dtype=float), axis=0))


def test_a_budget_ends_it_before(whole: SweepResult) -> None:
    found = sweep(
        space(constraints=[]), workload(120), executor="serial", objectives=[f"min {goal}" for goal in GOALS], evaluations=6,
        sampler={"certify": 0, "batch": 4, "least": 4},
    )  # fmt: skip
    assert found.manifest["simulated"] == 6
    assert found.manifest["certificate"] == "none"
