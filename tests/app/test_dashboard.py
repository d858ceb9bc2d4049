"""``mist-dse dashboard``: what it refuses, each in one line that says where and what instead."""

import json
import socket
import sys
from pathlib import Path

import pytest

from mist_dse.app.main import main
from mist_dse.app.verbs.dashboard import Server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder that looks like a run with a journal."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    (folder / "journal.log").write_text(json.dumps({"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [1]}) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def served(server: object) -> None:
        raise AssertionError("this should have been refused")

    monkeypatch.setattr(Server, "serve_forever", served)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command ends with."""
    assert main(["dashboard", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.strip()


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, tmp_path / "none") == (
        f"mist-dse: run={tmp_path / 'none'}: is not a run folder (there is no such folder); give one that mist-dse sweep has written"
    )
    assert "it has no manifest.json" in refusal(capsys, tmp_path)


def test_a_search_that_has_not_ended(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "journal.log").unlink()
    said = refusal(capsys, run)
    assert "has no journal.log, which a search writes at its end" in said
    assert f"mist-dse sweep resume={run}" in said


def test_no_run_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys) == "mist-dse: run is missing: write run=..."


def test_the_extra_is_named_where_it_is_missing(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert refusal(capsys, run) == "mist-dse: dashboard: optuna-dashboard is not installed; pip install 'mist-dse[viz]'"


@pytest.mark.parametrize("port", ["-1", "65536", "eighty", "true", "1.5", "null"])
def test_ports_are_whole_numbers(run: Path, capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert refusal(capsys, run, f"port={port}").endswith("must be a whole number from 0 (any that is free) to 65535")


def test_keys_are_named_as_they_are_typed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dashboard has no key 'hosts'; did you mean 'host'?" in refusal(capsys, run, "hosts=localhost")
    assert "host=epyc_9654: evaluate has no key 'host'" in refused_elsewhere(capsys)


def refused_elsewhere(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["evaluate", "host=epyc_9654"]) == 2
    return capsys.readouterr().err


@pytest.mark.cluster  # needs the extra viz
def test_a_port_that_is_taken(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(capsys, run, f"port={port}")
    assert said.startswith(f"mist-dse: port={port}: cannot listen on 127.0.0.1 (Address already in use)")
    assert said.endswith("port=0 for any free one")


@pytest.mark.cluster  # needs the extra viz
def test_an_address_of_another_machine(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("192.0.2.1", "nowhere.invalid"):
        assert refusal(capsys, run, f"host={host}", "port=0").startswith(f"mist-dse: host={host}: is no address of this machine")


@pytest.mark.cluster  # needs the extra viz
@pytest.mark.parametrize("text", ["{}", "no json", '{"a": 1}'])
def test_a_journal_that_is_none(run: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (run / "journal.log").write_text(text + "\n")
    assert refusal(capsys, run, "port=0").startswith(f"mist-dse: {run / 'journal.log'}: is not an Optuna journal")
