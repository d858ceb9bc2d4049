"""Closed forms and small exact algorithms of queueing theory, with the sources of each; mean service time 1 unless a rate is given.

``rho`` is the load of one server, ``load`` the mean number of busy servers. Nothing here knows the simulator.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import comb, exp, factorial, floor, lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def single_stay(rho: float) -> float:
    """M/M/1, mean time in system: 1/(1 - rho); the time is exponential (Kleinrock, Queueing Systems I, 1975)."""
    return 1.0 / (1.0 - rho)


def erlang_c(servers: int, load: float) -> float:
    """M/M/c, chance to wait, by the recursion of Erlang B (Erlang 1917; Kleinrock 1975, chapter 3)."""
    blocked = 1.0
    for busy in range(1, servers + 1):
        blocked = load * blocked / (busy + load * blocked)
    return servers * blocked / (servers - load * (1.0 - blocked))


def many_wait(servers: int, load: float) -> float:
    """M/M/c, mean wait C/(c - a); who waits waits an exponential time of rate c - a (Kleinrock 1975, chapter 3)."""
    return erlang_c(servers, load) / (servers - load)


def pollaczek_khinchine(rate: float, first: float, second: float) -> float:
    """M/G/1, mean wait lambda E[S^2] / (2 (1 - rho)) from the moments of the service (Pollaczek 1930, Khinchine 1932)."""
    return rate * second / (2.0 * (1.0 - rate * first))


def fixed_wait_beyond(rho: float, time: float) -> float:
    """M/D/1, P(W > t) = 1 - (1 - rho) sum_(j <= t) (rho (j - t))^j / j! e^(rho (t - j)) (Erlang 1909)."""
    terms = ((rho * (j - time)) ** j / factorial(j) * exp(rho * (time - j)) for j in range(floor(time) + 1))
    return 1.0 - (1.0 - rho) * sum(terms)


def crommelin_wait(servers: int, load: float) -> float:
    """M/D/c, mean wait, sum_i e^(-ia) [sum_(j >= ic) (ia)^j/j! - c/a sum_(j > ic) (ia)^j/j!] (Crommelin 1932).

    First come first served with equal services is cyclic: customer k goes where k - c was. So it is also E_c/D/1, the wait behind
    a round robin over c servers with a queue each.
    """
    total, part, i = 0.0, 1.0, 0
    while part > 1e-13 * total:
        i += 1
        mean = i * load
        poisson = exp(-mean + i * servers * log(mean) - lgamma(i * servers + 1))  # P(N = ic)
        above, term, j = 0.0, poisson, i * servers
        while term > 1e-18 * poisson or j == i * servers:
            j += 1
            term *= mean / j
            above += term
        part = poisson + above - servers / load * above
        total += part
    return total


def tandem_beyond(first: float, second: float, time: float) -> float:
    """M/M/1 twice, P(T > t) of the whole way, from the two rates mu - lambda (distinct): its stays are independent and exponential.

    Burke 1956 (departures are Poisson), Reich 1957 (stays are independent), Jackson 1957.
    """
    return (second * exp(-first * time) - first * exp(-second * time)) / (second - first)


def fork_join_stay(rho: float) -> float:
    """Two M/M/1 that every request visits at once, mean time until both are done: (12 - rho)/8 / (1 - rho).

    Flatto and Hahn 1984; Nelson and Tantawi, IEEE Trans. Computers 37(6), 1988.
    """
    return (12.0 - rho) / 8.0 / (1.0 - rho)


def mean_values(clients: int, think: float, stations: Sequence[tuple[float, int]]) -> tuple[float, list[float]]:
    """Closed network: throughput and mean time at each station of (mean service, servers), by exact mean value analysis.

    Reiser and Lavenberg, J. ACM 27(2), 1980, with queue-dependent rates: R(n) = s sum_j j/min(j, c) p(j - 1 | n - 1),
    X(n) = n / (Z + sum R), p(j | n) = s/min(j, c) X(n) p(j - 1 | n - 1).
    """
    present = [[1.0] for _ in stations]  # p(j | n) of each station
    rate, stays = 0.0, [0.0 for _ in stations]
    for n in range(1, clients + 1):
        stays = [
            mean * sum(j / min(j, servers) * chance[j - 1] for j in range(1, n + 1))
            for (mean, servers), chance in zip(stations, present, strict=True)
        ]
        rate = n / (think + sum(stays))
        for k, (mean, servers) in enumerate(stations):
            tail = [mean * rate / min(j, servers) * present[k][j - 1] for j in range(1, n + 1)]
            present[k] = [1.0 - sum(tail), *tail]
    return rate, stays


def priority_waits(shares: Sequence[float], services: Sequence[float], rate: float) -> list[float]:
    """M/G/1 with classes of fixed services, the first served first and nobody interrupted: W_k = W_0 / ((1 - s_(k-1)) (1 - s_k)).

    W_0 = lambda E[S^2]/2, s_k the load of classes 1..k: Cobham, Operations Research 2(1), 1954; with classes in order of service
    it is shortest job first (Phipps, Operations Research 4(1), 1956).
    """
    residual = rate * sum(share * service**2 for share, service in zip(shares, services, strict=True)) / 2.0
    loads = np.cumsum([0.0, *(rate * share * service for share, service in zip(shares, services, strict=True))])
    return [float(residual / ((1.0 - before) * (1.0 - after))) for before, after in pairwise(loads)]


class Batching(NamedTuple):
    """An engine of ``seats``: a step of k sequences lasts base + each x k s, and each of them ends with it with chance ``stop``."""

    rate: float  # Poisson arrivals, 1/s
    seats: int
    base: float
    each: float
    stop: float

    def length(self, sequences: int) -> float:
        """Seconds of a step."""
        return self.base + self.each * sequences


# Outputs are geometric, hence without memory: who is where when a step ends is a Markov chain. L = sum pi area / sum pi time
# over its stationary pi (renewal reward: Ross, Stochastic Processes, 1996), T = L/lambda (Little 1961).
MOST = 90
"""Requests in the system at which the chains are cut off."""


def joined_stay(engine: Batching) -> float:
    """Mean time in system where prompts join the running batch at the next step; the state is the requests in the system."""
    chance, time, area = np.zeros((MOST + 1, MOST + 1)), np.zeros(MOST + 1), np.zeros(MOST + 1)
    chance[0, 1], time[0] = 1.0, 1.0 / engine.rate
    for n in range(1, MOST + 1):
        batch = min(n, engine.seats)
        time[n] = engine.length(batch)
        area[n] = n * time[n] + engine.rate * time[n] ** 2 / 2
        for gone, share in enumerate(_binomial(batch, engine.stop)):
            chance[n] += share * _arrivals(engine.rate * time[n], n - gone)
    return _little(engine.rate, chance, time, area)


def stalled_stay(engine: Batching) -> float:
    """Mean time in system where waiting prompts are run alone, before any decode; the state is (sequences, requests that wait)."""
    states = [(running, waiting) for running in range(engine.seats + 1) for waiting in range(MOST + 1)]
    index = {state: at for at, state in enumerate(states)}
    chance, time, area = np.zeros((len(states), len(states))), np.zeros(len(states)), np.zeros(len(states))
    for (running, waiting), at in index.items():
        if running + waiting == 0:
            chance[at, index[0, 1]], time[at] = 1.0, 1.0 / engine.rate
            continue
        prompts = min(waiting, engine.seats - running)
        batch = prompts or running
        time[at] = engine.length(batch)
        area[at] = (running + waiting) * time[at] + engine.rate * time[at] ** 2 / 2
        for gone, share in enumerate(_binomial(batch, engine.stop)):
            start = index[running + prompts - gone, 0]
            chance[at, start : start + MOST + 1] += share * _arrivals(engine.rate * time[at], waiting - prompts)
    return _little(engine.rate, chance, time, area)


def static_stay(engine: Batching) -> float:
    """Mean time in system where a batch runs until its longest member has ended; the state is the requests at its start."""
    chance, time, area = np.zeros((MOST + 1, MOST + 1)), np.zeros(MOST + 1), np.zeros(MOST + 1)
    chance[0, 1], time[0] = 1.0, 1.0 / engine.rate
    for n in range(1, MOST + 1):
        batch = min(n, engine.seats)
        step = engine.length(batch)
        area[n] = batch * step / engine.stop
        for steps, share in enumerate(_longest(batch, engine.stop), start=1):
            time[n] += share * steps * step
            area[n] += share * ((n - batch) * steps * step + engine.rate * (steps * step) ** 2 / 2)
            chance[n] += share * _arrivals(engine.rate * steps * step, n - batch)
    return _little(engine.rate, chance, time, area)


def _binomial(count: int, stop: float) -> list[float]:
    return [comb(count, k) * stop**k * (1.0 - stop) ** (count - k) for k in range(count + 1)]


def _longest(count: int, stop: float) -> Floats:
    """P(the longest of so many geometric outputs is 1, 2, ...)."""
    steps = np.arange(int(-30.0 / log(1.0 - stop)) + 2)
    return np.asarray(np.diff((1.0 - (1.0 - stop) ** steps) ** count))


def _arrivals(mean: float, already: int) -> Floats:
    """P(already + a Poisson number = 0..MOST), the rest on MOST."""
    steps = np.arange(1, MOST - already + 1)
    chance = np.exp(-mean) * np.concatenate([[1.0], np.cumprod(mean / steps)])
    chance[-1] += 1.0 - chance.sum()
    return np.concatenate([np.zeros(already), chance])


def _little(rate: float, chance: Floats, time: Floats, area: Floats) -> float:
    """Time in system from the chain's transitions, mean times and mean areas under the number in system."""
    equations = chance.T - np.eye(len(time))
    equations[0] = 1.0  # any one balance follows from the others
    stationary = np.linalg.solve(equations, np.eye(len(time))[0])
    return float(stationary @ area / (stationary @ time) / rate)
