"""Power of accelerators: what it is at the ends, where it comes from, and the measured A100 (Splitwise) where the data are at hand."""

import csv
import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mist_dse.catalog import Catalog
from mist_dse.perf.load import Work, step_load
from mist_dse.perf.power import busy_power, energy, idle_power, provenance
from mist_dse.specs.design import Datatypes, Parallelism
from tests.perf.cases import H100, L40S

A100 = Catalog().accelerator("a100_sxm_80gb")
_DATA = os.environ.get("MIST_DSE_DATA")


def test_power_never_passes_the_tdp_and_never_falls_with_use() -> None:
    use = np.linspace(0.0, 1.0, 21)
    watts = busy_power(A100, compute=use[:, None], memory=use[None, :])
    assert watts.max() == A100.tdp
    assert (np.diff(watts, axis=0) >= 0).all()
    assert (np.diff(watts, axis=1) >= 0).all()
    assert busy_power(A100, compute=0.0, memory=0.0) > idle_power(A100).watts  # clocks are up while a step runs


def test_below_the_tdp_the_mean_of_steps_stands_for_them() -> None:
    steps = [(0.3, 0.1), (0.01, 0.6), (0.05, 0.4)]
    apart = np.mean([busy_power(A100, compute=c, memory=m) for c, m in steps])
    assert busy_power(A100, compute=np.mean([c for c, _ in steps]), memory=np.mean([m for _, m in steps])) == pytest.approx(apart)


def test_unknown_idle_power_is_flagged_and_unknown_tdp_gives_none() -> None:
    assert idle_power(L40S) == (0.12 * 350, False)
    assert idle_power(H100) == (75.0, True)
    bare = replace(L40S, tdp=None)
    assert idle_power(bare) is None
    assert energy(bare, busy=1.0, makespan=2.0, compute=1.0, memory=0.0) is None


def test_energy_is_busy_plus_idle() -> None:
    assert energy(H100, busy=10.0, makespan=30.0, compute=1.0, memory=0.0) == pytest.approx(10 * 700 + 20 * 75)


def test_only_the_a100_is_called_fitted() -> None:
    assert provenance(A100) == "fitted on A100 SXM"
    assert provenance(H100).startswith("borrowed")
    assert "idle power assumed" in provenance(L40S)
    assert provenance(replace(L40S, tdp=None)) == "unknown: no TDP"


def test_prompts_reach_the_tdp_and_tokens_do_not() -> None:
    # Patel et al., Splitwise (ISCA 2024): prompts use the power budget of a device, tokens do not
    assert busy_power(A100, compute=0.02, memory=0.6) < 0.8 * A100.tdp
    assert busy_power(A100, compute=0.65, memory=0.05) == A100.tdp


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_power_of_measured_runs_within_their_context() -> None:
    model = Catalog().model("llama-2-70b")
    with gzip.open(Path(_DATA or "") / "profiles/splitwise/perf_model.csv.gz", "rt") as file:
        measured = [row for row in csv.DictReader(file) if row["model"] == "llama2-70b" and float(row["average_power"]) > 0]
    errors = []
    for row in measured:
        batch, prompt, layout = int(row["batch_size"]), int(row["prompt_size"]), Parallelism(tp=int(row["tensor_parallel"]))
        if prompt + 128 > 4096:  # past the positions that the model knows the recorded averages fall to idle power
            continue
        works = (
            Work(tokens=batch * prompt, sequences=batch, pairs=batch * prompt * (prompt + 1) / 2),
            Work(tokens=batch, sequences=batch, contexts=batch * (prompt + 64)),
        )
        joules, seconds = 0.0, 0.0
        for work, time, steps in zip(works, (float(row["prompt_time"]) / 1e3, float(row["token_time"]) / 1e3), (1, 127), strict=True):
            load = step_load(model, layout, Datatypes(), work)
            watts = busy_power(A100, compute=load.flop / A100.peaks.at("bf16") / time, memory=load.bytes / A100.memory_bandwidth / time)
            joules, seconds = joules + float(watts) * time * steps, seconds + time * steps
        errors.append(joules / seconds / A100.tdp / float(row["average_power"]) - 1)
    assert len(errors) == 165
    assert np.abs(errors).mean() < 0.05
    assert abs(np.median(errors)) < 0.03
