"""``mist-dse sweep``: a search over a space; prints the front, writes the run folder and its report."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET, UsageError, one_line
from mist_dse.app.inputs import catalog_of, workload_of
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.app.progress import ProgressLine
from mist_dse.app.searched import recorded_job, recorded_words, space_of
from mist_dse.explore import Space, SweepResult, sweep
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.report import front_table, write_report
from mist_dse.report.proof import proof_lines
from mist_dse.report.terminal import front_plot, painted
from mist_dse.specs.hardware import PriceBook

NEAR = 1e-3
"""Members of the front that another equals or beats up to this in every objective are not printed (decision 006)."""


def status(job: Job) -> int:
    """Search and show; 1 where nothing is feasible."""
    job = _resumed(job)
    config, form = job.config, format_of(job.config)
    if config["plot"] not in (None, True, False):
        raise UsageError(f"plot={config['plot']}: must be true, false, or left out for a plot in a terminal alone")
    space, workload = space_of(job), workload_of(job)
    prices = catalog_of(job).prices(str(config["prices"]))
    progress = ProgressLine(first=lambda: size_text(space, prices))
    try:
        result = sweep(
            space,
            workload,
            objectives=config["objectives"],
            constraints=config["constraints"],
            sampler=config["search"],
            evaluations=config["evaluations"],
            seconds=config["seconds"],
            executor=config["executor"],
            folder=None if config["resume"] else _folder(job),
            resume=config["resume"],
            prices=prices,
            seed=config["seed"],
            progress=progress,
            resolved=dict(config),
            command=job.command,
        )
    except EmptySpaceError as error:
        say(f"mist-dse: nothing feasible: {one_line(error)}")
        return UNMET
    finally:
        progress.close()
    page = write_report(result.folder) if config["report"] and result.folder is not None else None
    if form == "table":
        draw(result, wanted=config["plot"], stream=sys.stdout)
    show({"json": _json, "csv": _csv, "table": _table}[form](result, page))
    if not len(result.front):
        say("mist-dse: nothing feasible: no design that was simulated meets every requirement")
    return DONE if len(result.front) else UNMET


def size_text(space: Space, prices: PriceBook) -> str:
    """How large the space is, for people; why it is not known, where it is not."""
    try:
        return f"space {space.name}: {space.size(prices)}"
    except SpaceError as error:
        return f"space {space.name}: {one_line(error)}"


def draw(result: SweepResult, *, wanted: bool | None, stream: TextIO) -> None:
    """The front as a small plot: in a terminal unless unwanted, and elsewhere, as plain text, if asked for."""
    if wanted is False or (wanted is None and not stream.isatty()):
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False, emoji=False, markup=False, soft_wrap=True)
    fine = "utf" in (getattr(stream, "encoding", None) or "").lower()
    lines = front_plot(result.front, result.results, result.manifest["objectives"], width=console.width - 1, fine=fine)
    if lines:
        console.print(painted(lines), end="\n\n")


def _folder(job: Job) -> Path:
    """The run folder asked for, or one named after space, workload and time."""
    if job.config["folder"] is not None:
        return Path(str(job.config["folder"]))
    return Path("runs") / f"{job.choices['space']}-{job.choices['workload']}-{time.strftime('%Y%m%d-%H%M%S')}"


def _resumed(job: Job) -> Job:
    """For ``resume=DIR`` the job that ``DIR`` was started with, under what is typed now."""
    if job.config["resume"] is None:
        return job
    path, folder = Path(str(job.config["resume"])), job.config["folder"]
    if folder is not None and Path(str(folder)).resolve() != path.resolve():
        raise UsageError(f"folder={folder}: a resumed run stays where it is, in {path}; leave folder out, or start anew without resume")
    if recorded_words(path, "resume") is None:  # a run of the library: what is typed now has to say all of it
        return job
    again = recorded_job(path, "resume", shlex.split(job.command)[2:])
    kept = [word for word in shlex.split(again.command) if not word.startswith("resume=")]
    return again._replace(command=shlex.join(kept))


def _table(result: SweepResult, page: Path | None) -> str:
    columns, rows, omitted = front_table(result.front, result.manifest["objectives"], tolerance=NEAR)
    numbers = range(1, len(columns) - ("bottleneck" in columns))
    lines = [table_text(rows, header=columns, numbers=numbers)] if rows else []
    lines += [f"  ... and {omitted} more in front.parquet"] if omitted else []
    found = [*proof_lines(result.manifest), ("run", str(result.folder)), *([("report", str(page))] if page else [])]
    return "\n".join([*lines, *(f"{title:<11}  {text}" for title, text in found)])


def _json(result: SweepResult, page: Path | None) -> str:
    report = str(page) if page else None
    return json_text({"front": _rows(result), "folder": str(result.folder), "report": report, "manifest": result.manifest})


def _csv(result: SweepResult, page: Path | None) -> str:
    return csv_text(_rows(result))


def _rows(result: SweepResult) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in result.front.to_dict("records")]
