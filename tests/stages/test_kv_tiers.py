"""KV tiers in front of a prefill, by hand: what is found and written where, who is asked, what is computed again, what is held."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mist_dse.rows import RANDOM, Requests
from mist_dse.sim import simulate
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Batching, Design
from mist_dse.specs.service import KvTier
from mist_dse.stages import Lowered
from tests.stages.pipelines import DISK, GRID, asked, hosted, line, rows

BLOCK = 512 * 131_072
"""Bytes of 512 tokens of Llama-3.1-8B."""

CHAT = (("prefill", "prefill", {}), ("decode", "decode", {}))
NAMES = ([1, 2, 3], [1, 2, 4], [5, 6, 7], [1, 2, 3])
FOUND = [[0, 0], [2, 0], [0, 0], [0, 2]]
"""Blocks found by tier of three blocks each. After the second request the nearer has 1 2 4 and the further 3; the third's three push 1 2 4
into the further one and 3 out of it, where the fourth finds 1 2."""
WRITTEN = [[3, 0], [1, 1], [3, 3], [3, 3]]
"""What is not in the nearer tier is written to it (the fourth brings 1 2 back up), and what it lets go to the further one."""


def named(names: Any = NAMES, **more: Any) -> Requests:
    first = np.cumsum([0] + [len(each) for each in names])
    return asked([512 * len(each) for each in names], 10, hash_first=first, hash_ids=np.concatenate(names), hash_tokens=512, **more)


def tiers(near: float = 3, far: float = 3, **changes: Any) -> dict[str, Any]:
    """Host memory before a drive, of so many blocks each."""
    far_tier = replace(DISK, **changes)
    return {"tiers": (KvTier(name="near", tier=GRID, capacity=near * BLOCK), KvTier(name="far", tier=far_tier, capacity=far * BLOCK))}


def cached(
    *, fields: dict[str, Any] | None = None, pool: dict[str, Any] | None = None, requests: Requests | None = None, **fetch: Any
) -> tuple[Design, Lowered]:
    """Fetch, prefill, decode, store."""
    pipeline = line(("fetch", "kv_fetch", {"recompute": "never"} | fetch), *CHAT, ("store", "kv_store", {}))
    design = hosted(pipeline, pools={"serve": pool or {}}, services={"tiers": fields or tiers()})
    return design, rows(design, named() if requests is None else requests)


def moved(found: Lowered, stage: int) -> list[list[float]]:
    """Blocks that each request's visits of a stage move, by station: near, far; nan where it does not go there."""
    jobs = found.jobs
    table = np.full((len(jobs.first) - 1, 2), np.nan)
    for request in range(len(table)):
        for visit in range(jobs.first[request], jobs.first[request + 1]):
            if found.stage_of_visit[visit] == stage:
                table[request, int(jobs.server[visit]) - 1] = jobs.work[visit] / BLOCK
    return table.tolist()


def test_what_is_found_and_written_where() -> None:
    _, found = cached()
    assert found.servers.names == ("serve", "tiers near", "tiers far")
    assert moved(found, 0) == FOUND  # all tiers are asked, since no prompt is found whole before the last
    written = [[near or np.nan, 2 * far or np.nan] for near, far in WRITTEN]  # the drive writes half as fast as it reads
    np.testing.assert_equal(moved(found, 3), written)
    prefills = found.jobs.server == 0
    assert found.jobs.computed[prefills].tolist() == [512 * sum(each) for each in FOUND]


def test_a_prompt_found_whole_asks_no_further_and_computes_its_last_token() -> None:
    _, found = cached(requests=named(([1, 2], [1, 2])))
    assert moved(found, 0)[1][0] == 2
    assert np.isnan(moved(found, 0)[1][1])
    assert found.jobs.computed[found.jobs.server == 0].tolist() == [0, 1023]


def test_tiers_are_read_one_after_another_and_written_beside_the_answer() -> None:
    """Alone: latency and size over rate of each tier that is asked, then the prefill; the store follows the answer."""
    requests = named()
    _, found = cached(requests=requests)
    records = simulate(found.servers, found.jobs, requests)
    assert (records.status == 0).all()
    for request, (near, far) in enumerate(FOUND):
        at = found.jobs.first[request]
        expected = GRID.latency + near * BLOCK / GRID.read + DISK.latency + far * BLOCK / DISK.read
        assert records.visit_ready[at + 2] - requests.arrival[request] == pytest.approx(expected, rel=1e-9)
        assert records.last_token[request] < records.end[request]


def test_a_tier_slower_than_the_engine_is_left_out() -> None:
    """512 tokens of an 8B model are 8.2 TFLOP: 8 ms of an H100 at its peak and less than 40 ms by any account. The drive takes 0.13 s for
    their 67 MB at 0.5 GB/s, 1.3 ms at 50 GB/s."""
    slow, fast = tiers(read=0.5e9, write=None), tiers(read=50e9, write=None)
    never = cached(fields=slow)[1]
    auto, quick = (cached(fields=fields, recompute="auto")[1] for fields in (slow, fast))
    assert [each[1] for each in moved(never, 0)] == [0, 0, 0, 2]
    assert moved(auto, 0) == [[0, 0], [2, 0], [0, 0], [0, 0]]
    assert moved(quick, 0) == FOUND
    assert auto.jobs.computed[auto.jobs.server == 0].tolist() == [0, 1024, 0, 0]


