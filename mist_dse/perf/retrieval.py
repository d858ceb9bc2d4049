"""Vector search: bytes scanned, time of a query on one thread of a host, rate of a host, memory; recall is not predicted.

    scanned vectors = f(n_probe) n_probe / n_list N       bytes = scanned vectors x code, on each of h hosts a share 1/h of them
    thread time  = t0 + coarse + n_probe t_list + bytes / rate + exact comparisons (t_random + vector / stream) each
    batch of b   = max(ceil(b / cores) x thread time, b bytes / memory)      queries/s = min(cores / thread time, memory / bytes)

One thread per query, memory at 0.8 of its peak (RAGO, arXiv 2503.14649). ``t0``, ``t_list`` and ``coarse`` of a graph are fitted on the
logs of deep10M and deep1B in Faiss's wiki (bench_all_ivf, 32 threads, 16,384 to 4,194,304 lists; n_probe <= 64); bigann10M and
bigann1B are held out: 5% to 7% mean absolute error with 4-bit codes. Of 1e9 vectors a probed list costs as much as scanning 24,000
codes, so a cost per code alone (which fits one n_list as well) is 40% wrong at four times as many lists. A sharded database sends every
query to all hosts, which probe all lists of their share: hosts cut its latency and not its cost.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.kernels import KernelWork
from mist_dse.perf.load import Number
from mist_dse.specs._check import SpecError
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Accelerator, Host
from mist_dse.specs.retrieval import Index as Index
from mist_dse.units import format_quantity

MEMORY_SHARE = 0.8
"""Share of a host's memory bandwidth that scans reach (RAGO)."""

FAST_RATE = 19.2e9
"""Bytes of 4-bit codes that a thread scans per second: 18 (RAGO), 19.4 (Faiss 1.15, own run) and 20.3 GB/s (SIFT1M, A. Guzhva's log)."""

ADC_RATE = 1.9e9
"""The same of 8-bit codes, tables in memory: 1.63 (Faiss 1.15, own run) and 2.13 GB/s (benchs/README of Faiss), codes of 16 bytes.
Short codes are slower: 0.64 GB/s for 8 bytes beside 31 busy threads (deep1B)."""

STREAM_RATE = 26e9
"""Bytes of whole vectors that a thread compares per second (own run, Faiss 1.15: 19.7 ns for 128 fp32 values, a limit of memory)."""

RANDOM_TIME = 213e-9
"""Seconds beside its bytes to compare one vector in no order: 233 ns for 512 B, HNSW of 300,000 vectors at ef 128 (own run)."""

CODES = (1.6e7, 8e7, 8e9)
"""Bytes of codes of the databases whose logs were fitted: SIFT1M (A. Guzhva's log: 0.77 us per list of 15.6 kB, its scan and no more),
deep10M, deep1B."""

FIXED_TIME = (0.0, 19.5e-6, 55.1e-6)
"""Seconds of a thread per query beside coarse search and lists, at `CODES`."""

LIST_TIME = (0.0, 2.26e-6, 8.53e-6)
"""Seconds per probed list until its codes stream, at `CODES`: caches and address translation miss more in a larger database."""

TABLE_TIME = {"none": 6.7e-6, "fs": 0.0, "fsr": 1.34e-6}
"""Seconds to make the tables of one list."""

LISTS, GRAPH_TIME = (2**14, 2**18, 2**20, 2**22), (0.88e-6, 2.87e-6, 5.48e-6, 6.52e-6)
"""Seconds per unit of ``ef_search`` in a graph of so many centroids."""

DISTANCES, EF_POWER = 56.4, 0.86
"""Vectors that a graph search compares: 56 ef^0.86 (USearch, 64-core Graviton3, 256 fp32 values: 280, 486, 927 us at ef 32, 64, 128)."""

DEVICE_COMPUTE, DEVICE_STREAM, DEVICE_CODES, DEVICE_QUERY = 0.55, 0.9, 0.25, 3.5e-6
"""On an accelerator: shares of fp32 peak and of memory bandwidth (whole vectors; codes), seconds per query beside (benchs/README of
Faiss, Titan X). Graphs on accelerators (CAGRA) have no public table: unvalidated, refused."""


class Scan(NamedTuple):
    """One query on each of its hosts: ``bytes_per_query`` from memory, at most ``thread_rate`` B/s of them, after ``fixed`` s.

    ``database_bytes``: what each host keeps.
    """

    bytes_per_query: Number
    thread_rate: Number
    fixed: Number
    database_bytes: Number


