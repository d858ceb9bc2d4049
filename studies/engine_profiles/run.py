"""Fits engine profiles on the calibration part of the measured serving rows and writes conf/engine; errors to profiles.csv.

MIST_DSE_DATA=... python studies/engine_profiles/run.py [--starts=4] [NAME ...]
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.validate.calibration import profile_text, refitted
from mist_dse.validate.kinds import kind_of
from mist_dse.validate.measurements import measurements
from mist_dse.validate.quality import judged

STARTS = next((int(word[9:]) for word in sys.argv if word.startswith("--starts=")), 1)
TABLE = Path(__file__).with_name("profiles.csv")

FEW = 1100
"""Most clients of a disaggregated design that is fitted on: past that its queues hang on small errors of its rates."""

MOST = 85
"""Configurations that one profile is fitted on at most: more move its dozen constants by less than their spread."""


def spread(function: Any, pairs: Iterable[Any]) -> Iterator[Any]:
    """``map`` over both cores."""
    yield from Parallel(n_jobs=2, batch_size=16, return_as="generator")(delayed(function)(pair) for pair in pairs)


def refit(name: str, rows: pd.DataFrame, catalog: Catalog) -> dict[str, Any]:
    """Fit one profile, write its file, and return its errors on both parts."""
    if name == "generic":  # mixtures differ too much between engines for one set: their constants stay at the priors
        rows = rows[[bool(model) and kind_of(catalog.model(model)) == "dense" for model in rows["use_model"]]]
    fit, held, ttft, tpot = found = refitted(rows, name, catalog, run=spread, tries=(STARTS, 2 * MOST if name == "generic" else MOST))
    about = (f"{catalog.data('engine', name)['note']}; fitted on {fit.rows} measured configurations (InferenceX and NVIDIA's runs in "
             f"aiconfigurator 0.12, Apache-2.0), median absolute errors on {found.tested}")  # fmt: skip
    text = profile_text(fit.profile, catalog, fitted=found.sources, about=about)
    (conf_dir() / "engine" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return {"profile": name, "rows": fit.rows, "ttft": fit.after[0], "tpot": fit.after[1], "test rows": held, "test ttft": ttft,
            "test tpot": tpot, "at limit": " ".join(fit.at_limit)}  # fmt: skip


if __name__ == "__main__":
    book = Catalog()
    every = judged(measurements(Path(os.environ["MIST_DSE_DATA"]) / "measured" / "e2e.csv.gz", catalog=book), book)
    every = every[(every["use_mode"].eq("agg") | every["concurrency"].le(FEW)) & every["concurrency"].notna()]
    for profile in [word for word in sys.argv[1:] if not word.startswith("--")] or book.names("engine"):
        known = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame({"profile": []})
        new = pd.DataFrame([refit(profile, every, book)]).round(4)
        print(new.to_string(index=False, header=False), flush=True)
        pd.concat([known[known["profile"] != profile], new]).sort_values("profile").to_csv(TABLE, index=False)
