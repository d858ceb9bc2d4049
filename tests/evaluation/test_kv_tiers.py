"""Router and KV tiers decided together: eight engines on the Mooncake conversation trace (FAST'25 release).

The counts of blocks are those of `tests/oracles/test_mooncake.py`, counted apart from this package; here they must come out behind a
design that is lowered and simulated. With a tier of its own each engine finds most where one conversation stays with one engine.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.explore import Space, sweep
from mist_dse.explore.spaces.variables import variables
from mist_dse.perf.tiers import block_bytes
from mist_dse.requests import realise
from mist_dse.requests.reuse import by_session, round_robin
from mist_dse.rows import Ints, Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Datatypes, Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.service import KvTier
from mist_dse.specs.workload import Arrivals, Workload
from mist_dse.stages import Lowered, lower

DATA = os.environ.get("MIST_DSE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MIST_DSE_DATA is unset: the published traces are not at hand")

TRACE = Workload(
    name="mooncake", arrivals=Arrivals(kind="trace", path=str(Path(DATA or "") / "traces" / "mooncake" / "conversation_trace.jsonl.gz"))
)
REFERENCES = 288_500
TOKENS = 512
"""Of a block that the trace names."""

BLOCK = 64 * 2**20
"""Bytes of its KV cache: 2 x 32 layers x 8 heads x 128 values x 2 bytes for each token."""

ENDLESS = 2**40
"""Blocks of a tier that keeps everything."""

SECONDS = 5.0
"""Most that the evaluation of one design may take once the simulator is compiled."""


def eight(router: str, *blocks: int) -> Design:
    """The packaged design on eight engines, with a tier of so many blocks in each engine's host and a pool of all behind it."""
    base = md.load_design("kv_retrieval_chat")
    cache = base.services[0]
    near, far = cache.tiers[0].tier, Catalog().tier("rdma_400_gbe_or_infiniband")
    tiers = [KvTier(name="own", tier=near, capacity=blocks[0] * BLOCK)]
    tiers += [KvTier(name="pool", tier=far, capacity=each * BLOCK, scope="shared") for each in blocks[1:]]
    return replace(base.with_pools(replicas=8, router=router), services=(replace(cache, tiers=tuple(tiers)),))


@pytest.fixture(scope="module")
def trace() -> Requests:
    return realise(TRACE)


def lowered(design: Design, requests: Requests) -> Lowered:
    found = lower(design, requests)
    assert not isinstance(found, Infeasible), found
    return found


def blocks_read(found: Lowered, requests: Requests) -> Ints:
    """Blocks that each request reads from each tier [n, tiers], from its fetches alone: the last block of a prompt may be part empty."""
    tiers = sorted({name.split()[1] for name in found.servers.names if name.startswith("cache ")})
    owner = np.repeat(np.arange(len(requests.arrival)), np.diff(found.jobs.first))
    read = np.zeros((len(requests.arrival), len(tiers)), np.int64)
    for visit in np.flatnonzero(found.stage_of_visit == 0):
        name = found.servers.names[found.jobs.server[visit]].split()[1]
        read[owner[visit], tiers.index(name)] += int(np.ceil(found.jobs.work[visit] / BLOCK))
    return read


def test_a_block_of_the_model_is_64_mib() -> None:
    assert block_bytes(Catalog().model("llama-3.1-8b"), Datatypes(), TOKENS) == 2 * 32 * 8 * 128 * 2 * TOKENS == BLOCK


@pytest.mark.parametrize(
    ("router", "blocks", "hits"),
    [
        ("round_robin", 6_000, 32_892),
        ("round_robin", ENDLESS, 39_315),
        ("session_affinity", 3_000, 88_199),
        ("session_affinity", 6_000, 102_108),
        ("session_affinity", ENDLESS, 105_703),
    ],
)
def test_what_private_tiers_give_back(trace: Requests, router: str, blocks: int, hits: int) -> None:
    """Reads of the found blocks, prompt tokens that are not computed, writes of all other blocks (at the tier's rate of writing), and
    each visit at its request's engine."""
    found = lowered(eight(router, blocks), trace)
    read = blocks_read(found, trace)[:, 0]
    assert int(read.sum()) == hits
    jobs, stage = found.jobs, found.stage_of_visit
    prompts = jobs.server == 0
    assert np.array_equal(jobs.computed[prompts], np.minimum(np.minimum(read * TOKENS, trace.input_tokens), trace.input_tokens - 1))
    near = eight(router, blocks).services[0].tiers[0].tier
    assert jobs.work[stage == 3].sum() / BLOCK * (near.write or near.read) / near.read == pytest.approx(REFERENCES - hits, rel=1e-12)
    serves = round_robin(12_031, 8) if router == "round_robin" else by_session(trace.hash_first, trace.hash_ids, 8)
    assert np.array_equal(jobs.server[stage == 0] - 1, serves)


