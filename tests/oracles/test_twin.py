"""The twin and the simulator against examples worked by hand, step by step, before either was ever run on them.

A step of T tokens lasts 2 + T seconds in all of them. In the tables ``a`` is request 0, ``b`` request 1, and so on;
``a*`` is a decode, ``a 5+3`` a chunk of 3 tokens after 5 computed before.
"""

from typing import NamedTuple

import numpy as np
from hypothesis import given, reject, settings

from mist_dse import rows
from mist_dse.sim import simulate as run
from tests.oracles import twin
from tests.oracles.agreement import assert_agree
from tests.oracles.twin import Step, simulate
from tests.strategies import Call, Case, cases, colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine

COST = simple_cost(base=2.0, per_token=1.0)


def traced(servers: rows.Servers, jobs: rows.Jobs, requests: rows.Requests) -> tuple[rows.Records, list[Step]]:
    """Records and steps of the twin, and the assertion that the simulator's records are the same."""
    records, trace = twin.traced(servers, jobs, requests)
    assert_agree(run(servers, jobs, requests), records)
    return records, trace


class Line(NamedTuple):
    """One step of a one-rank replica, as in the tables."""

    start: float
    end: float
    decodes: tuple[int, ...]
    chunks: tuple[tuple[int, int, int], ...] = ()  # visit, new tokens, tokens computed before
    preempted: tuple[int, ...] = ()


def lines(trace: list[Step], replica: int = 0) -> list[Line]:
    return [Line(s.time, s.time + s.length, *s.ranks[0]) for s in trace if s.replica == replica]


def one_pool(engine: rows.Engine, wanted: list[tuple[float, int, int]], cost: rows.StepCost = COST) -> tuple[rows.Records, list[Step]]:
    """Requests of (arrival, prompt, output) at one engine."""
    jobs = jobs_of([colocated(prompt, emit) for _, prompt, emit in wanted])
    return traced(servers_of([(engine, cost)]), jobs, requests_of([at for at, _, _ in wanted], [(p, e) for _, p, e in wanted]))


def test_six_requests_under_chunked_batching() -> None:
    """Six requests under chunked batching: budget 8 tokens a step, at most 3 sequences.

    | request | a | b | c | d  | e | f  |
    |---------|---|---|---|----|---|----|
    | arrives | 0 | 0 | 0 | 1  | 2 | 30 |
    | prompt  | 5 | 6 | 4 | 10 | 2 | 3  |
    | output  | 3 | 3 | 4 | 1  | 3 | 1  |

    | step | from | to | decodes  | chunks           | T | K        | why                                                       |
    |------|------|----|----------|------------------|---|----------|-----------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+5, b 0+3     | 8 |          | b's prompt is split where the budget ends; c waits        |
    | 2    | 10   | 20 | a*       | b 3+3, c 0+4     | 8 | 6        | the running first: a 1, b its other 3, then c takes 4     |
    | 3    | 20   | 25 | a* b* c* |                  | 3 | 7+7+5    | 5 tokens of budget are left, but 3 sequences run: d waits |
    | 4    | 25   | 35 | b* c*    | d 0+6            | 8 | 8+6      | a has ended, d takes its place and the rest of the budget |
    | 5    | 35   | 44 | c*       | d 6+4, e 0+2     | 7 | 7        | b has ended, e enters; the cap stops f with 1 token left  |
    | 6    | 44   | 50 | e*       | f 0+3            | 4 | 3        | c and d have ended                                        |
    | 7    | 50   | 53 | e*       |                  | 1 | 4        | f has ended, e produces its third                         |
    """
    engine = simple_engine(max_num_batched_tokens=8, max_num_seqs=3)
    records, trace = one_pool(engine, [(0, 5, 3), (0, 6, 3), (0, 4, 4), (1, 10, 1), (2, 2, 3), (30, 3, 1)])
    a, b, c, d, e, f = range(6)
    assert lines(trace) == [
        Line(0, 10, (), ((a, 5, 0), (b, 3, 0))),
        Line(10, 20, (a,), ((b, 3, 3), (c, 4, 0))),
        Line(20, 25, (a, b, c)),
        Line(25, 35, (b, c), ((d, 6, 0),)),
        Line(35, 44, (c,), ((d, 4, 6), (e, 2, 0))),
        Line(44, 50, (e,), ((f, 3, 0),)),
        Line(50, 53, (e,)),
    ]
    assert records.admitted.tolist() == [0, 0, 10, 25, 35, 44]
    assert records.first_token.tolist() == [10, 20, 20, 44, 44, 50]
    assert records.end.tolist() == records.last_token.tolist() == [25, 35, 44, 44, 53, 50]
    assert (records.steps[0], records.busy[0], records.makespan) == (7, 53.0, 53.0)
    assert records.tokens[0] == 30 + 9  # all prompts, and all outputs but the six that end a prompt
    assert records.pairs[0] == 15 + 21 + 10 + 55 + 3 + 6  # p (p + 1) / 2 of each prompt, however it was split
    assert records.contexts[0] == 6 + 19 + 14 + 7 + 3 + 4
    assert (records.peak_seqs[0], records.peak_tokens[0]) == (3, 8)


