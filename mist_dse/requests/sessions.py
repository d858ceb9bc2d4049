"""Sessions: conversations of several turns, whose next turn comes some time after the answer to the last.

Sessions start as a Poisson process and go on independently of one another, however many there are: a partly open system
(B. Schroeder, A. Wierman, M. Harchol-Balter, Open Versus Closed: A Cautionary Tale, NSDI 2006). Turns, times between them and
lengths belong to the session and the turn, not to the order of arrival, so that another rate leaves them alone. The requests of a
workload are the first by earliest possible arrival (answers in no time), so that the last sessions are cut off and the first are
alone: leave the first out as warm-up. ``nominal`` rescales the starts until the sessions that bring so many requests start at the
nominal rate.

The content of a conversation is named block by block: turn k extends what turn k - 1 has computed, and equal names are equal
content. Only whole blocks have names. A system prompt's blocks have the same names in all sessions.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals

MOST_NAMES = 2**27
"""Names of blocks in one workload: 1 GiB of them."""

SESSION_BITS = 32
"""A block's name is its session's number, from 1, times 2^32, plus its place: 2^31 sessions of 2^32 blocks have names of their own."""


class Sessions(NamedTuple):
    """Requests of sessions in order of earliest possible arrival; columns as in `rows.Requests`."""

    arrival: Floats
    think: Floats
    session: Ints
    follows: Ints
    draw: Ints  # place among the turns of all sessions, one session after another: whose draws are the request's


class Names(NamedTuple):
    """``hash_first`` and ``hash_ids`` of `rows.Requests`."""

    first: Ints
    ids: Ints


def session_requests(arrivals: Arrivals, generators: Mapping[str, np.random.Generator], *, nominal: bool = True) -> Sessions:
    """The first ``arrivals.requests`` requests of sessions."""
    assert arrivals.rate is not None
    assert arrivals.turns is not None
    count = arrivals.requests or 0
    starts = np.cumsum(generators["arrivals"].standard_exponential(count))  # a session has at least one turn: count sessions are enough
    turns = turn_counts(arrivals, generators["turns"].random(count))
    through = np.cumsum(turns)
    last = int(np.searchsorted(through, count))
    starts = starts * ((through[last] / starts[last] if nominal else arrivals.turns) / arrivals.rate)
    draws = generators["think"].random((through[last], 2))
    found = _unrolled(arrivals, starts[: last + 1], turns[: last + 1], draws)
    latest = np.sort(found.arrival)[count - 1]
    more = int(np.searchsorted(starts, latest, side="right"))  # sessions that start before the last of these requests come in between
    if more > last + 1:
        draws = np.concatenate([draws, generators["think"].random((through[more - 1] - through[last], 2))])
        found = _unrolled(arrivals, starts[:more], turns[:more], draws)
    return in_order(found, count)


def turn_counts(arrivals: Arrivals, draws: Floats) -> Ints:
    """Turns of each session from one uniform draw each; a geometric count is 1 + floor(ln u / ln(1 - 1/mean))."""
    assert arrivals.turns is not None
    if arrivals.turns_law == "fixed" or arrivals.turns == 1:
        return np.full(len(draws), int(arrivals.turns), np.int64)
    return np.asarray(1 + np.floor(np.log1p(-draws) / np.log1p(-1 / arrivals.turns)), np.int64)


def _unrolled(arrivals: Arrivals, starts: Floats, turns: Ints, draws: Floats) -> Sessions:
    """All turns of the sessions, one session after another."""
    session = np.repeat(np.arange(len(turns)), turns)
    turn = np.arange(len(session)) - np.repeat(np.cumsum(turns) - turns, turns)
    mean = np.where(draws[:, 0] < arrivals.tool_share, arrivals.tool_time, arrivals.think)
    think = np.where(turn > 0, -np.log1p(-draws[:, 1]) * mean, 0.0)
    follows = np.where(turn > 0, np.arange(len(turn)) - 1, -1)
    return Sessions(chained(starts[session], think, follows), think, session, follows, np.arange(len(turn)))


def chained(arrival: Floats, think: Floats, follows: Ints) -> Floats:
    """Earliest arrivals: a request that follows another comes ``think`` s after it.

    >>> chained(np.array([1.0, 0.0, 0.0]), np.array([9.0, 2.0, 3.0]), np.array([-1, 0, 1])).tolist()
    [1.0, 3.0, 6.0]
    """
    out, ready = arrival.copy(), follows < 0
    rest = np.flatnonzero(~ready)
    while len(rest):  # turn by turn: the n-th turns of all sessions together
        now = ready[follows[rest]]
        here = rest[now]
        out[here] = out[follows[here]] + think[here]
        ready[here] = True
        rest = rest[~now]
    return out


def in_order(found: Sessions, count: int) -> Sessions:
    """The first ``count`` requests by arrival; equal times keep their order."""
    order = np.argsort(found.arrival, kind="stable")[:count]
    place = np.full(len(found.arrival), -1)
    place[order] = np.arange(len(order))
    follows = found.follows[order]
    return Sessions(found.arrival[order], found.think[order], found.session[order],
                    np.where(follows >= 0, place[follows], -1), found.draw[order])  # fmt: skip


def conversation_prompts(sessions: Sessions, added: Ints, output_tokens: Ints, shared_prefix: int) -> Ints:
    """Prompt tokens of each request: the shared prefix, all that went before in its session, and what the turn adds."""
    order = np.lexsort((np.arange(len(added)), sessions.session))
    first = np.flatnonzero(np.diff(sessions.session[order], prepend=-1))
    length = np.diff(np.append(first, len(order)))
    said = np.cumsum(added[order] + output_tokens[order]) - output_tokens[order]  # up to the end of the prompt, over all sessions
    before = said[first] - added[order][first]
    prompts = np.empty_like(added)
    prompts[order] = shared_prefix + said - np.repeat(before, length)
    return prompts


def conversation_names(sessions: Sessions, tokens: Ints, shared_prefix: int, hash_tokens: int) -> Names:
    """Names of the whole blocks of each request's ``tokens``, prompt and output."""
    counts = tokens // hash_tokens
    if counts.sum() > MOST_NAMES:
        total = f"{int(tokens.sum()):,} tokens of conversations in blocks of {hash_tokens}"
        raise SpecError(f"Arrivals.hash_tokens is {hash_tokens}: {total} have {int(counts.sum()):,} names, more than {MOST_NAMES:,}")
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    block = np.arange(first[-1]) - np.repeat(first[:-1], counts)
    own = np.repeat((sessions.session + 1) << SESSION_BITS, counts)
    return Names(first, np.where(block < shared_prefix // hash_tokens, block, own + block))
