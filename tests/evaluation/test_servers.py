"""Every server of a design has a row with its use and its demand; rent and power of the rows add up; what is asked too much of is named."""

from dataclasses import replace

import pytest

import mist_dse as md
from mist_dse.specs.evaluation import FIDELITIES

POISSON = md.Workload.poisson(rate=0.5, input_tokens=512, output_tokens=32, requests=100, seed=1)
SESSIONS = replace(POISSON, arrivals=md.Arrivals(kind="sessions", rate=0.5, requests=100, turns=3.0, think=2.0))
CASES = {
    "rag_rewrite_rerank": (POISSON, {"text", "encoders", "index", "rewriter", "serve"}),
    "kv_retrieval_chat": (SESSIONS, {"serve", "cache nvme", *(f"cache dram {unit}" for unit in range(4))}),
    "disagg_2x4": (POISSON, {"prefill", "decode", "handoff"}),
}


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("name", CASES)
def test_every_server_has_a_row_and_the_rows_add_up(name: str, fidelity: str) -> None:
    workload, servers = CASES[name]
    found = md.evaluate(md.load_design(name), workload, fidelity=fidelity)
    assert not [item for item in found.violations if item.kind == "price"]
    sums = {"usd_per_hour": found.metrics["usd_per_hour"], "watts": found.metrics["watts"]}
    assert sums["usd_per_hour"] is not None
    for column, total in sums.items():
        if total is not None:
            assert sum(row.get(column, 0.0) for row in found.pools.values()) == pytest.approx(total)
    demanded = {key for key, row in found.pools.items() if "demand" in row}
    assert demanded == (servers if workload is POISSON or fidelity != "bound" else demanded)
    if fidelity != "bound":
        assert {key for key, row in found.pools.items() if 0 <= row.get("utilisation", -1) <= 1} == servers
        assert sums["watts"] is not None


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_memory_that_services_share_has_a_row_of_its_own(fidelity: str) -> None:
    """Index scans and an encoder on processors of node 0: what both ask of the memory is what each asks, over 0.8 of its bandwidth."""
    design = md.load_design("rag_rewrite_rerank")
    host = design.topology.host
    assert host is not None
    here = {"index": {"node": 0, "hosts": 2}, "encoders": {"node": 0, "accelerator": None, "host": host, "batch": 1}, "text": {"node": 0}}
    services = tuple(replace(one, **here[one.name]) for one in design.services)
    found = md.evaluate(replace(design, services=services), POISSON, fidelity=fidelity)
    assert [name for name in found.pools if name.startswith("host memory")] == ["host memory of node 0"]
    rows, memory = found.pools, 0.8 * 2 * host.memory_bandwidth
    lowered = md.simulate(replace(design, services=services), POISSON).lowered
    rates = {name: station.rate for name, station in zip(lowered.servers.names[2:], lowered.servers.stations, strict=False)}
    both = sum(rows[name]["demand rate"] * rates[name] for name in ("index", "encoders"))
    assert rows["host memory of node 0"]["demand"] == pytest.approx(both / memory)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_server_that_is_asked_too_much_of_is_named_with_its_excess(fidelity: str) -> None:
    """One core that tokenises 512 tokens a second, which come twice a second."""
    design = md.load_design("rag_rewrite_rerank")
    slow = tuple(replace(one, host=replace(one.host, cores=1)) if one.name == "text" and one.host else one for one in design.services)
    stages = tuple(replace(one, options=(("rate", 512.0),)) if one.kind == "tokenise" else one for one in design.pipeline.stages)
    made = replace(design, services=slow, pipeline=replace(design.pipeline, stages=stages))
    found = md.evaluate(made, replace(POISSON, arrivals=replace(POISSON.arrivals, rate=2.0)), fidelity=fidelity)
    (verdict,) = [item for item in found.violations if item.kind == "saturated"]
    assert verdict.constraint.startswith("text is saturated")
    assert verdict.margin == pytest.approx(found.pools["text"]["demand"] - 1)
