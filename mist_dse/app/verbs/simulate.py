"""``mist-dse simulate``: every request of a workload through one design, with the records kept on request."""

from pathlib import Path
from typing import TYPE_CHECKING

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET, UsageError
from mist_dse.app.inputs import design_of, workload_of
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.evaluation import simulate

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv")
TIMES = ("arrival_s", "admitted_s", "first_token_s", "last_token_s")


def status(job: Job) -> int:
    """Simulate, write the records where asked, show counts and latencies."""
    form = format_of(job.config)
    target = _target(job)
    result = simulate(design_of(job), workload_of(job))
    frame = result.to_pandas()
    if target is not None:
        if target.suffix == ".parquet":
            frame.to_parquet(target, index=False)
        else:
            frame.to_csv(target, index=False)
        say(f"{len(frame)} requests in {target}")
    summary = summarised(frame)
    rows = [(name, f"{value:.6g}") for name, value in summary.items()]
    show({"json": json_text(summary), "csv": csv_text([summary]), "table": table_text(rows, numbers=(1,))}[form])
    return DONE if summary["completed"] else UNMET


def summarised(frame: "pd.DataFrame") -> dict[str, float]:
    """How many requests ended how, and the mean times (s) of those that completed."""
    done = frame[frame["status"].astype(str) == "completed"]
    counts = {kind: int((frame["status"].astype(str) == kind).sum()) for kind in ("completed", "rejected", "unfinished")}
    wait = done["admitted_s"] - done["arrival_s"]
    ttft = done["first_token_s"] - done["arrival_s"]
    e2e = done["last_token_s"] - done["arrival_s"]
    times = {"queue_mean_s": wait.mean(), "ttft_mean_s": ttft.mean(), "ttft_p99_s": ttft.quantile(0.99), "last_token_mean_s": e2e.mean(),
             "makespan_s": frame["last_token_s"].max() - frame["arrival_s"].min()}  # fmt: skip
    counts |= {"preemptions": int(frame["preemptions"].sum())}
    return {"requests": len(frame), **counts, **{name: float(value) for name, value in times.items()}}


def _target(job: Job) -> Path | None:
    """The file for the records; ``UsageError`` for what this version does not write or cannot."""
    if job.config["timeline"] is not None:
        raise UsageError("timeline: this version does not write timelines; records=FILE.parquet has the times of every request")
    if job.config["records"] is None:
        return None
    path = Path(str(job.config["records"]))
    if path.suffix not in SUFFIXES:
        raise UsageError(f"records={path}: unknown kind of file; end it with {' or '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"records={path}: folder {path.parent} does not exist")
    return path
