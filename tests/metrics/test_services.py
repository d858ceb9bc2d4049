"""Power, use and demand of services, links and shared host memory, by hand."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from mist_dse.metrics import (
    ResourceUse,
    demands,
    energy,
    energy_provenance,
    highest,
    real_servers,
    saturation,
    service_use,
    utilisations,
    watts_by_host,
)
from mist_dse.rows import Batcher, Requests, Servers, Station
from mist_dse.specs.hardware import Host
from mist_dse.stages.servers import INSTANT
from tests.metrics import hand
from tests.perf.cases import H100, L40S, pool
from tests.perf.mixed import DRAM, SOCKET, cache, cores, encoder, mixed, nodes

BARE = nodes(host=None)
HALF = ResourceUse(0.5, 0.5, 0.5, 0.0)


def test_an_encoder_draws_its_tdp_while_it_is_busy() -> None:
    """L40S: 350 W busy, 0.12 of that idle; the pool's two H100 are idle at 75 W each."""
    found = watts_by_host(mixed(encoder(replicas=2), topology=BARE), {"enc": HALF})
    assert found == {"serve": 2 * 75.0, "enc": pytest.approx(2 * 350 * (0.5 + 0.5 * 0.12))}


def test_sockets_of_services_draw_by_their_use() -> None:
    """300 W each: 36 W idle, and half of the other 264 W."""
    design = mixed(cores(hosts=2), topology=BARE)
    assert watts_by_host(design, {"text": HALF})["text"] == pytest.approx(2 * (36 + 132))
    assert watts_by_host(design, {})["text"] == pytest.approx(2 * 36)


def test_sockets_of_nodes_are_shared_by_device_and_counted_once() -> None:
    """Two sockets of eight devices: 9 W idle per device; a service on that node adds what its use takes, on another its idle power too."""
    design = mixed(cores(node=0, hosts=2), cores("far", node=3), cores("too", node=3))
    found = watts_by_host(design, {"text": HALF, "far": HALF})
    assert found["serve"] == pytest.approx(2 * (75 + 9))
    assert found["text"] == pytest.approx(2 * 132)
    assert found["far"] == pytest.approx(36 + 132)  # node 3 has two sockets, one of them for each
    assert found["too"] == pytest.approx(36)


def test_what_is_beside_a_pool_adds_to_the_power_of_its_devices() -> None:
    """Both pools a quarter of the time at full compute: 700 W for half of it; the second's part is the rest of the whole."""
    pools = (pool(name="serve", stages=("serve",), tp=2), pool(name="guard", stages=("guard",), tp=2, beside="serve"))
    quarter = ResourceUse(0.25, 0.25, 0.0, 0.0)
    found = watts_by_host(mixed(pools=pools, topology=BARE), {"serve": quarter, "guard": quarter})
    assert found["serve"] == pytest.approx(2 * (0.25 * 700 + 0.75 * 75))
    assert found["guard"] == pytest.approx(2 * 0.25 * (700 - 75))
    one = mixed(encoder(accelerator=H100, beside="serve"), pools=pools[:1], topology=BARE)
    assert watts_by_host(one, {"enc": ResourceUse(0.5, 0.5, 0.5, 0.0)})["enc"] == pytest.approx(0.5 * (700 - 75))  # one of two devices


def test_unknown_power_is_said() -> None:
    bare = replace(SOCKET, name="bare", tdp=None)
    design = mixed(cores(host=bare), topology=BARE)
    assert energy(design, {}, {"output_tokens_per_s": 1.0}) == {"watts": None, "joules_per_token": None}
    assert energy_provenance(design) == {"bare": "unknown: no TDP"}
    said = energy_provenance(mixed(encoder()))
    assert said["l40s"].startswith("full load while a service is busy; borrowed")
    assert said["socket"] == "linear from an assumed idle power of 0.12 TDP to the TDP at full use"


SERVICES = (encoder(replicas=3), cores(hosts=2), cores("near", node=0), cores("far", node=3, hosts=3), cache(host=SOCKET),
            cache("dram", tier=DRAM), encoder("shared", accelerator=L40S, beside="more"))  # fmt: skip
POOLS = (pool(name="serve", stages=("serve",), tp=2), pool(name="more", stages=("more",), accelerator=L40S))


