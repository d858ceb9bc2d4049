"""What a profile is fitted on: the calibration rows of a file of measurements, or the requests of a serving log.

A log holds one line per request: when it came, its tokens, its first and its last token, by our names (those of the records that
``simulate`` writes) or by vLLM's. The profile is fitted to the mean, median, p90 and p99 of that one run, which tells far less
than a file of many configurations: what the log cannot tell stays at its prior.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from mist_dse.catalog import Catalog
from mist_dse.catalog_schema import ENGINE_SECONDS
from mist_dse.rows import Floats, Requests
from mist_dse.specs.design import Design
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.units import format_quantity
from mist_dse.validate.case import Case, case
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.fit import FUSED_SAVING, Fit, constants_of, fitted_profile, median_errors
from mist_dse.validate.predict import MILLI, latencies
from mist_dse.validate.recipe import STATISTICS, recipe, recipes

LOG_COLUMNS = {
    "arrival_s": ("arrival_s", "queued_ts", "arrival_time"),
    "first_token_s": ("first_token_s", "first_token_ts"),
    "last_token_s": ("last_token_s", "last_token_ts"),
    "input_tokens": ("input_tokens", "input_toks", "prompt_tokens"),
    "output_tokens": ("output_tokens", "output_toks", "completion_tokens"),
}
"""Columns of a log: ours, and the names that others use. vLLM's ``arrival_time`` is on another clock than its tokens."""

FUSING_FAMILIES = ("trtllm",)
"""Engines that fuse quantisation: a property of the engine that one set of constants for all keeps."""


def case_latencies(pair: tuple[Case, EngineProfile]) -> tuple[float, float]:
    """TTFT and TPOT (s) of a case under another profile."""
    one, profile = pair
    return latencies(one.with_profile(profile))


def profile_cases(
    frame: pd.DataFrame, profile: str, catalog: Catalog, *, part: str = "calibration", benchmark: str = ""
) -> tuple[list[Case], Floats]:
    """Cases of the judged rows of ``part`` that ``profile`` stands for, and what was measured [n, 2] in s.

    The calibration part is what may be fitted on. Duplicates and quarantined rows are left out. A profile that names no accelerators
    is a pooled one: it stands for all rows of its family, the generic one for all rows.
    """
    wanted = catalog.engine(profile)
    names = catalog.names("engine") if wanted.accelerators else (profile, "generic")
    profiles = {name: catalog.engine(name) for name in names}
    known, whole = recipes(catalog), recipe(benchmark, catalog) if benchmark else None
    rows = frame[(frame["part"] == part) & ~frame["duplicate"] & (frame["quarantine"] == "")].to_dict("records")
    found, measured = [], []
    for row in rows:
        values = [float(row.get(name, np.nan) or np.nan) * MILLI for name in ("ttft_ms", "tpot_ms")]
        ready = case(_named(row), catalog=catalog, recipes=known, profiles=profiles, benchmark=whole)
        if not isinstance(ready, str) and ready.profile.name == profile and not np.isnan(values).all():
            fused = wanted.family == "generic" and row["use_family"] in FUSING_FAMILIES
            found.append(ready.with_flags(quantise_saving=FUSED_SAVING) if fused else ready)
            measured.append(values)
    if not found:
        raise MeasurementError(f"no row of the {part} part runs under profile {profile}: name another engine or another file")
    return found, np.array(measured)


class Refit(NamedTuple):
    """A profile fitted on the calibration part, and its median absolute errors on ``held`` rows of the test part (nan without any)."""

    fit: Fit
    held: int
    ttft: float
    tpot: float

    @property
    def tested(self) -> str:
        """The errors in words."""
        return f"{self.held} others: TTFT {self.ttft:.1%}, TPOT {self.tpot:.1%}" if self.held else "others: none at hand"

    @property
    def sources(self) -> dict[str, str]:
        """What to say of each fitted constant."""
        at_limit = dict.fromkeys(self.fit.at_limit, "fitted; ended on its limit")
        return {constant.field: at_limit.get(constant.field, "fitted") for constant in constants_of(self.fit.profile)}


