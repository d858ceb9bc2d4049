"""Routers, packing, batchers and sessions, worked by hand as in `test_twin`: a step of T tokens lasts 2 + T seconds."""

from typing import Any

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.sim import simulate
from tests.builders import Call
from tests.oracles import twin
from tests.oracles.agreement import assert_agree
from tests.oracles.test_twin import COST, Line, lines, traced
from tests.strategies import colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine


def places(calls: list[Call], times: list[float] | None = None, **changes: Any) -> list[int]:
    """The replicas to which one pool's router sends requests of one visit each."""
    wanted = [(call.prompt, call.emit) for call in calls]
    jobs = jobs_of([[call] for call in calls])
    servers = servers_of([(simple_engine(**changes), COST)])
    records, _ = traced(servers, jobs, requests_of(times or [0.0] * len(calls), wanted))
    return [int(replica) for replica in records.visit_replica]


def test_round_robin() -> None:
    assert places([Call(0, 4, 1)] * 4, router=rows.ROUND_ROBIN, replicas=3) == [0, 1, 2, 0]


def test_join_shortest_queue() -> None:
    """a has ended by 10, b has not; then the loads are 1 and 1, and the first goes first."""
    calls = [Call(0, 1, 1), Call(0, 4, 10), Call(0, 1, 1), Call(0, 1, 1)]
    assert places(calls, [0.0, 0.0, 10.0, 10.0], router=rows.JOIN_SHORTEST_QUEUE, replicas=2) == [0, 1, 0, 0]


def test_random() -> None:
    """floor(3 u)."""
    calls = [Call(0, 4, 1, draw=(u, 0.9)) for u in (0.0, 0.34, 0.99, 0.5)]
    assert places(calls, router=rows.RANDOM, replicas=3) == [0, 1, 2, 1]


def test_power_of_two() -> None:
    """a = floor(3 u), b = floor(2 w), plus 1 from a on.

    | visit | u   | w  | a | b | loads of a, b | goes to |
    |-------|-----|----|---|---|---------------|---------|
    | 0     | .4  | 0  | 1 | 0 | 0, 0          | 1       |
    | 1     | .4  | .6 | 1 | 2 | 1, 0          | 2       |
    | 2     | 0   | .9 | 0 | 2 | 0, 1          | 0       |
    | 3     | .99 | 0  | 2 | 0 | 1, 1          | 2       |
    """
    calls = [Call(0, 4, 1, draw=draw) for draw in ((0.4, 0.0), (0.4, 0.6), (0.0, 0.9), (0.99, 0.0))]
    assert places(calls, router=rows.POWER_OF_TWO, replicas=3) == [1, 2, 0, 2]


def test_least_tokens() -> None:
    """12 tokens (14 less 2 computed before) go to 0, 5 to 1, 7 to 1, then both have 12."""
    calls = [Call(0, 12, 2, computed=2), Call(0, 3, 2), Call(0, 6, 1), Call(0, 4, 1)]
    assert places(calls, router=rows.LEAST_TOKENS, replicas=2) == [0, 1, 1, 0]


def test_least_kv() -> None:
    """0 has taken 2 blocks and 1 has taken one when c and d come, which wait and hold none: both go to 1 in spite of its load."""
    calls = [Call(0, 8, 9), Call(0, 4, 9), Call(0, 4, 1), Call(0, 4, 1)]
    assert places(calls, [0.0, 1.0, 2.0, 2.5], router=rows.LEAST_KV, replicas=2) == [0, 1, 1, 1]


def test_heavy_and_light() -> None:
    """Prompts of more than 5 tokens go to the first rank, others to the other two; to all of them where none is left for them."""
    calls = [Call(0, prompt, 1) for prompt in (6, 3, 9, 2, 5)]
    assert places(calls, router=rows.HEAVY_LIGHT, replicas=3, heavy_tokens=5, heavy_ranks=1) == [0, 1, 0, 2, 1]
    assert places(calls, router=rows.HEAVY_LIGHT, replicas=3, heavy_tokens=5, heavy_ranks=3) == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(("slack", "wanted"), [(0, [0, 0, 1]), (1, [0, 0, 0])])
def test_prefix_affinity(slack: int, wanted: list[int]) -> None:
    """a's names are on 0, where b finds one; then 0 has more than the mean of 1/2, and c goes there only with some slack."""
    changes = {"router": rows.PREFIX_AFFINITY, "replicas": 2, "caching": True, "guard": 1.0, "slack": slack}
    assert places([Call(0, 8, 1, names=(7, 8))] * 3, [0.0, 20.0, 20.0], **changes) == wanted


