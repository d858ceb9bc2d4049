"""Where to keep KV cache: HERMES (arXiv 2504.09775, eq. 1, figure 15) and the architectures of MIST's table T4, with queues and capacity.

128 clients, each two H100 that serve Llama-3.1-70B. A: each client has a memory of its own; B: four share one; C: a rack of 32 shares
one; each client brings 1 TB. What contexts weigh and what links carry is arithmetic on printed inputs.
"""

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.perf.load import linear_flop_per_token
from mist_dse.perf.shapes import head_matrix
from mist_dse.perf.tiers import (
    block_bytes,
    break_even_bandwidth,
    expected_fetch_time,
    fixed_service_wait,
    lru_hit_rate,
    transfer_time,
    utilisation,
    whole_blocks,
    zipf,
)
from mist_dse.specs.design import Datatypes, Parallelism
from mist_dse.specs.hardware import MemoryTier
from tests.oracles.replications import assert_true, mean, refused
from tests.oracles.systems import Law, station, waits
from tests.perf.cases import LLAMA_70B

BF16 = Datatypes()
CLIENTS, RATE = 128, 240.0  # requests/s over all clients
CORPUS = 10**10  # tokens
SHORT, LONG = 4_096, 24_576  # tokens of a context
TERABYTE = 1e12

LINKS = {"A": (128e9, 1), "B": (32e9, 4), "C": (2e9, 32), "B in T4": (16e9, 4), "C in T4": (8e9, 32)}
"""B/s of a link, clients that share it."""


def context_bytes(tokens):
    return block_bytes(LLAMA_70B, BF16, tokens)


def service(name, tokens):
    """Seconds that a context takes on the link, and requests per second that ask for one."""
    bandwidth, clients = LINKS[name]
    return context_bytes(tokens) / bandwidth, RATE * clients / CLIENTS


def prefill_time(tokens):
    """Two H100 at 0.6 of 989 TFLOP/s each: linear layers, causal attention of all pairs, one output head."""
    linear = linear_flop_per_token(LLAMA_70B, Parallelism(), BF16) * tokens
    attention = 2.0 * tokens**2 * LLAMA_70B.heads * LLAMA_70B.head_dim * LLAMA_70B.layers
    head = 2.0 * head_matrix(LLAMA_70B, Parallelism(), BF16).parameters
    return (linear + attention + head) / (2 * 989e12 * 0.6)


# Arithmetic of figure 15.


@pytest.mark.parametrize(
    ("name", "tokens", "rho", "most"),
    [
        ("A", SHORT, 0.01966, 12_207), ("B", SHORT, 0.3146, 762.9), ("C", SHORT, 40.27, 5.960),
        ("A", LONG, 0.1180, 2_035), ("B", LONG, 1.887, 127.2), ("C", LONG, 241.6, 0.9934),
        ("B in T4", SHORT, 0.6291, 381.5), ("B in T4", LONG, 3.775, 63.58),
        ("C in T4", SHORT, 10.07, 23.84), ("C in T4", LONG, 60.40, 3.974),
    ],
)  # fmt: skip
def test_links_that_clients_share(name, tokens, rho, most):
    """Utilisation at 240 requests/s and the most requests/s; the link of a rack is 40 and 242 times too slow."""
    took, rate = service(name, tokens)
    assert utilisation(rate, took) == pytest.approx(rho, rel=1e-3)
    assert RATE / utilisation(rate, took) == pytest.approx(most, rel=1e-3)
    assert np.isfinite(fixed_service_wait(rate, took)) == (rho < 1)


def test_what_fits_of_the_corpus():
    assert context_bytes(CORPUS) == 3.2768e15
    assert CLIENTS * TERABYTE / context_bytes(CORPUS) == pytest.approx(0.03906, abs=5e-6)
    assert [whole_blocks(TERABYTE, context_bytes(tokens)) for tokens in (SHORT, LONG)] == [745, 124]


@pytest.mark.parametrize(("tokens", "bandwidth"), [(SHORT, 2.73e9), (LONG, 2.30e9), (131_072, 1.26e9)])
def test_loading_beats_computing_beyond(tokens, bandwidth):
    """Attention makes long contexts dearer to compute again: they are worth loading over slower links."""
    assert break_even_bandwidth(context_bytes(1), tokens / prefill_time(tokens)) == pytest.approx(bandwidth, rel=0.01)


# Equation 1.


def test_expected_time_of_two_tiers():
    """0.001 + 0.9 x 0.02 + 0.1 x (0.01 + 0.5 x 0.2 + 0.5 x 2), by hand."""
    assert expected_fetch_time([0.9, 0.5], [0.001, 0.01], [0.02, 0.2], 2.0) == pytest.approx(0.13)