def refitted(
    rows: pd.DataFrame,
    profile: str,
    catalog: Catalog,
    *,
    run: Callable[..., Iterable[Any]] = map,
    benchmark: str = "",
    tries: tuple[int, int] = (1, 0),
) -> Refit:
    """Profile ``profile`` fitted to its judged rows; ``tries``: starts of the fit, and the rows that it takes at most (0: all)."""
    starts, most = tries
    cases, measured = profile_cases(rows, profile, catalog, benchmark=benchmark)
    chosen = np.random.default_rng(0).permutation(len(cases))[: most or None]
    kept = [cases[k] for k in chosen]
    fit = fitted_profile(kept, measured[chosen], kept[0].profile, case_latencies, starts=starts, run=run)
    return Refit(fit, *part_errors(rows, fit.profile, catalog, part="test", benchmark=benchmark, run=run))


def part_errors(
    rows: pd.DataFrame, profile: EngineProfile, catalog: Catalog, *, part: str, benchmark: str = "", run: Callable[..., Iterable[Any]] = map
) -> tuple[int, float, float]:
    """Rows of a part that ``profile`` stands for, and its median absolute errors of TTFT and TPOT there (0 and nan without any)."""
    try:
        cases, measured = profile_cases(rows, profile.name, catalog, part=part, benchmark=benchmark)
    except MeasurementError:
        return 0, np.nan, np.nan
    return len(cases), *median_errors(list(run(case_latencies, [(case, profile) for case in cases])), measured)


def log_cases(path: Path | str, design: Design) -> tuple[list[Case], Floats]:
    """One case per statistic of the run that a log holds, and what was measured [n, 2] in s."""
    log = read_log(path)
    requests = _requests(log)
    arrivals = Arrivals(kind="uniform", rate=1.0, requests=len(log))
    fixed = Lengths(kind="fixed", mean=1)  # never drawn: the requests are known
    workload = Workload(name=str(path), arrivals=arrivals, input_tokens=fixed, output_tokens=fixed)
    profile = design.pools[0].engine
    many = log["output_tokens"] > 1
    ttft = (log["first_token_s"] - log["arrival_s"]).to_numpy()
    tpot = ((log["last_token_s"] - log["first_token_s"])[many] / (log["output_tokens"][many] - 1)).to_numpy()
    cases = [
        Case(design=design, workload=workload, statistic=name, recipe="log", profile=profile, flags=(), requests=requests)
        for name in STATISTICS
    ]
    return cases, np.array([[float(statistic(ttft)), float(statistic(tpot))] for statistic in STATISTICS.values()])


def read_log(path: Path | str) -> pd.DataFrame:
    """The requests of a log in order of arrival, by our names, times from the first arrival."""
    try:
        frame = pd.read_json(path, lines=True) if ".json" in Path(path).name else pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise MeasurementError(f"{path}: cannot be read as JSON lines or CSV: {str(error).splitlines()[0]}") from None
    found = {}
    for name, others in LOG_COLUMNS.items():
        column = next((other for other in others if other in frame), None)
        if column is None:
            raise MeasurementError(f"{path}: no column {name}; a log of requests has {', '.join(LOG_COLUMNS)}")
        found[name] = frame[column]
    log = pd.DataFrame(found).dropna().sort_values("arrival_s", ignore_index=True)
    if log.empty:
        raise MeasurementError(f"{path}: no request has all of {', '.join(LOG_COLUMNS)}")
    start = log["arrival_s"].min()
    return log.assign(**{name: log[name] - start for name in ("arrival_s", "first_token_s", "last_token_s")})


def profile_text(profile: EngineProfile, catalog: Catalog, *, fitted: Mapping[str, str], about: str) -> str:
    """The profile as a file of ``conf/engine``: what its own file says, with the ``fitted`` constants and their sources in place."""
    data = catalog.data("engine", profile.name)
    source = data.get("source")
    sources = dict(source) if isinstance(source, dict) else {"default": str(source)}
    for name, text in fitted.items():
        value = getattr(profile, name)
        data[name] = format_quantity(value, "s") if name in ENGINE_SECONDS else float(f"{value:.4g}")
        sources[name] = text
    data["source"] = sources | {"default": about}
    order = [field.name for field in fields(EngineProfile) if field.name in data]
    kept = {name: data[name] for name in [*order, *(name for name in data if name not in order)]}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=None)


def _requests(log: pd.DataFrame) -> Requests:
    count = len(log)
    inputs, outputs = (log[name].astype(int).to_numpy().clip(min=1) for name in ("input_tokens", "output_tokens"))
    return Requests(arrival=log["arrival_s"].to_numpy(float), input_tokens=inputs, output_tokens=outputs, max_tokens=outputs.copy(),
                    cached_tokens=np.zeros(count, np.int64), think=np.zeros(count), clients=0, nominal_rate=np.nan)  # fmt: skip


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}
