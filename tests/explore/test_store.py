"""The run folder: what is torn, truncated or left over costs nothing; rows come back as they went in."""

import json
import logging
import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest

from mist_dse.explore import StoreError, SweepResult, sweep
from mist_dse.explore.runs import store
from mist_dse.explore.runs.record import ASIDE
from mist_dse.explore.runs.store import RunFolder
from tests.explore.spaces import space, workload

QUICK = {"executor": "serial", "evaluations": 24, "sampler": {"batch": 12}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return sweep(space(), workload(60), folder=tmp_path_factory.mktemp("runs") / "run", **QUICK)


@pytest.fixture
def copy(run: SweepResult, tmp_path: Path) -> Path:
    assert run.folder is not None
    return shutil.copytree(run.folder, tmp_path / "copy")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.load_study(study_name=None, storage=storage).get_trials()


@pytest.mark.parametrize("content", ["half", "nothing"])
def test_a_torn_part_is_set_aside_and_its_designs_run_again(
    run: SweepResult, copy: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:  # fmt: skip
    monkeypatch.setattr(store._LOG, "disabled", False)  # tools that configure logging switch off the loggers that they find
    parts = sorted((copy / "parts").glob("*.parquet"))
    assert len(parts) >= 2
    if content == "half":
        torn(parts[0])
    else:
        parts[0].write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        again = sweep(space(), workload(60), resume=copy, **QUICK)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("mist_dse")]
    assert len(lines) == 1
    assert parts[0].name in lines[0]
    assert "run again" in lines[0]
    assert "\n" not in lines[0]
    assert (copy / "parts" / f"{parts[0].name}.torn").exists()
    pd.testing.assert_frame_equal(again.results, run.results, check_exact=True)
    pd.testing.assert_frame_equal(again.front, run.front, check_exact=True)


def test_a_truncated_journal_and_torn_tables_are_written_anew(run: SweepResult, copy: Path) -> None:
    before = trials(copy)
    for name in ("journal.log", "results.parquet", "front.parquet"):
        torn(copy / name)
    (copy / "parts" / ".half.parquet.tmp").write_bytes(b"half")
    again = sweep(space(), workload(60), resume=copy, **QUICK)
    pd.testing.assert_frame_equal(again.results, run.results, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(copy / "results.parquet"), run.results, check_exact=True)
    assert not (copy / "parts" / ".half.parquet.tmp").exists()
    assert [(trial.params, trial.values) for trial in trials(copy)] == [(trial.params, trial.values) for trial in before]


def test_trials_that_were_running_at_the_end_have_failed(tmp_path: Path) -> None:
    def stop(state: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(space(), workload(60), folder=tmp_path / "run", progress=stop, **QUICK)
    states = {trial.state for trial in trials(tmp_path / "run")}
    assert optuna.trial.TrialState.FAIL in states
    assert all(state.is_finished() for state in states)
    sweep(space(), workload(60), resume=tmp_path / "run", **QUICK)
    assert {trial.state for trial in trials(tmp_path / "run")} == {optuna.trial.TrialState.COMPLETE}


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    rows = [
        {"design_id": "a", "violations": "", "whole": 3, "part": 0.1, "text": "x", "yes": True, "none": None, "pool/p/rank": 1},
        {"design_id": "b", "violations": "", "whole": None, "part": 2.0, "text": None, "yes": False, "none": None, "pool/q/rank": 2.5},
    ]
    folder = RunFolder.new(tmp_path / "run")
    folder.write_part(rows)
    found = folder.rows()
    assert [found["a"], found["b"]] == rows
    assert [type(value) for value in found["a"].values()] == [type(value) for value in rows[0].values()]


def test_what_was_set_aside_is_tried_again_if_asked_and_a_result_counts_more(tmp_path: Path) -> None:
    folder = RunFolder.new(tmp_path / "run")
    folder.write_part([{"design_id": "a", "violations": f"{ASIDE}died"}, {"design_id": "b", "violations": ""}])
    assert set(folder.rows()) == {"a", "b"}
    assert set(folder.rows(retry=True)) == {"b"}
    folder.write_part([{"design_id": "a", "violations": ""}])
    assert folder.rows()["a"]["violations"] == ""
    assert folder.rows(retry=True)["a"]["violations"] == ""


def test_equal_designs_make_an_equal_part(tmp_path: Path) -> None:
    folder = RunFolder.new(tmp_path / "run")
    rows = [{"design_id": "a", "violations": ""}, {"design_id": "b", "violations": ""}]
    assert folder.write_part(rows) == folder.write_part(rows)
    assert folder.write_part(rows[:1]) != folder.write_part(rows)


def test_a_folder_that_cannot_be_written_is_one_line_and_keeps_what_was_there(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    folder = RunFolder(copy)
    before = (copy / "manifest.json").read_text()
    monkeypatch.setattr(store, "_synced", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        folder.write_manifest({"status": "done"})
    assert "\n" not in str(caught.value)
    assert (copy / "manifest.json").read_text() == before
    assert json.loads(before)["status"] == "done"
    assert not list(copy.glob(".*.tmp"))
