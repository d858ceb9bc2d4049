import numpy as np
import pytest

from mist_dse.analytic import Variants, bound, colocated, combine, demand, engine_traffic, pool_demand, pool_steady, saturated, steady
from mist_dse.analytic.demand import station_demand
from mist_dse.analytic.traffic import visit_traffic
from mist_dse.rows import CHUNKED, CONTINUOUS, JOIN_SHORTEST_QUEUE, PREFILL_FIRST, STATIC, Station
from mist_dse.sim.simulate import simulate
from tests.analytic import machines

# Accuracy that the mean field is held to, by load: relative error of (mean TTFT, p90 TTFT, mean TPOT, p90 TPOT, mean E2E).
LIMITS = {
    0.1: (0.05, 0.1, 0.03, 0.08, 0.03),
    0.3: (0.1, 0.15, 0.03, 0.08, 0.03),
    0.6: (0.2, 0.25, 0.05, 0.12, 0.05),
    0.8: (0.3, 0.35, 0.05, 0.16, 0.06),
}


def measured(servers, jobs, asked):
    records = simulate(servers, jobs, asked)
    ttft, tpot = records.first_token - records.arrival, (records.last_token - records.first_token) / np.maximum(asked.output_tokens - 1, 1)
    e2e = records.end - records.arrival
    return ttft.mean(), np.quantile(ttft, 0.9), tpot.mean(), np.quantile(tpot, 0.9), e2e.mean()


def predicted(servers, jobs, asked):
    found = steady(servers, jobs, asked)
    return tuple(float(value) for value in (found.ttft.mean, found.ttft.p90, found.tpot.mean, found.tpot.p90, found.e2e.mean))


def at_load(rho, servers, jobs_of, count=6000):
    """Requests that load the busiest pool to ``rho``."""
    unit = machines.drawn(count, 1.0)
    row = demand(servers, jobs_of(unit), unit)
    return machines.drawn(count, rho / max(pool.get("steps", 0.0) for pool in row.values()))


@pytest.mark.parametrize("policy", [CHUNKED, CONTINUOUS])
@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize("rho", LIMITS)
def test_against_the_simulator(policy, replicas, rho):
    servers = machines.colocated(policy=policy, replicas=replicas)
    asked = at_load(rho, servers, machines.chat)
    for found, true, limit in zip(
        predicted(servers, machines.chat(asked), asked), measured(servers, machines.chat(asked), asked), LIMITS[rho], strict=True
    ):
        assert found == pytest.approx(true, rel=limit)


@pytest.mark.parametrize("rho", [0.1, 0.3, 0.6])
def test_against_the_simulator_where_ranks_share_work(rho):
    servers = machines.colocated(step=machines.sharing(4), ranks=4)
    asked = at_load(rho, servers, machines.chat)
    for found, true, limit in zip(
        predicted(servers, machines.chat(asked), asked), measured(servers, machines.chat(asked), asked), LIMITS[rho], strict=True
    ):
        assert found == pytest.approx(true, rel=2 * limit)


WAYS = [
    {"stream_interval": 10},
    {"receive_interval": 30},
    {"wait_steps": 40, "wait_tokens": 2000},
    {"policy": PREFILL_FIRST},
    {"whole_prompts": True, "reserve_output": True, "max_num_batched_tokens": 32768},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: next(iter(way)))
@pytest.mark.parametrize("rho", [0.1, 0.3, 0.6])
def test_engines_own_ways_against_the_simulator(way, rho):
    """Mean TTFT within a quarter (the first three ways multiply it by 3 to 7); TPOT and E2E within what holds without them."""
    servers = machines.colocated(**way)
    asked = at_load(rho, servers, machines.chat)
    found, true = predicted(servers, machines.chat(asked), asked), measured(servers, machines.chat(asked), asked)
    assert found[0] == pytest.approx(true[0], rel=0.25)
    assert found[2] == pytest.approx(true[2], rel=LIMITS[rho][2])
    assert found[4] == pytest.approx(true[4], rel=LIMITS[rho][4])


