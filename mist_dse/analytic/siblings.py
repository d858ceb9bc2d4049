"""What visits of one request do to each other at one server: copies of a fan-out that share a step, a rate, a batch or a queue.

All of it is read off the times of the request alone in the system: who joins a server at the same instant (a *volley*), who is in service
beside whom and for how long, who stands in line behind whom.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.rows import RANDOM, SESSION_AFFINITY, Engine, Floats, Ints, Jobs

_SAME = 1e-9  # s apart that count as one instant


class Volleys(NamedTuple):
    """Sets of visits that join together, for visits of one server in groups."""

    number: Ints  # [n] which set
    place: Ints  # [n] in it
    size: Ints  # [n] of it


def volleys(group: Ints, ready: Floats) -> Volleys:
    """Members of a group that are ready at one instant.

    >>> volleys(np.array([0, 0, 1]), np.array([2.0, 2.0, 2.0])).size.tolist()
    [2, 2, 1]
    """
    order = np.lexsort((np.arange(len(ready)), ready, group))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(group[order]) != 0) | (np.diff(ready[order]) > _SAME)
    number, place = _ranked(order, new)
    return Volleys(number, place, np.bincount(number, minlength=1)[number])


def positions(group: Ints, ready: Floats) -> Ints:
    """Place of each member in its group, in order of readiness."""
    order = np.lexsort((np.arange(len(ready)), ready, group))
    new = np.ones(len(order), bool)
    new[1:] = np.diff(group[order]) != 0
    return _ranked(order, new)[1]


def _ranked(order: Ints, new: np.ndarray) -> tuple[Ints, Ints]:
    """(number of the run, place in it) of each element, where runs begin at ``new`` in ``order``."""
    number, place = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    place[order] = np.arange(len(order)) - np.flatnonzero(new)[np.cumsum(new) - 1]
    return number, place


def summed(number: Ints, values: Floats) -> Floats:
    """Sum of ``values`` over each set, for every member."""
    return np.asarray(np.bincount(number, weights=values)[number]) if len(number) else np.zeros(0)


def summed_until(volley: Volleys, values: Floats) -> Floats:
    """Sum of ``values`` over the members up to and with each."""
    order = np.lexsort((volley.place, volley.number))
    total = np.cumsum(values[order])
    begin = np.flatnonzero(volley.place[order] == 0)
    before = total[begin] - values[order][begin]
    out = np.empty(len(values))
    out[order] = total - before[volley.number[order]]
    return out


def line_wait(group: Ints, ready: Floats, seconds: Floats) -> Floats:
    """Seconds behind those of the group that were ready before, served one at a time.

    >>> line_wait(np.array([0, 0, 0]), np.array([0.0, 1.0, 9.0]), np.array([2.0, 2.0, 2.0])).tolist()
    [0.0, 1.0, 0.0]
    """
    place = positions(group, ready)
    free = np.full(int(group.max(initial=0)) + 1, -np.inf)
    out = np.zeros(len(ready))
    for turn in range(int(place.max(initial=-1)) + 1):
        now = np.flatnonzero(place == turn)
        begin = np.maximum(ready[now], free[group[now]])
        out[now] = begin - ready[now]
        free[group[now]] = begin + seconds[now]
    return out


def company(group: Ints, begin: Floats, end: Floats) -> Floats:
    """Mean number of the group's others that are there between ``begin`` and ``end``.

    >>> company(np.array([0, 0]), np.array([0.0, 1.0]), np.array([4.0, 2.0])).tolist()
    [0.25, 1.0]
    """
    order = np.argsort(group, kind="stable")
    groups, begins, ends = group[order], begin[order], end[order]
    met = np.zeros(len(order))
    for apart in range(1, len(order)):
        same = np.flatnonzero(groups[:-apart] == groups[apart:])
        if not len(same):
            break
        both = np.maximum(np.minimum(ends[same], ends[same + apart]) - np.maximum(begins[same], begins[same + apart]), 0.0)
        met[same] += both  # each pair once
        met[same + apart] += both
    out = np.empty(len(order))
    out[order] = met / np.maximum(ends - begins, 1e-300)
    return out


def spread_ranks(engine: Engine, jobs: Jobs, visits: Ints, group: Ints, ready: Floats) -> Ints:
    """The rank of each visit as far as those of its own request decide it: in turn, or as it was drawn."""
    ranks = engine.replicas * engine.ranks
    if ranks == 1 or (engine.router == SESSION_AFFINITY and len(jobs.session)):
        return np.zeros(len(visits), np.int64)
    if engine.router == RANDOM and len(jobs.draw):
        return np.asarray(jobs.draw[visits, 0] * ranks, np.int64)
    rank = positions(group, ready) % ranks
    if len(jobs.beside):
        where = np.full(len(jobs.server), -1)
        where[visits] = rank
        to = jobs.beside[visits]
        rank = np.where((to >= 0) & (where[to] >= 0), where[to], rank)
    return np.asarray(rank, np.int64)
