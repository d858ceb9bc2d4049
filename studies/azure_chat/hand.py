"""Hand arithmetic for Llama-3.1-70B in fp8: catalogue constants and the trace, no equation of the library.

68.5e9 parameters of layers and 2.1 GB of output head; 137 GFLOP and, over all layers, 80 (131,072 + 204,800 / tp) bytes of element-wise
traffic per token; 161 all-reduces of 16,384 bytes per token; 320 GEMM and 400 element-wise kernels a step. 0.91, 1.15, 1.25 and the
host times are those of ``conf/engine/vllm.yaml``, the shares of peak those fitted to the accelerator or the class default (MI300X).
"""

import math
from typing import NamedTuple

import numpy as np

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.rows import Requests


class Hand(NamedTuple):
    """Seconds of a prompt step (fixed, per token, per token squared) and of a decode step (floor, per sequence)."""

    fixed: float
    token: float
    square: float
    floor: float
    sequence: float


def hand(kind: str, tp: int) -> Hand:
    """The constants of one engine."""
    a = Catalog().accelerator(kind)
    t0, ec, em = next(((f.overhead, f.compute, f.memory) for f in a.operators if f.dtype == "fp8"), (8e-6, 0.5, 0.78))
    kernels, rate, hops = 0.91 * (320 * t0 + 400 * 1.8e-6) + 80 * 6e-6, a.memory_bandwidth * tp, 161 * a.scale_up.latency
    compute = 137e9 / (ec * a.peaks.at("fp8") * tp) + 80 * (131_072 + 204_800 / tp) / (0.8 * a.memory_bandwidth)
    share = min(tp - 1, a.scale_up.links) / a.scale_up.links if a.scale_up.links and tp > 1 else 1.0
    reduce = 161 * 16_384 * 2 * (tp - 1) / tp / (share * a.scale_up.bandwidth * a.scale_up.efficiency)
    return Hand(
        fixed=kernels + hops * min(tp - 1, 2) + 1.6e-3,
        token=0.91 * compute + reduce,
        square=80 * 4 * 8192 / 2 / (0.55 * a.peaks.at("bf16") * tp),
        floor=kernels + hops * min(tp - 1, 1) + 0.55e-3 + 0.91 * 68.5e9 / (em * rate) + 2.1e9 / (0.83 * rate),
        sequence=1.15 * 163_840 * 1_227 / (0.75 * rate) + 43e-6,
    )


def engine_of(pool: md.Pool) -> Hand:
    """The constants of a pool's engines."""
    return hand(pool.accelerator.name, pool.parallelism.tp)


def ttft_p90(design: md.Design, asked: Requests) -> float | None:
    """Prompts one at a time, in order, on the first free engine; None where the pool also decodes, which this leaves out."""
    if len(design.pools) == 1:
        return None
    pool, tokens = engine_of(design.pools[0]), asked.input_tokens.astype(float)
    free, waited = np.zeros(design.pools[0].replicas), np.empty(len(tokens))
    service = pool.fixed + pool.token * tokens + pool.square * tokens**2
    for k, now in enumerate(asked.arrival):
        first = free.argmin()
        waited[k] = max(free[first] - now, 0.0)
        free[first] = now + waited[k] + service[k]
    return float(np.percentile(waited + service + 0.024 + 6e-6 * tokens, 90))


def tpot_p90(design: md.Design, asked: Requests) -> float:
    """Steps in the ten minutes with most work for the pool: floor / (1 - share of prompts - share of answers), inf past 1."""
    pool, tokens = engine_of(design.pools[-1]), asked.input_tokens.astype(float)
    minute = (asked.arrival // 60).astype(int)
    work = tokens if len(design.pools) == 1 else asked.output_tokens.astype(float)
    busy = np.isin(minute, np.argsort(np.bincount(minute, weights=work))[-10:])
    prompts = (pool.token * tokens + 1.25 * pool.square * tokens**2)[busy].sum() / 600 if len(design.pools) == 1 else 0.0
    answers = pool.sequence * asked.output_tokens[busy].sum() / 600
    load = (prompts + answers) / design.pools[-1].replicas
    return float(pool.floor / (1 - load)) if load < 1 else math.inf