@pytest.mark.parametrize("rho", LIMITS)
@pytest.mark.parametrize("first_token_from", ["prefill", "decode"])
def test_two_pools_against_the_simulator(first_token_from, rho):
    servers = machines.split({"replicas": 3, "max_num_batched_tokens": 8192}, {"replicas": 2})

    def jobs_of(asked):
        return machines.handed_chat(asked, first_token_from=first_token_from)

    asked = at_load(rho, servers, jobs_of)
    for found, true, limit in zip(
        predicted(servers, jobs_of(asked), asked), measured(servers, jobs_of(asked), asked), LIMITS[rho], strict=True
    ):
        assert found == pytest.approx(true, rel=limit)


@pytest.mark.parametrize("policy", [CHUNKED, CONTINUOUS, PREFILL_FIRST, STATIC])
def test_an_idle_system_is_the_bound(policy):
    asked = machines.requests(np.arange(1, 51) * 1000.0, 1000, 100)
    servers = machines.colocated(policy=policy)
    found, floors = steady(servers, machines.chat(asked), asked), bound(servers, machines.chat(asked), asked)
    for name in ("ttft", "tpot", "e2e"):
        assert float(getattr(found, name).mean) == pytest.approx(np.mean(getattr(floors, name)), rel=0.01)


@pytest.mark.parametrize("clients", [1, 8, 64])
def test_a_closed_loop_settles_at_its_throughput(clients):
    asked = machines.drawn(40 * clients, 1.0)._replace(arrival=np.zeros(40 * clients), clients=clients)
    servers = machines.colocated()
    found = steady(servers, machines.chat(asked), asked)
    records = simulate(servers, machines.chat(asked), asked)
    assert found.rate == pytest.approx(len(asked.arrival) / records.makespan, rel=0.15)
    assert float(found.e2e.mean) == pytest.approx((records.end - records.arrival).mean(), rel=0.1)
    assert not found.saturated


def test_saturation_of_evenly_spaced_prompts():
    """One prompt per step, no decoding: sustainable rate is one over the full step's time, and the backlog agrees."""
    servers = machines.colocated(max_num_batched_tokens=2048)
    jobs = machines.chat(machines.requests(np.zeros(2), 2048, 1))
    alone = float(bound(servers, machines.chat(machines.requests([0.0], 2048, 1)), machines.requests([0.0], 2048, 1)).ttft[0])
    for factor, full in ((0.9, True), (1.1, False)):
        asked = machines.requests(np.arange(200) * alone * factor, 2048, 1)
        jobs = machines.chat(asked)
        row = demand(servers, jobs, asked)
        assert row["chat"]["steps"] == pytest.approx(1 / factor, rel=0.01)
        assert saturated(row, asked) is full
        ttft = simulate(servers, jobs, asked).first_token - asked.arrival
        assert (ttft[-1] > 2 * alone) is np.bool_(full)


def test_no_resource_asks_more_than_the_steps_that_use_it():
    asked = machines.drawn(500, 12.0)
    row = demand(machines.colocated(), machines.chat(asked), asked)["chat"]
    assert all(value <= row["steps"] for name, value in row.items() if name != "front end")
    prompt = asked.input_tokens + asked.output_tokens - 1.0
    seconds = 499 / (asked.arrival[-1] - asked.arrival[0]) * prompt.mean() * machines.load().flop_seconds_token
    assert row["compute"] > seconds
    assert row["compute"] < 1.6 * seconds


def test_a_front_end_and_a_link_can_saturate():
    asked = machines.drawn(500, 5.0)
    row = demand(machines.colocated(front_end=0.3), machines.chat(asked), asked)
    assert row["chat"]["front end"] == pytest.approx(0.3 * 499 / np.ptp(asked.arrival))
    assert saturated(row, asked)
    thin = machines.split({}, {}, link=3e8)
    assert steady(thin, machines.handed_chat(asked), asked).bottleneck == "handoff: rate"
    assert station_demand(Station(10.0, 2.0, 4, 0.0), np.array([4.0]), 1.0) == {"rate": 0.4, "slots": 0.5}


