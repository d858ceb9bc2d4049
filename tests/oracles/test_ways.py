"""Engines' own ways, and the policy that puts prompts first, worked by hand as in `test_twin`: a step of T tokens lasts 2 + T seconds."""

from typing import Any

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.sim import RowError
from tests.oracles.test_twin import Line, lines, one_pool, traced
from tests.strategies import colocated, jobs_of, requests_of, servers_of, simple_cost, simple_engine


def test_prompts_in_chunks_before_decodes() -> None:
    """prefill_first: budget 8, at most 3 sequences.

    | request | a | b | c  | d | e |
    |---------|---|---|----|---|---|
    | arrives | 0 | 0 | 0  | 1 | 2 |
    | prompt  | 5 | 6 | 10 | 2 | 3 |
    | output  | 3 | 2 | 1  | 2 | 1 |

    | step | from | to | decodes  | chunks       | why                                                    |
    |------|------|----|----------|--------------|--------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+5, b 0+3 | b is split where the budget ends                       |
    | 2    | 10   | 20 |          | b 3+3, c 0+5 | b goes on first; a's decode waits                      |
    | 3    | 20   | 27 |          | c 5+5        | three sequences run: d waits                           |
    | 4    | 27   | 31 |          | d 0+2        | c has ended; prompts still come before decodes         |
    | 5    | 31   | 36 | a* b* d* |              | nothing can be admitted                                |
    | 6    | 36   | 41 |          | e 0+3        | b and d have ended                                     |
    | 7    | 41   | 44 | a*       |              |                                                        |
    """
    engine = simple_engine(policy=rows.PREFILL_FIRST, max_num_batched_tokens=8, max_num_seqs=3)
    records, trace = one_pool(engine, [(0, 5, 3), (0, 6, 2), (0, 10, 1), (1, 2, 2), (2, 3, 1)])
    assert lines(trace) == [
        Line(0, 10, (), ((0, 5, 0), (1, 3, 0))),
        Line(10, 20, (), ((1, 3, 3), (2, 5, 0))),
        Line(20, 27, (), ((2, 5, 5),)),
        Line(27, 31, (), ((3, 2, 0),)),
        Line(31, 36, (0, 1, 3)),
        Line(36, 41, (), ((4, 3, 0),)),
        Line(41, 44, (0,)),
    ]
    assert records.first_token.tolist() == [10, 20, 27, 31, 41]
    assert records.end.tolist() == [44, 36, 27, 36, 41]


def test_reserved_output_is_never_preempted() -> None:
    """Four blocks of 4 tokens; a: prompt 8, output 3; b: prompt 7, output 3: without reserving, a preempts b (`test_twin`).

    | step | from | to | decodes | chunks | blocks a, b, free | why                                                       |
    |------|------|----|---------|--------|-------------------|-----------------------------------------------------------|
    | 1    | 0    | 10 |         | a 0+8  | 3 0 1             | a may become 8 + 3 - 1 = 10 tokens; b 7 + 3 - 1 = 9 waits |
    | 2, 3 | 10   | 16 | a*      |        | 3 0 1             |                                                           |
    | 4    | 16   | 25 |         | b 0+7  | 0 3 1             | a has ended                                               |
    | 5, 6 | 25   | 31 | b*      |        | 0 3 1             |                                                           |
    """
    engine = simple_engine(max_num_batched_tokens=16, blocks=4, block_size=4, reserve_output=True)
    records, trace = one_pool(engine, [(0, 8, 3), (0, 7, 3)])
    assert lines(trace) == [
        Line(0, 10, (), ((0, 8, 0),)),
        Line(10, 13, (0,)),
        Line(13, 16, (0,)),
        Line(16, 25, (), ((1, 7, 0),)),
        Line(25, 28, (1,)),
        Line(28, 31, (1,)),
    ]
    assert records.preemptions.tolist() == [0, 0]
    assert records.peak_blocks[0] == 3


def test_whole_prompts() -> None:
    """Budget 8; all at 0: a: prompt 5, output 3; b: prompt 6, output 1; c: prompt 9; d: prompt 2, output 1.

    | step | from | to | decodes | chunks | why                                                           |
    |------|------|----|---------|--------|---------------------------------------------------------------|
    | 1    | 0    | 7  |         | a 0+5  | 3 tokens are left, b's 6 are not split, d does not overtake b |
    | 2    | 7    | 16 | a*      | b 0+6  | 1 token is left                                               |
    | 3    | 16   | 21 | a*      | d 0+2  | c, longer than any step, was rejected on arrival              |
    """
    engine = simple_engine(max_num_batched_tokens=8, whole_prompts=True)
    records, trace = one_pool(engine, [(0, 5, 3), (0, 6, 1), (0, 9, 1), (0, 2, 1)])
    assert lines(trace) == [
        Line(0, 7, (), ((0, 5, 0),)),
        Line(7, 16, (0,), ((1, 6, 0),)),
        Line(16, 21, (0,), ((3, 2, 0),)),
    ]
    assert records.status.tolist() == [rows.COMPLETED, rows.COMPLETED, rows.REJECTED, rows.COMPLETED]
    assert (records.first_token[[0, 1, 3]].tolist(), records.end[[0, 1, 3]].tolist()) == ([7, 16, 21], [21, 16, 21])


