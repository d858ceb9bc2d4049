"""The screen of any pipeline against `evaluate` at fidelity steady and against the demand function, on the packaged pipelines."""

from typing import Any

import numpy as np
import pytest

from mist_dse.analytic.demand import demand, highest
from mist_dse.evaluation import evaluate
from mist_dse.explore import Space, screen
from mist_dse.explore.errors import UnscreenableError
from mist_dse.explore.screens.sample import chosen_jobs, scenarios
from mist_dse.explore.screens.screening import Screener
from mist_dse.requests import realise
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.workload import Arrivals, Lengths, Workload
from mist_dse.stages import lower
from tests.explore.spaces import catalog

PIPELINES = ("agentic_tools", "guarded_chat", "iterative_rag", "model_router", "multimodal_prefix", "rag_chat", "rag_rewrite_rerank",
             "reasoning_single_path", "speculative_chat", "disagg_2x4")  # fmt: skip
FIGURES = ("ttft_mean", "ttft_p90", "tpot_mean", "tpot_p90", "e2e_mean", "e2e_p90")


def varied(name: str) -> Space:
    """The packaged design of a pipeline with the sizes of its servers left open."""
    design = catalog().design(name)
    vary: dict[str, Any] = {f"pools.{pool.name}.replicas": [1, 2] for pool in design.pools}
    vary[f"pools.{design.pools[0].name}.accelerator"] = ["h100_sxm", "h200"]
    vary |= {f"services.{service.name}.replicas": [1, 2] for service in design.services if service.kind in ("encoder", "index")}
    vary |= {f"services.{service.name}.batch": [1, 8] for service in design.services if service.kind == "encoder"}
    return Space.from_dict({"base": name, "vary": vary, "objectives": ["min usd_per_hour", "min ttft_p90"]}, catalog())


def asked(requests: int, rate: float = 1.0) -> Workload:
    return Workload.poisson(
        rate=rate, input_tokens=Lengths(kind="lognormal", mean=400, cv=0.8), output_tokens=Lengths(kind="lognormal", mean=100, cv=0.7),
        requests=requests, seed=1,
    )  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_is_screened_as_steady_has_it(name: str) -> None:
    """Every request is a scenario here: what is left is single precision, and arrivals that stay those of the reference."""
    space, workload = varied(name), asked(240)
    requests = realise(workload)
    screened = screen(space, workload, requests=requests)
    compared = 0
    for index in np.random.default_rng(0).permutation(np.flatnonzero(screened.demand < 0.9)).tolist():
        one = evaluate(screened.table.design(index), workload, fidelity="steady", requests=requests)
        if any(item.kind == "topology" for item in one.violations):
            continue  # pools do not stand side by side in the topology, which a screen does not foresee
        for figure in ("usd_per_hour", "accelerators"):
            assert screened.metrics[figure][index] == pytest.approx(one.metrics[figure]), figure
        for figure in FIGURES:
            assert screened.metrics[figure][index] == pytest.approx(one.metrics[figure], rel=0.03), figure
        compared += 1
        if compared == 3:
            return
    assert compared


def test_the_demand_of_a_design_is_that_of_the_one_function() -> None:
    space, workload = varied("rag_rewrite_rerank"), asked(240, rate=8.0)
    requests = realise(workload)
    screened = screen(space, workload, requests=requests)
    for index in range(0, len(screened), 5):
        lowered = lower(screened.table.design(index), requests)
        if isinstance(lowered, Infeasible):
            continue
        assert screened.demand[index] == pytest.approx(highest(demand(lowered.servers, lowered.jobs, requests))[2], rel=1e-9)


def test_prompts_that_a_prefix_cache_spares_are_spared_in_the_screen_too() -> None:
    """Sessions repeat their prompts: the screen's demand is the verdict's, and less than without a cache."""
    workload = Workload(
        name="talk", arrivals=Arrivals(kind="sessions", rate=1.0, requests=200, turns=4.0),
        input_tokens=Lengths(kind="fixed", mean=600), output_tokens=Lengths(kind="fixed", mean=100), seed=1,
    )  # fmt: skip
    requests = realise(workload)
    found = {}
    for caching in (True, False):
        pool = {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", "accelerator": "l40s", "engine": "vllm",
                "batching": {"prefix_caching": caching}}  # fmt: skip
        data = {"base": {"pipeline": "chat", "topology": "hgx_pair", "pools": {"serve": pool}}, "vary": {"pools.serve.replicas": [1, 2]},
                "objectives": ["min usd_per_hour", "min ttft_p90"]}  # fmt: skip
        space = Space.from_dict(data, catalog())
        screened = screen(space, workload, requests=requests)
        lowered = lower(screened.table.design(0), requests)
        assert not isinstance(lowered, Infeasible)
        assert screened.demand[0] == pytest.approx(highest(demand(lowered.servers, lowered.jobs, requests))[2], rel=1e-9)
        found[caching] = screened.demand[0]
    assert found[True] < 0.8 * found[False]


