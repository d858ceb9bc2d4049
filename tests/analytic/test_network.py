"""The mean field of pipelines against closed forms, hand-worked cases and the simulator."""

import numpy as np
import pytest
from hypothesis import given, settings

from mist_dse.analytic import bound, demand, steady
from mist_dse.analytic.batching import batching
from mist_dse.analytic.laws import station_law
from mist_dse.analytic.paths import walked
from mist_dse.analytic.pool import pool_steady
from mist_dse.analytic.queueing import Wait, drawn
from mist_dse.analytic.sharing import Offered, sharing
from mist_dse.analytic.siblings import company, line_wait, volleys
from mist_dse.analytic.traffic import visit_traffic
from mist_dse.rows import ON_END, Batcher, Station
from mist_dse.sim.simulate import simulate
from tests.analytic import machines, pipelines
from tests.analytic.pipelines import FREE, SHAPES, Shape, chain, encoder, servers
from tests.analytic.slopes import with_slopes
from tests.analytic.test_bound import answered_tokens, assert_admissible, measured
from tests.builders import Call, jobs_of, joined, requests_of, servers_of, simple_cost, simple_engine
from tests.strategies import Case, rough_cases

RESOURCES = ("steps", "rate", "slots", "workers", "front end")

# Relative error of mean TTFT and mean E2E, by load.
LIMITS = {0.001: 0.005, 0.05: 0.02, 0.3: 0.05, 0.5: 0.08, 0.7: 0.12}


def at_load(shape: Shape, rho, count=2000, *, idle=()):
    """Requests that load the busiest server (but for those named ``idle``) to ``rho``, and what they ask for."""
    unit = machines.drawn(count, 1.0)
    asked = demand(shape.servers, shape.jobs(unit), unit)
    most = max(row[name] for server, row in asked.items() if server not in idle for name in RESOURCES if name in row)
    found = machines.drawn(count, rho / most)
    jobs = shape.jobs(found)
    return found._replace(output_tokens=answered_tokens(jobs)), jobs


def simulated(shape: Shape, jobs, asked):
    values = measured(simulate(shape.servers, jobs, asked), asked.output_tokens)
    return {name: value[~np.isnan(value)] for name, value in values.items()}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rho", LIMITS)
def test_pipelines_against_the_simulator(name, rho):
    shape = SHAPES[name]
    asked, jobs = at_load(shape, rho)
    found, true = steady(shape.servers, jobs, asked), simulated(shape, jobs, asked)
    for metric in ("ttft", "e2e"):
        spread = getattr(found, metric)
        assert float(spread.mean) == pytest.approx(true[metric].mean(), rel=LIMITS[rho])
        assert float(spread.p90) == pytest.approx(np.quantile(true[metric], 0.9), rel=LIMITS[rho] + 0.06)
    assert float(found.tpot.mean) == pytest.approx(true["tpot"].mean(), rel=LIMITS[rho] + 0.01)
    assert not found.saturated


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rho", [0.05, 0.7])
def test_law_10_bound_is_below_the_simulation_of_pipelines(name, rho):
    asked, jobs = at_load(SHAPES[name], rho, 500)
    assert_admissible(SHAPES[name].servers, jobs, asked)


@pytest.mark.parametrize("name", SHAPES)
def test_every_server_has_its_row(name):
    shape = SHAPES[name]
    asked, jobs = at_load(shape, 0.5, 1000)
    found, records = steady(shape.servers, jobs, asked), simulate(shape.servers, jobs, asked)
    assert set(found.pools) == set(shape.servers.names)
    count = len(shape.servers.engines)
    assert [name for name, row in found.pools.items() if "kv" in row] == list(shape.servers.names[:count])
    for number, station in enumerate(shape.servers.stations):
        busy = records.station_busy[number] / np.ptp(asked.arrival) / station.rate
        assert found.pools[shape.servers.names[count + number]]["utilisation"] == pytest.approx(busy, rel=0.02, abs=1e-6)


def station(rate, cap, slots, latency=0.0):
    return (Station(rate, cap, slots, latency),)