def test_messages_of_three_tokens() -> None:
    """Budget 16; all at 0: a: prompt 4, output 5; b: prompt 3, output 2; c: prompt 2, output 4.

    | step | from | to | batch               | tokens out of a, b, c | what the user sees                        |
    |------|------|----|---------------------|-----------------------|-------------------------------------------|
    | 1    | 0    | 11 | a 0+4, b 0+3, c 0+2 | 1 1 1                 |                                           |
    | 2    | 11   | 16 | a* b* c*            | 2 2 2                 | b's first message: its two, all there are |
    | 3    | 16   | 20 | a* c*               | 3 . 3                 | a's and c's first messages                |
    | 4, 5 | 20   | 27 | a* c*, a*           | 5 . 4                 | c ends at 24, a at 27                     |
    """
    engine = simple_engine(max_num_batched_tokens=16, stream_interval=3)
    records, _ = one_pool(engine, [(0, 4, 5), (0, 3, 2), (0, 2, 4)])
    assert records.first_token.tolist() == [20, 16, 20]
    assert records.last_token.tolist() == [27, 16, 24]


def test_a_preempted_sequence_keeps_what_its_first_message_has() -> None:
    """`test_twin`'s preemption of the needy itself: a emits at 16, 20, 23, ...; b at 16, 20, then, computed again, at 43 and 46."""
    engine = simple_engine(max_num_batched_tokens=16, blocks=5, block_size=4, stream_interval=3)
    records, _ = one_pool(engine, [(0, 7, 6), (0, 7, 4)])
    assert records.preemptions.tolist() == [0, 1]
    assert records.first_token.tolist() == [23, 43]
    assert records.last_token.tolist() == [32, 46]


def test_looks_at_every_third_step() -> None:
    """receive_interval 3; a: prompt 2, output 8 at 0; b: prompt 2 at 5; c: prompt 1 at 6; d: prompt 2 at 40; b, c and d have one output.

    | step    | from | to | decodes | chunks       | why                                                         |
    |---------|------|----|---------|--------------|-------------------------------------------------------------|
    | 1       | 0    | 4  |         | a 0+2        | nothing runs: it looks                                      |
    | 2, 3, 4 | 4    | 13 | a*      |              | it looked at 4, after a prompt; 3 decode steps later: at 13 |
    | 5       | 13   | 19 | a*      | b 0+2, c 0+1 |                                                             |
    | 6, 7, 8 | 19   | 28 | a*      |              |                                                             |
    | 9       | 40   | 44 |         | d 0+2        | nothing runs: it looks at once                              |
    """
    engine = simple_engine(receive_interval=3)
    records, trace = one_pool(engine, [(0, 2, 8), (5, 2, 1), (6, 1, 1), (40, 2, 1)])
    assert lines(trace) == [
        Line(0, 4, (), ((0, 2, 0),)),
        *(Line(start, start + 3, (0,)) for start in (4, 7, 10)),
        Line(13, 19, (0,), ((1, 2, 0), (2, 1, 0))),
        *(Line(start, start + 3, (0,)) for start in (19, 22, 25)),
        Line(40, 44, (), ((3, 2, 0),)),
    ]
    assert records.admitted.tolist() == [0, 13, 13, 40]


def test_prompts_wait_for_one_another_while_others_decode() -> None:
    """wait_steps 3, wait_tokens 8; a: prompt 2, output 9 at 0; b: prompt 3 at 5; c: prompt 7 at 20; b and c have one output.

    | step    | from | to | decodes | chunks | count after | why                                           |
    |---------|------|----|---------|--------|-------------|-----------------------------------------------|
    | 1       | 0    | 4  |         | a 0+2  | 0           | nothing decodes                               |
    | 2       | 4    | 7  | a*      |        | 0           | nobody waits                                  |
    | 3, 4, 5 | 7    | 16 | a*      |        | 1, 2, 3     | 1 + 3 tokens are fewer than 8: b is postponed |
    | 6       | 16   | 22 | a*      | b 0+3  | 0           | three times is enough                         |
    | 7       | 22   | 32 | a*      | c 0+7  | 0           | 1 + 7 tokens are enough                       |
    | 8, 9    | 32   | 38 | a*      |        | 0           |                                               |
    """
    engine = simple_engine(max_num_batched_tokens=16, wait_steps=3, wait_tokens=8)
    for reserved in (False, True):
        records, trace = one_pool(engine._replace(reserve_output=reserved), [(0, 2, 9), (5, 3, 1), (20, 7, 1)])
        assert lines(trace) == [
            Line(0, 4, (), ((0, 2, 0),)),
            *(Line(start, start + 3, (0,)) for start in (4, 7, 10, 13)),
            Line(16, 22, (0,), ((1, 3, 0),)),
            Line(22, 32, (0,), ((2, 7, 0),)),
            *(Line(start, start + 3, (0,)) for start in (32, 35)),
        ]
        assert records.admitted.tolist() == [0, 16, 22]


