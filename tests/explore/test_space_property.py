"""Random small spaces: what is listed is what brute force over every combination of values finds, each design once."""

import itertools
import random
from typing import Any

import numpy as np
import pytest

from mist_dse.explore import Space
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.spaces.placements import crossing
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.stages.handoff import mismatch
from tests.explore.spaces import catalog

POOL = {"model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm"}
CHAT: dict[str, Any] = {
    "topology": "hgx_pair",
    "pools": {"prefill": POOL | {"hosts": ["prefill"]}, "decode": POOL | {"hosts": ["decode"]}},
    "handoff": {"from": "prefill", "to": "decode", "mode": "layerwise"},
}
GUARDED: dict[str, Any] = {
    "pipeline": "guarded_chat",
    "topology": "hgx_pair",
    "pools": {"serve": POOL | {"hosts": ["prefill", "decode"], "replicas": 2},
              "guard": POOL | {"hosts": ["input_guard", "output_guard"], "replicas": 2}},
}  # fmt: skip
RAG: dict[str, Any] = {
    "pipeline": "rag_chat",
    "topology": "hgx_pair",
    "services": {"embed": {"hosts": ["embed"], "model": "e5-base-v2", "accelerator": "l40s"},
                 "index": {"hosts": ["retrieve"], "index": "wiki_ivfpq", "host": "xeon_8480_plus"}},
    "pools": {"serve": POOL | {"hosts": ["prefill", "decode"], "replicas": 2}},
}  # fmt: skip
PARTS: dict[str, tuple[dict[str, Any], dict[str, list[Any]], list[str]]] = {
    "chat": (
        CHAT,
        {
            "placement": ["partitions", ["colocated", "disaggregated"]],
            "handoff.mode": [["whole", "layerwise"]],
            "handoff.groups": [[1, 2], "= min(pools.prefill.replicas, 2)"],
            "pools.*.accelerator": [["h100_sxm", "l40s"]],
            "pools.decode.accelerator": ["= pools.prefill.accelerator"],
            "pools.*.tp": [[1, 2], "divisors", {"values": [1, 2], "when": "pools.prefill.replicas > 1"}],
            "pools.decode.tp": ["= pools.prefill.tp", {"values": [1, 4], "when": "placement == disaggregated"}],
            "pools.prefill.replicas": ["1..2", "= 4 // pools.prefill.tp", {"values": [1, 2], "when": "pools.prefill.accelerator == l40s"}],
            "pools.decode.replicas": ["1..3", "= 2 * pools.prefill.replicas", "= 3 - pools.prefill.replicas"],
            "pools.prefill.dp": [[1, 2]],
            "pools.prefill.ep": [[1, 2]],
            "pools.*.router": [["jsq", "round_robin", "heavy_light"]],
            "pools.*.routing.heavy_share": [[0.25, 0.5]],
            "pools.prefill.routing.guard": [[1.1, 2.0]],
            "pools.*.dtype": [["bf16", "fp8"]],
            "pools.prefill.dtype.weight": [["bf16", "fp8"]],
            "pools.decode.batching.policy": [["chunked", "static"]],
            "pools.decode.batching.prefix_caching": [[False, True]],
            "pools.decode.speculation.draft_tokens": [[0, 3]],
            "pools.decode.speculation.acceptance": [[0.6, 0.8]],
        },
        ["accelerators <= 5", "usd_per_hour <= 20", "accelerators.l40s <= 2", "pools.prefill.accelerators <= pools.decode.accelerators",
         "accelerators >= 2", "tdp <= 3 kW", "pools.prefill.usd_per_hour <= 8 USD/h", "nodes <= 1"],
    ),
    "guarded": (
        GUARDED,
        {
            "placement": ["partitions", ["colocated", "prefill+decode | input_guard+output_guard"]],
            "pools.guard.beside": [["none", "serve"], "serve"],
            "pools.*.tp": [[1, 2]],
            "pools.*.replicas": ["1..2"],
            "pools.guard.accelerator": [["h100_sxm", "l40s"]],
            "pools.guard.model": [["llama-3.1-8b", "llama-3.2-1b"]],
            "stages.output_guard.every": [[64, 128]],
            "pools.serve.at.node": [[0, 1]],
        },
        ["accelerators <= 4", "accelerators.l40s <= 1", "pools.guard.accelerators <= 1", "nodes <= 1"],
    ),
    "rag": (
        RAG,
        {
            "stages.retrieve.documents": [[2, 5]],
            "services.embed.accelerator": [["l40s", "none", "h100_sxm"]],
            "services.embed.host": [{"values": ["xeon_8480_plus"], "when": "services.embed.accelerator == none"}],
            "services.embed.replicas": ["1..2", "= pools.serve.replicas"],
            "services.embed.batch": [[1, 8]],
            "services.embed.wait": [["0 ms", "2 ms", "0.002 s"]],
            "services.index.index": [["wiki_ivfpq", "wiki_hnsw"]],
            "services.index.index.rerank": [[0, 50]],
            "services.index.sockets": [[1, 2], "= services.embed.batch"],
            "pools.serve.replicas": ["1..3"],
            "pools.serve.router": [["jsq", "random"]],
        },
        ["accelerators <= 3", "accelerators.l40s <= 1", "usd_per_hour <= 12", "sockets <= 1", "services.embed.accelerators <= 1",
         "services.index.sockets <= 0.5 * accelerators"],
    ),
}  # fmt: skip


