"""Where pools stand and which link joins them, by hand on small topologies."""

from dataclasses import replace

import pytest

from mist_dse.perf.network import fabric, host_nodes, placements, route, spans
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.service import Service
from tests.perf.cases import H100, L40S, NDR, NODE, NVLINK4, PCIE4, RACKS, SPINE, colocated, disaggregated, pool
from tests.perf.mixed import cores, encoder, mixed, nodes as rack_of


def _stands(design: Design) -> list[tuple[int, int]]:
    found = placements(design)
    assert not isinstance(found, Infeasible), found
    return [(place.first, place.last) for place in found]


def test_tensor_ranks_take_the_scale_up_link_inside_its_domain_and_the_host_link_past_it() -> None:
    assert [(span.ways, span.hop.name) for span in spans(fabric(H100, NODE), 8)] == [(8, "nvlink4")]
    assert [(span.ways, span.hop.name) for span in spans(fabric(L40S, NODE), 8)] == [(2, "pcie4_x16"), (4, "host link")]


def test_across_nodes_the_nic_and_the_oversubscription_narrow_the_link() -> None:
    wide = spans(fabric(H100, RACKS), 64)
    assert [(span.ways, span.hop.name) for span in wide] == [(8, "nvlink4"), (4, "ndr_400g"), (2, "spine")]
    assert wide[2].hop.bandwidth == pytest.approx(SPINE.bandwidth * SPINE.efficiency / 2)
    assert spans(fabric(L40S, RACKS), 16)[-1].hop.bandwidth == pytest.approx(25e9 * NDR.efficiency)  # NIC of 25 GB/s on a 50 GB/s rail


def test_a_node_link_of_the_topology_overrides_the_accelerators_own() -> None:
    node = replace(NODE, tiers=(replace(NODE.tiers[0], link=PCIE4),))
    assert [span.hop.name for span in spans(fabric(H100, node), 4)] == ["pcie4_x16"]


def test_pools_of_one_accelerator_share_a_node_and_others_start_their_own() -> None:
    same = disaggregated({"tp": 4}, {"tp": 2})
    other = disaggregated({"tp": 4}, {"tp": 2, "accelerator": L40S})
    assert _stands(same) == [(0, 4), (4, 6)]
    assert _stands(other) == [(0, 4), (8, 10)]


def test_engines_never_straddle_nodes_that_they_fit() -> None:
    assert _stands(colocated(RACKS, tp=4, replicas=3)) == [(0, 12)]
    assert _stands(disaggregated({"tp": 1, "replicas": 6}, {"tp": 4, "replicas": 3})) == [(0, 6), (8, 20)]
    assert _stands(disaggregated({"tp": 4, "replicas": 1}, {"tp": 4, "replicas": 4})) == [(0, 4), (4, 20)]


def test_named_nodes_are_kept() -> None:
    assert _stands(disaggregated({"tp": 4, "node": 2}, {"tp": 4, "node": 0})) == [(16, 20), (0, 4)]


def test_two_pools_on_the_same_devices_are_infeasible() -> None:
    found = placements(disaggregated({"tp": 8, "node": 1}, {"tp": 4, "node": 1}))
    assert isinstance(found, Infeasible)
    assert found.kind == "topology"
    assert "both stand on devices 8 to 11" in found.constraint


def test_more_devices_than_the_topology_are_infeasible_by_the_excess() -> None:
    found = placements(colocated(NODE, tp=4, replicas=3))
    assert isinstance(found, Infeasible)
    assert (found.kind, found.margin) == ("topology", (12 - 8) / 8)


def test_the_hand_off_crosses_the_link_between_where_the_pools_stand() -> None:
    rates = {}
    for place, nodes in {"node": (0, 0), "rack": (0, 1), "hall": (0, 4)}.items():
        decode = {"tp": 4} if place == "node" else {"tp": 4, "node": nodes[1]}
        design = disaggregated({"tp": 2, "node": 0}, decode)
        found = placements(design)
        assert not isinstance(found, Infeasible)
        rates[place] = route(design, *found)
    assert [rates[place].tier for place in ("node", "rack", "hall")] == ["nvlink4", "ndr_400g", "spine"]
    assert rates["node"].cap == pytest.approx(2 * NVLINK4.bandwidth * NVLINK4.efficiency)  # tp 2 is the narrower side
    assert rates["rack"].cap == pytest.approx(2 * 50e9 * 0.9)
    assert rates["hall"].cap == pytest.approx(2 * 25e9 * 0.9)
    assert rates["hall"].rate == pytest.approx(2 * 25e9 * 0.9 / 2)  # oversubscribed twice


