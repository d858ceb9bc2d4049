"""What happens at one instant, worked by hand as in `test_twin`: steps that take no time, and boundaries that nothing shows."""

from typing import Any

import numpy as np
import pytest

from mist_dse import rows
from tests.builders import Call, jobs_of, joined, requests_of, servers_of, simple_cost, simple_engine
from tests.oracles.test_cancel import one_pool, race
from tests.oracles.test_twin import COST, Line, lines, traced

TIMELESS = simple_cost()
"""Steps that take no time."""


LOST = simple_cost(base=2.0**-60)
"""Steps that a clock loses which ticks in 2^-22 s, as at 2^31 s."""


def raced(first: int, second: int, cost: rows.StepCost = TIMELESS, at: float = 0.0, **changes: Any) -> rows.Records:
    """Two branches at one pool of so many tokens of output, prompts of 8, that arrive together; the one that ends first cancels the
    other."""
    calls = joined([[Call(0, 8, first)], [Call(0, 8, second)]], (rows.ON_END, rows.ON_END), Call(1, need=1))
    servers = servers_of([(simple_engine(**changes), cost)], [rows.Station(1.0, 1.0, 1, 0.0)])
    return traced(servers, jobs_of([calls]), requests_of([at], [(8, second)]))[0]


@pytest.mark.parametrize(("cost", "at"), [(TIMELESS, 0.0), (LOST, 2.0**31)])
def test_steps_without_length_are_steps(cost: rows.StepCost, at: float) -> None:
    """Both replicas take a prompt, then a decode, of which b is done: a has 2 of its 5 tokens out when it is cancelled."""
    records = raced(5, 2, cost, at, replicas=2)
    assert records.tokens.tolist() == [8 + 1, 8 + 1]
    assert records.visit_end.tolist() == [at, at, at]


def test_lanes_whose_entrance_is_free_at_once_start_together() -> None:
    """A prompt in each of two lanes, then a decode in each, of which b is done: a has 2 of its 3 tokens out."""
    records = raced(3, 2, lanes=2)
    assert records.tokens.tolist() == [8 + 8 + 1 + 1]
    assert records.steps.tolist() == [4]


@pytest.mark.parametrize(("mine", "other", "start"), [(0.0, 0.5, 15.0), (0.5, 0.0, 12.0)])
def test_a_boundary_is_passed_when_its_replica_is_settled(mine: float, other: float, start: float) -> None:
    """Two replicas; a's steps end at 6, 9, 12, 15; c is admitted beside it at 12, and its start releases d to a's replica: if that is
    settled before c's, its step from 12 on is under way, and d is admitted at 15, else at 12."""
    a = [Call(0, 4, 20, draw=(mine, 0.0))]
    c = [Call(0, 4, 1, draw=(other, 0.0), edges=((1, rows.ON_START),)), Call(0, 4, 1, need=1, draw=(mine, 0.0))]
    servers = servers_of([(simple_engine(replicas=2, router=rows.RANDOM), COST)])
    records, _ = traced(servers, jobs_of([a, c]), requests_of([0.0, 12.0], [(4, 20), (4, 1)]))
    assert records.visit_start.tolist() == [0.0, 12.0, start]


@pytest.mark.parametrize(("mine", "other"), [(0.0, 0.5), (0.5, 0.0)])
def test_who_is_cancelled_by_a_start_is_in_the_step_that_starts_beside_it(mine: float, other: float) -> None:
    """As above; c's start at 12 cancels a, which leaves after all replicas have been settled, and so with its step from 12 to 15."""
    calls = [
        Call(0, 4, 20, draw=(mine, 0.0)),
        Call(1, work=12.0, edges=((2, rows.ON_END),)),
        Call(0, 4, 1, need=1, draw=(other, 0.0), edges=((3, rows.ON_START),)),
        Call(1, need=1, edges=((0, rows.CANCEL),)),
    ]
    servers = servers_of([(simple_engine(replicas=2, router=rows.RANDOM), COST)], [rows.Station(1000.0, 1.0, 1000, 0.0)])
    records, _ = traced(servers, jobs_of([calls]), requests_of([0.0], [(4, 20)]))
    assert records.visit_start[:3].tolist() == [0.0, 0.0, 12.0]
    assert records.visit_end[0] == 15.0


def test_signals_beyond_need_do_nothing() -> None:
    """The second visit needs none and is released at 0, though the first has sent it one; the third needs one and gets two."""
    calls = [
        Call(1, work=2.0, edges=((1, rows.ON_START), (2, rows.ON_END))),
        Call(0, 4, 1, edges=((2, rows.ON_END),)),
        Call(0, 4, 1, need=1),
    ]
    records, _ = one_pool([calls])
    assert records.visit_ready.tolist() == [0.0, 0.0, 2.0]
    assert records.visit_end.tolist() == [2.0, 6.0, 12.0]