def test_preemption_of_the_last_by_the_first() -> None:
    """Four blocks of 4 tokens; a: prompt 8, output 3; b: prompt 7, output 3; both at 0.

    | step | from | to | decodes | chunks       | blocks a, b, free | why                                                               |
    |------|------|----|---------|--------------|-------------------|-------------------------------------------------------------------|
    | 1    | 0    | 17 |         | a 0+8, b 0+7 | 2 2 0             |                                                                   |
    | 2    | 17   | 20 | a*      |              | 3 0 1             | a's 9th token needs a third block: b, the last, is preempted      |
    | 3    | 20   | 23 | a*      |              | 3 0 1             | b would need 2 blocks for its 8 tokens                            |
    | 4    | 23   | 33 |         | b 0+8        | 0 2 2             | a has ended; b computes its prompt and its first output again     |
    | 5    | 33   | 36 | b*      |              | 0 3 1             |                                                                   |
    """
    engine = simple_engine(max_num_batched_tokens=16, blocks=4, block_size=4)
    records, trace = one_pool(engine, [(0, 8, 3), (0, 7, 3)])
    assert lines(trace) == [
        Line(0, 17, (), ((0, 8, 0), (1, 7, 0))),
        Line(17, 20, (0,), (), (1,)),
        Line(20, 23, (0,)),
        Line(23, 33, (), ((1, 8, 0),)),
        Line(33, 36, (1,)),
    ]
    assert records.first_token.tolist() == [17, 17]
    assert records.end.tolist() == [23, 36]
    assert records.preemptions.tolist() == [0, 1]
    assert (records.tokens[0], records.pairs[0], records.peak_blocks[0]) == (15 + 2 + 8 + 1, 36 + 28 + 36, 4)


def test_preemption_of_the_needy_itself() -> None:
    """Five blocks of 4 tokens; a: prompt 7, output 6; b: prompt 7, output 4; both at 0.

    | step | from | to | decodes | chunks       | blocks a, b, free | why                                                    |
    |------|------|----|---------|--------------|-------------------|--------------------------------------------------------|
    | 1    | 0    | 16 |         | a 0+7, b 0+7 | 2 2 1             |                                                        |
    | 2    | 16   | 20 | a* b*   |              | 2 2 1             | the 8th token of each fits in its second block         |
    | 3    | 20   | 23 | a*      |              | 3 0 2             | a takes the last block, b finds none and is itself last|
    | 4    | 23   | 26 | a*      |              | 3 0 2             | b needs 3 blocks for its 9 tokens                      |
    | 5    | 26   | 29 | a*      |              | 3 0 2             |                                                        |
    | 6    | 29   | 32 | a*      |              | 3 0 2             | a's sixth and last                                     |
    | 7    | 32   | 43 |         | b 0+9        | 0 3 2             | b emits its third token                                |
    | 8    | 43   | 46 | b*      |              | 0 3 2             |                                                        |
    """
    engine = simple_engine(max_num_batched_tokens=16, blocks=5, block_size=4)
    records, trace = one_pool(engine, [(0, 7, 6), (0, 7, 4)])
    assert lines(trace) == [
        Line(0, 16, (), ((0, 7, 0), (1, 7, 0))),
        Line(16, 20, (0, 1)),
        Line(20, 23, (0,), (), (1,)),
        *(Line(start, start + 3, (0,)) for start in (23, 26, 29)),
        Line(32, 43, (), ((1, 9, 0),)),
        Line(43, 46, (1,)),
    ]
    assert records.end.tolist() == [32, 46]
    assert records.preemptions.tolist() == [0, 1]


