"""Demand on what servers share, and the least time in which it can be done, by hand."""

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.analytic.bound import bound
from mist_dse.analytic.demand import demand, saturated
from mist_dse.sim import simulate
from tests.builders import Call, jobs_of, requests_of, servers_of, simple_cost, simple_engine

COUNT = 100


def test_demand_on_a_rate_that_stations_draw_from_together() -> None:
    """1 request/s with 12 units of work at one station and 40 at the other, of a shared rate of 40: 0.2 + 0.4 alone, 1.3 together."""
    stations = [rows.Station(60.0, 20.0, 8, 0.0, 0), rows.Station(100.0, 50.0, 8, 0.0, 0), rows.Station(10.0, 10.0, 8, 0.0)]
    servers = servers_of([], stations)._replace(shared=(40.0,))
    jobs = jobs_of([[Call(0, work=12.0), Call(1, work=40.0), Call(2, work=1.0)]] * COUNT)
    asked = requests_of(np.arange(COUNT, dtype=float).tolist(), [(1, 1)] * COUNT)
    demands = demand(servers, jobs, asked, rate=1.0)
    assert demands["station0"]["rate"] == pytest.approx(0.2)
    assert demands["station1"]["rate"] == pytest.approx(0.4)
    assert demands["station0"]["shared memory"] == demands["station1"]["shared memory"] == pytest.approx(1.3)
    assert "shared memory" not in demands["station2"]
    assert saturated(demands, asked)
    assert not saturated(demand(servers._replace(shared=(80.0,)), jobs, asked, rate=1.0), asked)


def test_the_work_of_coupled_stations_takes_its_time_at_the_shared_rate() -> None:
    """100 requests at once, 52 units each at 40: 130 s, and the simulator takes no more."""
    stations = [rows.Station(60.0, 60.0, 1000, 0.0, 0), rows.Station(100.0, 50.0, 1000, 0.0, 0)]
    servers = servers_of([], stations)._replace(shared=(40.0,))
    jobs = jobs_of([[Call(0, work=12.0), Call(1, work=40.0)]] * COUNT)
    asked = requests_of([0.0] * COUNT, [(1, 1)] * COUNT)
    assert bound(servers, jobs, asked).makespan == pytest.approx(130.0)
    assert simulate(servers, jobs, asked).makespan == pytest.approx(130.0)


def test_demand_on_a_device_is_that_of_all_its_sharers() -> None:
    """Two pools on devices 0, 1 and 1, and a batcher on device 1: the middle device bears all three, the first one pool alone."""
    engine, cost = simple_engine(max_model_len=100), simple_cost(base=0.01, per_token=0.001)
    batcher = rows.Batcher(1, 1, 0.0, np.array([0.0, 0.25]), 0.0, device=1)
    pools = [(engine._replace(device=0, replicas=2), cost), (engine._replace(device=1), cost), (engine._replace(device=9), cost)]
    servers = servers_of(pools, batchers=[batcher])
    jobs = jobs_of([[Call(0, 8, 4), Call(1, 8, 4), Call(2, 8, 4), Call(3)]] * COUNT)
    demands = demand(servers, jobs, requests_of(np.arange(COUNT, dtype=float).tolist(), [(8, 4)] * COUNT), rate=1.0)
    steps = [demands[f"engine{k}"]["steps"] for k in range(3)]
    assert demands["batcher0"]["workers"] == pytest.approx(0.25)
    assert steps[1] > steps[0] > 0
    for name in ("engine0", "engine1", "batcher0"):
        assert demands[name]["device"] == pytest.approx(steps[0] + steps[1] + 0.25)
    assert demands["engine2"]["device"] == steps[2]