def imbalance(index: Index) -> float:
    """Scanned vectors over those of lists of equal size: queries fall into large lists; all lists together are the database.

    Measured 1.15 to 1.57 at one probed list, 1.08 to 1.47 at 64 (seven indexes of deep10M, deep1B, bigann10M, bigann1B).
    """
    if index.imbalance is not None:
        return min(index.imbalance, index.n_list / index.n_probe)
    return float(1.0 + 0.29 * index.n_probe**-0.062 * (1.0 - index.n_probe / index.n_list))


def scanned_vectors(index: Index) -> float:
    """Vectors whose codes one query reads in order, over all hosts (0 for a graph).

    >>> scanned_vectors(Index(kind="ivf_flat", vectors=20 * 10**9, dimensions=768, n_list=4 * 10**6, n_probe=50, imbalance=1))
    250000.0
    """
    if index.kind == "hnsw":
        return 0.0
    return imbalance(index) * index.n_probe / index.n_list * index.vectors if index.is_partitioned else float(index.vectors)


def scanned_bytes(index: Index, hosts: Number = 1) -> Number:
    """Bytes of codes that one query reads on each host.

    >>> rago = Index(kind="scann", vectors=64 * 10**9, dimensions=768, code_bytes=96, n_list=1000, n_probe=1, imbalance=1, coarse="none")
    >>> float(scanned_bytes(rago, hosts=32))  # 0.1% of 6.144 TB over 32 hosts
    192000000.0
    """
    return scanned_vectors(index) * index.scanned_bytes / hosts


def coarse_work(index: Index, queries: Number = 1) -> KernelWork:
    """FLOP and bytes to compare ``queries`` with all centroids, which a batch reads once; nothing where a graph finds the lists.

    >>> work = coarse_work(Index(kind="ivf_pq", vectors=10**9, dimensions=768, code_bytes=96, n_list=4_000_000, n_probe=50))
    >>> float(work.flop), float(work.moved)
    (6144000000.0, 12288000000.0)
    """
    values = index.n_list * index.dimensions * (index.coarse == "flat")
    return KernelWork(2.0 * values * queries, 4.0 * values * np.minimum(queries, 1))


def distances(index: Index) -> float:
    """Whole vectors compared in no order on each host: those that a graph search meets, those ranked again."""
    met = index.distances if index.distances is not None else DISTANCES * index.ef_search**EF_POWER
    return (min(met, index.vectors) if index.kind == "hnsw" else 0.0) + index.rerank


def scan_rate(index: Index, host: Host) -> float:
    """Bytes of codes per second of one thread alone: as measured for the index, the host, or the class of code."""
    four_bits = index.kind == "scann" or index.fast_scan != "none"
    by_class = STREAM_RATE if not index.code_bytes else (host.pq_scan or FAST_RATE) if four_bits else ADC_RATE
    return min(index.scan_rate or by_class, MEMORY_SHARE * host.memory_bandwidth)


def fixed_time(index: Index, hosts: Number = 1) -> Number:
    """Seconds of a thread per query that read nothing to speak of: set-up, coarse search in a graph, tables and misses of lists."""
    if not index.is_partitioned or index.kind == "scann":
        searched = index.ef_search if index.kind == "scann" and index.coarse == "hnsw" else 0
        return _between(LISTS, GRAPH_TIME, max(index.n_list, 1)) * searched
    codes = index.vectors * index.scanned_bytes / np.asarray(hosts, float)
    table = TABLE_TIME[index.fast_scan] if index.kind == "ivf_pq" else 0.0
    graph = _between(LISTS, GRAPH_TIME, index.n_list) * index.ef_search if index.coarse == "hnsw" else 0.0
    return _between(CODES, FIXED_TIME, codes) + graph + index.n_probe * (table + _between(CODES, LIST_TIME, codes))


def scan(index: Index, host: Host, *, hosts: Number = 1) -> Scan:
    """What one query asks of each of ``hosts`` hosts that share the vectors.

    >>> epyc = Host(name="rago", vendor="AMD", year=2021, cores=96, fp32=8e12, memory=384e9, memory_bandwidth=460e9, pq_scan=18e9)
    >>> rago = Index(kind="scann", vectors=64 * 10**9, dimensions=768, code_bytes=96, n_list=1000, n_probe=1, imbalance=1, coarse="none")
    >>> found = scan(rago, epyc, hosts=32)
    >>> float(found.bytes_per_query), float(found.thread_rate), float(found.fixed)
    (192000000.0, 18000000000.0, 0.0)
    """
    stream = min(STREAM_RATE, MEMORY_SHARE * host.memory_bandwidth)
    codes, centroids, exact = scanned_bytes(index, hosts), coarse_work(index).moved, distances(index)
    read = codes + centroids + exact * index.vector_bytes
    seconds = codes / scan_rate(index, host) + centroids / stream + exact * (RANDOM_TIME + index.vector_bytes / stream)
    return Scan(read, read / seconds, fixed_time(index, hosts), host_bytes(index, hosts))


