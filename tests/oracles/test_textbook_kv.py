"""# Where KV runs short

Five blocks, and six requests that grow to 3, 2, 2, 1, 3 and 3 of them. A request may enter while it is short, and is preempted when those
before it grow: running sequences take their blocks in order of admission, and one that finds none free takes those of the last that runs,
which may be itself. The one that ``lost`` its blocks keeps its output, becomes the first of those that wait, and computes its prompt and
that output again. In a step that preempts, nobody joins. The rest is as in the tables above.
"""

from tests.oracles.tables import assert_worked


def test_worked_shortage_chunked() -> None:
    """KV shortage under chunked prefill

    | batching | budget | sequences | blocks |
    |----------|--------|-----------|--------|
    | chunked  | 8      | 3         | 5      |

    | request | a | b | c | d | e | f  |
    |---------|---|---|---|---|---|----|
    | arrives | 0 | 0 | 1 | 2 | 3 | 41 |
    | prompt  | 4 | 2 | 5 | 3 | 6 | 7  |
    | output  | 6 | 5 | 4 | 2 | 4 | 3  |

    | step | from | to | decodes  | prompts      | lost | free | why                                                                  |
    |------|------|----|----------|--------------|------|------|----------------------------------------------------------------------|
    | 1    | 0    | 8  |          | a 0+4, b 0+2 |      | 3    | nobody else is there yet                                             |
    | 2    | 8    | 17 | a* b*    | c 0+5        |      | 0    | a's fifth token takes a second block, c the last two                 |
    | 3    | 17   | 22 | a* b* c* |              |      | 0    | three run: d and e wait                                              |
    | 4    | 22   | 26 | a* b*    |              | c    | 1    | b's fifth token needs a block: c, the last, loses two; d stays out   |
    | 5    | 26   | 30 | a* b*    |              |      | 1    | c is first and needs 2 blocks for 6 of its 7 tokens; d needs but 1   |
    | 6    | 30   | 40 | a*       | c 0+7        |      | 0    | b has ended: c computes its prompt of 5 and its 2 outputs again      |
    | 7    | 40   | 50 | c*       | d 0+3, e 0+4 |      | 1    | a has ended; c's third output came at 40, and its fourth is its last |
    | 8    | 50   | 60 | d*       | e 4+2, f 0+5 |      | 0    | c has ended: 1 + 2 + 5 are the budget                                |
    | 9    | 60   | 65 | e*       | f 5+2        |      | 1    | d has ended                                                          |
    | 10   | 65   | 69 | e* f*    |              |      | 1    | the eighth token of each fits in its second block                    |
    | 11   | 69   | 72 | e*       |              | f    | 2    | e's ninth takes the last block, f finds none and is itself the last  |
    | 12   | 72   | 82 |          | f 0+8        |      | 3    | e has ended: 8 of the 7 + 2 tokens that f computes again             |
    | 13   | 82   | 85 |          | f 8+1        |      | 2    | the ninth, still a prompt token; f's third output is its last        |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 8  | 40 | 40 | 50 |
    | first token | 8  | 8  | 17 | 50 | 60 | 65 |
    | last token  | 40 | 30 | 50 | 60 | 72 | 85 |
    | preempted   | 0  | 0  | 1  | 0  | 0  | 1  |
    """
    assert_worked(test_worked_shortage_chunked.__doc__)


