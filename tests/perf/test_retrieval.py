"""Index costs by hand, what they promise, and what a spec refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.retrieval import (
    FAST_RATE,
    MEMORY_SHARE,
    RANDOM_TIME,
    STREAM_RATE,
    TABLE_TIME,
    Index,
    batch_time,
    coarse_work,
    device_time,
    fits,
    fixed_time,
    host_bytes,
    imbalance,
    misfit,
    missing_bytes,
    queries_per_second,
    scan,
    scan_rate,
    scanned_bytes,
    thread_time,
)  # fmt: skip
from mist_dse.specs._check import SpecError
from mist_dse.specs.hardware import Host
from tests.perf.cases import H100

HOST = Host(name="host", vendor="none", year=2024, cores=8, fp32=1e12, memory=1e9, memory_bandwidth=100e9)
LISTS: dict[str, Any] = {
    "kind": "ivf_pq",
    "vectors": 10**6,
    "dimensions": 100,
    "code_bytes": 50,
    "n_list": 1000,
    "n_probe": 10,
    "imbalance": 1,
}


def test_brute_force_by_hand() -> None:
    # 1e6 vectors of 100 fp32 values = 400 MB; a thread streams 26 GB/s; memory gives 80 GB/s to 8 threads
    index = Index(kind="brute_force", vectors=10**6, dimensions=100)
    assert scan(index, HOST) == (400e6, pytest.approx(26e9), 0.0, 408e6)
    assert float(thread_time(index, HOST)) == pytest.approx(400e6 / 26e9)
    assert float(queries_per_second(index, HOST)) == pytest.approx(80e9 / 400e6)
    assert float(batch_time(index, HOST, 1)) == pytest.approx(400e6 / 26e9)
    assert float(batch_time(index, HOST, 8)) == pytest.approx(8 * 400e6 / 80e9)


def test_lists_by_hand() -> None:
    # 10 of 1000 lists of 1e6 codes of 50 B = 0.5 MB at 1.9 GB/s; 1000 centroids of 400 B at 26 GB/s; 10 tables of 6.7 us;
    # 50 MB of codes lie log(50/16)/log(5) = 0.708 of the way from 16 to 80 MB: 13.8 us, and 1.60 us per list
    index = Index(**LISTS)
    part = np.log(50 / 16) / np.log(5)
    fixed = part * 19.5e-6 + 10 * (6.7e-6 + part * 2.26e-6)
    assert float(fixed_time(index)) == pytest.approx(fixed)
    assert float(scan(index, HOST).bytes_per_query) == pytest.approx(0.5e6 + 0.4e6)
    assert float(thread_time(index, HOST)) == pytest.approx(fixed + 0.5e6 / 1.9e9 + 0.4e6 / 26e9)
    assert float(host_bytes(index)) == 10**6 * 58 + 1000 * 400


def test_fast_scan_saves_tables_and_scans_ten_times_as_fast() -> None:
    slow, fast, residual = (Index(**LISTS, fast_scan=variant) for variant in ("none", "fs", "fsr"))
    assert scan_rate(fast, HOST) == scan_rate(residual, HOST) == FAST_RATE
    assert float(fixed_time(residual) - fixed_time(fast)) == pytest.approx(10 * TABLE_TIME["fsr"])
    assert float(thread_time(fast, HOST)) < float(thread_time(residual, HOST)) < float(thread_time(slow, HOST))


def test_a_host_that_knows_its_rate_scans_at_it_and_an_index_that_does_at_its_own() -> None:
    known = replace(HOST, pq_scan=18e9)
    assert scan_rate(Index(**LISTS, fast_scan="fs"), known) == 18e9
    assert scan_rate(Index(**LISTS), known) == 1.9e9  # the host's figure is one of 4-bit codes
    assert scan_rate(Index(**LISTS, scan_rate=1e9), known) == 1e9
    assert scan_rate(Index(**LISTS, fast_scan="fs"), replace(HOST, memory_bandwidth=10e9)) == MEMORY_SHARE * 10e9


def test_exact_comparisons_by_hand() -> None:
    ranked = Index(**LISTS, rerank=100)
    extra = 100 * (RANDOM_TIME + 400 / STREAM_RATE)
    assert float(thread_time(ranked, HOST) - thread_time(Index(**LISTS), HOST)) == pytest.approx(extra)
    assert float(host_bytes(ranked) - host_bytes(Index(**LISTS))) == 400e6
    graph = Index(kind="hnsw", vectors=10**6, dimensions=128, ef_search=128, distances=680)
    assert float(thread_time(graph, HOST)) == pytest.approx(158e-6, rel=0.01)  # HNSW32 of 300,000 vectors: 680 distances, 158 us


def test_coarse_search_of_a_batch_reads_the_centroids_once() -> None:
    work = coarse_work(Index(**LISTS), np.array([0, 1, 50]))
    assert list(work.flop) == [0, 2e5, 1e7]
    assert list(work.moved) == [0, 4e5, 4e5]
    assert coarse_work(Index(**LISTS, coarse="hnsw", ef_search=16)).moved == 0


def test_imbalance_falls_with_probes_and_all_lists_are_the_database() -> None:
    found = [float(imbalance(Index(**(LISTS | {"imbalance": None, "n_probe": probes})))) for probes in (1, 64, 900, 1000)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(1.29, rel=1e-3)
    assert found[-1] == 1.0
    assert float(scanned_bytes(Index(**(LISTS | {"imbalance": None, "n_probe": 1000})))) == 50e6


@given(
    kind=st.sampled_from(["ivf_flat", "ivf_pq", "scann"]), variant=st.sampled_from(["none", "fs", "fsr"]),
    coarse=st.sampled_from(["flat", "hnsw"]), probes=st.integers(1, 999), more=st.integers(1, 999), hosts=st.integers(1, 64),
)  # fmt: skip
def test_more_probes_cost_more_and_more_hosts_never(kind: str, variant: str, coarse: str, probes: int, more: int, hosts: int) -> None:
    fields = LISTS | {"kind": kind, "coarse": coarse, "ef_search": 8, "imbalance": None, "n_probe": probes}
    fields |= {"fast_scan": variant} if kind == "ivf_pq" else {}
    few = Index(**(fields | ({"code_bytes": 0} if kind == "ivf_flat" else {})))
    many = replace(few, n_probe=min(probes + more, 1000))
    assert float(thread_time(few, HOST)) < float(thread_time(many, HOST))
    assert float(queries_per_second(few, HOST)) > float(queries_per_second(many, HOST))
    assert float(thread_time(few, HOST, hosts=hosts)) <= float(thread_time(few, HOST)) * (1 + 1e-12)
    assert float(host_bytes(few, hosts)) <= float(host_bytes(few))


@given(cores=st.integers(1, 64), more=st.integers(0, 64), queries=st.integers(1, 500), bandwidth=st.floats(1e9, 1e12))
def test_throughput_is_the_lesser_of_threads_and_memory(cores: int, more: int, queries: int, bandwidth: float) -> None:
    index, host = Index(**LISTS), replace(HOST, cores=cores, memory_bandwidth=bandwidth)
    wide = replace(host, cores=cores + more)
    rate = float(queries_per_second(index, host))
    assert rate == pytest.approx(min(cores / float(thread_time(index, host)), 0.8 * bandwidth / 0.9e6))
    assert float(queries_per_second(index, wide)) >= rate
    assert float(batch_time(index, wide, queries)) <= float(batch_time(index, host, queries))
    assert queries / float(batch_time(index, host, queries)) <= rate * (1 + 1e-12)


def test_arrays_answer_as_each_scalar() -> None:
    index, hosts = Index(**LISTS), np.array([1, 2, 16])
    each = [scan(index, HOST, hosts=int(count)) for count in hosts]
    together = scan(index, HOST, hosts=hosts)
    for name in together._fields:
        assert list(np.broadcast_to(getattr(together, name), 3)) == [float(getattr(one, name)) for one in each]
    assert list(batch_time(index, HOST, np.array([1, 9]))) == [float(batch_time(index, HOST, count)) for count in (1, 9)]


def test_memory_of_hosts() -> None:
    index = Index(kind="brute_force", vectors=10**7, dimensions=100)  # 4.08 GB; a host holds 1 GB
    assert [fits(index, HOST, hosts) for hosts in (4, 5)] == [False, True]
    assert float(missing_bytes(index, HOST.memory, 4)) == pytest.approx(0.02e9)
    found = misfit(index, HOST, 4)
    assert found is not None
    assert (found.kind, found.margin) == ("memory", pytest.approx(0.02))
    assert found.constraint == "brute_force index of 10,000,000 vectors on 4 x host: 20 MB over the 1 GB of each host"
    assert misfit(index, HOST, 5) is None


def test_accelerator_by_hand() -> None:
    # H100: 0.55 x 494.7 TFLOP/s (no fp32 figure, tf32), 0.9 x 3.35 TB/s; 3.5 us a query
    index = Index(kind="brute_force", vectors=10**6, dimensions=100)
    assert float(device_time(index, H100, 1)) == pytest.approx(3.5e-6 + 400e6 / (0.9 * 3.35e12))
    assert float(device_time(index, H100, 10**5)) == pytest.approx(0.35 + 2e13 / (0.55 * 494.7e12))
    lists = Index(**LISTS)
    read = 0.5e6 / (0.25 * 3.35e12) + 0.4e6 / (0.9 * 3.35e12)
    assert float(device_time(lists, H100, 1)) == pytest.approx(3.5e-6 + read)
    with pytest.raises(SpecError, match="graphs have no model there"):
        device_time(Index(kind="hnsw", vectors=10, dimensions=4, ef_search=8), H100, 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "lsh"}, "kind is 'lsh': must be one of brute_force"),
        ({"n_probe": 1001}, r"n_probe is 1001 of n_list 1000: ivf_pq needs 1 <= n_probe"),
        ({"n_probe": 0}, "n_probe is 0"),
        ({"code_bytes": 0}, "code_bytes of ivf_pq is missing"),
        ({"kind": "ivf_flat"}, "code_bytes is 50 for ivf_flat"),
        ({"kind": "scann", "fast_scan": "fs"}, "only ivf_pq has variants"),
        ({"kind": "brute_force"}, "n_list and n_probe are set for brute_force"),
        ({"coarse": "hnsw"}, "ef_search of ivf_pq is missing"),
        ({"imbalance": 0.5}, "imbalance is 0.5: must be at least 1"),
        ({"rerank": 10**7}, "rerank is 10000000: must be at most vectors"),
        ({"scan_rate": 0.0}, "scan_rate is 0.0: must be finite and > 0"),
    ],
)
def test_what_an_index_cannot_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        Index(**(LISTS | changes))
