"""The notebooks run afresh and find what they say they find; script and notebook of a pair are one text."""

import ast
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbformat import NotebookNode

from tests.notebooks.pairs import HEADING, NUMBER, PLOTLY, ROOT, SCRIPTS, agree, ending, executed, found, percent, stated

NAMES = ("mini_mist", "roofline_by_hand", "rag_pipeline", "simulate_and_check", "search_and_read_a_front", "add_your_own",
         "validate_on_your_measurements")  # fmt: skip
LARGEST = 300_000
"""Bytes of a notebook that code hosts still draw."""

MOST_SECONDS = 240.0
"""For all of them in fast mode."""

PATHS = re.compile(r"/(?:tmp|root|home|work|Users|usr|opt|private|var)/|[A-Z]:\\\\|site-packages|\.venv")
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def took() -> dict[str, tuple[float, float]]:
    """How long each notebook took in fast mode: seconds by the clock and of processors."""
    return {}


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stored(script: Path) -> NotebookNode:
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)


def bare_axes(output: NotebookNode) -> list[str]:
    """The axes of a figure that do not say what is along them."""
    layout = output.get("data", {}).get(PLOTLY, {}).get("layout", {})
    axes = {name: axis for name, axis in layout.items() if re.fullmatch(r"[xy]axis\d*", name)}
    shared = [axis["matches"] for axis in axes.values() if "matches" in axis]
    return [name for name, axis in axes.items() if not axis.get("title", {}).get("text") and "matches" not in axis and name not in shared]


def test_the_seven_pairs_are_there() -> None:
    assert [path.stem for path in SCRIPTS] == [f"{number:02d}_{name}" for number, name in enumerate(NAMES)]
    assert sorted(path.with_suffix(".ipynb") for path in SCRIPTS) == sorted((ROOT / "notebooks").glob("*.ipynb"))


@each
def test_a_fresh_run_finds_what_the_text_says(script: Path, took: dict[str, tuple[float, float]]) -> None:
    start, before = time.monotonic(), processor_seconds()
    notebook = executed(script, fast=True)
    took[script.stem] = (time.monotonic() - start, processor_seconds() - before)
    said = found(notebook)
    assert agree(said, stated(stored(script), fast=True)), said
    assert [axis for output in outputs(notebook) for axis in bare_axes(output)] == []


def test_all_of_them_run_in_less_than_four_minutes(took: dict[str, tuple[float, float]], capsys: pytest.CaptureFixture[str]) -> None:
    """By the clock on an idle core; of processors, so that what else a machine does fails no suite."""
    if len(took) < len(SCRIPTS):
        pytest.skip("not all notebooks were run")
    clock, processors = (sum(values) for values in zip(*took.values(), strict=True))
    with capsys.disabled():
        parts = ", ".join(f"{name[:2]} {values[0]:.0f} s" for name, values in took.items())
        print(
            f"\nnotebooks in fast mode: {clock:.0f} s by the clock ({parts}), {processors:.0f} s of processors (gate {MOST_SECONDS:.0f} s)"
        )
    assert processors < MOST_SECONDS


@pytest.mark.slow
@each
def test_a_full_run_finds_what_the_text_says(script: Path) -> None:
    said = found(executed(script, fast=False))
    assert agree(said, stated(stored(script), fast=False)), said


@each
def test_a_notebook_ends_with_one_sentence_and_shows_that_it_found_it(script: Path) -> None:
    notebook = stored(script)
    last = notebook.cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith(HEADING)
    sentence = stated(notebook, fast=False)
    assert sentence.endswith(".")
    assert len(NUMBER.findall(sentence)) >= 3
    assert notebook.cells[-2].cell_type == "code"
    assert agree(found(notebook), sentence)


@each
def test_the_numbers_of_a_finding_are_results(script: Path) -> None:
    """The text between the values that its last cell prints holds none but rates and sizes that a cell before it fixes."""
    cell = [cell for cell in stored(script).cells if cell.cell_type == "code"][-1]
    call = next(node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print")
    assert isinstance(call.args[0], ast.JoinedStr)
    fixed = [part.value for part in call.args[0].values if isinstance(part, ast.Constant)]
    assert [number for text in fixed for number in NUMBER.findall(text)] == []


@each
def test_script_and_notebook_are_in_step(script: Path, tmp_path: Path) -> None:
    assert percent(stored(script)) == script.read_text(encoding="utf-8")
    assert [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells] == [
        (cell.cell_type, cell.source) for cell in stored(script).cells
    ]
    folder = tmp_path / "notebooks"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    pair = [Path(shutil.copy(path, folder)) for path in (script, script.with_suffix(".ipynb"))]
    before = [path.read_bytes() for path in pair]
    command = [sys.executable, "-m", "jupytext", "--sync", str(pair[1])]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert [path.read_bytes() for path in pair] == before


@each
def test_a_notebook_is_small_whole_and_says_nothing_of_the_machine_it_ran_on(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    assert path.stat().st_size < LARGEST
    notebook = stored(script)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source)
    assert [output.ename for output in outputs(notebook) if output.output_type == "error"] == []
    assert [output for output in outputs(notebook) if PLOTLY in output.get("data", {})] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) >= (0 if "add_your_own" in path.name else 1)
    text = "\n".join([*(cell.source for cell in notebook.cells), *(str({**output, "data": words(output)}) for output in outputs(notebook))])
    assert PATHS.findall(text) == []


def words(output: NotebookNode) -> dict[str, str]:
    """What an output holds as text."""
    return {kind: value for kind, value in output.get("data", {}).items() if kind.startswith("text/")}


def test_the_mini_mist_has_150_lines() -> None:
    cells = [cell.source for cell in stored(SCRIPTS[0]).cells if cell.cell_type == "code"]
    end = next(number for number, source in enumerate(cells) if "plotly" in source)
    lines = [line for source in cells[:end] for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert 100 < len(lines) <= 150
    assert not any("mist_dse" in line for line in lines)


def test_sentences_agree_to_the_last_digit_shown() -> None:
    assert agree("70% of llama-3.1-70b at 1,024 tokens take 7.04 ms.", "70% of llama-3.1-70b at 1,024 tokens take 7.05 ms.")
    assert not agree("It takes 7.04 ms.", "It takes 7.06 ms.")
    assert not agree("It takes 7.04 ms.", "It took 7.04 ms.")
    assert not agree("It takes 1,024 ms.", "It takes 1,026 ms.")
    assert not agree("It takes p90 1.0 ms.", "It takes p99 1.0 ms.")


def test_an_ending_states_fast_mode_where_it_differs() -> None:
    same, other = "It takes 7.04 ms.", "It takes 8.04 ms."
    assert "fast mode" not in ending(same, same)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(ending(same, other))])
    assert stated(notebook, fast=False) == same
    assert stated(notebook, fast=True) == other
