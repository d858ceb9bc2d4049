"""A search in a process of its own, with faults on order: ``python -m tests.explore.faults JSON`` (see `Job`).

Exit status 0, or 2 with the one line of a search that could not go on.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mist_dse.explore.runs.record import Row
from mist_dse.explore.searches.twins import ClassedEvaluator
from mist_dse.specs.design import Design

ROOT = Path(__file__).parents[2]

EVALUATIONS = 40

HARD_LIMIT = 300
"""Seconds after which a test says that something hangs."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """``poison``: a design that ends its worker (``how`` kill) or never ends (hang); ``pause``: s before each design;
    ``largest``: bytes that a file may have; ``stall``: s in the middle of the writing of the third part."""

    folder: str
    executor: Any = "serial"
    resume: bool = False
    poison: str = ""
    how: str = "kill"
    pause: float = 0.0
    largest: int = 0
    stall: float = 0.0

    def process(self) -> "subprocess.Popen[str]":
        """The search under way."""
        words = [sys.executable, "-m", "tests.explore.faults", json.dumps(asdict(self))]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty(ClassedEvaluator):
    """An evaluator with a poison design."""

    poison: str = ""
    how: str = "kill"
    pause: float = 0.0

    def row(self, design: Design) -> Row:
        time.sleep(self.pause)
        if design.design_id == self.poison and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while design.design_id == self.poison and self.how == "hang":
            pass
        return ClassedEvaluator.row(self, design)


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """A process that is gone afterwards, with all that it started."""
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def said(job: Job, *, status: int = 0) -> str:
    """What a whole search says on standard error; it ends within the hard limit, with ``status``."""
    with ended(job.process()) as process:
        _, text = process.communicate(timeout=HARD_LIMIT)
        assert process.returncode == status, text
    return text


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def until(holds: Any, process: "subprocess.Popen[str] | None" = None, seconds: float = 90.0) -> None:
    """Returns once ``holds()``; ``process`` must live until then."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def main(job: Job) -> int:
    """Search as ordered."""
    from mist_dse.explore.runs import store
    from mist_dse.explore.searches import search
    from tests.explore import faults
    from tests.explore.spaces import space, workload

    if job.poison or job.pause:  # as a worker imports it, not as the class of a main module
        search.ClassedEvaluator = partial(faults.Faulty, poison=job.poison, how=job.how, pause=job.pause)  # type: ignore[assignment,misc]
    if job.stall:
        store._synced = stalling(Path(job.folder) / "stalled", job.stall)
    if job.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.largest, resource.RLIM_INFINITY))
    place = {"resume" if job.resume else "folder": job.folder}
    try:
        search.sweep(space(), workload(60), executor=job.executor, evaluations=EVALUATIONS, sampler={"batch": 20}, **place)  # type: ignore[arg-type]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def stalling(mark: Path, seconds: float) -> Any:
    """A sync that takes long for the second part, whose content lies beside its name then; ``mark`` says so."""
    parts: list[Path] = []

    def synced(path: Path) -> None:
        if path.name.endswith(".parquet.tmp") and path.parent.name == "parts":
            parts.append(path)
            if len(parts) == 2:
                os.truncate(path, path.stat().st_size // 2)
                mark.touch()
                time.sleep(seconds)

    return synced


if __name__ == "__main__":
    sys.exit(main(Job(**json.loads(sys.argv[1]))))
