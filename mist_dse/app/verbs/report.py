"""``mist-dse report RUN_DIR``: the stored results of a run as one self-contained page, and its front as CSV."""

from pathlib import Path

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UsageError
from mist_dse.app.output import format_of, json_text, show, table_text
from mist_dse.report import write_report


def status(job: Job) -> int:
    """Write ``report.html`` and ``front.csv`` into the run folder and say where they are."""
    form = format_of(job.config, ("table", "json"))
    folder = Path(str(job.config["run"]))
    if not folder.is_dir():
        raise UsageError(f"run={folder}: no such folder; give one that mist-dse sweep has written")
    page = write_report(folder)
    written = {"report": str(page), "front": str(folder / "front.csv")}
    show(json_text(written) if form == "json" else table_text(list(written.items())))
    return DONE
