"""Memory tiers: transfer times against measured ones, expectations by hand, hit rates against a cache that is walked through."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.catalog import Catalog
from mist_dse.perf.tiers import (
    Popularity,
    block_bytes,
    break_even_bandwidth,
    effective_bandwidth,
    expected_fetch_time,
    fixed_service_wait,
    lru_hit_rate,
    tiers_asked,
    transfer_time,
    utilisation,
    whole_blocks,
    zipf,
)
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Datatypes
from mist_dse.specs.hardware import MemoryTier
from tests.oracles.lru import Cascade
from tests.perf.cases import LLAMA_8B, LLAMA_70B, LLAMA_405B

BF16 = Datatypes()
_DATA = os.environ.get("MIST_DSE_DATA")


def tier(read, latency, *, write=None):
    return MemoryTier(name="t", technology="t", scope="device", read=read, latency=latency, write=write)


# Blocks.


@pytest.mark.parametrize(("model", "size"), [(LLAMA_8B, 131_072), (LLAMA_70B, 327_680), (LLAMA_405B, 516_096)])
def test_bytes_of_a_token(model, size):
    """2 layers x key-value heads x dimension x bytes."""
    assert block_bytes(model, BF16, 1) == size


def test_a_block_and_a_device_full_of_them():
    """Mooncake (FAST'25, section 2): 40 GB hold 128K tokens of a 70B model."""
    assert block_bytes(LLAMA_70B, BF16, 512) == 160 * 2**20
    assert block_bytes(LLAMA_70B, BF16, 131_072) == 40 * 2**30
    assert whole_blocks(40 * 2**30, block_bytes(LLAMA_70B, BF16, 512)) == 256


# Transfers.


def measured(device):
    with (Path(_DATA or "") / "kv" / "fio_retrieval_latency.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["device"] == device]
    sizes, times = (np.array([float(row[name]) for row in rows]) for name in ("block_size_bytes", "measured_latency_us"))
    return sizes, times / 1e6


def mean_error(device, place, *, least):
    sizes, times = measured(device)
    kept = sizes >= least
    return float(np.abs(transfer_time(place, sizes[kept]) / times[kept] - 1.0).mean())


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
@pytest.mark.parametrize(("device", "place", "error"), [("NVMe SSD", (8e9, 40e-6), 0.110), ("DDR4", (200e9, 80e-9), 0.199)])
def test_large_transfers_against_fio(device, place, error):
    """The parameters that MIST prints beside its table: mean errors of 11.0% and 19.9% at 16 MB and more."""
    assert mean_error(device, tier(*place), least=16e6) == pytest.approx(error, abs=0.001)


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
@pytest.mark.parametrize(
    ("device", "name", "printed"), [("NVMe SSD", "nvme_gen4_fio", (8e9, 40e-6)), ("DDR4", "ddr4_host_fio", (200e9, 80e-9))]
)
def test_the_catalogue_is_no_worse_than_what_is_printed(device, name, printed):
    assert mean_error(device, Catalog().tier(name), least=16e6) <= mean_error(device, tier(*printed), least=16e6)


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_small_rows_of_fio_are_no_drive():
    """Why they are not followed: faster than four lanes of PCIe 4.0 (7.88 GB/s)."""
    sizes, times = measured("NVMe SSD")
    assert (sizes / times)[sizes <= 4.2e6].min() > 2 * 7.88e9


@pytest.mark.parametrize(("size", "rate"), [(65_536, 4e9), (262_144, 13e9), (16_777_216, 49e9)])
def test_bandwidth_grows_with_the_size(size, rate):
    """LMCache, host memory to accelerator: 4, 13 and 49 GB/s; one latency and one rate give all three to 5%."""
    assert effective_bandwidth(tier(49e9, 15e-6), size) == pytest.approx(rate, rel=0.05)


def test_reads_one_after_another_pay_the_latency_each():
    slow = tier(1e9, 1e-3, write=5e8)
    assert transfer_time(slow, 1e6) == pytest.approx(0.002)
    assert transfer_time(slow, np.array([1e6, 0.0]), reads=np.array([10, 0])) == pytest.approx([0.011, 0.0])
    assert transfer_time(slow, 1e6, writing=True) == pytest.approx(0.003)
    assert transfer_time(tier(1e9, 1e-3), 1e6, writing=True) == pytest.approx(0.002)
    assert transfer_time(slow, 0.0) == 0.0


# Fetches.


def test_tiers_are_asked_until_all_is_found():
    found = np.array([[4, 0, 0], [1, 3, 0], [1, 0, 2], [0, 0, 0]])
    assert tiers_asked(found, np.full(4, 4)).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 10), st.floats(0, 10))
