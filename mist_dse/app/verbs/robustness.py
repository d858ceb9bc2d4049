"""``mist-dse robustness RUN``: the share of draws of prices, predictions, load and seeds in which each design stays on the front."""

from functools import partial
from typing import TYPE_CHECKING, Any

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UsageError
from mist_dse.app.inputs import catalog_of
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.app.searched import Question, recorded_question, run_of
from mist_dse.explore.reviews.confidence import Confidence, Draws, confidence
from mist_dse.explore.reviews.reruns import Reruns
from mist_dse.explore.runs.executor import executor, warming
from mist_dse.explore.runs.record import Evaluator, warm_up
from mist_dse.report.run import Run
from mist_dse.report.text import design_label, metric_text
from mist_dse.requests import realise
from mist_dse.specs.hardware import PriceBook

if TYPE_CHECKING:
    import pandas as pd

OTHERS = 10
"""Most designs beside the front that a table shows."""

SOURCES = {"prices": "prices", "books": "books", "intervals": "interval", "apart": "apart", "load": "load", "seeds": "seeds"}
"""Columns ``p_front_NAME``, and their titles."""


def status(job: Job) -> int:
    """Draw, simulate again, write ``robustness.parquet``, show."""
    form, run = format_of(job.config), run_of(job.config["run"], "run")
    asked = _draws(job, catalog_of(job).prices)
    recorded, question = recorded_question(run, "run")
    if job.config["books"] is None:
        catalog = catalog_of(recorded)
        asked = _draws(job, catalog.prices, [catalog.prices(name) for name in catalog.names("price")])
    found = _confidence(run, question, job.config["executor"], asked)
    target = run.path / "robustness.parquet"
    partial_file = target.with_name(f".{target.name}.tmp")
    found.table.to_parquet(partial_file, index=False)
    partial_file.replace(target)
    for note in found.notes:
        say(f"mist-dse: {note}")
    noise = found.noise._asdict() if found.noise else None
    plain = {"run": str(run.path), "designs": _rows(found.table), "noise": noise, "notes": list(found.notes)}
    texts = {"json": lambda: json_text(plain), "csv": lambda: csv_text(_rows(found.table)), "table": lambda: _table(found, run)}
    show(texts[form]())
    return DONE


def _draws(job: Job, book_of: Any, books: list[PriceBook] | None = None) -> Draws:
    config = job.config
    for name in ("books", "rates"):
        if config[name] is not None and not isinstance(config[name], list):
            raise UsageError(f"{name}={config[name]}: must be a list such as {name}=[{'high,low' if name == 'books' else '0.9,1.1'}]")
    chosen = books if books is not None else [book_of(str(name)) for name in config["books"] or ()]
    rates = config["rates"] or ()
    names = ("draws", "spread", "seeds", "designs", "newcomers", "seed")
    try:
        return Draws(books=chosen, rates=rates, **{name: config[name] for name in names})
    except ValueError as error:
        raise UsageError(str(error)) from None


def _confidence(run: Run, question: Question, spec: Any, asked: Draws) -> Confidence:
    space, workload, prices = question
    evaluator = Evaluator(workload=workload, requests=realise(workload), prices=prices, constraints=space.constraints)
    execute, workers = executor(spec)
    with warming(spec, partial(warm_up, evaluator, space.base)) as warm:
        warm()
        runs = Reruns(evaluator=evaluator, execute=execute, workers=workers)
        return confidence(space, run.results, runs, asked, told=say)


def _rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _table(found: Confidence, run: Run) -> str:
    """Members of the front, then the designs most often on it otherwise; a share is of the draws, a dash where nothing was drawn."""
    rows, goals = found.table, [goal.metric for goal in run.objectives]
    sources = [name for name in SOURCES if f"p_front_{name}" in rows]
    beside = rows[~rows["on_front"].astype(bool)]
    likely = beside[[f"p_front_{name}" for name in sources]].max(axis=1).sort_values(ascending=False, kind="stable").index[:OTHERS]
    header = ("share of draws on the front", *goals, *(SOURCES[name] for name in sources))
    numbers, paths = range(1, len(header)), run.columns.variables
    blocks = [
        table_text([_line(row, paths, goals, sources) for row in _rows(part)], header=head, numbers=numbers, title=title)
        for part, head, title in (
            (rows[rows["on_front"].astype(bool)], header, ""),
            (beside.loc[likely], ("", *header[1:]), f"not on the front of the run, most often on others ({len(beside):,} designs in all)"),
        )
        if len(part)
    ]
    if found.noise is not None:
        ends = f"{found.noise.median:.1%}, at worst {found.noise.worst:.1%}"
        blocks.append(f"noise   {ends}: what fronts of other seeds fall short of one another; smaller differences mean nothing")
    return "\n".join([*blocks, f"table   {run.path / 'robustness.parquet'}"])


def _line(row: dict[str, Any], paths: tuple[str, ...], goals: list[str], sources: list[str]) -> list[str]:
    shares = [row[f"p_front_{name}"] for name in sources]
    return [
        design_label(row, paths),
        *(metric_text(name, row[name]) for name in goals),
        *("–" if share is None or share != share else f"{share:.0%}" for share in shares),
    ]
