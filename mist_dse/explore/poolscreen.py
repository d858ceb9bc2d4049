"""Every variant of one pool at fidelity steady: tables lowered once per kind of engine, figures once per variant.

Variants that differ only in replicas, ``max_num_seqs`` or ``max_num_batched_tokens`` share one lowering, that of the largest
limits, whose tables cover the smaller ones. Variants whose demand lies in `BAND` are uncertain: their latencies are those
at `EASED` of the load, so that an error of the screen near saturation does not hide a design.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic import PoolSteady, Spread, Traffic, engine_traffic, pool_steady
from mist_dse.analytic.pool import Variants as Arrays
from mist_dse.analytic.traffic import realised_rate, realised_scv, realised_span
from mist_dse.explore.amounts import pool_usd_per_hour
from mist_dse.explore.table import Variants
from mist_dse.perf.capacity import kv_blocks
from mist_dse.perf.load import kv_bytes_of_prompt
from mist_dse.perf.network import fabric
from mist_dse.rows import Engine, Floats, Requests, StepCost
from mist_dse.specs.design import Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook, Topology
from mist_dse.stages import context_lag, decode_steps, lower_pool

BAND = (0.95, 1.15)
"""Demand in which a pool is uncertain."""

EASED = 0.95
"""Share of the load at which uncertain pools are screened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolScreen:
    """Figures of every variant v of one pool; ``fits`` [v]: it could be lowered.

    ``reach`` [v, level], ``share`` [v, level]: B/s that one engine's devices send, and all together, over each nested link of
    the topology, with its ``latency`` and the devices ``sizes`` that it joins; ``kind`` [v]: a code of the accelerator.
    """

    steady: PoolSteady
    fits: NDArray[np.bool_]
    usd_per_hour: Floats
    devices: Floats
    reach: Floats
    share: Floats
    latency: Floats
    sizes: Floats
    kind: Floats
    refused: tuple[Infeasible, ...]


def pool_screen(pool: Variants, topology: Topology, requests: Requests, prices: PriceBook) -> PoolScreen:
    """The figures of all variants of ``pool`` under ``requests``."""
    figures: list[tuple[NDArray[np.int64], PoolSteady]] = []
    refused: list[Infeasible] = []
    fits = np.zeros(len(pool), dtype=bool)
    for members, cores in _engines(pool):
        found = _lowered(pool, members, cores, topology, requests)
        if isinstance(found, Infeasible):
            refused.append(found)
            continue
        rows, cost, engine, arrays = found
        fits[rows] = True
        figures.append((rows, _eased(cost, engine, pool_traffic(pool.role, pool.cores[cores[0]], requests), arrays)))
    replicas = pool.replicas.astype(float)
    links = [_links(core, topology) for core in pool.cores]
    reach, share, latency, sizes = (np.array([link[part] for link in links])[pool.core] for part in range(4))
    return PoolScreen(
        steady=_gathered(figures, len(pool)),
        fits=fits,
        usd_per_hour=pool_usd_per_hour(pool.cores, pool.core, pool.replicas, prices=prices, node_size=topology.node_size),
        devices=replicas * np.array([core.parallelism.devices for core in pool.cores])[pool.core],
        reach=reach, share=share * replicas[:, None], latency=latency, sizes=sizes,
        kind=np.array([zlib.crc32(core.accelerator.name.encode()) for core in pool.cores], dtype=float)[pool.core],
        refused=tuple(refused),
    )  # fmt: skip


def pool_traffic(role: str, pool: Pool, requests: Requests) -> Traffic:
    """What a pool of that role is asked, taken from the requests, as `stages` hands it out."""
    prompt, cached, output = (column.astype(float) for column in (requests.input_tokens, requests.cached_tokens, requests.output_tokens))
    fresh = prompt - cached
    common: dict[str, Any] = {"rate": realised_rate(requests), "scv": realised_scv(requests), "horizon": realised_span(requests)}
    steps, most = decode_steps(requests.output_tokens - 1, pool.speculation).astype(float), prompt + requests.max_tokens
    if role == "both":
        return engine_traffic(fresh, steps, start=cached, reserved=most, gaps=output - 1, **common)
    if role == "prefill":
        return engine_traffic(fresh, np.zeros_like(output), start=cached, **common)
    known = pool.engine.first_token_from == "prefill"
    handed = output > 1 if known else output > 0
    common["rate"] *= float(handed.mean())
    taken, gaps = (steps if known else steps + 1)[handed], (output - 1 if known else output)[handed]
    none = np.zeros_like(taken)
    return engine_traffic(none, taken, start=prompt[handed], entering=False, reserved=most[handed], gaps=gaps, **common)


def longest_sequence(role: str, requests: Requests) -> int:
    """Most tokens that one visit to a pool of that role may come to hold."""
    answer = requests.max_tokens if role != "prefill" else np.ones_like(requests.max_tokens)
    return int((requests.input_tokens + answer).max(initial=1))


def _holds(blocks: Floats, engine: Engine, watermark: float, tokens: int) -> NDArray[np.bool_]:
    """Whether the longest sequence can ever be admitted; else requests would be turned away."""
    needed = math.ceil((tokens - 1) / engine.block_size) + np.floor(watermark * blocks)
    return np.asarray((needed <= blocks) & (tokens <= engine.max_model_len))


def _too_short(pool: Pool, engine: Engine, tokens: int) -> Infeasible:
    text = f"pool {pool.name}: sequences of {tokens} tokens, {pool.accelerator.name} x {pool.parallelism.tp} holds {engine.max_model_len}"
    return Infeasible(kind="length", constraint=text, margin=max(tokens / engine.max_model_len - 1, 1e-3))