def book() -> Any:
    return catalog().prices("default")


def random_space(seed: int) -> Space:
    """The first space that can be, of those drawn from ``seed``."""
    draw = random.Random(seed)
    while True:
        base, fields, limits = PARTS[draw.choice(list(PARTS))]
        chosen = draw.sample(list(fields), draw.randint(2, 5))
        vary = {path: draw.choice(fields[path]) for path in fields if path in chosen}
        where = draw.sample(limits, draw.choice((0, 1, 2)))
        try:
            space = Space.from_dict({"base": base, "vary": vary, "where": where}, catalog())
        except SpaceError:  # a condition or formula over what is not varied, or that can never be
            continue
        if np.prod([len(item.values) for item in space.free]) <= 2000:
            return space


def stands(design: Design) -> bool:
    """What is checked only when a design is put together with its neighbours."""
    for source, target in crossing(design):
        ends = design.pool(source), design.pool(target)
        groups = design.handoff.groups if design.handoff is not None and design.handoff.source == source else 1
        if mismatch(*ends) is not None or groups > min(pool.replicas for pool in ends):
            return False
    return True


def brute_force(space: Space) -> set[str]:
    found = set()
    free = [item for item in space.variables if item.formula is None]
    for combination in itertools.product(*(item.values for item in free)):
        values = {item.path: value for item, value in zip(free, combination, strict=True)}
        try:
            design = space.design(values)
        except SpecError:
            continue
        if stands(design) and not space.beyond(design, book()):
            found.add(design.design_id)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_listing_equals_brute_force(seed: int) -> None:
    space = random_space(seed)
    try:
        table = space.table(book())
    except (EmptySpaceError, SpaceError):
        assert brute_force(space) == set()
        return
    designs = [table.design(index) for index in range(len(table))]
    listed = [design.design_id for design in designs]
    assert len(set(listed)) == len(listed)
    exact = {design.design_id for design in designs if not space.beyond(design, book())}
    assert exact == brute_force(space)
    if not any(limit.quantity.startswith("nodes") for limit in space.where):
        assert len(exact) == len(listed)
    for index in range(0, len(table), 7):
        values = table.values(index)
        assert space.design(values).design_id == listed[index]
        assert space.completed(values) == values
        assert {path: column[0] for path, column in table.columns(space.paths, index, index + 1).items() if column[0] is not None} == values
    assert space.size(book()).designs == len(table)
