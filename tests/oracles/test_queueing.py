"""Stations against queueing theory: 20 runs with fixed seeds, whose 99.9% interval must hold the closed form and be narrow."""

from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest

from mist_dse import rows
from tests.oracles import queueing
from tests.oracles.queueing import Batching
from tests.oracles.replications import Claim, Floats, Sample, assert_true, intervals, mean, refused, share, visits_at
from tests.oracles.systems import (
    EXPONENTIAL,
    FIXED,
    HYPEREXPONENTIAL,
    Draw,
    Law,
    arrivals,
    closed,
    exponential,
    finds,
    first_come,
    fixed_claims,
    geometric,
    network,
    shared,
    slowdown,
    station,
    stays_at,
    totals,
    totals_beyond,
    waits,
    waits_beyond,
)
from tests.strategies import servers_of

# The closed forms themselves: each against another one, or a printed value.


@pytest.mark.parametrize(("servers", "load", "chance"), [(1, 0.7, 0.7), (2, 1.0, 1 / 3), (4, 2.8, 0.4287), (10, 9.0, 0.6687)])
def test_erlang_c_has_its_known_values(servers: int, load: float, chance: float) -> None:
    assert queueing.erlang_c(servers, load) == pytest.approx(chance, abs=1e-4)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_fixed_services_by_three_formulas(rho: float) -> None:
    """Crommelin's mean at one server, Pollaczek's and Khinchine's, and the area under Erlang's distribution."""
    assert queueing.crommelin_wait(1, rho) == pytest.approx(FIXED.wait(rho))
    times = np.linspace(0.0, 12.0, 2401)
    area = np.trapezoid([queueing.fixed_wait_beyond(rho, float(time)) for time in times], times)
    assert area == pytest.approx(FIXED.wait(rho), rel=1e-3)


def test_mean_values_of_a_known_network() -> None:
    """M/M/1//2 by hand: service 1, think 1: p = (1, 2, 2)/5, throughput 4/5, stay 2/(4/5) - 1; with two servers nobody waits."""
    assert queueing.mean_values(2, 1.0, [(1.0, 1)])[0] == pytest.approx(0.8)
    assert queueing.mean_values(2, 1.0, [(1.0, 1)])[1] == pytest.approx([1.5])
    assert queueing.mean_values(2, 1.0, [(1.0, 2)])[1] == pytest.approx([1.0])


@pytest.mark.parametrize("stay", [queueing.joined_stay, queueing.stalled_stay, queueing.static_stay])
def test_chains_of_one_seat_are_m_g_1(stay: Callable[[Batching], float]) -> None:
    """Steps of 1 s, a geometric number of them."""
    law = geometric(0.3)
    assert stay(Batching(0.2, 1, 0.75, 0.25, 0.3)) == pytest.approx(law.mean + law.wait(0.2), rel=1e-6)


# Stations, first come first served.


@pytest.mark.parametrize(
    ("rho", "count", "within"),
    [(0.5, 28_000, 0.03), (0.8, 45_000, 0.04), pytest.param(0.9, 500_000, 0.03, marks=pytest.mark.slow)],
)
def test_m_m_1(rho: float, count: int, within: float) -> None:
    """The time in system is exponential, the number in system geometric."""
    stay = queueing.single_stay(rho)
    claims = {
        "wait": mean(waits, rho * stay, within),
        "time in system": mean(totals, stay, within),
        "time in system beyond its mean": share(totals_beyond(stay), exp(-1.0), 0.02),
        "time in system beyond its p90": share(totals_beyond(stay * log(10)), 0.1),
        "finds the server busy": share(finds(1), rho),
        "finds 4 or more": share(finds(4), rho**4),
    }
    assert_true(station(first_come(1), rho, EXPONENTIAL, count), claims)


@pytest.mark.parametrize(("servers", "rho", "count"), [(2, 0.5, 30_000), (4, 0.8, 45_000), (8, 0.8, 50_000)])
def test_m_m_c(servers: int, rho: float, count: int) -> None:
    """Erlang C; those who wait wait an exponential time."""
    load = servers * rho
    chance, wait = queueing.erlang_c(servers, load), queueing.many_wait(servers, load)
    later = 1.0 / (servers - load)
    claims = {
        "wait": mean(waits, wait, 0.03 if rho < 0.8 else 0.06),
        "time in system": mean(totals, 1.0 + wait),
        "has to wait": share(waits_beyond(0.0), chance),
        "waits long": share(waits_beyond(later), chance * exp(-1.0)),
    }
    assert_true(station(first_come(servers), load, EXPONENTIAL, count), claims)