def lone(server, work=1.0, sigma=0.8):
    """One visit of lognormal work."""

    def calls(prompt, answer, dice):
        return [Call(server, work=work * dice.lognormal(-(sigma**2) / 2, sigma))]

    return calls


def copies(count, work=0.02):
    """So many visits of the first server that is no engine side by side, and one of an engine after them."""

    def calls(prompt, answer, dice):
        return joined([[Call(1, work=work)] for _ in range(count)], [ON_END] * count, Call(0, 10, 2, need=count))

    return calls


def batch_then_one(prompt, answer, dice):
    """A batch whose jobs go on one at a time."""
    return chain([Call(2), Call(1, work=1.0)])


OTHERS = {
    "shared by all": Shape(servers(1, station(10.0, 10.0, FREE)), lone(1)),
    "one at a time": Shape(servers(1, station(10.0, 10.0, 1)), lone(1)),
    "threads of a rate": Shape(servers(1, station(40.0, 10.0, 16, 0.01)), lone(1)),
    "few slots": Shape(servers(1, station(40.0, 10.0, 3, 0.01)), lone(1)),
    "one worker": Shape(servers(1, (), (encoder(),)), lone(1)),
    "three workers": Shape(servers(1, (), (encoder(slots=3),)), lone(1)),
    "a worker that waits": Shape(servers(1, (), (encoder(wait=0.02),)), lone(1)),
    "workers that wait": Shape(servers(1, (), (encoder(slots=3, wait=0.02),)), lone(1)),
    "six in batches of four": Shape(servers(1, (), (encoder(4),), replicas=8), copies(6)),
    "six one at a time": Shape(servers(1, station(0.2, 0.2, 1), replicas=8), copies(6)),
    "six share": Shape(servers(1, station(0.2, 0.2, FREE), replicas=8), copies(6)),
    "six in three slots": Shape(servers(1, station(0.8, 0.2, 3), replicas=8), copies(6)),
    "batches to one at a time": Shape(servers(1, station(300.0, 300.0, 1), (encoder(),)), batch_then_one),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("rho", "limit"), [(0.05, 0.04), (0.3, 0.05), (0.7, 0.1)])
def test_stations_and_batchers_against_the_simulator(name, rho, limit):
    shape = OTHERS[name]
    asked, jobs = at_load(shape, rho, 6000, idle=("engine0",))
    found, records = steady(shape.servers, jobs, asked), simulate(shape.servers, jobs, asked)
    assert float(found.e2e.mean) == pytest.approx((records.end - records.arrival).mean(), rel=limit)
    assert found.bottleneck.split(":")[0] != "engine0"


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.9])
def test_processor_sharing_in_closed_form(rho):
    """M/G/1-PS: 1 / (1 - rho) times as long; no wait for a slot. M/M/1 with one slot: rho / (1 - rho) services of wait."""
    work = np.random.default_rng(1).exponential(size=4000)
    work /= work.mean()
    everyone = sharing(Station(2.0, 2.0, FREE, 0.0), work, Offered(2 * rho))
    assert everyone.stretch == pytest.approx(1 / (1 - rho))
    assert float(everyone.wait.mean) == 0.0
    single = sharing(Station(2.0, 2.0, 1, 0.0), work, Offered(2 * rho))
    assert single.stretch == pytest.approx(1.0)
    assert float(single.wait.mean) == pytest.approx(0.25 * (work**2).mean() * 2 * rho / (2 * (1 - rho)))  # Pollaczek-Khinchine


def test_erlang_c_of_slots():
    """M/M/2 at rho 0.5: P(wait) = 1/3, mean wait = s/3; the numbers of any table of Erlang's C."""
    work = np.random.default_rng(1).exponential(size=200_000)
    found = sharing(Station(2.0, 1.0, 2, 0.0), work / work.mean(), Offered(1.0))
    assert float(found.wait.positive) == pytest.approx(1 / 3)
    assert float(found.wait.mean) == pytest.approx(1 / 3, rel=0.02)


