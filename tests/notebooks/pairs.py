"""The notebooks: run afresh, what they find, and what their text says they find.

Each is a pair of files, a script in percent format and the notebook with its outputs, and ends with a code cell that prints its finding
and a text cell that states it. ``python -m tests.notebooks.pairs [NAME ...]`` runs them and writes findings and outputs anew; it needs
Chromium for the pictures, which stand in the notebooks as PNG since code hosts draw nothing else.
"""

import base64
import io
import json
import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path

import jupytext
import nbformat
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
HEADING = "## Finding"
FAST = "*In fast mode:* "
PLOTLY = "application/vnd.plotly.v1+json"
WIDTH = 135
"""Characters of a line of text, so that scripts stay within 140."""

NUMBER = re.compile(r"(?<![\w.\-])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number that stands by itself: not the 3.1 of llama-3.1-70b nor the 90 of p90."""


def executed(script: Path, *, fast: bool) -> NotebookNode:
    """The notebook of ``script`` after a run in an empty folder, in a kernel of its own."""
    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment(folder, fast=fast))
    return notebook


def environment(folder: str, *, fast: bool) -> dict[str, str]:
    """That of a reader with this source tree and its commands: temporary files in ``folder``, figures as plotly's own data."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mode = {"MIST_DSE_FAST": "1" if fast else "0", "PLOTLY_RENDERER": "plotly_mimetype", "TMPDIR": folder}
    kept = {name: value for name, value in os.environ.items() if name not in ("MIST_DSE_DEBUG", "COLUMNS")}
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **mode}


def found(notebook: NotebookNode) -> str:
    """The sentence that the last code cell printed."""
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    return "".join(output.text for output in last.outputs if output.get("name") == "stdout").strip()


def stated(notebook: NotebookNode, *, fast: bool) -> str:
    """The sentence in the last text cell; where fast mode has one of its own, that."""
    parts = [" ".join(part.split()) for part in notebook.cells[-1].source.removeprefix(HEADING).strip().split("\n\n")]
    return parts[1].removeprefix(FAST) if fast and len(parts) > 1 else parts[0]


def agree(one: str, other: str) -> bool:
    """Whether two sentences have the same words, and numbers that differ by no more than one in the last digit shown."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    return all(abs(float(a) - float(b)) <= 1.001 * _unit(a) for a, b in zip(_numbers(one), _numbers(other), strict=True))


def _numbers(sentence: str) -> list[str]:
    return [number.replace(",", "") for number in NUMBER.findall(sentence)]


def _unit(number: str) -> float:
    mantissa, _, exponent = number.partition("e")
    return float(10 ** (int(exponent or 0) - len(mantissa.partition(".")[2])))


def ending(full: str, fast: str) -> str:
    """The last text cell for the findings of the two modes."""
    told = [full] if agree(full, fast) else [full, FAST + fast]
    return "\n\n".join([HEADING, *(textwrap.fill(text, WIDTH, break_on_hyphens=False) for text in told)])


def with_pictures(notebook: NotebookNode) -> NotebookNode:
    """The notebook with each figure as a PNG on white."""
    from plotly.io import from_json, to_image

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                figure = from_json(json.dumps({key: output.data[PLOTLY][key] for key in ("data", "layout")}))
                figure.update_layout(paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", width=figure.layout.width or 860)
                output.data = NotebookNode({"image/png": base64.b64encode(_few_colours(to_image(figure, format="png"))).decode()})
    return notebook


def _few_colours(png: bytes) -> bytes:
    """The picture with a palette of 128 colours: a third of the bytes, and no difference that an eye sees in a plot."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(small, "png", optimize=True)
    return small.getvalue()


def write(script: Path) -> None:
    """Run in both modes; write the finding into the script, and script and outputs into the notebook."""
    full, fast = executed(script, fast=False), executed(script, fast=True)
    full.cells[-1].source = ending(found(full), found(fast))
    for number, cell in enumerate(full.cells):
        cell.id = f"cell-{number:02d}"
    full.metadata = NotebookNode(kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"})
    script.write_text(percent(full), encoding="utf-8")
    nbformat.write(with_pictures(full), script.with_suffix(".ipynb"))


def percent(notebook: NotebookNode) -> str:
    """The script of a notebook, as ``jupytext --sync`` writes it under this project's settings."""
    text: str = jupytext.writes(notebook, fmt="py:percent", config=load_jupytext_config(str(ROOT / "notebooks" / "any.py")))
    return text


if __name__ == "__main__":
    for path in SCRIPTS:
        if not sys.argv[1:] or any(path.name.startswith(name) for name in sys.argv[1:]):
            print(path.name, flush=True)
            write(path)
