"""How fast a pipeline of eight stages on five hosts is lowered and simulated (`make bench`)."""

import pytest

import mist_dse as md
from mist_dse.requests import realise
from mist_dse.sim import simulate
from mist_dse.stages import Lowered, lower
from tests.benchmarks.test_sim_speed import seconds

pytestmark = pytest.mark.bench


def test_eight_stages_on_five_hosts_simulate_ten_thousand_requests_in_half_a_second() -> None:
    """Tokenise, rewrite, embed, retrieve, rerank, prefill, decode and detokenise; once compiled, by processor time."""
    design = md.load_design("rag_rewrite_rerank")
    assert (len(design.pipeline.stages), len(design.hosts)) == (8, 5)
    requests = realise(md.Workload.poisson(rate=2.0, input_tokens=512, output_tokens=128, requests=10_000, seed=1))
    rows = lower(design, requests)
    assert isinstance(rows, Lowered), rows
    records = simulate(rows.servers, rows.jobs, requests)
    assert (records.status == 0).all()
    assert len(rows.jobs.server) == 7 * 10_000  # prefill and decode share a visit
    spent, wall = seconds(lambda: simulate(rows.servers, rows.jobs, requests))
    whole, _ = seconds(lambda: lower(design, requests), repeats=3)
    print(
        f"\neight stages, five hosts, 10,000 requests: {spent:.3f} s of processor time ({wall:.3f} s by the wall); lowered in {whole:.3f} s"
    )
    assert spent < 0.5
