"""One self-contained page for a run: plotly.js, data, style and script inlined; no network, at most `LARGEST` bytes.

The page's content policy forbids every load, so that a page which opens from disk is known to need nothing else.
"""

import os
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from mist_dse.report.page import appendix_html, caption, facts, facts_html, notices, notices_html, title
from mist_dse.report.payload import payload, script_json
from mist_dse.report.run import Run, read_run
from mist_dse.report.shown import FRONT_ROWS, SAMPLE_ROWS, shown_rows

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 8_000_000
"""Bytes that a page may have."""


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
    """The page as text; the rows shown are thinned until it fits into `LARGEST`."""
    sample, front = SAMPLE_ROWS, FRONT_ROWS
    html = _page(run, shown_rows(run, sample=sample, front=front))
    while len(html.encode()) > LARGEST and sample + front > 10:
        sample, front = (sample // 2, front) if sample > 500 else (sample // 2, front // 2)
        html = _page(run, shown_rows(run, sample=sample, front=front))
    return html


def _page(run: Run, rows: "pd.DataFrame") -> str:
    from plotly.offline import get_plotlyjs

    return Template(_asset("report.html")).substitute(
        title=escape(title(run)),
        notices=notices_html(notices(run, rows)),
        facts=facts_html(facts(run, rows)),
        caption=escape(caption(run, rows)),
        appendix=appendix_html("Manifest", run.manifest) + appendix_html("Resolved configuration", run.resolved),
        style=_asset("report.css"),
        plotly=get_plotlyjs(),
        data=script_json(payload(run, rows)),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return files("mist_dse.report").joinpath("assets", name).read_text(encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a browser that reloads meanwhile sees the old page."""
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