def test_worked_shortage_mixed() -> None:
    """KV shortage under mixed batching

    | batching | budget | sequences | blocks |
    |----------|--------|-----------|--------|
    | mixed    | 8      | 3         | 5      |

    | request | a | b | c | d | e | f  |
    |---------|---|---|---|---|---|----|
    | arrives | 0 | 0 | 1 | 2 | 3 | 41 |
    | prompt  | 4 | 2 | 5 | 3 | 6 | 7  |
    | output  | 6 | 5 | 4 | 2 | 4 | 3  |

    | step | from | to | decodes  | prompts      | lost | free | why                                                                 |
    |------|------|----|----------|--------------|------|------|---------------------------------------------------------------------|
    | 1    | 0    | 8  |          | a 0+4, b 0+2 |      | 3    | nobody else is there yet                                            |
    | 2    | 8    | 17 | a* b*    | c 0+5        |      | 0    | a's fifth token takes a second block, c the last two                |
    | 3    | 17   | 22 | a* b* c* |              |      | 0    | three run: d and e wait                                             |
    | 4    | 22   | 26 | a* b*    |              | c    | 1    | b's fifth token needs a block: c, the last, loses two; d stays out  |
    | 5    | 26   | 30 | a* b*    |              |      | 1    | c is first and needs 2 blocks for its 7 tokens                      |
    | 6    | 30   | 40 | a*       | c 0+7        |      | 0    | b has ended: c computes its prompt of 5 and its 2 outputs again     |
    | 7    | 40   | 46 | c*       | d 0+3        |      | 2    | a has ended; 1 + 3 + 6 would exceed the budget, and e is not split  |
    | 8    | 46   | 55 | d*       | e 0+6        |      | 2    | c has ended; 1 + 6 + 7 would exceed the budget                      |
    | 9    | 55   | 65 | e*       | f 0+7        |      | 1    | d has ended                                                         |
    | 10   | 65   | 69 | e* f*    |              |      | 1    | the eighth token of each fits in its second block                   |
    | 11   | 69   | 72 | e*       |              | f    | 2    | e's ninth takes the last block, f finds none and is itself the last |
    | 12   | 72   | 83 |          | f 0+9        |      | 2    | e has ended: f computes 7 + 2 again, whole, though the budget is 8  |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 8  | 40 | 46 | 55 |
    | first token | 8  | 8  | 17 | 46 | 55 | 65 |
    | last token  | 40 | 30 | 46 | 55 | 72 | 83 |
    | preempted   | 0  | 0  | 1  | 0  | 0  | 1  |
    """
    assert_worked(test_worked_shortage_mixed.__doc__)


def test_worked_shortage_continuous() -> None:
    """KV shortage under continuous batching

    | batching   | budget | sequences | blocks |
    |------------|--------|-----------|--------|
    | continuous | 8      | 3         | 5      |

    | request | a | b | c | d | e | f  |
    |---------|---|---|---|---|---|----|
    | arrives | 0 | 0 | 1 | 2 | 3 | 41 |
    | prompt  | 4 | 2 | 5 | 3 | 6 | 7  |
    | output  | 6 | 5 | 4 | 2 | 4 | 3  |

    | step | from | to | decodes  | prompts      | lost | free | why                                                                 |
    |------|------|----|----------|--------------|------|------|---------------------------------------------------------------------|
    | 1    | 0    | 8  |          | a 0+4, b 0+2 |      | 3    | nobody else is there yet                                            |
    | 2    | 8    | 15 |          | c 0+5        |      | 1    | c takes the third place, a and b stall                              |
    | 3    | 15   | 20 | a* b* c* |              |      | 0    | a's fifth token takes the last block                                |
    | 4    | 20   | 25 | a* b* c* |              |      | 0    | all blocks are taken and none is full                               |
    | 5    | 25   | 29 | a* b*    |              | c    | 1    | b's fifth token needs a block: c, the last, loses two               |
    | 6    | 29   | 33 | a* b*    |              |      | 1    | c is first and needs 2 blocks for its 5 + 3 tokens; d needs but 1   |
    | 7    | 33   | 43 |          | c 0+8        |      | 1    | b has ended: c computes all again; a stalls; c's fourth is its last |
    | 8    | 43   | 48 |          | d 0+3        |      | 2    | 3 + 6 would exceed the budget: e stays out                          |
    | 9    | 48   | 56 |          | e 0+6        |      | 0    | e takes the third place; a and d stall                              |
    | 10   | 56   | 60 | a* d*    |              | e    | 1    | a's ninth token needs a block: e, the last, loses two; a and d end  |
    | 11   | 60   | 69 |          | e 0+7        |      | 3    | e computes 6 + 1 again; with f's 7 they would be 14                 |
    | 12   | 69   | 78 |          | f 0+7        |      | 1    | e stalls                                                            |
    | 13   | 78   | 82 | e* f*    |              |      | 1    | the eighth token of each fits in its second block                   |
    | 14   | 82   | 85 | e*       |              | f    | 2    | e's ninth takes the last block, f finds none and is itself the last |
    | 15   | 85   | 96 |          | f 0+9        |      | 2    | f computes 7 + 2 again, whole, though the budget is 8               |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 8  | 43 | 48 | 69 |
    | first token | 8  | 8  | 15 | 48 | 56 | 78 |
    | last token  | 60 | 33 | 43 | 60 | 85 | 96 |
    | preempted   | 0  | 0  | 1  | 0  | 1  | 1  |
    """
    assert_worked(test_worked_shortage_continuous.__doc__)


