"""Writes `docs/laws.md` from the docstrings of the tests named after laws: ``python -m tests.laws.index``."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "laws.md"
HEAD = """# Laws

What holds for every design, workload and run; each is a property test. Made from their docstrings by `python -m tests.laws.index`.

| law | says | test |
|---|---|---|
"""


def page() -> str:
    """The page as it should be."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = re.match(r"test_law_(\d+)", node.name) if isinstance(node, ast.FunctionDef) else None
            if name and isinstance(node, ast.FunctionDef):
                says = " ".join((ast.get_docstring(node) or node.name[len(name[0]) :].replace("_", " ").strip()).split())
                found.append((int(name[1]), says, f"{path.relative_to(ROOT)}::{node.name}"))
    return HEAD + "".join(f"| {number} | {says} | `{test}` |\n" for number, says, test in sorted(found))


if __name__ == "__main__":
    PAGE.write_text(page())