def test_the_expectation_is_the_sum_over_outcomes(near, far, lookup, recompute):
    """Found in the first tier, in the second, in none."""
    time = expected_fetch_time([near, far], [lookup, 2 * lookup], [1.0, 3.0], recompute)
    outcomes = [(near, lookup + 1.0), ((1 - near) * far, 3 * lookup + 3.0), ((1 - near) * (1 - far), 3 * lookup + recompute)]
    assert time == pytest.approx(sum(chance * took for chance, took in outcomes))


def test_tiers_of_different_counts_are_refused():
    with pytest.raises(SpecError, match="2 hit rates, 1 lookups and 2 transfers"):
        expected_fetch_time([0.5, 0.5], [0.1], [1.0, 1.0], 2.0)


def test_loading_and_computing_break_even():
    """A prompt of 1,000 tokens at 8,000 tokens/s takes as long as its KV cache over that link."""
    link = break_even_bandwidth(block_bytes(LLAMA_70B, BF16, 1), 8_000.0)
    assert transfer_time(tier(link, 0.0), block_bytes(LLAMA_70B, BF16, 1_000)) == pytest.approx(1_000 / 8_000)


# Links.


def test_a_link_that_serves_one_after_another():
    """DistServe (OSDI'24, section 3): TTFT = D + R D^2 / (2 (1 - R D)); D = 0.13 s, R = 4/s gives 0.2004 s."""
    assert 0.13 + fixed_service_wait(4.0, 0.13) == pytest.approx(0.20042, abs=1e-5)
    assert fixed_service_wait(np.array([0.0, 1 / 0.13, 10.0]), 0.13).tolist() == [0.0, np.inf, np.inf]
    assert utilisation(4.0, 0.13) == pytest.approx(0.52)


# Popularity.


@given(st.integers(1, 60_000), st.floats(0, 3) | st.sampled_from([1.0, 1.0 + 1e-12]))
def test_classes_of_ranks_are_the_ranks(items, exponent):
    """The head one by one, all others together, and their number."""
    share, count = zipf(items, exponent)
    true = np.arange(1.0, items + 1.0) ** -exponent
    true /= true.sum()
    assert count.sum() == items
    assert share[:100] == pytest.approx(true[:100], rel=1e-9)
    edges = np.concatenate([[0.0], np.cumsum(count)]).astype(int)
    assert share * count == pytest.approx(np.add.reduceat(true, edges[:-1]), rel=1e-6)


@given(st.integers(2, 30_000), st.floats(0, 2), st.floats(0.001, 0.999))
def test_classes_give_the_hit_rate_of_their_ranks(items, exponent, share):
    true = np.arange(1.0, items + 1.0) ** -exponent
    one_by_one = Popularity(true / true.sum(), np.ones(items))
    rate = lru_hit_rate(zipf(items, exponent), share * items)
    assert rate == pytest.approx(lru_hit_rate(one_by_one, share * items), abs=1e-5)
    assert share - 1e-9 <= rate <= 1.0 + 1e-9  # equally popular items are the worst case


def test_ends_of_the_hit_rate():
    popular = zipf(10**9, 1.1)
    assert lru_hit_rate(popular, 0) == 0.0
    assert lru_hit_rate(popular, 10**9) == lru_hit_rate(popular, 2e9) == 1.0
    assert lru_hit_rate(popular, 10**9 - 1) == pytest.approx(1.0, abs=1e-6)
    assert lru_hit_rate(zipf(10**9, 50.0), 10) == pytest.approx(1.0)  # most ranks are too rare for a float


@pytest.mark.parametrize(("exponent", "items", "capacity"), [(0.8, 5_000, 500), (1.0, 20_000, 400), (1.2, 20_000, 2_000)])
def test_hit_rates_against_a_cache(exponent, items, capacity):
    """150,000 references drawn independently, the first third to warm up: within half a point."""
    weights = np.arange(1.0, items + 1.0) ** -exponent
    drawn = np.searchsorted(np.cumsum(weights) / weights.sum(), np.random.default_rng(1).random(150_000)).tolist()
    hits = [tier == 0 for tier in Cascade([capacity]).looked_up(drawn)]
    assert lru_hit_rate(zipf(items, exponent), capacity) == pytest.approx(np.mean(hits[50_000:]), abs=0.005)


@pytest.mark.parametrize(("items", "exponent"), [(0, 1.0), (3, -1.0), (3, np.nan)])
def test_odd_popularity_is_refused(items, exponent):
    with pytest.raises(SpecError, match="Zipf popularity"):
        zipf(items, exponent)


def test_odd_capacity_is_refused():
    with pytest.raises(SpecError, match="must be >= 0 items"):
        lru_hit_rate(zipf(3, 1.0), -1)
