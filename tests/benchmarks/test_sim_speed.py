"""How many requests a second the simulator runs, what it takes to get there, and how both grow (`make bench`).

Targets are held against processor time, the wall clock is printed beside it: on a shared machine the wall also counts what others
run, and a process that has the core to itself takes the same by both. `docs/performance.md` has the figures and the bound.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mist_dse as md
from mist_dse.analytic import demand
from mist_dse.requests import realise
from mist_dse.rows import Requests
from mist_dse.sim import simulate
from mist_dse.specs.design import Batching
from mist_dse.stages import Lowered, lower

pytestmark = pytest.mark.bench

FLEET = (1000, 200)
"""Tokens in and out of the requests of a fleet."""


def seconds(run: Callable[[], object], repeats: int = 7) -> tuple[float, float]:
    """Processor time and wall of the quickest of several runs: nothing makes a run faster than it is."""
    spent, walls = [], []
    for _ in range(repeats):
        wall, start = time.perf_counter(), time.process_time()
        run()
        spent.append(time.process_time() - start)
        walls.append(time.perf_counter() - wall)
    return min(spent), min(walls)


def lowered(replicas: int, rate: float, count: int, lengths: tuple[int, int], budget: int) -> tuple[Lowered, Requests]:
    """Llama-3.1-8B, one H100 a replica, chunked prefill: fixed lengths, Poisson arrivals."""
    design = md.load_design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm")
    batching = Batching(policy="chunked", max_num_seqs=min(256, budget), max_num_batched_tokens=budget)
    design = design.with_pools(batching=batching, replicas=replicas)
    requests = realise(md.Workload.poisson(rate=rate, input_tokens=lengths[0], output_tokens=lengths[1], requests=count, seed=1))
    rows = lower(design, requests)
    assert isinstance(rows, Lowered), rows
    return rows, requests


def fleet(count: int, load: float, replicas: int = 4) -> tuple[Lowered, Requests]:
    """``replicas`` at a share of the rate that they sustain."""
    rows, requests = lowered(4, 10.0, 10_000, FLEET, 8192)
    asked = demand(rows.servers, rows.jobs, requests)["serve"]["steps"]
    rows, requests = lowered(4, 10.0 * load / asked * replicas / 4, count, FLEET, 8192)
    engine = rows.servers.engines[0]._replace(replicas=replicas)  # more than the packaged racks hold
    return rows._replace(servers=rows.servers._replace(engines=(engine,))), requests


def throughput(name: str, rows: Lowered, requests: Requests) -> float:
    """Requests per second of processor time, printed with the wall and the steps."""
    records = simulate(rows.servers, rows.jobs, requests)
    assert (records.status == 0).all()
    count = len(requests.arrival)
    spent, wall = seconds(lambda: simulate(rows.servers, rows.jobs, requests))
    print(f"\n{name}: {count / spent:,.0f} requests/s of processor time ({count / wall:,.0f} by the wall), ", end="")
    print(f"{records.steps.sum() / count:.1f} steps a request, {records.steps.sum() / spent:,.0f} steps/s")
    return count / spent


def test_vidurs_example_runs_at_400_000_requests_a_second() -> None:
    """Llama-3.1-8B on one H100, chunked 512, Poisson 6.45/s, 3,000 requests of 1,024 in and 211 out (Vidur: 838 requests/s)."""
    assert throughput("one replica", *lowered(1, 6.45, 3000, (1024, 211), 512)) >= 400_000


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_a_fleet_runs_at_400_000_requests_a_second(load: float) -> None:
    assert throughput(f"4 replicas at {load:.0%}", *fleet(10_000, load)) >= 400_000


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_ten_times_the_requests_cost_eleven_times_the_time(load: float) -> None:
    """Runs of both sizes alternate, so that whatever else the machine does strikes both; the median ratio of seven."""
    small, large = fleet(10_000, load), fleet(100_000, load)

    def spent(rows: Lowered, requests: Requests, repeats: int) -> float:
        return seconds(lambda: simulate(rows.servers, rows.jobs, requests), repeats)[0]

    ratios = [spent(*large, 1) / spent(*small, 3) for _ in range(7)]
    print(f"\nload {load:.0%}: ten times the requests take {sorted(ratios)[3]:.1f} times as long ({min(ratios):.1f} to {max(ratios):.1f})")
    assert sorted(ratios)[3] <= 11.0


MILLION = """
import time
from mist_dse.sim import simulate
from tests.benchmarks.test_sim_speed import fleet, lowered
rows, requests = lowered(1, 6.45, 10, (100, 10), 512)
simulate(rows.servers, rows.jobs, requests)  # compiled
rows, requests = fleet(1_000_000, 0.8, replicas=64)
wall, start = time.perf_counter(), time.process_time()
records = simulate(rows.servers, rows.jobs, requests)
spent = time.process_time() - start, time.perf_counter() - wall
assert (records.status == 0).all() and records.peak_seqs.min() > 1 and len(records.steps) == 64
"""
FIRST = """
import time
wall = time.perf_counter()
import mist_dse as md
from mist_dse.requests import realise
from mist_dse.sim import simulate
from mist_dse.stages import lower
design = md.load_design("tp1_colocated", model="llama-3.1-8b", accelerator="h100_sxm")
requests = realise(md.Workload.poisson(rate=6.45, input_tokens=1024, output_tokens=211, requests=1000, seed=1))
rows = lower(design, requests)
simulate(rows.servers, rows.jobs, requests)
spent = time.process_time(), time.perf_counter() - wall
"""
REPORT = """
import json, resource
print(json.dumps([*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def fresh(program: str, **environment: str) -> tuple[float, float, float]:
    """Processor time, wall and peak memory (bytes) that ``program`` says it has taken in a process of its own."""
    root = str(Path(__file__).parents[2])
    world = os.environ | {"PYTHONPATH": root} | environment
    done = subprocess.run([sys.executable, "-c", program + REPORT], env=world, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spent, wall, memory = json.loads(done.stdout.splitlines()[-1])
    return spent, wall, memory


def test_a_million_requests_over_64_replicas_take_six_seconds_and_1_5_gigabytes() -> None:
    """Everything in one process: the workload drawn, lowered, simulated; the memory is that of all of it."""
    spent, wall, memory = fresh(MILLION)
    print(f"\na million requests, 64 replicas: {spent:.2f} s of processor time, {wall:.2f} s by the wall, {memory / 1e9:.2f} GB")
    assert spent < 6.0
    assert memory < 1.5e9


def test_the_first_call_takes_1_5_seconds_from_a_warm_cache() -> None:
    """A new process: interpreter, imports, catalogue, lowering, the compiled kernel from disk, a thousand requests."""
    fresh(FIRST)  # leaves the kernel on disk if it is not there yet
    spent, wall, _ = min(fresh(FIRST) for _ in range(5))
    print(f"\nfirst call, warm cache: {spent:.2f} s of processor time, {wall:.2f} s by the wall")
    assert spent < 1.5


def test_a_cold_compile_takes_30_seconds(tmp_path: Path) -> None:
    spent, wall, _ = fresh(FIRST, NUMBA_CACHE_DIR=str(tmp_path))
    print(f"\nfirst call, nothing compiled: {spent:.1f} s of processor time, {wall:.1f} s by the wall")
    assert spent < 30.0