@pytest.mark.parametrize(("busy", "host"), list(product((0.0, 0.3, 1.0), (None, SOCKET))))
def test_law_17_power_adds_up_over_pools_and_services(busy: float, host: Host | None) -> None:
    """Watts are the sum over pools and services, between the idle power and the TDP of all devices and sockets."""
    design = mixed(*SERVICES, pools=POOLS, topology=nodes(8, host=host))
    use = {one.name: ResourceUse(busy, busy, busy, 0.0) for one in design.hosts} | {"shared": ResourceUse(0.0, 0.0, 0.0, 0.0)}
    each = watts_by_host(design, use)
    found = energy(design, use, {"output_tokens_per_s": 10.0})
    assert found["watts"] == pytest.approx(sum(watts or 0.0 for watts in each.values()), rel=1e-12)
    assert found["joules_per_token"] == pytest.approx(found["watts"] / 10)
    # idle: text 2 sockets, far the 4 of two nodes, cache 1; in use: 3 of far's, and one of near's, on node 0
    devices = 2 * (75 + busy * 625) + 4 * 350 * (0.12 + 0.88 * busy)
    own = (2 + 4 + 1) * 36 + busy * 264 * (2 + 3 + 1 + 1)
    assert found["watts"] == pytest.approx(devices + own + (0 if host is None else 6 * 2 * 36 / 8))


STATIONS = (Station(100.0, 50.0, 8, 0.0, 0), Station(40.0, 40.0, 1, 0.0, 0), INSTANT)
WORKERS = Batcher(2, 4, 0.0, np.array([0.0, 1.0, 1.2, 1.4, 1.6]), 1.0)
SERVERS = Servers((), (), (), STATIONS, ("index", "cache far 0", "signals", "enc"), (WORKERS,), (80.0,))


def test_use_of_stations_workers_and_shared_memory_by_hand() -> None:
    """In 10 s: 200 of 1000 and 100 of 400 moved, 300 of the 800 that both share; 5 s of two workers."""
    records = hand.records(station_busy=[200.0, 100.0, 0.0, 5.0], makespan=10.0)
    found = utilisations(records, SERVERS, ["memory"])
    assert found == pytest.approx({"index": 0.2, "cache far 0": 0.25, "signals": 0.0, "enc": 0.25, "memory": 0.375})
    assert real_servers(SERVERS, ["memory"]) == ["index", "cache far 0", "enc", "memory"]


def asked(work: dict[int, float], gap: float) -> tuple[SimpleNamespace, Requests]:
    """100 requests that come ``gap`` seconds apart, each with one visit of so much work at each server."""
    count, each = 100, len(work)
    jobs = hand.jobs(list(range(0, count * each + 1, each)), server=list(work) * count, work=list(work.values()) * count)
    return SimpleNamespace(servers=SERVERS, jobs=jobs), hand.requests(np.arange(count) * gap, [10] * count, [1] * count)


def test_demand_on_shared_memory_is_that_of_all_who_draw_from_it() -> None:
    """30 + 15 per request on a memory of 80 per second: twice a second ask more than it has, of neither station alone."""
    lowered, requests = asked({0: 30.0, 1: 15.0, 3: 0.0}, gap=0.5)
    rate = 2.0
    found = demands(lowered, ["memory"], requests, rate=rate)
    assert found["memory"] == {"rate": pytest.approx(rate * 45 / 80)}
    assert found["index"]["rate"] == pytest.approx(0.6)
    assert found["enc"]["workers"] == pytest.approx(rate * 0.4 / 2)  # four in 1.6 s
    assert highest(found, steps=True)[:2] == ("memory", "rate")
    verdict = saturation(found)
    assert verdict.constraint == "memory is saturated: 1.12 of what its rate can serve is asked"
    assert verdict.margin == pytest.approx(0.125)


def test_all_that_is_saturated_is_named() -> None:
    lowered, requests = asked({0: 30.0, 1: 15.0, 3: 0.0}, gap=0.5)
    verdict = saturation(demands(lowered, ["memory"], requests, rate=4.0))
    assert verdict.constraint == "memory is saturated: 2.25 of what its rate can serve is asked; also over: index 1.2, cache far 0 1.5"


def test_a_service_is_as_busy_as_its_links_are_in_the_mean() -> None:
    design = mixed(cache(), encoder())
    found = service_use(design, {"cache far 0": 0.2, "cache far 1": 0.6, "enc": 1.7, "serve": 0.5, "cache near 0": 1.0})
    assert {name: use.busy for name, use in found.items()} == {"cache": pytest.approx(0.4), "enc": 1.0}