@pytest.mark.parametrize(("rho", "count"), [(0.5, 20_000), (0.8, 40_000)])
def test_m_d_1(rho: float, count: int) -> None:
    """Pollaczek and Khinchine, and Erlang's distribution of the wait."""
    assert_true(station(first_come(1), rho, FIXED, count), fixed_claims(rho))


def test_m_d_c() -> None:
    """Crommelin."""
    assert_true(station(first_come(4), 3.2, FIXED, 70_000), {"wait": mean(waits, queueing.crommelin_wait(4, 3.2))})


@pytest.mark.parametrize(("rho", "count"), [(0.5, 25_000), (0.8, 65_000)])
def test_m_g_1(rho: float, count: int) -> None:
    """Hyperexponential service waits three halves of what exponential service does."""
    wait = HYPEREXPONENTIAL.wait(rho)
    claims = {"wait": mean(waits, wait, 0.06), "time in system": mean(totals, 1.0 + wait, 0.05), "has to wait": share(finds(1), rho)}
    assert_true(station(first_come(1), rho, HYPEREXPONENTIAL, count), claims)


# Stations that are shared.


@pytest.mark.parametrize(("rho", "count"), [(0.5, 20_000), (0.8, 45_000)])
@pytest.mark.parametrize("law", [FIXED, EXPONENTIAL, HYPEREXPONENTIAL], ids=["fixed", "exponential", "hyperexponential"])
def test_m_g_1_processor_sharing(law: Law, rho: float, count: int) -> None:
    """Means and numbers in system as in M/M/1 whatever the work; work x stays x/(1 - rho): everybody is slowed down alike.

    Kleinrock, J. ACM 14(2), 1967; Sakata, Noguchi and Oizumi, Operations Research 19(2), 1971; Kleinrock II, 1976, section 4.4.
    """
    slow = queueing.single_stay(rho)
    sizes = {"all": (0.0, 2.0)} if law is FIXED else {"short": (0.0, 0.5), "middling": (0.5, 1.5), "long": (1.5, 1e9)}
    claims = {
        "time in system": mean(totals, slow),
        **{f"slowdown of the {name}": mean(slowdown(*ends), slow) for name, ends in sizes.items()},
        "finds the server busy": share(finds(1), rho),
        "finds 4 or more": share(finds(4), rho**4),
    }
    assert_true(station(shared(1.0), rho, law, count), claims)


def test_sharing_with_a_cap() -> None:
    """At most 1 per job and 4 in all: the number in system is that of M/M/4 whatever the work (Cohen, Acta Informatica 12, 1979)."""
    chance = queueing.erlang_c(4, 3.2)
    claims = {"time in system": mean(totals, 1.0 + queueing.many_wait(4, 3.2)), "finds 4 or more": share(finds(4), chance)}
    assert_true(station(shared(4.0), 3.2, HYPEREXPONENTIAL, 50_000), claims)


# Networks.


@pytest.mark.parametrize(("rate", "count"), [(0.5, 20_000), (0.8, 50_000)])
def test_tandem(rate: float, count: int) -> None:
    """Two M/M/1 in series, of service rates 1 and 1.25: each as if alone, its stays independent of the other's."""

    def correlation(seen: Sample) -> float:
        return float(np.corrcoef(seen.stay[:, 0], seen.stay[:, 1])[0, 1])

    first, second = 1.0 - rate, 1.25 - rate
    long = 2.0 / first + 1.0 / second
    claims = {
        "time at the first": mean(stays_at(0), 1.0 / first),
        "time at the second": mean(stays_at(1), 1.0 / second),
        "time in system": mean(totals, 1.0 / first + 1.0 / second),
        "takes long": share(totals_beyond(long), queueing.tandem_beyond(first, second, long), 0.015),
        "correlation of the two": share(correlation, 0.0, 0.03),
    }
    assert_true(network([first_come(1)] * 2, rate, [EXPONENTIAL, exponential(0.8)], count), claims)


@pytest.mark.parametrize(("rho", "count"), [(0.5, 15_000), (0.8, 50_000)])
def test_fork_and_join(rho: float, count: int) -> None:
    """Two M/M/1 at once, the later of which ends the request (Flatto and Hahn)."""
    system = network([first_come(1)] * 2, rho, [EXPONENTIAL] * 2, count, at_once=True)
    assert_true(system, {"time in system": mean(totals, queueing.fork_join_stay(rho))})


