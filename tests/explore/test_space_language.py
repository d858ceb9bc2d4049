"""The language of spaces: conditions, formulas, placements, budgets, and every field of a design, against designs listed by hand."""

from collections import Counter
from typing import Any

import pandas as pd
import pytest

from mist_dse.explore import Space, SpaceError, sweep
from mist_dse.explore.errors import EmptySpaceError
from mist_dse.explore.spaces.placements import placements
from mist_dse.perf.network import nodes_of, placements as stands
from mist_dse.perf.price import usd_per_hour
from mist_dse.requests import realise
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.stages import lower
from tests.explore.spaces import BASE, VARY, catalog, space, workload
from tests.explore.test_space_mistakes import TIERS
from tests.explore.test_space_property import CHAT, GUARDED, POOL, RAG


def made(base: dict[str, Any], vary: dict[str, Any], where: list[str] | None = None) -> Space:
    return Space.from_dict({"base": base, "vary": vary, "where": where or []}, catalog())


def listed(here: Space) -> list[tuple[dict[str, Any], Design]]:
    table = here.table(catalog().prices("default"))
    return [(table.values(index), table.design(index)) for index in range(len(table))]


def test_a_condition_leaves_its_variable_out_elsewhere() -> None:
    here = made(
        CHAT,
        {
            "placement": ["colocated", "disaggregated"],
            "pools.prefill.tp": {"values": [1, 2, 4], "when": "placement == disaggregated"},
            "pools.decode.dp": {"values": [1, 2], "when": "pools.prefill.tp in [1, 2] and not placement == colocated"},
        },
    )
    found = Counter((values["placement"], values.get("pools.prefill.tp"), values.get("pools.decode.dp")) for values, _ in listed(here))
    expected = [("colocated", None, None), *(("disaggregated", tp, dp) for tp in (1, 2) for dp in (1, 2)), ("disaggregated", 4, None)]
    assert found == Counter(expected)
    table = here.table()
    column = table.columns(here.paths, 0, len(table))["pools.decode.dp"]
    assert [value for value in column if value is not None] == [1, 2, 1, 2]


def test_a_condition_on_an_entry_and_on_replicas() -> None:
    here = made(
        CHAT,
        {
            "pools.prefill.accelerator": ["h100_sxm", "l40s"],
            "pools.prefill.replicas": "1..3",
            "pools.prefill.tp": {"values": [2, 4], "when": "pools.prefill.accelerator in [l40s]"},
            "pools.prefill.batching.packing": {"values": ["fcfs", "shortest"], "when": "pools.prefill.replicas >= 3"},
        },
    )
    found = Counter(
        (pool.accelerator.name, pool.parallelism.tp, pool.replicas, pool.batching.packing) for pool in (d.pools[0] for _, d in listed(here))
    )
    each = [("h100_sxm", 1), ("l40s", 2), ("l40s", 4)]
    expected = [(*one, replicas, "fcfs") for one in each for replicas in (1, 2, 3)] + [(*one, 3, "shortest") for one in each]
    assert found == Counter(expected)


def test_a_formula_follows_other_variables_across_pools_and_is_shown() -> None:
    here = made(
        CHAT,
        {
            "pools.prefill.tp": [1, 2],
            "pools.decode.tp": "= pools.prefill.tp",
            "pools.prefill.replicas": "1..2",
            "pools.decode.replicas": "= 2 * pools.prefill.replicas + 1",
            "pools.*.accelerator": ["h100_sxm", "l40s"],
            "pools.decode.accelerator": "= pools.prefill.accelerator",
        },
    )
    found = listed(here)
    assert len(found) == 2 * 2 * 2
    for values, design in found:
        one, two = design.pools
        assert (two.parallelism.tp, two.replicas, two.accelerator) == (one.parallelism.tp, 2 * one.replicas + 1, one.accelerator)
        assert values["pools.decode.replicas"] == two.replicas
        assert values["pools.decode.accelerator"] == two.accelerator.name
    given = {item.path: found[0][0][item.path] for item in here.free}
    assert here.completed(given) == found[0][0]


