"""Sizes and habits of the code: gates on what must hold, and the other figures printed."""

import ast
import re
import statistics
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN_FILES = re.compile(r"utils?|common|helpers?|managers?|misc")
FORBIDDEN_NAMES = re.compile(r"_?(get|compute|calculate)_")


class Function(NamedTuple):
    """One function: where, its body in lines without the docstring, its parameters, whether public, described and typed."""

    place: str
    lines: int
    parameters: int
    public: bool
    described: bool
    typed: bool


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def code_lines(path: Path) -> int:
    """Lines that are neither empty nor comments."""
    return sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and not line.strip().startswith("#"))


def comment_lines(path: Path) -> int:
    """Lines with a comment for people, alone or after code."""
    with path.open("rb") as file:
        texts = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    return sum(1 for text in texts if not re.match(r"#\s*(fmt|noqa|type):", text))


def functions(path: Path) -> Iterator[Function]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield function(node, owners, str(path.relative_to(ROOT)))


def function(node: ast.FunctionDef | ast.AsyncFunctionDef, owners: dict[ast.AST, ast.AST], file: str) -> Function:
    described = ast.get_docstring(node) is not None
    body = node.body[1:] if described else node.body
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    method = isinstance(owners[node], ast.ClassDef) and not any(ast.unparse(item) == "staticmethod" for item in node.decorator_list)
    asked = named[1:] if method else named
    chain = [node.name]
    owner = owners[node]
    while not isinstance(owner, ast.Module):
        chain.append(getattr(owner, "name", "") if isinstance(owner, ast.ClassDef) else "_")
        owner = owners[owner]
    return Function(
        place=f"{file}:{node.lineno} {node.name}",
        lines=(body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0,
        parameters=len(asked),
        public=not any(name.startswith("_") for name in chain),
        described=described,
        typed=node.returns is not None and all(item.annotation is not None for item in asked),
    )


@pytest.fixture(scope="module")
def found() -> list[Function]:
    return [item for path in sources("mist_dse") for item in functions(path)]


WHOLE = ("tests/oracles/twin.py",)
"""Files that may be longer: the twin of the simulator is one text to be read from top to bottom."""


def test_files_have_at_most_400_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources("mist_dse", "tests")}
    assert {name: length for name, length in lengths.items() if length > 400 and name not in WHOLE} == {}


def test_function_bodies_have_at_most_60_lines(found: list[Function]) -> None:
    assert [item.place for item in found if item.lines > 60] == []


def test_public_functions_are_described_and_typed(found: list[Function]) -> None:
    assert [item.place for item in found if item.public and not (item.described and item.typed)] == []


def test_every_module_starts_with_a_docstring() -> None:
    assert [str(path) for path in sources("mist_dse") if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None] == []


def test_names_say_what_a_thing_is(found: list[Function]) -> None:
    assert [str(path) for path in sources("mist_dse") if FORBIDDEN_FILES.fullmatch(path.stem)] == []
    assert [item.place for item in found if FORBIDDEN_NAMES.match(item.place.split()[-1])] == []


def test_nothing_is_global() -> None:
    trees = {str(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources("mist_dse")}
    assert [name for name, tree in trees.items() if any(isinstance(node, ast.Global) for node in ast.walk(tree))] == []


def test_no_requirements_files_or_second_configurations() -> None:
    unwanted = [*ROOT.glob("requirements*.txt"), *ROOT.glob("setup.*"), *ROOT.glob("tox.ini"), *ROOT.glob(".importlinter")]
    assert [path.name for path in unwanted] == []


def test_figures(found: list[Function], capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the figures that are aims, not gates."""
    files = sources("mist_dse")
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
    comments = sum(comment_lines(path) for path in files)
    bodies = sorted(item.lines for item in found)
    public = [item for item in found if item.public]
    code, tests = (sum(code_lines(path) for path in sources(folder)) for folder in ("mist_dse", "tests"))
    wide = [item.place for item in found if item.parameters > 6]
    with capsys.disabled():
        print(f"\nfiles {len(files)}, lines each: median {statistics.median(lengths):.0f}, max {max(lengths)} (aim 80-150, gate 400)")
        print(f"functions {len(found)}, body lines: mean {statistics.mean(bodies):.1f}, p95 {bodies[int(0.95 * len(bodies))]}, "
              f"max {bodies[-1]} (aim 12, 35; gate 60)")  # fmt: skip
        print(f"functions of more than 6 parameters: {len(wide)} {wide[:5]}")
        print(f"public: described {share(item.described for item in public)}, typed {share(item.typed for item in public)} (gate 100%)")
        print(f"comment lines {comments / sum(lengths):.1%} (aim 4-8%), tests / code {tests / code:.2f} of {code} lines (aim 1.0-1.5)")
    assert public


def share(flags: Iterator[bool]) -> str:
    values = list(flags)
    return f"{sum(values) / len(values):.0%}"


def test_a_function_is_measured_without_its_docstring(tmp_path: Path) -> None:
    tree = ast.parse('class A:\n    def f(self, a, b: int):\n        """Text."""\n        x = a\n\n        return x\n')
    owners = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    node = next(item for item in ast.walk(tree) if isinstance(item, ast.FunctionDef))
    assert function(node, owners, "a.py") == Function("a.py:2 f", lines=3, parameters=2, public=True, described=True, typed=False)
