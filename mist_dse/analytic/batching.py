"""A server of batches in load: its mean batch, and how long a job waits for one.

One worker is a chain embedded where batches end: of the q jobs that wait then, with those that come while it lets the batch fill, it takes
up to ``size`` in T(k) s, during which a Poisson number of volleys of ``volley`` jobs each come (Bailey 1954). The time-average of the jobs
that wait, by renewal-reward over these cycles, gives the mean wait by Little's law: exact for Poisson volleys, one worker and no limit to
fill up to. Several workers take batches T(k) / workers apart when all are busy; their queue is the one worker's times
rho^(sqrt(2(c + 1)) - 2), the ratio of Sakasegawa's waits for c workers and one, and uneven as they are. Where they let batches fill,
these form as if a worker were free, and queue for one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mist_dse.analytic.queueing import Wait, many_wait, one_service, one_wait
from mist_dse.analytic.sharing import Offered, nothing
from mist_dse.rows import Batcher, Floats

_MOST = 400
"""States of the chain."""
_UNEVEN = 0.35
"""Squared coefficient of variation of the intervals at which many busy workers end (fitted on simulated batchers)."""
_LOAD = 0.995
"""Load at which a saturated worker is shown."""


class Batching(NamedTuple):
    """One batcher in load."""

    wait: Wait  # of a job before its batch starts; scalars
    service: float  # s of the batch that a job is in, mean over jobs
    batch: float  # jobs in a job's batch, itself included
    utilisation: float  # of all workers


class _Cycle(NamedTuple):
    """From one batch's end to the next, for each number of jobs left behind [q]."""

    fill: Floats  # s from the first job that waits to the start
    taken: Floats  # jobs
    time: Floats  # s of the batch


def batch_seconds(batcher: Batcher, jobs: ArrayLike, work: float) -> Floats:
    """Seconds of a batch of ``jobs`` (fractions between counts) with ``work`` units each."""
    held = np.clip(np.asarray(jobs, dtype=float), 1, batcher.size)
    return np.asarray(np.interp(held, np.arange(1, batcher.size + 1), batcher.time[1 : batcher.size + 1]) + batcher.work_time * work * held)


def batching(batcher: Batcher, work: float, offered: Offered) -> Batching:
    """The batcher under jobs of ``work`` units each, mean, that come ``offered.volley`` x ``offered.bulk`` at a time.

    >>> one = batching(Batcher(1, 1, 0.0, np.array([0.0, 1.0]), 0.0), 0.0, Offered(0.5))
    >>> round(float(one.wait.mean), 6)  # M/D/1
    0.5
    """
    volley = max(round(offered.volley * offered.bulk), 1)
    if offered.rate <= 0 or not batch_seconds(batcher, np.arange(1, batcher.size + 1), work).min() > 0:
        alone = min(volley, batcher.size)
        return Batching(nothing(), float(batch_seconds(batcher, alone, work)), float(alone), 0.0)
    counts = np.arange(1, batcher.size + 1, dtype=float)
    most = float((counts / batch_seconds(batcher, counts, work)).max()) * batcher.slots
    rate = min(offered.rate, _LOAD * most)
    cycle = _cycle(batcher, work, rate, volley)
    apart = cycle._replace(time=cycle.time / batcher.slots)
    chance = _stationary(apart, rate / volley, volley)
    wait, length = _queue(apart, chance, rate, volley)
    jobs = (chance * cycle.taken).sum()
    batch = float((chance * cycle.taken**2).sum() / jobs)
    busy = float((chance * cycle.time).sum() / length / batcher.slots)
    if batcher.slots > 1:
        wait, batch = _several(batcher, (wait, batch, busy), volley)
        if batcher.wait > 0:
            wait, batch = _gated(batcher, cycle, rate, volley)
    service = float((chance * cycle.taken * cycle.time).sum() / jobs) if batcher.slots == 1 else float(batch_seconds(batcher, batch, work))
    wait *= 0.5 * (1 + offered.scv)
    positive = min(max(busy, float(batcher.wait > 0), 1e-9), 1.0)
    came = rate * float(cycle.fill[0])
    square = (1 + came / (1 + came) / 3) if batcher.wait > 0 else 1.5  # uniform over the fill, but for the first
    return Batching(one_wait(wait, square * wait**2 / positive, positive), service, batch, busy)


def _several(batcher: Batcher, one: tuple[float, float, float], volley: int) -> tuple[float, float]:
    """(wait, batch) of several workers from those of one as quick as all (wait, batch, busy): workers end at uneven intervals."""
    wait, batch, busy = one
    queue = busy ** (np.sqrt(2 * (batcher.slots + 1)) - 2)
    uneven = 1 + _UNEVEN * (1 - 1 / batcher.slots) * queue
    alone = min(volley, batcher.size)
    return wait * queue * uneven, min((alone + (batch - alone) * queue) * uneven, float(batcher.size))