def test_sure_hits_and_sure_misses():
    """A lookup is paid where it fails, too."""
    assert expected_fetch_time([1.0, 0.5], [0.25, 0.5], [2.0, 4.0], 64.0) == 2.25
    assert expected_fetch_time([0.0, 0.0], [0.0, 0.0], [2.0, 4.0], 64.0) == 64.0
    assert expected_fetch_time([0.0, 0.0], [0.25, 0.5], [2.0, 4.0], 64.0) == 64.75
    assert expected_fetch_time([], [], [], 64.0) == 64.0


# Capacity: nobody holds the whole corpus.


@pytest.mark.parametrize(
    ("tokens", "exponent", "rates"),
    [
        (SHORT, 0.8, (0.067, 0.117, 0.238)), (SHORT, 1.0, (0.352, 0.453, 0.608)), (SHORT, 1.2, (0.732, 0.811, 0.896)),
        (LONG, 1.0, (0.266, 0.380, 0.555)),
    ],
)  # fmt: skip
def test_hit_rates_of_a_b_and_c(tokens, exponent, rates):
    contexts = zipf(CORPUS // tokens, exponent)
    sizes = [whole_blocks(clients * TERABYTE, context_bytes(tokens)) for clients in (1, 4, 32)]
    assert [lru_hit_rate(contexts, size) for size in sizes] == pytest.approx(rates, abs=6e-4)


@pytest.mark.parametrize(("capacity", "rate"), [(745, 0.3519), (2_980, 0.4525), (23_841, 0.6076)])
def test_hit_rates_of_short_contexts(capacity, rate):
    assert lru_hit_rate(zipf(2_441_406, 1.0), capacity) == pytest.approx(rate, abs=1e-4)


@pytest.mark.parametrize(
    ("tokens", "latencies", "bandwidths", "times"),
    [
        (SHORT, (0.6e-3, 1.1e-3, 7e-3), (128e9, 16e9, 8e9), (0.322, 0.307, 0.298)),
        (LONG, (0.6e-3, 1.1e-3, 7e-3), (128e9, 16e9, 8e9), (2.59, 2.37, 2.12)),
        (SHORT, (0.0, 0.0, 0.0), (128e9, 32e9, 2e9), (0.322, 0.288, 0.604)),
    ],
)  # fmt: skip
def test_mean_times_without_queues(tokens, latencies, bandwidths, times):
    """Popularity of exponent 1, misses computed again; T4 with its latencies of memory and link."""
    contexts = zipf(CORPUS // tokens, 1.0)
    for clients, latency, bandwidth, time in zip((1, 4, 32), latencies, bandwidths, times, strict=True):
        place = MemoryTier(name="t", technology="t", scope="pool", read=bandwidth, latency=latency)
        hit = lru_hit_rate(contexts, whole_blocks(clients * TERABYTE, context_bytes(tokens)))
        moved = transfer_time(place, context_bytes(tokens))
        assert expected_fetch_time([hit], [0.0], [moved], prefill_time(tokens)) == pytest.approx(time, rel=0.01)


# A queue at the link, in the simulator.


def test_a_link_of_a_rack_is_m_d_1():
    """Contexts of 4,096 tokens over 2 GB/s take 0.671 s each: at a load of 0.8 they wait 1.342 s."""
    size = context_bytes(SHORT)
    took = size / 2e9
    rate = 0.8 / took
    wait = float(fixed_service_wait(rate, took))
    assert (took, wait) == (pytest.approx(0.67109, abs=1e-5), pytest.approx(1.3422, abs=1e-4))
    link = station(rows.Station(2e9, 2e9, 1, 0.0), rate, Law(lambda _, count: np.full(count, size), size, size**2), 100_000)
    assert_true(link, {"wait": mean(waits, wait, 0.02)})
    assert refused(link, {"without queue": mean(waits, 0.0), "at 0.78": mean(waits, float(fixed_service_wait(0.78 / took, took)))}) == {
        "without queue",
        "at 0.78",
    }


@pytest.mark.parametrize("clients", [1, 4, 8])
def test_fetches_wait_longer_the_more_clients_share(clients):
    """Clients that each load the link by 0.1: the time of a fetch rises as M/D/1 says; the latency is nobody's wait."""
    size, bandwidth, latency = context_bytes(SHORT), 8e9, 2e-3
    took = size / bandwidth
    rate = clients * 0.1 / took
    link = station(rows.Station(bandwidth, bandwidth, 1, latency), rate, Law(lambda _, count: np.full(count, size), size, size**2), 40_000)
    stay = float(fixed_service_wait(rate, took)) + took + latency
    assert_true(link, {"fetch": mean(lambda seen: float(seen.total.mean()), stay, 0.02)})
