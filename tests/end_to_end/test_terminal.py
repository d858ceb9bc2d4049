"""A sweep in a terminal: a line that renews itself, a plot and the table; elsewhere plain text, and clean output for programs."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

SPACE = """\
base: tp1_colocated
vary: {pools.*.accelerator: [h100_sxm, b200, mi300x], pools.*.tp: [1, 2, 4, 8], pools.*.replicas: 1..4}
objectives: ["min usd_per_mtok", "min ttft_p90"]
"""
ESCAPE = "\x1b"


def in_terminal(words: list[str], cwd: Path, environment: dict[str, str], *, columns: int = 100) -> tuple[str, int]:
    """What a command writes to a terminal of so many columns, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(words, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    found, deadline = b"", time.monotonic() + 300
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 1.0)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            found += part
    os.close(ours)
    return found.decode(), process.wait(timeout=30)


@pytest.fixture
def terminal(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a terminal with colours."""
    return {key: value for key, value in environment.items() if key not in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR")} | {
        "TERM": "xterm-256color",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """The words of a search that takes a second."""
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "tiny.yaml").write_text(SPACE)
    return [
        "--config-dir",
        "conf",
        "space=tiny",
        "workload.requests=200",
        "executor=serial",
        "report=false",
        "evaluations=40",
        "search.batch=4",
    ]


def lines_of(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n").split("\n")


def test_a_terminal_shows_progress_a_plot_and_the_table(start, terminal, small, tmp_path: Path) -> None:
    text, status = in_terminal([*start, "sweep", *small, "folder=run"], tmp_path, terminal)
    assert status == 0, text
    renewed = next(line for line in lines_of(text) if line.count("\r") > 1).split("\r")[1:]
    assert all(len(state) <= 99 for state in renewed)
    assert all(re.match(r"simulate [━─]+  [\d,/]+", state) for state in renewed)
    assert any(re.search(r"  [\d.,]+/s  ≤ \d+ s left  front \d+  hypervolume [\d.]+", state) for state in renewed), renewed
    lines = lines_of(text)
    top = next(number for number, line in enumerate(lines) if line.startswith("ttft_p90 (s)"))
    drawn = lines[top : lines.index("", top)]
    assert len(drawn) <= 20
    assert max(map(len, drawn)) <= 99
    assert drawn[-1].strip() == "usd_per_mtok (USD/Mtoken)"
    assert sum(line.count("●") for line in drawn[1:]) > 3
    assert any(line.strip().startswith("design") for line in lines[top:])
    assert f"{ESCAPE}[" in text


def test_elsewhere_output_is_plain_text_and_the_plot_comes_if_asked_for(mist_dse, small) -> None:
    done = mist_dse("sweep", *small, "folder=a", "plot=true", COLUMNS="70", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr):
        assert ESCAPE not in text
        assert "\r" not in text
    plot, table = done.stdout.split("\n\n", 1)
    assert "●" in plot
    assert max(map(len, plot.splitlines())) <= 70
    unasked = mist_dse("sweep", *small, "folder=b")
    assert unasked.stdout.splitlines()[0] == table.splitlines()[0]


def test_output_for_programs_stays_clean_in_a_terminal_too(start, terminal, small, tmp_path: Path) -> None:
    words = shlex.join([*start, "sweep", *small, "folder=run", "format=json", "plot=true"]) + " 2>/dev/null"
    text, status = in_terminal(["sh", "-c", words], tmp_path, terminal)
    assert status == 0
    assert ESCAPE not in text
    assert json.loads(text)["front"]


def test_a_plot_that_is_no_choice_is_said(mist_dse) -> None:
    done = mist_dse("sweep", "plot=3")
    assert done.returncode == 2
    assert done.stderr == "mist-dse: plot=3: must be true, false, or left out for a plot in a terminal alone\n"