def _gated(batcher: Batcher, cycle: _Cycle, rate: float, volley: int) -> tuple[float, float]:
    """(wait, batch) where a free worker is there for nearly every batch that is full, or whose time is up."""
    fill, size = float(cycle.fill[0]), float(cycle.taken[0])
    gate = (volley * fill + 0.5 * rate * fill**2) / (volley + rate * fill)
    each = one_service(rate / size, cycle.time[:1])
    queue = many_wait(each, np.asarray(1 / size), np.asarray(float(batcher.slots)), np.inf)
    return gate + float(queue.mean), size


def _cycle(batcher: Batcher, work: float, rate: float, volley: int) -> _Cycle:
    """What the worker does with each number of jobs left."""
    counts = np.arange(_states(batcher, work, rate, volley), dtype=float)
    there = np.where(counts > 0, counts, float(volley))
    time = batch_seconds(batcher, there, work)
    age = np.where(counts > 0, time * counts / (counts + 1), 0.0)
    fill = _fill(np.ceil(np.maximum(batcher.size - there, 0.0) / volley), np.maximum(batcher.wait - age, 0.0), rate / volley)
    taken = np.minimum(there + rate * fill, batcher.size)
    return _Cycle(fill, taken, batch_seconds(batcher, taken, work))


def _fill(lacking: Floats, left: Floats, rate: float) -> Floats:
    """Mean seconds until ``lacking`` more have come at Poisson ``rate``, or time is up: sum over j of P(the j-th comes in time) / rate."""
    most, mean = int(lacking.max(initial=0)), np.maximum(rate * left, 1e-300)
    if most == 0 or left.max() <= 0:
        return np.zeros_like(left)
    j = np.arange(most)
    log = -mean[:, None] + j * np.log(mean)[:, None] - np.concatenate(([0.0], np.cumsum(np.log(j[1:]))))
    in_time = np.clip(1 - np.cumsum(np.exp(log), axis=1), 0.0, 1.0)
    return np.asarray(np.where(j < lacking[:, None], in_time, 0.0).sum(axis=1) / rate)


def _states(batcher: Batcher, work: float, rate: float, volley: int) -> int:
    longest = float(batch_seconds(batcher, batcher.size, work)) / batcher.slots
    during = rate * longest
    load = min(during / batcher.size, 0.99)
    return int(np.clip(during + volley * (30 + 6 * np.sqrt(during / volley + 1)) + 10 * during / (1 - load), 30 + 2 * volley, _MOST))


def _stationary(cycle: _Cycle, rate: float, volley: int) -> Floats:
    """Probability of each number of jobs left when a batch ends; ``rate`` of volleys."""
    count = len(cycle.taken)
    mean = rate * cycle.time
    k = np.arange(count)
    log = -mean[:, None] + k[None, :] * np.log(mean)[:, None] - np.concatenate(([0.0], np.cumsum(np.log(k[1:]))))[None, :]
    arrivals = np.exp(log)
    there = np.where(k > 0, k, volley) + rate * volley * cycle.fill
    left = np.maximum(there - cycle.taken, 0.0)
    moves = np.zeros((count, count))
    low = np.floor(left).astype(int)
    for part, weight in ((low, 1 - (left - low)), (low + 1, left - low)):
        to = np.minimum(part[:, None] + volley * k[None, :], count - 1)
        np.add.at(moves, (k[:, None], to), arrivals * weight[:, None])
    moves[:, -1] += 1 - moves.sum(axis=1)
    system = np.vstack([moves.T - np.eye(count), np.ones(count)])[1:]
    found = np.linalg.solve(system, np.append(np.zeros(count - 1), 1.0))
    return np.asarray(np.maximum(found, 0.0) / np.maximum(found, 0.0).sum())


def _queue(cycle: _Cycle, chance: Floats, rate: float, volley: int) -> tuple[float, float]:
    """(mean seconds that a job waits, mean seconds of a cycle)."""
    k = np.arange(len(chance))
    there = np.where(k > 0, k, volley).astype(float)
    idle = np.where(k > 0, 0.0, volley / rate)
    left = np.maximum(there + rate * cycle.fill - cycle.taken, 0.0)
    area = there * cycle.fill + 0.5 * rate * cycle.fill**2 + left * cycle.time + 0.5 * rate * cycle.time**2
    length = float((chance * (idle + cycle.fill + cycle.time)).sum())
    return float((chance * area).sum()) / length / rate, length
