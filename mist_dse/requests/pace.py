"""The same requests at another rate: common random numbers for a search over the rate.

Times of arrival are divided by a factor, lengths and contents stay. What users do between two turns of a session takes as long as
before: a request that follows another keeps its distance from it.
"""

import numpy as np

from mist_dse.rows import NONE, Floats, Ints, Requests


def paced(requests: Requests, factor: float) -> Requests:
    """``requests`` of an open loop, ``factor`` times as fast, in order of arrival.

    >>> from mist_dse.requests import realise
    >>> from mist_dse.specs.workload import Workload
    >>> table = realise(Workload.poisson(rate=2.0, input_tokens=100, output_tokens=10, requests=4))
    >>> bool((paced(table, 2.0).arrival == table.arrival / 2).all())
    True
    """
    rate = requests.nominal_rate * factor
    if not len(requests.follows) or (requests.follows < 0).all():
        return requests._replace(arrival=requests.arrival / factor, nominal_rate=rate)
    arrival = _session_arrivals(requests, factor)
    return _reordered(requests._replace(arrival=arrival, nominal_rate=rate), np.argsort(arrival, kind="stable"))


def _session_arrivals(requests: Requests, factor: float) -> Floats:
    """Earliest arrivals where sessions start ``factor`` times as fast and then go on as before."""
    first, before = np.arange(len(requests.follows)), requests.follows
    while (before >= 0).any():  # turn by turn back to the first of each session
        first = np.where(before >= 0, before, first)
        before = np.where(before >= 0, requests.follows[before], -1)
    return np.asarray(requests.arrival[first] / factor + (requests.arrival - requests.arrival[first]))


def _reordered(requests: Requests, order: Ints) -> Requests:
    """The rows in ``order``, references to other rows included."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    sent = requests.follows[order]
    named = len(requests.hash_first) > 0
    counts = np.diff(requests.hash_first)[order] if named else NONE
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    pick = np.arange(starts[-1]) + np.repeat(requests.hash_first[:-1][order] - starts[:-1], counts) if named else NONE
    columns = ("arrival", "input_tokens", "output_tokens", "max_tokens", "cached_tokens", "think")
    optional = ("priority", "class_id", "session")
    moved = {name: getattr(requests, name)[order] for name in (*columns, *(one for one in optional if len(getattr(requests, one))))}
    return requests._replace(
        **moved,
        follows=np.where(sent >= 0, place[sent], -1),
        hash_first=starts if named else NONE,
        hash_ids=requests.hash_ids[pick] if named else NONE,
    )
