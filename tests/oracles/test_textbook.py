"""The same six requests under every batching policy, each step's batch written out by hand before any code was run on it.

A step of T tokens lasts 2 + T seconds, whatever the tokens are. ``budget`` is the most prompt and output tokens of a step (what a policy
does beyond it, it says), ``sequences`` the most that run at once, and ``blocks`` the KV blocks, of 4 tokens each: a sequence holds as
many as the tokens it has computed need, those of the step included. A sequence's last token is never computed. Requests that wait do so
in order of arrival, and nobody overtakes the first of them.

In the tables ``a*`` is a decode of request a, ``(a)`` the padded slot of a request that has ended, and ``c 6+3`` means 3 more prompt tokens
of c after 6 that were computed before. The step that completes a prompt gives the first token. ``free`` are the blocks that nobody holds
while the step runs.
"""

from tests.oracles.tables import PAGE, assert_worked, page


def test_worked_static() -> None:
    """Static batching

    A batch is formed when the last one has ended, and nobody joins it. Each of its members holds the blocks of prompt + output - 1 tokens
    from the beginning; a slot whose request has ended goes on as padding, and costs a token, until the batch ends. Prompts join a batch
    while their sum is within the budget; the first may exceed it.

    | batching | budget | sequences | blocks |
    |----------|--------|-----------|--------|
    | static   | 8      | 3         | 6      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | step | from | to | decodes | prompts      | free | why                                                              |
    |------|------|----|---------|--------------|------|------------------------------------------------------------------|
    | 1    | 0    | 10 |         | a 0+6, b 0+2 | 2    | 6 + 2 tokens are the budget: c stays out                         |
    | 2    | 10   | 14 | a* b*   |              | 2    | d has come and waits for the whole batch, as c does              |
    | 3    | 14   | 18 | a* b*   |              | 2    | a's third token: its user has it at 18, its blocks and slot stay |
    | 4    | 18   | 22 | (a) b*  |              | 2    | a's slot is padding                                              |
    | 5    | 22   | 26 | (a) b*  |              | 2    | the same again                                                   |
    | 6    | 26   | 30 | (a) b*  |              | 2    | b's sixth token ends the batch                                   |
    | 7    | 30   | 41 |         | c 0+9        | 3    | c, the first, may exceed the budget; with d they would be 14     |
    | 8    | 41   | 44 | c*      |              | 3    | c has its two: the batch is over                                 |
    | 9    | 44   | 53 |         | d 0+5, e 0+2 | 3    | f's 3 would make 10                                              |
    | 10   | 53   | 57 | d* e*   |              | 3    | e has its two                                                    |
    | 11   | 57   | 61 | d* (e)  |              | 3    | e's slot is padding                                              |
    | 12   | 61   | 66 |         | f 0+3        | 5    | f is alone; nobody else is left                                  |
    | 13   | 66   | 69 | f*      |              | 5    | f has its two                                                    |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 30 | 44 | 44 | 61 |
    | first token | 10 | 10 | 41 | 53 | 53 | 66 |
    | last token  | 18 | 30 | 44 | 61 | 57 | 69 |
    """
    assert_worked(test_worked_static.__doc__)


def test_worked_continuous() -> None:
    """Continuous batching

    Whoever ends leaves at once and another takes the place. A step is prompts alone or decodes alone, and prompts go first: whole ones,
    while their sum is within the budget; the first may exceed it.

    | batching   | budget | sequences | blocks |
    |------------|--------|-----------|--------|
    | continuous | 8      | 3         | 6      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | step | from | to | decodes  | prompts      | free | why                                                                  |
    |------|------|----|----------|--------------|------|----------------------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+6, b 0+2 | 3    | 6 + 2 tokens are the budget: c stays out                             |
    | 2    | 10   | 21 |          | c 0+9        | 0    | c, the first, may exceed the budget; the decodes of a and b stall    |
    | 3    | 21   | 26 | a* b* c* |              | 0    | three run, d waits: only now the decodes                             |
    | 4    | 26   | 33 |          | d 0+5        | 1    | c has ended, d takes its place, a and b stall; e and f have no place |
    | 5    | 33   | 38 | a* b* d* |              | 1    | three run again                                                      |
    | 6    | 38   | 42 |          | e 0+2        | 2    | a has ended, e takes its place                                       |
    | 7    | 42   | 47 | b* d* e* |              | 1    | b's fifth token needs a second block; d and e end                    |
    | 8    | 47   | 52 |          | f 0+3        | 3    | b stalls for the last time                                           |
    | 9    | 52   | 56 | b* f*    |              | 3    | f has its two                                                        |
    | 10   | 56   | 59 | b*       |              | 4    | b's sixth token is its last                                          |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 10 | 26 | 38 | 47 |
    | first token | 10 | 10 | 21 | 33 | 42 | 52 |
    | last token  | 38 | 59 | 26 | 47 | 47 | 56 |
    """
    assert_worked(test_worked_continuous.__doc__)