def test_a_formula_that_comes_to_no_whole_number_is_no_design() -> None:
    here = made(CHAT, {"pools.prefill.tp": [1, 2, 4], "pools.prefill.replicas": "= 6 / pools.prefill.tp"})
    assert sorted((d.pools[0].parallelism.tp, d.pools[0].replicas) for _, d in listed(here)) == [(1, 6), (2, 3)]
    with pytest.raises(ValueError, match=r"pools.prefill.replicas: '= 6 / pools.prefill.tp' is 1.5 at pools.prefill.tp 4"):
        here.design({"pools.prefill.tp": 4})


def test_partitions_of_five_pools_of_one_model() -> None:
    """Bell(5) = 52 and 2^4 = 16 (OEIS A000110; compositions of 5)."""
    stages = ["rewrite", "prefill", "decode", "input_guard", "output_guard"]
    kinds = {"rewrite": "rewrite", "prefill": "prefill", "decode": "decode", "input_guard": "guard", "output_guard": "guard"}
    base = _chain([(name, kinds[name]) for name in stages])
    for word, number in (("partitions", 52), ("contiguous", 16)):
        names, designs = placements(word, base, "vary.placement")
        assert len(set(names)) == len(names) == number
        for design in designs:
            assert sorted(stage for pool in design.pools for stage in pool.stages) == sorted(stages)
    assert placements("partitions", base, "")[0][0] == "colocated"
    assert placements("partitions", base, "")[0][-1] == "disaggregated"


def _chain(stages: list[tuple[str, str]]) -> Design:
    known = Space.from_dict({"base": BASE, "vary": {"pools.prefill.tp": [1]}}, catalog()).base
    made_of = [Stage(name=name, kind=kind, after=(stages[at - 1][0],) if at else ()) for at, (name, kind) in enumerate(stages)]
    one = known.pools[0]
    pools = [
        Pool(name=f"pool_{name}", stages=(name,), model=one.model, accelerator=one.accelerator, engine=one.engine) for name, _ in stages
    ]
    return Design(pipeline=Pipeline(name="chain", stages=tuple(made_of)), topology=known.topology, pools=tuple(pools))


def test_only_pools_of_one_model_merge_and_the_hand_off_follows() -> None:
    base = GUARDED | {
        "pools": {
            "prefill": POOL | {"hosts": ["prefill"]},
            "decode": POOL | {"hosts": ["decode"]},
            "guard": POOL | {"hosts": ["input_guard", "output_guard"], "model": "llama-3.2-1b"},
        },
        "handoff": {"from": "prefill", "to": "decode", "mode": "whole"},
    }
    here = made(base, {"placement": "partitions"})
    found = {values["placement"]: design for values, design in listed(here)}
    assert set(found) == {"prefill+decode | input_guard+output_guard", "disaggregated"}
    assert found["disaggregated"].handoff.mode == "whole"
    assert found["prefill+decode | input_guard+output_guard"].handoff is None
    swapped = made(
        CHAT | {"pipeline": "guarded_chat", "pools": CHAT["pools"] | {"guard": POOL | {"hosts": ["input_guard", "output_guard"]}}},
        {"placement": ["prefill+output_guard | decode | input_guard"]},
    )
    ((_, design),) = listed(swapped)
    assert {pool.name: pool.stages for pool in design.pools} == {
        "prefill": ("prefill", "output_guard"),
        "decode": ("decode",),
        "guard": ("input_guard",),
    }
    assert (design.handoff.source, design.handoff.target) == ("prefill", "decode")


def test_a_pool_beside_another_has_its_devices_and_costs_none() -> None:
    here = made(
        GUARDED,
        {
            "pools.guard.beside": ["none", "serve"],
            "pools.*.accelerator": ["h100_sxm", "l40s"],
            "pools.*.tp": [1, 2],
            "pools.*.replicas": "1..2",
        },
        ["accelerators <= 2"],
    )
    found = listed(here)
    beside = [(values, design) for values, design in found if values["pools.guard.beside"] == "serve"]
    assert len(beside) == 2 * 3  # serve alone counts: tp x replicas of 1 x 1, 1 x 2 and 2 x 1, on two kinds
    for values, design in beside:
        serve, guard = design.pools
        assert (guard.accelerator, guard.parallelism, guard.replicas, guard.devices) == (
            serve.accelerator,
            serve.parallelism,
            serve.replicas,
            0,
        )
        assert not {path for path in values if path.startswith("pools.guard.")} - {"pools.guard.beside"}
    assert len(found) - len(beside) == 4  # each of both on either kind, one device each