def test_few_scenarios_stand_for_many_requests() -> None:
    space, workload = varied("rag_chat"), asked(3000, rate=3.0)
    requests = realise(workload)
    screened = screen(space, workload, requests=requests)
    for index in np.flatnonzero(screened.demand < 0.9)[::5].tolist():
        one = evaluate(screened.table.design(index), workload, fidelity="steady", requests=requests)
        for figure in FIGURES:
            assert screened.metrics[figure][index] == pytest.approx(one.metrics[figure], rel=0.05), figure


def test_the_hand_off_of_a_long_pipeline_takes_its_time() -> None:
    pools = {
        host: {"hosts": [host], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm"} for host in ("prefill", "decode")
    }
    services = {"index": {"hosts": ["retrieve"], "index": "wiki_ivfpq", "host": "xeon_8480_plus"},
                "embedder": {"hosts": ["embed"], "model": "e5-base-v2", "accelerator": "l40s"}}  # fmt: skip
    base = {"pipeline": "rag_chat", "topology": "hgx_pair", "services": services, "pools": pools,
            "handoff": {"from": "prefill", "to": "decode", "mode": "whole"}}  # fmt: skip
    data = {"base": base, "vary": {"handoff.mode": ["whole", "layerwise"]}, "objectives": ["min usd_per_hour", "min e2e_mean"]}
    space, workload = Space.from_dict(data, catalog()), asked(200)
    requests = realise(workload)
    screened = screen(space, workload, requests=requests)
    for index in (0, 1):
        one = evaluate(screened.table.design(index), workload, fidelity="steady", requests=requests)
        assert screened.metrics["e2e_mean"][index] == pytest.approx(one.metrics["e2e_mean"], rel=0.01)
        assert screened.metrics["tpot_p90"][index] == pytest.approx(one.metrics["tpot_p90"], rel=0.01)
    assert screened.metrics["e2e_mean"][0] > screened.metrics["e2e_mean"][1]


def test_servers_that_share_are_not_screened_and_one_line_says_why() -> None:
    pool = {"hosts": ["prefill", "decode"], "model": "llama-3.1-8b", "accelerator": "h100_sxm", "engine": "vllm"}
    services = {"index": {"hosts": ["retrieve"], "index": "wiki_ivfpq", "host": "xeon_8480_plus", "at": {"node": 0}},
                "embedder": {"hosts": ["embed"], "model": "e5-base-v2", "host": "xeon_8480_plus", "at": {"node": 0}}}  # fmt: skip
    base = {"pipeline": "rag_chat", "topology": "hgx_pair", "services": services, "pools": {"serve": pool}}
    data = {"base": base, "vary": {"pools.serve.replicas": [1, 2]}, "objectives": ["min usd_per_hour", "min ttft_p90"]}
    with pytest.raises(UnscreenableError, match="services share a host's memory"):
        screen(Space.from_dict(data, catalog()), asked(50))


def test_scenarios_keep_percentiles() -> None:
    figures = np.random.default_rng(1).lognormal(0, 1, (5000, 2))
    chosen = scenarios(figures, 200)
    assert len(np.unique(chosen)) == 200
    for level in (0.5, 0.9):
        assert np.quantile(figures[chosen, 0], level) == pytest.approx(np.quantile(figures[:, 0], level), rel=0.03)
    assert figures[chosen].mean(axis=0) == pytest.approx(figures.mean(axis=0), rel=0.05)


def test_the_visits_of_chosen_requests_are_theirs() -> None:
    requests = realise(asked(40))
    lowered = lower(catalog().design("guarded_chat"), requests)
    assert not isinstance(lowered, Infeasible)
    chosen = np.array([3, 17, 18])
    few = chosen_jobs(lowered.jobs, chosen)
    for place, request in enumerate(chosen):
        mine, whole = slice(*few.first[place : place + 2]), slice(*lowered.jobs.first[request : request + 2])
        for name in ("server", "prompt", "emit", "need"):
            assert (getattr(few, name)[mine] == getattr(lowered.jobs, name)[whole]).all(), name
        for own, there in zip(range(mine.start, mine.stop), range(whole.start, whole.stop), strict=True):
            edges, theirs = (slice(*jobs.edge_first[at : at + 2]) for jobs, at in ((few, own), (lowered.jobs, there)))
            assert (few.edge_to[edges] - mine.start == lowered.jobs.edge_to[theirs] - whole.start).all()


def test_any_part_can_be_screened_alone() -> None:
    space, workload = varied("rag_rewrite_rerank"), asked(120)
    requests = realise(workload)
    screener = Screener(space, requests, prices=catalog().prices("default"), metrics=["ttft_p90", "e2e_p90"])
    whole = screener.part(0, len(screener.table))
    middle = screener.part(len(screener.table) // 3, len(screener.table) // 2)
    rows = slice(middle.start, middle.stop)
    for name, column in middle.columns.items():
        np.testing.assert_array_equal(column, whole.columns[name][rows])
    np.testing.assert_array_equal(middle.demand, whole.demand[rows])