def test_continuous_batching() -> None:
    """Whole prompts before decodes: budget 8, at most 3 sequences.

    | request | a | b | c  | d | e |
    |---------|---|---|----|---|---|
    | arrives | 0 | 0 | 0  | 1 | 2 |
    | prompt  | 5 | 6 | 10 | 2 | 3 |
    | output  | 3 | 2 | 1  | 2 | 1 |

    | step | from | to | decodes  | chunks | why                                                       |
    |------|------|----|----------|--------|-----------------------------------------------------------|
    | 1    | 0    | 7  |          | a 0+5  | 5 + 6 > 8                                                 |
    | 2    | 7    | 15 |          | b 0+6  | 6 + 10 > 8; a's decode stalls                             |
    | 3    | 15   | 27 |          | c 0+10 | longer than the budget, but the step's first prompt       |
    | 4    | 27   | 31 |          | d 0+2  | c has ended; d fills the cap, so e waits                  |
    | 5    | 31   | 36 | a* b* d* |        | nothing can be admitted: at last the decodes              |
    | 6    | 36   | 41 |          | e 0+3  | b and d have ended                                        |
    | 7    | 41   | 44 | a*       |        |                                                           |
    """
    engine = simple_engine(policy=rows.CONTINUOUS, max_num_batched_tokens=8, max_num_seqs=3)
    records, trace = one_pool(engine, [(0, 5, 3), (0, 6, 2), (0, 10, 1), (1, 2, 2), (2, 3, 1)])
    assert lines(trace) == [
        Line(0, 7, (), ((0, 5, 0),)),
        Line(7, 15, (), ((1, 6, 0),)),
        Line(15, 27, (), ((2, 10, 0),)),
        Line(27, 31, (), ((3, 2, 0),)),
        Line(31, 36, (0, 1, 3)),
        Line(36, 41, (), ((4, 3, 0),)),
        Line(41, 44, (0,)),
    ]
    assert records.end.tolist() == [44, 36, 27, 36, 41]
    assert records.first_token.tolist() == [7, 15, 27, 31, 41]


def test_static_batching() -> None:
    """Batches of 2; a: prompt 3, output 2; b: prompt 4, output 4; c: prompt 2, output 1; a context token costs 1 s in decode.

    | step | from | to | S, K   | batch        | why                                                          |
    |------|------|----|--------|--------------|--------------------------------------------------------------|
    | 1    | 0    | 9  |        | a 0+3, b 0+4 | both prompts; c waits for the whole batch                    |
    | 2    | 9    | 22 | 2, 4+5 | a* b*        | 2 + 2 + 9; a has all its tokens and ends                     |
    | 3    | 22   | 37 | 2, 5+6 | a* b*        | a's slot is padded, and its context grows on                 |
    | 4    | 37   | 54 | 2, 6+7 | a* b*        | b ends, and with it the batch                                |
    | 5    | 54   | 58 |        | c 0+2        |                                                              |
    """
    engine = simple_engine(policy=rows.STATIC, max_num_seqs=2)
    cost = simple_cost(base=2.0, per_token=1.0, per_context=1.0)
    records, trace = one_pool(engine, [(0, 3, 2), (0, 4, 4), (0, 2, 1)], cost)
    assert lines(trace) == [
        Line(0, 9, (), ((0, 3, 0), (1, 4, 0))),
        Line(9, 22, (0, 1)),
        Line(22, 37, (0, 1)),
        Line(37, 54, (0, 1)),
        Line(54, 58, (), ((2, 2, 0),)),
    ]
    assert records.end.tolist() == [22, 54, 58]
    assert (records.tokens[0], records.contexts[0]) == (7 + 6 + 2, 9 + 11 + 13)
    # b is known to want 4 + 4 - 1 = 7 tokens (2 blocks), a 3 + 2 - 1 = 4 (1 block), both held until 54.
    assert records.peak_blocks[0] == 3


def test_a_hand_off_waits_for_its_lease() -> None:
    """Prefill (budget 8), link (1 work/s, one at a time, latency 1 s) and decode with 3 blocks of 4 tokens.

    a: prompt 5, output 4; b: prompt 6, output 3; both at 0, 4 s of transfer each; the first token comes from prefill.
    Decode must reserve 2 blocks for a (5 + 1 tokens) and 2 for b (6 + 1).

    | time | what                                                                              |
    |------|-----------------------------------------------------------------------------------|
    | 0    | prefill: a 0+5, b 0+3, until 10                                                   |
    | 10   | a's first token; its lease is granted and its transfer starts. prefill: b 3+3     |
    | 15   | a's transfer is over, a's KV leaves prefill, a decodes: 15-18, 18-21, 21-24.      |
    |      | b's first token; its lease finds 1 free block and waits, its KV stays in prefill  |
    | 24   | a ends and frees 2 blocks: b's lease is granted, its transfer starts              |
    | 29   | b decodes: 29-32, 32-35                                                           |
    """
    prefill = simple_engine(max_num_batched_tokens=8, max_num_seqs=2)
    decode = simple_engine(blocks=3)
    servers = servers_of([(prefill, COST), (decode, COST)], [rows.Station(1.0, 1.0, 1, 1.0)])
    jobs = jobs_of([disaggregated(5, 4, work=(0.0, 4.0)), disaggregated(6, 3, work=(0.0, 4.0))])
    records, trace = traced(servers, jobs, requests_of([0.0, 0.0], [(5, 4), (6, 3)]))
    assert lines(trace, 0) == [Line(0, 10, (), ((0, 5, 0), (3, 3, 0))), Line(10, 15, (), ((3, 3, 3),))]
    assert lines(trace, 1) == [Line(t, t + 3, (v,)) for t, v in ((15, 2), (18, 2), (21, 2), (29, 5), (32, 5))]
    assert records.visit_ready.tolist() == [0, 10, 15, 0, 15, 29]
    assert records.visit_start.tolist() == [0, 10, 15, 0, 24, 29]
    assert records.visit_end.tolist() == [10, 15, 24, 15, 29, 35]
    assert records.visit_replica.tolist() == [0, -1, 1, 0, -1, 1]
    assert records.first_token.tolist() == [10, 15]
    assert records.last_token.tolist() == [24, 35]
    assert records.peak_blocks.tolist() == [4, 3 - 1]  # prefill holds both at 15; decode never has both
    assert records.station_busy.tolist() == [8.0]