def _engines(pool: Variants) -> Iterator[tuple[NDArray[np.int64], list[int]]]:
    """Variants by kind of engine, with the cores of that kind."""
    kinds: dict[Any, list[int]] = {}
    for number, core in enumerate(pool.cores):
        batching = replace(core.batching, max_num_seqs=1, max_num_batched_tokens=1)
        key = (core.model.name, core.accelerator.name, core.engine, core.parallelism, core.dtypes, batching, core.router, core.speculation)
        kinds.setdefault(key, []).append(number)
    label = np.empty(len(pool.cores), dtype=np.int64)
    for position, cores in enumerate(kinds.values()):
        label[cores] = position
    of_variant = label[pool.core]
    order = np.argsort(of_variant, kind="stable")
    ends = np.searchsorted(of_variant[order], np.arange(len(kinds) + 1))
    for position, cores in enumerate(kinds.values()):
        yield order[ends[position] : ends[position + 1]], cores


def _lowered(pool: Variants, members: NDArray[np.int64], cores: Sequence[int], topology: Topology,
             requests: Requests) -> tuple[NDArray[np.int64], StepCost, Engine, Arrays] | Infeasible:  # fmt: skip
    """The variants of one kind of engine that fit, their shared tables, and what differs between them."""
    settings = [pool.cores[core] for core in cores]
    most = replace(
        settings[0].batching,
        max_num_seqs=max(core.batching.max_num_seqs for core in settings),
        max_num_batched_tokens=max(core.batching.max_num_batched_tokens for core in settings),
    )
    lag = 0.0 if pool.role == "prefill" else context_lag(requests, settings[0].speculation)
    longest = int(requests.input_tokens.max(initial=1))
    row = lower_pool(replace(settings[0], batching=most), topology, role=pool.role, longest=longest, lag=lag)
    if isinstance(row, Infeasible):
        return row
    values = np.zeros((len(pool.cores), 3))
    for core, setting in zip(cores, settings, strict=True):
        blocks = kv_blocks(setting)
        room = 0 if isinstance(blocks, Infeasible) else blocks
        values[core] = (setting.batching.max_num_seqs, setting.batching.max_num_batched_tokens, room)
    members = members[
        _holds(values[pool.core[members], 2], row.engine, settings[0].engine.watermark, longest_sequence(pool.role, requests))
    ]
    if not members.size:
        return _too_short(settings[0], row.engine, longest_sequence(pool.role, requests))
    chosen = values[pool.core[members]]
    arrays = Arrays(pool.replicas[members].astype(float), *(chosen[:, column] for column in range(3)))
    return members, row.cost, row.engine, arrays


def _eased(cost: StepCost, engine: Engine, traffic: Traffic, arrays: Arrays) -> PoolSteady:
    found = pool_steady(cost, engine, traffic, arrays)
    uncertain = np.flatnonzero((found.demand >= BAND[0]) & (found.demand <= BAND[1]))
    if not uncertain.size:
        return found
    eased = pool_steady(cost, engine, traffic._replace(rate=traffic.rate * EASED), Arrays(*(value[uncertain] for value in arrays)))
    kept = _placed(found, [(uncertain, eased)])
    return kept._replace(demand=found.demand)


def _gathered(figures: Sequence[tuple[NDArray[np.int64], PoolSteady]], size: int) -> PoolSteady:
    empty = np.full(size, np.nan)
    fields: dict[str, Any] = dict.fromkeys(PoolSteady._fields, empty) | dict.fromkeys(("tpot", "first", "decode"), Spread(*(empty,) * 4))
    return _placed(PoolSteady(**fields), figures)


def _placed(into: PoolSteady, parts: Sequence[tuple[NDArray[np.int64], PoolSteady]]) -> PoolSteady:
    """A copy of ``into`` with each part written at its rows."""

    def one(name: str) -> Any:
        whole = getattr(into, name)
        if isinstance(whole, Spread):
            return Spread(*(written(whole[level], [(rows, getattr(part, name)[level]) for rows, part in parts]) for level in range(4)))
        return written(whole, [(rows, getattr(part, name)) for rows, part in parts])

    def written(whole: Floats, pieces: Sequence[tuple[NDArray[np.int64], Floats]]) -> Floats:
        copy = np.array(whole, dtype=float)
        for rows, piece in pieces:
            copy[rows] = piece
        return copy

    fields: dict[str, Any] = {name: one(name) for name in PoolSteady._fields}
    return PoolSteady(**fields)


def _links(pool: Pool, topology: Topology) -> tuple[list[float], list[float], list[float], list[float]]:
    """Per nested link: B/s of one engine, B/s of all its ranks after oversubscription, latency, devices that it joins."""
    levels = fabric(pool.accelerator, topology)
    wide = pool.parallelism.tp * pool.parallelism.pp
    padded = [*levels, *(levels[-1],) * (len(topology.tiers) + 1 - len(levels))]
    sends = [wide * level.hop.bandwidth for level in padded]
    together = [one * pool.parallelism.dp / level.shared for one, level in zip(sends, padded, strict=True)]
    return sends, together, [level.hop.latency for level in padded], [float(level.size) for level in padded]


def mean_cache_bytes(pool: Pool, requests: Requests) -> float:
    """KV bytes that a mean prompt hands over."""
    return float(requests.input_tokens.mean()) * float(kv_bytes_of_prompt(pool.model, pool.dtypes))
