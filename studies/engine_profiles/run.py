"""Fits engine profiles on the calibration part of the measured serving rows and writes conf/engine; errors of all to profiles.csv.

MIST_DSE_DATA=... python studies/engine_profiles/run.py [--starts=4] [NAME ...]     (--score: errors of the profiles as they stand)
"""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.validate.calibration import part_errors, profile_text, refitted
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


def refit(name: str, rows: pd.DataFrame, catalog: Catalog) -> None:
    """Fit one profile and write its file."""
    found = refitted(rows, name, catalog, run=spread, tries=(STARTS, 2 * MOST if name == "generic" else MOST))
    about = (f"{catalog.data('engine', name)['note']}; fitted on {found.fit.rows} measured configurations (InferenceX and NVIDIA's runs in "
             f"aiconfigurator 0.12, Apache-2.0), median absolute errors on {found.tested}")  # fmt: skip
    text = profile_text(found.fit.profile, catalog, fitted=found.sources, about=about)
    (conf_dir() / "engine" / f"{name}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    book = Catalog()
    every = judged(measurements(Path(os.environ["MIST_DSE_DATA"]) / "measured" / "e2e.csv.gz", catalog=book), book)
    every = every[(every["use_mode"].eq("agg") | every["concurrency"].le(FEW)) & every["concurrency"].notna()]
    # mixtures differ too much between engines for one set: in the generic profile their constants stay at the priors
    dense = every[[bool(model) and kind_of(book.model(model)) == "dense" for model in every["use_model"]]]
    asked = [word for word in sys.argv[1:] if not word.startswith("--")] or book.names("engine")
    for profile in [] if "--score" in sys.argv else asked:
        refit(profile, dense if profile == "generic" else every, book)
    fresh, parts = Catalog(), ("calibration", "test")
    table = [(name, *(value for part in parts
                      for value in part_errors(dense if name == "generic" else every, fresh.engine(name), fresh, part=part, run=spread)))
             for name in fresh.names("engine")]  # fmt: skip
    columns = ["profile", *(f"{part} {what}" for part in parts for what in ("rows", "TTFT", "TPOT"))]
    pd.DataFrame(table, columns=columns).round(4).to_csv(TABLE, index=False)
    print(TABLE.read_text(encoding="utf-8"))
