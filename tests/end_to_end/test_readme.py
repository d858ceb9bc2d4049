"""The README shows what its commands print, to the last printed digit."""

import re
import shlex
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def blocks(text: str) -> list[tuple[str, str]]:
    """(command, output) of every console block that starts with a command of ours."""
    found = re.findall(r"```console\n\$ (mist-dse [^\n]*(?:\\\n[^\n]*)*)\n(.*?)```", text, re.DOTALL)
    return [(command.replace("\\\n", " "), output) for command, output in found]


def test_the_readme_is_one_screen_with_an_example() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 70
    assert blocks(text)


@pytest.mark.parametrize(("command", "output"), blocks(README.read_text(encoding="utf-8")) if README.exists() else [])
def test_every_example_prints_what_the_readme_shows(mist_dse, command: str, output: str) -> None:
    done = mist_dse(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
