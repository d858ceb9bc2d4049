"""The size of a space before the search, counted or estimated, and designs drawn from spaces that are too large to list."""

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest

from mist_dse.explore import Space
from mist_dse.explore.errors import LargeSpaceError
from mist_dse.explore.spaces import enumerate as enumeration, population, size
from mist_dse.perf.capacity import kv_blocks
from mist_dse.specs.evaluation import Infeasible
from tests.explore.spaces import catalog, packaged, space
from tests.explore.test_space_property import POOL

SKUS = ["h100_sxm", "h200", "b200", "a100_sxm_80gb", "l40s", "mi300x"]
HUGE: dict[str, Any] = {
    "base": {
        "pipeline": "rag_rewrite_rerank",
        "topology": "cluster_32x8",
        "services": {
            "text": {"hosts": ["tokenise", "detokenise"], "host": "xeon_8480_plus"},
            "embed": {"hosts": ["embed"], "model": "e5-base-v2", "accelerator": "l40s"},
            "index": {"hosts": ["retrieve"], "index": "wiki_ivfpq", "host": "xeon_8480_plus"},
            "rerank": {"hosts": ["rerank"], "model": "bge-reranker-v2-m3", "accelerator": "l40s"},
        },
        "pools": {
            "rewrite": POOL | {"hosts": ["rewrite"]},
            "prefill": POOL | {"hosts": ["prefill"], "model": "llama-3.1-70b", "tp": 8},
            "decode": POOL | {"hosts": ["decode"], "model": "llama-3.1-70b", "tp": 8},
        },
    },
    "vary": {
        "placement": "partitions",
        "handoff.mode": ["whole", "layerwise"],
        "stages.retrieve.documents": "1..16",
        "stages.rerank.keep": "1..5",
        "services.embed.accelerator": SKUS,
        "services.embed.replicas": "1..16",
        "services.embed.batch": "powers 1..128",
        "services.rerank.accelerator": SKUS,
        "services.rerank.replicas": "1..16",
        "services.rerank.batch": "powers 1..128",
        "services.index.sockets": "1..8",
        "services.index.index": ["wiki_ivfpq", "wiki_hnsw"],
        "services.index.replicas": "1..4",
        "pools.*.accelerator": SKUS,
        "pools.*.tp": "divisors",
        "pools.*.pp": [1, 2],
        "pools.*.replicas": "1..64",
        "pools.*.dtype": ["bf16", "fp8"],
        "pools.*.batching.max_num_seqs": "powers 1..1024",
        "pools.*.batching.max_num_batched_tokens": "powers 256..16384",
        "pools.*.batching.policy": ["chunked", "continuous", "prefill_first"],
        "pools.*.batching.packing": ["fcfs", "shortest", "least_work"],
        "pools.*.router": ["round_robin", "jsq", "random", "power_of_two"],
        "pools.decode.speculation.draft_tokens": "0..7",
        "pools.decode.speculation.acceptance": [0.6, 0.7, 0.8],
    },
    "where": ["accelerators <= 64", "usd_per_hour <= 150 USD/h"],
}


def book() -> Any:
    return catalog().prices("default")


def test_the_packaged_space_is_counted_without_being_listed() -> None:
    here = Space.from_yaml(packaged(), catalog())
    found, table = here.size(book()), here.table(book())
    assert (found.designs, found.interval) == (len(table), None)
    assert found.grid == 2 * 6 * 4 * 16 * 2 * 2 * 6 * 4 * 16 * 2
    fit = [not any(isinstance(kv_blocks(pool), Infeasible) for pool in table.design(at).pools) for at in range(0, len(table), 331)]
    assert found.fit == pytest.approx(np.mean(fit), abs=0.06)  # a thousand designs: 4 standard errors


