"""The first fronts in bounded memory against the fronts of the whole table of figures."""

from dataclasses import replace

import numpy as np
import pytest

from mist_dse.explore import screen
from mist_dse.explore.errors import EmptySpaceError, LargeSpaceError, SpaceError
from mist_dse.explore.front import ranks
from mist_dse.explore.screens import shortlist as module
from mist_dse.explore.screens.shortlist import Kept, Lottery, dominated, shortlist
from mist_dse.explore.spaces.goals import minimised, objective
from tests.explore.spaces import BASE, space, workload


@pytest.mark.parametrize("goals", [("min usd_per_hour", "min ttft_p90"), ("min usd_per_hour", "min ttft_p90", "min tpot_p90")])
def test_the_fronts_kept_are_those_of_the_whole_space(goals: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    here, asked = space(vary=VARIED, objectives=list(goals)), workload()
    monkeypatch.setattr("mist_dse.explore.screens.screening.CHUNK", 64)
    monkeypatch.setattr(module, "BUFFER", 32)
    monkeypatch.setattr(module, "FRONTS", 3)
    found = shortlist(here, asked)
    whole = screen(here, asked)
    points = minimised(whole.metrics, [objective(goal) for goal in goals], logarithmic=True)
    points[~whole.feasible] = np.nan
    rank = ranks(points)
    assert found.index.tolist() == np.flatnonzero((rank >= 0) & (rank < found.fronts)).tolist()
    assert (found.rank == rank[found.index]).all()
    assert found.counts.feasible == whole.feasible.sum()
    assert found.counts.saturated == (whole.demand >= 1).sum()
    assert not found.complete


VARIED = {"placement": ["colocated", "disaggregated"], "pools.*.accelerator": ["h100_sxm", "l40s"], "pools.*.tp": [1, 2],
          "pools.*.replicas": "1..3", "pools.*.batching.max_num_seqs": [8, 64]}  # fmt: skip


def test_a_small_space_is_kept_whole() -> None:
    found = shortlist(space(), workload())
    assert found.complete
    assert set(found.drawn) == set(found.index)
    assert len(found) == found.counts.feasible


def test_no_more_designs_are_kept_than_asked_for() -> None:
    points = np.random.default_rng(0).random((5000, 2))
    kept = Kept(2, fronts=64, most=300)
    for low in range(0, 5000, 700):
        kept.add(np.arange(low, min(low + 700, 5000)), points[low : low + 700])
    kept.settle()
    rank = ranks(points)
    assert 0 < len(kept.index) <= 300
    assert sorted(kept.index) == np.flatnonzero(rank < kept.fronts).tolist()


@pytest.mark.parametrize("axes", [2, 3])
def test_what_a_front_dominates(axes: int) -> None:
    rng = np.random.default_rng(axes)
    points, front = rng.integers(0, 6, (300, axes)).astype(float), rng.integers(0, 6, (20, axes)).astype(float)
    truth = np.array([any((member <= point).all() and (member < point).any() for member in front) for point in points])
    assert dominated(points, front).tolist() == truth.tolist()
    assert not dominated(points, front[:0]).any()


def test_every_number_has_the_same_chance() -> None:
    hits = np.zeros(100)
    for seed in range(400):
        lottery = Lottery(10, source=np.random.default_rng(seed))
        for low in range(0, 100, 7):
            lottery.add(np.arange(low, min(low + 7, 100)))
        assert len(np.unique(lottery.drawn)) == 10
        hits[lottery.drawn] += 1
    assert abs(hits[:50].sum() - hits[50:].sum()) < 5 * np.sqrt(400 * 10 * 0.25)
    assert hits.max() < 80


def test_a_table_of_figures_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist_dse.explore.screens.screening.WHOLE", 10)
    with pytest.raises(LargeSpaceError, match="ask for a shortlist"):
        screen(space(), workload())


def test_progress_is_told_and_ends_at_all() -> None:
    seen: list[tuple[int, int]] = []
    found = shortlist(space(), workload(), progress=lambda done, every: seen.append((done, every)))
    assert seen[-1] == (found.counts.screened, found.counts.screened)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_objectives_without_an_estimate_are_refused() -> None:
    with pytest.raises(SpaceError, match="no objective has an estimate"):
        shortlist(replace(space(), objectives=(objective("min preemptions"),)), workload())


def test_nothing_fits_says_so() -> None:
    base = BASE | {"pools": {name: pool | {"model": "llama-3.1-70b"} for name, pool in BASE["pools"].items()}}
    with pytest.raises(EmptySpaceError, match="no pool of the space fits"):
        shortlist(space(base=base, vary={"pools.*.replicas": [1, 2]}, where=[]), workload())
