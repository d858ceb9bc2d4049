"""``mist-dse calibrate``: measured kernels to operator coefficients; measured serving or a serving log to an engine profile."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mist_dse.app.config import Job
from mist_dse.app.errors import DONE, UsageError
from mist_dse.app.inputs import catalog_of, design_of
from mist_dse.app.output import format_of, json_text, say, show, table_text
from mist_dse.app.parallel import spread

if TYPE_CHECKING:
    from mist_dse.validate.fit import Fit

SOURCES = ("operators", "data", "log")


def status(job: Job) -> int:
    """Fit, write, show the errors."""
    form = format_of(job.config, ("table", "json"))
    given = [name for name in SOURCES if job.config[name] is not None]
    if len(given) != 1:
        raise UsageError(f"calibrate takes one of operators=FILES, data=FILE, log=FILE; {len(given)} are given")
    target = Path(str(job.config["out"])).expanduser()
    if not target.absolute().parent.is_dir():
        raise UsageError(f"out={target}: folder {target.parent} does not exist")
    result = {"operators": operators, "data": from_data, "log": from_log}[given[0]](job, target)
    say(f"written: {target}")
    show(json_text(result) if form == "json" else table_text([(name, str(value)) for name, value in result.items()]))
    return DONE


def operators(job: Job, target: Path) -> dict[str, Any]:
    """Fit coefficients to tables of measured kernels."""
    from mist_dse.validate.operator_fits import operator_fits, write_operator_fits

    given = job.config["operators"]
    paths = _files(job, "operators", given if isinstance(given, list) else [given])
    fits = operator_fits(paths)
    write_operator_fits(fits, paths, target)
    medians = {
        f"{family} held-out error": f"{100 * float(part['held_out_error'].median()):.1f}%" for family, part in fits.groupby("family")
    }
    return {"fits": len(fits), "rows": int(fits["rows"].sum()), **medians}


def from_data(job: Job, target: Path) -> dict[str, Any]:
    """Fit a profile to the calibration rows of a file, and tell its errors on the test rows."""
    import pandas as pd

    from mist_dse.validate.calibration import refitted
    from mist_dse.validate.measurements import measurements
    from mist_dse.validate.quality import judged

    (path,) = _files(job, "data", [job.config["data"]])
    name, catalog = _engine(job), catalog_of(job)
    frame: pd.DataFrame = judged(measurements(path, catalog=catalog), catalog)
    run = spread(int(job.config["jobs"]), "cases", 1, 1)
    found = refitted(frame, name, catalog, run=run, benchmark=str(job.config["recipe"] or ""))
    about = f"fitted by mist-dse calibrate on {found.fit.rows} rows of {path.name}; median absolute errors on {found.tested}"
    _write(found.fit, about, job, target)
    return _summary(found.fit) | {"test rows": found.held, "test TTFT": f"{found.ttft:.1%}", "test TPOT": f"{found.tpot:.1%}"}


def from_log(job: Job, target: Path) -> dict[str, Any]:
    """Fit a profile to the requests of one run."""
    from mist_dse.validate.calibration import log_cases

    (path,) = _files(job, "log", [job.config["log"]])
    _engine(job)
    cases, measured = log_cases(path, design_of(job))
    fit = _fitted(job, cases, measured)
    _write(fit, f"fitted by mist-dse calibrate on the requests of {path.name}: mean, median, p90 and p99 of one run", job, target)
    return _summary(fit)


def _fitted(job: Job, cases: list[Any], measured: Any) -> "Fit":
    from mist_dse.validate.calibration import case_latencies
    from mist_dse.validate.fit import fitted_profile

    say(f"{len(cases)} cases of profile {cases[0].profile.name}")
    run = spread(int(job.config["jobs"]), "cases", len(cases), 1)
    return fitted_profile(cases, measured, cases[0].profile, case_latencies, run=run)


def _write(fit: "Fit", about: str, job: Job, target: Path) -> None:
    from mist_dse.validate.calibration import Refit, profile_text

    sources = Refit(fit, 0, 0.0, 0.0).sources
    target.write_text(profile_text(fit.profile, catalog_of(job), fitted=sources, about=about), encoding="utf-8")


def _summary(fit: "Fit") -> dict[str, Any]:
    return {
        "profile": fit.profile.name, "rows": fit.rows, "TTFT before": f"{fit.before[0]:.1%}", "TTFT after": f"{fit.after[0]:.1%}",
        "TPOT before": f"{fit.before[1]:.1%}", "TPOT after": f"{fit.after[1]:.1%}", "at a limit": ", ".join(fit.at_limit) or "none",
    }  # fmt: skip


def _engine(job: Job) -> str:
    name = job.config["every"]["engine"]
    if name is None:
        raise UsageError("engine is missing: engine=NAME is the profile to start from, such as engine=vllm")
    return str(name)


def _files(job: Job, key: str, given: list[Any]) -> list[Path]:
    paths = [Path(str(path)).expanduser() for path in given]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{key}={path}: no such file")
    return paths
