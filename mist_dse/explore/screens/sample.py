"""Few requests that stand for all: the scenarios on which a screen walks the pipeline, and their visits alone.

Requests are sorted by what they take on one design without luck, cut into as many groups of equal size as there are scenarios, and one of
each is drawn; of many such draws the one is taken whose figures have means and percentiles nearest to those of all.
"""

import numpy as np

from mist_dse.analytic.spread import LEVELS
from mist_dse.rows import NONE, Floats, Ints, Jobs, Requests

SCENARIOS = 256
"""Requests on which designs are screened: p90 of independent draws is then known to a few per cent."""

DRAWS = 500
"""Samples among which the best is chosen."""


def scenarios(figures: Floats, count: int = SCENARIOS) -> Ints:
    """``count`` rows of ``figures`` [n, m], sorted by the first column, that stand for all, ascending; all where they are no more."""
    if len(figures) <= count:
        return np.arange(len(figures))
    order = np.argsort(figures[:, 0], kind="stable")
    edges = np.linspace(0, len(figures), count + 1).astype(np.int64)
    rng = np.random.default_rng(0)
    truth = _marks(figures)
    best, chosen = np.inf, order[edges[:-1]]
    for _ in range(DRAWS):
        drawn = order[edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.int64)]
        off = float(np.abs(_marks(figures[drawn]) / truth - 1).sum())
        if off < best:
            best, chosen = off, drawn
    return np.sort(chosen)


def chosen_requests(requests: Requests, index: Ints) -> Requests:
    """Some requests alone, each arriving as it does."""
    columns = {name: getattr(requests, name)[index] for name in ("arrival", "input_tokens", "output_tokens", "max_tokens", "cached_tokens",
                                                                  "think")}  # fmt: skip
    return Requests(**columns, clients=0, nominal_rate=requests.nominal_rate, seed=requests.seed)


def chosen_jobs(jobs: Jobs, index: Ints) -> Jobs:
    """The visits of some requests alone, numbered anew; the names of their KV blocks are left out."""
    counts = np.diff(jobs.first)[index]
    visits = _ranges(jobs.first[index], counts)
    renamed = np.full(len(jobs.server) + 1, -1, dtype=np.int64)
    renamed[visits] = np.arange(len(visits))
    degree = jobs.edge_first[visits + 1] - jobs.edge_first[visits]
    edges = _ranges(jobs.edge_first[visits], degree)
    plain = ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "keep", "answers")
    columns = {name: getattr(jobs, name)[visits] for name in plain}
    optional = {name: column[visits] for name in ("priority", "session", "draw") if len(column := getattr(jobs, name))}
    references = {name: renamed[getattr(jobs, name)[visits]] for name in ("lease", "frees")}
    beside = renamed[jobs.beside[visits]] if len(jobs.beside) else NONE
    return Jobs(first=_firsts(counts), edge_first=_firsts(degree), edge_to=renamed[jobs.edge_to[edges]], edge_on=jobs.edge_on[edges],
                beside=beside, **columns, **references, **optional)  # fmt: skip


def shape_of(jobs: Jobs, request: int) -> bytes:
    """What decides how a request's visits follow one another: servers, signals and who speaks."""
    low, high = jobs.first[request], jobs.first[request + 1]
    begin, end = jobs.edge_first[low], jobs.edge_first[high]
    degree = np.diff(jobs.edge_first[low : high + 1])
    parts = (jobs.server[low:high], jobs.need[low:high], jobs.answers[low:high].astype(np.int64), degree,
             jobs.edge_to[begin:end] - low, jobs.edge_on[begin:end].astype(np.int64))  # fmt: skip
    return np.concatenate(parts).tobytes()


def _marks(figures: Floats) -> Floats:
    """Means, p50, p90 and p99 of every column; nothing is 0."""
    return np.asarray(np.maximum(np.concatenate([figures.mean(axis=0), *np.quantile(figures, LEVELS, axis=0)]), 1e-9))


def _ranges(first: Ints, counts: Ints) -> Ints:
    """first[0] .. first[0] + counts[0] - 1, then those of the next."""
    return np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


def _firsts(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
