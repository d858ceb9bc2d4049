"""Stages that share hardware, as designs that are lowered and simulated: engines on one KV tier, index scans and KV reads in one memory.

Truth: a link that serves equal reads in order is M/D/1 (Pollaczek, Khinchine); a memory that all jobs share equally beside k that never
end holds n others with chance C(n + k, k) rho^n (1 - rho)^(k + 1), whatever the law of their sizes, so that they take (k + 1) S/(1 - rho)
in the mean (an open and a closed chain at one shared processor: Baskett, Chandy, Muntz, Palacios, J. ACM 22(2), 1975); and max-min
shares by hand.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from mist_dse.perf.tiers import fixed_service_wait
from mist_dse.rows import Bytes, Floats, Records, Requests
from mist_dse.sim import simulate
from mist_dse.specs.design import Design
from mist_dse.specs.hardware import Host, MemoryTier, Topology, TopologyTier
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.specs.retrieval import Index
from mist_dse.specs.service import KvTier, Service
from mist_dse.stages import Lowered, lower
from tests.oracles.replications import Sample, assert_true, deviation, intervals, mean
from tests.oracles.systems import FIXED, Draw, System
from tests.perf.cases import NDR, pool

TOKENS, BLOCK = 512, 512 * 131_072
"""Tokens that a name stands for, and bytes of their KV cache in Llama-3.1-8B."""

MEMORY = 60e9
"""B/s of a host's memory that scans and KV reads reach together: 0.8 of 75 GB/s."""

HOST = Host(name="host", vendor="any", year=2024, cores=4096, fp32=1e13, memory=1e12, memory_bandwidth=MEMORY / 0.8)
NODES = Topology(name="nodes", tiers=(TopologyTier(name="node", size=8), TopologyTier(name="rack", size=16, link=NDR)), host=HOST,
                 hosts_per_node=1)  # fmt: skip
FETCH = Stage(name="fetch", kind="kv_fetch", options=(("recompute", "never"),))
ANSWER = (Stage(name="prefill", kind="prefill", after=("fetch",)), Stage(name="decode", kind="decode", after=("prefill",)))
FETCH_AND_ANSWER = Pipeline(name="kv", stages=(FETCH, *ANSWER))
MIXED = Pipeline(
    name="mixed",
    stages=(
        replace(FETCH, classes=("chat",)),
        Stage(name="retrieve", kind="retrieve", classes=("question",), options=(("documents", 0),)),
        replace(ANSWER[0], after=("fetch", "retrieve")),
        ANSWER[1],
    ),
)
"""Chats read their KV cache, questions search: two classes, so that each is seen alone."""


def kept(read: float, *, scope: str = "private", latency: float = 0.0, technology: str = "host") -> Service:
    """KV tiers on node 0 that give back all that they are asked for."""
    tier = MemoryTier(name="memory", technology="DRAM", scope=technology, read=read, latency=latency)
    return Service(name="cache", stages=("fetch",), tiers=(KvTier(name="memory", tier=tier, capacity=1e15, scope=scope),), node=0)


def named(arrival: Floats, chat: Bytes, *, blocks: int, seed: int = 0) -> Requests:
    """Chats all begin with the same ``blocks`` blocks and one token more; questions are short and begin with nothing known."""
    size, none = np.ones(len(arrival), np.int64), np.zeros(len(arrival), np.int64)
    names = np.where(chat, blocks, 0)
    first = np.concatenate([[0], np.cumsum(names)])
    return Requests(arrival, np.where(chat, blocks * TOKENS + 1, 16), size, size, none, np.zeros(len(arrival)), 0, np.nan,
                    class_id=chat.astype(np.int64), class_names=("question", "chat"), hash_first=first,
                    hash_ids=np.arange(first[-1]) - np.repeat(first[:-1], names), hash_tokens=TOKENS, seed=seed)  # fmt: skip


class Visits(NamedTuple):
    """The visits of one stage, in order of their requests."""

    ready: Floats
    start: Floats
    end: Floats

    @property
    def stay(self) -> Floats:
        """Seconds from ready to ended."""
        return self.end - self.ready


