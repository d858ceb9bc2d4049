"""Speed of `screen` on the packaged space: designs per second, everything from the loaded space to the order included."""

import time

import pytest

from mist_dse.catalog import Catalog
from mist_dse.explore import Space, screen
from mist_dse.explore.goals import minimised
from mist_dse.explore.order import screen_order
from mist_dse.requests import realise
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
