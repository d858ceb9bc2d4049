"""Services in a space: paths, mistakes, and a search over routers and KV tiers together, against each design by itself."""

import itertools
from typing import Any

import pytest

import mist_dse as md
from mist_dse.explore import Space, SpaceError, sweep
from mist_dse.requests import realise
from mist_dse.requests.reuse import by_session, round_robin, tier_hits
from mist_dse.rows import Requests
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.stages import Lowered, lower
from tests.explore.spaces import catalog

SERVE = {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "tp": 2, "replicas": 8, "engine": "vllm"}
DRAM = {"tier": "host_dram_to_gpu_over_pcie5_x16", "capacity": "256 GB", "scope": "private"}
FAR = {"tier": "nvme_gen5_x4", "capacity": "4 TB", "scope": "node"}
BASE: dict[str, Any] = {
    "pipeline": "kv_retrieval_chat",
    "topology": "hgx_pair",
    "services": {"cache": {"hosts": ["fetch", "store"], "tiers": {"dram": DRAM, "far": FAR}}},
    "pools": {"serve": SERVE},
}
ROUTERS, SIZES, SCOPES, TIERS = ["round_robin", "session_affinity"], ["1 GB", "64 GB"], ["node", "shared"], ["nvme_gen5_x4", "sata_ssd"]
VARY = {
    "pools.serve.router": ROUTERS,
    "services.cache.tiers.dram.capacity": SIZES,
    "services.cache.tiers.far.scope": SCOPES,
    "services.cache.tiers.far.tier": TIERS,
}
BLOCK = 256 * 131_072
"""Bytes of the KV cache of 256 tokens of Llama-3.1-8B."""


def space(vary: dict[str, Any] | None = None, base: dict[str, Any] | None = None) -> Space:
    data = {"base": base or BASE, "vary": vary or VARY, "objectives": ["min ttft_mean", "min tpot_mean"]}
    return Space.from_dict(data, catalog())


def sessions() -> Workload:
    arrivals = Arrivals(kind="sessions", rate=4.0, requests=400, turns=5, think=5.0, shared_prefix=512, hash_tokens=256)
    lengths = Lengths(kind="lognormal", mean=1024, cv=0.5)
    return Workload(name="sessions", arrivals=arrivals, input_tokens=lengths, output_tokens=Lengths(kind="fixed", mean=64), seed=5)


def test_every_combination_is_one_design() -> None:
    here = space()
    table = here.table()
    found = set()
    for index in range(len(table)):
        design, values = table.design(index), table.values(index)
        assert design.design_id == here.design(values).design_id
        dram, far = design.services[0].tiers
        found.add((design.pools[0].router, dram.capacity, far.scope, far.tier.read))
    reads = [catalog().tier(name).read for name in TIERS]
    assert found == set(itertools.product(ROUTERS, [1e9, 64e9], SCOPES, reads))
    assert len(table) == len(found) == 16


