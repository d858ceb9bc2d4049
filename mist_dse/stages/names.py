"""What the visits of a request know of it beside its work: priority, session, random draws, and the names of their KV blocks.

A request names its content in blocks of ``hash_tokens``, the KV cache in blocks of its engine: one name becomes several, or the last of
several stands for all, since equal names mean equal content from the first token on. A block has a name only if the content of all
its tokens is named.
"""

import numpy as np

from mist_dse.requests import streams
from mist_dse.rows import POWER_OF_TWO, RANDOM, STATIC, Engine, Floats, Ints, Jobs, Requests
from mist_dse.specs._check import SpecError


def described(jobs: Jobs, requests: Requests, engines: tuple[Engine, ...]) -> Jobs:
    """``jobs`` with the optional columns that ``engines`` read. ``SpecError`` where block sizes do not divide one another."""
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    for name in ("priority", "session"):
        if len(getattr(requests, name)):
            jobs = jobs._replace(**{name: getattr(requests, name)[owner]})
    if any(engine.router in (RANDOM, POWER_OF_TWO) for engine in engines):
        jobs = jobs._replace(draw=_draws(jobs, requests.seed))
    if len(requests.hash_ids) and any(engine.caching for engine in engines):
        jobs = _named(jobs, requests, engines, owner)
    return jobs


def _draws(jobs: Jobs, seed: int) -> Floats:
    """Two for each visit, by request and place within it, so that more requests or visits change no earlier one."""
    visits = np.diff(jobs.first)
    drawn = streams(seed)["routing"].random((len(visits), max(int(visits.max(initial=0)), MOST_VISITS), 2))
    place = np.arange(int(jobs.first[-1])) - np.repeat(jobs.first[:-1], visits)
    return np.asarray(drawn[np.repeat(np.arange(len(visits)), visits), place])


MOST_VISITS = 8
"""Visits of one request that have draws of their own whatever the longest request makes."""


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
