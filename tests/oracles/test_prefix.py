"""Prefix caching, worked by hand as in `test_twin`: a step of T tokens lasts 2 + T seconds, a block has 4 tokens."""

from typing import Any

from mist_dse import rows
from tests.builders import Call
from tests.oracles.test_twin import COST, Line, Step, lines, traced
from tests.strategies import jobs_of, requests_of, servers_of, simple_engine


def one_pool(calls: list[Call], times: list[float], **changes: Any) -> tuple[rows.Records, list[Step]]:
    engine = simple_engine(**({"caching": True, "max_num_batched_tokens": 16} | changes))
    return traced(servers_of([(engine, COST)]), jobs_of([[c] for c in calls]), requests_of(times, [(c.prompt, c.emit) for c in calls]))


def test_the_last_token_is_always_computed() -> None:
    """All of b's 8 tokens are there, and it computes 4 of them; of c's 9 it computes the ninth."""
    calls = [Call(0, 8, 1, names=(1, 2)), Call(0, 8, 1, names=(1, 2)), Call(0, 9, 1, names=(1, 2, 3))]
    records, trace = one_pool(calls, [0.0, 20.0, 40.0])
    assert lines(trace) == [Line(0, 10, (), ((0, 8, 0),)), Line(20, 26, (), ((1, 4, 4),)), Line(40, 43, (), ((2, 1, 8),))]
    assert records.visit_cached.tolist() == [0, 4, 8]


def test_names_are_given_when_a_step_is_formed() -> None:
    """b enters the step in which a's prompt is computed, and waits for no other; other names end what it finds."""
    calls = [Call(0, 8, 1, names=(1, 2)), Call(0, 9, 1, names=(1, 2, 3)), Call(0, 9, 1, names=(1, 4, 3))]
    records, trace = one_pool(calls, [0.0] * 3)
    assert lines(trace) == [Line(0, 16, (), ((0, 8, 0), (1, 1, 8), (2, 5, 4)))]
    assert records.visit_cached.tolist() == [0, 8, 4]


def test_shared_blocks_are_held_once() -> None:
    """a: prompt 8; b (at 5): prompt 9, of which a's 8 are found at 10; both have 5 tokens of output.

    From 10 on a has 3 blocks (9 to 12 tokens) and b 3 (9 to 12), two of them the same: 4 blocks. Alone, b needs its fourth.
    """
    records, _ = one_pool([Call(0, 8, 5, names=(1, 2)), Call(0, 9, 5, names=(1, 2, 3))], [0.0, 5.0])
    assert records.visit_cached.tolist() == [0, 8]
    assert records.peak_blocks.tolist() == [4]


def test_the_least_recently_freed_is_taken_first_and_the_tail_before_the_head() -> None:
    """Four blocks. a leaves 1 and 2, b leaves 3 and 4, each its last block first; c takes the block that was a's second.

    | after | queue, front first     |
    |-------|------------------------|
    | a     | - - 2 1                |
    | b     | 2 1 4 3                |
    | c     | 1 4 3 -                |

    d finds 1 and not 2.
    """
    calls = [Call(0, 8, 1, names=(1, 2)), Call(0, 8, 1, names=(3, 4)), Call(0, 4, 1), Call(0, 9, 1, names=(1, 2, 9))]
    records, _ = one_pool(calls, [0.0, 20.0, 40.0, 60.0], blocks=4)
    assert records.visit_cached.tolist() == [0, 0, 0, 4]


def test_what_decodes_fill_is_named_when_the_visit_leaves() -> None:
    """a: 3 + 6 tokens, out at 5, 8, 11, 14, 17 and 24 (b's prompt is in its last step).

    b comes when a's first block is full and unnamed; c after a has left, with 8 tokens computed.
    """
    calls = [Call(0, 3, 6, names=(1, 2)), Call(0, 5, 1, names=(1, 2)), Call(0, 9, 1, names=(1, 2, 3))]
    records, _ = one_pool(calls, [0.0, 15.0, 40.0])
    assert records.end.tolist()[:2] == [25.0, 25.0]
    assert records.visit_cached.tolist() == [0, 0, 8]


