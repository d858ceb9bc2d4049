"""``mist-dse validate``: predicted against measured, by slice, beside the peer; 1 where a stated limit is missed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UNMET, UsageError, nearest
from mist_dse.app.inputs import catalog_of
from mist_dse.app.output import FORMATS, csv_text, format_of, json_text, say, show
from mist_dse.app.parallel import spread
from mist_dse.app.validation import markdown, operators_table, table

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("test", "calibration", "all")
PEER = "aiconfigurator_predictions.csv.gz"
"""The peer's predictions where they lie beside the data."""


def status(job: Job) -> int:
    """Predict, write what was asked for, show the scores."""
    form = format_of(job.config, (*FORMATS, "markdown"))
    if job.config["operators"] is not None:
        return _operators(job, form)
    writers = {"predictions": _write_predictions, "residuals": _write_residuals, "golden": _write_golden}
    targets = {key: _target(job, key) for key in writers if job.config[key] is not None}
    asked = _asked_part(job)
    frame = predicted(job)
    report = scores(frame, asked or _usual_part(frame, job))
    for key, target in targets.items():
        writers[key](frame, target, job)
    texts = {"json": json_text, "csv": lambda shown: csv_text(shown["slices"]), "markdown": markdown, "table": table}
    show(texts[form](report))
    for line in report["missed"]:
        say(f"mist-dse: missed: {line}")
    return UNMET if report["missed"] else DONE


def predicted(job: Job) -> "pd.DataFrame":
    """Judged predictions of all rows, with the peer's and with intervals."""
    from mist_dse.validate.intervals import residuals, with_intervals
    from mist_dse.validate.measurements import measurements
    from mist_dse.validate.quality import judged
    from mist_dse.validate.run import CHUNK, Setup, predictions
    from mist_dse.validate.score import with_peer

    catalog = catalog_of(job)
    path = _data(job)
    frame = judged(measurements(path, catalog=catalog, rows=_count(job, "limit_rows")), catalog)
    setup = Setup(job.directories, str(job.config["recipe"] or ""), (), str(job.config["layer"]))
    count = (len(frame) + CHUNK - 1) // CHUNK
    frame = predictions(frame, setup, run=spread(int(job.config["jobs"]), "rows", len(frame), count))
    peer = _peer(job, path)
    frame = with_peer(frame, peer) if peer is not None else frame
    return with_intervals(frame, residuals(frame))


def scores(frame: "pd.DataFrame", part: str) -> dict[str, Any]:
    """All that is shown: slices, decisions of ours and the peer's, intervals, limits missed."""
    from mist_dse.validate.decision import decision_error
    from mist_dse.validate.intervals import contained
    from mist_dse.validate.score import coverage, missed, scored

    rows = frame if part == "all" else frame[frame["part"] == part]
    slices = scored(rows)
    misses = missed(slices) if part != "calibration" else []
    both = rows[rows["peer_tpot_ms"].notna()] if "peer_tpot_ms" in rows else rows.iloc[:0]
    return {
        "rows": len(frame), "covered": int(frame["covered"].sum()), "closed_loop": coverage(frame), "part": part,
        "slices": slices.to_dict("records"),
        "uncovered": frame.loc[~frame["covered"], "reason"].value_counts().to_dict(), "decision": decision_error(rows)._asdict(),
        "decision_beside_peer": decision_error(both)._asdict(), "peer_decision": decision_error(both, "peer_")._asdict(),
        "intervals": contained(rows).to_dict("records"), "missed": [str(miss) for miss in misses],
        "broken": [[miss.slice, miss.metric, miss.statistic] for miss in misses],
    }  # fmt: skip


def _data(job: Job) -> Path:
    if job.config["data"] is None:
        from mist_dse.validate.golden import golden_path

        return golden_path()
    path = Path(str(job.config["data"])).expanduser()
    if not path.is_file():
        raise UsageError(f"data={path}: no such file")
    return path


def _peer(job: Job, data: Path) -> "pd.DataFrame | None":
    import pandas as pd

    from mist_dse.validate.score import PEER_COLUMNS

    path = Path(str(job.config["peer"])).expanduser() if job.config["peer"] is not None else data.parent / PEER
    if not path.is_file():
        if job.config["peer"] is not None:
            raise UsageError(f"peer={path}: no such file")
        return None
    found = pd.read_csv(path)
    missing = [name for name in PEER_COLUMNS if name not in found]
    if missing:
        raise UsageError(f"peer={path}: no column {', '.join(missing)}")
    return found


def _asked_part(job: Job) -> str | None:
    part = job.config["part"]
    if part is not None and part not in PARTS:
        raise UsageError(f"part={part}: no such part; {nearest(part, PARTS)}")
    return None if part is None else str(part)


def _usual_part(frame: "pd.DataFrame", job: Job) -> str:
    """All rows of a file that no constants were fitted on, else the held-out part."""
    from mist_dse.validate.recipe import DEFAULT

    own = frame["recipe"].isin(["", DEFAULT]).all() or job.config["recipe"] is not None
    return "all" if own else "test"


def _count(job: Job, key: str) -> int | None:
    value = job.config[key]
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{key}={value}: must be a whole number >= 1")
    return value


def _target(job: Job, key: str) -> Path:
    path = Path(str(job.config[key])).expanduser()
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{key}={path}: folder {path.parent} does not exist")
    return path


def _write_predictions(frame: "pd.DataFrame", target: Path, job: Job) -> None:
    from mist_dse.validate.slices import slice_names

    hidden = [name for name in frame if str(name).startswith("use_") or name in ("configuration",)]
    shown = frame if "slice" in frame else frame.assign(slice=slice_names(frame))
    shown.drop(columns=hidden).to_csv(target, index=False)
    say(f"{len(frame)} rows in {target}")


def _write_residuals(frame: "pd.DataFrame", target: Path, job: Job) -> None:
    from mist_dse.validate.intervals import write_residuals

    say(f"{write_residuals(frame, target)} rows of residuals in {target}")


def _write_golden(frame: "pd.DataFrame", target: Path, job: Job) -> None:
    from mist_dse.validate.golden import write_golden

    data = _data(job)
    peer = data.parent / PEER
    say(f"{write_golden(frame, [data, *([peer] if peer.is_file() else [])], target)} golden rows in {target}")


def _operators(job: Job, form: str) -> int:
    """Predicted times of measured kernels, and their errors by kind of table, accelerator and datatype."""
    from mist_dse.catalog import Catalog
    from mist_dse.validate.operator_fits import kernel_table
    from mist_dse.validate.operators import operator_predictions, operator_scores

    given = job.config["operators"]
    paths = [Path(str(path)).expanduser() for path in (given if isinstance(given, list) else [given])]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"operators={path}: no such file")
    if job.config["predictions"] is not None and len(paths) > 1:
        raise UsageError("predictions: takes one file of operators at a time")
    catalog = Catalog(job.directories, operators=str(job.config["layer"]))
    limit = _count(job, "limit_rows")
    found = [operator_predictions(kernel_table(path)[:limit], catalog) for path in paths]
    if job.config["predictions"] is not None:
        target = _target(job, "predictions")
        found[0].to_csv(target, index=False)
        say(f"{len(found[0])} rows in {target}")
    scored = [row for one in found for row in operator_scores(one).to_dict("records")]
    rows = [{str(key): value for key, value in row.items()} for row in scored]
    show({"json": lambda: json_text(rows), "csv": lambda: csv_text(rows), "table": lambda: operators_table(rows)}[form]())
    return DONE
