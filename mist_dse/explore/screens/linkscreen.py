"""The hand-off between two pools for arrays of designs: the seconds that it adds after the prompt, and the demand on its link.

It crosses the innermost link that joins as many devices as both pools have together; pools of different accelerators never share a node.
"""

import zlib
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.queueing import Service, many_wait
from mist_dse.explore.spaces.table import Variants
from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.perf.network import fabric
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import Topology

BUSY = 0.01
"""Utilisation of a link from which on waits for other transfers are worked out."""


class Ends(NamedTuple):
    """The links of every variant v of a pool.

    ``reach`` [v, level], ``share`` [v, level]: B/s that one engine's devices send, and all together, over each nested link of the
    topology, with its ``latency`` and the devices ``sizes`` that it joins; ``kind`` [v]: a code of the accelerator; ``token`` [v]: KV
    bytes of a prompt token.
    """

    reach: Floats
    share: Floats
    latency: Floats
    sizes: Floats
    kind: Floats
    token: Floats
    devices: Floats

    def at(self, rows: Ints) -> "Ends":
        """Some of the variants."""
        return Ends(*(value[rows] for value in self))


class Link(NamedTuple):
    """The link of each design: B/s of one transfer and of all together, s of latency."""

    cap: Floats
    rate: Floats
    latency: Floats


class Transfers(NamedTuple):
    """What is handed over: transfers per second, and moments of their bytes, on average over requests."""

    rate: float
    m1: float
    m2: float
    m3: float


def pool_ends(pool: Variants, topology: Topology) -> Ends:
    """The links of every variant of a pool."""
    links = [_links(core, topology) for core in pool.cores]
    reach, share, latency, sizes = (np.array([link[part] for link in links])[pool.core] for part in range(4))
    kind = np.array([float(zlib.crc32(core.accelerator.name.encode())) for core in pool.cores])[pool.core]
    token = np.array([float(kv_bytes_of_prompt(core.model, core.dtypes)) for core in pool.cores])[pool.core]
    devices = np.array([float(core.parallelism.devices) for core in pool.cores])[pool.core] * pool.replicas
    return Ends(reach, share * pool.replicas[:, None], latency, sizes, kind, token, np.asarray(devices, dtype=float))


def link(source: Ends, target: Ends, node: int) -> Link:
    """The link between the pools of each design; ``node``: devices of a node."""
    span = source.devices + target.devices
    span = np.where((source.kind != target.kind) & (span <= node), 2 * node, span)
    level = np.minimum((source.sizes < span[:, None]).sum(axis=1), source.sizes.shape[1] - 1)
    rows = np.arange(len(level))
    cap = np.minimum(source.reach[rows, level], target.reach[rows, level])
    rate = np.minimum(source.share[rows, level], target.share[rows, level])
    return Link(np.minimum(cap, rate), rate, np.maximum(source.latency[rows, level], target.latency[rows, level]))


def transfer_wait(found: Link, moved: Transfers, scale: Floats, horizon: float) -> Floats:
    """Mean seconds lost to other transfers; ``scale``: bytes of each design over those of ``moved``."""
    wait = np.zeros_like(found.rate)
    busy = np.flatnonzero(moved.rate * moved.m1 * scale > BUSY * found.rate)
    if busy.size:
        pace = scale[busy] / found.cap[busy]
        service = Service(np.full(busy.size, moved.rate), moved.m1 * pace, moved.m2 * pace**2, moved.m3 * pace**3)
        servers = np.maximum(found.rate[busy] / found.cap[busy], 1.0)
        wait[busy] = many_wait(service, np.ones(busy.size), servers, horizon).mean
    return wait


def _links(pool: Pool, topology: Topology) -> tuple[list[float], list[float], list[float], list[float]]:
    """Per nested link: B/s of one engine, B/s of all its ranks after oversubscription, latency, devices that it joins."""
    levels = fabric(pool.accelerator, topology)
    wide = pool.parallelism.tp * pool.parallelism.pp
    padded = [*levels, *(levels[-1],) * (len(topology.tiers) + 1 - len(levels))]
    sends = [wide * level.hop.bandwidth for level in padded]
    together = [one * pool.parallelism.dp / level.shared for one, level in zip(sends, padded, strict=True)]
    return sends, together, [level.hop.latency for level in padded], [float(level.size) for level in padded]