def test_worked_shortage_prefill_first() -> None:
    """KV shortage where prompts go first

    | batching      | budget | sequences | blocks |
    |---------------|--------|-----------|--------|
    | prefill_first | 8      | 3         | 5      |

    | request | a | b | c | d | e | f  |
    |---------|---|---|---|---|---|----|
    | arrives | 0 | 0 | 1 | 2 | 3 | 41 |
    | prompt  | 4 | 2 | 5 | 3 | 6 | 7  |
    | output  | 6 | 5 | 4 | 2 | 4 | 3  |

    | step | from | to | decodes  | prompts      | lost | free | why                                                                 |
    |------|------|----|----------|--------------|------|------|---------------------------------------------------------------------|
    | 1    | 0    | 8  |          | a 0+4, b 0+2 |      | 3    | nobody else is there yet                                            |
    | 2    | 8    | 15 |          | c 0+5        |      | 1    | c takes the third place, a and b stall                              |
    | 3    | 15   | 20 | a* b* c* |              |      | 0    | a's fifth token takes the last block                                |
    | 4    | 20   | 25 | a* b* c* |              |      | 0    | all blocks are taken and none is full                               |
    | 5    | 25   | 29 | a* b*    |              | c    | 1    | b's fifth token needs a block: c, the last, loses two               |
    | 6    | 29   | 33 | a* b*    |              |      | 1    | c is first and needs 2 blocks for its 5 + 3 tokens; d needs but 1   |
    | 7    | 33   | 43 |          | c 0+8        |      | 1    | b has ended: c computes all again; a stalls; c's fourth is its last |
    | 8    | 43   | 53 |          | d 0+3, e 0+5 |      | 0    | e is split where the budget ends                                    |
    | 9    | 53   | 56 |          | e 5+1        |      | 0    | the rest of e; three run, f waits; a and d stall                    |
    | 10   | 56   | 60 | a* d*    |              | e    | 1    | a's ninth token needs a block: e, the last, loses two; a and d end  |
    | 11   | 60   | 70 |          | e 0+7, f 0+1 |      | 2    | e computes 6 + 1 again, f takes the one token that is left          |
    | 12   | 70   | 78 |          | f 1+6        |      | 1    | e stalls                                                            |
    | 13   | 78   | 82 | e* f*    |              |      | 1    | the eighth token of each fits in its second block                   |
    | 14   | 82   | 85 | e*       |              | f    | 2    | e's ninth takes the last block, f finds none and is itself the last |
    | 15   | 85   | 95 |          | f 0+8        |      | 3    | 8 of the 7 + 2 tokens that f computes again                         |
    | 16   | 95   | 98 |          | f 8+1        |      | 2    | the ninth, still a prompt token; f's third output is its last       |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 8  | 43 | 43 | 60 |
    | first token | 8  | 8  | 15 | 53 | 56 | 78 |
    | last token  | 60 | 33 | 43 | 60 | 85 | 98 |
    | preempted   | 0  | 0  | 1  | 0  | 1  | 1  |
    """
    assert_worked(test_worked_shortage_prefill_first.__doc__)