def thread_time(index: Index, host: Host, *, hosts: Number = 1) -> Number:
    """Seconds of one query on one thread of each host with memory to spare: its latency on an idle host."""
    found = scan(index, host, hosts=hosts)
    return found.fixed + found.bytes_per_query / found.thread_rate


def batch_time(index: Index, host: Host, queries: Number, *, hosts: Number = 1) -> Number:
    """Seconds until the last of ``queries`` that start together is answered: rounds of threads, or memory."""
    rounds = np.ceil(np.asarray(queries) / host.cores)
    wire = queries * scan(index, host, hosts=hosts).bytes_per_query / (MEMORY_SHARE * host.memory_bandwidth)
    return np.maximum(rounds * thread_time(index, host, hosts=hosts), wire)


def queries_per_second(index: Index, host: Host, *, hosts: Number = 1) -> Number:
    """Queries that the hosts, each of which sees all, answer per second at most: by threads or by memory."""
    by_memory = MEMORY_SHARE * host.memory_bandwidth / scan(index, host, hosts=hosts).bytes_per_query
    return np.minimum(host.cores / thread_time(index, host, hosts=hosts), by_memory)


def host_bytes(index: Index, hosts: Number = 1) -> Number:
    """Bytes that each host keeps: codes and ids (vectors too if ranked again), links, and all centroids with their graph.

    4-bit codes are kept in blocks of 32, so half a block per list is empty.

    >>> float(host_bytes(Index(kind="hnsw", vectors=1000, dimensions=128, ef_search=64, id_bytes=0)))  # 1000 (512 + 2 x 32 x 4)
    768000.0
    """
    whole = index.vector_bytes if index.rerank and index.code_bytes else 0
    links = 8 * index.links
    each = index.scanned_bytes + index.id_bytes + whole + links * (index.kind == "hnsw")
    centroid = 4 * index.dimensions + links * (index.coarse == "hnsw") + 16 * index.code_bytes * (index.fast_scan != "none")
    return index.vectors * each / np.asarray(hosts, float) + index.n_list * centroid


def missing_bytes(index: Index, memory: float, hosts: Number = 1) -> Number:
    """Bytes of the database on each host beyond its ``memory``; 0 where it fits."""
    return np.maximum(host_bytes(index, hosts) - memory, 0.0)


def fits(index: Index, host: Host, hosts: int = 1) -> bool:
    """Whether every host holds its share in memory."""
    return bool(missing_bytes(index, host.memory, hosts) == 0)


def misfit(index: Index, host: Host, hosts: int = 1) -> Infeasible | None:
    """The bytes over a host's memory as an `Infeasible` of kind memory; None where the index fits."""
    missing = float(missing_bytes(index, host.memory, hosts))
    if missing == 0:
        return None
    text = (f"{index.kind} index of {index.vectors:,} vectors on {hosts} x {host.name}: {format_quantity(missing, 'B')} over the "
            f"{format_quantity(host.memory, 'B')} of each host")  # fmt: skip
    return Infeasible(kind="memory", constraint=text, margin=missing / host.memory)


def device_time(index: Index, accelerator: Accelerator, queries: Number) -> Number:
    """Seconds of a batch of ``queries`` on one accelerator that holds the index: brute force or lists with flat coarse search."""
    if index.kind == "hnsw" or index.coarse == "hnsw":
        raise SpecError(
            f"{index.kind} with coarse {index.coarse} on {accelerator.name}: graphs have no model there, use lists and coarse flat"
        )
    peaks, coarse = accelerator.peaks, coarse_work(index, queries)
    flops = DEVICE_COMPUTE * (peaks.fp32 or peaks.tf32 or peaks.at("bf16"))
    share = DEVICE_CODES if index.code_bytes else DEVICE_STREAM
    products, bandwidth = coarse.flop, share * accelerator.memory_bandwidth
    read: Number = queries * scanned_bytes(index)
    if index.kind == "brute_force" and not index.code_bytes:
        products, read = 2.0 * index.vectors * index.dimensions * queries, scanned_bytes(index) * np.minimum(queries, 1)
    lists = np.maximum(coarse.moved / (DEVICE_STREAM * accelerator.memory_bandwidth), products / flops)
    scanned = read / bandwidth
    return DEVICE_QUERY * queries + (np.maximum(lists, scanned) if index.kind == "brute_force" else lists + scanned)


def _between(knots: tuple[float, ...], values: tuple[float, ...], at: Number) -> Number:
    """Linear in log(at), held at the ends."""
    return np.interp(np.log(at), np.log(knots), values)
