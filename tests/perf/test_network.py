"""Where pools stand and which link joins them, by hand on small topologies."""

from dataclasses import replace

import pytest

from mist_dse.perf.network import fabric, placements, route, spans
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from tests.perf.cases import H100, L40S, NDR, NODE, NVLINK4, PCIE4, RACKS, SPINE, colocated, disaggregated


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
