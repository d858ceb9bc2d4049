"""The 80% interval beside an evaluation: which group answers, what it rests on, when there is none."""

from dataclasses import replace

import pytest

import mist_dse as md
from mist_dse.app.measured import STATISTICS, prediction_interval, subject, with_intervals
from mist_dse.catalog import Catalog
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Evaluation, Infeasible
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.validate.residuals import UNKNOWN_ENGINE, WIDENING, packaged

LENGTHS = Lengths(kind="fixed", mean=512)
CLOSED = Workload(name="closed", arrivals=Arrivals(kind="closed", clients=300, requests=400), input_tokens=LENGTHS, output_tokens=LENGTHS)
PROVENANCE = {"pools": {"serve": {"gemm": "fitted", "moe": "fitted"}}}
METRICS = {f"{name}_{statistic}": 1.0 for name in ("ttft", "tpot", "e2e") for statistic in STATISTICS} | {"throughput_rps": 2.0}


def result(**changes: object) -> Evaluation:
    return replace(Evaluation(design_id="x", fidelity="simulated", metrics=METRICS, provenance=PROVENANCE), **changes)


def design(**changes: str) -> Design:
    return md.load_design("tp4_colocated", **{"accelerator": "h100_sxm", "model": "llama-3.1-70b", "engine": "vllm"} | changes)


def test_every_latency_has_an_interval_about_the_group_of_its_design() -> None:
    found = prediction_interval(result(), design(), CLOSED)
    assert found is not None
    own = packaged().interval(subject(result(), design(), CLOSED), "tpot")
    assert own is not None
    assert found.metrics["tpot_p90"] == pytest.approx((own.low, own.high))
    assert len(found.metrics) == 12
    assert found.basis["tpot"].startswith("80% of ")
    assert "vllm" in found.basis["tpot"]


def test_a_subject_is_told_by_engine_model_and_load() -> None:
    moe = design(model="gpt-oss-120b", engine="trtllm")
    assert subject(result(), moe, CLOSED) == ("trtllm", "h100_sxm", "moe", "many", "fitted", True)
    own = next(name for name in Catalog().names("engine") if Catalog().engine(name).accelerators)
    assert not subject(result(), design(engine=own), CLOSED).pooled  # a build of its own, not all of them together
    poisson = Workload.poisson(rate=2.0, input_tokens=512, output_tokens=512)
    assert subject(result(), moe, poisson).regime == "closed"  # 2/s for 1 s each: two requests at a time
    assert subject(result(), md.load_design("disagg_2x4"), CLOSED).regime == "disagg"


def test_a_device_with_only_a_datasheet_is_wider_and_says_so() -> None:
    said = {"pools": {"serve": {"gemm": "class default"}}}
    known = prediction_interval(result(), design(), CLOSED)
    unknown = prediction_interval(result(provenance=said), design(accelerator="mi300x", engine="generic"), CLOSED)
    assert known is not None
    assert unknown is not None
    times = f"{WIDENING['class default'] * UNKNOWN_ENGINE:.2g} times as wide"
    assert f"{times} for mi300x on generic (datasheet and class defaults, pooled profile)" in unknown.basis["tpot"]
    low, high = unknown.metrics["tpot_mean"]
    assert high / low > known.metrics["tpot_mean"][1] / known.metrics["tpot_mean"][0]


def test_no_claim_past_saturation_but_for_tpot_and_none_at_other_fidelities() -> None:
    full = result(violations=(Infeasible(kind="saturated", constraint="too much", margin=0.1),))
    found = prediction_interval(full, design(), CLOSED)
    assert found is not None
    assert {name.split("_")[0] for name in found.metrics} == {"tpot"}
    assert prediction_interval(result(fidelity="steady"), design(), CLOSED) is None


def test_plain_data_hold_the_interval_and_what_it_rests_on() -> None:
    found = prediction_interval(result(), design(), CLOSED)
    data = with_intervals({"provenance": {"prices": "default"}}, found)
    assert data["prediction_interval"]["e2e_mean"][0] < data["prediction_interval"]["e2e_mean"][1]
    assert set(data["provenance"]) == {"prices", "prediction_interval"}
    assert with_intervals({"a": 1}, None) == {"a": 1, "prediction_interval": {}}


def test_it_follows_a_real_evaluation() -> None:
    workload = Workload.poisson(rate=2.0, input_tokens=512, output_tokens=64, requests=50)
    small = Catalog().design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm")
    found = prediction_interval(md.evaluate(small, workload), small, workload)
    assert found is not None
    assert 0 < found.metrics["ttft_p50"][0] < found.metrics["ttft_p50"][1]