@pytest.mark.parametrize(("router", "hits"), [("round_robin", [21_930, 80_082]), ("session_affinity", [70_766, 31_246])])
def test_private_tiers_before_a_pool(trace: Requests, router: str, hits: list[int]) -> None:
    """Together the same blocks whoever serves a request, with 2.6 times less traffic from the pool."""
    assert blocks_read(lowered(eight(router, 1_763, 47_683), trace), trace).sum(axis=0).tolist() == hits


def test_the_engine_of_a_run_is_the_one_that_was_planned(trace: Requests) -> None:
    run = md.simulate(eight("session_affinity", 6_000), TRACE, requests=trace)
    serves = by_session(trace.hash_first, trace.hash_ids, 8)
    assert np.array_equal(run.records.visit_replica[run.lowered.jobs.server == 0], serves)


def test_more_found_is_less_computed_and_a_shorter_wait(trace: Requests) -> None:
    """Tokens computed by engines fall by exactly those found; links carry what was read and written; requests wait less. Fast enough to
    search over."""
    known = [("round_robin", 6_000), ("round_robin", ENDLESS), ("session_affinity", 6_000), ("session_affinity", ENDLESS)]
    md.evaluate(eight(*known[0]), TRACE, requests=trace)  # compiles
    first_tokens = []
    for router, blocks in known:
        design = eight(router, blocks)
        start = time.perf_counter()
        evaluation = md.evaluate(design, TRACE, requests=trace)
        assert time.perf_counter() - start < SECONDS
        first_tokens.append(evaluation.metrics["ttft_mean"] or 0.0)
        run = md.simulate(design, TRACE, requests=trace)
        jobs, engines = run.lowered.jobs, run.lowered.jobs.server == 0
        computed = int((jobs.prompt - jobs.computed)[engines].sum() + (jobs.emit - 1)[engines].sum())
        assert int(run.records.tokens.sum()) == computed
        assert run.records.preemptions.sum() == 0
        assert run.records.station_busy.sum() == pytest.approx(jobs.work.sum(), rel=1e-12)
    assert first_tokens == sorted(first_tokens, reverse=True)
    assert len(set(first_tokens)) == len(known)


def test_routers_and_capacities_searched_together(trace: Requests) -> None:
    """Six designs out of one space: with either router more room means sooner first tokens, and the best of all keeps conversations
    together. (A search over one of the two alone could not say so: affinity in small tiers is later than turns in large ones.)"""
    counts = (3_000, 6_000, ENDLESS)
    vary = {"pools.serve.router": ["round_robin", "session_affinity"], "services.cache.tiers.own.capacity": [n * BLOCK for n in counts]}
    base = eight("round_robin", 1)
    space = Space(name="kv", base=base, variables=variables(vary, base=base, library=Catalog()))
    results = sweep(space, TRACE, objectives=["min ttft_mean"], executor="serial").results
    results["blocks"] = results["services.cache.tiers.own.capacity"] // BLOCK
    for _, mine in results.sort_values("blocks").groupby("pools.serve.router"):
        assert tuple(mine["blocks"]) == counts
        assert mine["ttft_mean"].is_monotonic_decreasing
    best = results.sort_values("ttft_mean").iloc[0]
    assert (best["pools.serve.router"], best["blocks"]) == ("session_affinity", ENDLESS)


def test_a_router_that_looks_at_the_load_is_refused(trace: Requests) -> None:
    with pytest.raises(SpecError, match=r"router is jsq; what tiers hold is known before a run only with a router that does not look"):
        lower(eight("jsq", 6_000), trace)