def test_worked_shortage_disaggregated() -> None:
    """KV shortage between prefill and decode

    The requests and the link of the disaggregated example above, with 4 blocks in each pool. c's lease waits for blocks on the decode side;
    its KV stays where it was computed, so that prefill, too, has no blocks for those that wait there: for 9 seconds it computes nothing.

    | pool    | batching | budget | sequences | blocks |
    |---------|----------|--------|-----------|--------|
    | prefill | chunked  | 8      | 3         | 4      |
    | decode  | chunked  | 8      | 3         | 4      |

    | request | a | b | c | d | e  | f  |
    |---------|---|---|---|---|----|----|
    | arrives | 0 | 0 | 0 | 4 | 22 | 25 |
    | prompt  | 6 | 2 | 9 | 5 | 2  | 3  |
    | output  | 3 | 6 | 2 | 3 | 2  | 2  |

    | where   | from | to | decodes  | prompts             | KV of | free | why                                                            |
    |---------|------|----|----------|---------------------|-------|------|----------------------------------------------------------------|
    | prefill | 0    | 10 |          | a 0+6, b 0+2        |       | 1    | 6 + 2 tokens are the budget                                    |
    | lease   | 10   | 10 |          |                     | a     | 2    | 6 tokens and the first output: 2 blocks                        |
    | lease   | 10   | 10 |          |                     | b     | 1    | 2 tokens and the first output: 1 block                         |
    | link    | 10   | 12 |          |                     | a     |      | prefill stands still: c needs 2 blocks for 8 tokens, 1 is free |
    | link    | 12   | 13 |          |                     | b     |      | the link was a's until 12                                      |
    | prefill | 12   | 22 |          | c 0+8               |       | 1    | a's 2 blocks came free with its transfer, b's 1 is held        |
    | decode  | 12   | 15 | a*       |                     |       | 1    | b's block is reserved before b is there                        |
    | decode  | 15   | 19 | a* b*    |                     |       | 1    | a ends                                                         |
    | decode  | 19   | 22 | b*       |                     |       | 3    | b is alone: decode has room, but nobody comes                  |
    | prefill | 22   | 25 |          | c 8+1               |       | 1    | c's third block; d needs 2, and e, which needs 1, is behind d  |
    | decode  | 22   | 25 | b*       |                     |       | 2    | b's fifth token needs a second block                           |
    | lease   | 25   | 31 |          |                     | c     | 1    | 9 + 1 tokens need 3 blocks and decode has 2 until b ends       |
    | decode  | 25   | 28 | b*       |                     |       | 2    | meanwhile c holds 3 of prefill's 4 blocks: d, e and f wait     |
    | decode  | 28   | 31 | b*       |                     |       | 2    | b ends                                                         |
    | link    | 31   | 34 |          |                     | c     |      | neither pool computes anything                                 |
    | prefill | 34   | 44 |          | d 0+5, e 0+2, f 0+1 |       | 0    | c's 3 blocks are free; f's prompt is split                     |
    | decode  | 34   | 37 | c*       |                     |       | 1    | c ends                                                         |
    | lease   | 44   | 44 |          |                     | d     | 2    | 5 + 1 tokens: 2 blocks                                         |
    | lease   | 44   | 44 |          |                     | e     | 1    | 2 + 1 tokens: 1 block                                          |
    | link    | 44   | 46 |          |                     | d     |      | 2 blocks                                                       |
    | prefill | 44   | 48 |          | f 1+2               |       | 0    | f's block has room; d and e still hold 3                       |
    | link    | 46   | 47 |          |                     | e     |      | 1 block; e joins decode at 49, between two steps               |
    | decode  | 46   | 49 | d*       |                     |       | 1    | d begins while e is on the link                                |
    | lease   | 48   | 48 |          |                     | f     | 0    | decode's last block                                            |
    | link    | 48   | 49 |          |                     | f     |      | f comes at the moment a step ends                              |
    | decode  | 49   | 54 | d* e* f* |                     |       | 0    | all end                                                        |

    | request     | a  | b  | c  | d  | e  | f  |
    |-------------|----|----|----|----|----|----|
    | admitted    | 0  | 0  | 12 | 34 | 34 | 34 |
    | first token | 10 | 10 | 25 | 44 | 44 | 48 |
    | last token  | 19 | 31 | 37 | 54 | 54 | 54 |
    """
    assert_worked(test_worked_shortage_disaggregated.__doc__)
