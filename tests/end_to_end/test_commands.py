"""The commands through the real door: results on standard output, files where promised, the same numbers in every format."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

COLUMNS = ("request", "arrival_s", "admitted_s", "first_token_s", "last_token_s", "input_tokens", "output_tokens", "preemptions", "status")
KINDS = ("accelerators", "models", "pipelines", "workloads", "designs", "spaces", "experiments", "metrics", "prices", "hosts", "links",
         "tiers", "topologies", "engines", "slos", "searches", "executors", "indexes", "stages", "benchmarks")  # fmt: skip
SMALL = ("design=tp1_colocated", "model=llama-3.1-8b", "workload=poisson", "workload.rate=2", "workload.requests=200")


def test_evaluate_prints_the_keys_of_the_interface(mist_dse) -> None:
    done = mist_dse("evaluate", *SMALL, "format=json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result)[:5] == ["design_id", "fidelity", "feasible", "violations", "metrics"]
    assert {"interval", "completed", "rejected", "unfinished", "bottleneck", "breakdown", "pools", "provenance"} <= set(result)
    latencies = {f"{name}_{kind}" for name in ("ttft", "tpot", "e2e") for kind in ("mean", "p50", "p90", "p99")}
    rates = {"throughput_rps", "output_tokens_per_s", "goodput_rps", "slo_attainment"}
    costs = {"usd_per_hour", "usd_per_mtok", "joules_per_token", "watts", "accelerators"}
    assert latencies | rates | costs <= set(result["metrics"])
    assert result["completed"] == 200
    assert result["metrics"]["accelerators"] == 1
    assert set(result["prediction_interval"]) == latencies
    assert all(low < high for low, high in result["prediction_interval"].values())
    assert set(result["provenance"]["prediction_interval"]) == {"ttft", "tpot", "e2e"}


def test_formats_agree(mist_dse) -> None:
    as_json = json.loads(mist_dse("evaluate", *SMALL, "fidelity=bound", "format=json").stdout)
    (row,) = csv.DictReader(io.StringIO(mist_dse("evaluate", *SMALL, "fidelity=bound", "format=csv").stdout))
    assert row["design_id"] == as_json["design_id"]
    assert float(row["usd_per_hour"]) == as_json["metrics"]["usd_per_hour"]
    assert float(row["ttft_mean"]) == as_json["metrics"]["ttft_mean"]


def test_simulate_writes_a_row_per_request(mist_dse, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{i / 4},{100 + i},{10 + i}\n" for i in range(20)))
    done = mist_dse("simulate", *SMALL[:2], "workload=trace", "workload.path=t.csv", "records=r.parquet", "format=json")
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "r.parquet")
    assert set(COLUMNS) <= set(frame)
    assert list(frame["input_tokens"]) == list(range(100, 120))
    assert (frame["arrival_s"] <= frame["admitted_s"]).all()
    assert (frame["first_token_s"] <= frame["last_token_s"]).all()
    assert json.loads(done.stdout)["completed"] == 20


def test_simulate_writes_a_timeline(mist_dse, tmp_path: Path) -> None:
    done = mist_dse("simulate", "workload=poisson", "workload.requests=20", "timeline=t.json", "timeline_requests=5")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("5 requests of 20; timeline_requests=N shows more in t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert sum(event["name"].startswith("request ") and event["ph"] == "X" for event in events) == 5
    assert {event["args"]["name"] for event in events if event["name"] == "process_name"} == {"requests", "serve"}


@pytest.mark.parametrize("what", KINDS)
def test_list_shows_each_kind(mist_dse, what: str) -> None:
    done = mist_dse("list", what, "format=json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows
    assert all(row["name"] for row in rows)


def test_list_without_a_kind_counts(mist_dse) -> None:
    rows = {row["what"]: row["entries"] for row in json.loads(mist_dse("list", "format=json").stdout)}
    assert rows["accelerators"] >= 25
    assert rows["models"] >= 45


def test_the_job_can_be_shown_without_running_it(mist_dse) -> None:
    done = mist_dse("evaluate", *SMALL, "--cfg", "job")
    assert done.returncode == 0
    assert "rate: 2" in done.stdout


@pytest.mark.parametrize("verb", ["evaluate", "sweep", "simulate", "report", "list"])
def test_help_names_every_key(mist_dse, verb: str) -> None:
    done = mist_dse(verb, "--help")
    assert done.returncode == 0
    assert "format:" in done.stdout


def test_no_folder_or_log_appears(mist_dse, tmp_path: Path) -> None:
    mist_dse("evaluate", *SMALL, "fidelity=bound")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("line", "offers"), [("mist-dse ev", "evaluate"), ("mist-dse evaluate accelerator=h100_s", "accelerator=h100_sxm"),
                                               ("mist-dse sweep search=", "search=nsga2")])  # fmt: skip
def test_completion_goes_through_the_command(mist_dse, line: str, offers: str) -> None:
    assert offers in mist_dse("--shell-completion", "query=bash", COMP_LINE=line).stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_installs(mist_dse, shell: str) -> None:
    assert "complete -o nospace" in mist_dse("--shell-completion", f"install={shell}").stdout
