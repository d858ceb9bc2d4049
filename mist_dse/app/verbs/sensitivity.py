"""``mist-dse sensitivity``: which variables of a space move its front, on the screened table and among simulated designs."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET, UsageError, one_line
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.app.searched import Question, question_of, recorded_question, run_of
from mist_dse.explore.errors import EmptySpaceError
from mist_dse.explore.reviews.sensitivity import Importance, sensitivity, simulated_importances
from mist_dse.explore.screens.screening import METRICS, ScreenTable, screen
from mist_dse.report.text import short_name

READ = """\
  loss: of the front's hypervolume if the variable is held at its best value; first, total: shares of variance that it explains
  alone, and with the others (near: of being within 5% of the front); they need not add up where limits tie variables together"""
"""How to read the table."""


def status(job: Job) -> int:
    """Screen, show; 1 where nothing is feasible."""
    form = format_of(job.config)
    question, simulated = question_of(job), None
    if job.config["run"] is not None:
        _check_alone(job)
        run = run_of(job.config["run"], "run")
        _, question = recorded_question(run, "run")
        paths = [item.path for item in question.space.free if item.path in run.results]
        simulated = simulated_importances(run.results[run.results["fidelity"] == run.fidelity], run.objectives, paths)
    goals = [goal for goal in question.space.objectives if goal.metric in METRICS]
    if not goals:
        raise UsageError(f"objectives: the screen estimates none of {', '.join(map(str, question.space.objectives))}")
    try:
        screened = _screened(question._replace(space=replace(question.space, objectives=tuple(goals))))
        found = sensitivity(screened, goals, [item.path for item in question.space.free])
    except EmptySpaceError as error:
        say(f"mist-dse: nothing feasible: {one_line(error)}")
        return UNMET
    rows = [_row(item, simulated) for item in found]
    texts = {"json": lambda: _json(screened, found, simulated), "csv": lambda: csv_text(rows), "table": lambda: _table(rows, screened)}
    show(texts[form]())
    return DONE


def _check_alone(job: Job) -> None:
    """``UsageError`` for a run beside words that ask something else."""
    for word in shlex.split(job.command)[2:]:
        if "=" in word and not word.startswith(("run=", "format=", "-")):
            raise UsageError(f"{word}: a run brings its own space and workload; leave out run={job.config['run']} or {word}")


def _screened(question: Question) -> ScreenTable:
    space, workload, prices = question
    return screen(space, workload, prices=prices, metrics=[goal.metric for goal in space.objectives])


def _row(item: Importance, simulated: Mapping[str, Mapping[str, float]] | None) -> dict[str, Any]:
    """One variable as a flat row."""
    first = {f"first/{name}": value for name, value in item.first.items()}
    total = {f"total/{name}": value for name, value in item.total.items()}
    among = {f"simulated/{name}": shares.get(item.variable) for name, shares in (simulated or {}).items()}
    return {"variable": item.variable, "loss": item.loss, "best": item.best, **first, **total, **among, "values": len(item.effects)}


def _json(screened: ScreenTable, found: Sequence[Importance], simulated: Mapping[str, Any] | None) -> str:
    variables = [{**item._asdict(), "effects": [effect._asdict() for effect in item.effects]} for item in found]
    return json_text({"designs": len(screened), "feasible": int(screened.feasible.sum()), "variables": variables, "simulated": simulated})


def _table(rows: Sequence[Mapping[str, Any]], screened: ScreenTable) -> str:
    names = [name for name in rows[0] if name.startswith(("first/", "total/", "simulated/"))] if rows else []
    body = [(short_name(row["variable"]), f"{row['loss']:.2%}", str(row["best"]), *(_share(row[name]) for name in names)) for row in rows]
    header = ("variable", "loss", "held at", *(" ".join(name.split("/")) for name in names))
    title = f"{len(screened):,} designs screened, {int(screened.feasible.sum()):,} feasible"
    lines = [title, table_text(body, header=header, numbers=[1, *range(3, len(header))])]
    return "\n".join([*lines, READ])


def _share(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"
