"""``mist-dse simulate``: every request of a workload through one design, with records and a timeline kept on request."""

from pathlib import Path
from typing import TYPE_CHECKING

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET, UsageError
from mist_dse.app.inputs import design_of, workload_of
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.evaluation import Simulation, simulate

if TYPE_CHECKING:
    import pandas as pd

RECORDS = (".parquet", ".csv")
TIMELINES = (".json", ".json.gz")


def status(job: Job) -> int:
    """Simulate, write the records where asked, show counts and latencies."""
    form = format_of(job.config)
    target, timeline, requests = _target(job, "records", RECORDS), _target(job, "timeline", TIMELINES), _requests(job)
    result = simulate(design_of(job), workload_of(job), steps=timeline is not None)
    frame = result.to_pandas()
    if target is not None:
        if target.suffix == ".parquet":
            frame.to_parquet(target, index=False)
        else:
            frame.to_csv(target, index=False)
        say(f"{len(frame)} requests in {target}")
    if timeline is not None:
        say(_drawn(timeline, result, requests))
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
    if "found_tokens" in frame:
        times["found_prompt_share"] = frame["found_tokens"].sum() / frame["input_tokens"].sum()
    return {"requests": len(frame), **counts, **{name: float(value) for name, value in times.items()}}


def _drawn(path: Path, result: Simulation, requests: int) -> str:
    """What the timeline that is written to ``path`` shows."""
    from mist_dse.report.timeline import Replay, write_timeline

    assert result.steps is not None
    lowered, came = result.lowered, len(result.requests.arrival)
    written = write_timeline(path, Replay(lowered.servers, lowered.jobs, result.records, result.steps), requests=requests)
    rest = f" of {came}; timeline_requests=N shows more" if written < came else ""
    return f"{written} requests{rest} in {path}, {path.stat().st_size / 1e6:.3g} MB: open it at ui.perfetto.dev"


def _target(job: Job, option: str, suffixes: tuple[str, ...]) -> Path | None:
    """The file that ``option`` names; ``UsageError`` where it cannot be written."""
    if job.config[option] is None:
        return None
    path = Path(str(job.config[option]))
    if not path.name.endswith(suffixes):
        raise UsageError(f"{option}={path}: unknown kind of file; end it with {' or '.join(suffixes)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option}={path}: folder {path.parent} does not exist")
    if path.is_dir():
        raise UsageError(f"{option}={path}: is a folder; name a file")
    return path


def _requests(job: Job) -> int:
    """The value of ``timeline_requests``."""
    value = job.config["timeline_requests"]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"timeline_requests={value}: must be a whole number of requests, 1 or more")
    return value
