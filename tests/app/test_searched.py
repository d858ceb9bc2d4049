"""Verbs on run folders, in this process: tables and CSV of `robustness`, `sensitivity` and `diff`, and one line for every mistake."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from mist_dse.app.main import main

QUICK = ("executor=serial", "draws=20", "designs=3", "newcomers=1", "rates=[0.9]", "seeds=2", "books=[high]")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, one of the library, one whose workload reads otherwise by now, and one that is empty."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["sweep", "workload.requests=200", "executor=serial", "report=false", "evaluations=20"]
    for name, words in (("one", []), ("two", ["prices=high"])):
        assert main([*small, f"folder={folder / name}", *words]) == 0
    manifest = json.loads((folder / "one" / "manifest.json").read_text())
    for name, changes in (("library", {"command": "script.py"}), ("other", {"identity": manifest["identity"] | {"workload": "0"}})):
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text(json.dumps(manifest | changes))
        (folder / name / "results.parquet").write_bytes((folder / "one" / "results.parquet").read_bytes())
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(autouse=True)
def inside(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def test_robustness_as_a_table_and_as_csv(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["robustness", "one", *QUICK]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("prices", "interval", "load", "seeds", "robustness.parquet", "noise", "%"))
    assert main(["robustness", "run=one", *QUICK, "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    stored = pd.read_parquet(runs / "one" / "robustness.parquet")
    assert [row["design_id"] for row in rows] == list(stored["design_id"])


def test_sensitivity_as_a_table_and_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", "one"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("prefill accelerator", "hypervolume", "simulated ttft_p90"))
    assert main(["sensitivity", "workload.requests=200", "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["variable"] for row in rows} >= {"placement", "pools.prefill.accelerator"}
    assert all(0 <= float(row["first/ttft_p90"]) <= 1 for row in rows)


def test_sensitivity_where_nothing_is_feasible(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", "workload.requests=100", "constraints=['tpot_p90 <= 1 us']"]) == 1
    assert "nothing feasible" in capsys.readouterr().err


def test_diff_as_a_table_and_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "one", "two"]) == 1
    text = capsys.readouterr().out
    assert all(word in text for word in ("prices", "default", "high", "kept", "usd_per_hour"))
    assert main(["diff", "a=one", "b=two", "format=csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["front"] for row in rows} <= {"gone", "new"}
    assert main(["diff", "one", "one"]) == 0
    assert "the same question" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["robustness", "nowhere"], "run=nowhere: no such folder"),
        (["robustness", "empty"], "no results.parquet"),
        (["robustness", "library"], "was not started by mist-dse sweep"),
        (["robustness", "other"], "its workload read otherwise by now"),
        (["robustness", "one", "spread=1.5"], "spread is 1.5"),
        (["robustness", "one", "draws=0"], "draws is 0"),
        (["robustness", "one", "seeds=two"], "seeds is 'two'"),
        (["robustness", "one", "rates=0.5"], "rates=0.5: must be a list"),
        (["robustness", "one", "rates=[-1]"], "rates holds -1"),
        (["robustness", "one", "books=[hgh]"], "did you mean 'high'"),
        (["robustness", "one", "executor=lokey"], "executor=lokey"),
        (["robustness", "one", "drws=3"], "did you mean 'draws'"),
        (["robustness"], "run is missing"),
        (["sensitivity", "one", "workload.rate=3"], "leave out run=one or workload.rate=3"),
        (["sensitivity", "nowhere"], "run=nowhere: no such folder"),
        (["sensitivity", "objectives=['min watts']"], "the screen estimates none of min watts"),
        (["diff", "one"], "b is missing"),
        (["diff", "one", "nowhere"], "b=nowhere: no such folder"),
        (["diff", "one", "one", "format=xml"], "format=xml"),
    ],
)
def test_mistakes_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mist-dse: ")
    assert says in line