def test_threads_beyond_the_rate_share_it():
    """Two run at full pace, more share (M/M/2-PS): E[n] at load 1 of 2 is 4/3, so a job takes 4/3 as long."""
    found = sharing(Station(2.0, 1.0, FREE, 0.0), np.ones(3), Offered(1.0))
    assert found.stretch == pytest.approx(4 / 3)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_two_stations_of_one_rate_are_one_processor(rho):
    """Two classes of M/G/1-PS: each takes 1 / (1 - rho) times as long, whatever its part of the load."""
    work, half = np.ones(10), Station(2.0, 2.0, FREE, 0.0)
    found = station_law(half, work, Offered(0.25 * 2 * rho), (2.0, 2.0 - 0.75 * 2 * rho))
    assert found.state.stretch == pytest.approx(1 / (1 - rho))
    assert found.state.utilisation == pytest.approx(0.25 * rho)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_batches_of_one_are_a_queue_of_fixed_service(rho):
    """M/D/1: rho s / 2 (1 - rho)."""
    found = batching(Batcher(1, 1, 0.0, np.array([0.0, 2.0]), 0.0), 0.0, Offered(rho / 2))
    assert float(found.wait.mean) == pytest.approx(rho / (1 - rho), rel=1e-3)
    assert found.utilisation == pytest.approx(rho, rel=1e-6)


def test_a_batch_of_any_size_in_fixed_time():
    """Batches without limit take 1 s each: an arrival in a busy second waits half of it on average; idle only after an empty second."""
    rate = 2.0
    found = batching(Batcher(1, 64, 0.0, np.concatenate(([0.0], np.ones(64))), 0.0), 0.0, Offered(rate))
    busy = 1 / (1 + np.exp(-rate) / rate)
    assert found.utilisation == pytest.approx(busy, rel=1e-9)
    assert float(found.wait.mean) == pytest.approx(0.5 * busy, rel=1e-9)


def test_a_lone_job_waits_for_its_batch_to_fill():
    found = batching(Batcher(1, 8, 0.5, np.full(9, 0.01), 0.0), 0.0, Offered(1e-6))
    assert float(found.wait.mean) == pytest.approx(0.5, rel=1e-5)


def test_draws_keep_the_mean_and_the_idle():
    values = drawn(Wait(*(np.array([value]) for value in (0.3, 0.36, 0.5))), 1000, 3)
    assert values.mean() == pytest.approx(0.3)
    assert np.count_nonzero(values) == 500
    assert (values**2).mean() == pytest.approx(0.36, rel=0.05)
    np.testing.assert_array_equal(values, drawn(Wait(*(np.array([value]) for value in (0.3, 0.36, 0.5))), 1000, 3))


def test_siblings_by_hand():
    """Two requests: three visits at 1 s and one at 2 s; two at 0 and 5 s."""
    owner, ready = np.array([0, 0, 0, 0, 1, 1]), np.array([1.0, 2.0, 1.0, 1.0, 0.0, 5.0])
    found = volleys(owner, ready)
    assert found.size.tolist() == [3, 1, 3, 3, 1, 1]
    assert found.place.tolist() == [0, 0, 1, 2, 0, 0]
    assert line_wait(owner, ready, np.full(6, 2.0)).tolist() == [0.0, 5.0, 2.0, 4.0, 0.0, 0.0]
    assert company(owner, ready, ready + 2.0).tolist() == [2.5, 1.5, 2.5, 2.5, 0.0, 0.0]


def test_a_join_of_some_is_ready_at_the_last_of_them():
    """Branches of 1, 5 and 3 s: a join of the first two is ready at 3 s, and what it cancels is no longer waited for."""
    branches = [[Call(0, work=float(seconds))] for seconds in (1, 5, 3)]
    jobs = jobs_of([joined(branches, [ON_END] * 3, Call(0, work=1.0, need=2))])
    ready, _, end = walked(jobs, np.zeros(4), lambda visits, at: (at, at + jobs.work[visits]))
    assert ready.tolist() == [0.0, 0.0, 0.0, 3.0]
    asked = requests_of([0.0], [(1, 1)])
    rows = servers_of([(simple_engine(), simple_cost(base=1.0))], [Station(1e6, 1.0, FREE, 0.0)])
    moved = jobs._replace(server=jobs.server + 1)
    assert float(steady(rows, moved, asked).e2e.mean) == pytest.approx(4.0, rel=1e-6)
    assert end[3] == simulate(rows, moved, asked).end[0] == 4.0
    assert bound(rows, moved, asked).e2e[0] == 4.0


