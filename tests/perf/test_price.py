"""Rent of designs with services, and who pays what, by hand."""

from itertools import product
from typing import Any

import pytest

from mist_dse.perf.price import billed_devices, provenance, usd_per_hour, usd_per_hour_by_host
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from tests.perf.cases import H100, L40S, pool
from tests.perf.mixed import ARM, DRAM, SOCKET, book, cache, cores, encoder, mixed, nodes

USD = {"h100_sxm": 3.0, "l40s": 1.0}
PRICED = USD | {"socket": 0.5}


def rents(design: Design, prices: PriceBook) -> dict[str, float]:
    found = usd_per_hour_by_host(design, prices)
    assert not isinstance(found, Infeasible), found
    return found


def test_devices_of_services_are_billed() -> None:
    assert rents(mixed(encoder(replicas=3)), book(**USD)) == {"serve": 6.0, "enc": 3.0}


def test_whole_nodes_are_shared_by_devices() -> None:
    """Two devices of a pool and one of a service rent a node of eight: 24 USD/h, two thirds and one."""
    design = mixed(encoder(accelerator=H100))
    assert rents(design, book("node", **USD)) == {"serve": pytest.approx(16.0), "enc": pytest.approx(8.0)}
    assert usd_per_hour(design, book("node", **USD)) == 24.0
    assert billed_devices(mixed(encoder()), book("node", **USD)) == {"h100_sxm": 8, "l40s": 8}


def test_what_is_beside_a_pool_pays_nothing_more() -> None:
    pools = (pool(name="serve", stages=("serve",), tp=2), pool(name="guard", stages=("guard",), tp=2, beside="serve"))
    design = mixed(encoder(accelerator=H100, beside="serve"), pools=pools)
    assert rents(design, book(**USD)) == {"serve": 6.0, "guard": 0.0, "enc": 0.0}


def test_hosts_that_come_with_accelerators_are_charged_once() -> None:
    """Two sockets of node 0 at 0.5: paid for by what stands there, however many services use them; not at all where not priced apart."""
    design = mixed(cores(node=0, hosts=2), cores("more", node=0))
    assert rents(design, book(**PRICED)) == {"serve": 7.0, "text": 0.0, "more": 0.0}
    assert rents(design, book(**USD)) == {"serve": 6.0, "text": 0.0, "more": 0.0}
    assert rents(design, book(**USD, vcpu=9.0)) == {"serve": 6.0, "text": 0.0, "more": 0.0}


def test_sockets_of_a_node_without_accelerators_are_shared_evenly() -> None:
    """Node 2 has two sockets, of which two services make use; the third service also uses node 3."""
    design = mixed(cores(node=2), cores("more", node=2, hosts=3))
    assert rents(design, book(**PRICED)) == {"serve": 7.0, "text": 0.5, "more": 0.5 + 1.0}


def test_a_service_with_accelerators_brings_a_node_to_those_that_name_it() -> None:
    """The encoder stands on node 1, since node 0 has another kind of device."""
    assert rents(mixed(cores(node=1), encoder()), book(**PRICED)) == {"serve": 7.0, "enc": 2.0, "text": 0.0}


# 50 cores of two threads are 100 vCPUs, 96 Arm cores 96; a machine has the two sockets of a node, and is rented whole
@pytest.mark.parametrize(
    ("host", "hosts", "prices", "usd"),
    [
        (SOCKET, 3, {"socket": 0.5, "vcpu": 9.0}, 1.5),
        (SOCKET, 3, {"vcpu": 0.02, "cpu_machine": 9.0}, 6.0),
        (ARM, 1, {"vcpu": 0.02}, 1.92),
        (SOCKET, 3, {"cpu_machine": 3.36}, 6.72),
    ],
)
def test_sockets_of_a_service_by_name_by_vcpu_or_by_machine(host: Any, hosts: int, prices: dict[str, float], usd: float) -> None:
    design = mixed(cores(host=host, hosts=hosts), topology=nodes(host=None))
    assert rents(design, book(**USD, **prices)) == {"serve": 6.0, "text": pytest.approx(usd)}


def test_a_host_without_any_price_is_named_with_the_way_out() -> None:
    found = usd_per_hour(mixed(cores()), book(**USD))
    assert isinstance(found, Infeasible)
    assert (found.kind, found.constraint.count("\n")) == ("price", 0)
    assert found.constraint.startswith(
        "price book book has no price for socket, which service text needs, nor for vcpu or cpu_machine: give"
    )


def test_tiers_come_with_their_host_and_storage_is_charged_where_it_is_priced() -> None:
    far, near = mixed(cache()), mixed(cache(tier=DRAM))
    assert rents(far, book(**USD)) == {"serve": 6.0, "cache": 0.0}
    assert rents(far, book(**USD, objects=2.0)) == {"serve": 6.0, "cache": 2.0}
    assert rents(near, book(**USD, dram=2.0)) == {"serve": 6.0, "cache": 0.0}
    assert rents(mixed(cache(host=SOCKET)), book(**PRICED)) == {"serve": 7.0, "cache": 0.5}
    said = provenance(mixed(cache(), cache("near", tier=DRAM), cores()), book(**USD, vcpu=0.1))
    assert said["objects"] == "not charged: no price in book"
    assert said["dram"] == "comes with its host"
    assert said["socket"] == "100 vcpu per socket"
    assert said["socket of nodes"].startswith("not charged apart")


def test_units_of_storage() -> None:
    """Six engines of one device in one node: a unit each, one, or one for all."""
    pools = (pool(name="serve", stages=("serve",), replicas=6),)
    priced = book(**USD, objects=2.0)
    usd = {scope: rents(mixed(cache(scope=scope), pools=pools), priced)["cache"] for scope in ("private", "node", "shared")}
    assert usd == {"private": 12.0, "node": 2.0, "shared": 2.0}


SERVICES = {
    "accelerators": (encoder(replicas=3, accelerator=L40S), encoder("near", accelerator=H100, replicas=5)),
    "hosts": (
        cores(hosts=3),
        cores("node", node=0, hosts=2),
        cores("far", node=3),
        encoder("slow", accelerator=None, host=SOCKET, replicas=2),
    ),
    "tiers": (cache(), cache("own", host=SOCKET, scope="node")),
}


CASES = list(product(SERVICES, ("device", "node"), ({"socket": 0.7}, {"vcpu": 0.03}, {"cpu_machine": 3.3})))


@pytest.mark.parametrize(("chosen", "billing", "host"), CASES)
def test_law_17_rent_adds_up_over_pools_and_services(chosen: str, billing: str, host: dict[str, float]) -> None:
    """What the pools and services pay adds up to the rent of the design."""
    pools = (pool(name="serve", stages=("serve",), tp=2, replicas=3), pool(name="more", stages=("more",), accelerator=L40S))
    design, prices = mixed(*SERVICES[chosen], pools=pools, topology=nodes(8)), book(billing, **USD, objects=1.1, **host)
    total = usd_per_hour(design, prices)
    assert not isinstance(total, Infeasible), total
    assert sum(rents(design, prices).values()) == pytest.approx(total, rel=1e-12)
    alone = usd_per_hour(mixed(pools=pools, topology=nodes(8)), prices)
    assert not isinstance(alone, Infeasible)
    assert total > alone