def test_different_accelerators_in_one_node_meet_over_the_host_link() -> None:
    design = disaggregated({"tp": 2, "node": 0}, {"tp": 2, "accelerator": L40S, "node": 0}, topology=NODE)
    assert isinstance(placements(design), Infeasible)  # both named node 0: they would share devices
    found = placements(disaggregated({"tp": 8}, {"tp": 8, "accelerator": L40S}))
    assert not isinstance(found, Infeasible)
    assert route(disaggregated({"tp": 8}, {"tp": 8, "accelerator": L40S}), *found).cap == pytest.approx(8 * 25e9 * 0.9)  # the slower NICs


def _places(design: Design) -> dict[str, tuple[int, int]]:
    found = placements(design)
    assert not isinstance(found, Infeasible), found
    return {place.pool: (place.first, place.last) for place in found}


def test_services_take_devices_after_the_pools() -> None:
    """Two H100 of the pool, then an encoder on H100 beside them in the node, then one on L40S in the next, then on its rest."""
    made = mixed(encoder("near", accelerator=H100, replicas=5), encoder("far", replicas=3), encoder("rest", replicas=2))
    assert _places(made) == {"serve": (0, 2), "near": (2, 7), "far": (8, 11), "rest": (11, 13)}
    assert _places(mixed(encoder("near", accelerator=H100, replicas=9))) == {"serve": (0, 2), "near": (2, 11)}


def test_a_service_takes_the_first_free_devices_of_its_node() -> None:
    pools = (pool(name="serve", stages=("serve",), tp=2, node=1),)
    made = mixed(encoder("a", accelerator=H100, node=1), encoder("b", accelerator=H100, node=1), encoder("c", node=3), pools=pools)
    assert _places(made) == {"serve": (8, 10), "a": (10, 11), "b": (11, 12), "c": (24, 25)}


@pytest.mark.parametrize("service", [encoder(node=0), encoder(accelerator=H100, node=0)])
def test_a_node_of_another_kind_or_without_room_is_refused(service: Service) -> None:
    tp = 2 if service.accelerator is L40S else 8
    found = placements(mixed(service, pools=(pool(name="serve", stages=("serve",), tp=tp),)))
    assert isinstance(found, Infeasible)
    assert "serve and enc both stand on devices 0 to 0" in found.constraint


def test_what_is_beside_a_pool_stands_where_that_stands() -> None:
    pools = (pool(name="guard", stages=("guard",), tp=4, beside="serve"), pool(name="serve", stages=("serve",), tp=4, replicas=2),
             pool(name="next", stages=("next",), tp=4))  # fmt: skip
    made = mixed(encoder(accelerator=H100, beside="serve"), pools=pools)
    assert _places(made) == {"guard": (0, 4), "serve": (0, 8), "next": (8, 12), "enc": (0, 1)}


def test_services_that_do_not_fit_are_refused_by_the_excess() -> None:
    found = placements(mixed(encoder(replicas=9), topology=rack_of(2)))
    assert isinstance(found, Infeasible)
    assert found.margin == 1 / 16
    missing = placements(mixed(cores(node=4)))
    assert isinstance(missing, Infeasible)
    assert missing.constraint == "service text is on node 4 of a topology (rack) of 4, counted from 0"


def test_sockets_without_accelerators_and_who_uses_them() -> None:
    made = mixed(cores(node=0, hosts=5), cores("more", node=2), encoder(), cores("own"))
    found = placements(made)
    assert not isinstance(found, Infeasible)
    assert host_nodes(made, found) == {2: ("text", "more")}  # the pool stands on node 0, the encoder on node 1