def visits(design: Design, requests: Requests, *stages: str) -> list[Visits]:
    """What happened at each of ``stages``."""
    found = lower(design, requests)
    assert isinstance(found, Lowered), found
    records: Records = simulate(found.servers, found.jobs, requests)
    assert (records.status == 0).all()
    names = [stage.name for stage in design.pipeline.stages]
    masks = [found.stage_of_visit == names.index(stage) for stage in stages]
    return [Visits(records.visit_ready[mask], records.visit_start[mask], records.visit_end[mask]) for mask in masks]


def sample(seen: Visits, luck: tuple[float, ...]) -> Sample:
    """The visits that count: neither the first twentieth nor the last fiftieth."""
    size = len(seen.ready)
    part = slice(size // 20, size - size // 50)
    stay = seen.stay[part]
    return Sample(np.ones((len(stay), 1)), (seen.start - seen.ready)[part, None], stay[:, None], stay, np.zeros(len(stay)), np.nan, luck)


def poisson(draw: Draw, rate: float, count: int) -> tuple[Floats, tuple[float, ...]]:
    """Times of arrival, and how far they are from what they should be on average."""
    gaps = draw.exponential(1.0 / rate, count)
    return np.cumsum(gaps), (deviation(gaps, 1.0 / rate), *FIXED.bursts(np.ones(count), rate * gaps))


def fetching(seen: Sample) -> float:
    return float(seen.stay.mean())


def waiting(seen: Sample) -> float:
    return float(seen.wait.mean())


# Clients of one tier.

READ, LATENCY, BLOCKS = 1e9, 2e-3, 2
TOOK = BLOCKS * BLOCK / READ
"""Seconds of one read of two blocks: 0.134."""


def clients(engines: int, scope: str, count: int) -> System:
    """So many engines, each of which loads one link by 0.1."""
    design = Design(
        pipeline=FETCH_AND_ANSWER,
        topology=NODES,
        pools=(pool(stages=("prefill", "decode"), replicas=engines, router="random"),),
        services=(kept(READ, scope=scope, latency=LATENCY),),
    )

    def system(draw: Draw) -> Sample:
        arrival, luck = poisson(draw, engines * 0.1 / TOOK, count)
        requests = named(arrival, np.ones(count, np.int8), blocks=BLOCKS, seed=int(draw.integers(2**31)))
        return sample(visits(design, requests, "fetch")[0], luck)

    return system


def queued(rho: float) -> float:
    """Mean wait of M/D/1."""
    return float(fixed_service_wait(rho / TOOK, TOOK))


@pytest.mark.parametrize(("engines", "count"), [(3, 10_000), (6, 15_000), (8, 40_000)])
def test_fetches_of_clients_of_one_tier_wait_as_m_d_1(engines: int, count: int) -> None:
    """At a load of 0.3, 0.6 and 0.8: the read, its wait for those of other engines, and the latency, which nobody waits for. No queue,
    and loads a little off, are refused."""
    rho = engines * 0.1
    claims = {"fetch": mean(fetching, LATENCY + TOOK + queued(rho), 0.03), "wait": mean(waiting, queued(rho), 0.06)}
    others = {f"at {load:.2f}": mean(fetching, LATENCY + TOOK + queued(load)) for load in (0.0, 0.95 * rho, 1.05 * rho)}
    found = intervals(clients(engines, "shared", count), claims | others)
    assert all(found[name].holds(claim) for name, claim in claims.items()), found
    assert all(found[name].misses(claim) for name, claim in others.items()), found


def test_private_tiers_wait_for_their_own_engine_alone() -> None:
    """Six engines that choose at random: six times M/D/1 at a load of 0.1."""
    assert_true(clients(6, "private", 12_000), {"fetch": mean(fetching, LATENCY + TOOK + queued(0.1), 0.01)})


# One memory for index scans and KV reads.


def searched(scan_rate: float, blocks: int) -> Service:
    """An index whose queries read so many blocks' bytes, each at ``scan_rate`` alone, from the memory of node 0."""
    index = Index(kind="brute_force", vectors=blocks * BLOCK // 4, dimensions=1, scan_rate=scan_rate)
    return Service(name="index", stages=("retrieve",), index=index, host=HOST, node=0)


def beside(index: Service, cache: Service, engines: int = 1) -> Design:
    """Questions search ``index`` while chats read from ``cache``."""
    return Design(pipeline=MIXED, topology=NODES, pools=(pool(stages=("prefill", "decode"), replicas=engines),), services=(index, cache))


QUERY, CONTEXT, SCAN, LINK = 16, 64, 18e9, 55e9
"""Blocks that a query and a chat read, and the most B/s of each alone."""


def together(cache: Service, index: Service, questions: int) -> tuple[Visits, Visits]:
    """So many questions and one chat that start at one instant; a chat long before has left its KV cache."""
    chat = np.array([1, 1, *[0] * questions], np.int8)
    arrival = np.array([0.0, *[100.0] * (questions + 1)])
    retrieved, fetched = visits(beside(index, cache), named(arrival, chat, blocks=CONTEXT), "retrieve", "fetch")
    return retrieved, fetched


@pytest.mark.parametrize(
    ("questions", "scan", "link"),
    [
        (1, 18e9, 42e9),  # 18 + 55 are more than 60: the scan is below any level that binds, the read gets what is left
        (2, 18e9, 24e9),  # 36 + 55
        (3, 15e9, 15e9),  # 54 + 55: level 60/4
        (5, 10e9, 10e9),  # 90 + 55: level 60/6
    ],
)
def test_scans_and_reads_share_the_memory_of_their_host(questions: int, scan: float, link: float) -> None:
    """Until the scans are done; the read then goes on alone, as fast as its link."""
    retrieved, fetched = together(kept(LINK), searched(SCAN, QUERY), questions)
    searching = QUERY * BLOCK / scan
    rest = CONTEXT * BLOCK - searching * link
    assert retrieved.stay == pytest.approx(np.full(questions, searching), rel=1e-9)
    assert float(fetched.stay[1]) == pytest.approx(searching + rest / LINK, rel=1e-9)


APART = {
    "a search on another node": (kept(LINK), replace(searched(SCAN, QUERY), node=1)),
    "a search on a host of its own": (kept(LINK), replace(searched(SCAN, QUERY), node=None)),
    "a drive of the same node": (kept(LINK, technology="device"), searched(SCAN, QUERY)),
}


@pytest.mark.parametrize("name", APART)
def test_nothing_is_slower_where_no_memory_is_shared(name: str) -> None:
    """Three scans at 18 GB/s and a read at 55 GB/s."""
    retrieved, fetched = together(*APART[name], 3)
    assert retrieved.stay == pytest.approx(np.full(3, QUERY * BLOCK / SCAN), rel=1e-9)
    assert float(fetched.stay[1]) == pytest.approx(CONTEXT * BLOCK / LINK, rel=1e-9)


LOAD, QUESTIONS = 0.5, 20_000
SCANNED = BLOCK / MEMORY
"""Seconds of a query of one block that has the memory to itself."""

CHATS, LONG = 700, 200
"""Chats that all come at the start, and the blocks that each reads: so many that each engine's link is busy until the last question."""


def loaded(engines: int, *, node: int = 0) -> System:
    """Poisson questions to a memory that the links of so many engines read all the time, at any rate that they are given."""
    design = beside(replace(searched(MEMORY, 1), node=node), kept(2 * MEMORY), engines)
    chat = np.concatenate([np.ones(CHATS, np.int8), np.zeros(QUESTIONS, np.int8)])

    def system(draw: Draw) -> Sample:
        asked, luck = poisson(draw, LOAD / SCANNED, QUESTIONS)
        requests = named(np.concatenate([np.zeros(CHATS), asked]), chat, blocks=LONG)
        retrieved, fetched = visits(design, requests, "retrieve", "fetch")
        assert node or np.sort(fetched.end)[-engines] > retrieved.end.max()
        return sample(retrieved, luck)

    return system


ALONE = SCANNED / (1.0 - LOAD)
"""Mean seconds of a query where queries alone share the memory (M/G/1 with processor sharing: Kleinrock 1976)."""


@pytest.mark.parametrize("engines", [1, 2])
def test_retrieval_beside_kv_reads_that_never_end(engines: int) -> None:
    """Reads of one engine double the time of retrieval, reads of two make it three times as long; one more or one less is refused."""
    claims = {str(k): mean(fetching, (k + 1) * ALONE, 0.05) for k in (engines - 1, engines, engines + 1)}
    found = intervals(loaded(engines), claims)
    assert [name for name, claim in claims.items() if found[name].holds(claim)] == [str(engines)], found


def test_retrieval_on_another_node_does_not_feel_kv_reads() -> None:
    assert_true(loaded(2, node=1), {"retrieval": mean(fetching, ALONE, 0.03)})
