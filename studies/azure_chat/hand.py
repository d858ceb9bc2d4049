"""Hand arithmetic for Llama-3.1-70B in fp8: catalogue constants and the trace, no equation of the library.

68.5e9 parameters of layers and 2.1 GB of output head; 137 GFLOP and, over all layers, 80 (131,072 + 204,800 / tp) bytes of element-wise
traffic per token; 161 all-reduces of 16,384 bytes per token; 320 GEMM and 400 element-wise kernels a step, the loops of the former
80 (16,384 + 36,864 / tp) long. Factors and host times are those of ``conf/engine/vllm.yaml``, the shares of peak those fitted to the
accelerator or the class default (MI300X).
"""

import math
from typing import NamedTuple

import numpy as np

import mist_dse as md
from mist_dse.catalog import Catalog
from mist_dse.perf.operator import operator_fit
from mist_dse.rows import Requests

ENGINE = Catalog().engine("vllm")
FITS = (("gemm", "fp8"), ("attention_prefill", "bf16"), ("attention_decode", "bf16"))


class Hand(NamedTuple):
    """Seconds of a prompt step (fixed, per token, per token squared) and of a decode step (floor, per sequence)."""

    fixed: float
    token: float
    square: float
    floor: float
    sequence: float


def hand(kind: str, tp: int) -> Hand:
    """The constants of one engine."""
    a, e = Catalog().accelerator(kind), ENGINE
    gemm, prompts, answers = (operator_fit(a, family, dtype, "", "vllm") for family, dtype in FITS)
    loops = 80 * (16_384 + 36_864 / tp) * gemm.depth
    kernels, rate, hops = 320 * gemm.overhead + loops + 400 * 1.8e-6, a.memory_bandwidth * tp, 161 * a.scale_up.latency
    compute = 137e9 / (gemm.compute * a.peaks.at("fp8") * tp) + 80 * (131_072 + 204_800 / tp) / (0.8 * a.memory_bandwidth) + 320 * gemm.item
    share = min(tp - 1, a.scale_up.links) / a.scale_up.links if a.scale_up.links and tp > 1 else 1.0
    reduce = 161 * 16_384 * 2 * (tp - 1) / tp / (share * a.scale_up.bandwidth * a.scale_up.efficiency)
    weights = 68.5e9 / (gemm.memory * rate)
    cache = 163_840 * 1_227 / (answers.memory * rate) + 80 * 8 / tp * answers.item
    return Hand(
        fixed=e.prefill_factor * (kernels + 80 * prompts.overhead + hops * min(tp - 1, 2)) + e.host_prefill + e.residue,
        token=e.prefill_factor * (compute + reduce),
        square=e.prefill_factor * 80 * 4 * 8192 / 2 / (prompts.compute * a.peaks.at("bf16") * tp),
        floor=e.linear_factor * (kernels + weights) + 80 * answers.overhead + hops * min(tp - 1, 1) + 2.1e9 / (0.83 * rate) + e.residue,
        sequence=e.attention_factor * cache + e.linear_factor * 320 * gemm.item + e.residue_sequence + e.host_sequence,
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
    return float(np.percentile(waited + service + ENGINE.front_end + ENGINE.client + ENGINE.front_end_token * tokens, 90))


def tpot_p90(design: md.Design, asked: Requests) -> float:
    """Steps in the ten minutes with most work for the pool: floor / (1 - share of prompts - share of answers), inf past 1."""
    pool, tokens = engine_of(design.pools[-1]), asked.input_tokens.astype(float)
    minute = (asked.arrival // 60).astype(int)
    work = tokens if len(design.pools) == 1 else asked.output_tokens.astype(float)
    busy = np.isin(minute, np.argsort(np.bincount(minute, weights=work))[-10:])
    prompts = (pool.token * tokens + ENGINE.mixing_factor * pool.square * tokens**2)[busy].sum() / 600 if len(design.pools) == 1 else 0.0
    answers = pool.sequence * asked.output_tokens[busy].sum() / 600
    load = (prompts + answers) / design.pools[-1].replicas
    return float(pool.floor / (1 - load)) if load < 1 else math.inf
