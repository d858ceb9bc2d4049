"""KV cache reuse of the Mooncake traces (FAST'25 release): exact counts, of which the number of requests and of blocks is published.

The other integers were counted apart from this package, and some of them are counted again by plain caches, block by block. Capacities in
GB are for a model of 327,680 bytes of KV a token (Llama-3-70B, bf16): 160 MiB a block of 512 tokens.
"""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mist_dse.perf.tiers import whole_blocks
from mist_dse.requests import realise
from mist_dse.requests.reuse import (
    NEVER,
    UNBOUNDED,
    by_session,
    hit_tokens,
    longest_prefix,
    reuse_gaps,
    round_robin,
    stack_distances,
    tier_hits,
    tier_writes,
)
from mist_dse.specs.workload import Arrivals, Workload
from tests.oracles.lru import Cascade

DATA = os.environ.get("MIST_DSE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MIST_DSE_DATA is unset: the published traces are not at hand")

REFERENCES = 288_500
UNIQUE = 182_790
BLOCK = 512 * 327_680  # bytes


def path_of(name):
    return Path(DATA or "") / "traces" / "mooncake" / f"{name}_trace.jsonl.gz"


def requests_of(name):
    return realise(Workload(name=name, arrivals=Arrivals(kind="trace", path=str(path_of(name)))))


@pytest.fixture(scope="module")
def conversation():
    return requests_of("conversation")


@pytest.fixture(scope="module")
def synthetic():
    return requests_of("synthetic")


@pytest.fixture(scope="module")
def distances(conversation):
    return stack_distances(conversation.hash_first, conversation.hash_ids)


def found(requests, assignment, *capacities):
    """Blocks that private caches of each capacity find."""
    distances = stack_distances(requests.hash_first, requests.hash_ids, assignment)
    return [int((distances < capacity).sum()) for capacity in capacities]


def alone(requests):
    return np.zeros(len(requests.arrival), np.int64)


def blocks(gigabytes):
    return whole_blocks(gigabytes * 1e9, BLOCK)


# The trace itself.


def test_the_file_is_the_published_one():
    assert hashlib.sha256(gzip.decompress(path_of("conversation").read_bytes())).hexdigest().startswith("b8cbb061a85206d7")