def test_worked_chunked() -> None:
    """Chunked prefill

    Decodes and prompts share a step. Those that run go first, in order of admission: a decode takes one token of the budget, a prompt
    what is left of the budget, if need be a part of it. What then is left goes to those that wait.

    | batching | budget | sequences | blocks |
    |----------|--------|-----------|--------|
    | chunked  | 8      | 3         | 6      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | step | from | to | decodes  | prompts      | free | why                                                                 |
    |------|------|----|----------|--------------|------|---------------------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+6, b 0+2 | 3    | 6 + 2 tokens are the budget                                         |
    | 2    | 10   | 20 | a* b*    | c 0+6        | 1    | c's prompt is split where the budget ends                           |
    | 3    | 20   | 27 | a* b*    | c 6+3        | 0    | the rest of c; three run, so that d waits beside 3 tokens of budget |
    | 4    | 27   | 31 | b* c*    |              | 1    | a has ended; d needs 2 blocks, and e, which needs 1, is behind d    |
    | 5    | 31   | 41 | b*       | d 0+5, e 0+2 | 1    | c has ended; 1 + 5 + 2 are the budget                               |
    | 6    | 41   | 46 | b* d* e* |              | 1    | three run: f waits beside 5 tokens of budget                        |
    | 7    | 46   | 52 | d*       | f 0+3        | 3    | b and e have ended                                                  |
    | 8    | 52   | 55 | f*       |              | 5    | d has ended; f has its two                                          |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 10 | 31 | 31 | 46 |
    | first token | 10 | 10 | 27 | 41 | 41 | 52 |
    | last token  | 27 | 46 | 31 | 52 | 46 | 55 |
    """
    assert_worked(test_worked_chunked.__doc__)


def test_worked_prefill_first() -> None:
    """Prompts first, in chunks

    A step is prompts alone or decodes alone, and prompts go first, as in continuous batching; but the budget is never exceeded: a prompt is
    split where it ends, and goes on in the next step before others begin.

    | batching      | budget | sequences | blocks |
    |---------------|--------|-----------|--------|
    | prefill_first | 8      | 3         | 6      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | step | from | to | decodes  | prompts      | free | why                                                             |
    |------|------|----|----------|--------------|------|-----------------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+6, b 0+2 | 3    | 6 + 2 tokens are the budget                                     |
    | 2    | 10   | 20 |          | c 0+8        | 1    | c's prompt is split where the budget ends; a and b stall        |
    | 3    | 20   | 23 |          | c 8+1        | 0    | one prompt token is a prompt: a and b stall; three run, d waits |
    | 4    | 23   | 28 | a* b* c* |              | 0    | no prompt runs and nobody may join: only now the decodes        |
    | 5    | 28   | 35 |          | d 0+5        | 1    | c has ended, d takes its place; e and f have none               |
    | 6    | 35   | 40 | a* b* d* |              | 1    | three run again                                                 |
    | 7    | 40   | 44 |          | e 0+2        | 2    | a has ended, e takes its place                                  |
    | 8    | 44   | 49 | b* d* e* |              | 1    | b's fifth token needs a second block; d and e end               |
    | 9    | 49   | 54 |          | f 0+3        | 3    | b stalls for the last time                                      |
    | 10   | 54   | 58 | b* f*    |              | 3    | f has its two                                                   |
    | 11   | 58   | 61 | b*       |              | 4    | b's sixth token is its last                                     |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 10 | 28 | 40 | 49 |
    | first token | 10 | 10 | 23 | 35 | 44 | 54 |
    | last token  | 40 | 61 | 28 | 49 | 49 | 58 |
    """
    assert_worked(test_worked_prefill_first.__doc__)


def test_worked_mixed() -> None:
    """Mixed batching

    Whole prompts beside decodes: every decode takes its token, then prompts join while all tokens of the step are within the budget; the
    first prompt of a step may exceed it.

    | batching | budget | sequences | blocks |
    |----------|--------|-----------|--------|
    | mixed    | 8      | 3         | 6      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | step | from | to | decodes  | prompts      | free | why                                                                   |
    |------|------|----|----------|--------------|------|-----------------------------------------------------------------------|
    | 1    | 0    | 10 |          | a 0+6, b 0+2 | 3    | 6 + 2 tokens are the budget: c stays out                              |
    | 2    | 10   | 23 | a* b*    | c 0+9        | 0    | c, the step's first prompt, joins whole: 11 tokens, a and b go slowly |
    | 3    | 23   | 28 | a* b* c* |              | 0    | three run: d waits                                                    |
    | 4    | 28   | 38 | b*       | d 0+5, e 0+2 | 1    | a and c have ended; 1 + 5 + 2 are the budget                          |
    | 5    | 38   | 43 | b* d* e* |              | 1    | three run: f waits                                                    |
    | 6    | 43   | 50 | b* d*    | f 0+3        | 1    | e has ended; b and d end here                                         |
    | 7    | 50   | 53 | f*       |              | 5    | f has its two                                                         |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 10 | 28 | 28 | 43 |
    | first token | 10 | 10 | 23 | 38 | 38 | 50 |
    | last token  | 28 | 50 | 28 | 50 | 43 | 53 |
    """
    assert_worked(test_worked_mixed.__doc__)


