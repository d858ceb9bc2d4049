"""`docs/pipelines.md` names every stage kind with what runs it and its options, as the code has them."""

from pathlib import Path

import pytest

from mist_dse.app.verbs.list import options_text
from mist_dse.stages.kinds import KINDS, kind_of

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"


def rows() -> dict[str, list[str]]:
    """Cells of the table of kinds, by kind."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| kind | runs on |")) + 2
    table = lines[first : lines.index("", first)]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in table)}


def test_the_table_has_every_kind_in_order() -> None:
    assert tuple(rows()) == KINDS


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_described_as_it_is(name: str) -> None:
    kind = kind_of(name, name)
    hosts, options, how, source = rows()[name]
    assert hosts == ", ".join(kind.RUNS_ON)
    assert options == (options_text(kind.Options) or "-")
    assert how
    assert source
