"""The visit graph of every request, walked for all requests at once, one visit of each at a time.

Visits of a request are numbered so that signals go forward. A visit that needs k signals is ready at the k-th of those that come, in order
of time: the last one, or an earlier one where it needs fewer than it has edges.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import CANCEL, ON_START, Floats, Ints, Jobs

Served = Callable[[Ints, Floats], tuple[Floats, Floats]]
"""(visits, ready times) -> (start times, end times), called once per place in the request."""


def walked(jobs: Jobs, entry: Floats, served: Served) -> tuple[Floats, Floats, Floats]:
    """(ready, start, end) of every visit, where visits without signals to wait for are ready at ``entry`` [v]."""
    count = len(jobs.server)
    incoming = np.bincount(jobs.edge_to[jobs.edge_on != CANCEL], minlength=count)
    latest, when = np.full(count, -np.inf), np.full(len(jobs.edge_to), np.inf)
    into = np.argsort(jobs.edge_to, kind="stable")
    ready, start, end = entry.astype(float), np.full(count, np.nan), np.full(count, np.nan)
    for visits in places(jobs):
        waits = jobs.need[visits] > 0
        ready[visits] = np.where(waits, latest[visits], entry[visits])
        some = visits[waits & (jobs.need[visits] < incoming[visits])]
        ready[some] = _in_order(jobs, some, when, into)
        start[visits], end[visits] = served(visits, ready[visits])
        edges, source = edges_of(jobs, visits)
        signals = jobs.edge_on[edges] != CANCEL
        edges, source = edges[signals], source[signals]
        when[edges] = np.where(jobs.edge_on[edges] == ON_START, start[source], end[source])
        np.maximum.at(latest, jobs.edge_to[edges], when[edges])
    return ready, start, end


def _in_order(jobs: Jobs, visits: Ints, when: Floats, into: Ints) -> Floats:
    """Time of the ``need``-th signal to each of ``visits``; ``into``: edges by the visit that they lead to."""
    if not len(visits):
        return np.zeros(0)
    target = jobs.edge_to[into]
    chosen = into[np.isin(target, visits)]
    times, owner = when[chosen], jobs.edge_to[chosen]
    order = np.lexsort((times, owner))
    return np.asarray(times[order][np.searchsorted(owner[order], visits) + jobs.need[visits] - 1])


def places(jobs: Jobs) -> list[Ints]:
    """Visits that stand first in their request, second, and so on."""
    counts = np.diff(jobs.first)
    return [jobs.first[:-1][counts > place] + place for place in range(int(counts.max(initial=0)))]


def edges_of(jobs: Jobs, visits: Ints) -> tuple[Ints, Ints]:
    """The edges that leave ``visits``, and the visit that each leaves."""
    counts = jobs.edge_first[visits + 1] - jobs.edge_first[visits]
    source = np.repeat(visits, counts)
    begin = np.repeat(np.cumsum(counts) - counts, counts)
    return jobs.edge_first[source] + np.arange(len(source)) - begin, source


def cancellable(jobs: Jobs) -> NDArray[np.bool_]:
    """Visits that another may cancel: what they take, and that they end at all, is no floor."""
    found = np.zeros(len(jobs.server), bool)
    found[jobs.edge_to[jobs.edge_on == CANCEL]] = True
    return found


def request_of_visit(jobs: Jobs) -> Ints:
    """The request that each visit belongs to."""
    return np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