def test_worked_disaggregated() -> None:
    """Disaggregated prefill and decode

    The prefill pool computes a prompt and gives the first token; the KV then moves over a link, one request at a time and one second for
    each block of the prompt; the decode pool does the rest. Before a transfer, a lease reserves the blocks of the prompt and the first
    token on the decode side. The blocks on the prefill side are held until the transfer has ended, the place of the sequence is not. Both
    pools batch as in chunked prefill, each on its own clock.

    | pool    | batching | budget | sequences | blocks |
    |---------|----------|--------|-----------|--------|
    | prefill | chunked  | 8      | 3         | 6      |
    | decode  | chunked  | 8      | 3         | 8      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    Lines are in order of their start. A lease is asked for at ``from`` and granted at ``to``; its ``free`` are the blocks it leaves in
    decode.

    | where   | from | to | decodes | prompts      | KV of | free | why                                                             |
    |---------|------|----|---------|--------------|-------|------|-----------------------------------------------------------------|
    | prefill | 0    | 10 |         | a 0+6, b 0+2 |       | 3    | 6 + 2 tokens are the budget                                     |
    | lease   | 10   | 10 |         |              | a     | 6    | 6 tokens and the first output: 2 of decode's 8 blocks           |
    | lease   | 10   | 10 |         |              | b     | 5    | 2 tokens and the first output: 1 block                          |
    | link    | 10   | 12 |         |              | a     |      | 2 blocks                                                        |
    | prefill | 10   | 20 |         | c 0+8        |       | 1    | 8 of c's 9 tokens; a's 2 blocks and b's 1 are still held        |
    | link    | 12   | 13 |         |              | b     |      | the link was a's until 12                                       |
    | decode  | 12   | 15 | a*      |              |       | 5    | a alone: b has not come                                         |
    | decode  | 15   | 19 | a* b*   |              |       | 5    | b joins between two steps; a ends with its third token          |
    | decode  | 19   | 22 | b*      |              |       | 7    | no prompt ever stops it                                         |
    | prefill | 20   | 28 |         | c 8+1, d 0+5 |       | 1    | the rest of c, and d                                            |
    | decode  | 22   | 25 | b*      |              |       | 6    | b's fifth token needs a second block                            |
    | decode  | 25   | 28 | b*      |              |       | 6    | b is still alone                                                |
    | lease   | 28   | 28 |         |              | c     | 3    | 9 + 1 tokens: 3 blocks                                          |
    | lease   | 28   | 28 |         |              | d     | 1    | 5 + 1 tokens: 2 blocks                                          |
    | link    | 28   | 31 |         |              | c     |      | 3 blocks                                                        |
    | prefill | 28   | 32 |         | e 0+2        |       | 0    | c and d still hold 5 blocks: e takes the last one, f finds none |
    | decode  | 28   | 31 | b*      |              |       | 1    | b ends                                                          |
    | link    | 31   | 33 |         |              | d     |      | 2 blocks                                                        |
    | decode  | 31   | 34 | c*      |              |       | 3    | c joins in the moment it comes; its second token is its last    |
    | lease   | 32   | 32 |         |              | e     | 2    | 2 + 1 tokens: 1 block                                           |
    | prefill | 32   | 37 |         | f 0+3        |       | 2    | c's 3 blocks have been free since 31                            |
    | link    | 33   | 34 |         |              | e     |      | the link was d's until 33                                       |
    | decode  | 34   | 38 | d* e*   |              |       | 5    | d since 33 and e since 34, when c's step ended; e ends          |
    | lease   | 37   | 37 |         |              | f     | 4    | 3 + 1 tokens: 1 block                                           |
    | link    | 37   | 38 |         |              | f     |      | 1 block; f joins decode at 38, between two steps                |
    | decode  | 38   | 42 | d* f*   |              |       | 5    | both end                                                        |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 10 | 20 | 28 | 32 |
    | first token | 10 | 10 | 28 | 28 | 32 | 37 |
    | last token  | 19 | 31 | 34 | 42 | 38 | 42 |
    """
    text = test_worked_disaggregated.__doc__ or ""
    assert_worked(text)
    assert text.count("| decode  | chunked ") == 1
    for batching in ("continuous", "prefill_first", "mixed"):  # where no prompt is computed they are the same
        assert_worked(text.replace("| decode  | chunked ", f"| decode  | {batching} "))


def test_the_page_for_readers_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.oracles.tables`"
