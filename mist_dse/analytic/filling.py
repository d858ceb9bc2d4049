"""Batches that fill on their way through stages: time to first token of a burst and of a steady stream, throughput of groups.

A stage takes batches of b requests, t seconds each; stages of one group share their devices, all others have their own. RAGO (Jiang et
al., ISCA 2025, arXiv 2503.14649) asks for the last request of the largest batch. The rule that reproduces its Table 4 is fill + service:

    TTFT = sum_i [ t_i + max(b_i / b_(i-1) - 1, 0) tau_(i-1) + max(b_(i-1) / b_i - 1, 0) t_i ]

with tau_i the interval at which stage i can emit batches: b_i times the largest seconds per request, sum(t / b), of a group among the
stages up to i. It is exact where stages do not share devices, or all do, and batches never shrink on their way; else `burst_times` is.
Throughput is the least over groups of 1 / sum(t_i / b_i), a stage alone included.

A steady stream fills a batch as requests come: at Poisson rate l, with a limit w on what the first of them waits, the m-th beyond the first
comes in time with probability Q_m = P(Poisson(l w) >= m), so that the mean batch is 1 + sum Q_m and the mean wait of a request
sum(m Q_m) / l over that, m = 1..b - 1 (renewal-reward; without a limit (b - 1) / 2l).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mist_dse.rows import Batcher, Floats


class Fill(NamedTuple):
    """What gathering does: mean seconds that a request waits for its batch, and mean requests of a batch."""

    wait: float
    size: float


def last_ttft(batches: Floats, times: Floats, groups: Sequence[int] | None = None) -> Floats:
    """Seconds until the last request of the largest batch is through all stages, by fill + service; a burst finds everything idle.

    ``batches``, ``times`` [..., stages]; ``groups``: a number per stage, equal where stages share devices (None: none do).

    >>> round(float(last_ttft(np.array([2.0, 128.0]), np.array([0.019, 1.229]))), 9)  # 64 batches of two, then one of 128
    2.445
    """
    batches, times = np.broadcast_arrays(np.asarray(batches, float), np.asarray(times, float))
    total = times[..., 0]
    for i in range(1, times.shape[-1]):
        before, size, time = batches[..., i - 1], batches[..., i], times[..., i]
        interval = before / throughput(batches[..., :i], times[..., :i], None if groups is None else groups[:i])
        total = total + time + np.maximum(size / before - 1, 0) * interval + np.maximum(before / size - 1, 0) * time
    return np.asarray(total)


def burst_times(batches: Sequence[int], times: Floats, groups: Sequence[int] | None = None) -> Floats:
    """Seconds [..., requests] until each request of a burst as large as the largest batch is through, exactly; ``times`` [..., stages].

    Batches go in order, each when its last request is there and its devices are free; stages of one group take turns, each for the whole
    burst. The last batch of a stage may be smaller and takes as long.

    >>> burst_times([2, 1], np.array([3.0, 1.0])).tolist()
    [4.0, 5.0]
    """
    times, requests = np.asarray(times, float), max(batches)
    done = np.zeros((*times.shape[:-1], requests))
    free: dict[int, Floats] = {}
    for i, size in enumerate(batches):
        ends = np.minimum(np.arange(size, requests + size, size), requests) - 1
        ready = done[..., ends]
        if groups is not None:
            ready = np.maximum(ready, free.get(groups[i], np.zeros_like(ready[..., :1])))
        order, time = np.arange(len(ends)), times[..., i, None]
        ended = np.maximum.accumulate(ready - order * time, axis=-1) + (order + 1) * time
        if groups is not None:
            free[groups[i]] = ended[..., -1:]
        done = np.repeat(ended, size, axis=-1)[..., :requests]
    return done


def throughput(batches: Floats, times: Floats, groups: Sequence[int] | None = None) -> Floats:
    """Requests per second: the least over groups of 1 / sum(t / b); ``batches``, ``times`` [..., stages].

    What stops a group's devices meanwhile, such as a retrieval that they wait for, is one more stage of the group.

    >>> sizes, seconds = np.array([2.0, 128.0]), np.array([0.02, 1.28])
    >>> float(throughput(sizes, seconds)), float(throughput(sizes, seconds, [0, 0]))
    (100.0, 50.0)
    """
    each = np.asarray(times, float) / np.asarray(batches, float)
    numbers = np.arange(each.shape[-1]) if groups is None else np.asarray(groups)
    busiest = np.max([each[..., numbers == number].sum(axis=-1) for number in np.unique(numbers)], axis=0)
    return np.asarray(1 / busiest)


def fill(size: int, wait: float, rate: float) -> Fill:
    """A batcher of ``size`` whose first request waits at most ``wait`` s, at Poisson ``rate``; exact while workers are free.

    >>> fill(5, np.inf, 2.0), fill(8, 0.0, 2.0)
    (Fill(wait=1.0, size=5.0), Fill(wait=0.0, size=1.0))
    """
    if size <= 1 or wait <= 0:
        return Fill(0.0, 1.0)
    if rate <= 0:
        return Fill(float(wait), 1.0)
    later = np.arange(1, size)
    in_time = _at_least(size - 1, rate * wait)
    batch = 1.0 + in_time.sum()
    return Fill(float((later * in_time).sum() / rate / batch), float(batch))


def steady_ttft(batchers: Sequence[Batcher], rate: float) -> float:
    """Mean seconds of a request of a Poisson stream through ``batchers``, filling included and queues for busy workers left out.

    Exact for one batcher, and for several without limits whose sizes divide one another; else the batches that a limit cuts short count
    by their mean size. Queues are those of `analytic.queueing`.
    """
    total, came = 0.0, 1.0
    for batcher in batchers:
        gathered = fill(int(np.ceil(batcher.size / came - 1e-9)), batcher.wait, rate / came)
        parts = np.arange(max(int(np.ceil(came / batcher.size - 1e-9)), 1))
        size = min(gathered.size * came, batcher.size)
        time = float(np.interp(size, np.arange(1, batcher.size + 1), batcher.time[1 : batcher.size + 1]))
        total += gathered.wait + float((parts // batcher.slots).mean() + 1) * time
        came = size
    return total


def _at_least(most: int, mean: float) -> Floats:
    """P(Poisson(mean) >= m) for m = 1..most."""
    if np.isinf(mean):
        return np.ones(most)
    if mean == 0:
        return np.zeros(most)
    counts = np.arange(most)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(counts[1:]))))
    below = np.exp(counts * np.log(mean) - mean - factorials).cumsum()
    return np.asarray(np.clip(1 - below, 0, 1))