def test_session_affinity() -> None:
    """Where the session was last; the others where there is least."""
    calls = [Call(0, 4, 1, session=session) for session in (5, 6, 5, -1, 6)]
    assert places(calls, router=rows.SESSION_AFFINITY, replicas=3) == [0, 1, 0, 2, 1]


def test_beside_another_visit() -> None:
    """a's second visit joins its first though the other rank is empty by then."""
    jobs = jobs_of([[Call(0, 4, 1, edges=((1, rows.ON_END),)), Call(0, 4, 1, need=1, beside=0)], [Call(0, 1, 1)]])
    servers = servers_of([(simple_engine(replicas=2, router=rows.ROUND_ROBIN), COST)])
    records, _ = traced(servers, jobs, requests_of([0.0, 0.0], [(4, 1), (1, 1)]))
    assert records.visit_replica.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("groups", "wanted"), [(1, [0, 3, 1, 2]), (2, [0, 2, 1, 3])])
def test_local_groups(groups: int, wanted: list[int]) -> None:
    """b's prompt is done first: its decode takes the first turn in the pool, or stays in b's group."""
    pools = [(simple_engine(replicas=2, groups=groups), COST)] * 2
    calls = [disaggregated(prompt, 3, work=(0.0, 1.0)) for prompt in (8, 2)]
    calls = [[call._replace(beside=0) if call.server == 1 else call for call in request] for request in calls]
    servers = servers_of(pools, [rows.Station(1.0, 1.0, 1, 0.0)])
    records, _ = traced(servers, jobs_of(calls), requests_of([0.0, 0.0], [(8, 3), (2, 3)]))
    assert records.visit_replica[[0, 2, 3, 5]].tolist() == wanted


@pytest.mark.parametrize(
    ("packing", "order"),
    [(rows.FCFS, [0, 1, 2, 3]), (rows.PRIORITY, [2, 1, 3, 0]), (rows.SHORTEST, [0, 2, 3, 1]), (rows.LEAST_WORK, [0, 3, 1, 2])],
)
def test_packing(packing: int, order: list[int]) -> None:
    """All at 0, one at a time.

    | request             | a | b | c  | d |
    |---------------------|---|---|----|---|
    | priority            | 2 | 1 | 0  | 1 |
    | prompt              | 1 | 6 | 2  | 3 |
    | prompt + output     | 2 | 7 | 11 | 5 |
    """
    calls = [Call(0, 1, 1, priority=2), Call(0, 6, 1, priority=1), Call(0, 2, 9), Call(0, 3, 2, priority=1)]
    servers = servers_of([(simple_engine(max_num_seqs=1, packing=packing), COST)])
    records, _ = traced(servers, jobs_of([[call] for call in calls]), requests_of([0.0] * 4, [(c.prompt, c.emit) for c in calls]))
    assert np.argsort(records.admitted).tolist() == order


def test_the_lowest_priority_is_preempted() -> None:
    """Five blocks of 4 tokens; a: prompt 8, output 6, priority 1, at 0; b: prompt 7, output 3, priority 0, at 1.

    | step | from | to | decodes | chunks | blocks a, b, free | why                                                              |
    |------|------|----|---------|--------|-------------------|------------------------------------------------------------------|
    | 1    | 0    | 10 |         | a 0+8  | 2 0 3             |                                                                  |
    | 2    | 10   | 20 | a*      | b 0+7  | 3 2 0             |                                                                  |
    | 3    | 20   | 24 | a* b*   |        | 3 2 0             |                                                                  |
    | 4    | 24   | 27 | b*      |        | 0 3 2             | b's 9th token needs a third block: not b, the last, but a goes   |
    | 5    | 27   | 40 |         | a 0+11 | 3 0 2             | b has ended                                                      |
    | 6, 7 | 40   | 46 | a*      |        | 3 0 2, 4 0 1      |                                                                  |
    """
    engine = simple_engine(max_num_batched_tokens=16, blocks=5, packing=rows.PRIORITY)
    jobs = jobs_of([[Call(0, 8, 6, priority=1)], [Call(0, 7, 3)]])
    records, trace = traced(servers_of([(engine, COST)]), jobs, requests_of([0.0, 1.0], [(8, 6), (7, 3)]))
    assert lines(trace) == [
        Line(0, 10, (), ((0, 8, 0),)),
        Line(10, 20, (0,), ((1, 7, 0),)),
        Line(20, 24, (0, 1)),
        Line(24, 27, (1,), (), (0,)),
        Line(27, 40, (), ((0, 11, 0),)),
        Line(40, 43, (0,)),
        Line(43, 46, (0,)),
    ]
    assert records.preemptions.tolist() == [1, 0]


