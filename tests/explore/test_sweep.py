"""`sweep` end to end on a small space: against all designs simulated, over workers, after a stop, and as a study."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml

from mist_dse.catalog import conf_dir
from mist_dse.explore import Progress, SpaceError, StoreError, SweepResult, sweep
from mist_dse.explore.errors import EmptySpaceError
from tests.explore.spaces import space, workload

QUICK = {"executor": "serial", "evaluations": 24}


@pytest.fixture(scope="module")
def whole() -> SweepResult:
    """Every design of the small space that is not saturated, simulated."""
    return sweep(space(constraints=[]), workload(), executor="serial", evaluations=10_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return sweep(space(), workload(), folder=tmp_path_factory.mktemp("runs") / "run", **QUICK)


def points(frame: pd.DataFrame) -> np.ndarray:
    return frame[["usd_per_mtok", "ttft_p90"]].to_numpy()


def test_the_screen_finds_the_front_of_the_whole_space_early(whole: SweepResult) -> None:
    assert whole.manifest["certificate"] == "exact"
    few = sweep(space(constraints=[]), workload(), executor="serial", evaluations=max(3 * len(whole.front), 30))
    assert len(few.results) < len(whole.results) / 2
    true, found = set(whole.front["design_id"]), set(few.front["design_id"])
    assert len(true & found) >= 0.7 * len(true)
    slack = {"exact": 1.0, "epsilon": 1.02, "none": np.inf}[few.manifest["certificate"]]
    for point in points(whole.front):  # what is certified is true
        assert (points(few.front) <= slack * point).all(axis=1).any()


def test_a_handful_of_designs_certifies_nothing() -> None:
    few = sweep(space(constraints=[]), workload(), executor="serial", evaluations=4)
    assert (len(few.results), few.manifest["certificate"]) == (4, "none")


def test_front_members_are_undominated_and_the_rest_is_not(whole: SweepResult) -> None:
    front, rest = points(whole.front), points(whole.results[whole.results["feasible"]])
    for point in rest:
        beaten = (front <= point).all(axis=1)
        assert beaten.any()
    for point in front:
        assert not ((rest <= point).all(axis=1) & (rest < point).any(axis=1)).any()


def test_the_run_folder_keeps_its_promise(run: SweepResult) -> None:
    folder = run.folder
    assert folder is not None
    results, front = pd.read_parquet(folder / "results.parquet"), pd.read_parquet(folder / "front.parquet")
    manifest, resolved = json.loads((folder / "manifest.json").read_text()), yaml.safe_load((folder / "resolved.yaml").read_text())
    assert len(results) == 24 == manifest["simulated"]
    assert results["design_id"].is_unique
    assert set(VARY_PATHS) <= set(results.columns)
    assert {"fidelity", "seed", "feasible", "violation", "violations", "ttft_p90", "usd_per_mtok", "bottleneck"} <= set(results.columns)
    assert any(name.startswith("breakdown/") for name in results.columns)
    assert any(name.startswith("pool/") for name in results.columns)
    assert front["feasible"].all()
    assert sum(len(pd.read_parquet(part)) for part in (folder / "parts").glob("*.parquet")) == 24
    assert {"versions", "seed", "data_hashes", "command", "wall_s", "excluded_by_bound", "certificate", "screened"} <= set(manifest)
    assert manifest["status"] == "done"
    assert resolved["space"]["objectives"] == ["min usd_per_mtok", "min ttft_p90"]
    assert not list(folder.rglob("*.tmp"))


def test_parts_name_their_designs_as_the_results_do(run: SweepResult) -> None:
    parts = pd.concat(pd.read_parquet(part) for part in (run.folder / "parts").glob("*.parquet"))  # type: ignore[operator]
    both = parts.set_index("design_id").loc[run.results["design_id"]].reset_index()
    for path in VARY_PATHS:
        assert both[path].astype(object).where(both[path].notna(), None).tolist() == run.results[path].astype(object).where(
            run.results[path].notna(), None).tolist()  # fmt: skip


VARY_PATHS = ["placement", *(f"pools.{pool}.{name}" for pool in ("prefill", "decode") for name in ("accelerator", "tp", "replicas"))]


def test_whole_numbers_stay_whole_where_a_pool_is_missing(run: SweepResult) -> None:
    column = pd.read_parquet(run.folder / "results.parquet")["pools.decode.tp"]  # type: ignore[operator]
    assert column.isna().any()
    assert str(column.dtype) == "Int64"


def test_the_journal_opens_as_an_optuna_study(run: SweepResult) -> None:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(run.folder / "journal.log"))))  # type: ignore[operator]
    assert len(study.trials) == 24
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE] * 2
    trial = study.trials[0]
    row = run.results.set_index("design_id").loc[trial.user_attrs["design_id"]]
    assert trial.values == [row["usd_per_mtok"], row["ttft_p90"]]
    assert trial.params["placement"] == row["placement"]
    assert set(trial.constraints) == {"violation", "tpot_p90 <= 60 ms"}
    best = {item.user_attrs["design_id"] for item in study.best_trials}
    assert set(run.front["design_id"]) <= best


def test_law_8_same_results_for_any_number_of_workers(run: SweepResult) -> None:
    """Same seed, same records, for any number of workers: here every row of the results."""
    other = sweep(space(), workload(), evaluations=24, executor={"name": "loky", "workers": 2})
    pd.testing.assert_frame_equal(run.results, other.results)
    pd.testing.assert_frame_equal(run.front, other.front)


def stopping_after(count: int) -> Iterator[None]:
    for _ in range(count):
        yield
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(tmp_path: Path, run: SweepResult) -> None:
    steps = stopping_after(3)
    with pytest.raises(KeyboardInterrupt):
        sweep(space(), workload(), folder=tmp_path / "run", progress=lambda state: next(steps), **QUICK)
    kept = pd.concat(pd.read_parquet(part) for part in (tmp_path / "run" / "parts").glob("*.parquet"))
    assert 0 < len(kept) <= 24
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    assert (tmp_path / "run" / "results.parquet").exists()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "parts").glob("*.parquet")}
    again = sweep(space(), workload(), resume=tmp_path / "run", **QUICK)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    pd.testing.assert_frame_equal(again.results, run.results, check_dtype=False)


def test_a_finished_run_resumes_without_a_simulation(run: SweepResult, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(run.folder, tmp_path / "copy")  # type: ignore[type-var]
    again = sweep(space(), workload(), resume=copy, **QUICK)
    assert len(list((copy / "parts").glob("*.parquet"))) == len(list((run.folder / "parts").glob("*.parquet")))  # type: ignore[operator]
    pd.testing.assert_frame_equal(again.front, run.front, check_dtype=False)


def test_a_run_goes_on_until_it_is_certified(run: SweepResult, tmp_path: Path) -> None:
    """Where a search ends is not what its rows say: it resumes with another stopping rule, not with another sampler."""
    import shutil

    copy = shutil.copytree(run.folder, tmp_path / "copy")  # type: ignore[type-var]
    asked = QUICK | {"sampler": {"certify": 0.02}, "evaluations": None}
    again = sweep(space(), workload(), resume=copy, **asked)
    assert again.manifest["certificate"] in ("exact", "epsilon")
    assert set(run.results["design_id"]) <= set(again.results["design_id"])
    with pytest.raises(StoreError, match="another search"):
        sweep(space(), workload(), resume=copy, **QUICK | {"sampler": "random"})


def test_folders_that_cannot_be_used_are_one_line(run: SweepResult, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds a run already"):
        sweep(space(), workload(), folder=run.folder, **QUICK)
    with pytest.raises(StoreError, match="another workload"):
        sweep(space(), workload(rate=3.0), resume=run.folder, **QUICK)
    with pytest.raises(StoreError, match="not a run folder"):
        sweep(space(), workload(), resume=tmp_path / "nothing", **QUICK)


def test_saturated_designs_never_reach_a_front() -> None:
    options = {"sampler": {"name": "random", "batch": 48}, "evaluations": 48, "executor": "serial"}
    busy = sweep(space(constraints=[], objectives=["min usd_per_hour", "min ttft_p90"]), workload(rate=60.0), **options)
    saturated = busy.results["violations"].str.contains("saturated")
    assert saturated.any()
    assert busy.results["feasible"].any()
    assert busy.results["usd_per_hour"].idxmin() in busy.results.index[saturated]  # it would own the cheap end
    assert not set(busy.front["design_id"]) & set(busy.results.loc[saturated, "design_id"])


@pytest.mark.parametrize("name", ["nsga2", "tpe", "random"])
def test_optuna_samplers_by_name(name: str) -> None:
    batch = {"nsga2": 10, "tpe": 5, "random": 10}[name]
    found = sweep(space(), workload(60), executor="serial", sampler={"name": name, "batch": batch}, evaluations=15, seed=1)
    assert len(found.results) == 15
    assert found.results["design_id"].is_unique
    assert found.manifest["screened"] == 0


def test_the_order_exhausted_ends_the_search_and_memo_keeps_designs_unique() -> None:
    tiny = space(vary={"placement": ["colocated"], "pools.prefill.replicas": [1, 2]})
    found = sweep(tiny, workload(60), executor="serial", evaluations=50)
    assert len(found.results) == 2
    assert found.manifest["certificate"] == "exact"


def test_a_closed_loop_is_searched_by_nsga2() -> None:
    from dataclasses import replace

    from mist_dse.specs.workload import Arrivals

    closed = replace(workload(), arrivals=Arrivals(kind="closed", clients=4, requests=40))
    found = sweep(space(), closed, executor="serial", evaluations=12, sampler={"batch": 12})
    assert "closed loop" in found.manifest["screen_note"]
    assert len(found.results) == 12


def test_a_design_that_kills_its_worker_is_set_aside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from mist_dse.explore.runs.executor import Lost, serial
    from mist_dse.explore.searches import search

    clean = sweep(space(), workload(60), **QUICK)
    poison = clean.results["design_id"][5]

    class Deadly:
        def open(self, work):
            return serial.open(lambda chunk: Lost("died") if poison in [design.design_id for design in chunk] else work(chunk))

        def __call__(self, work, chunks):
            return serial(work, chunks)

    monkeypatch.setattr(search, "executor", lambda spec: (Deadly(), 1))
    found = sweep(space(), workload(60), **QUICK)
    row = found.results.set_index("design_id").loc[poison]
    assert not row["feasible"]
    assert "set aside" in row["violations"]
    others = clean.results["design_id"] != poison
    pd.testing.assert_frame_equal(found.results[others], clean.results[others], check_dtype=False)


def test_progress_counts_up() -> None:
    states: list[Progress] = []
    sweep(space(), workload(60), progress=states.append, **QUICK)
    done = [state.done for state in states]
    assert done == sorted(done)
    assert states[-1].done == states[-1].total == 24
    assert states[-1].front_size > 0
    assert states[-1].rate > 0


def test_the_default_rule_ends_by_itself() -> None:
    found = sweep(space(), workload(60), executor="serial", sampler={"share": 0.01, "least": 16, "batch": 16})
    assert 16 <= len(found.results) < found.manifest["screened_feasible"]


def test_an_unsatisfiable_search_names_the_constraint() -> None:
    with pytest.raises(EmptySpaceError, match=r"tpot_p90 <= 1 ms removes every design: the nearest reaches 0\.0\d+"):
        sweep(space(constraints=["tpot_p90 <= 1 ms"]), workload(60), **QUICK)
    with pytest.raises(EmptySpaceError, match="every design is saturated at the rate asked"):
        sweep(space(), workload(60, rate=5000.0), **QUICK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampler": "nsga4"}, "there is no sampler 'nsga4'; did you mean 'nsga"),
        ({"sampler": {"name": "screen", "bach": 3}}, "did you mean 'batch'"),
        ({"sampler": {"name": "tpe", "options": {"warp": 1}}}, "tpe has no option 'warp'"),
        ({"sampler": {"name": "nsga2", "options": {"population_size": -4}}}, "search.options.population_size is -4"),
        ({"sampler": {"name": "nsga2", "options": {"population_size": 1}}}, "population_size"),
        ({"sampler": {"name": "tpe", "options": {"n_startup_trials": "abc"}}}, "n_startup_trials is 'abc': must be a whole number"),
        ({"sampler": {"options": 3}}, "search.options is 3: must be a mapping"),
        ({"sampler": {"batch": 0}}, "search.batch is 0: must be a whole number >= 1"),
        ({"sampler": {"share": 0}}, "search.share is 0: must be a number > 0 and <= 1"),
        ({"sampler": {"share": 1.5}}, "search.share is 1.5"),
        ({"sampler": {"least": "many"}}, "search.least is 'many'"),
        ({"sampler": "cmaes"}, "cmaes follows one objective and this search has 2"),
        ({"sampler": {"certify": -0.1}}, "search.certify is -0.1: must be the epsilon 0 or 0.02, or null"),
        ({"sampler": {"fidelities": [0.1, 0.5]}}, "search.fidelities is [0.1, 0.5]: must be shares of the requests that end with 1"),
        ({"sampler": {"refit": 3}}, "search.refit is 3: must be true or false"),
        ({"sampler": {"warm_start": 3}}, "search.warm_start is 3: must be the folder of another run"),
        ({"sampler": 7}, "sampler is 7"),
        ({"objectives": 3}, "objectives is 3: must be a list"),
        ({"objectives": "min ttft_p90"}, "objectives is 'min ttft_p90': must be a list"),
        ({"constraints": [3]}, "constraints is [3]: must be a list"),
        ({"evaluations": "abc"}, "evaluations is 'abc': must be a whole number > 0"),
        ({"evaluations": 1.5}, "evaluations is 1.5"),
        ({"seconds": "abc"}, "seconds is 'abc': must be a number > 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seed": "abc"}, "seed is 'abc': must be a whole number >= 0"),
        ({"seed": -1}, "seed is -1"),
        ({"objectives": ["min ttft_p95"]}, "ttft_p95"),
        ({"objectives": ["min ttft_p90", "min ttft_p90"]}, "twice"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"seconds": -1.0}, "seconds is -1"),
        ({"evaluation": 3}, "did you mean 'evaluations'"),
    ],
)
def test_bad_options_are_one_line(change: dict, words: str) -> None:
    with pytest.raises(SpaceError) as caught:
        sweep(space(), workload(60), **(QUICK | change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_packaged_searches_and_executors_are_valid() -> None:
    from mist_dse.explore.runs.executor import setting
    from mist_dse.explore.searches.options import Search
    from mist_dse.explore.searches.samplers import SAMPLERS, named_sampler

    names = []
    for path in sorted((conf_dir() / "search").glob("*.yaml")):
        data = yaml.safe_load(path.read_text())
        assert Search(sampler=data).tuning["name"] == path.stem
        if path.stem == "cmaes" and find_spec("cmaes") is None:
            with pytest.raises(SpaceError, match="cmaes needs the package cmaes"):
                named_sampler(path.stem, seed=0, objectives=1)
        elif path.stem == "gp" and find_spec("torch") is None:
            with pytest.raises(SpaceError, match="gp needs the package torch"):
                named_sampler(path.stem, seed=0)
        elif path.stem != "screen":
            named_sampler(path.stem, seed=0, options=data.get("options"), objectives=1)
        names.append(path.stem)
    assert sorted(names) == sorted(SAMPLERS)
    for path in (conf_dir() / "executor").glob("*.yaml"):
        assert setting(yaml.safe_load(path.read_text())).name == path.stem
