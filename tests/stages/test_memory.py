"""Memory that several share, and what does not fit: engines beside one another, resident tiers, encoders, links on the way."""

import math
from dataclasses import replace
from typing import Any

import pytest

from mist_dse.catalog import Catalog, build_design
from mist_dse.explore import Space
from mist_dse.perf.capacity import kv_blocks
from mist_dse.perf.load import stage_weight_bytes
from mist_dse.perf.network import Placement, route
from mist_dse.requests import realise
from mist_dse.rows import Station
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Link, Topology, TopologyTier
from mist_dse.stages import Lowered, lower
from tests.stages.pipelines import asked

CATALOG = Catalog()
LARGE = {"hosts": ["large_prefill", "large_decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "generic"}
SMALL = {"hosts": ["small_prefill", "small_decode"], "model": "llama-3.2-3b", "accelerator": "h100_sxm", "engine": "generic"}


def routed(**small: Any) -> Design:
    """Two models behind a router."""
    services = {"route": {"hosts": ["route"], "model": "e5-base-v2", "host": "xeon_8480_plus"}}
    data = {"pipeline": "model_router", "topology": "node_1", "services": services, "pools": {"large": LARGE, "small": SMALL | small}}
    return build_design(data, CATALOG)


def lowered(design: Design) -> Lowered:
    found = lower(design, asked(100, 10, count=4))
    assert isinstance(found, Lowered), found
    return found


def test_two_models_on_one_device_leave_each_half_of_what_their_weights_leave() -> None:
    """Bytes by hand: the memory less the engine's reserve and both models' weights, in two equal parts, in whole blocks of each."""
    design = routed(beside="large")
    large, small = design.pools
    usable = large.accelerator.visible_memory or 0.95 * large.accelerator.memory
    weights = sum(stage_weight_bytes(pool.model, pool.parallelism, pool.dtypes) for pool in design.pools)
    left = large.engine.memory_fraction * usable - weights - large.engine.reserve
    engines = lowered(design).servers.engines
    per_token = {large.name: 131_072, small.name: 2 * 28 * 8 * 128 * 2}
    for pool, engine in zip(design.pools, engines, strict=True):
        assert engine.blocks == math.floor(left / 2 / (16 * per_token[pool.name]))
    alone = lowered(routed()).servers.engines
    assert alone[0].blocks == kv_blocks(large)
    assert (engines[0].device, engines[1].device, alone[0].device) == (0, 0, -1)


def test_resident_blocks_are_taken_from_the_engines() -> None:
    """20 GB of resident blocks are 20 GB less for the engine's own."""
    tiers = {"hbm": {"tier": "hbm_on_h100", "capacity": "20 GB", "resident": True}}
    data = {
        "pipeline": "kv_retrieval_chat", "topology": "node_1", "services": {"cache": {"hosts": ["fetch", "store"], "tiers": tiers}},
        "pools": {"serve": {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "generic"}},
    }  # fmt: skip
    design = build_design(data, CATALOG)
    requests = realise(CATALOG.workload("sessions", requests=20))
    found = lower(design, requests)
    assert isinstance(found, Lowered)
    whole = kv_blocks(design.pools[0])
    assert isinstance(whole, int)
    assert whole - found.servers.engines[0].blocks == pytest.approx(20e9 / (16 * 131_072), abs=1)
    tiers["hbm"]["capacity"] = "256 TB"
    assert isinstance(lower(build_design(data, CATALOG), requests), Infeasible)


def test_an_encoder_that_does_not_fit_is_infeasible_by_its_missing_bytes() -> None:
    design = CATALOG.design("rag_chat")
    large = replace(design.services[0], model=CATALOG.model("llama-3.1-70b"), host=None, accelerator=CATALOG.accelerator("l40s"))
    found = lower(replace(design, topology=CATALOG.topology("hgx_pair"), services=(large, *design.services[1:])), asked(100, 10, count=4))
    assert isinstance(found, Infeasible)
    assert (found.kind, "the weights of llama-3.1-70b are" in found.constraint) == ("memory", True)


def test_queries_of_one_request_take_a_thread_each() -> None:
    """Four queries of one request on idle cores take as long as one, and move four times the bytes."""

    def station(queries: int) -> tuple[Station, float]:
        design = CATALOG.design("rag_chat")
        stages = tuple(
            replace(stage, options=(*stage.options, ("queries", queries))) if stage.kind == "retrieve" else stage
            for stage in design.pipeline.stages
        )
        found = lowered(replace(design, pipeline=replace(design.pipeline, stages=stages)))
        number = found.servers.names.index("index")
        return found.servers.stations[number - len(found.servers.engines)], float(found.jobs.work[found.jobs.server == number][0])

    (one, single), (four, fourfold) = station(1), station(4)
    assert fourfold == pytest.approx(4 * single)
    assert fourfold / min(four.cap, four.rate) == pytest.approx(max(single / one.cap, 4 * single / one.rate))


def test_a_transfer_takes_the_narrowest_link_on_its_way() -> None:
    """Racks of slow, shared links below a fast cluster: from rack to rack it is no faster than inside one."""
    slow = Link(name="slow", kind="scale-out", bandwidth=10e9, latency=1e-6, efficiency=1.0)
    fast = Link(name="fast", kind="scale-out", bandwidth=50e9, latency=1e-6, efficiency=1.0)
    tiers = (TopologyTier(name="node", size=8), TopologyTier(name="rack", size=16, link=slow, oversubscription=4.0),
             TopologyTier(name="cluster", size=32, link=fast))  # fmt: skip
    design = replace(CATALOG.design("disagg_2x4", accelerator="h100_sxm"), topology=Topology(name="racks", tiers=tiers))
    inside = route(design, Placement("prefill", 0, 8), Placement("decode", 8, 16))
    across = route(design, Placement("prefill", 0, 8), Placement("decode", 16, 24))
    assert (across.cap, across.rate) == (inside.cap, inside.rate) == (4 * 10e9, 4 * 10e9 * 2 / 4)


def test_pools_that_hand_nothing_over_may_have_different_models() -> None:
    """A rewriter of 8B and an answer of 70B: every value of the space is a design."""
    data = {"base": "rag_rewrite_rerank", "vary": {"pools.serve.replicas": [1, 2]}, "objectives": ["min usd_per_hour", "min ttft_mean"]}
    assert len(Space.from_dict(data, CATALOG).table()) == 2


@pytest.mark.parametrize("kind", ["prefill", "kv_fetch"])
def test_joins_stand_where_one_visit_waits(kind: str) -> None:
    design = CATALOG.design("reasoning_multi_path")
    stages = tuple(
        replace(stage, join="first", after=("think",), kind=kind, options=()) if stage.name == "judge" else stage
        for stage in design.pipeline.stages
    )
    with pytest.raises(SpecError, match=f"is of kind {kind} and waits for all that comes before it"):
        lower(replace(design, pipeline=replace(design.pipeline, stages=stages)), asked(100, 10, count=4))


def test_a_tier_says_whether_it_is_host_memory() -> None:
    """Host memory over PCIe is catalogued by device; a design says where it is, and its link then draws on the node beside a scan."""
    base = CATALOG.design("kv_retrieval_chat")
    cache = base.services[0]
    assert [tier.draws_on_host for tier in cache.tiers] == [True, False]
    assert not replace(cache.tiers[0], host_memory=None).draws_on_host