def test_each_instance_has_its_own_private_tier() -> None:
    """Two engines in turn: 1 2 3 and 5 6 7 go to one, 1 2 4 and 1 2 3 to the other, where the last finds 1 2."""
    requests = named()
    _, found = cached(pool={"replicas": 2}, requests=requests)
    assert found.servers.names == ("serve", "tiers near 0", "tiers near 1", "tiers far 0", "tiers far 1")
    assert found.servers.engines[0].router == RANDOM
    records = simulate(found.servers, found.jobs, requests)
    assert records.visit_replica[found.jobs.server == 0].tolist() == [0, 1, 0, 1]
    assert found.jobs.computed[found.jobs.server == 0].tolist() == [0, 0, 0, 1024]
    fetches = found.stage_of_visit == 0
    assert found.jobs.server[fetches].tolist() == [1, 3, 2, 4, 1, 3, 2, 4]


def test_a_resident_tier_costs_no_read() -> None:
    resident = {"tiers": (KvTier(name="own", tier=GRID, capacity=3 * BLOCK, resident=True),)}
    _, found = cached(fields=resident)
    assert found.servers.stations == ()
    assert found.jobs.server.tolist() == [0] * 4
    assert found.jobs.computed.tolist() == [0, 1024, 0, 0]


def test_a_second_prefill_finds_nothing_that_the_first_has_fetched() -> None:
    """What a fetch brings is for the prefill that follows it; a prefill of another pool has other blocks."""
    stages = (("fetch", "kv_fetch", {"recompute": "never"}), *CHAT, ("again", "prefill", {}), ("more", "decode", {}))
    pools: dict[str, dict[str, Any]] = {"serve": {"hosts": ["prefill", "decode"]}, "other": {}}
    found = rows(hosted(line(*stages), pools=pools, services={"tiers": tiers()}), named())
    assert found.jobs.computed[found.jobs.server == 0].tolist() == [0, 1024, 0, 1024]
    assert found.jobs.computed[found.jobs.server == 1].tolist() == [0, 0, 0, 0]


def test_held_blocks_are_leased_by_the_first_read() -> None:
    _, found = cached(hold=True)
    visits = found.jobs.first[1] - found.jobs.first[0]
    assert found.stage_of_visit[:visits].tolist()[:3] == [0, 0, 1]
    assert found.jobs.lease[:visits].tolist() == [2, -1, *[-1] * (visits - 2)]


@pytest.mark.parametrize("blocks", [130, 200, 300, 1000])
@pytest.mark.parametrize("policy", ["chunked", "continuous", "prefill_first", "mixed"])
def test_leases_that_wait_for_one_another_are_resolved(blocks: int, policy: str) -> None:
    """Forty requests at once take their blocks before they read, in a store for one to seven of them, and grow by half while they decode.
    Where the first in line lacks blocks and nothing runs, those behind it give theirs back: every request completes."""
    names = [[1, 2, 10 + i] for i in range(40)]
    requests = named(names, gap=0.0)._replace(output_tokens=np.full(40, 500), max_tokens=np.full(40, 500))
    _, found = cached(hold=True, requests=requests, pool={"batching": Batching(policy=policy)})
    engine = found.servers.engines[0]._replace(blocks=blocks)
    servers = found.servers._replace(engines=(engine,))
    records = simulate(servers, found.jobs, requests)
    assert records.status.tolist() == [0] * 40
    assert records.peak_blocks[0] <= blocks
    assert (records.preemptions.sum() > 0) == (blocks > 130)  # 97 blocks to begin with, 128 at the end


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"pool": {"router": "jsq"}}, "router is jsq; what tiers hold is known before a run only with a router that does not look at"),
        ({"pool": {"batching": Batching(prefix_caching=True)}}, "pool serve has prefix_caching, too; a resident tier stands for it"),
        ({"requests": asked(1024, 10, count=2)}, "names no content .hash_ids.*use a trace with hash_ids, or sessions"),
        (
            {"fields": {"tiers": (replace(tiers()["tiers"][0], scope="shared"), tiers()["tiers"][1])}, "pool": {"replicas": 2}},
            "its tiers must go from private to shared, nearest first",
        ),
    ],
)  # fmt: skip
def test_a_tier_without_a_route_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        cached(**more)
    assert "\n" not in str(caught.value)


def test_tiers_that_no_prefill_reads_are_refused() -> None:
    with pytest.raises(SpecError, match="Service tiers has KV tiers, and pipeline line has no prefill that could use them"):
        rows(hosted(line(("fetch", "kv_fetch", {}), ("think", "generate", {"tokens": 5}))), named())