def test_a_batcher_starts_when_it_is_full_or_has_waited() -> None:
    """One worker, batches of 2, 3 s of patience; k jobs take 3 + k s and 1 s per work.

    | jobs | join | work | start | why                         | takes     | end |
    |------|------|------|-------|-----------------------------|-----------|-----|
    | a, b | 0, 1 | 1, 2 | 1     | two of them                 | 5 + 1 + 2 | 9   |
    | c    | 2    | 1    | 9     | 3 s are over, but nobody is free | 4 + 1 | 14 |
    | d    | 20   | 0    | 23    | 3 s are over                | 4         | 27  |
    """
    batcher = rows.Batcher(1, 2, 3.0, np.array([0.0, 4.0, 5.0]), 1.0)
    jobs = jobs_of([[Call(0, work=work)] for work in (1.0, 2.0, 1.0, 0.0)])
    records, _ = traced(servers_of([], (), [batcher]), jobs, requests_of([0.0, 1.0, 2.0, 20.0], [(1, 1)] * 4))
    assert records.visit_start.tolist() == [1.0, 1.0, 9.0, 23.0]
    assert records.visit_end.tolist() == [9.0, 9.0, 14.0, 27.0]
    assert records.station_busy.tolist() == [17.0]


def test_two_workers_start_two_batches() -> None:
    """Five jobs at once in batches of 2, without patience: two batches at 0, the fifth when a worker is free."""
    batcher = rows.Batcher(2, 2, 0.0, np.array([0.0, 4.0, 5.0]), 0.0)
    jobs = jobs_of([[Call(0, work=1.0)] for _ in range(5)])
    records, _ = traced(servers_of([], (), [batcher]), jobs, requests_of([0.0] * 5, [(1, 1)] * 5))
    assert records.visit_start.tolist() == [0.0] * 4 + [5.0]
    assert records.visit_end.tolist() == [5.0] * 4 + [9.0]


def test_turns_of_a_session() -> None:
    """a is over at 7; b comes 2 s later and is rejected at once (10 tokens in 2 blocks of 4); c comes 1.5 s after that."""
    wanted = [(5, 1), (10, 1), (1, 1)]
    asked = requests_of([0.0] * 3, wanted, think=[0.0, 2.0, 1.5], follows=[-1, 0, 1])
    records, _ = traced(servers_of([(simple_engine(blocks=2), COST)]), jobs_of([[Call(0, p, e)] for p, e in wanted]), asked)
    assert records.arrival.tolist() == [0.0, 9.0, 10.5]
    assert records.status.tolist() == [rows.COMPLETED, rows.REJECTED, rows.COMPLETED]


@pytest.mark.parametrize("skip", [True, False])
def test_a_job_without_work_that_starts_when_another_ends_is_an_event_of_its_own(skip: bool) -> None:
    """Two engines; the one-slot station ends a at 2 and then b, whose work is 0, at 2 as well. What a released is placed before b
    frees the KV of its prefill, so least KV avoids that engine.

    | request | visits                                             |
    |---------|----------------------------------------------------|
    | 0       | a: station, work 2; then an engine                 |
    | 1       | prefill, kept, ends at 1; b: station, work 0, frees |
    """
    engine = simple_engine(replicas=2, router=rows.LEAST_KV)
    servers = servers_of([(engine, simple_cost(base=1.0))], [rows.Station(1.0, 1.0, 1, 0.0)])
    after = [Call(1, work=2.0, edges=((1, rows.ON_END),)), Call(0, 4, 1, need=1)]
    kept = [Call(0, 4, 1, keep=1, edges=((1, rows.ON_END),)), Call(1, work=0.0, need=1, frees=0)]
    jobs, asked = jobs_of([after, kept]), requests_of([0.0, 0.0], [(4, 1), (4, 1)])
    records = simulate(servers, jobs, asked, skip=skip)
    assert_agree(records, twin.simulate(servers, jobs, asked))
    assert records.visit_end.tolist() == [2.0, 3.0, 1.0, 2.0]
    assert records.visit_replica.tolist() == [-1, 1, 0, -1]


def test_affinity_without_sessions_is_least_load() -> None:
    """Nothing is labelled: every column that is left out has its default."""
    wanted = [(float(i % 3), 5, 3) for i in range(9)]
    found = []
    for router in (rows.SESSION_AFFINITY, rows.JOIN_SHORTEST_QUEUE):
        servers = servers_of([(simple_engine(replicas=2, ranks=2, router=router), simple_cost(base=1.0, per_token=0.5))])
        jobs = jobs_of([colocated(prompt, emit) for _, prompt, emit in wanted])
        bare = jobs._replace(**rows.Jobs._field_defaults)
        asked = requests_of(sorted(at for at, _, _ in wanted), [(p, e) for _, p, e in wanted])
        found.append(simulate(servers, bare, asked))
        assert_agree(found[-1], twin.simulate(servers, bare, asked))
    assert_agree(*found)
