"""Corrections of the screen: adopted where pools explain its error, refused where they do not."""

from types import SimpleNamespace

import numpy as np
import pytest

from mist_dse.explore.searches.refit import LEAST, Refit, validated_fall
from mist_dse.metrics import parse_objective

GOALS = [parse_objective("min usd_per_hour"), parse_objective("min ttft_p90")]


class Pool(SimpleNamespace):
    def __len__(self) -> int:
        return 20


class Part(SimpleNamespace):
    """Twenty pools that prefill, each with thirty that decode."""

    pools = (Pool(role="prefill"), Pool(role="decode"))

    def __len__(self) -> int:
        return 600

    def variants(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return index // 30, index % 30


def refit(noise: float, bias: float, seed: int = 1) -> tuple[Refit, np.ndarray]:
    """Estimates, and what is measured: each pool that prefills off by ``bias``, each design by ``noise``."""
    random = np.random.default_rng(seed)
    estimates = random.uniform(0.1, 10.0, 600)
    error = np.repeat(random.normal(0, bias, 20), 30) + random.normal(0, noise, 600)
    screened = {"usd_per_hour": random.uniform(1, 100, 600), "ttft_p90": estimates}
    table = SimpleNamespace(sections=(Part(),))
    return Refit(table, GOALS, screened, np.ones(600, dtype=bool)), estimates * np.exp(error)  # type: ignore[arg-type]


def taught(found: Refit, measured: np.ndarray, count: int) -> Refit:
    for index in np.random.default_rng(3).permutation(600)[:count]:
        found.learn(int(index), [found.screened["usd_per_hour"][index], measured[index]])
    return found


def test_errors_of_pools_are_corrected_and_the_order_is_better_for_it() -> None:
    found, measured = refit(noise=0.01, bias=0.3)
    order = taught(found, measured, 250).order()
    assert order is not None
    assert found.adopted == 1
    truth = np.column_stack([found.screened["usd_per_hour"], measured])
    from mist_dse.explore.front import front_mask
    from mist_dse.explore.searches.order import screen_order

    members = set(np.flatnonzero(front_mask(truth)).tolist())
    plain = screen_order(found.estimates, found.feasible, [goal.metric for goal in GOALS]).tolist()
    assert max(order.tolist().index(member) for member in members) < max(plain.index(member) for member in members)


def test_errors_that_no_pool_explains_change_nothing() -> None:
    found, measured = refit(noise=0.3, bias=0.0)
    assert taught(found, measured, 250).order() is None
    assert found.adopted == 0


def test_not_before_enough_is_known_and_not_every_time() -> None:
    found, measured = refit(noise=0.01, bias=0.3)
    assert not taught(found, measured, LEAST - 1).due
    assert taught(found, measured, LEAST).due
    found.order()
    assert not found.due
    assert taught(found, measured, 2 * LEAST).due


def test_nothing_is_learned_from_what_was_not_measured() -> None:
    found, _ = refit(noise=0.0, bias=0.0)
    found.learn(0, [1.0, np.inf])
    found.learn(1, [1.0, np.nan])
    assert not found.known


@pytest.mark.parametrize("residual", [[0.0], [0.5, 0.5, 0.5], [1e-9, -1e-9, 0.0]])
def test_nothing_to_correct_never_falls(residual: list[float]) -> None:
    assert validated_fall(np.array(residual), np.zeros(len(residual), dtype=np.int64)) == 0.0


def test_the_fall_is_that_of_predictions_from_the_others() -> None:
    """By hand, design by design: each predicted by the mean of the others and what its own pool's others differ from it."""
    random = np.random.default_rng(0)
    groups = random.integers(0, 4, 30)
    residual = random.normal(size=30) * 0.1 + groups
    before, after = [], []
    for one in range(30):
        rest = np.arange(30) != one
        mean, own = residual[rest].mean(), residual[rest & (groups == groups[one])]
        before.append(abs(residual[one] - mean))
        after.append(abs(residual[one] - mean - (own - mean).sum() / (len(own) + 0.3)))
    assert validated_fall(residual, groups) == pytest.approx(1 - np.mean(after) / np.mean(before))


def test_what_is_left_is_explained_by_the_other_pool() -> None:
    """Errors of both pools add up: after the pool that prefills, the one that decodes is corrected too."""
    found, measured = refit(noise=0.005, bias=0.3)
    measured = measured * np.exp(np.tile(np.random.default_rng(5).normal(0, 0.3, 30), 20))
    order = taught(found, measured, 400).order()
    assert order is not None
    truth = np.column_stack([found.screened["usd_per_hour"], measured])
    from mist_dse.explore.front import front_mask

    last = max(order.tolist().index(member) for member in np.flatnonzero(front_mask(truth)))
    assert last < 40
