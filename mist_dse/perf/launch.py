"""Time that the host needs to launch a step that prefills, where its kernels are launched one by one.

Decode steps replay captured graphs; steps that prefill do not, and attention made of many small kernels is launched slower than
it runs until prompts are long: on Hopper and Blackwell alike a layer of it takes the same time whether it computes 4 or
1024 tokens. Host and device run side by side, so the step takes the longer of both. TensorRT-LLM launches from captured or
compiled code: no floor was measured there.
"""

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.perf.operator import coefficients
from mist_dse.specs.design import Pool

SPARSE_LAYER = 1.42e-3
"""Attention of one layer with a selection, s (SGLang 0.5.14 DSA modules on B200 and H200 below 1024 tokens, aiconfigurator 0.12)."""

DENSE_LAYER = 0.78e-3
"""The same while prompts are no longer than the selection, which is then left out, s (same source)."""

LINEAR_LAYER = 0.9e-3
"""Gated delta-net of one layer, s: ten Triton kernels of 70 us (gdn_update at 1 to 32 sequences on H20, alibaba/InferSim) and three
quantised projections of 66 us (DSA modules in block fp8 less those in bf16, over their five projections, H200).
Counted, not measured whole."""

CAPTURED = ("trtllm",)
"""Engine families without this floor."""


def launch_time(pool: Pool, tokens: Number) -> Number:
    """Seconds to launch the linear and sparse attention of a step that prefills ``tokens`` tokens, 0 for other kinds.

    No floor at the speed of light.
    """
    model = pool.model
    if pool.engine.family in CAPTURED or coefficients(pool.accelerator, "elementwise", "bf16").provenance == "datasheet":
        return np.zeros_like(tokens, dtype=float)
    sparse = np.where(np.asarray(tokens) > model.index_topk, SPARSE_LAYER, DENSE_LAYER) * (model.layers if model.index_heads else 0)
    return sparse + model.linear_layers * LINEAR_LAYER