def test_a_chain_of_one_engine_visit_is_the_pool():
    """Without anything else, the sample of requests has the mean that the pool's own formulas give."""
    asked = machines.drawn(4000, 3.0)
    jobs = machines.chat(asked)
    extra = servers(1, station(1e9, 1.0, FREE))
    both = jobs_of(
        [chain([Call(1, work=1e-9), Call(0, int(p), int(a))]) for p, a in zip(asked.input_tokens, asked.output_tokens, strict=True)]
    )
    found = steady(extra, both, asked)
    gaps = np.diff(asked.arrival)
    scv, span = gaps.var() / gaps.mean() ** 2, float(np.ptp(asked.arrival))
    traffic = visit_traffic(jobs, np.arange(4000), 3999 / span, scv=scv, horizon=span)
    pool = pool_steady(extra.costs[0], extra.engines[0], traffic)
    assert float(found.ttft.mean) == pytest.approx(float(pool.first.mean[0]), rel=0.02)
    assert float(found.e2e.mean) == pytest.approx(float(pool.residence[0]), rel=0.02)
    assert float(found.ttft.p90) == pytest.approx(float(pool.first.p90[0]), rel=0.05)


@pytest.mark.parametrize("clients", [1, 16, 64])
@pytest.mark.parametrize("name", ["retrieval", "agent"])
def test_a_closed_loop_of_a_pipeline_settles_at_its_throughput(name, clients):
    shape, drawn_once = SHAPES[name], machines.drawn(30 * clients, 1.0)
    asked = drawn_once._replace(arrival=np.zeros(30 * clients), clients=clients, think=np.full(30 * clients, 0.5))
    jobs = shape.jobs(asked)
    found, records = steady(shape.servers, jobs, asked), simulate(shape.servers, jobs, asked)
    assert found.rate == pytest.approx(len(asked.arrival) / records.makespan, rel=0.2)
    assert float(found.e2e.mean) == pytest.approx((records.end - records.arrival).mean(), rel=0.15)
    assert not found.saturated


def test_what_saturates_may_be_any_server():
    shape = SHAPES["retrieval"]
    thin = shape.servers._replace(stations=(Station(5e9, 5e9, 32, 1e-3),))
    asked, jobs = at_load(shape, 0.5, 500)
    found = steady(thin, jobs, asked)
    assert found.saturated
    assert found.bottleneck == "station0: rate"
    assert found.rate == pytest.approx(5e9 / jobs.work.sum() * 500, rel=1e-6)


@settings(max_examples=150, deadline=None)
@given(rough_cases())
def test_any_rows_have_a_mean_field(case: Case):
    """Whatever the graph of visits: figures of every request that completes, not below zero, of every server."""
    asked = case.requests
    if asked.clients == 0 and np.ptp(asked.arrival) == 0:
        return  # no rate
    found = steady(with_slopes(case.servers), case.jobs, asked)
    assert set(found.pools) == set(case.servers.names)
    assert np.isnan(found.e2e.mean) == (found.completed == 0)
    assert not found.e2e.mean < 0
    assert found.completed + found.rejected == len(asked.arrival)


def test_more_load_never_quickens_a_pipeline():
    shape = SHAPES["fan-out, majority"]
    values = [
        float(steady(shape.servers, jobs, asked).e2e.mean) for asked, jobs in (at_load(shape, rho, 500) for rho in (0.01, 0.2, 0.5, 0.8))
    ]
    assert values == sorted(values)


def test_more_replicas_quicken_a_fan_out():
    few, many = (pipelines.fan_out(8, replicas=replicas) for replicas in (1, 8))
    asked, jobs = at_load(few, 0.5, 500)
    slow, quick = (float(steady(shape.servers, jobs, asked).e2e.mean) for shape in (few, many))
    assert quick < slow