@pytest.mark.parametrize("place", [first_come(1), shared(1.0)], ids=["first come", "shared"])
def test_first_of_two_copies(place: rows.Station) -> None:
    """Two servers, each with a copy of its own exponential work, and the one done first cancels the other: M/M/1 of rate 2.

    First come first served both are always at the same request (Gardner et al., Operations Research 65(4), 2017); sharing, everybody ends
    at twice the pace.
    """

    def jobs(_: Draw, works: Floats) -> rows.Jobs:
        count = len(works)
        first = 3 * np.arange(count)
        to = np.column_stack([first + 2, first + 2, first, first + 1])  # both to the join, which cancels both
        return visits_at([0, 1, 2], np.column_stack([works, np.zeros(count)]), at_once=True)._replace(
            need=np.tile(np.array([0, 0, 1]), count),
            edge_first=np.concatenate([[0], np.cumsum(np.tile(np.array([1, 1, 2]), count))]),
            edge_to=to.ravel(),
            edge_on=np.tile(np.array([rows.ON_END, rows.ON_END, rows.CANCEL, rows.CANCEL], np.int8), count),
        )

    system = arrivals(servers_of([], [place, place, shared(1.0)]), 1.2, [EXPONENTIAL, EXPONENTIAL], 25_000, jobs)
    claims = {"time in system": mean(totals, 0.5 * queueing.single_stay(0.6)), "finds somebody": share(finds(1), 0.6)}
    assert_true(system, claims)


def test_batches() -> None:
    """Whoever waits when the worker is free goes, eight at most: an engine whose sequences all end after one step."""
    model = Batching(rate=3.5, seats=8, base=1.0, each=0.125, stop=1.0)
    batcher = rows.Batcher(slots=1, size=8, wait=0.0, time=1.0 + 0.125 * np.arange(9.0), work_time=0.0)
    servers = servers_of([])._replace(batchers=(batcher,), names=("batcher0",))
    system = arrivals(servers, model.rate, [FIXED], 10_000, lambda _, works: visits_at([0], works))
    assert_true(system, {"time in system": mean(totals, queueing.joined_stay(model))})


def closed_claims(clients: int, think: float, stations: list[tuple[float, int]]) -> dict[str, Claim]:
    """Throughput, response time, and the time at each station."""
    rate, stays = queueing.mean_values(clients, think, stations)
    each = {f"time at station {k}": mean(stays_at(k), stay, 0.02) for k, stay in enumerate(stays)}
    return {"throughput": mean(lambda seen: seen.rate, rate, 0.01), "response time": mean(totals, sum(stays), 0.02), **each}


@pytest.mark.parametrize("clients", [1, 3, 12])
def test_closed_loop_at_one_server(clients: int) -> None:
    """The machine repairman: think time of mean 5, service of mean 1; 12 clients keep the server busy."""
    assert_true(closed([first_come(1)], clients, 5.0, [EXPONENTIAL]), closed_claims(clients, 5.0, [(1.0, 1)]))


@pytest.mark.parametrize("clients", [4, 10])
def test_closed_network(clients: int) -> None:
    """Three servers with exponential service of mean 2, then a shared processor, where only the mean of the work matters (BCMP 1975)."""
    system = closed([first_come(3), shared(1.0)], clients, 4.0, [exponential(2.0), FIXED])
    assert_true(system, closed_claims(clients, 4.0, [(2.0, 3), (1.0, 1)]))


# The check itself: what is wrong by a little is refused.


def test_neighbours_of_the_right_formula_are_refused() -> None:
    """And the right formula for 98% of the load."""
    rho, count = 0.8, 30_000
    fixed = {"M/M/1": mean(waits, EXPONENTIAL.wait(rho)), "98%": mean(waits, FIXED.wait(0.98 * rho)), "right": mean(waits, FIXED.wait(rho))}
    assert refused(station(first_come(1), rho, FIXED, count), fixed) == {"M/M/1", "98%"}
    double = {
        "a single server, twice as fast": mean(totals, 0.5 * queueing.single_stay(rho)),
        "M/D/2": mean(waits, queueing.crommelin_wait(2, 2 * rho)),
    }
    assert refused(station(first_come(2), 2 * rho, EXPONENTIAL, count), double) == set(double)
    assert refused(station(shared(1.0), rho, FIXED, count), {"first come": mean(totals, 1.0 + FIXED.wait(rho))}) == {"first come"}


def test_closed_networks_next_to_it_are_refused() -> None:
    """One client more, one server less."""
    system = closed([first_come(3), shared(1.0)], 10, 4.0, [exponential(2.0), FIXED])
    wrong = {"11 clients": (11, [(2.0, 3), (1.0, 1)]), "2 servers": (10, [(2.0, 2), (1.0, 1)])}
    claims = {name: closed_claims(clients, 4.0, stations)["response time"] for name, (clients, stations) in wrong.items()}
    assert refused(system, claims) == set(wrong)


def test_wide_intervals_are_refused() -> None:
    """Too few requests prove nothing, even of a true formula."""
    claim = mean(waits, 4.0)
    found = intervals(station(first_come(1), 0.8, EXPONENTIAL, 1_000), {"wait": claim})["wait"]
    assert not found.misses(claim)
    assert not found.holds(claim)
