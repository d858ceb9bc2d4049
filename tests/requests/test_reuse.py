"""Reuse of blocks: stack distances and what follows from them against plain LRU caches, request by request."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse import rows
from mist_dse.requests import TraceError
from mist_dse.requests.reuse import (
    NEVER,
    UNBOUNDED,
    by_session,
    cascade,
    hit_tokens,
    leading,
    longest_prefix,
    reuse_gaps,
    round_robin,
    stack_distances,
    tier_hits,
    tier_writes,
)
from mist_dse.specs._check import SpecError
from tests.oracles.lru import Cascade

SIZE = 4  # tokens of a block


def table(prompts, *, tokens=None):
    """Requests with those names, one a second; prompts fill their blocks unless their tokens are given."""
    count = len(prompts)
    counts = np.array([len(names) for names in prompts], np.int64)
    length = np.maximum(counts * SIZE, 1) if tokens is None else np.array(tokens)
    ones, zeros = np.ones(count, np.int64), np.zeros(count, np.int64)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids = np.array([name for names in prompts for name in names], np.int64)
    return rows.Requests(np.arange(float(count)), length, ones, ones, zeros, zeros.astype(float), 0, np.nan,
                         hash_first=first, hash_ids=ids, hash_tokens=SIZE)  # fmt: skip


def distances(prompts, assignment=None, **options):
    requests = table(prompts)
    return stack_distances(requests.hash_first, requests.hash_ids, assignment, **options)


def conversations(branches):
    """Names by content from the first token on: a block's name is that of the path that leads to it."""
    known = {}
    return [[known.setdefault(path, len(known)) for path in accumulate(((step,) for step in steps), tuple.__add__)] for steps in branches]


trees = st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=25).map(conversations)
loose = st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), min_size=1, max_size=25)
capacities = st.lists(st.integers(0, 8), min_size=1, max_size=3)


@st.composite
def routed(draw, prompts=trees):
    """Prompts, instances and who serves what."""
    names, instances = draw(prompts), draw(st.integers(1, 4))
    serves = draw(st.lists(st.integers(0, instances - 1), min_size=len(names), max_size=len(names)))
    return names, instances, np.array(serves, np.int64)


# By hand: a, b, c are touched last to first, so that a is the most recent; then d.


def test_distances_by_hand():
    assert distances([[1, 2, 3], [4], [1, 2, 9], [4]]).tolist() == [NEVER, NEVER, NEVER, NEVER, 1, 2, NEVER, 3]


def test_distances_head_first_by_hand():
    """3 is the most recent, then 2, 1; looking 1 up makes it the most recent before 2 is looked up."""
    assert distances([[1, 2, 3], [1, 2]], head_first=True).tolist()[3:] == [2, 2]


def test_instances_do_not_see_each_other():
    assert distances([[1], [1], [2], [1]], np.array([0, 1, 0, 0])).tolist() == [NEVER, NEVER, NEVER, 1]


def test_hits_and_writes_of_two_tiers_by_hand():
    """Tiers of one block: 1 in the first, 2 in the second; then 3 pushes 1 on; then 1 comes back and 3 takes its place."""
    requests = table([[1, 2], [3], [1, 2]])
    assert tier_hits(requests, [1, 1], 1, np.zeros(3, int)).tolist() == [[0, 0], [0, 0], [0, 1]]
    assert tier_writes(requests, [1, 1], 1, np.zeros(3, int)).tolist() == [[2, 1], [1, 1], [2, 2]]


def test_a_private_tier_and_a_pool_by_hand():
    """Instance 1 has never seen block 1, the pool has; what both have counts as private."""
    requests = table([[1, 2], [1, 2], [1, 2]])
    serves = np.array([0, 1, 1])
    assert tier_hits(requests, [1, UNBOUNDED], 2, serves, sharers=[1, 2]).tolist() == [[0, 0], [0, 2], [1, 1]]
    assert tier_writes(requests, [1, UNBOUNDED], 2, serves, sharers=[1, 2]).tolist() == [[2, 2], [2, 0], [1, 0]]


