"""Whatever dies, in real processes: after that, or after a resume, the results are those of an undisturbed search, row for row.

Nothing hangs: every search has to end within a hard limit.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from tests.explore.faults import EVALUATIONS, HARD_LIMIT, ROOT, Job, children, ended, said, until

pytestmark = pytest.mark.cluster

LOKY, DASK = {"name": "loky", "workers": 2}, {"name": "dask", "workers": 2}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    said(Job(folder=str(folder)))
    return results(folder)


def results(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results.parquet")


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def same(folder: Path, undisturbed: pd.DataFrame) -> None:
    assert len(undisturbed) == EVALUATIONS
    pd.testing.assert_frame_equal(results(folder), undisturbed, check_exact=True)
    assert manifest(folder)["status"] == "done"


def parts(folder: Path) -> set[str]:
    return {path.name for path in (folder / "parts").glob("*.parquet")}


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("*.parquet")}


def test_a_killed_loky_worker_costs_nothing(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    folder = tmp_path / "run"
    with ended(Job(folder=str(folder), executor=LOKY, pause=0.2).process()) as process:
        until(lambda: parts(folder), process)
        workers = [pid for pid in children(process.pid) if b"loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(workers[-1], signal.SIGKILL)
        _, text = process.communicate(timeout=HARD_LIMIT)
        assert process.returncode == 0, text
    same(folder, undisturbed)
    assert manifest(folder)["set_aside"] == 0


@pytest.mark.parametrize("executor", [LOKY, DASK], ids=["loky", "dask"])
def test_a_parent_killed_in_the_middle_of_a_write_is_resumed(tmp_path: Path, undisturbed: pd.DataFrame, executor: dict) -> None:
    folder = tmp_path / "run"
    with ended(Job(folder=str(folder), executor=executor, stall=60.0).process()) as process:
        until((folder / "stalled").exists, process)
        family = [process.pid, *children(process.pid)]
        refused = said(Job(folder=str(folder), resume=True), status=2)
        assert f"process {process.pid} on" in refused
        assert "is writing to it" in refused
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
    kept = stamps(folder)
    assert kept
    assert list((folder / "parts").glob(".*.tmp"))
    assert manifest(folder)["status"] == "running"
    said(Job(folder=str(folder), executor=executor, resume=True))
    same(folder, undisturbed)
    assert kept.items() <= stamps(folder).items()
    assert not list((folder / "parts").glob(".*.tmp"))
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), seconds=20)


@pytest.mark.parametrize(
    ("executor", "how", "reason"),
    [
        (LOKY, "kill", "its worker process died twice"),
        (LOKY | {"timeout": 4}, "hang", "took longer than the time limit of 4 s"),
        (DASK, "kill", "its worker process died twice"),
        (DASK | {"timeout": 4}, "hang", "took longer than the time limit of 4 s"),
    ],
    ids=["loky-kill", "loky-hang", "dask-kill", "dask-hang"],
)
def test_a_poison_design_is_set_aside_alone(
    tmp_path: Path, undisturbed: pd.DataFrame, executor: dict, how: str, reason: str
) -> None:  # fmt: skip
    folder, poison = tmp_path / "run", str(undisturbed["design_id"][7])
    said(Job(folder=str(folder), executor=executor, poison=poison, how=how))
    found = results(folder)
    row = found.set_index("design_id").loc[poison]
    assert row["violations"] == f"set aside: {reason}"
    assert not row["feasible"]
    assert manifest(folder)["set_aside"] == 1
    others = (undisturbed["design_id"] != poison).to_numpy()
    pd.testing.assert_frame_equal(found[others], undisturbed[others], check_dtype=False, check_exact=True)
    if executor is not LOKY:
        return
    before = stamps(folder)
    said(Job(folder=str(folder), executor="serial", resume=True, poison=poison, how=how))  # in this process it would end the search
    assert stamps(folder) == before
    pd.testing.assert_frame_equal(results(folder), found)
    said(Job(folder=str(folder), executor={"name": "serial", "retry": True}, resume=True))
    same(folder, undisturbed)
    assert manifest(folder)["set_aside"] == 0


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    """A small file system of its own where that is permitted, else a limit on the size of files: errors of the kernel both."""
    folder = tmp_path / "small" / "run"
    folder.parent.mkdir()
    small = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder.parent)], capture_output=True, check=False)
    mounted = small.returncode == 0
    try:
        text = said(Job(folder=str(folder), largest=0 if mounted else 40_000), status=2)
        assert text.count("\n") == 1
        assert ("No space left on device" if mounted else "File too large") in text
        assert "make room" in text
        kept = stamps(folder)
        assert kept
        assert manifest(folder)["status"] == "running"
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=20m", str(folder.parent)], check=True)
        said(Job(folder=str(folder), resume=True))
        assert kept.items() <= stamps(folder).items()
        same(folder, undisturbed)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder.parent)], check=True)


def dask(*words: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
    return subprocess.Popen(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)  # fmt: skip


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A scheduler and two workers, each a process of its own on loopback; the scheduler's file is ``cluster.json``."""
    file = tmp_path / "cluster.json"
    with ExitStack() as stack:
        words = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", "--no-show", "--scheduler-file", str(file))
        process = stack.enter_context(ended(dask("scheduler", *words)))
        until(file.exists, process)
        for number in range(2):
            stack.enter_context(ended(dask("worker", "--scheduler-file", str(file), "--nthreads", "1", "--host", "127.0.0.1", "--name",
                                           f"w{number}", "--local-directory", str(tmp_path), "--no-dashboard")))  # fmt: skip
        yield process


def test_a_killed_worker_of_a_dask_cluster_costs_nothing(
    tmp_path: Path, undisturbed: pd.DataFrame, scheduler: "subprocess.Popen[str]"
) -> None:  # fmt: skip
    folder, executor = tmp_path / "run", {"name": "dask", "scheduler_file": str(tmp_path / "cluster.json")}
    with ended(Job(folder=str(folder), executor=executor, pause=0.2).process()) as process:
        until(lambda: parts(folder), process)
        spawned = [pid for pid in children(os.getpid()) if b"w1" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        worker = [pid for pid in children(spawned[0]) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(worker[0], signal.SIGKILL)
        _, text = process.communicate(timeout=HARD_LIMIT)
        assert process.returncode == 0, text
    same(folder, undisturbed)
    assert manifest(folder)["set_aside"] == 0


def test_a_scheduler_that_goes_away_ends_the_search_in_one_line(
    tmp_path: Path, undisturbed: pd.DataFrame, scheduler: "subprocess.Popen[str]"
) -> None:  # fmt: skip
    folder, executor = tmp_path / "run", {"name": "dask", "scheduler_file": str(tmp_path / "cluster.json")}
    with ended(Job(folder=str(folder), executor=executor, pause=0.2).process()) as process:
        until(lambda: parts(folder), process)
        os.kill(scheduler.pid, signal.SIGKILL)
        started = time.monotonic()
        _, text = process.communicate(timeout=HARD_LIMIT)
        assert process.returncode == 2, text
        assert "the Dask scheduler is gone" in text.splitlines()[-1]
        assert time.monotonic() - started < 60
    said(Job(folder=str(folder), executor=LOKY, resume=True))
    same(folder, undisturbed)


def test_a_folder_can_be_copied_and_gone_on_with_elsewhere(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    folder = tmp_path / "run"
    with ended(Job(folder=str(folder), pause=0.1).process()) as process:
        until(lambda: parts(folder), process)
        os.kill(process.pid, signal.SIGKILL)
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    said(Job(folder=str(copy), resume=True))
    same(copy, undisturbed)
