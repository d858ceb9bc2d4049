"""The real command, as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a user, with this source tree importable."""
    return {name: value for name, value in os.environ.items() if name != "MIST_DSE_DEBUG"} | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def start() -> list[str]:
    """The words that start the command: the installed script where there is one."""
    script = Path(sys.executable).with_name("mist-dse")
    return [str(script)] if script.exists() else [sys.executable, "-m", "mist_dse.app"]


@pytest.fixture
def mist_dse(tmp_path: Path, start: list[str], environment: dict[str, str]) -> Command:
    """Runs ``mist-dse WORDS`` in an empty folder (or in ``cwd``) and returns what it printed and its exit status."""

    def run(*words: str, cwd: Path = tmp_path, seconds: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
        settings = {**environment, **variables}
        return subprocess.run([*start, *words], cwd=cwd, env=settings, capture_output=True, text=True, timeout=seconds, check=False)

    return run
