"""Designs and workloads from plain data: names, shorthands, overrides."""

import pytest

from mist_dse.catalog import Catalog, build_design, build_workload, load_design, with_changes
from mist_dse.specs.design import Datatypes, Handoff, Parallelism
from mist_dse.specs.workload import Lengths, Slo, Workload

CATALOG = Catalog()


def minimal(**pool: object) -> dict[str, object]:
    serve = {"hosts": ["prefill", "decode"], "model": "llama-3.1-70b", "accelerator": "h100_sxm", "tp": 4} | pool
    return {"topology": "node_1", "pools": {"serve": serve}}


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_colocated_designs(tp: int) -> None:
    design = load_design(f"tp{tp}_colocated")
    (pool,) = design.pools
    assert pool.stages == ("prefill", "decode")
    assert pool.parallelism == Parallelism(tp=tp)
    assert design.accelerators == tp


def test_disaggregated_design_mixes_accelerators() -> None:
    design = load_design("disagg_2x4")
    assert {pool.name: (pool.accelerator.name, pool.node) for pool in design.pools} == {"prefill": ("h100_sxm", 0), "decode": ("l40s", 1)}
    assert design.handoff == Handoff(source="prefill", target="decode", mode="layerwise")
    assert {pool.dtypes for pool in design.pools} == {Datatypes(weight="fp8", kv="fp8", compute="fp8")}


def test_load_design_sets_names_in_every_pool() -> None:
    design = load_design("disagg_2x4", model="llama-3.1-8b", accelerator="h200", engine="sglang", topology="rack_4x8")
    assert {(pool.model.name, pool.accelerator.name, pool.engine.name) for pool in design.pools} == {("llama-3.1-8b", "h200", "sglang")}
    assert design.topology.name == "rack_4x8"


def test_dotted_override_reaches_one_pool() -> None:
    design = CATALOG.design("disagg_2x4", **{"pools.decode.accelerator": "h20", "replicas": 1})
    assert [pool.accelerator.name for pool in design.pools] == ["h100_sxm", "h20"]
    assert [pool.replicas for pool in design.pools] == [1, 1]


def test_changes_leave_the_original_alone() -> None:
    data = CATALOG.data("design", "tp4_colocated")
    changed = with_changes("design", data, {"tp": 8, "batching.max_num_seqs": 64})
    assert (data["pools"]["serve"]["tp"], changed["pools"]["serve"]["tp"]) == (4, 8)
    assert changed["pools"]["serve"]["batching"]["max_num_seqs"] == 64
    assert CATALOG.data("design", "tp4_colocated") == data


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("fp8", Datatypes(weight="fp8", kv="fp8", compute="fp8")),
        ("bf16", Datatypes()),
        ("int4", Datatypes(weight="int4", kv="bf16", compute="bf16")),
        ({"kv": "fp8"}, Datatypes(weight="bf16", kv="fp8", compute="bf16")),
    ],
)
def test_dtype_shorthand(dtype: object, expected: Datatypes) -> None:
    assert build_design(minimal(dtype=dtype), CATALOG).pools[0].dtypes == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("llama-3.1-70b", Datatypes()),
        ("opt-66b", Datatypes()),
        ("deepseek-v3", Datatypes(weight="fp8", kv="bf16", compute="fp8")),
        ("gpt-oss-120b", Datatypes(weight="mxfp4", kv="bf16", compute="bf16")),
    ],
)
def test_dtype_follows_the_checkpoint_when_left_out(model: str, expected: Datatypes) -> None:
    assert build_design(minimal(model=model), CATALOG).pools[0].dtypes == expected


def test_the_id_of_a_design_does_not_depend_on_aliases_or_its_name() -> None:
    plain = build_design(minimal(), CATALOG)
    aliased = build_design(minimal(accelerator="H100-SXM-80GB", model="meta-llama/Llama-3.1-70B") | {"name": "other"}, CATALOG)
    assert plain.design_id == aliased.design_id


def test_workload_from_plain_data() -> None:
    workload = build_workload(
        {
            "arrivals": {"kind": "gamma", "rate": "2 /s", "cv": 2, "requests": 50},
            "input_tokens": 1024,
            "output_tokens": {"kind": "lognormal", "mean": "256 tokens", "cv": 1.0},
            "slo": {"per_request": {"ttft": "1 s", "tpot": "50 ms"}, "limits": ["ttft_p90 <= 1 s"]},
            "seed": 3,
        }
    )
    assert workload.arrivals.rate == 2.0
    assert workload.input_tokens == Lengths(kind="fixed", mean=1024.0)
    assert workload.output_tokens == Lengths(kind="lognormal", mean=256.0, cv=1.0)
    assert workload.slo == Slo(per_request=(("ttft", 1.0), ("tpot", 0.05)), limits=("ttft_p90 <= 1 s",))
    assert workload.seed == 3


def test_workload_equals_the_one_built_without_yaml() -> None:
    data = {"name": "poisson", "arrivals": {"kind": "poisson", "rate": 2.0, "requests": 100}, "input_tokens": 10, "output_tokens": 20}
    assert build_workload(data) == Workload.poisson(rate=2.0, input_tokens=10, output_tokens=20, requests=100)


def test_workload_may_name_a_catalogued_slo() -> None:
    data = {"arrivals": {"kind": "poisson", "rate": 1}, "input_tokens": 1, "output_tokens": 1, "slo": "interactive_chat"}
    assert build_workload(data).slo == CATALOG.slo("interactive_chat")


def test_the_content_of_an_slo_file_may_stand_in_a_workload() -> None:
    data = {
        "arrivals": {"kind": "poisson", "rate": 1},
        "input_tokens": 1,
        "output_tokens": 1,
        "slo": CATALOG.data("slo", "interactive_chat"),
    }
    assert build_workload(data).slo == CATALOG.slo("interactive_chat")


def test_workload_overrides_reach_the_arrivals() -> None:
    workload = CATALOG.workload("poisson", rate=5, requests=100, seed=7)
    assert (workload.name, workload.arrivals.rate, workload.arrivals.requests, workload.seed) == ("poisson", 5.0, 100, 7)