def test_the_report_says_what_there_is_in_words() -> None:
    lines = str(
        space(
            vary={
                "placement": ["colocated", "disaggregated"],
                "pools.*.replicas": "1..9",
                "pools.decode.tp": "= min(pools.prefill.replicas, 2)",
                "pools.decode.dp": {"values": [1, 2], "when": "pools.decode.replicas > 1"},
            },
            where=["accelerators <= 20"],
        ).size()
    ).split("\n")
    # 9 colocated; with r prefill and s decode engines, r + s min(r, 2) dp <= 20: 17, 12, 11, 11, 9, 9, 8, 8, 6 for r = 1..9
    assert lines[0].startswith("100 designs within accelerators <= 20, 0.31 of a grid of 324; 100% of them fit their memory")
    assert "  pools.prefill.replicas  9: 1, 2, 3, 4, ..., 8, 9" in lines
    assert "  pools.decode.tp         = min(pools.prefill.replicas, 2)" in lines
    assert "  pools.decode.dp         2: 1, 2, when pools.decode.replicas > 1" in lines


@pytest.mark.parametrize("case", ["many sections", "large pools", "large sections", "all"])
def test_estimates_hold_the_exact_number(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 intervals of 95%, all but a few hold what was counted; the mean is nearer still."""
    here = space(
        vary={
            "placement": ["colocated", "disaggregated"],
            "handoff.mode": ["whole", "layerwise"],
            "pools.*.accelerator": ["h100_sxm", "l40s"],
            "pools.*.tp": [1, 2, 4],
            "pools.*.replicas": "1..6",
            "pools.prefill.batching.max_num_seqs": [32, 64, 128],
        },
        where=["accelerators <= 12", "usd_per_hour <= 25"],
    )
    exact = here.size(book())
    assert exact.designs == len(here.table(book()))
    if case in ("many sections", "all"):
        monkeypatch.setattr(size, "COUNTED", 1)
    if case in ("large pools", "all"):
        monkeypatch.setattr(enumeration, "MOST_CORES", 3)
        monkeypatch.setattr(population, "DRAWN", 300)
    if case in ("large sections", "all"):
        monkeypatch.setattr(size, "MOST_SUMS", 10)
    found = [here.size(book(), seed=seed) for seed in range(20)]
    assert all(each.interval is not None for each in found)
    assert np.mean([each.designs for each in found]) == pytest.approx(exact.designs, rel=0.1)
    assert np.mean([each.fit for each in found]) == pytest.approx(exact.fit, abs=0.05)
    if case in ("many sections", "large sections"):  # settings drawn for a pool add an error that the interval does not know
        assert sum(low <= exact.designs <= high for low, high in (each.interval for each in found if each.interval)) >= 16


def test_a_space_of_1e30_is_sized_and_drawn_from_by_construction() -> None:
    here = Space.from_dict(HUGE, catalog())
    started = time.process_time()
    found = here.size(book())
    assert 1e27 < found.designs < found.grid < 1e36
    assert found.grid > 1e32
    with pytest.raises(LargeSpaceError):
        here.table(book())
    drawn = here.sampled(60, np.random.default_rng(3), book())
    assert time.process_time() - started < 60
    designs = [here.design(values) for values in drawn]
    assert len({design.design_id for design in designs}) == 60
    for values, design in zip(drawn, designs, strict=True):
        assert here.completed(values) == values
        assert here.beyond(design, book()) == ()
        assert design.accelerators <= 64
    assert {values["placement"] for values in drawn} == {"disaggregated", "rewrite | prefill+decode"}


def test_draws_from_a_small_space_reach_every_design_about_equally_often() -> None:
    here = space(
        vary={"pools.prefill.tp": [1, 2], "pools.prefill.replicas": "1..4", "pools.decode.replicas": "1..3"}, where=["accelerators <= 6"]
    )
    table = here.table(book())
    every = {table.design(at).design_id for at in range(len(table))}
    assert {here.design(values).design_id for values in here.sampled(1000, np.random.default_rng(0), book())} == every
    rng = np.random.default_rng(1)
    counts = Counter(here.design(here.sampled(1, rng, book())[0]).design_id for _ in range(25 * len(every)))
    assert min(counts[each] for each in every) > 5
    assert max(counts.values()) < 75


def test_one_seed_draws_the_same_designs() -> None:
    here = space()
    assert here.sampled(20, np.random.default_rng(5), book()) == here.sampled(20, np.random.default_rng(5), book())