def test_other_fields_of_services_vary_too() -> None:
    base = {
        "pipeline": "rag_chat", "topology": "hgx_pair",
        "services": {"embed": {"hosts": ["embed"], "model": "e5-base-v2", "accelerator": "l40s"},
                     "index": {"hosts": ["retrieve"], "index": "wiki_ivfpq", "host": "xeon_8480_plus"}},
        "pools": {"serve": SERVE | {"replicas": 6}},  # which leaves room for the encoders
    }  # fmt: skip
    vary = {"services.embed.accelerator": ["l40s", "h100_sxm"], "services.embed.replicas": "1..2", "services.embed.batch": [1, 8],
            "services.index.host": ["xeon_8480_plus", "epyc_9654"], "services.index.sockets": [1, 2],
            "services.index.index": ["wiki_ivfpq", "wiki_hnsw"]}  # fmt: skip
    here = space(vary, base)
    assert len(here.table()) == 64
    values = {"services.embed.accelerator": "h100_sxm", "services.embed.replicas": 2, "services.embed.batch": 8,
              "services.index.host": "epyc_9654", "services.index.sockets": 2, "services.index.index": "wiki_hnsw"}  # fmt: skip
    embed, index = here.design(values).services
    assert (embed.accelerator, embed.replicas, embed.batch) == (catalog().accelerator("h100_sxm"), 2, 8)
    assert (index.host, index.hosts, index.index) == (catalog().host("epyc_9654"), 2, catalog().index("wiki_hnsw"))


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("services.cash.replicas", [1], "vary.services.cash.replicas: the base design has no service 'cash'; did you mean 'cache'?"),
        ("services.cache.tiers.drum.capacity", ["1 GB"], "service cache: it has no tier 'drum'; did you mean 'dram'?"),
        ("services.cache.tiers.dram.size", ["1 GB"], "a tier has no field 'size'"),
        ("services.cache.replica", [1], "a service has no field 'replica'; did you mean 'replicas'?"),
        ("services.cache.tiers.dram.capacity", ["1 parsec"], "vary.services.cache.tiers.dram.capacity: "),
        ("services.cache.tiers.dram.capacity", [0], "0 is not a capacity above 0 bytes"),
        ("services.cache.tiers.dram.scope", ["nodes"], "'nodes' is not a scope; did you mean 'node'?"),
        ("services.cache.tiers.dram.tier", ["nvme_gen5"], "vary.services.cache.tiers.dram.tier: "),
        ("services.cache.replicas", [0], "0 is not an integer >= 1"),
    ],
)
def test_mistakes_are_one_line(path: str, values: list[Any], message: str) -> None:
    with pytest.raises(SpaceError) as error:
        space({path: values})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def hits(requests: Requests, values: dict[str, Any]) -> list[int]:
    """Blocks found in each tier, from the names alone."""
    serves = round_robin(400, 8)
    if values["pools.serve.router"] == "session_affinity":
        serves = by_session(requests.hash_first, requests.hash_ids, 8)
    sizes = [int({"1 GB": 1e9, "64 GB": 64e9}[values["services.cache.tiers.dram.capacity"]] // BLOCK), int(4e12 // BLOCK)]
    sharers = [1, 4 if values["services.cache.tiers.far.scope"] == "node" else 8]
    return [int(tier) for tier in tier_hits(requests, sizes, 8, serves, sharers=sharers).sum(axis=0)]


def test_a_search_over_routers_and_tiers_is_each_design_by_itself() -> None:
    """All sixteen are simulated, each as it is alone; what they find follows from router, size and scope. Where engines do not share,
    a conversation is found only by the engine that had it."""
    here, asked = space(), sessions()
    result = sweep(here, asked, executor="serial")
    assert (len(result.results), result.manifest["certificate"]) == (16, "exact")
    assert "all of them are simulated" in result.manifest["screen_note"]
    requests = realise(asked)
    table = here.table()
    for index in range(0, 16, 5):
        values = table.values(index)
        design = table.design(index)
        row = result.results.set_index("design_id").loc[design.design_id]
        assert {path: row[path] for path in here.paths} == values
        assert row["ttft_mean"] == md.evaluate(design, asked).metrics["ttft_mean"]
    found = {tuple(map(str, values.values())): hits(requests, values) for values in map(table.values, range(16))}
    assert len({tuple(each) for each in found.values()}) >= 6
    for index in range(16):
        lowered = lower(table.design(index), requests)
        assert isinstance(lowered, Lowered)
        fetched = lowered.jobs.work[lowered.stage_of_visit == 0].sum()
        assert fetched <= sum(hits(requests, table.values(index))) * BLOCK


def test_limits_count_the_accelerators_of_services() -> None:
    """Four of the model's and one of an encoder's replica each: 5 and 6, by kind 4 and 1 or 2."""
    base = {
        "pipeline": "multimodal_prefix",
        "topology": "hgx_pair",
        "services": {"vision": {"hosts": ["encode"], "model": "clip-vit-l-14-336", "accelerator": "l40s"}},
        "pools": {"serve": SERVE | {"replicas": 2}},
    }
    data = {"base": base, "vary": {"services.vision.replicas": [1, 2]}, "objectives": ["min ttft_mean", "min tpot_mean"]}
    for limit, kept in (
        ("accelerators <= 6", 2),
        ("accelerators <= 5", 1),
        ("accelerators.l40s <= 1", 1),
        ("accelerators.h100_sxm <= 4", 2),
    ):
        here = Space.from_dict(data | {"where": [limit]}, catalog())
        table = here.table()
        assert sum(not here.beyond(table.design(index), None) for index in range(len(table))) == kept, limit
