"""Prompt tokens that a prefix cache may spare, from the names of blocks alone: no order of events, no capacity, no routing.

A visit starts behind the leading blocks that a cache holds, never behind its last prompt token. Where nothing is known of the order in
which visits are served, a block may be held if any other visit of the pool has its name: a floor for every schedule. In order of
arrival, a cache that forgets nothing and serves all replicas holds the blocks of all visits before: least work for an average load.
"""

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import STATIC, Engine, Ints, Jobs, Servers


def spared(servers: Servers, jobs: Jobs, *, any_order: bool) -> Jobs:
    """``jobs`` whose ``computed`` counts what a cache may hold: of all visits of the pool (``any_order``), or of those before."""
    if not len(jobs.hash_ids) or not any(engine.caching for engine in servers.engines):
        return jobs
    computed = jobs.computed.copy()
    for number, engine in enumerate(servers.engines):
        visits = np.flatnonzero((jobs.server == number) & (jobs.handed == 0))
        if engine.caching and engine.policy != STATIC and len(visits):
            computed[visits] = np.maximum(computed[visits], _found(engine, jobs, visits, any_order))
    return jobs._replace(computed=computed)


def _found(engine: Engine, jobs: Jobs, visits: Ints, any_order: bool) -> Ints:
    """Tokens of the leading blocks of each visit that another has, too."""
    from pandas import Series  # an import of 0.3 s, for workloads with named blocks alone

    counts = np.minimum(jobs.hash_first[visits + 1] - jobs.hash_first[visits], (jobs.prompt[visits] - 1) // engine.block_size)
    every = jobs.hash_first[visits + 1] - jobs.hash_first[visits]
    place = np.arange(every.sum()) - np.repeat(np.cumsum(every) - every, every)
    names = jobs.hash_ids[np.repeat(jobs.hash_first[visits], every) + place]
    twice: NDArray[np.bool_] = Series(names).duplicated(keep=False if any_order else "first").to_numpy()
    missing = np.where(twice, np.iinfo(np.int64).max, place)
    leading = np.full(len(visits), np.iinfo(np.int64).max)
    np.minimum.at(leading, np.repeat(np.arange(len(visits)), every)[~twice], missing[~twice])
    return np.asarray(np.minimum(leading, counts) * engine.block_size, np.int64)
