"""`sweep` through the real command: the front on standard output, the run folder on disk, and going on after a stop."""

import csv
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

SMALL = ("workload.requests=300", "executor=serial", "folder=run")


@pytest.fixture
def swept(mist_dse, tmp_path: Path):
    done = mist_dse("sweep", *SMALL, "evaluations=30")
    assert done.returncode == 0, done.stderr
    return done


def test_the_front_is_printed_and_the_folder_is_whole(swept, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("resolved.yaml", "manifest.json", "results.parquet", "front.parquet", "journal.log", "report.html", "front.csv"):
        assert (run / name).stat().st_size > 0
    assert list((run / "parts").glob("*.parquet"))
    assert "usd_per_mtok" in swept.stdout
    assert "run" in swept.stdout
    assert "report.html" in swept.stdout


def test_manifest_and_resolved_configuration_say_what_was_asked(swept, tmp_path: Path) -> None:
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    text = json.dumps(manifest)
    assert "workload.requests=300" in text  # the command
    assert all(word in text for word in ("mist", "numpy", "optuna"))  # the versions
    resolved = yaml.safe_load((tmp_path / "run" / "resolved.yaml").read_text())
    assert "300" in json.dumps(resolved)


def test_no_member_of_the_front_is_beaten(swept, tmp_path: Path) -> None:
    results = pd.read_parquet(tmp_path / "run" / "results.parquet")
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    names = ["usd_per_mtok", "ttft_p90"]
    able = results[results["feasible"] & (results["fidelity"] == "simulated")][names].to_numpy()
    for point in front[names].to_numpy():
        assert not (np.all(able <= point, axis=1) & np.any(able < point, axis=1)).any()
    assert front["feasible"].all()


def test_a_finished_part_is_not_run_again(mist_dse, swept, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = pd.read_parquet(run / "results.parquet")
    parts = {path.name: path.stat().st_mtime_ns for path in (run / "parts").glob("*.parquet")}
    done = mist_dse("sweep", *SMALL[:2], "evaluations=45", "resume=run")
    assert done.returncode == 0, done.stderr
    assert {name: (run / "parts" / name).stat().st_mtime_ns for name in parts} == parts
    after = pd.read_parquet(run / "results.parquet")
    assert set(before["design_id"]) <= set(after["design_id"])
    assert len(after) > len(before)


def test_formats_print_the_same_front(mist_dse, tmp_path: Path) -> None:
    words = ("sweep", *SMALL[:2], "evaluations=20", "report=false")
    rows = json.loads(mist_dse(*words, "folder=a", "format=json").stdout)["front"]
    texts = list(csv.DictReader(io.StringIO(mist_dse(*words, "folder=b", "format=csv").stdout)))
    assert [row["design_id"] for row in rows] == [row["design_id"] for row in texts]
    assert [row["ttft_p90"] for row in rows] == [float(row["ttft_p90"]) for row in texts]


def test_a_report_can_be_written_again(mist_dse, swept, tmp_path: Path) -> None:
    (tmp_path / "run" / "report.html").unlink()
    done = mist_dse("report", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 0


def test_a_folder_that_holds_a_run_is_not_overwritten(mist_dse, swept) -> None:
    done = mist_dse("sweep", *SMALL, "evaluations=30")
    assert done.returncode == 2
    assert "resume=" in done.stderr


def test_another_search_does_not_resume(mist_dse, swept) -> None:
    done = mist_dse("sweep", *SMALL[:2], "workload.rate=1", "evaluations=30", "resume=run")
    assert done.returncode == 2
    assert "workload" in done.stderr


def test_constraints_of_the_command_line_hold_on_the_front(mist_dse, tmp_path: Path) -> None:
    done = mist_dse("sweep", *SMALL, "evaluations=30", 'constraints=["ttft_p90 <= 800 ms"]', "report=false")
    assert done.returncode in (0, 1), done.stderr
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert (front["ttft_p90"] <= 0.8).all()
    assert (len(front) > 0) == (done.returncode == 0)


@pytest.mark.parametrize("executor", ["serial", "loky"])
def test_ctrl_c_keeps_what_is_finished(mist_dse, start, environment, tmp_path: Path, executor: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it, and so would its children
    words = ["sweep", "workload.requests=2000", f"executor={executor}", "folder=run"]
    running = subprocess.Popen([*start, *words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    parts = tmp_path / "run" / "parts"
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # a terminal tells the whole group
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    assert said.splitlines()[-1] == "mist-dse: interrupted; everything finished is kept"
    assert "Traceback" not in said
    kept = {path.name for path in parts.glob("*.parquet")}
    assert kept
    done = mist_dse("sweep", "resume=run", "evaluations=100", "report=false")
    assert done.returncode == 0, done.stderr
    assert kept <= {path.name for path in parts.glob("*.parquet")}
