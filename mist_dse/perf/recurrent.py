"""Gated delta-net layers (linear attention; Yang et al. 2024) of one rank: prompts in chunks, decode as an update of the state.

    prompt of T tokens: layers (overhead + T (soft max of FLOP and bytes + depth))      decode: layers (overhead + state, twice)

Coefficients are those of families ``linear_prefill`` and ``linear_decode`` and stand for convolution and recurrence together. Chunks
of one sequence follow each other, which ``depth`` counts; a step is taken to hold one prompt (several run beside each other,
so this is too long by up to depth x tokens there).
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.kernels import Recurrent, delta_decode_work, delta_prefill_work, kernel_time
from mist_dse.perf.load import Number
from mist_dse.perf.operator import coefficients
from mist_dse.specs.design import Pool


class PromptTime(NamedTuple):
    """Seconds per step that prefills, and per token of it, all layers together."""

    overhead: float
    token: float


def recurrent(pool: Pool) -> Recurrent:
    """Delta-rule heads of one device."""
    model, tp = pool.model, pool.parallelism.tp
    return Recurrent(model.lin_key_heads / tp, model.lin_value_heads / tp, model.lin_key_dim, model.lin_value_dim, model.lin_conv)


def prompt_time(pool: Pool) -> PromptTime:
    """Time of the linear layers in a step that prefills."""
    layers, fit = pool.model.linear_layers, coefficients(pool.accelerator, "linear_prefill", "bf16")
    if not layers:
        return PromptTime(0.0, 0.0)
    each = float(kernel_time(fit, delta_prefill_work(1.0, recurrent(pool)))) - fit.overhead
    return PromptTime(layers * fit.overhead, layers * each)


def update_time(pool: Pool, sequences: Number) -> Number:
    """Time of the linear layers in a decode step; one that verifies guesses reads a state once and writes one per token."""
    layers, fit = pool.model.linear_layers, coefficients(pool.accelerator, "linear_decode", "bf16")
    if not layers:
        return np.zeros_like(sequences, dtype=float)
    return layers * kernel_time(fit, delta_decode_work(sequences * ((1.0 + pool.verified) / 2.0), recurrent(pool)))