def test_a_postponed_prompt_that_is_cancelled_is_waited_for_no_more() -> None:
    """a's steps end at 6, 9, 12 and so on. b waits in those of 9 and 12, is cancelled at 13, and the count stays 2; c waits in those of
    21, 24 and 27 and goes into that of 30, as 5 steps are the most."""
    requests = [[Call(0, 4, 20)], race([Call(0, 4, 1)], 1, 6.0), [Call(0, 4, 1)]]
    records, _ = one_pool(requests, [0.0, 7.0, 20.0], wait_steps=5, wait_tokens=30, reserve_output=True)
    assert np.isnan(records.visit_start[1])
    assert records.visit_start[4] == 30.0


def test_a_handed_visit_counts_as_a_decode_before_its_first_step() -> None:
    """At 4 a decodes and b brings 3 prompt tokens, as many as the wait is for: they are computed alone, and h, handed over, is admitted
    before them and waits. At 9 a, h and b decode, and c's one token makes four again.

    | step | from | to | chunks | why                             |
    |------|------|----|--------|---------------------------------|
    | 1    | 0    | 4  | a 0+2  |                                 |
    | 2    | 4    | 9  | b 0+3  | 1 decode and 3 tokens are 4     |
    | 3    | 9    | 12 | c 0+1  | 3 decodes and one token are 4   |
    """
    calls = [Call(0, 2, 5), Call(0, 4, 3, computed=4, handed=1), Call(0, 3, 3), Call(0, 1, 1)]
    ways = {"policy": rows.CONTINUOUS, "wait_steps": 5, "wait_tokens": 4}
    records, trace = one_pool([[call] for call in calls], [0.0, 1.0, 2.0, 5.0], **ways)
    assert lines(trace)[:3] == [
        Line(0, 4, (), ((0, 2, 0),)),
        Line(4, 9, (), ((2, 3, 0),)),
        Line(9, 12, (), ((3, 1, 0),)),
    ]
    assert records.visit_start.tolist() == [0.0, 4.0, 4.0, 9.0]


def test_the_next_job_starts_before_the_one_that_left_ends() -> None:
    """Two jobs end at 1, and two that waited start: c in a's place, a ends, d in b's place, b ends. What each of these releases joins an
    engine of one seat in that order."""
    ends, starts = (((4, rows.ON_END),), ((5, rows.ON_END),)), (((6, rows.ON_START),), ((7, rows.ON_START),))
    jobs = [Call(1, work=1.0, edges=edges) for edges in (*ends, *starts)]
    servers = servers_of([(simple_engine(max_num_seqs=1), COST)], [rows.Station(1000.0, 1.0, 2, 0.0)])
    records, _ = traced(servers, jobs_of([[*jobs, *[Call(0, 1, 1, need=1)] * 4]]), requests_of([0.0], [(1, 1)]))
    assert records.visit_start.tolist() == [0.0, 0.0, 1.0, 1.0, 4.0, 10.0, 1.0, 7.0]


def test_a_lease_takes_blocks_that_a_step_of_the_same_instant_did_not_need() -> None:
    """Two pools; four blocks of 4 tokens on the second, where a decodes. At 12, the end of a step of a's, x is admitted at the first
    pool and its start asks for a lease for z: a's next step starts, with 2 blocks, and the lease takes the other 2.

    | step | from   | to     | decodes | chunks | blocks a z free | why                                                        |
    |------|--------|--------|---------|--------|-----------------|------------------------------------------------------------|
    | 1    | 0      | 6      |         | a 0+4  | 1 0 3           |                                                            |
    | 2-5  | 6      | 18     | a*      |        | 2 2 0           | from 12 on                                                 |
    | 6    | 18     | 28     |         | a 0+8  | 2 2 0           | its ninth token needs a third block: a is preempted        |
    | 7    | 28     | 31     |         | a 8+1  | 3 0 1           | z, which waits since 19, loses its KV                      |
    | 8-11 | 31     | 43     | a*      |        | 3 0 1, 4 0 0    |                                                            |
    | 12   | 43     | 50     |         | z 0+5  | 0 2 2           |                                                            |
    """
    x = Call(0, 4, 1, answers=0, edges=((1, rows.ON_START),))
    request = [x, Call(2, work=7.0, need=1, lease=2, edges=((2, rows.ON_END),)), Call(1, 4, 1, computed=4, handed=1, need=1)]
    servers = servers_of([(simple_engine(), COST), (simple_engine(blocks=4), COST)], [rows.Station(1.0, 1.0, 1, 0.0)])
    records, trace = traced(servers, jobs_of([[Call(1, 4, 10)], request]), requests_of([0.0, 12.0], [(4, 10), (4, 1)]))
    assert lines(trace, 1) == [
        Line(0, 6, (), ((0, 4, 0),)),
        *[Line(start, start + 3, (0,)) for start in (6, 9, 12, 15)],
        Line(18, 28, (), ((0, 8, 0),)),
        Line(28, 31, (), ((0, 1, 8),), (3,)),
        *[Line(start, start + 3, (0,)) for start in (31, 34, 37, 40)],
        Line(43, 50, (), ((3, 5, 0),)),
    ]
    assert records.preemptions.tolist() == [1, 1]
