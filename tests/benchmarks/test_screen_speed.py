"""Speed of the screen: designs per second, everything from the loaded space to the figures (or the order) included; and its memory."""

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import yaml

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.explore import Space, screen
from mist_dse.explore.screens.screening import Screener
from mist_dse.explore.screens.shortlist import shortlist
from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.spaces.goals import minimised
from mist_dse.requests import realise
from mist_dse.specs.workload import Arrivals, Workload
from tests.explore.spaces import packaged


@pytest.mark.bench
def test_the_screen_makes_300_000_designs_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    catalog = Catalog()
    space, workload, prices = Space.from_yaml(packaged(), catalog), catalog.workload("azure_conv"), catalog.prices("default")
    requests = realise(workload)
    rates, whole = [], []
    for _ in range(5):
        start = time.perf_counter()
        table = space.table(prices)
        screened = screen(space, workload, prices=prices, requests=requests, metrics=["usd_per_mtok", "ttft_p90"], table=table)
        rates.append(len(screened) / (time.perf_counter() - start))
        screen_order(minimised(screened.metrics, space.objectives), screened.feasible)
        whole.append(len(screened) / (time.perf_counter() - start))
    with capsys.disabled():
        print(f"\nscreen: {max(rates):,.0f} designs/s of {len(screened):,} designs")
        print(f"worst of five {min(rates):,.0f}/s; the order of simulation included {max(whole):,.0f}/s")
    assert max(rates) >= 300_000


def chat_space(replicas: int, accelerators: int) -> Space:
    """The packaged chat space with more limits of batches to choose among, and larger pools."""
    data: dict[str, Any] = yaml.safe_load(packaged().read_text())
    data["vary"] = {name: values for name, values in data["vary"].items() if "batching" not in name} | {
        "pools.*.replicas": f"1..{replicas}",
        "pools.*.batching.max_num_seqs": [64, 128, 256, 512],
        "pools.*.batching.max_num_batched_tokens": [2048, 4096, 8192],
    }
    return Space.from_dict(data | {"where": [f"accelerators <= {accelerators}"]}, Catalog())


def rag_workload() -> Workload:
    """Questions of the Azure conversation workload at a rate that the packaged RAG space can serve."""
    return replace(Catalog().workload("azure_conv"), arrivals=Arrivals(kind="poisson", rate=6.0, requests=4000), slo=None)


def screened_per_second(space: Space, workload: Workload, metrics: list[str]) -> tuple[float, int]:
    """Designs per second of one screen of the whole space, its enumeration and every server's figures included."""
    prices, requests = Catalog().prices("default"), realise(workload)
    start = time.perf_counter()
    screener = Screener(space, requests, prices=prices, metrics=metrics)
    count = sum(chunk.stop - chunk.start for chunk in screener.chunks())
    assert count == len(screener.table)
    return count / (time.perf_counter() - start), count


@pytest.mark.bench
def test_chat_is_screened_at_a_million_designs_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    space, workload = chat_space(16, 64), Catalog().workload("azure_conv")
    rates, counts = zip(*(screened_per_second(space, workload, ["usd_per_mtok", "ttft_p90"]) for _ in range(3)), strict=True)
    with capsys.disabled():
        print(f"\nscreen, chat: {max(rates):,.0f} designs/s of {counts[0]:,} designs; worst of three {min(rates):,.0f}/s")
    assert max(rates) >= 1_000_000


@pytest.mark.bench
def test_retrieval_in_eight_stages_is_screened_at_200_000_designs_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    space = Space.from_yaml(conf_dir() / "space" / "rag.yaml", Catalog())
    assert len(space.base.pipeline.stages) >= 7
    rates, counts = zip(*(screened_per_second(space, rag_workload(), ["usd_per_mtok", "ttft_p90"]) for _ in range(3)), strict=True)
    with capsys.disabled():
        print(f"\nscreen, RAG: {max(rates):,.0f} designs/s of {counts[0]:,} designs; worst of three {min(rates):,.0f}/s")
    assert max(rates) >= 200_000


@pytest.mark.bench
def test_a_hundred_million_designs_are_screened_in_less_than_2_gb(capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, whose peak of resident memory is its own."""
    run = subprocess.run([sys.executable, "-m", "tests.benchmarks.test_screen_speed"], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    with capsys.disabled():
        print(f"\nshortlist: {found['designs']:,} designs in {found['seconds']:.0f} s, peak {found['bytes'] / 1e9:.2f} GB, "
              f"{found['kept']:,} designs of {found['fronts']} fronts kept")  # fmt: skip
    assert found["designs"] >= 100_000_000
    assert found["bytes"] < 2e9


def shortlisted() -> dict[str, float]:
    """A hundred million designs, screened for their first fronts."""
    start = time.perf_counter()
    found = shortlist(chat_space(44, 184), Catalog().workload("azure_conv"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "designs": found.counts.screened,
        "kept": len(found),
        "fronts": found.fronts,
        "bytes": peak,
        "seconds": time.perf_counter() - start,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(shortlisted()))
