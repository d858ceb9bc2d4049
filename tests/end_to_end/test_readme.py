"""README and documents show what their commands print, to the last digit; ``python -m tests.end_to_end.test_readme`` writes it anew."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SHOWING = (README, README.parent / "docs" / "pipelines.md")
"""Texts with console blocks of our commands."""

BLOCK = re.compile(r"```console\n\$ (mist-dse [^\n]*(?:\\\n[^\n]*)*)\n(.*?)```", re.DOTALL)


def words(command: str) -> list[str]:
    """What follows ``mist-dse`` in a command that may stand on several lines."""
    return shlex.split(command.replace("\\\n", " "))[1:]


def examples(*texts: Path) -> list[tuple[str, str]]:
    """(command, output) of every console block that starts with a command of ours."""
    return [found for text in texts for found in BLOCK.findall(text.read_text(encoding="utf-8"))]


def renewed(found: re.Match[str]) -> str:
    """The block with what its command prints today."""
    done = subprocess.run([sys.executable, "-m", "mist_dse.app", *words(found[1])], capture_output=True, text=True, check=True)
    return f"```console\n$ {found[1]}\n{done.stdout}```"


def test_the_readme_is_one_screen_with_an_example() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 70
    assert all(examples(text) for text in SHOWING)


@pytest.mark.parametrize(("command", "output"), examples(*SHOWING))
def test_every_example_prints_what_is_shown(mist_dse, command: str, output: str) -> None:
    done = mist_dse(*words(command))
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


if __name__ == "__main__":
    for shown in SHOWING:
        shown.write_text(BLOCK.sub(renewed, shown.read_text(encoding="utf-8")), encoding="utf-8")
