"""What the visits of a request know of it beside its work: priority, session, random draws, and the names of their KV blocks.

A request names its content in blocks of ``hash_tokens``, the KV cache in blocks of its engine: one name becomes several, or the last of
several stands for all, since equal names mean equal content from the first token on. A block has a name only if the content of all
its tokens is named.
"""

import numpy as np

from mist_dse.requests.streams import named_stream, streams
from mist_dse.rows import POWER_OF_TWO, RANDOM, STATIC, Engine, Floats, Ints, Jobs, Requests
from mist_dse.specs._check import SpecError

Conversations = tuple[Ints, Ints]
"""Per visit: the branch of its request's conversation, and the tokens that it has in common with the conversation itself."""


def described(jobs: Jobs, requests: Requests, engines: tuple[Engine, ...], conversations: Conversations | None = None) -> Jobs:
    """``jobs`` with the optional columns that ``engines`` read. ``SpecError`` where block sizes do not divide one another.

    ``conversations``: where a request comes back to an engine (None: nowhere), so that its own content is named, too.
    """
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    for name in ("priority", "session"):
        if len(getattr(requests, name)):
            jobs = jobs._replace(**{name: getattr(requests, name)[owner]})
    if any(engine.router in (RANDOM, POWER_OF_TWO) for engine in engines):
        jobs = jobs._replace(draw=_draws(jobs, requests.seed))
    if any(engine.caching for engine in engines):
        if conversations is not None:
            jobs = _named_by_place(jobs, requests, engines, (owner, *conversations))
        elif len(requests.hash_ids):
            jobs = _named(jobs, requests, engines, owner)
    return jobs


def _named_by_place(jobs: Jobs, requests: Requests, engines: tuple[Engine, ...], places: tuple[Ints, Ints, Ints]) -> Jobs:
    """Names of all blocks of a conversation: the request's own names as far as they go, then one for each place in each branch."""
    owner, branch, common = places
    size, caches = np.ones(len(owner), np.int64), np.zeros(len(owner), bool)
    for number, engine in enumerate(engines):
        here = (jobs.server == number) & (branch >= 0)
        size[here], caches[here] = engine.block_size, engine.caching and engine.policy != STATIC
    blocks = np.where(caches, (jobs.prompt + jobs.handed + jobs.emit) // size, 0)
    first = np.concatenate(([0], np.cumsum(blocks)))
    visit = np.repeat(np.arange(len(owner)), blocks)
    place = np.arange(first[-1]) - first[:-1][visit]
    end = (place + 1) * size[visit]
    side = np.where(end <= common[visit], 0, branch[visit])
    keys = [side, owner[visit], place]
    if len(requests.hash_ids):
        known = end <= _named_tokens(requests)[owner[visit]]
        at = np.where(known, requests.hash_first[:-1][owner[visit]] + (end - 1) // requests.hash_tokens, 0)
        keys = [
            np.where(known, -1, side),
            np.where(known, requests.hash_ids[at], owner[visit]),
            np.where(known, end % requests.hash_tokens, place),
        ]
    _, ids = np.unique(np.stack(keys), axis=1, return_inverse=True)
    return jobs._replace(hash_first=first.astype(np.int64), hash_ids=ids.ravel().astype(np.int64))


def _draws(jobs: Jobs, seed: int) -> Floats:
    """Two for each visit, by request and place within it, so that more requests or visits change no earlier one."""
    visits = np.diff(jobs.first)
    parts = -(-int(visits.max(initial=1)) // DRAWN_TOGETHER)
    generators = [streams(seed)["routing"], *(named_stream(seed, f"routing {part}") for part in range(1, parts))]
    drawn = np.concatenate([each.random((len(visits), DRAWN_TOGETHER, 2)) for each in generators], axis=1)
    place = np.arange(int(jobs.first[-1])) - np.repeat(jobs.first[:-1], visits)
    return np.asarray(drawn[np.repeat(np.arange(len(visits)), visits), place])


DRAWN_TOGETHER = 8
"""Visits of a request whose draws come from one stream; the next so many have the next stream, so that a long request moves no other's."""


def _named(jobs: Jobs, requests: Requests, engines: tuple[Engine, ...], owner: Ints) -> Jobs:
    """Names of the blocks of all visits to engines that cache."""
    size = np.ones(len(owner), np.int64)
    caches = np.zeros(len(owner), bool)
    for number, engine in enumerate(engines):
        here = jobs.server == number
        size[here], caches[here] = engine.block_size, engine.caching and engine.policy != STATIC
        if engine.caching and requests.hash_tokens % engine.block_size and engine.block_size % requests.hash_tokens:
            sizes = f"names of {requests.hash_tokens} tokens and KV blocks of {engine.block_size}"
            raise SpecError(f"Batching.prefix_caching: {sizes} do not divide one another, so no block has one name")
    named = _named_tokens(requests)[owner]
    blocks = np.where(caches, np.minimum(named, jobs.prompt + jobs.handed + jobs.emit) // size, 0)
    first = np.concatenate(([0], np.cumsum(blocks)))
    visit = np.repeat(np.arange(len(owner)), blocks)
    last_token = (np.arange(first[-1]) - first[:-1][visit] + 1) * size[visit] - 1
    part = last_token % requests.hash_tokens // size[visit]  # which of the blocks that share one name
    parts = np.maximum(requests.hash_tokens // size[visit], 1)
    ids = requests.hash_ids[requests.hash_first[:-1][owner[visit]] + last_token // requests.hash_tokens]
    return jobs._replace(hash_first=first.astype(np.int64), hash_ids=ids * parts + part)


def _named_tokens(requests: Requests) -> Ints:
    """Leading tokens of each request whose content is named: the last name of a prompt may stand for fewer than ``hash_tokens``."""
    covered = np.diff(requests.hash_first) * requests.hash_tokens
    whole = requests.input_tokens + requests.output_tokens
    prompt = -(-requests.input_tokens // requests.hash_tokens) * requests.hash_tokens
    return np.asarray(np.where(covered > prompt, np.minimum(covered, whole), np.minimum(covered, requests.input_tokens)))
