"""Stations that draw from one rate, and engines and batchers on one device, by hand; a step of T tokens lasts 2 + T seconds."""

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.sim import RowError, simulate
from tests.builders import Call, Case, jobs_of, requests_of, servers_of, simple_cost, simple_engine
from tests.oracles import twin
from tests.oracles.agreement import assert_agree

COST = simple_cost(base=2.0, per_token=1.0)


def ran(servers: rows.Servers, requests: list[list[Call]], arrival: list[float]) -> rows.Records:
    """The records of the simulator, and the assertion that stepping and the twin give the same."""
    case = Case(servers, jobs_of(requests), requests_of(arrival, [(1, 1)] * len(requests)))
    records = simulate(*case)
    assert_agree(records, twin.simulate(*case))
    assert_agree(records, simulate(*case, skip=False))
    return records


def drawing(caps: tuple[float, ...], rate: float, *, alone: float = 1000.0, slots: int = 1000) -> rows.Servers:
    """Stations of these caps that draw from one rate."""
    return servers_of([], [rows.Station(alone, cap, slots, 0.0, 0) for cap in caps])._replace(shared=(rate,))


def on_device(*devices: int, replicas: int = 1, batcher: rows.Batcher | None = None) -> rows.Servers:
    """An engine pool on each of the devices, and a batcher."""
    engines = [(simple_engine(device=device, replicas=replicas), COST) for device in devices]
    return servers_of(engines, batchers=[batcher] if batcher else [])


def test_jobs_of_two_stations_share_a_rate_evenly_while_none_asks_for_less() -> None:
    """Caps 18 and 55, a shared rate of 60: three jobs and one want 3 x 18 + 55 = 109, so each gets 60 / 4 = 15.

    The three of 36 end at 36 / 15 = 2.4; the fourth then has 60 - 36 = 24 left, and its cap: 24 / 55 s more.
    """
    jobs = [[Call(0, work=36.0)], [Call(0, work=36.0)], [Call(0, work=36.0)], [Call(1, work=60.0)]]
    records = ran(drawing((18.0, 55.0), 60.0), jobs, [0.0] * 4)
    np.testing.assert_allclose(records.visit_end, [2.4, 2.4, 2.4, 2.4 + 24 / 55], rtol=1e-12)
    np.testing.assert_allclose(records.station_busy, [108.0, 60.0])


def test_what_one_station_does_not_use_is_the_others() -> None:
    """The same with one job each: 18 + 55 = 73 is too much, the first keeps its 18, the second gets 60 - 18 = 42.

    The first's 36 ends at 2; the second has done 84 of 139 by then, and the rest takes 55 / 55 = 1 s.
    """
    records = ran(drawing((18.0, 55.0), 60.0), [[Call(0, work=36.0)], [Call(1, work=139.0)]], [0.0] * 2)
    np.testing.assert_allclose(records.visit_end, [2.0, 3.0], rtol=1e-12)


def test_a_rate_that_suffices_changes_nothing() -> None:
    """109 is all that they want: 36 / 18 = 2 s and 110 / 55 = 2 s."""
    records = ran(drawing((18.0, 55.0), 109.0), [[Call(0, work=36.0)]] * 3 + [[Call(1, work=110.0)]], [0.0] * 4)
    np.testing.assert_allclose(records.visit_end, [2.0] * 4, rtol=1e-12)


def test_the_rate_of_a_station_is_shared_before_the_rate_of_all() -> None:
    """Two jobs share a station's own rate of 8, 4 each; the third, at the other station, gets 20 - 8 = 12 of the shared 20, not its 30.

    It has done 24 of 29 at 2, when the two end; 1/6 s later, with 20, it would have ended, but a fourth comes to its station at 2:
    10 each, and its 5 take 0.5 s. The fourth then has 20 to itself, 15 of its 20 are left: 0.75 s.
    """
    own, free = rows.Station(8.0, 30.0, 9, 0.0, 0), rows.Station(90.0, 30.0, 9, 0.0, 0)
    jobs = [[Call(0, work=8.0)], [Call(0, work=8.0)], [Call(1, work=29.0)], [Call(1, work=20.0)]]
    records = ran(servers_of([], [own, free])._replace(shared=(20.0,)), jobs, [0.0, 0.0, 0.0, 2.0])
    np.testing.assert_allclose(records.visit_end, [2.0, 2.0, 2.5, 3.25], rtol=1e-12)


def test_a_job_in_the_queue_draws_nothing() -> None:
    """One slot each, a shared rate of 2: 1 each until the first's 1 is done; its successor goes on beside the other at 1 each."""
    records = ran(drawing((2.0, 2.0), 2.0, slots=1), [[Call(0, work=1.0)], [Call(0, work=2.0)], [Call(1, work=2.0)]], [0.0] * 3)
    assert records.visit_start.tolist() == [0.0, 1.0, 0.0]
    assert records.visit_end.tolist() == [1.0, 2.5, 2.0]