def test_what_the_trace_holds(conversation):
    ids, first = conversation.hash_ids, conversation.hash_first
    assert (len(conversation.arrival), len(ids), len(np.unique(ids)), int(ids.max())) == (12_031, REFERENCES, UNIQUE, UNIQUE - 1)
    assert (conversation.input_tokens.sum(), conversation.output_tokens.sum()) == (144_793_823, 4_122_048)
    assert conversation.arrival[-1] == pytest.approx(3_536.999)
    assert np.array_equal(np.diff(first), -(-conversation.input_tokens // 512))
    assert (ids[first[:-1]] == 0).all()
    assert (np.bincount(ids) == 1).sum() == 138_646


def test_every_block_has_one_predecessor(conversation):
    inner = np.setdiff1d(np.arange(REFERENCES), conversation.hash_first[:-1])
    pairs = np.unique(np.stack([conversation.hash_ids[inner], conversation.hash_ids[inner - 1]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1] == UNIQUE - 1


# One cache.


def test_a_cache_without_end(conversation, distances):
    hits = tier_hits(conversation, [UNBOUNDED], 1, alone(conversation))
    tokens = hit_tokens(hits, conversation.input_tokens, 512)[:, 0]
    assert int(hits.sum()) == int((distances < NEVER).sum()) == 105_710
    assert (int(tokens.sum()), round(tokens.sum() / conversation.input_tokens.sum(), 6)) == (54_098_411, 0.373624)
    assert (int((hits > 0).sum()), int((tokens == conversation.input_tokens).sum())) == (12_030, 118)
    assert (int((distances == NEVER).sum()), int(distances[distances < NEVER].max())) == (UNIQUE, 158_280)
    own = conversation.hash_ids != 0
    assert (int((distances[own] < NEVER).sum()), int(own.sum())) == (93_680, 276_469)


def test_a_cache_without_end_on_the_synthetic_trace(synthetic):
    hits = tier_hits(synthetic, [UNBOUNDED], 1, alone(synthetic))
    tokens = hit_tokens(hits, synthetic.input_tokens, 512)[:, 0]
    assert (len(synthetic.hash_ids), int(hits.sum()), int(tokens.sum())) == (121_877, 77_953, 39_852_661)
    assert (int((hits > 0).sum()), int((tokens == synthetic.input_tokens).sum())) == (1_782, 213)


CAPACITIES = (100, 300, 1_000, 3_000, 6_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000)
TAIL_FIRST = (12_071, 12_126, 12_847, 18_850, 40_183, 61_046, 83_035, 93_978, 102_290, 104_924, 105_710)
HEAD_FIRST = (11_645, 12_092, 12_831, 18_761, 39_993, 60_921, 82_939, 93_967, 102_290, 104_924, 105_710)


def test_hits_by_capacity(conversation):
    serves = alone(conversation)
    assert tuple(int(tier_hits(conversation, [capacity], 1, serves).sum()) for capacity in CAPACITIES) == TAIL_FIRST


def test_hits_by_capacity_head_first(conversation):
    distances = stack_distances(conversation.hash_first, conversation.hash_ids, head_first=True)
    assert tuple(int((distances < capacity).sum()) for capacity in CAPACITIES) == HEAD_FIRST


def test_hits_by_capacity_on_the_synthetic_trace(synthetic):
    assert found(synthetic, None, 1_000, 3_000, 10_000, 30_000) == [10_252, 23_226, 51_669, 76_077]


def test_the_first_thousand_requests(conversation):
    first = conversation.hash_first[:1_001]
    ids = conversation.hash_ids[: first[-1]]
    distances = stack_distances(first, ids)
    assert (len(ids), len(np.unique(ids))) == (27_305, 21_514)
    assert [int((distances < capacity).sum()) for capacity in (1_000, 6_000, NEVER)] == [1_038, 3_436, 5_791]


def test_how_far_apart_uses_are(conversation, distances):
    gaps = reuse_gaps(conversation.hash_first, conversation.hash_ids, conversation.arrival)
    again = (distances < NEVER) & (conversation.hash_ids != 0)
    assert np.percentile(distances[again], [10, 50, 90]).tolist() == pytest.approx([3_475, 9_616, 32_597], abs=1)
    assert np.percentile(gaps[again], [50, 90, 99]).tolist() == pytest.approx([135, 531, 1_710], abs=0.5)


@pytest.mark.parametrize(("seconds", "ratio"), [(60, 0.1034), (120, 0.1916), (300, 0.2877), (600, 0.3434), (1_200, 0.3594)])
def test_blocks_with_a_time_to_live(conversation, seconds, ratio):
    gaps = reuse_gaps(conversation.hash_first, conversation.hash_ids, conversation.arrival)
    assert round(float((gaps <= seconds).mean()), 4) == ratio


# Tiers.


@pytest.mark.parametrize(
    ("gigabytes", "sizes", "hits", "misses"),
    [
        ([40], [238], [12_086], 93_624),
        ([40, 256], [238, 1_525], [12_086, 2_944], 90_680),
        ([40, 1_000], [238, 5_960], [12_086, 28_943], 64_681),
        ([40, 1_000, 4_000], [238, 5_960, 23_841], [12_086, 28_943, 53_006], 11_675),
        ([40, 1_000, 8_000], [238, 5_960, 47_683], [12_086, 28_943, 62_046], 2_635),
        ([100, 1_000, 8_000, 32_000], [596, 5_960, 47_683, 190_734], [12_209, 31_057, 59_858, 2_586], 0),
    ],
)
def test_hits_of_a_hierarchy(conversation, gigabytes, sizes, hits, misses):
    assert [blocks(each) for each in gigabytes] == sizes
    per_tier = tier_hits(conversation, sizes, 1, alone(conversation)).sum(axis=0).tolist()
    assert (per_tier, REFERENCES - UNIQUE - sum(per_tier)) == (hits, misses)


def test_hits_of_plain_caches(conversation):
    """The third hierarchy above, walked through."""
    cache, ids, first = Cascade([238, 5_960]), conversation.hash_ids.tolist(), conversation.hash_first.tolist()
    where = [tier for i in range(12_031) for tier in cache.served(ids[first[i] : first[i + 1]])[0]]
    assert np.bincount(where).tolist() == [12_086, 28_943, REFERENCES - 41_029]


# Several instances.

SOME = (1_000, 3_000, 6_000, 20_000)


@pytest.mark.parametrize(
    ("instances", "ratios", "unbounded"),
    [
        (4, [0.053314, 0.096971, 0.130270, 0.183185], 55_323),
        (8, [0.061244, 0.088863, 0.114010, 0.135293], 39_315),
        (16, [0.060627, 0.083515, 0.093875, 0.099057], 28_578),
    ],
)
def test_round_robin_over_private_caches(conversation, instances, ratios, unbounded):
    *hits, most = found(conversation, round_robin(12_031, instances), *SOME, NEVER)
    assert ([round(hit / REFERENCES, 6) for hit in hits], most) == (ratios, unbounded)


def test_round_robin_over_eight_private_caches_of_6000(conversation):
    assert found(conversation, round_robin(12_031, 8), 6_000) == [32_892]


def test_eight_caches_as_one(conversation):
    sizes = [8 * each for each in SOME]
    assert [round(hit / REFERENCES, 6) for hit in found(conversation, None, *sizes)] == [0.178052, 0.306510, 0.353594, 0.366412]


def test_affinity_over_private_caches(conversation):
    """Nearly all that one shared cache finds, where a round robin loses 63% of it."""
    serves = by_session(conversation.hash_first, conversation.hash_ids, 8)
    assert found(conversation, serves, 3_000, 6_000, NEVER) == [88_199, 102_108, 105_703]
    assert np.bincount(serves).max() / (12_031 / 8) == pytest.approx(1.05, abs=0.005)


@pytest.mark.parametrize(("affinity", "hits"), [(False, [21_930, 80_082]), (True, [70_766, 31_246])])
def test_private_tiers_before_a_pool(conversation, affinity, hits):
    """The same total, with less than half of the traffic from the pool; each block that the pool has not is written to it once."""
    assert blocks(40) + blocks(256) == 1_763
    serves = by_session(conversation.hash_first, conversation.hash_ids, 8) if affinity else round_robin(12_031, 8)
    tiers = ([1_763, blocks(8_000)], 8, serves)
    assert tier_hits(conversation, *tiers, sharers=[1, 8]).sum(axis=0).tolist() == hits
    assert tier_writes(conversation, *tiers, sharers=[1, 8]).sum(axis=0).tolist() == [REFERENCES - hits[0], REFERENCES - 102_012]


def test_traffic_of_a_pool_without_end(conversation):
    """GB over the hour, mean GB/s, and GB/s of the busiest minute."""
    read = tier_hits(conversation, [1_763, UNBOUNDED], 8, round_robin(12_031, 8), sharers=[1, 8])[:, 1] * BLOCK / 1e9
    minutes = np.bincount((conversation.arrival // 60).astype(int), read) / 60
    assert [round(read.sum()), round(read.sum() / conversation.arrival[-1], 2), round(minutes.max(), 2)] == [14_056, 3.97, 6.93]


def test_longest_prefix_needs_a_guard(conversation):
    """All prompts begin with block 0: without a guard one instance serves them all, and finds what one cache finds."""
    names = (conversation.hash_first, conversation.hash_ids, 8)
    everywhere = longest_prefix(*names, capacity=3_000, guard=np.inf)
    assert (np.bincount(everywhere).max(), found(conversation, everywhere, 3_000)) == (12_031, [18_850])
    guarded = longest_prefix(*names, capacity=3_000)
    assert np.bincount(guarded).max() <= 1.1 * 12_031 / 8 + 8 + 1
    assert found(conversation, guarded, 3_000)[0] > 0.27 * REFERENCES
