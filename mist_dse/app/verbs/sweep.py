"""``mist-dse sweep``: a search over a space; prints the front, writes the run folder and its report."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

from mist_dse.app.config import Job, composed
from mist_dse.app.errors import DONE, UNMET, UsageError, one_line
from mist_dse.app.inputs import catalog_of, changed_design, workload_of
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.app.progress import ProgressLine
from mist_dse.app.words import command_line
from mist_dse.explore import Space, SweepResult, sweep
from mist_dse.explore.errors import EmptySpaceError
from mist_dse.report import front_table, write_report

NEAR = 1e-3
"""Members of the front that another equals or beats up to this in every objective are not printed (decision 006)."""


def status(job: Job) -> int:
    """Search and show; 1 where nothing is feasible."""
    job = _resumed(job)
    config, form = job.config, format_of(job.config)
    space, workload = space_of(job), workload_of(job)
    progress = ProgressLine()
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
            prices=catalog_of(job).prices(str(config["prices"])),
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
    show({"json": _json, "csv": _csv, "table": _table}[form](result, page))
    if not len(result.front):
        say("mist-dse: nothing feasible: no design that was simulated meets every requirement")
    return DONE if len(result.front) else UNMET


def space_of(job: Job) -> Space:
    """The space of ``job``, its base design with what is set everywhere and in single pools."""
    data = dict(job.config["space"])
    where, catalog = job.file("space"), catalog_of(job)
    if any(value is not None for value in job.config["every"].values()) or job.config["pools"] or job.config["services"]:
        base = data.get("base")
        raw = base if isinstance(base, dict) else catalog.data("design", str(base), where=f"{where}: base: ")
        data["base"] = changed_design(raw, job.config, f"{where}: base")
    return Space.from_dict(data, catalog, where=where, name=job.choices.get("space", "space"))


def _folder(job: Job) -> Path:
    """The run folder asked for, or one named after space, workload and time."""
    if job.config["folder"] is not None:
        return Path(str(job.config["folder"]))
    return Path("runs") / f"{job.choices['space']}-{job.choices['workload']}-{time.strftime('%Y%m%d-%H%M%S')}"


def _resumed(job: Job) -> Job:
    """For ``resume=DIR`` the job that ``DIR`` was started with, under what is typed now."""
    if job.config["resume"] is None:
        return job
    path = Path(str(job.config["resume"])) / "manifest.json"
    if not path.is_file():
        why = "it has no manifest.json" if path.parent.is_dir() else "there is no such folder"
        raise UsageError(f"resume={path.parent}: is not a run folder ({why}); give one that mist-dse sweep has written")
    try:
        before = shlex.split(json.loads(path.read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"resume={path.parent}: its {path.name} is not that of a search; give a folder of mist-dse sweep") from None
    if before[:2] != ["mist-dse", "sweep"]:  # a run of the library: what is typed now has to say all of it
        return job
    typed = [*before[2:], *shlex.split(job.command)[2:]]
    again = composed("sweep", command_line(typed))
    return again._replace(command=shlex.join(["mist-dse", "sweep", *(word for word in typed if not word.startswith("resume="))]))


def _table(result: SweepResult, page: Path | None) -> str:
    columns, rows, omitted = front_table(result.front, result.manifest["objectives"], tolerance=NEAR)
    numbers = range(1, len(columns) - ("bottleneck" in columns))
    lines = [table_text(rows, header=columns, numbers=numbers)] if rows else []
    lines += [f"  ... and {omitted} more in front.parquet"] if omitted else []
    return "\n".join([*lines, f"run     {result.folder}", *([f"report  {page}"] if page else [])])


def _json(result: SweepResult, page: Path | None) -> str:
    report = str(page) if page else None
    return json_text({"front": _rows(result), "folder": str(result.folder), "report": report, "manifest": result.manifest})


def _csv(result: SweepResult, page: Path | None) -> str:
    return csv_text(_rows(result))


def _rows(result: SweepResult) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in result.front.to_dict("records")]
