"""``optuna-dashboard RUN/journal.log`` shows the study: its trials, and objectives and constraints with names and units; so does
``mist-dse dashboard RUN``.
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest

pytestmark = pytest.mark.cluster


@contextmanager
def dashboard(journal: Path) -> Iterator[str]:
    """The address of a dashboard that serves a journal."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), str(journal), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate(timeout=10)


def answer(address: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=20) as reply:
                return json.load(reply)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextmanager
def verb(start: list[str], folder: Path, environment: dict[str, str], *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``mist-dse dashboard``, and the address that it says."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it, and so would its children
    command = [*start, "dashboard", folder.name, *words]
    process = subprocess.Popen(command, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["address"]
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_verb_serves_the_run_until_ctrl_c(mist_dse, start, environment, tmp_path: Path, host: str) -> None:
    """Its address is on standard output, pages and data come over HTTP, looking leaves the run as it is, and Ctrl-C is no failure."""
    words = ("workload.requests=200", "evaluations=8", "executor=serial", "report=false", "folder=run")
    assert mist_dse("sweep", *words).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with verb(start, tmp_path / "run", environment, "port=0", f"host={host}", "format=json") as (process, address):
        (study,) = answer(f"{address}api/studies")["study_summaries"]
        assert len(answer(f"{address}api/studies/{study['study_id']}?after=0")["trials"]) >= 8
        with urllib.request.urlopen(address, timeout=20) as page:
            assert b"<html" in page.read().lower()
        taken = mist_dse("dashboard", "run", f"port={urlsplit(address).port}", f"host={host}")
        assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
        assert "Address already in use" in taken.stderr
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "", "")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_the_dashboard_shows_the_study(mist_dse, tmp_path: Path) -> None:
    limit = "tpot_p90 <= 50 ms"
    words = ("workload.requests=200", "evaluations=24", "executor=serial", "report=false", "folder=run", f'constraints=["{limit}"]')
    done = mist_dse("sweep", *words)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    with dashboard(tmp_path / "run" / "journal.log") as address:
        studies = answer(f"{address}/api/studies")["study_summaries"]
        assert [study["study_name"] for study in studies] == [f"{manifest['space']} {manifest['workload']}"]
        study = answer(f"{address}/api/studies/{studies[0]['study_id']}?after=0")
    assert study["directions"] == ["minimize"] * 2
    assert study["objective_names"] == ["usd_per_mtok [USD/Mtoken]", "ttft_p90 [s]"]
    trials = study["trials"]
    assert len(trials) >= 24
    assert {trial["state"] for trial in trials} == {"Complete"}
    assert all(len(trial["values"]) == 2 for trial in trials)
    results = pd.read_parquet(tmp_path / "run" / "results.parquet").set_index("design_id")
    for trial in trials:
        attributes = {item["key"]: item["value"] for item in trial["user_attrs"]}
        row = results.loc[attributes["design_id"]]
        excess = json.loads(attributes["constraints"])
        assert set(excess) == {"violation", limit}
        assert row["feasible"] == all(value <= 0 for value in excess.values())
        if row["tpot_p90"] == row["tpot_p90"]:
            assert (excess[limit] <= 0) == (row["tpot_p90"] <= 0.05)
