"""Cancellation in every state, worked by hand as in `test_twin`: a step of T tokens lasts 2 + T seconds.

In each case a request has two branches and a join of the first: the other branch, an hour at a station but for its few seconds of
work, ends when it has to, and then the loser is cancelled wherever it is.
"""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from mist_dse import rows
from tests.builders import Call, joined
from tests.oracles.test_twin import COST, Line, Step, lines, traced
from tests.strategies import disaggregated, jobs_of, requests_of, servers_of, simple_engine

WIDE = rows.Station(1000.0, 1.0, 1000, 0.0)  # a second of work takes a second


def race(loser: Sequence[Call], wide: int, after: float) -> list[Call]:
    """The loser, and a visit to the ``wide`` station that ends ``after`` s and cancels it."""
    return joined([loser, [Call(wide, work=after)]], (rows.ON_END, rows.ON_END), Call(wide, need=1))


def one_pool(requests: Sequence[Sequence[Call]], times: Sequence[float] = (), **changes: Any) -> tuple[rows.Records, list[Step]]:
    """Requests at an engine (server 0) and the wide station (server 1)."""
    asked = requests_of(times or [0.0] * len(requests), [(1, 1)] * len(requests))
    return traced(servers_of([(simple_engine(**changes), COST)], [WIDE]), jobs_of(requests), asked)


def test_one_that_runs_ends_with_the_step() -> None:
    """Cancelled at 7, in its first decode step (6 to 9), which counts as work and emits nothing; b, who waits for the seat, is next."""
    records, trace = one_pool([race([Call(0, 4, 10)], 1, 7.0), [Call(0, 1, 1)]], max_num_seqs=1)
    assert lines(trace) == [Line(0, 6, (), ((0, 4, 0),)), Line(6, 9, (0,)), Line(9, 12, (), ((3, 1, 0),))]
    assert records.visit_end.tolist() == [9.0, 7.0, 7.0, 12.0]
    assert (records.end[0], records.first_token[0], records.tokens[0]) == (9.0, 6.0, 4 + 1 + 1)
    assert isnan(records.last_token[0])


def test_one_that_runs_in_no_step_leaves_at_once() -> None:
    """Cancelled at 6, when its prompt's step has ended and the next has not started."""
    records, trace = one_pool([race([Call(0, 4, 10)], 1, 6.0)])
    assert lines(trace) == [Line(0, 6, (), ((0, 4, 0),))]
    assert (records.visit_end[0], records.first_token[0]) == (6.0, 6.0)


def test_one_that_waits_leaves_at_once() -> None:
    """a has the only seat until 12; the loser is gone at 2, never started, and c takes the seat at 12."""
    records, _ = one_pool([[Call(0, 4, 3)], race([Call(0, 4, 10)], 1, 2.0), [Call(0, 1, 1)]], max_num_seqs=1)
    assert records.visit_end[1] == 2.0
    assert isnan(records.visit_start[1])
    assert records.visit_start[4] == 12.0
    assert (records.status == rows.COMPLETED).all()


def test_the_front_end_has_spent_its_time() -> None:
    """10 s a prompt: the loser would leave at 10 and is gone at 2; b, behind it, leaves at 20 all the same."""
    records, _ = one_pool([race([Call(0, 4, 10)], 1, 2.0), [Call(0, 1, 1)]], front_end=10.0)
    assert (records.visit_end[0], records.visit_start[3]) == (2.0, 20.0)


def test_one_in_the_inbox_leaves_at_once() -> None:
    """a decodes from 6 on; the loser has come in at 7 and not been looked at when it is cancelled at 9.5."""
    records, _ = one_pool([[Call(0, 4, 5)], race([Call(0, 4, 10)], 1, 2.5)], [0.0, 7.0], receive_interval=4)
    assert records.visit_end[1] == 9.5
    assert isnan(records.visit_start[1])


def test_one_that_is_not_released_ends_at_once_and_never_is() -> None:
    """The loser is a visit to the wide station for 9 s, and an engine visit after it."""
    records, trace = one_pool([race([Call(1, work=9.0, edges=((1, rows.ON_END),)), Call(0, 4, 1, need=1)], 1, 2.0)])
    assert records.visit_end.tolist() == [2.0] * 4
    assert np.isnan(records.visit_ready).tolist() == [False, True, False, False]
    assert trace == []


