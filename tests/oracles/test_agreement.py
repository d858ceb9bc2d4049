"""The simulator against its slow twin: every time, every choice, every counter, with skipping and without."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings, strategies as st

from mist_dse import rows
from mist_dse.sim import simulate
from tests.oracles import twin
from tests.oracles.agreement import assert_agree
from tests.strategies import (
    ARRIVALS,
    PACKINGS,
    PARALLELISM,
    POLICIES,
    ROUTERS,
    Case,
    cases,
    colocated,
    disaggregated,
    jobs_of,
    requests_of,
    rough_cases,
    servers_of,
    simple_cost,
    simple_engine,
    traits,
)

SHARE = 3 * settings().max_examples  # 300 under the default profile, 3,000 to search
MANY = settings(max_examples=SHARE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
COST = simple_cost(base=2.0, per_token=1.0)
NAMES = dict(enumerate(("static", "continuous", "chunked", "prefill_first", "mixed")))


def assert_same(case: Case) -> None:
    """Both run, the simulator twice; a case in which visits preempt themselves for ever has no outcome to compare."""
    try:
        wanted = twin.simulate(*case)
    except twin.LivelockError:
        reject()
    for skip in (True, False):
        assert_agree(simulate(*case, skip=skip), wanted)


def one_pool(engine: rows.Engine, wanted: list[tuple[float, int, int]]) -> Case:
    """Requests of (arrival, prompt, output) at one engine."""
    jobs = jobs_of([colocated(prompt, emit) for _, prompt, emit in wanted])
    return Case(servers_of([(engine, COST)]), jobs, requests_of([at for at, _, _ in wanted], [(p, e) for _, p, e in wanted]))


def leased(engine: rows.Engine, wanted: list[tuple[int, int]]) -> Case:
    """Requests of (prompt, output), all at once, prefilled elsewhere and handed to an engine over a slow link."""
    servers = servers_of([(simple_engine(), COST), (engine, COST)], [rows.Station(1.0, 1.0, 1, 0.0)])
    jobs = jobs_of([disaggregated(prompt, emit, work=(0.0, 1.0)) for prompt, emit in wanted])
    return Case(servers, jobs, requests_of([0.0] * len(wanted), wanted))


def one_pool_of_names(engine: rows.Engine, wanted: list[tuple[int, int]]) -> Case:
    """Requests of (prompt, output), all at once, the first three blocks of which are the same."""
    case = one_pool(engine, [(0.0, prompt, emit) for prompt, emit in wanted])
    return case._replace(jobs=named(case.jobs, engine, 3))


def named(jobs: rows.Jobs, engine: rows.Engine, common: int) -> rows.Jobs:
    """The visits with names, of which so many are the same for all."""
    counts = (jobs.prompt + jobs.handed + jobs.limit) // engine.block_size
    names = [i if i < common else 100 * (v + 1) + i for v, count in enumerate(counts) for i in range(count)]
    return jobs._replace(hash_first=np.concatenate([[0], np.cumsum(counts)]), hash_ids=np.array(names, np.int64))


REFUSED = {("policy", "caching", rows.STATIC, True), ("parallelism", "device", "lanes", True)}
"""A static batch finds no prefix; a replica on a device has one step in flight."""
HAND_MADE = {
    "six requests of test_twin": one_pool(
        simple_engine(max_num_seqs=3), [(0, 5, 3), (0, 6, 3), (0, 4, 4), (1, 10, 1), (2, 2, 3), (30, 3, 1)]
    ),
    "the needy preempts the last": one_pool(simple_engine(max_num_batched_tokens=16, blocks=4), [(0, 8, 3), (0, 7, 3)]),
    "the needy is the last": one_pool(simple_engine(max_num_batched_tokens=16, blocks=5), [(0, 7, 6), (0, 7, 4)]),
    # The step that preempts admits nobody, the one after it may: steady decode must not be skipped over it.
    "a preempted head comes back at once": one_pool(
        simple_engine(max_num_seqs=2, max_num_batched_tokens=2, blocks=24, block_size=1), [(0, 10, 11), (0, 8, 1)]
    ),
    # Each lease holds 3 of 8 blocks, each batch member must reserve 7: one of them has to give way.
    "leases that block one another": leased(simple_engine(policy=rows.STATIC, blocks=8, block_size=1), [(2, 6), (2, 6)]),
    # A block that steady decode takes loses its name: who waits finds less, begins with less and may be admitted.
    "a name lost during steady decode": one_pool_of_names(
        simple_engine(policy=rows.PREFILL_FIRST, caching=True, block_size=2, blocks=9, long_prefill_threshold=3, max_num_batched_tokens=23),
        [(9, 9), (11, 7), (10, 3)],
    ),
    "a lease granted during steady decode": leased(simple_engine(blocks=3), [(5, 4), (6, 3), (3, 8), (2, 2)]),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_cases_agree_and_finish(name: str) -> None:
    case = HAND_MADE[name]
    assert (twin.simulate(*case).status == rows.COMPLETED).all()
    assert_same(case)


@pytest.mark.parametrize("policy", POLICIES, ids=NAMES.get)
@MANY
@given(data=st.data())
def test_simulator_and_twin_agree(policy: int, data: st.DataObject) -> None:
    assert_same(data.draw(cases(policy=policy)))


@pytest.mark.parametrize("policy", POLICIES, ids=NAMES.get)
@MANY
@given(data=st.data())
def test_simulator_and_twin_agree_without_ties(policy: int, data: st.DataObject) -> None:
    assert_same(data.draw(rough_cases(policy=policy)))


def test_every_pair_of_traits_is_drawn() -> None:
    """Over as many examples as one test of the agreement or two of the laws take, whatever the policy."""
    wanted = {"policy": POLICIES, "router": ROUTERS, "arrivals": ARRIVALS, "parallelism": PARALLELISM, "packing": PACKINGS}
    options = wanted | dict.fromkeys(("caching", "coupled", "device"), (False, True))
    drawn: Counter[tuple[object, ...]] = Counter()

    @settings(max_examples=500, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases())
    def count(case: Case) -> None:
        found = traits(case)._asdict()
        drawn.update((a, found[a], b, found[b]) for a, b in itertools.combinations(options, 2))

    count()
    for a, b in itertools.combinations(options, 2):
        for pair in itertools.product(options[a], options[b]):
            assert (a, b, *pair) in REFUSED or drawn[a, pair[0], b, pair[1]], (a, b, pair)
