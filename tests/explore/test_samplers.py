"""The screen's sampler: in any Optuna script, handing over to NSGA-II, and over spaces too large to enumerate."""

from zlib import crc32

import numpy as np
import optuna
import pytest

from mist_dse.catalog import Catalog
from mist_dse.explore import ScreenSampler, screen, sweep
from mist_dse.explore.errors import LargeSpaceError
from mist_dse.explore.searches.samplers import suggested
from mist_dse.specs._check import SpecError
from tests.explore.spaces import VARY, space, workload

optuna.logging.set_verbosity(optuna.logging.WARNING)
MANY = {"pools.prefill.batching.max_num_seqs": "1..300", "pools.prefill.batching.max_num_batched_tokens": "1024..1400"}


def fastest(count: int) -> str:
    """The limit on TTFT that about so many designs of the space meet by the screen's estimate."""
    estimates = screen(space(constraints=[]), workload(60), metrics=["ttft_p90"]).metrics["ttft_p90"]
    return f"ttft_p90 <= {1e3 * np.sort(estimates)[count]:.4f} ms"


def test_the_sampler_works_alone_and_nsga2_descends_from_what_it_was_told() -> None:
    options = space(constraints=[fastest(70)])
    prices = Catalog().prices("default")
    sampler = ScreenSampler.over(options, workload(60))
    proposed = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        try:
            design = options.design(suggested(trial, options))
        except SpecError:
            raise optuna.TrialPruned from None
        proposed.append(design.design_id)
        return design.accelerators, sum(pool.parallelism.tp / pool.replicas for pool in design.pools)

    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    screened = screen(options, workload(60), prices=prices)
    count = int(screened.feasible.sum())
    assert count > 50  # a population of NSGA-II
    study.optimize(objective, n_trials=count + 20)
    assert sampler.exhausted
    assert len(set(proposed[:count])) == count
    assert set(proposed[:count]) == {screened.table.design(index).design_id for index in np.flatnonzero(screened.feasible)}
    children = study.trials[count:]
    assert {trial.system_attrs["NSGAIISampler:generation"] for trial in children} == {1}
    parents = sampler.after.get_parent_population(study, 1)  # type: ignore[attr-defined]
    assert {trial.number for trial in parents} <= set(range(count))
    assert {trial.number for trial in study.best_trials if trial.number < count} & {trial.number for trial in parents}


def test_an_exhausted_order_hands_over_where_the_screen_left_designs_out() -> None:
    tight = space(constraints=[fastest(5)])
    order = int(screen(tight, workload(60)).feasible.sum())
    found = sweep(tight, workload(60), executor="serial", evaluations=order + 15)
    assert len(found.results) == order + 15
    assert found.results["design_id"].is_unique


def test_nothing_is_handed_over_where_everything_feasible_was_simulated() -> None:
    free = space(constraints=[])
    found = sweep(free, workload(60), executor="serial", evaluations=10_000)
    assert len(found.results) == int((screen(free, workload(60)).demand < 1).sum())


def test_a_space_too_large_to_enumerate_is_searched_by_nsga2_through_the_same_sampler() -> None:
    large = space(vary=MANY)
    with pytest.raises(LargeSpaceError, match=r"1\.13e\+05 settings"):
        large.table(Catalog().prices("default"))
    found = sweep(large, workload(60), executor="serial", evaluations=12, sampler={"batch": 12})
    assert len(found.results) == 12
    assert "NSGA-II searches instead" in found.manifest["screen_note"]
    assert found.manifest["certificate"] == "none"


def test_pools_that_combine_to_too_many_designs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mist_dse.explore.spaces import table

    monkeypatch.setattr(table, "LARGEST", 10)
    with pytest.raises(LargeSpaceError, match="more than"):
        space().table(Catalog().prices("default"))


def test_enqueued_trials_take_nothing_from_the_order() -> None:
    options = space(constraints=[])
    sampler = ScreenSampler.over(options, workload(60))
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    first = sampler._table.values(7)  # type: ignore[union-attr]
    study.enqueue_trial(first)
    assert suggested(study.ask(), options) == first
    assert sampler.taken.size == 0
    assert suggested(study.ask(), options) == sampler._table.values(int(sampler.taken[0]))  # type: ignore[union-attr]


def test_an_order_can_be_replaced_and_nothing_is_proposed_twice() -> None:
    options = space(constraints=[])
    sampler = ScreenSampler.over(options, workload(60))
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    before = [study.ask() for _ in range(5)]
    for trial in before:
        suggested(trial, options)
    taken = sampler.taken.tolist()
    one, other = np.setdiff1d(np.arange(20), taken)[:2].tolist()
    sampler.follow(np.array([taken[2], one, taken[0], other]))
    suggested(study.ask(), options)
    suggested(study.ask(), options)
    assert sampler.taken.tolist() == [*taken, one, other]
    assert sampler.exhausted
    study.tell(before[1], state=optuna.trial.TrialState.PRUNED)
    assert taken[1] not in sampler.taken


def test_the_sampler_learns_from_what_it_is_told() -> None:
    """Pools that prefill are off by factors of their own: told so two hundred times, the sampler corrects its order."""
    options = space(constraints=[], vary={**VARY, "pools.*.replicas": "1..8"}, where=["usd_per_hour <= 40"])
    sampler = ScreenSampler.over(options, workload(60))
    table, refit = sampler._table, sampler._refit
    assert table is not None
    assert refit is not None

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        values = suggested(trial, options)
        index = sampler.index_of[trial.number]
        factor = (
            1.0
            + (
                crc32(str([values["pools.prefill.accelerator"], values["pools.prefill.tp"], values["pools.prefill.replicas"]]).encode())
                % 97
            )
            / 97
        )
        return refit.screened["usd_per_mtok"][index], refit.screened["ttft_p90"][index] * factor

    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=260)
    assert sampler.refits >= 1
    assert len(set(sampler.taken.tolist())) == 260


@pytest.mark.parametrize("name", ["nsga3", "qmc", "brute"])
def test_more_of_optunas_samplers_by_name(name: str) -> None:
    found = sweep(space(), workload(60), executor="serial", sampler={"name": name, "batch": 10}, evaluations=15, seed=1)
    assert len(found.results) == 15
    assert found.results["design_id"].is_unique


def test_enumeration_ends_when_every_combination_was_tried() -> None:
    tiny = space(vary={"placement": ["colocated"], "pools.prefill.replicas": [1, 2], "pools.prefill.tp": [1, 2]}, constraints=[])
    found = sweep(tiny, workload(60), executor="serial", sampler={"name": "brute", "batch": 3}, evaluations=50)
    assert len(found.results) == 4
