"""How many requests a second the simulator runs, once compiled (`make bench`)."""

import time
from collections.abc import Callable

import pytest

import mist_dse as md
from mist_dse.requests import realise
from mist_dse.sim import simulate
from mist_dse.specs.design import Batching
from mist_dse.stages import Lowered, lower

pytestmark = pytest.mark.bench


def seconds(run: Callable[[], object], repeats: int = 7) -> float:
    """The best of several runs: the machine is shared, and nothing makes a run faster than it is."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def lowered(replicas: int, rate: float, count: int, lengths: tuple[int, int], budget: int) -> tuple[Lowered, md.Workload]:
    design = md.load_design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm")
    batching = Batching(policy="chunked", max_num_seqs=min(256, budget), max_num_batched_tokens=budget)
    design = design.with_pools(batching=batching, replicas=replicas)
    workload = md.Workload.poisson(rate=rate, input_tokens=lengths[0], output_tokens=lengths[1], requests=count, seed=1)
    rows = lower(design, realise(workload))
    assert isinstance(rows, Lowered)
    return rows, workload


def test_vidurs_example_runs_at_a_hundred_thousand_requests_a_second() -> None:
    """Llama-3.1-8B on one H100, chunked 512, Poisson 6.45/s, 3,000 requests of 1,024 in and 211 out (Vidur: 838 requests/s)."""
    rows, workload = lowered(1, 6.45, 3000, (1024, 211), 512)
    requests = realise(workload)
    records = simulate(rows.servers, rows.jobs, requests)
    assert (records.status == 0).all()
    rate = 3000 / seconds(lambda: simulate(rows.servers, rows.jobs, requests))
    print(f"\n{rate:,.0f} requests/s, {records.steps.sum():,} steps, {records.steps.sum() * rate / 3000:,.0f} steps/s")
    assert rate >= 100_000


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_a_fleet(load: float) -> None:
    """10,000 requests of 1,000 in and 200 out over 4 replicas at shares of the rate that they sustain."""
    from mist_dse.analytic import demand

    rows, workload = lowered(4, 10.0, 10_000, (1000, 200), 8192)
    asked = demand(rows.servers, rows.jobs, realise(workload))["serve"]["steps"]
    rows, workload = lowered(4, 10.0 * load / asked, 10_000, (1000, 200), 8192)
    requests = realise(workload)
    rate = 10_000 / seconds(lambda: simulate(rows.servers, rows.jobs, requests))
    print(f"\nload {load:.0%}: {rate:,.0f} requests/s")
    assert rate >= 100_000
