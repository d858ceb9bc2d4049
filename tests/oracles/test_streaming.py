"""Tokens that a front end streams take time from new prompts, worked by hand as in `test_twin`: a step of T tokens lasts 2 + T seconds."""

from mist_dse import rows
from tests.oracles.test_twin import Line, lines, one_pool
from tests.strategies import simple_engine


def test_intake_slows_down_while_tokens_are_streamed() -> None:
    """A prompt takes the front end 1 s alone; every output token takes 1.5 s of it.

    | request | a | b   | c | d  | e  |
    |---------|---|-----|---|----|----|
    | arrives | 0 | 8.5 | 9 | 23 | 40 |
    | prompt  | 4 | 4   | 2 | 1  | 1  |
    | output  | 7 | 4   | 1 | 1  | 1  |

    | prompt | decodes then | their step | streaming       | takes       | leaves | why                         |
    |--------|--------------|------------|-----------------|-------------|--------|-----------------------------|
    | a      | 0            |            | 0               | 1           | 1      |                             |
    | b      | 1            | 3          | 1.5 x 1/3 = 1/2 | 1/(1 - 1/2) | 10.5   |                             |
    | c      | 1            | 3          | 1/2             | 2           | 12.5   | one prompt after another    |
    | d      | 2            | 4          | 1.5 x 2/4 = 3/4 | 1/(1 - 3/4) | 27     |                             |
    | e      | 0            |            | 0               | 1           | 41     | the last has ended at 35    |

    | step | from | to | decodes | chunks       |
    |------|------|----|---------|--------------|
    | 1    | 1    | 7  |         | a 0+4        |
    | 2, 3 | 7    | 13 | a*      |              |
    | 4    | 13   | 22 | a*      | b 0+4, c 0+2 |
    | 5, 6 | 22   | 30 | a* b*   |              |
    | 7    | 30   | 35 | a* b*   | d 0+1        |
    | 8    | 41   | 44 |         | e 0+1        |
    """
    engine = simple_engine(max_num_batched_tokens=16, front_end=1.0, front_end_output=1.5)
    records, trace = one_pool(engine, [(0, 4, 7), (8.5, 4, 4), (9, 2, 1), (23, 1, 1), (40, 1, 1)])
    a, b, c, d, e = range(5)
    assert lines(trace) == [
        Line(1, 7, (), ((a, 4, 0),)),
        Line(7, 10, (a,)),
        Line(10, 13, (a,)),
        Line(13, 22, (a,), ((b, 4, 0), (c, 2, 0))),
        Line(22, 26, (a, b)),
        Line(26, 30, (a, b)),
        Line(30, 35, (a, b), ((d, 1, 0),)),
        Line(41, 44, (), ((e, 1, 0),)),
    ]
    assert records.end.tolist() == [35, 35, 22, 35, 44]


def test_streaming_leaves_a_twentieth_of_the_front_end() -> None:
    """30 s a token would take ten times what there is: 95% goes, so that b (at 8.5) takes 1/0.05 = 20 s and joins the step of 31."""
    engine = simple_engine(max_num_batched_tokens=16, front_end=1.0, front_end_output=30.0)
    records, _ = one_pool(engine, [(0, 4, 20), (8.5, 4, 1)])
    assert records.admitted.tolist() == [1, 31]
    assert records.first_token.tolist() == [7, 38]


def test_a_static_batch_streams_nothing_to_the_front_end() -> None:
    """b passes in 1 s though a is being streamed, and waits for the batch to end: 1 + 6 for the prompt, then 3 s a token."""
    engine = simple_engine(policy=rows.STATIC, max_num_batched_tokens=16, front_end=1.0, front_end_output=30.0)
    records, _ = one_pool(engine, [(0, 4, 3), (8.5, 4, 1)])
    assert records.admitted.tolist() == [1, 13]
