"""From a row to what is simulated: the design, the load, the profile and the flags on top."""

import dataclasses
from typing import Any

import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.specs.engine import EngineProfile
from mist_dse.validate.case import Case, case, profile_of
from mist_dse.validate.measurements import normalised
from mist_dse.validate.recipe import recipes
from tests.validate.rows_of import row

CATALOG = Catalog()
RECIPES = recipes(CATALOG)
PROFILES = {name: CATALOG.engine(name) for name in CATALOG.names("engine")}


def made(**changes: Any) -> Case | str:
    frame = normalised(pd.DataFrame([row(**changes)]), CATALOG)
    return case(frame.to_dict("records")[0], catalog=CATALOG, recipes=RECIPES, profiles=PROFILES)  # type: ignore[arg-type]


def ready(**changes: Any) -> Case:
    found = made(**changes)
    assert isinstance(found, Case), found
    return found


def test_a_plain_row_is_a_closed_loop_of_its_clients() -> None:
    one = ready()
    assert (one.workload.arrivals.kind, one.workload.arrivals.clients, one.workload.arrivals.requests) == ("closed", 8, 80)
    assert one.workload.input_tokens is not None
    assert one.workload.input_tokens.kind == "fixed"
    assert one.design.pools[0].batching.max_num_seqs == 8


def test_inferencex_jitters_lengths() -> None:
    one = ready(source="aic-silicon-sample/inferencex", isl=1024)
    assert one.workload.input_tokens is not None
    assert (one.workload.input_tokens.low, one.workload.input_tokens.high) == (819, 1024)


def test_a_rate_is_an_open_loop_and_minus_one_a_burst() -> None:
    assert ready(concurrency=None, request_rate=2.0).workload.arrivals.kind == "poisson"
    burst = ready(concurrency=None, request_rate=-1.0, num_prompts=300).workload.arrivals
    assert (burst.kind, burst.requests) == ("batch", 300)
    said = made(concurrency=None)
    assert isinstance(said, str)
    assert "neither concurrency" in said


@pytest.mark.parametrize(
    ("hardware", "model", "precision", "stored", "computed"),
    [
        ("B200-180GB", "deepseek-ai/DeepSeek-R1", "fp4", "nvfp4", "fp4"),
        ("H200-SXM-141GB", "openai/gpt-oss-120b", "fp4", "mxfp4", "bf16"),
        ("B200-180GB", "openai/gpt-oss-120b", "fp4", "mxfp4", "fp8"),
        ("H200-SXM-141GB", "moonshotai/Kimi-K2.5", "int4", "int4", "bf16"),
        ("H100-SXM-80GB", "meta-llama/Llama-3.1-70B", "fp8", "fp8", "fp8"),
    ],
)
def test_datatypes(hardware: str, model: str, precision: str, stored: str, computed: str) -> None:
    dtypes = ready(hardware=hardware, model=model, precision=precision, n_gpus=8, tp=8).design.pools[0].dtypes
    assert (dtypes.weight, dtypes.compute) == (stored, computed)


def test_disaggregated_workers_become_pools_with_their_slots() -> None:
    one = ready(
        mode="disagg", engine="TensorRT-LLM", model="deepseek-ai/DeepSeek-R1", hardware="GB200-192GB", precision="fp4", n_gpus=None,
        tp=None, concurrency=300, source="aic-silicon-sample/inferencex", prefill_workers=2, prefill_worker_gpus=4, prefill_ep=4,
        prefill_attention_dp_on=True, decode_workers=3, decode_worker_gpus=8, decode_ep=8, decode_attention_dp_on=True,
        decode_slots_per_worker=64,
    )  # fmt: skip
    prefill, decode = one.design.pools
    assert (prefill.replicas, prefill.parallelism.dp, decode.replicas, decode.parallelism.dp) == (2, 4, 3, 8)
    assert decode.batching.max_num_seqs == 8
    assert one.design.topology.node_size == 72
    assert one.design.accelerators == 32


def test_speculation_without_its_acceptance_is_not_predicted() -> None:
    said = made(multi_token_prediction="yes")
    assert isinstance(said, str)
    assert "multi-token prediction" in said
    assert any("without multi-token prediction" in note for note in ready(multi_token_prediction="unknown").notes)


@pytest.mark.parametrize("columns", [{"acceptance": 0.8}, {"accepted_length": 1.8}])
def test_speculation_with_its_acceptance_is(columns: dict[str, float]) -> None:
    one = ready(multi_token_prediction="yes", draft_tokens=1, **columns)
    assert one.design.pools[0].speculation is not None
    assert one.design.pools[0].speculation.emitted == pytest.approx(1.8)
    assert one.with_profile(one.profile).design.pools[0].speculation == one.design.pools[0].speculation
    assert ready(multi_token_prediction="no", draft_tokens=1, **columns).design.pools[0].speculation is None


def test_an_impossible_acceptance_is_said() -> None:
    said = made(multi_token_prediction="yes", draft_tokens=1, accepted_length=2.5)
    assert isinstance(said, str)
    assert "accepted length is 2.5" in said
    assert "draft_tokens and acceptance" in str(made(multi_token_prediction="yes", acceptance=0.8))


def profile(name: str, built: str, *accelerators: str, models: str = "") -> EngineProfile:
    return dataclasses.replace(PROFILES["vllm"], name=name, family="vllm", built=built, accelerators=accelerators, models=models)


def test_the_latest_profile_of_accelerator_and_kind_begun_by_the_date_of_the_build() -> None:
    whole, old, new = profile("vllm", ""), profile("old", "2025-10-01", "h200"), profile("new", "2026-03-01", "h200", "b200")
    sparse = profile("sparse", "2025-11-01", "h200", models="moe")
    known = {one.name: one for one in (whole, old, new, sparse)} | {"generic": PROFILES["generic"]}
    asked = {("2026-02-28", "h200", "dense"): "sparse", ("2026-03-01", "h200", "dense"): "new", ("2026-03-01", "h200", "moe"): "sparse",
             ("2025-10-02", "h200", "moe"): "sparse", ("2024-01-01", "h200", "mla"): "old", ("2025-12-01", "b200", "dense"): "new",
             ("", "h200", "dense"): "vllm", ("2026-03-01", "l40s", "dense"): "vllm"}  # fmt: skip
    found = {key: profile_of("vllm", {"use_built": key[0], "use_accelerator": key[1]}, key[2], known).name for key in asked}
    assert found == asked
    assert profile_of("someone", {"use_built": "2026-03-01", "use_accelerator": "h200"}, "dense", known).name == "generic"


def test_flags_stay_on_top_of_another_profile() -> None:
    one = ready(source="trtllm-perf-overview-v1.0", engine="TensorRT-LLM", concurrency=None)
    other = dataclasses.replace(one.profile, residue=0.123, fraction_of_free=False)
    engine = one.with_profile(other).design.pools[0].engine
    assert (engine.residue, engine.fraction_of_free) == (0.123, True)


def test_what_does_not_fit_is_said_by_name() -> None:
    said = made(model="meta-llama/Llama-3.1-70B", tp=3, n_gpus=3)
    assert isinstance(said, str)
    assert "tp is 3" in said