def test_two_engines_on_one_device_alternate() -> None:
    """Prompts of 4 and 4 tokens at two engines at 0, three tokens each; one of 2, two tokens, at the first engine at 5.

    | engine | from | to | batch     | why                                                        |
    |--------|------|----|-----------|------------------------------------------------------------|
    | 0      | 0    | 6  | a 0+4     | the first of the sharers                                   |
    | 1      | 6    | 12 | b 0+4     | its turn; engine 0 waits with a, and with c since 5        |
    | 0      | 12   | 17 | a*, c 0+2 |                                                            |
    | 1      | 17   | 20 | b*        |                                                            |
    | 0      | 20   | 24 | a*, c*    | both end                                                   |
    | 1      | 24   | 27 | b*        |                                                            |
    """
    records = ran(on_device(0, 0), [[Call(0, 4, 3)], [Call(1, 4, 3)], [Call(0, 2, 2)]], [0.0, 0.0, 5.0])
    assert records.visit_start.tolist() == [0.0, 6.0, 12.0]
    assert records.first_token.tolist() == [6.0, 12.0, 17.0]
    assert records.visit_end.tolist() == [24.0, 27.0, 24.0]
    assert records.busy.tolist() == [15.0, 12.0]
    assert records.steps.tolist() == [3, 3]


def test_a_batcher_has_its_turn_after_the_engines() -> None:
    """A batcher of batches of one, 10 s each, beside two engines with one prompt of 4 each; two jobs for it, all at 0.

    Engine 0 steps to 6, engine 1 to 12, the batcher to 22, engine 0 decodes to 25, engine 1 to 28, the batcher's other job to 38.
    """
    batcher = rows.Batcher(1, 1, 0.0, np.array([0.0, 10.0]), 0.0, device=0)
    records = ran(on_device(0, 0, batcher=batcher), [[Call(2)], [Call(2)], [Call(0, 4, 2)], [Call(1, 4, 2)]], [0.0] * 4)
    assert records.visit_start.tolist() == [12.0, 28.0, 0.0, 6.0]
    assert records.visit_end.tolist() == [22.0, 38.0, 25.0, 28.0]
    assert records.station_busy.tolist() == [20.0]


def test_replicas_are_on_devices_one_after_another() -> None:
    """Pools of two on devices 0, 1 and 1, 2: only the second of the first pool and the first of the second pool share one."""
    jobs = [[Call(0, 4, 1)], [Call(0, 4, 1)], [Call(1, 4, 1)], [Call(1, 4, 1)]]
    records = ran(on_device(0, 1, replicas=2), jobs, [0.0] * 4)
    assert records.visit_replica.tolist() == [0, 1, 2, 3]
    assert records.visit_end.tolist() == [6.0, 6.0, 12.0, 6.0]


def test_a_device_of_ones_own_is_none() -> None:
    """Nobody to wait for: steady decode is skipped over as ever, and the records are the same, bit for bit."""
    jobs, asked = jobs_of([[Call(0, 5, 40)], [Call(0, 3, 30)]]), requests_of([0.0, 1.0], [(5, 40), (3, 30)])
    found, wanted = (simulate(on_device(device), jobs, asked) for device in (7, -1))
    for name in rows.Records._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


LANES = servers_of([(simple_engine(device=0, lanes=2), COST)])
WORKERS = servers_of([], batchers=[rows.Batcher(2, 1, 0.0, np.zeros(2), 0.0, device=0)])


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (LANES, r"Servers.engines\[0\].device is 0: .* lanes is 2"),
        (WORKERS, r"Servers.batchers\[0\].device is 0: .* slots is 2"),
        (on_device(-2), r"Servers.engines\[0\].device is -2"),
        (drawing((1.0,), 0.0), r"Servers.shared\[0\] is 0.0: must be finite and > 0"),
        (drawing((1.0,), np.inf), r"Servers.shared\[0\] is inf"),
        (drawing((1.0,), 1.0)._replace(shared=()), r"Servers.stations\[0\].shared is 0: Servers.shared has 0 rates"),
        (drawing((1.0,), 2.0**-40), "Jobs.work: all work at station or batcher 0 takes more than 2\\^32 s"),
    ],
)
def test_what_cannot_be_shared_is_refused(servers: rows.Servers, said: str) -> None:
    with pytest.raises(RowError, match=said):
        simulate(servers, jobs_of([[Call(0, 4, 2, work=1.0)]]), requests_of([0.0], [(4, 2)]))
