"""Keeping KV cache in memory tiers: bytes of a block, time of a fetch, what a shared link takes, how much popularity fits in a capacity.

* One read of s bytes takes latency + s / bandwidth, so that the bandwidth seen grows with the size; reads one after another pay the latency
  each. At 16 MB and more this is what fio measures on NVMe and DDR4 (MIST-Simulator, SC_Paper_Charts). Its rows below hold rates of
  the page cache (19 to 30 GB/s on a drive of 8) and are not followed: there the same law holds, as on the path from host memory to
  an accelerator, whose 4, 13 and 49 GB/s at 64 KiB, 256 KiB and 16 MiB are 15 us + s / 49 GB/s (LMCache).
* A lookup is paid at every tier asked; the first tier that has the context gives it, and what none has is computed again
  (HERMES, arXiv 2504.09775, eq. 1).
* Loading is faster than computing again where the link is faster than the bytes that prefill writes: bytes per token x tokens/s.
* LRU under independent references: an item of popularity p is found with chance 1 - exp(-p T), where T makes the expected number kept
  the capacity (Che, Tung and Wang, IEEE JSAC 20(7), 2002).
* A link that serves fetches of one size in order is M/D/1: wait rho s / (2 (1 - rho)) (Pollaczek 1930, Khinchine 1932).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Datatypes
from mist_dse.specs.hardware import MemoryTier
from mist_dse.specs.model import ModelSpec

Number = Any
"""A Python or NumPy number or array: equations take either."""

_EXACT_RANKS = 4096
_CLASS_WIDTH = 1.005  # ratio of the first ranks of neighbouring classes: popularity of one class differs by as little
_NEWTON_STEPS = 200


def block_bytes(model: ModelSpec, dtypes: Datatypes, tokens: Number) -> Number:
    """KV cache of ``tokens`` tokens over all devices, replicas of key-value heads not counted."""
    return kv_bytes_of_prompt(model, dtypes) * tokens


def whole_blocks(capacity: float, size: float) -> int:
    """Blocks of ``size`` bytes that ``capacity`` bytes hold.

    >>> whole_blocks(1e12, 512 * 327_680)
    5960
    """
    return math.floor(capacity / size)


def transfer_time(tier: MemoryTier, size: Number, *, reads: Number = 1, writing: bool = False) -> Number:
    """Seconds until ``size`` bytes are there, alone on the link: in one read, or in ``reads`` of them one after another.

    A tier without a rate of writing writes as fast as it reads; nothing to move takes no time.

    >>> drive = MemoryTier(name="nvme", technology="NVMe", scope="device", read=8e9, latency=40e-6)
    >>> float(transfer_time(drive, 16e6)), float(transfer_time(drive, 16e6, reads=100))
    (0.00204, 0.006)
    """
    rate = tier.read if not writing or tier.write is None else tier.write
    return np.where(np.asarray(size) > 0, reads * tier.latency, 0.0) + np.asarray(size) / rate


def effective_bandwidth(tier: MemoryTier, size: Number) -> Number:
    """B/s that one read of ``size`` bytes sees; half of the tier's rate at latency x rate bytes.

    >>> drive = MemoryTier(name="nvme", technology="NVMe", scope="device", read=8e9, latency=40e-6)
    >>> round(float(effective_bandwidth(drive, 320e3)) / 1e9, 9)
    4.0
    """
    return size / transfer_time(tier, size)


def tiers_asked(found: Ints, blocks: Ints) -> NDArray[np.bool_]:
    """Whether each tier is looked up [n, tiers]: until the leading blocks ``found`` [n, tiers] are all ``blocks`` [n] of the prompt.

    >>> tiers_asked(np.array([[3, 0], [1, 1]]), np.array([3, 3])).tolist()
    [[True, False], [True, True]]
    """
    before = np.cumsum(found, axis=1) - found
    return np.asarray(before < np.asarray(blocks)[:, None])


def expected_fetch_time(hit_rates: Sequence[Number], lookups: Sequence[Number], transfers: Sequence[Number], recompute: Number) -> Number:
    """Mean seconds until a context is there: tiers nearest first, each with the chance that it has what those before it have not.

    l1 + H1 t1 + (1 - H1) (l2 + H2 t2 + (1 - H2) (... + recompute)), lookups l and transfers t in s (HERMES eq. 1).

    >>> round(expected_fetch_time([0.9, 0.5], [0.001, 0.01], [0.02, 0.2], 2.0), 9)
    0.13
    """
    if not len(hit_rates) == len(lookups) == len(transfers):
        raise SpecError(f"{len(hit_rates)} hit rates, {len(lookups)} lookups and {len(transfers)} transfers: give one of each per tier")
    time = recompute
    for hit, lookup, transfer in reversed(list(zip(hit_rates, lookups, transfers, strict=True))):
        time = lookup + hit * transfer + (1.0 - hit) * time
    return time


def break_even_bandwidth(bytes_per_token: Number, tokens_per_second: Number) -> Number:
    """B/s of a link over which loading takes as long as computing again at ``tokens_per_second`` of prefill; faster links win.

    >>> break_even_bandwidth(327_680, 8_000)
    2621440000
    """
    return bytes_per_token * tokens_per_second


def utilisation(rate: Number, service: Number) -> Number:
    """Share of time that a link is busy, rho: ``rate`` fetches a second of ``service`` s each. At 1 and above it never catches up.

    >>> utilisation(60.0, 0.5)
    30.0
    """
    return rate * service


def fixed_service_wait(rate: Number, service: Number) -> Number:
    """Mean wait in front of a link that serves Poisson arrivals in order, each in ``service`` s (M/D/1); inf at rho >= 1.

    >>> float(fixed_service_wait(0.5, 1.0)), float(fixed_service_wait(1.0, 1.0))
    (0.5, inf)
    """
    rho = np.asarray(utilisation(rate, service), float)
    return np.where(rho < 1.0, rho * service / (2.0 * np.maximum(1.0 - rho, 1e-300)), np.inf)


class Popularity(NamedTuple):
    """Classes of items: ``share`` of references that each item of a class gets, and how many ``items`` are in it."""

    share: Floats
    items: Floats


def zipf(items: int, exponent: float) -> Popularity:
    """Popularity proportional to rank^-``exponent``: the first ranks one by one, then classes half a per cent wide with their mean.

    The sum over a class is an integral with end corrections (Euler-Maclaurin): billions of items cost as much as thousands.

    >>> zipf(3, 1.0).share.tolist()  # 1, 1/2, 1/3 of 11/6
    [0.5454545454545455, 0.27272727272727276, 0.18181818181818182]
    """
    if items < 1 or not 0 <= exponent < math.inf:
        raise SpecError(f"Zipf popularity of {items} items with exponent {exponent:g}: must be >= 1 item and an exponent >= 0")
    exact = min(items, _EXACT_RANKS)
    steps = max(math.ceil(math.log(items / exact) / math.log(_CLASS_WIDTH)), 0)
    last = np.unique(np.concatenate([np.arange(1, exact + 1), np.rint(np.geomspace(exact, items, steps + 1))])).astype(np.float64)
    first = np.concatenate([[1.0], last[:-1] + 1.0])
    weight = np.where(first == last, last**-exponent, _power_sum(first, last, exponent))
    return Popularity(weight / (last - first + 1.0) / weight.sum(), last - first + 1.0)


def _power_sum(first: Floats, last: Floats, exponent: float) -> Floats:
    """Sum of rank^-exponent from ``first`` to ``last``."""
    ends = (first**-exponent + last**-exponent) / 2.0
    slopes = exponent * (first ** (-exponent - 1.0) - last ** (-exponent - 1.0)) / 12.0
    power, spread = 1.0 - exponent, np.log(last / first)
    integral = spread if power == 0.0 else first**power * np.expm1(power * spread) / power
    return np.asarray(integral + ends + slopes)


def lru_hit_rate(popularity: Popularity, capacity: float) -> float:
    """Share of independent references that an LRU cache of ``capacity`` items finds (Che's approximation); 1 where all items fit.

    >>> round(lru_hit_rate(zipf(1_000, 0.0), 250), 4)  # equally popular: the share of items kept
    0.25
    """
    share, items = popularity
    if not capacity >= 0:
        raise SpecError(f"capacity of an LRU cache is {capacity}: must be >= 0 items")
    if capacity >= items.sum():
        return 1.0
    time = float(capacity)  # references: expected items kept rise with it, ever slower and at most one for each, so Newton stays below
    for _ in range(_NEWTON_STEPS):
        gone = np.exp(-share * time)
        short = capacity - float(items @ (1.0 - gone))
        slope = float(items @ (share * gone))
        if short <= 1e-9 * capacity or slope <= 0.0:
            break
        time += short / slope
    return float((items * share) @ (1.0 - np.exp(-share * time)))
