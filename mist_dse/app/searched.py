"""What a search is asked, from a composed job or from the run folder of an earlier one."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mist_dse.app.config import Job, composed
from mist_dse.app.errors import UsageError
from mist_dse.app.inputs import catalog_of, changed_design, workload_of
from mist_dse.app.words import command_line
from mist_dse.explore import Space
from mist_dse.explore.searches.manifest import identity
from mist_dse.explore.searches.options import Search
from mist_dse.explore.spaces.goals import objectives_of
from mist_dse.metrics import parse_limit
from mist_dse.report.run import Run, read_run
from mist_dse.requests import realise
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload


class Question(NamedTuple):
    """A space with the objectives and constraints asked for, the workload and the prices."""

    space: Space
    workload: Workload
    prices: PriceBook


def space_of(job: Job) -> Space:
    """The space of ``job``, its base design with what is set everywhere and in single pools."""
    data = dict(job.config["space"])
    where, catalog = job.file("space"), catalog_of(job)
    if any(value is not None for value in job.config["every"].values()) or job.config["pools"] or job.config["services"]:
        base = data.get("base")
        raw = base if isinstance(base, dict) else catalog.data("design", str(base), where=f"{where}: base: ")
        data["base"] = changed_design(raw, job.config, f"{where}: base")
    return Space.from_dict(data, catalog, where=where, name=job.choices.get("space", "space"))


def question_of(job: Job) -> Question:
    """What the search of ``job`` is asked."""
    space, config = space_of(job), job.config
    if config["objectives"]:
        space = replace(space, objectives=objectives_of(config["objectives"]))
    if config["constraints"] is not None:
        space = replace(space, constraints=tuple(str(parse_limit(text)) for text in config["constraints"]))
    if not space.objectives:
        raise UsageError("objectives is missing: give at least one, such as objectives=['min usd_per_mtok']")
    return Question(space, workload_of(job), catalog_of(job).prices(str(config["prices"])))


def recorded_words(folder: Path, key: str) -> list[str] | None:
    """The words after ``mist-dse sweep`` that started the run in ``folder``; None for a run of the library.

    ``UsageError`` naming ``key`` where ``folder`` is no run folder.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        why = "it has no manifest.json" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"{key}={folder}: is not a run folder ({why}); give one that mist-dse sweep has written")
    try:
        words = shlex.split(json.loads(path.read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{key}={folder}: its {path.name} is not that of a search; give a folder of mist-dse sweep") from None
    return words[2:] if words[:2] == ["mist-dse", "sweep"] else None


def recorded_job(folder: Path, key: str, typed: Sequence[str] = ()) -> Job:
    """The job of the sweep that wrote ``folder``, under what is ``typed`` now."""
    words = recorded_words(folder, key)
    if words is None:
        raise UsageError(f"{key}={folder}: was not started by mist-dse sweep, so its space is not known; use mist_dse.explore in Python")
    kept = [word for word in words if not word.startswith("resume=")]
    return composed("sweep", command_line([*kept, *typed]), command=shlex.join(["mist-dse", "sweep", *kept, *typed]))


def recorded_question(run: Run, key: str) -> tuple[Job, Question]:
    """What the search of a run was asked; ``UsageError`` where the files it was asked with say something else by now."""
    job = recorded_job(run.path, key)
    question = question_of(job)
    now = identity(question.space, question.workload, Search(), question.prices, realise(question.workload))
    before: Any = run.manifest.get("identity") or {}
    changed = [name for name in ("space", "workload", "prices") if before.get(name) not in (None, now[name])]
    if changed:
        raise UsageError(f"{key}={run.path}: its {' and '.join(changed)} read otherwise by now (files of the catalogue or of --config-dir "
                         "have changed): search anew with mist-dse sweep")  # fmt: skip
    return job, question


def run_of(folder: Any, key: str) -> Run:
    """The run in ``folder``; ``UsageError`` where there is none."""
    path = Path(str(folder))
    if not path.is_dir():
        raise UsageError(f"{key}={path}: no such folder; give one that mist-dse sweep has written")
    return read_run(path)
