"""`robustness`, `sensitivity` and `diff` through the real command, on runs that `sweep` has written."""

import json
from pathlib import Path

import pandas as pd
import pytest

SMALL = ("workload.requests=300", "executor=serial", "report=false")
QUICK = ("executor=serial", "draws=20", "designs=4", "newcomers=1", "rates=[0.9]", "seeds=2", "books=[high]")


@pytest.fixture
def swept(mist_dse) -> None:
    done = mist_dse("sweep", *SMALL, "folder=one", "evaluations=30")
    assert done.returncode == 0, done.stderr


def test_robustness_prints_shares_and_writes_them(mist_dse, swept, tmp_path: Path) -> None:
    done = mist_dse("robustness", "one", *QUICK, "format=json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    stored = pd.read_parquet(tmp_path / "one" / "robustness.parquet")
    assert [row["design_id"] for row in said["designs"]] == list(stored["design_id"])
    front = pd.read_parquet(tmp_path / "one" / "front.parquet")
    assert set(front["design_id"]) == set(stored.loc[stored["on_front"], "design_id"])
    for source in ("prices", "books", "intervals", "apart"):
        assert stored[f"p_front_{source}"].dropna().between(0, 1).all()
    assert said["noise"]["worst"] >= said["noise"]["median"] >= 0


def test_sensitivity_of_a_run_and_of_what_it_was_asked(mist_dse, swept) -> None:
    done = mist_dse("sensitivity", "one", "format=json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    losses = [item["loss"] for item in said["variables"]]
    assert losses == sorted(losses, reverse=True)
    assert said["feasible"] > 10_000
    assert set(said["simulated"]) == {"usd_per_mtok", "ttft_p90"}
    alone = json.loads(mist_dse("sensitivity", "workload.requests=300", "format=json").stdout)
    assert alone["variables"] == said["variables"]
    assert alone["simulated"] is None


def test_diff_says_the_same_and_what_differs(mist_dse, swept, tmp_path: Path) -> None:
    same = mist_dse("diff", "one", "one")
    assert (same.returncode, "the same question" in same.stdout) == (0, True)
    assert mist_dse("sweep", *SMALL, "folder=two", "evaluations=30", "prices=high").returncode == 0
    done = mist_dse("diff", "one", "two", "format=json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["deciding"] == ["prices"]
    assert {item["metric"] for item in said["moved"]} == {"usd_per_hour", "usd_per_mtok"}
    assert {"key": "prices", "a": "default", "b": "high"} in said["asked"]
    stored = [len(pd.read_parquet(tmp_path / name / "results.parquet")) for name in ("one", "two")]
    assert [said["designs"]["a"], said["designs"]["b"]] == stored
    assert 0 < said["designs"]["both"] <= min(stored)
