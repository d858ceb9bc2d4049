"""Sessions and shared prefixes: what a cache may spare by hand, floors that hold on the simulator, the rate that sessions offer."""

import numpy as np
import pytest

from mist_dse.analytic.bound import bound
from mist_dse.analytic.caching import spared
from mist_dse.analytic.demand import demand, offered_rate, saturated
from mist_dse.requests import realise
from mist_dse.rows import CHUNKED, CONTINUOUS, PRIORITY, ROUND_ROBIN, SESSION_AFFINITY, SHORTEST, STATIC
from mist_dse.specs.workload import Arrivals, Lengths, Workload, WorkloadClass
from mist_dse.stages.names import described
from tests.analytic import machines
from tests.analytic.test_bound import assert_admissible


def conversations(*, rate=3.0, requests=300, think=4.0, seed=0):
    """Sessions behind a system prompt, of two classes with priorities."""
    return realise(Workload(
        name="s", arrivals=Arrivals(kind="sessions", rate=rate, turns=4.0, think=think, shared_prefix=300, requests=requests), seed=seed,
        input_tokens=Lengths(kind="lognormal", mean=300, cv=1.0), output_tokens=Lengths(kind="geometric", mean=80),
        classes=(WorkloadClass(name="a", share=1.0), WorkloadClass(name="b", share=1.0, priority=1)),
    ))  # fmt: skip


def lowered(asked, **changes):
    servers = machines.colocated(**changes)
    jobs = machines.chat(asked)._replace(priority=asked.priority, session=asked.session)
    return servers, described(jobs, asked, servers.engines)


def by_hand(**changes):
    """Three visits of 40 prompt tokens in blocks of 16, of which the first and the third share one name and the second none."""
    asked = machines.requests([0.0, 1.0, 2.0], 40, 5)
    names = {"hash_first": np.array([0, 2, 4, 7]), "hash_ids": np.array([7, 8, 17, 18, 7, 9, 10])}
    servers = machines.colocated(block_size=16, **changes)
    return servers, machines.chat(asked)._replace(**names)


def test_shared_blocks_by_hand():
    servers, jobs = by_hand(caching=True)
    assert spared(servers, jobs, any_order=True).computed.tolist() == [16, 0, 16]
    assert spared(servers, jobs, any_order=False).computed.tolist() == [0, 0, 16]


def test_no_more_than_whole_blocks_before_the_last_token():
    servers, jobs = by_hand(caching=True)
    twice = jobs._replace(hash_first=np.array([0, 3, 6, 9]), hash_ids=np.array([1, 2, 3] * 3), prompt=np.array([32, 33, 48]))
    assert spared(servers, twice, any_order=True).computed.tolist() == [16, 32, 32]
    known = twice._replace(computed=np.array([20, 0, 47]))
    assert spared(servers, known, any_order=False).computed.tolist() == [20, 32, 47]


@pytest.mark.parametrize("changes", [{"caching": False}, {"caching": True, "policy": STATIC}])
def test_engines_that_keep_nothing_spare_nothing(changes):
    servers, jobs = by_hand(**changes)
    assert spared(servers, jobs, any_order=True).computed.tolist() == [0, 0, 0]


ENGINES = (
    {"policy": CHUNKED, "caching": True},
    {"policy": CHUNKED, "caching": True, "replicas": 3, "router": SESSION_AFFINITY},
    {"policy": CHUNKED, "caching": True, "blocks": 400, "max_num_seqs": 32, "replicas": 2, "router": ROUND_ROBIN},
    {"policy": CONTINUOUS, "caching": True, "replicas": 2},
    {"policy": CHUNKED, "replicas": 2},
    {"policy": CHUNKED, "packing": SHORTEST, "caching": True},
    {"policy": CHUNKED, "packing": PRIORITY},
)


@pytest.mark.parametrize("changes", ENGINES)
@pytest.mark.parametrize(("rate", "think"), [(1.0, 10.0), (40.0, 0.5)])
def test_law_10_holds_for_sessions_and_shared_prefixes(changes, rate, think):
    asked = conversations(rate=rate, think=think)
    floors, records = assert_admissible(*lowered(asked, **changes), asked)
    assert (records.arrival >= asked.arrival * (1 - 1e-12)).all()
    assert np.nanmean(floors.e2e) > 0.2 * np.nanmean(records.end - records.arrival) or rate > 1.0


@pytest.mark.parametrize("packing", [SHORTEST, PRIORITY])
def test_law_10_holds_for_poisson_arrivals_that_overtake(packing):
    asked = machines.drawn(400, 40.0)
    servers = machines.colocated(packing=packing)
    jobs = machines.chat(asked)._replace(priority=np.arange(400) % 3)
    assert_admissible(servers, jobs, asked)


def test_the_floor_of_a_cached_prompt_is_lower():
    asked = conversations()
    with_cache, without = (bound(*lowered(asked, caching=caching), asked) for caching in (True, False))
    assert np.nanmean(with_cache.ttft) < 0.5 * np.nanmean(without.ttft)


def test_sessions_offer_their_nominal_rate_and_are_judged_by_it():
    slow, fast = conversations(rate=0.5), conversations(rate=300.0)
    assert offered_rate(slow) == 0.5
    servers, jobs = lowered(slow)
    assert not saturated(demand(servers, jobs, slow), slow)
    servers, jobs = lowered(fast)
    assert saturated(demand(servers, jobs, fast), fast)
    unnamed = fast._replace(nominal_rate=np.nan)
    assert not saturated(demand(servers, jobs, unnamed), unnamed)


def test_a_cache_takes_its_share_off_the_demand():
    asked = conversations(rate=20.0)
    steps = [demand(*lowered(asked, caching=caching), asked)["chat"]["steps"] for caching in (True, False)]
    assert steps[0] < 0.8 * steps[1]
