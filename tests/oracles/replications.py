"""Twenty runs of one system with fixed seeds, and what they must show: the truth inside a 99.9% interval that is narrow.

Every run starts empty. The first twentieth of its requests is discarded: M/M/1 forgets its start in 1/(1 - sqrt(rho))^2 mean services
(Morse 1955), 12 at a load of 0.5, 90 at 0.8, 380 at 0.9, and a twentieth of the shortest run is ten times that or more. The last
fiftieth is discarded too: after the last arrival those who share a server have it to themselves.

What a run happened to draw moves its results more than anything else. The true means and variances of the draws are known, so their
deviations are control variates: the interval is that of the intercept of a regression on them, which takes two thirds off the variance of a
wait (Lavenberg and Welch, Management Science 27(3), 1981: Student's t with as many degrees of freedom less as there are controls).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mist_dse import rows
from mist_dse.sim import simulate

REPLICATIONS = 20
CONFIDENCE = 0.999
NO_EDGES = np.zeros(0, np.int64)

Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """The requests of one run that count, in order of index."""

    work: Floats  # [n, visits]
    wait: Floats  # [n, visits] s from ready to served
    stay: Floats  # [n, visits] s from ready to ended
    total: Floats  # [n] s from arrival to end
    found: Floats  # [n] requests in the system on arrival
    rate: float  # completions per second
    luck: tuple[float, ...]  # relative deviations of the means of what was drawn from their true means


class Claim(NamedTuple):
    """A statistic of a sample, its true mean, and the widest half interval that counts as a proof."""

    statistic: Callable[[Sample], float]
    truth: float
    half: float


def mean(statistic: Callable[[Sample], float], truth: float, within: float = 0.04) -> Claim:
    """A mean, to ``within`` of itself."""
    return Claim(statistic, truth, within * truth)


def share(statistic: Callable[[Sample], float], truth: float, within: float = 0.01) -> Claim:
    """A probability, to ``within``."""
    return Claim(statistic, truth, within)


class Interval(NamedTuple):
    """The middle and half the width of an interval for a mean."""

    middle: float
    half: float

    def misses(self, claim: Claim) -> bool:
        """Whether the truth is outside."""
        return abs(self.middle - claim.truth) > self.half

    def holds(self, claim: Claim) -> bool:
        """Whether the truth is inside, and the interval as narrow as claimed."""
        return not self.misses(claim) and self.half <= claim.half


def deviation(drawn: Floats, true: float) -> float:
    """How far the mean of what was drawn is off, of itself."""
    return float(drawn.mean()) / true - 1.0


def intervals(system: Callable[[np.random.Generator], Sample], claims: Mapping[str, Claim]) -> dict[str, Interval]:
    """Interval of each claim's statistic over independent replications, what they drew taken into account."""
    values, luck = [], []
    for seed in range(REPLICATIONS):
        sample = system(np.random.default_rng(seed))
        values.append([claim.statistic(sample) for claim in claims.values()])
        luck.append([1.0, *sample.luck])
    design = np.array(luck)
    weights = np.linalg.pinv(design)  # rows: intercept, slopes
    slopes = weights @ np.array(values)
    free = REPLICATIONS - design.shape[1]
    spread = np.sqrt(np.sum((np.array(values) - design @ slopes) ** 2, axis=0) / free * np.sum(weights[0] ** 2))
    halves = float(stats.t.ppf(0.5 + CONFIDENCE / 2, free)) * spread
    return {name: Interval(float(middle), float(half)) for name, middle, half in zip(claims, slopes[0], halves, strict=True)}


def assert_true(system: Callable[[np.random.Generator], Sample], claims: Mapping[str, Claim]) -> None:
    """All claims hold."""
    found = intervals(system, claims)
    wrong = {
        name: f"{found[name].middle:.5g} +- {found[name].half:.2g}, true {claim.truth:.5g}, allowed +- {claim.half:.2g}"
        for name, claim in claims.items()
        if not found[name].holds(claim)
    }
    assert not wrong, wrong


def refused(system: Callable[[np.random.Generator], Sample], claims: Mapping[str, Claim]) -> set[str]:
    """The claims whose truth is outside the interval."""
    found = intervals(system, claims)
    return {name for name, claim in claims.items() if found[name].misses(claim)}


def sample_of(servers: rows.Servers, jobs: rows.Jobs, requests: rows.Requests, *luck: float) -> Sample:
    """One run, whose draws deviate from their true means by ``luck``."""
    records = simulate(servers, jobs, requests)
    count = len(requests.arrival)
    kept = slice(count // 20, count - count // 50)
    ends = np.sort(records.end)
    begun = np.sort(records.arrival)

    def each(column: Floats) -> Floats:
        return column.reshape(count, -1)[kept]

    return Sample(
        work=each(jobs.work),
        wait=each(records.visit_start - records.visit_ready),
        stay=each(records.visit_end - records.visit_ready),
        total=(records.end - records.arrival)[kept],
        found=(np.searchsorted(begun, records.arrival) - np.searchsorted(ends, records.arrival))[kept].astype(float),
        rate=(kept.stop - kept.start) / float(ends[kept.stop] - ends[kept.start]),
        luck=luck,
    )


def visits_at(
    servers: list[int], work: Floats, *, at_once: bool = False, prompt: Floats | None = None, emit: Floats | None = None
) -> rows.Jobs:
    """Jobs that visit ``servers`` one after another (or ``at_once``) with ``work[n, visits]``; at engines with such tokens, else one."""
    count, visits = work.shape
    size = count * visits
    nothing = np.zeros(size, np.int64)
    later = np.tile(np.arange(visits) > 0, count) & (not at_once)
    outputs = nothing + 1 if emit is None else emit.ravel().astype(np.int64)
    return rows.Jobs(
        first=np.arange(0, size + 1, visits),
        server=np.tile(np.array(servers, np.int64), count),
        prompt=nothing + 1 if prompt is None else prompt.ravel().astype(np.int64),
        computed=nothing,
        emit=outputs,
        limit=outputs,
        handed=nothing.astype(np.int8),
        work=np.ascontiguousarray(work.ravel()),
        need=later.astype(np.int64),
        lease=nothing - 1,
        keep=nothing.astype(np.int8),
        frees=nothing - 1,
        answers=np.ones(size, np.int8),
        edge_first=np.concatenate([[0], np.cumsum(np.append(later[1:], False))]),
        edge_to=np.flatnonzero(later),
        edge_on=np.full(int(later.sum()), rows.ON_END, np.int8),
    )


def asked(arrival: Floats, *, clients: int = 0, think: Floats | None = None) -> rows.Requests:
    """Requests at these times, or of so many clients that think in between."""
    one = np.ones(len(arrival), np.int64)
    return rows.Requests(
        arrival=arrival,
        input_tokens=one,
        output_tokens=one,
        max_tokens=one,
        cached_tokens=0 * one,
        think=np.zeros(len(arrival)) if think is None else think,
        clients=clients,
        nominal_rate=np.nan,
    )