def test_only_blocks_of_the_prompt_are_looked_up():
    """The second prompt ends inside its second block; the third block is of its answer."""
    requests = table([[1, 2, 3], [1, 2, 3]], tokens=[12, 6])
    hits = tier_hits(requests, [9], 1, np.zeros(2, int))
    assert hits.tolist() == [[0], [2]]
    assert hit_tokens(hits, requests.input_tokens, SIZE).tolist() == [[0], [6]]


def test_capacities_may_differ_by_instance():
    requests = table([[1, 2], [1, 2], [1, 2], [1, 2]])
    assert tier_hits(requests, [np.array([1, 2])], 2, np.array([0, 1, 0, 1])).tolist() == [[0], [0], [1], [2]]


# Against plain caches.


@given(routed(), capacities)
def test_hits_and_writes_are_those_of_plain_caches(case, sizes):
    names, instances, serves = case
    caches = [Cascade(sizes) for _ in range(instances)]
    requests, tiers = table(names), len(sizes)
    hits, writes = tier_hits(requests, sizes, instances, serves), tier_writes(requests, sizes, instances, serves)
    for i, prompt in enumerate(names):
        where, written = caches[serves[i]].served(prompt)
        ahead = where[: next((k for k, tier in enumerate(where) if tier == tiers), len(where))]
        assert hits[i].tolist() == [ahead.count(tier) for tier in range(tiers)]
        assert writes[i].tolist() == written


@given(routed(), st.integers(0, 4), st.integers(0, 12))
def test_a_private_tier_before_a_pool_is_two_plain_caches(case, private, pooled):
    names, instances, serves = case
    own, pool = [Cascade([private]) for _ in range(instances)], Cascade([pooled])
    found = tier_hits(table(names), [private, pooled], instances, serves, sharers=[1, 4 + instances])
    for i, prompt in enumerate(names):
        near, far = own[serves[i]].served(prompt)[0], pool.served(prompt)[0]
        where = [0 if a == 0 else 1 + b for a, b in zip(near, far, strict=True)]
        ahead = where[: where.index(2)] if 2 in where else where
        assert found[i].tolist() == [ahead.count(0), ahead.count(1)]


@given(routed(loose), st.integers(0, 10), st.booleans())
def test_distances_tell_what_a_plain_cache_finds_block_by_block(case, capacity, head_first):
    """Names that are no prefixes too: a block may have come after different ones."""
    names, instances, serves = case
    caches = [Cascade([capacity]) for _ in range(instances)]
    serve = Cascade.looked_up if head_first else lambda cache, prompt: cache.served(prompt)[0]
    where = [tier for i, prompt in enumerate(names) for tier in serve(caches[serves[i]], prompt)]
    assert (distances(names, serves, head_first=head_first) >= capacity).tolist() == [bool(tier) for tier in where]


# Laws (STAGES: blocks found are prefixes, a cascade is one cache of the sum, more capacity finds no less).


@given(routed(), st.integers(0, 20))
def test_blocks_found_are_the_leading_ones(case, capacity):
    names, _, serves = case
    requests = table(names)
    where = cascade(distances(names, serves), [capacity])
    assert leading(requests.hash_first, where, tiers=1).sum() == np.count_nonzero(where == 0)


@given(routed(), capacities)
def test_a_cascade_finds_what_one_cache_of_its_sum_finds(case, sizes):
    names, instances, serves = case
    requests = table(names)
    together = tier_hits(requests, [sum(sizes)], instances, serves)[:, 0]
    assert np.array_equal(tier_hits(requests, sizes, instances, serves).sum(axis=1), together)


@given(routed(), st.integers(0, 12), st.integers(0, 12))
def test_more_capacity_finds_no_less(case, small, more):
    names, instances, serves = case
    requests = table(names)
    less, least = (tier_hits(requests, [size], instances, serves) for size in (small + more, small))
    assert (less >= least).all()


