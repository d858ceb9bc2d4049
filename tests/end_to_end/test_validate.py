"""``mist-dse validate`` and ``calibrate`` as a user types them, on small files made here."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROW = {"model": "meta-llama/Llama-3.1-8B-Instruct", "hardware": "H100-SXM-80GB", "engine": "vLLM", "precision": "bf16", "mode": "agg",
       "n_gpus": 1, "tp": 1, "isl": 512, "osl": 64, "concurrency": 4, "ttft_ms": 60.0, "tpot_ms": 7.5, "mine": "kept"}  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Thirty configurations, and one that no catalogue knows."""
    table = [ROW | {"concurrency": c, "isl": isl} for c in range(1, 7) for isl in (128, 256, 512, 768, 1024)]
    path = tmp_path / "rows.csv"
    pd.DataFrame([*table, ROW | {"model": "no/such"}]).to_csv(path, index=False)
    return path


def test_predictions_hold_every_row_in_order(mist_dse, rows: Path, tmp_path: Path) -> None:
    done = mist_dse("validate", f"data={rows}", "predictions=out.csv", "jobs=1", "format=json")
    assert done.returncode in (0, 1), done.stderr
    found = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["isl"] for row in found] == [str(value) for value in pd.read_csv(rows)["isl"]]
    assert {row["mine"] for row in found} == {"kept"}
    assert [row["covered"] for row in found] == ["True"] * 30 + ["False"]
    assert "no/such" in found[-1]["reason"]
    assert [row["slice"] for row in found] == ["dense"] * 30 + [""]
    assert all(float(row["pred_ttft_ms"]) > 0 and float(row["pred_output_tok_s"]) > 0 for row in found[:-1])
    report = json.loads(done.stdout)
    assert (report["rows"], report["covered"], report["part"]) == (31, 30, "all")
    assert {(row["slice"], row["metric"]) for row in report["slices"]} == {("dense", "ttft"), ("dense", "tpot"), ("dense", "e2e")}


def test_a_limit_missed_is_status_1_and_a_line(mist_dse, rows: Path, tmp_path: Path) -> None:
    pd.read_csv(rows).assign(tpot_ms=3.0).to_csv(tmp_path / "fast.csv", index=False)
    done = mist_dse("validate", "data=fast.csv", "jobs=1")
    assert done.returncode == 1
    assert "missed: dense: tpot mdape" in done.stderr
    assert "dense" in done.stdout


def test_a_users_own_recipe_and_fewer_rows(mist_dse, rows: Path) -> None:
    done = mist_dse("validate", f"data={rows}", "benchmark=nvidia_internal", "limit_rows=3", "jobs=1", "format=csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("slice,metric,rows")


def test_the_packaged_figures_need_no_file(mist_dse) -> None:
    done = mist_dse("validate", "limit_rows=40", "format=json", "jobs=1")
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == 40
    assert report["covered"] >= 36


def test_measured_kernels(mist_dse, tmp_path: Path) -> None:
    table = pd.DataFrame({"system": ["h100_sxm"] * 3, "backend": ["vllm"] * 3, "backend_version": ["0.14.0"] * 3,
                          "gemm_dtype": ["bfloat16"] * 3, "m": [16, 256, 4096], "n": [4096] * 3, "k": [4096] * 3,
                          "latency_ms": [0.016, 0.02, 0.2]})  # fmt: skip
    table.to_parquet(tmp_path / "gemm.parquet")
    done = mist_dse("validate", "operators=gemm.parquet", "predictions=out.csv", "format=json")
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "out.csv")
    assert len(found) == 3
    assert (np.diff(found["pred_latency_ms"]) > 0).all()


def test_a_log_becomes_a_profile_that_the_command_takes(mist_dse, tmp_path: Path) -> None:
    start = np.arange(40) * 0.5
    log = pd.DataFrame({"arrival_s": start, "first_token_s": start + 0.08, "last_token_s": start + 0.08 + 0.009 * 63, "input_tokens": 512,
                        "output_tokens": 64})  # fmt: skip
    log.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "conf" / "engine").mkdir(parents=True)
    done = mist_dse("calibrate", "log=log.csv", "engine=vllm", "out=conf/engine/mine.yaml", "format=json", "jobs=1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 4
    told = mist_dse("evaluate", "design=tp1_colocated", "engine=mine", "model=llama-3.1-8b", "accelerator=h100_sxm", "workload=poisson",
                    "workload.rate=2", "workload.requests=100", "workload.input_tokens={kind: fixed, mean: 512}",
                    "workload.output_tokens={kind: fixed, mean: 64}", "format=json", "--config-dir", "conf")  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["metrics"]["ttft_mean"] == pytest.approx(0.08, rel=0.25)