def test_what_has_no_meaning_is_left_out_and_listed_once() -> None:
    vary = {
        "pools.decode.replicas": [1, 2],
        "pools.decode.router": ["jsq", "heavy_light", "prefix_affinity"],
        "pools.decode.routing.heavy_share": [0.25, 0.5],
        "pools.decode.routing.guard": [1.1, 2.0, 4.0],
        "pools.decode.speculation.draft_tokens": [0, 2],
        "pools.decode.speculation.acceptance": [0.6, 0.8],
    }
    found = listed(made(CHAT, vary))
    assert len(found) == (1 + 1 + 2 + 3) * (1 + 2)  # one rank: no router; two: jsq, heavy_light x 2, prefix_affinity x 3; no draft, or two
    assert len({design.design_id for _, design in found}) == len(found)
    for values, design in found:
        pool = design.pool("decode")
        assert ("pools.decode.router" in values) == (pool.replicas > 1)
        assert ("pools.decode.routing.heavy_share" in values) == (pool.router == "heavy_light")
        assert ("pools.decode.speculation.acceptance" in values) == (pool.speculation is not None)


def test_values_that_mean_the_same_are_one() -> None:
    here = made(
        TIERS, {"services.cache.tiers.dram.capacity": ["1 GB", "1000 MB", "2 GB", 2e9], "pools.serve.accelerator": ["h100_sxm", "H100-SXM"]}
    )
    assert [item.values for item in here.variables] == [("1 GB", "2 GB"), ("h100_sxm",)]
    both = made(
        CHAT, {"pools.decode.dtype": ["bf16", "fp8"], "pools.decode.dtype.weight": ["bf16", "fp8"], "pools.prefill.dtype": ["bf16", "fp8"]}
    )
    ids = [design.design_id for _, design in listed(both)]
    assert len(set(ids)) == len(ids) == 4


def test_every_field_of_a_pool_can_vary() -> None:
    vary = {
        "model": ["llama-3.1-8b", "llama-3.2-3b"],
        "accelerator": ["h100_sxm", "l40s"],
        "engine": ["vllm", "sglang"],
        "dtype": ["bf16", "fp8"],
        "tp": [1, 2],
        "pp": [1, 2],
        "dp": [1, 2],
        "cp": [1, 2],
        "batching.policy": ["chunked", "static"],
        "batching.max_num_seqs": [32, 64],
        "batching.max_num_batched_tokens": [2048, 4096],
        "batching.long_prefill_threshold": [0, 512],
        "batching.packing": ["fcfs", "shortest"],
        "batching.prefix_caching": [False, True],
        "router": ["jsq", "random"],
        "routing.slack": [4, 8],
        "routing.heavy_tokens": [512, 2048],
        "speculation.draft_tokens": [0, 3],
        "at.node": [0, 1],
        "at.rack": [0, 1],
        "replicas": [2, 3],
    }
    pool = POOL | {"hosts": ["prefill", "decode"], "speculation": {"draft_tokens": 2, "acceptance": 0.7}, "replicas": 2}
    for field, values in vary.items():
        router = {"routing.slack": "prefix_affinity", "routing.heavy_tokens": "heavy_light"}.get(field, "jsq")
        topology = "cluster_32x8" if field == "at.rack" else "hgx_pair"
        base = {"topology": topology, "pools": {"serve": pool | {"router": router}}}
        found = listed(made(base, {f"pools.serve.{field}": values}))
        assert len({design.design_id for _, design in found}) == 2, field