def test_a_preempted_visit_finds_its_own_prompt_again() -> None:
    """As `test_twin`'s preemption of the last by the first: b gives its 2 blocks back, one of them named, a takes the other.

    | step | from | to | decodes | chunks       | why                                                                     |
    |------|------|----|---------|--------------|-------------------------------------------------------------------------|
    | 1    | 0    | 17 |         | a 0+8, b 0+7 |                                                                         |
    | 2    | 17   | 20 | a*      |              | b is preempted; its second block, the first in the queue, becomes a's   |
    | 3    | 20   | 23 | a*      |              | b finds the one free block and lacks another                            |
    | 4    | 23   | 29 |         | b 4+4        | a has ended                                                             |
    """
    records, trace = one_pool([Call(0, 8, 3), Call(0, 7, 3, names=(5, 6))], [0.0, 0.0], blocks=4)
    assert lines(trace)[:4] == [
        Line(0, 17, (), ((0, 8, 0), (1, 7, 0))),
        Line(17, 20, (0,), (), (1,)),
        Line(20, 23, (0,)),
        Line(23, 29, (), ((1, 4, 4),)),
    ]
    assert records.visit_cached.tolist() == [0, 0]  # at its first admission


def test_a_name_is_gone_when_a_decode_step_takes_its_block() -> None:
    """Four blocks on each of two replicas. a leaves 1 and 2 on the first, b decodes there from 21 on, and takes the block of 2 at 21 and
    that of 1 at 33, which no event tells: c, at 34, finds nothing on either and goes to the one that is idle."""
    calls = [Call(0, 8, 1, names=(1, 2)), Call(0, 8, 9), Call(0, 8, 1, names=(1, 2))]
    ways = {"router": rows.PREFIX_AFFINITY, "replicas": 2, "slack": 10, "blocks": 4}
    records, _ = one_pool(calls, [0.0, 11.0, 34.0], **ways)
    assert records.visit_replica.tolist() == [0, 0, 1]


def test_a_handed_visit_that_lost_its_kv_is_a_prompt_though_it_finds_all_of_it() -> None:
    """Five blocks; c is handed over with 8 tokens in place, named 1 and 2 when it leaves RUNNING.

    | step | from | to | decodes | chunks | blocks a b c free | why                                                                |
    |------|------|----|---------|--------|-------------------|--------------------------------------------------------------------|
    | 1    | 0    | 6  |         | a 0+4  | 1 0 0 4           |                                                                    |
    | 2    | 6    | 11 |         | b 0+3  | 1 1 3 0           | c is admitted behind b, to decode in the next step                 |
    | 3    | 11   | 15 | a* b*   |        | 2 1 0 2           | a needs a second block, and c is preempted                         |
    | 4    | 15   | 18 |         | c 8+1  | 2 0 3 0           | b has ended; c finds 8 tokens, and the ninth is a prompt's now     |
    | 5    | 18   | 22 | a* c*   |        | 2 0 3 0           |                                                                    |
    """
    calls = [Call(0, 4, 3), Call(0, 3, 2), Call(0, 8, 2, computed=8, handed=1, names=(1, 2))]
    records, trace = one_pool(calls, [0.0, 1.0, 2.0], policy=rows.CONTINUOUS, blocks=5)
    assert lines(trace) == [
        Line(0, 6, (), ((0, 4, 0),)),
        Line(6, 11, (), ((1, 3, 0),)),
        Line(11, 15, (0, 1), (), (2,)),
        Line(15, 18, (), ((2, 1, 8),)),
        Line(18, 22, (0, 2)),
    ]
    assert records.first_token.tolist() == [6.0, 11.0, 18.0]
