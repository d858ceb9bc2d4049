"""Time of one operator: t = overhead + max(FLOP/(compute x peak), bytes/(memory x bandwidth)).

The three coefficients are an accelerator's own fit where it has one, else the class default below. Fitted on measured GEMM
and attention kernels, such a roofline predicted served token times better than interpolated kernel tables (3.4% against
4.6%), so it is all that a new accelerator needs. The speed of light is (0, 1, 1) at datasheet peaks: a lower bound.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.specs.hardware import Accelerator, OperatorFit

FAMILIES = ("gemm", "attention_prefill", "attention_decode", "moe", "elementwise")
"""Operator families that share coefficients."""

_SOURCE = "class default: fits over H100, H200 and B200 kernel tables of aiconfigurator 0.12 and served token times"
_GEMM = {"fp32": (4e-6, 0.78, 0.83), "tf32": (4e-6, 0.78, 0.83), "bf16": (4e-6, 0.78, 0.83),
         "fp8": (8e-6, 0.50, 0.78), "int8": (8e-6, 0.50, 0.78), "fp4": (8e-6, 0.40, 0.60)}  # fmt: skip
_OTHER = {
    "attention_prefill": (6e-6, 0.55, 0.75),
    "attention_decode": (6e-6, 0.45, 0.75),
    "moe": (12e-6, 0.45, 0.70),
    "elementwise": (1.8e-6, 1.0, 0.80),
}


class Coefficients(NamedTuple):
    """A fit ready to use: seconds, FLOP/s and B/s, and where they come from (``fitted``, ``class default``, ``datasheet``)."""

    overhead: float
    flops: float
    bandwidth: float
    provenance: str


def class_default(family: str, dtype: str) -> OperatorFit:
    """Coefficients of an accelerator without fits of its own."""
    overhead, compute, memory = _GEMM[dtype] if family == "gemm" else _OTHER[family]
    return OperatorFit(family=family, dtype=dtype, overhead=overhead, compute=compute, memory=memory, source=_SOURCE)


def coefficients(accelerator: Accelerator, family: str, dtype: str) -> Coefficients:
    """Coefficients of ``family`` computed in ``dtype``, or in the next wider datatype that the accelerator has units for."""
    native = accelerator.peaks.native(dtype)
    fitted = [fit for fit in accelerator.operators if fit.family == family and fit.dtype == native]
    fit = fitted[0] if fitted else class_default(family, native)
    flops, bandwidth = fit.compute * accelerator.peaks.at(native), fit.memory * accelerator.memory_bandwidth
    return Coefficients(fit.overhead, flops, bandwidth, "fitted" if fitted else "class default")


def speed_of_light(accelerator: Accelerator, dtype: str) -> Coefficients:
    """Datasheet peaks without overhead: no implementation is faster."""
    return Coefficients(0.0, accelerator.peaks.at(dtype), accelerator.memory_bandwidth, "datasheet")


def operator_time(fit: Coefficients, flop: Number, moved: Number) -> Number:
    """Seconds of one call that computes ``flop`` and moves ``moved`` bytes.

    >>> h100 = Coefficients(overhead=4e-6, flops=0.78 * 989e12, bandwidth=0.83 * 3.35e12, provenance="class default")
    >>> round(float(operator_time(h100, 2 * 4096**3, 3 * 2 * 4096**2)) * 1e6, 1)
    182.2
    """
    return fit.overhead + np.maximum(flop / fit.flops, moved / fit.bandwidth)
