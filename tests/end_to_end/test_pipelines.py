"""Every packaged pipeline from the command line at all three fidelities: it runs, its parts sum to its latency, the three agree where
nothing waits, and no run is better than its bound at any load."""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mist_dse.app.main import main
from mist_dse.catalog import Catalog
from mist_dse.evaluation import evaluate
from mist_dse.metrics import METRICS
from mist_dse.specs.evaluation import Evaluation
from mist_dse.stages import KINDS

CONF = Path(__file__).parents[2] / "conf"
PIPELINES = sorted(path.stem for path in (CONF / "pipeline").glob("*.yaml"))
FIDELITIES = ("bound", "steady", "simulated")
LATENCIES = [f"{name}_{statistic}" for name in ("ttft", "tpot", "e2e") for statistic in ("mean", "p50", "p90", "p99")]

LIGHT, MODERATE = 0.05, 0.5
"""Share of time with a request in the system; share of the demand that the busiest server can meet."""


def design_of(pipeline: str) -> str:
    """The design of a pipeline has its name; chat has many."""
    return "tp4_colocated" if pipeline == "chat" else pipeline


@cache
def evaluated(pipeline: str, fidelity: str, rate: float) -> dict[str, Any]:
    """What the command prints."""
    lengths = ("workload=poisson", "workload.input_tokens=512", "workload.output_tokens=128", "workload.slo.limits=[]")
    kind = ("workload=sessions",) if "kv" in pipeline else lengths  # tiers find what has a name: turns of conversations
    asked = ("workload.requests=300", f"workload.rate={rate}", f"fidelity={fidelity}", "format=json")
    shown, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
        status = main(["evaluate", f"design={design_of(pipeline)}", *kind, *asked])
    assert status == 0, said.getvalue()
    found: dict[str, Any] = json.loads(shown.getvalue())
    return found


@cache
def loaded(pipeline: str, fidelity: str, rate: float) -> Evaluation:
    """The same from the library, which needs no words to be read."""
    lengths: dict[str, Any] = {} if "kv" in pipeline else {"input_tokens": 512, "output_tokens": 128}
    workload = Catalog().workload("sessions" if "kv" in pipeline else "poisson", requests=300, rate=rate, **lengths)
    return evaluate(Catalog().design(design_of(pipeline)), workload, fidelity=fidelity)


@cache
def rate_at(pipeline: str, load: float) -> float:
    """Requests per second at that load, from the bound: light, of the time that a request takes; else of the highest demand."""
    alone = loaded(pipeline, "bound", 0.001)
    if load == LIGHT:
        return float(f"{LIGHT / float(alone.metrics['e2e_mean'] or 0):.3g}")
    return float(f"{0.001 * load / max(pool['demand'] for pool in alone.pools.values()):.3g}")


def result(pipeline: str, fidelity: str, load: float) -> Mapping[str, Any]:
    """From the command line at light load, from the library at moderate load."""
    rate = rate_at(pipeline, load)
    return evaluated(pipeline, fidelity, rate) if load == LIGHT else asdict(loaded(pipeline, fidelity, rate))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_runs_at_every_fidelity(pipeline: str) -> None:
    for fidelity in FIDELITIES:
        found = evaluated(pipeline, fidelity, rate_at(pipeline, LIGHT))
        assert found["feasible"]
        assert (found["fidelity"], found["completed"], found["rejected"], found["unfinished"]) == (fidelity, 300, 0, 0)
        assert all(0 < found["metrics"][name] < 1000 for name in LATENCIES)
        assert found["bottleneck"]


@pytest.mark.parametrize("load", [LIGHT, MODERATE])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_parts_of_the_critical_path_sum_to_the_latency(pipeline: str, load: float) -> None:
    found = result(pipeline, "simulated", load)
    parts = [seconds for causes in found["breakdown"].values() for seconds in causes.values()]
    assert all(seconds >= 0 for seconds in parts)
    assert sum(parts) == pytest.approx(found["metrics"]["e2e_mean"], rel=1e-9)
    stages = [stage.name for stage in Catalog().pipeline(pipeline).stages]
    assert set(found["breakdown"]) <= {*stages, "handoff"}
    assert {"prefill", "decode"} & {stage.rpartition("_")[2] for stage in found["breakdown"]} == {"prefill", "decode"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_three_fidelities_agree_where_nothing_waits(pipeline: str) -> None:
    found = [evaluated(pipeline, fidelity, rate_at(pipeline, LIGHT))["metrics"] for fidelity in FIDELITIES]
    for name in ("ttft_mean", "e2e_mean"):
        bound, steady, simulated = (one[name] for one in found)
        assert bound == pytest.approx(simulated, rel=0.05), name
        assert steady == pytest.approx(simulated, rel=0.05), name


@pytest.mark.parametrize("load", [LIGHT, MODERATE])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_no_run_is_better_than_its_bound(pipeline: str, load: float) -> None:
    bound, simulated = (result(pipeline, fidelity, load)["metrics"] for fidelity in ("bound", "simulated"))
    compared = [name for name, metric in METRICS.items() if metric.bound and bound[name] is not None and simulated[name] is not None]
    assert set(LATENCIES) <= set(compared)
    for name in compared:
        better, worse = (bound[name], simulated[name]) if METRICS[name].direction == "min" else (simulated[name], bound[name])
        assert better <= worse * (1 + 1e-9), name


def test_every_kind_of_stage_is_in_some_pipeline() -> None:
    used = {stage.kind for pipeline in PIPELINES for stage in Catalog().pipeline(pipeline).stages}
    assert used == set(KINDS)