@given(routed())
def test_what_is_written_first_is_what_is_not_found_there(case):
    """With room for everything: each block once for each instance that asks for it."""
    names, instances, serves = case
    written = tier_writes(table(names), [UNBOUNDED, UNBOUNDED], instances, serves).sum(axis=0)
    assert written.tolist() == [len({(i, name) for i, prompt in zip(serves, names, strict=True) for name in prompt}), 0]


@given(routed())
def test_gaps_are_times_between_touches(case):
    names, _, serves = case
    last, gaps = {}, []
    for i, prompt in enumerate(names):
        gaps += [i - last.get((serves[i], name), -np.inf) for name in prompt]
        last.update({(serves[i], name): i for name in prompt})
    requests = table(names)
    assert reuse_gaps(requests.hash_first, requests.hash_ids, requests.arrival, serves).tolist() == gaps


# Routing.


def test_sessions_go_by_their_second_block():
    """2654435761 mod 2^32 is itself: odd, its last three bits 001, so that mod 8 names pass through."""
    requests = table([[0, 5], [0, 5, 9], [0, 6], [7], []])
    assert by_session(requests.hash_first, requests.hash_ids, 8).tolist() == [5, 5, 6, 7, 4]
    assert by_session(np.zeros(3, np.int64), rows.NONE, 2).tolist() == [0, 1]


def test_names_as_large_as_hashes_are_routed():
    big = 2**63 - 1
    requests = table([[0, big]])
    assert by_session(requests.hash_first, requests.hash_ids, 7).tolist() == [big * 2654435761 % 2**32 % 7]


@given(trees, st.integers(1, 4), st.integers(1, 8), st.sampled_from([1.0, 1.5, np.inf]), st.integers(0, 3))
def test_the_longest_prefix_is_that_of_plain_caches(names, instances, capacity, guard, slack):
    requests = table(names)
    found = longest_prefix(requests.hash_first, requests.hash_ids, instances, capacity=capacity, guard=guard, slack=slack)
    caches, given_to = [Cascade([capacity]) for _ in range(instances)], [0] * instances
    for i, prompt in enumerate(names):
        limit = slack if i == 0 else guard * i / instances + slack
        able = [r for r in range(instances) if given_to[r] <= limit]
        runs = {r: next((k for k, name in enumerate(prompt) if caches[r].found(name)), len(prompt)) for r in able}
        assert found[i] == min(able, key=lambda r: (-runs[r], given_to[r], r))
        given_to[found[i]] += 1
        caches[found[i]].served(prompt)


# What cannot be.


def test_a_name_twice_in_one_prompt_is_refused():
    with pytest.raises(TraceError, match=r"request 1 \(from 0\) names block 5 twice"):
        distances([[5], [4, 5, 5]])


@pytest.mark.parametrize(
    ("sizes", "sharers", "says"),
    [
        ([1, 1], [1], "sharers names 1 tiers and capacities 2"),
        ([1, 1], [2, 1], "ascend from the nearest tier"),
        ([1], [0], "must be >= 1"),
        ([-1], [1], "must be >= 0"),
        ([np.array([1, 2])], [2], "the same for instances that share"),
    ],
)
def test_odd_tiers_are_refused(sizes, sharers, says):
    with pytest.raises(SpecError, match=says):
        tier_hits(table([[1], [2]]), sizes, 2, np.array([0, 1]), sharers=sharers)


def test_odd_routes_are_refused():
    for serves in ([0], [0, 2], [0, -1]):
        with pytest.raises(SpecError, match="one of 2 instances"):
            tier_hits(table([[1], [2]]), [1], 2, np.array(serves))
    with pytest.raises(SpecError, match=r"guard 0\.5"):
        longest_prefix(np.array([0, 1]), np.array([1]), 2, capacity=1, guard=0.5)


def test_without_names_nothing_is_found():
    requests = table([[1], [2]])._replace(hash_first=rows.NONE, hash_ids=rows.NONE, hash_tokens=0)
    for result in (tier_hits, tier_writes):
        assert result(requests, [1, 2], 2, round_robin(2, 2)).tolist() == [[0, 0], [0, 0]]