@pytest.mark.parametrize("policy", [CHUNKED, CONTINUOUS, STATIC])
def test_arrays_of_variants_equal_one_at_a_time(policy):
    asked = machines.drawn(500, 4.0)
    engine, cost = machines.engine(policy=policy), machines.cost()
    traffic = visit_traffic(machines.chat(asked), np.arange(500), 4.0, scv=1.0, horizon=125.0)
    rows = [(1, 256, 2048, 25_000), (2, 16, 512, 25_000), (8, 64, 8192, 4000), (1, 256, 8192, 25_000)]
    together = pool_steady(cost, engine, traffic, Variants(*np.array(rows, dtype=float).T))
    for i, row in enumerate(rows):
        alone = pool_steady(cost, engine, traffic, Variants(*(np.array([float(value)]) for value in row)))
        for name in ("demand", "step", "kv", "utilisation"):
            assert getattr(together, name)[i] == pytest.approx(getattr(alone, name)[0], rel=1e-9)
        for name in ("first", "tpot"):
            assert [value[i] for value in getattr(together, name)] == pytest.approx([value[0] for value in getattr(alone, name)], rel=1e-4)


def test_more_replicas_never_raise_the_demand_or_the_first_token():
    asked = machines.drawn(500, 10.0)
    traffic = visit_traffic(machines.chat(asked), np.arange(500), 10.0, scv=1.0, horizon=50.0)
    found = pool_steady(
        machines.cost(), machines.engine(), traffic, Variants(np.arange(1.0, 17.0), *(np.float64(x) for x in (256, 2048, 25_000)))
    )
    assert (np.diff(found.demand) < 0).all()
    assert (np.diff(found.step) <= 1e-12).all()
    assert (np.diff(found.first.mean[~found.saturated]) <= 1e-6).all()


def test_join_shortest_queue_waits_less_than_turns():
    asked = machines.drawn(500, 50.0)
    traffic = visit_traffic(machines.chat(asked), np.arange(500), 50.0, scv=1.0, horizon=1000.0)
    turns, shortest = (pool_steady(machines.cost(), machines.engine(replicas=4, router=r), traffic) for r in (0, JOIN_SHORTEST_QUEUE))
    assert shortest.wait[0] < turns.wait[0]


def test_pairs_of_pools_are_every_prefill_with_every_decode():
    asked = machines.drawn(500, 5.0)
    first = engine_traffic(asked.input_tokens, np.zeros(500), rate=5.0)
    second = engine_traffic(np.zeros(500), asked.output_tokens - 1, start=asked.input_tokens, rate=5.0, entering=False)
    sizes = Variants(np.array([1.0, 2.0, 4.0]), *(np.float64(x) for x in (256, 2048, 25_000)))
    prefill = pool_steady(machines.cost(), machines.engine(), first, sizes)
    decode = pool_steady(
        machines.cost(), machines.engine(), second, Variants(*(np.asarray(value)[..., :2] if np.ndim(value) else value for value in sizes))
    )
    design = combine(prefill, decode, second, delay=0.05)
    assert design.demand.shape == design.ttft.p90.shape == design.tpot.p99.shape == design.e2e.mean.shape == (3, 2)
    np.testing.assert_array_equal(design.demand, np.maximum(prefill.demand[:, None], decode.demand[None, :]))
    np.testing.assert_allclose(design.ttft.p90, np.broadcast_to(prefill.first.p90[:, None], (3, 2)))
    late = combine(prefill, decode, second, delay=0.05, first_token_from="decode")
    np.testing.assert_allclose(late.ttft.mean, prefill.first.mean[:, None] + 0.05 + decode.first.mean[None, :])
    np.testing.assert_allclose(late.e2e.mean, design.e2e.mean)


def test_colocated_end_to_end_adds_up():
    asked = machines.drawn(500, 5.0)
    traffic = visit_traffic(machines.chat(asked), np.arange(500), 5.0, scv=1.0, horizon=100.0)
    pool = pool_steady(machines.cost(), machines.engine(), traffic)
    assert colocated(pool).e2e.mean[0] == pytest.approx(pool.residence[0])
    assert pool_demand(machines.cost(), machines.load(), machines.engine(), traffic)["steps"][0] == pool.demand[0]