def test_every_field_of_a_service_can_vary() -> None:
    embed = {
        "model": ["e5-base-v2", "bge-reranker-v2-m3"],
        "accelerator": ["l40s", "h100_sxm"],
        "dtype": ["bf16", "fp8"],
        "replicas": [1, 2],
        "batch": [1, 4],
        "wait": ["0 s", "2 ms"],
        "at.node": [0, 1],
    }
    index = {
        "index": ["wiki_ivfpq", "wiki_hnsw"],
        "host": ["xeon_8480_plus", "epyc_9654"],
        "sockets": [1, 2],
        "replicas": [1, 2],
        "index.n_probe": [16, 64],
        "index.rerank": [0, 100],
    }
    dram = {
        "tier": ["host_dram_to_gpu_over_pcie5_x16", "nvme_gen5_x4"],
        "capacity": ["1 GB", "64 GB"],
        "scope": ["node", "shared"],
        "resident": [False, True],
        "host_memory": ["none", True],
    }
    asked = [(RAG, f"services.embed.{field}", values) for field, values in embed.items()]
    asked += [(RAG, f"services.index.{field}", values) for field, values in index.items()]
    asked += [(TIERS, f"services.cache.tiers.dram.{field}", values) for field, values in dram.items()]
    for base, path, values in asked:
        found = listed(made(base, {path: values}))
        assert len({design.design_id for _, design in found}) == 2, path


def test_stage_options_repeats_and_hand_off_groups_vary() -> None:
    (_, few), (_, many) = listed(made(RAG, {"stages.retrieve.documents": [2, 8]}))
    assert [dict(design.pipeline.stage("retrieve").options)["documents"] for design in (few, many)] == [2, 8]
    requests = realise(workload(20))
    longer = [lower(design, requests).jobs.prompt.sum() for design in (few, many)]
    assert longer[1] - longer[0] == 20 * 6 * 100  # six documents more of 100 tokens each in every prompt
    here = made("reasoning_multi_path", {"repeats.paths.count": [2, 4]})
    assert [design.pipeline.repeats[0].count for _, design in listed(here)] == [2, 4]
    groups = made(CHAT, {"handoff.groups": [1, 2], "pools.*.replicas": "1..2", "handoff.mode": ["whole", "layerwise"]})
    found = Counter((d.handoff.groups, d.handoff.mode, *(pool.replicas for pool in d.pools)) for _, d in listed(groups))
    alone = [(1, mode, one, two) for mode in ("whole", "layerwise") for one in (1, 2) for two in (1, 2)]
    assert found == Counter([*alone, (2, "whole", 2, 2), (2, "layerwise", 2, 2)])


def test_budgets_of_kinds_parts_and_sums() -> None:
    def amounts(limit: str) -> set[tuple[Any, ...]]:
        return {tuple((pool.accelerator.name, pool.devices) for pool in design.pools) for _, design in listed(space(where=[limit]))}

    everything = {tuple((pool.accelerator.name, pool.devices) for pool in design.pools) for _, design in listed(space(where=[]))}

    def total(pools: tuple[Any, ...], kind: str = "") -> int:
        return sum(devices for name, devices in pools if kind in ("", name))

    assert amounts("accelerators.h100_sxm <= 2") == {one for one in everything if total(one, "h100_sxm") <= 2}
    assert amounts("accelerators.h100_sxm + 2 * accelerators.l40s < 6") == {
        one for one in everything if total(one, "h100_sxm") + 2 * total(one, "l40s") < 6
    }
    assert amounts("pools.prefill.accelerators <= 0.5 * accelerators") == {one for one in everything if one[0][1] <= 0.5 * total(one)}
    tdp = {name: catalog().accelerator(name).tdp for name in ("h100_sxm", "l40s")}
    assert amounts("tdp <= 2 kW") == {one for one in everything if sum(tdp[name] * devices for name, devices in one) <= 2000}
    usd = {name: catalog().prices("default").usd_per_hour(name) for name in tdp}
    assert amounts("pools.prefill.usd_per_hour >= 4 USD/h") == {one for one in everything if usd[one[0][0]] * one[0][1] >= 4}


def test_services_count_exactly_in_every_budget() -> None:
    vary = {
        "services.embed.replicas": "1..4",
        "services.embed.accelerator": ["l40s", "h100_sxm"],
        "services.index.sockets": "1..4",
        "pools.serve.replicas": "1..4",
    }
    everything = listed(made(RAG, vary))
    assert len(everything) == 4 * 2 * 4 * 4
    book = catalog().prices("default")
    for limit, kept in (
        ("accelerators <= 5", lambda d: d.accelerators <= 5),
        ("accelerators.l40s <= 2", lambda d: sum(h.devices for h in d.hosts if h.accelerator and h.accelerator.name == "l40s") <= 2),
        ("services.embed.accelerators <= 1", lambda d: d.services[0].devices <= 1),
        ("sockets <= 2", lambda d: d.services[1].sockets <= 2),
        ("usd_per_hour <= 9 USD/h", lambda d: usd_per_hour(d, book) <= 9),
        ("services.index.sockets <= 0.5 * accelerators", lambda d: d.services[1].sockets <= 0.5 * d.accelerators),
    ):
        found = {design.design_id for _, design in listed(made(RAG, vary, [limit]))}
        assert found == {design.design_id for _, design in everything if kept(design)}, limit
        assert 0 < len(found) < len(everything)