def test_two_lanes_step_through_a_pipeline() -> None:
    """Two stages of equal length: a new step may start when half of the last one is over. One prompt of 8 a step.

    | lane | from | to | batch | why                                                     |
    |------|------|----|-------|---------------------------------------------------------|
    | 0    | 0    | 10 | a 0+8 | fills the budget                                        |
    | 1    | 5    | 15 | b 0+8 | the entrance is free at 5                               |
    | 0    | 10   | 13 | a*    | the entrance is free at 10 and lane 0 idle: a is its own|
    | 1    | 15   | 18 | b*    |                                                         |
    """
    engine = simple_engine(lanes=2)
    cost = COST._replace(stage_share=0.5)
    records, trace = one_pool(engine, [(0, 8, 2), (0, 8, 2)], cost)
    assert [(step.lane, *line) for step, line in zip(trace, lines(trace), strict=True)] == [
        (0, *Line(0, 10, (), ((0, 8, 0),))),
        (1, *Line(5, 15, (), ((1, 8, 0),))),
        (0, *Line(10, 13, (0,))),
        (1, *Line(15, 18, (1,))),
    ]
    assert records.busy[0] == 26.0
    assert records.peak_seqs[0] == 2


def test_what_can_never_fit_is_rejected_and_a_client_comes_back() -> None:
    """One client, 2 blocks of 4 tokens: 8 + 2 - 1 = 9 tokens never fit, the next request arrives at once after its think time."""
    wanted = [(8, 2), (3, 1), (3, 1)]
    requests = requests_of([0.0] * 3, wanted, clients=1, think=[0.0, 1.5, 2.0])
    servers = servers_of([(simple_engine(blocks=2), COST)])
    records = simulate(servers, jobs_of([colocated(p, e) for p, e in wanted]), requests)
    assert records.status.tolist() == [rows.REJECTED, rows.COMPLETED, rows.COMPLETED]
    assert records.arrival.tolist() == [0.0, 1.5, 8.5]
    assert records.end.tolist()[1:] == [6.5, 13.5]


def test_two_jobs_share_a_station() -> None:
    """Rate 2, cap 2, two slots; work 4, 2 and 1 at 0: the first two do 1 work/s each until the second leaves at 2.

    Then the third takes 1 s. At 3 the first has 1 left and the station to itself: 0.5 s more.
    """
    jobs = jobs_of([[Call(0, work=work)] for work in (4.0, 2.0, 1.0)])
    servers = servers_of([], [rows.Station(2.0, 2.0, 2, 0.0)])
    records = simulate(servers, jobs, requests_of([0.0] * 3, [(1, 1)] * 3))
    assert records.visit_start.tolist() == [0.0, 0.0, 2.0]
    assert records.visit_end.tolist() == [3.5, 2.0, 3.0]


@settings(deadline=None)
@given(cases())
def test_the_twin_keeps_its_own_books(case: Case) -> None:
    """What the trace says of each step adds up to the counters, and what completed did so in order."""
    try:
        records, trace = twin.traced(*case)
    except twin.LivelockError:
        reject()
    for replica, total in enumerate(records.tokens):
        batches = [batch for step in trace if step.replica == replica for batch in step.ranks]
        assert sum(len(b.decodes) + sum(new for _, new, _ in b.chunks) for b in batches) == total
    done = records.status == rows.COMPLETED
    assert not np.isnan(records.end[done]).any()
    answered = ~np.isnan(records.last_token)  # not where all that would have answered was cancelled
    assert (records.admitted[answered] <= records.first_token[answered]).all()
    assert (records.first_token[answered] <= records.last_token[answered]).all()
    assert np.isnan(records.end[~done]).all()
