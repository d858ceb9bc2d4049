"""Every mistake in a space file is one line that names the place, the value and the way out."""

from typing import Any

import pytest

from mist_dse.explore import Space, SpaceError
from tests.explore.spaces import BASE, VARY, catalog, space
from tests.explore.test_space_property import GUARDED, RAG

TIERS: dict[str, Any] = {
    "pipeline": "kv_retrieval_chat",
    "topology": "hgx_pair",
    "services": {
        "cache": {"hosts": ["fetch", "store"], "tiers": {"dram": {"tier": "host_dram_to_gpu_over_pcie5_x16", "capacity": "256 GB"}}}
    },
    "pools": {"serve": {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm"}},
}


def vary(**paths: Any) -> dict[str, Any]:
    return {"vary": {path.replace("__", "."): spec for path, spec in paths.items()}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # conditions
        (
            {"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "when": "placement == disagregated"}}},
            ["vary.pools.decode.dp", "placement is never 'disagregated'", "did you mean 'disaggregated'"],
        ),
        (
            {"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "when": "pools.decode.pp > 1"}}},
            ["'pools.decode.pp' in 'pools.decode.pp > 1' is not varied", "'pools.decode.tp'"],
        ),
        (
            {"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "when": "placement = colocated"}}},
            ["'placement = colocated' cannot be read"],
        ),
        ({"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "when": "open('x') == 1"}}}, ["holds more than values, comparisons"]),
        ({"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "when": "placement == colocated else 1"}}}, ["cannot be read"]),
        (
            {"vary": VARY | {"pools.decode.dp": {"values": [1, 2], "if": "placement == colocated"}}},
            ["there is no key 'if'", "valid: values, when"],
        ),
        ({"vary": VARY | {"pools.decode.dp": {"when": "placement == colocated"}}}, ["values is missing"]),
        (
            {"vary": VARY | {"placement": {"values": ["colocated", "disaggregated"], "when": "pools.prefill.tp == 1"}}},
            ["need one another", "pools.prefill.tp", "placement", "break the cycle"],
        ),
        # formulas
        (
            {"vary": VARY | {"pools.prefill.tp": "= pools.decode.tp", "pools.decode.tp": "= pools.prefill.tp"}},
            ["pools.decode.tp and pools.prefill.tp need one another"],
        ),
        ({"vary": VARY | {"pools.decode.tp": "= pools.prefil.tp"}}, ["'pools.prefil.tp'", "did you mean 'pools.prefill.tp'"]),
        (
            {"vary": VARY | {"pools.decode.tp": "= pools.prefill.tp / 3"}},
            [
                "vary.pools.decode.tp",
                "'= pools.prefill.tp / 3' has no value that pools.decode.tp can take",
                "at pools.prefill.tp 1",
                "0.333",
                "not an integer >= 1",
            ],
        ),
        ({"vary": VARY | {"pools.decode.tp": "= pools.prefill.tp // 0"}}, ["has no value that pools.decode.tp can take", "by zero"]),
        ({"vary": VARY | {"pools.decode.accelerator": "= pools.prefill.tp"}}, ["pools.decode.accelerator", "'1' is not in the catalogue"]),
        ({"vary": VARY | {"pools.decode.router": "= pools.prefill.accelerator"}}, ["'h100_sxm' is not a router"]),
        ({"vary": {"placement": "= 1"}}, ["placement is chosen first, it has no formula"]),
        # ranges
        (vary(pools__prefill__replicas="1..1000000000"), ["1..1000000000", "at most 10,000 can be listed"]),
        (vary(pools__prefill__replicas="1..9 step 0"), ["needs a step above 0"]),
        (vary(pools__prefill__replicas="0.5..2"), ["needs a step above 0, such as 0.1..0.5 step 0.1"]),
        (vary(pools__prefill__replicas="0.5..1.5 step 0.5"), ["0.5 is not an integer >= 1"]),
        (vary(pools__prefill__replicas=[]), ["is an empty list"]),
        (vary(pools__prefill__replicas=[[1, 2]]), ["a value is a number, a word"]),
        (vary(pools__prefill__batching__prefix_caching=["yes"]), ["'yes' is not true or false"]),
        (vary(pools__prefill__routing__guard=[0.5]), ["0.5 is not a number >= 1"]),
        (vary(pools__prefill__hosts=[["prefill"]]), ["vary.pools.prefill.hosts", "varied by placement"]),
        (vary(pools__prefill__speculation__draft_token=[1]), ["did you mean 'speculation.draft_tokens'"]),
        (vary(pools__prefill__at__rak=[1]), ["'at.rak'", "'at.rack'"]),
        ({"vary": {"topology": ["hgx_pair", "cluster_32x8"], "pools.prefill.at.rack": [0]}}, ["the topology varies, so name nodes"]),
        # placements
        (vary(placement=["colocatd"]), ["'colocatd' is not a placement", "did you mean 'colocated'"]),
        (vary(placement=["prefill | deocde"]), ["'deocde' is not a stage of an engine pool", "'decode'"]),
        (vary(placement=["prefill | prefill+decode"]), ["stage 'prefill' stands in more than one group"]),
        ({"base": GUARDED, "vary": {"placement": ["prefill+decode | input_guard"]}}, ["no group has stage 'output_guard'"]),
        (
            {"base": GUARDED, "vary": {"placement": ["prefill+input_guard | decode | output_guard"]}},
            ["no pool of the base is left for the group"],
        ),
        ({"base": GUARDED, "vary": {"pools.guard.beside": ["serv"]}}, ["'serv' is not a pool to stand beside", "did you mean 'serve'"]),
        ({"base": GUARDED, "vary": {"pools.guard.beside": ["guard"]}}, ["'guard' is not a pool to stand beside"]),
        ({"base": "tp4_colocated", "vary": {"handoff.mode": ["whole"]}}, ["one pool only, and nothing to hand over"]),
        # stages and services
        ({"base": RAG, "vary": {"stages.retriev.documents": [1]}}, ["has no stage 'retriev'", "did you mean 'retrieve'"]),
        ({"base": RAG, "vary": {"stages.retrieve.document": [1]}}, ["kind retrieve has no option 'document'", "'documents'"]),
        ({"base": RAG, "vary": {"stages.retrieve.documents": [1.5]}}, ["documents is 1.5: should be a whole number"]),
        ({"base": RAG, "vary": {"stages.retrieve.documents": [-1]}}, ["documents is -1"]),
        ({"base": RAG, "vary": {"stages.embed.when.below": [0.5]}}, ["every request takes stage 'embed'"]),
        ({"base": RAG, "vary": {"repeats.steps.count": [2]}}, ["pipeline rag_chat has no repeats"]),
        ({"base": RAG, "vary": {"services.index.index.nprobe": [1]}}, ["an index has no field 'nprobe'", "did you mean 'n_probe'"]),
        ({"base": RAG, "vary": {"services.embed.wait": ["2 GB"]}}, ["vary.services.embed.wait", "'2 GB' is a quantity of B, expected s"]),
        ({"base": TIERS, "vary": {"services.cache.tiers.dram.resident": [1]}}, ["1 is not true or false"]),
        # limits
        ({"where": ["accelerators.h100 <= 3"]}, ["'accelerators.h100' is not known before evaluation", "'accelerators.h100_sxm'"]),
        ({"where": ["pools.prefil.accelerators <= 3"]}, ["'pools.prefil.accelerators'", "did you mean 'pools.prefill.accelerators'"]),
        ({"where": ["usd_per_hour <= 3 W"]}, ["'3 W' is a quantity of W, expected USD/h"]),
        ({"where": ["usd_per_hour + accelerators <= 3"]}, ["compares quantities of", "USD/h", "1"]),
        ({"where": ["accelerators <= usd_per_hour"]}, ["compares quantities of 1 and USD/h"]),
        ({"where": ["2 accelerators <= 3"]}, ["'2 accelerators' in '2 accelerators <= 3' is not a quantity or a multiple of one"]),
        ({"where": ["accelerators <= many"]}, ["'many' is not known before evaluation"]),
        ({"where": "accelerators <= 3"}, ["where is 'accelerators <= 3': must be a list"]),
        # goals
        (
            {"objectives": ["min usd_per_mtok", "min ttft_p90", "min ttft_p50", "min tpot_p90", "min e2e_p90", "min watts"]},
            ["6 objectives, at most 5", "constraints"],
        ),
        ({"objectives": ["min ttft_p90", "min ttft_p90"]}, ["name one metric twice"]),
        ({"objectives": ["max ttft_p90"]}, ["better when smaller", "'min ttft_p90'"]),
        ({"constraints": ["ttft_p90 <= 1 kg"]}, ["unknown unit 'kg'"]),
        ({"constraints": ["ttft_p9 <= 1 s"]}, ["constraints", "ttft_p9"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpaceError) as caught:
        space(**({"base": BASE, "where": []} | change))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("space: ")
    assert [word for word in words if word not in line] == [], line


def test_a_pool_that_can_never_be_set_gives_the_reason() -> None:
    data = {"base": BASE, "vary": {"pools.decode.batching.max_num_seqs": [512], "pools.decode.batching.max_num_batched_tokens": [256]}}
    with pytest.raises(SpaceError, match="pool decode has no valid setting: its values exclude one another"):
        Space.from_dict(data, catalog()).table()


def test_draft_tokens_without_an_acceptance_give_the_reason() -> None:
    with pytest.raises(SpaceError, match=r"speculation\.acceptance is missing"):
        Space.from_dict({"base": BASE, "vary": {"pools.decode.speculation.draft_tokens": [2]}}, catalog()).table()


def test_groups_that_no_number_of_replicas_allows_leave_nothing() -> None:
    data = {"base": BASE, "vary": {"handoff.groups": [4], "pools.*.replicas": "1..2"}}
    with pytest.raises(SpaceError, match="pool prefill has no valid setting"):
        Space.from_dict(data, catalog()).table()