def test_a_limit_on_nodes_is_exact_before_a_design_is_simulated() -> None:
    here = space(where=["nodes <= 1"])
    for _, design in listed(space(where=[])):
        used = {node for place in stands(design) for node in nodes_of(place, design.topology)}
        assert (here.beyond(design, catalog().prices("default")) == ()) == (len(used) <= 1)


def test_a_static_constraint_joins_the_limits() -> None:
    here = space(where=[], constraints=["accelerators.l40s <= 1", "accelerators <= 3", "tpot_p90 <= 60 ms"])
    assert [str(limit) for limit in here.where] == ["accelerators.l40s <= 1"]
    assert here.constraints == ("accelerators <= 3", "tpot_p90 <= 60 ms")


def test_up_to_five_objectives_over_any_metric() -> None:
    texts = ["min usd_per_mtok", "max goodput_rps", "min tpot_p99", "max slo_attainment", "min joules_per_token"]
    assert [str(goal) for goal in space(objectives=texts).objectives] == texts


def test_sections_that_cannot_stand_are_left_out() -> None:
    here = made(GUARDED, {"pools.guard.beside": ["none", "serve"], "placement": ["colocated", "disaggregated"]})
    assert {(values["placement"], values.get("pools.guard.beside")) for values, _ in listed(here)} == {
        ("colocated", None),
        ("disaggregated", "none"),
        ("disaggregated", "serve"),
    }
    with pytest.raises(EmptySpaceError, match=r"pools.prefill.accelerators \+ accelerators >= 99 removes every design"):
        listed(space(vary=VARY, where=["pools.prefill.accelerators + accelerators >= 99", "accelerators <= 3"]))
    with pytest.raises(SpaceError, match="no valid setting"):
        listed(
            made(
                CHAT, {"pools.decode.tp": {"values": [2], "when": "pools.prefill.tp == 1"}, "pools.prefill.tp": [1], "pools.decode.ep": [3]}
            )
        )


def test_values_of_two_types_are_text_in_results_and_mean_what_they_say() -> None:
    here = made(RAG, {"services.index.index.imbalance": ["none", 1.3], "services.embed.wait": [0, "2 ms"]})
    assert [item.values for item in here.variables] == [("0", "2 ms"), ("none", "1.3")]
    found = {(design.services[0].wait, design.services[1].index.imbalance) for _, design in listed(here)}
    assert found == {(wait, imbalance) for wait in (0, 0.002) for imbalance in (None, 1.3)}


def test_a_sampler_of_optunas_stays_among_the_listed_designs_and_results_keep_their_types() -> None:
    here = Space.from_dict(
        {
            "base": CHAT,
            "vary": {
                "placement": "partitions",
                "pools.*.replicas": "1..2",
                "pools.prefill.router": ["jsq", "heavy_light"],
                "pools.prefill.routing.heavy_share": [0.25, 0.5],
                "pools.decode.tp": "= min(2, 2 * pools.prefill.replicas)",
                "pools.decode.batching.prefix_caching": [False, True],
                "pools.decode.dp": {"values": [1, 2], "when": "placement == disaggregated"},
            },
            "where": ["accelerators <= 8"],
            "objectives": ["min usd_per_hour", "min ttft_p90"],
        },
        catalog(),
    )
    results = sweep(here, workload(40), executor="serial", sampler="nsga2", evaluations=16).results
    values = {design.design_id: values for values, design in listed(here)}
    assert len(results) == 16
    for row in results.to_dict("records"):
        assert {path: row[path] for path in here.paths if not pd.isna(row[path])} == values[row["design_id"]]
    assert str(results["pools.decode.batching.prefix_caching"].dtype) == "boolean"
    assert results["pools.prefill.routing.heavy_share"].dropna().isin([0.25, 0.5]).all()