def test_a_static_batch_keeps_its_place() -> None:
    """Batches of 2: the loser (4 + 3 tokens) and a (4 + 2). It ends at 11, and its own part, with it the batch, at 18.

    | step | from | to | batch                  | ends    |
    |------|------|----|------------------------|---------|
    | 1    | 0    | 10 | loser 0+4, a 0+4       |         |
    | 2    | 10   | 14 | loser* a*              | a       |
    | 3    | 14   | 18 | loser* a*, both padded |         |
    | 4    | 18   | 21 | b 0+1                  | b       |
    """
    records, trace = one_pool([race([Call(0, 4, 3)], 1, 11.0), [Call(0, 4, 2)], [Call(0, 1, 1)]], policy=rows.STATIC, max_num_seqs=2)
    assert [(line.start, line.end) for line in lines(trace)] == [(0, 10), (10, 14), (14, 18), (18, 21)]
    assert records.visit_end.tolist() == [11.0, 11.0, 11.0, 14.0, 21.0]
    assert records.contexts[0] == 5 + 5 + 6 + 6


def stations(narrow: rows.Station, requests: Sequence[Sequence[Call]], times: Sequence[float] = ()) -> rows.Records:
    """Requests at a narrow station (server 0) and the wide one (server 1)."""
    asked = requests_of(times or [0.0] * len(requests), [(1, 1)] * len(requests))
    return traced(servers_of([], [narrow, WIDE]), jobs_of(requests), asked)[0]


def test_the_others_at_a_station_get_its_share() -> None:
    """Half a second of work a second each until 2; then a has 2 of its 3 left and the station to itself, until 4."""
    records = stations(rows.Station(1.0, 1.0, 2, 0.0), [race([Call(0, work=9.0)], 1, 2.0), [Call(0, work=3.0)]])
    assert (records.visit_end[0], records.visit_end[3]) == (2.0, 4.0)
    assert records.station_busy[0] == 1.0 + 3.0


def test_one_in_the_queue_or_the_latency_of_a_station_leaves_at_once() -> None:
    """One at a time, 5 s of latency: a works until 1; of two that race it, one is in latency and one in the queue when cancelled."""
    records = stations(
        rows.Station(1.0, 1.0, 1, 5.0), [race([Call(0, work=1.0)], 1, 2.0), [Call(0, work=3.0)], race([Call(0, work=9.0)], 1, 3.0)]
    )
    assert (records.visit_end[0], records.visit_end[3], records.visit_end[4]) == (2.0, 9.0, 3.0)
    assert isnan(records.visit_start[4])


def test_a_batch_of_a_batcher_keeps_its_place() -> None:
    """Batches of 2, 5 s each: the loser is in the first with a, and ends at 2; a ends at 5. Another leaves the queue before b and c."""
    batcher = rows.Batcher(1, 2, 0.0, np.array([0.0, 4.0, 5.0]), 0.0)
    calls = [race([Call(1)], 0, 2.0), [Call(1)], race([Call(1)], 0, 3.0), [Call(1)], [Call(1)]]
    records, _ = traced(servers_of([], [WIDE], [batcher]), jobs_of(calls), requests_of([0.0] * 5, [(1, 1)] * 5))
    assert records.visit_end[[0, 3, 4, 7, 8]].tolist() == [2.0, 5.0, 3.0, 10.0, 10.0]
    assert isnan(records.visit_start[4])


def test_one_in_the_lease_queue_takes_and_keeps_nothing() -> None:
    """`test_twin`'s hand-off: a holds 2 of 3 blocks, b waits for 2 and c, behind it, for 1: granted when b is cancelled."""
    prefill, decode = simple_engine(max_num_seqs=3), simple_engine(blocks=3)
    servers = servers_of([(prefill, COST), (decode, COST)], [rows.Station(1.0, 1.0, 1, 0.0), WIDE])
    calls = [
        disaggregated(5, 4, work=(0.0, 4.0)),
        race(disaggregated(6, 3, work=(0.0, 4.0)), 3, 20.0),
        disaggregated(2, 2, work=(0.0, 1.0)),
    ]
    records, _ = traced(servers, jobs_of(calls), requests_of([0.0] * 3, [(5, 4), (6, 3), (2, 2)]))
    assert records.visit_end[[4, 5]].tolist() == [20.0, 20.0]
    assert isnan(records.visit_start[4])
    assert records.visit_start[9] == 20.0  # c's transfer
    assert (records.status == rows.COMPLETED).all()


def test_cancelling_twice_is_cancelling_once() -> None:
    """Two joins cancel the same visit, the second when it has left."""
    joins = (Call(1, need=1, edges=((0, rows.CANCEL),)), Call(1, need=1, edges=((0, rows.CANCEL),)))
    winners = (Call(1, work=2.0, edges=((3, rows.ON_END),)), Call(1, work=4.0, edges=((4, rows.ON_END),)))
    records, _ = one_pool([[Call(0, 9, 1), *winners, *joins]])
    assert records.visit_end.tolist() == [10.0, 2.0, 4.0, 2.0, 4.0]
    assert records.status.tolist() == [rows.COMPLETED]