def test_prompts_wait_until_every_rank_has_one() -> None:
    """Two ranks in turn, balance_steps 4; a, b: prompt 2, output 9 at 0; c, d, e: prompt 2, output 1 at 5, 14 and 20.

    | step    | from | to | rank 0   | rank 1   | count after | why                                                  |
    |---------|------|----|----------|----------|-------------|------------------------------------------------------|
    | 1       | 0    | 4  | a 0+2    | b 0+2    | 0           | nothing decodes                                      |
    | 2, 3, 4 | 4    | 13 | a*       | b*       | 1, 2, 3     | some rank has no prompt; c waits from 5 on           |
    | 5       | 13   | 18 | a* c 0+2 | b*       | 0           | the fourth time is enough                            |
    | 6       | 18   | 21 | a*       | b*       | 1           | rank 0 has none, d waits                             |
    | 7       | 21   | 26 | a* e 0+2 | b* d 0+2 | 0           | both have one                                        |
    | 8, 9    | 26   | 32 | a*       | b*       | 1, 2        |                                                      |
    """
    engine = simple_engine(ranks=2, balance_steps=4)
    wanted: list[tuple[float, int, int]] = [(0, 2, 9), (0, 2, 9), (5, 2, 1), (14, 2, 1), (20, 2, 1)]
    servers = servers_of([(engine, simple_cost(base=2.0, per_token=1.0))])
    jobs = jobs_of([colocated(prompt, emit) for _, prompt, emit in wanted])
    records, trace = traced(servers, jobs, requests_of([at for at, _, _ in wanted], [(p, e) for _, p, e in wanted]))
    assert records.admitted.tolist() == [0, 0, 13, 21, 21]
    assert [step.time for step in trace] == [0, 4, 7, 10, 13, 18, 21, 26, 29]
    assert records.end.tolist() == [32, 32, 18, 26, 26]


def test_each_way_alone_shortens_no_message_and_loses_no_token() -> None:
    """Every engine serves the same prompts and outputs, and none faster than the plain one to the first token of a lone request."""
    ways: list[dict[str, Any]] = [
        {"reserve_output": True},
        {"whole_prompts": True},
        {"stream_interval": 4},
        {"receive_interval": 5},
        {"wait_steps": 4, "wait_tokens": 6},
        {"policy": rows.PREFILL_FIRST},
    ]
    wanted: list[tuple[float, int, int]] = [(float(3 * i), 3 + i % 5, 2 + i % 7) for i in range(12)]
    plain, _ = one_pool(simple_engine(), wanted)
    for way in ways:
        records, _ = one_pool(simple_engine(**way), wanted)
        assert (records.status == rows.COMPLETED).all(), way
        assert records.tokens[0] == plain.tokens[0], way
        assert records.first_token[0] >= plain.first_token[0], way


def test_ranks_wait_for_what_they_share() -> None:
    """Two ranks; a step of G tokens in all of them shares 10 + G seconds, 20 + 2 G where a rank has a prompt.

    | request | a | b | c  |
    |---------|---|---|----|
    | arrives | 0 | 0 | 44 |
    | prompt  | 5 | 3 | 4  |
    | output  | 3 | 2 | 1  |
    | rank    | 0 | 1 | 0  |

    | step | from | to | rank 0      | rank 1 | own | G | shared | why                                       |
    |------|------|----|-------------|--------|-----|---|--------|-------------------------------------------|
    | 1    | 0    | 43 | a 0+5       | b 0+3  | 7   | 8 | 36     | the longer rank's own part, and the shared |
    | 2    | 43   | 58 | a*          | b*     | 3   | 2 | 12     | decodes alone                             |
    | 3    | 58   | 95 | a*, c 0+4   |        | 7   | 5 | 30     | rank 1 is empty and shares nothing        |
    """
    tokens = np.arange(40.0)
    cost = simple_cost(base=2.0, per_token=1.0)._replace(shared_time=np.stack([10 + tokens, 20 + 2 * tokens]))
    jobs = jobs_of([colocated(5, 3), colocated(3, 2), colocated(4, 1)])
    asked = requests_of([0, 0, 44], [(5, 3), (3, 2), (4, 1)])
    records, trace = traced(servers_of([(simple_engine(ranks=2), cost)]), jobs, asked)
    assert [(step.time, step.time + step.length) for step in trace] == [(0, 43), (43, 58), (58, 95)]
    assert records.first_token.tolist() == [43, 43, 95]
    assert records.last_token.tolist() == [95, 58, 95]


def test_a_rank_alone_shares_nothing() -> None:
    cost = simple_cost(base=2.0, per_token=1.0)._replace(shared_time=np.ones((2, 9)))
    with pytest.raises(RowError, match="shared_time needs an engine of two ranks"):
        one_pool(simple_engine(), [(0, 5, 3)], cost)
