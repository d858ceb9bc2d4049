"""The systems of queueing theory as rows of the simulator, and the statistics of them.

Stations: c servers first come first served are ``Station(rate=c, cap=1, slots=c)``, a shared processor has slots for all.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mist_dse import rows
from tests.oracles import queueing
from tests.oracles.replications import Claim, Floats, Sample, asked, deviation, mean, sample_of, share, visits_at
from tests.strategies import servers_of

Draw = np.random.Generator
System = Callable[[Draw], Sample]

ALL = 1 << 40  # slots that never run out


class Law(NamedTuple):
    """How work is drawn, and its first two moments."""

    drawn: Callable[[Draw, int], Floats]
    mean: float
    square: float

    def luck(self, work: Floats) -> tuple[float, ...]:
        """What the mean of ``work`` deviates by from the law."""
        return (deviation(work, self.mean),) if self.square > self.mean**2 else ()

    def bursts(self, work: Floats, time: Floats) -> tuple[float, ...]:
        """What the variance of ``work`` less ``time`` between Poisson arrivals (of mean 1) deviates by, over 16 and over 256 requests."""
        surplus = work / self.mean - time
        blocks = {size: surplus[: len(surplus) // size * size].reshape(-1, size).sum(axis=1) for size in (16, 256)}
        return tuple(deviation(block**2, size * self.square / self.mean**2) for size, block in blocks.items())

    def wait(self, rate: float) -> float:
        """Mean wait for a single server."""
        return queueing.pollaczek_khinchine(rate, self.mean, self.square)


def exponential(average: float) -> Law:
    return Law(lambda draw, count: draw.exponential(average, count), average, 2.0 * average**2)


def geometric(stop: float) -> Law:
    return Law(lambda draw, count: draw.geometric(stop, count).astype(np.float64), 1.0 / stop, (2.0 - stop) / stop**2)


def hyperexponential(draw: Draw, count: int) -> Floats:
    """Exponential of mean 1/(2p) with chance p, of mean 1/(2(1 - p)) otherwise; p = (1 + sqrt(1/3))/2 makes the second moment 3."""
    often = (1.0 + (1.0 / 3.0) ** 0.5) / 2.0
    short = draw.random(count) < often
    return np.asarray(draw.exponential(np.where(short, 0.5 / often, 0.5 / (1.0 - often))))


FIXED = Law(lambda _, count: np.ones(count), 1.0, 1.0)
EXPONENTIAL = exponential(1.0)
HYPEREXPONENTIAL = Law(hyperexponential, 1.0, 3.0)


def first_come(servers: int) -> rows.Station:
    return rows.Station(float(servers), 1.0, servers, 0.0)


def shared(rate: float) -> rows.Station:
    return rows.Station(rate, 1.0, ALL, 0.0)


def arrivals(servers: rows.Servers, rate: float, laws: list[Law], count: int, jobs: Callable[[Draw, Floats], rows.Jobs]) -> System:
    """Poisson arrivals of requests whose jobs are made from one draw of each law."""

    def system(draw: Draw) -> Sample:
        gaps = draw.exponential(1.0 / rate, count)
        works = np.column_stack([law.drawn(draw, count) for law in laws])
        luck = [deviation(gaps, 1.0 / rate)]
        for law, work in zip(laws, works.T, strict=True):
            luck += [*law.luck(work), *law.bursts(work, rate * gaps)]
        return sample_of(servers, jobs(draw, works), asked(np.cumsum(gaps)), *luck)

    return system


def network(stations: list[rows.Station], rate: float, laws: list[Law], count: int, *, at_once: bool = False) -> System:
    """Poisson arrivals that visit the stations one after another, or all at once."""
    servers = list(range(len(stations)))
    return arrivals(servers_of([], stations), rate, laws, count, lambda _, works: visits_at(servers, works, at_once=at_once))


def station(place: rows.Station, rate: float, law: Law, count: int) -> System:
    """Poisson arrivals at one station."""
    return network([place], rate, [law], count)


def engine(pool: rows.Engine, cost: rows.StepCost, rate: float, law: Law, count: int) -> System:
    """Poisson arrivals of one-token prompts at an engine pool; the law is that of the outputs."""
    return arrivals(servers_of([(pool, cost)]), rate, [law], count, lambda _, works: visits_at([0], works, emit=works))


def closed(stations: list[rows.Station], clients: int, think: float, laws: list[Law]) -> System:
    """Clients that visit the stations one after another and think an exponential time in between."""
    count = 15_000

    def system(draw: Draw) -> Sample:
        thought = draw.exponential(think, count)
        works = [law.drawn(draw, count) for law in laws]
        luck = [deviation(thought, think), *(part for law, work in zip(laws, works, strict=True) for part in law.luck(work))]
        requests = asked(np.zeros(count), clients=clients, think=thought)
        return sample_of(servers_of([], stations), visits_at(list(range(len(stations))), np.column_stack(works)), requests, *luck)

    return system


def waits(seen: Sample) -> float:
    return float(seen.wait.mean())


def totals(seen: Sample) -> float:
    return float(seen.total.mean())


def stays_at(visit: int) -> Callable[[Sample], float]:
    return lambda seen: float(seen.stay[:, visit].mean())


def waits_beyond(time: float) -> Callable[[Sample], float]:
    return lambda seen: float((seen.wait > time).mean())


def totals_beyond(time: float) -> Callable[[Sample], float]:
    return lambda seen: float((seen.total > time).mean())


def finds(least: int) -> Callable[[Sample], float]:
    """Share of arrivals that find so many requests or more."""
    return lambda seen: float((seen.found >= least).mean())


def slowdown(low: float, high: float) -> Callable[[Sample], float]:
    """Mean of stay over work where the work is in [low, high)."""

    def statistic(seen: Sample) -> float:
        chosen = (low <= seen.work) & (seen.work < high)
        return float((seen.stay[chosen] / seen.work[chosen]).mean())

    return statistic


def fixed_claims(rho: float) -> dict[str, Claim]:
    """M/D/1 with services of 1 s."""
    wait = FIXED.wait(rho)
    claims = {f"waits more than {time} s": share(waits_beyond(time), queueing.fixed_wait_beyond(rho, time)) for time in (0.5, 1.5, 4.0)}
    return {"wait": mean(waits, wait), "time in system": mean(totals, 1.0 + wait), "finds the server busy": share(finds(1), rho), **claims}
