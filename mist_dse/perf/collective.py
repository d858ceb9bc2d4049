"""Time of collectives, alpha-beta per link: t = steps x latency + bytes on the wire / bandwidth, least over algorithms.

With n devices and a message of b bytes per device: one-shot all-reduce (each reads all others) alpha + (n - 1) b/B; two-shot
(direct reduce-scatter, all-gather) 2 alpha + 2 (n - 1)/n b/B; ring 2 (n - 1) alpha + 2 (n - 1)/n b/B (Thakur et al. 2005,
doi:10.1177/1094342005051521). Over nested fabrics: reduce-scatter inside, all-reduce of a share outside, all-gather inside.
A fabric is a sequence of `Span`: n ways over a hop, innermost first. Where a hop carries fits of measured collectives for its
number of devices, they answer instead, least over kernels (`specs.hardware.CollectiveFit`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.perf.operator import soft_maximum
from mist_dse.specs.hardware import CollectiveFit

LIBRARIES = ("nccl", "vllm", "oneccl")
"""Whose collectives answer first: vLLM's own in graphs, else the vendor's library."""


class Hop(NamedTuple):
    """One kind of link: effective ``bandwidth`` B/s per device and direction while all send, ``latency`` s of a small message.

    ``links`` > 0: the bandwidth is the sum of so many links to neighbours, of which n devices use at most n - 1.
    ``fits``: what was measured over it.
    """

    name: str
    bandwidth: float
    latency: float
    links: int = 0
    fits: tuple[CollectiveFit, ...] = ()

    def among(self, devices: int) -> "Hop":
        """The same link as a group of ``devices`` gets it.

        >>> Hop("mesh of 8", 448e9, 5e-6, 7).among(2).bandwidth
        64000000000.0
        """
        used = min(devices - 1, self.links) / self.links if self.links else 1.0
        return self._replace(bandwidth=self.bandwidth * used)


class Span(NamedTuple):
    """``ways`` groups that exchange over ``hop``."""

    ways: int
    hop: Hop


def one_shot_all_reduce_time(span: Span, size: Number) -> Number:
    """Every device reads the whole message of every other: least latency."""
    return span.hop.latency + (span.ways - 1) * size / span.hop.bandwidth


def two_shot_all_reduce_time(span: Span, size: Number) -> Number:
    """Direct reduce-scatter, then direct all-gather: two latencies, least traffic."""
    return 2 * exchange_time(span, size)


def ring_all_reduce_time(span: Span, size: Number) -> Number:
    """Ring reduce-scatter and all-gather: latency grows with the ring, neighbours' links suffice.

    >>> hop = Hop("nvlink", 100e9, 1e-6)
    >>> round(float(ring_all_reduce_time(Span(4, hop), 1e6)) * 1e6, 3)
    21.0
    """
    return 2 * (span.ways - 1) * (span.hop.latency + size / span.ways / span.hop.bandwidth)


def measured_time(span: Span, kind: str, size: Number) -> Number | None:
    """Least over the kernels measured for as many devices over this link, None where there are none.

    >>> fit = CollectiveFit(kind="all_reduce", devices=2, latency=5e-6, root=0.0, bandwidth=100e9, library="nccl")
    >>> round(float(measured_time(Span(2, Hop("nvlink", 200e9, 1e-6, fits=(fit,))), "all_reduce", 1e6)) * 1e6, 3)
    15.0
    """
    fits = [fit for fit in span.hop.fits if fit.kind == kind and fit.devices == span.ways]
    fits = [fit for fit in fits if fit.library in LIBRARIES] or fits
    return np.minimum.reduce([fitted_time(fit, size) for fit in fits]) if fits else None


def fitted_time(fit: CollectiveFit, size: Number) -> Number:
    """Seconds of one collective of ``size`` bytes per device."""
    return soft_maximum(fit.latency, size / fit.bandwidth, fit.sharpness) + fit.root * np.sqrt(size)


def exchange_time(span: Span, size: Number) -> Number:
    """A direct reduce-scatter, all-gather or all-to-all of ``size`` bytes per device: (n - 1)/n of them cross the link."""
    return span.hop.latency + (span.ways - 1) / span.ways * size / span.hop.bandwidth


def all_reduce_time(spans: Sequence[Span], size: Number) -> Number:
    """Least over algorithms, flat over the outermost link and hierarchical; 0 for a single device."""
    if not spans:
        return np.zeros_like(np.asarray(size, float))
    measured = measured_time(spans[0], "all_reduce", size) if len(spans) == 1 else None
    if measured is not None:
        return measured
    flat = Span(device_count(spans), narrowest(spans))
    times = [one_shot_all_reduce_time(flat, size), two_shot_all_reduce_time(flat, size), ring_all_reduce_time(flat, size)]
    if len(spans) > 1:
        times.append(2 * exchange_time(spans[0], size) + all_reduce_time(spans[1:], size / spans[0].ways))
    return np.minimum.reduce(times)


def all_gather_time(spans: Sequence[Span], size: Number) -> Number:
    """Every device ends with all ``size`` bytes, of which it held its share: level by level, outermost first."""
    measured = measured_time(spans[0], "all_gather", size) if len(spans) == 1 else None
    if measured is not None:
        return measured
    inside = device_count(spans)
    total: Number = np.zeros_like(np.asarray(size, float))
    for span in reversed(spans):
        inside //= span.ways
        total = total + exchange_time(span, size / inside)
    return total


def all_to_all_time(spans: Sequence[Span], size: Number) -> Number:
    """Every device sends ``size`` bytes, spread evenly over all: each level carries what leaves its inner group."""
    measured = measured_time(spans[0], "all_to_all", size) if len(spans) == 1 else None
    if measured is not None:
        return measured
    total: Number = np.zeros_like(np.asarray(size, float))
    inside, devices = 1, device_count(spans)
    for span in spans:
        total = total + span.hop.latency + (span.ways - 1) * inside / devices * size / span.hop.bandwidth
        inside *= span.ways
    return total


def narrowest(spans: Sequence[Span]) -> Hop:
    """The outermost latency with the least bandwidth on the way."""
    return Hop(spans[-1].hop.name, min(span.hop.bandwidth for span in spans), max(span.hop.latency for span in spans))


def device_count(spans: Sequence[Span]) -> int:
    """Devices that the spans join."""
    return int(np.prod([span.ways for span in spans], dtype=int))
