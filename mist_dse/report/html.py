"""One self-contained page for a run: plotly.js, data, style and script inlined; no network, at most `LARGEST` bytes.

The page's content policy forbids every load, so that a page which opens from disk is known to need nothing else.
"""

import os
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from mist_dse.report.page import HEAD, appendix_html, caption, certificate_words, facts, facts_html, notices, notices_html, title
from mist_dse.report.payload import payload, script_json
from mist_dse.report.run import Run, read_run
from mist_dse.report.shown import FRONT_ROWS, SAMPLE_ROWS, shown_rows

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 8_000_000
"""Bytes that a page may have."""

SCRIPTS = ("values", "theme", "keep", "hint", "front", "axes", "parallel", "table", "design", "chosen", "compare", "report")
"""Scripts of the page in the order in which they are joined; each names one constant, the last starts the page."""


def write_report(run_folder: Path | str, out: Path | str | None = None) -> Path:
    """Write the report of a run folder and ``front.csv`` beside it; the page's path.

    ``out``: the page, ``report.html`` in the run folder by default. ``ReportError`` where the folder holds no results.
    """
    run = read_run(run_folder)
    target = run.path / "report.html" if out is None else Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, report_html(run))
    _replace(target.with_name("front.csv"), run.front.to_csv(index=False))
    return target


def report_html(run: Run) -> str:
    """The page as text; the rows shown are thinned, the sample before the front, until it fits into `LARGEST`."""
    sample, front = SAMPLE_ROWS, FRONT_ROWS
    while True:
        rows = shown_rows(run, sample=sample, front=front)
        html = _page(run, rows)
        size = len(html.encode())
        if size <= LARGEST or sample + front <= 10:
            return html
        share = min(0.95 * max(LARGEST - _fixed_bytes(), 0) / max(size - _fixed_bytes(), 1), 0.9)
        total = max(int(share * len(rows)), 10)
        front = min(front, max(total // 2, total - sample))
        sample = total - front


def _page(run: Run, rows: "pd.DataFrame") -> str:
    from plotly.offline import get_plotlyjs

    data, told = payload(run, rows), facts(run, rows)
    head = [line for line in told if line[0] in HEAD]
    rest = [line for line in told if line[0] not in HEAD]
    return Template(_asset("report.html")).substitute(
        title=escape(title(run)),
        notices=notices_html(notices(run, rows)),
        facts=facts_html(head),
        searched=facts_html(rest),
        certificate=escape(certificate_words(run)),
        caption=escape(caption(run, rows, stays=bool(data["robustness"]))),
        appendix=appendix_html("Manifest", run.manifest) + appendix_html("Resolved configuration", run.resolved),
        style=_asset("report.css"),
        plotly=get_plotlyjs(),
        data=script_json(data),
        script="\n".join(_asset(f"{name}.js") for name in SCRIPTS),
    )


def _fixed_bytes() -> int:
    """Bytes of a page that do not depend on its rows."""
    from plotly.offline import get_plotlyjs

    return len(get_plotlyjs().encode()) + sum(len(_asset(name).encode()) for name in ("report.html", "report.css"))


def _asset(name: str) -> str:
    return files("mist_dse.report").joinpath("assets", name).read_text(encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a browser that reloads meanwhile sees the old page."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
