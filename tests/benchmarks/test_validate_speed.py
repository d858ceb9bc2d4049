"""How long one design takes to lower, one measured row to predict, and a whole file of measurements to validate (`make bench`)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.requests import realise
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import lower
from mist_dse.validate.golden import golden_path
from mist_dse.validate.measurements import measurements
from mist_dse.validate.run import Setup, predicted_chunk

pytestmark = pytest.mark.bench

DATA = os.environ.get("MIST_DSE_DATA")


def seconds(run: Callable[[], object], repeats: int = 1) -> float:
    """Seconds of processor time of the quickest of several runs: the machine is shared."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.parametrize(
    ("design", "model"),
    [("tp4_colocated", "llama-3.1-70b"), ("tp8_colocated", "qwen3.5-397b-a17b"), ("tp8_colocated", "minimax-m2.5")],
)
def test_a_design_is_lowered_within_20_ms(design: str, model: str) -> None:
    made = md.load_design(design, model=model, accelerator="b200")
    requests = realise(md.Workload.poisson(rate=2.0, input_tokens=1000, output_tokens=200, requests=1000, seed=1))
    found = lower(made, requests)
    assert not isinstance(found, Infeasible), found.constraint
    spent = seconds(lambda: lower(made, requests), 9)
    print(f"\n{design}, {model}: {1e3 * spent:.1f} ms")
    assert spent <= 0.020


def test_a_measured_row_takes_50_ms() -> None:
    """Nineteen of twenty aggregated rows; ten prompts each of a thousand clients and more take longer (disaggregated rows)."""
    frame = measurements(golden_path(), catalog=Catalog())
    rows = frame.to_dict("records")
    predicted_chunk((rows[:2], Setup()))  # compiled, the catalogue read
    spent = np.array([seconds(lambda row=row: predicted_chunk(([row], Setup()))) for row in rows])
    alone = spent[(frame["use_mode"] == "agg") & (frame["reason"] == "")]
    for name, found in (("all", spent), ("aggregated", alone)):
        texts = [f"{1e3 * value:.0f} ms" for value in (np.median(found), np.quantile(found, 0.95), found.max())]
        print(f"\n{len(found)} rows, {name}: median {texts[0]}, 95% {texts[1]}, most {texts[2]}")
    assert len(alone) > 100
    assert np.quantile(alone, 0.95) <= 0.050


@pytest.mark.skipif(not DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_the_whole_file_of_measurements_takes_three_minutes(tmp_path: Path) -> None:
    file = Path(str(DATA)) / "measured" / "e2e.csv.gz"
    words = [sys.executable, "-m", "mist_dse.app", "validate", f"data={file}", "jobs=2", "format=json"]
    start = time.perf_counter()
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True
    )
    spent = time.perf_counter() - start
    assert done.returncode in (0, 1), done.stderr
    print(f"\n{spent:.0f} s")
    assert spent <= 180
