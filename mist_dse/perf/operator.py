"""Time of one operator, a roofline with a soft corner and three small linear terms.

    t = overhead + (C^s + M^s)^(1/s) + item x items + depth x steps + group x groups
    C = FLOP / (compute x peak),  M = bytes / (memory x bandwidth);  s = inf: max(C, M), s = 1: C + M

``items`` are what a kernel starts one by one (rows to quantise, key-value heads of sequences, tiles of queries), ``steps`` the
length of the loop that nobody shares (k of a product, the context of one head), ``groups`` experts hit (`perf.kernels` counts
them). Every term grows with work, so time never falls. Coefficients are the accelerator's own fit, else borrowed or the class
default below. The speed of light is (0, 1, 1) at datasheet peaks, without corner or terms: a lower bound.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.specs.hardware import Accelerator, OperatorFit

_SOURCE = "class default: fits over H100, H200 and B200 kernel tables of aiconfigurator 0.12 and served token times"


class Coefficients(NamedTuple):
    """A fit ready to use: seconds, FLOP/s and B/s, and where they come from.

    ``provenance``: ``fitted``, ``borrowed from NAME``, ``class default`` or ``datasheet``.
    """

    overhead: float
    flops: float
    bandwidth: float
    provenance: str
    sharpness: float = math.inf
    item: float = 0.0
    depth: float = 0.0
    group: float = 0.0


_GEMM = {"fp32": (4e-6, 0.78, 0.83), "tf32": (4e-6, 0.78, 0.83), "bf16": (4e-6, 0.78, 0.83),
         "fp8": (8e-6, 0.50, 0.78), "int8": (8e-6, 0.50, 0.78), "fp4": (8e-6, 0.40, 0.60)}  # fmt: skip
_KERNELS = ("{}; class default: fits over H100, H200, B200, B300 and GB200 kernel tables of aiconfigurator 0.12 (SGLang 0.5.14), "
            "held against alibaba/InferSim (Apache-2.0) measurements on {}")  # fmt: skip
_SPARSE = _KERNELS.format("DeepSeek sparse attention", "H800")
_LINEAR = _KERNELS.format("gated delta-net", "H20")
_OTHER = {
    "attention_prefill": (6e-6, 0.55, 0.75),
    "attention_decode": (6e-6, 0.45, 0.75),
    "latent_prefill": (6e-6, 0.50, 0.75),
    "latent_decode": (6e-6, 0.45, 0.70),
    "linear_prefill": (38e-6, 0.37, 0.51),
    "linear_decode": (5.5e-6, 0.30, 0.82),
    "sparse_prefill": (7e-6, 0.55, 0.75),
    "sparse_decode": (6e-6, 0.40, 0.65),
    "indexer": (22e-6, 0.84, 0.80),
    "moe": (12e-6, 0.45, 0.70),
    "elementwise": (1.8e-6, 1.0, 0.80),
}
_TERMS: dict[str, dict[str, Any]] = {
    "linear_prefill": {"sharpness": 2.8, "depth": 2.55e-8, "source": _LINEAR},
    "linear_decode": {"source": _LINEAR},
    "sparse_prefill": {"source": _SPARSE},
    "sparse_decode": {"source": _SPARSE},
    "indexer": {"sharpness": 2.0, "item": 6e-9, "depth": 4e-10, "source": _SPARSE},
}
"""What sets the default of a family apart from a plain roofline: chunks of one sequence follow each other in a linear layer
(``depth``, per token), an indexer selects row by row (``item``, per query; ``depth``, per token that one row scans)."""


def class_default(family: str, dtype: str) -> OperatorFit:
    """Coefficients of an accelerator without fits of its own or of a relative: a roofline."""
    overhead, compute, memory = _GEMM[dtype] if family == "gemm" else _OTHER[family]
    plain = OperatorFit(family=family, dtype=dtype, overhead=overhead, compute=compute, memory=memory, source=_SOURCE,
                        provenance="class default")  # fmt: skip
    return replace(plain, **_TERMS.get(family, {}))


def operator_fit(
    accelerator: Accelerator, family: str, dtype: str, storage: str = "", engine: str = "", *, kernel: str = ""
) -> OperatorFit:
    """The fit that answers for ``family``, best match of storage, then engine, then kernel; the class default where there is none.

    ``dtype`` computes in the next wider datatype that the accelerator has units for.
    """
    native = accelerator.peaks.native(dtype)
    wanted = storage or (dtype if dtype != native else "")
    known = [fit for fit in accelerator.operators if fit.family == family and fit.dtype == native and fit.kernel in ("", kernel)]
    found = [fit for fit in known if fit.storage == wanted] or [fit for fit in known if not fit.storage]
    found = [fit for fit in found if fit.engine == engine] or found
    found = [fit for fit in found if fit.kernel == kernel] or found
    return found[0] if found else class_default(family, native)


def coefficients(
    accelerator: Accelerator, family: str, dtype: str, storage: str = "", engine: str = "", *, kernel: str = ""
) -> Coefficients:
    """Coefficients of ``family`` computed in ``dtype``.

    ``storage`` tells apart what computes alike but is kept otherwise: weight-only and block-scaled formats, the KV cache.
    """
    return coefficients_of(accelerator, operator_fit(accelerator, family, dtype, storage, engine, kernel=kernel))


def coefficients_of(accelerator: Accelerator, fit: OperatorFit) -> Coefficients:
    """A fit as rates: its shares of the accelerator's datasheet peaks."""
    flops, bandwidth = fit.compute * accelerator.peaks.at(fit.dtype), fit.memory * accelerator.memory_bandwidth
    return Coefficients(fit.overhead, flops, bandwidth, fit.provenance, fit.sharpness, fit.item, fit.depth, fit.group)


def speed_of_light(accelerator: Accelerator, dtype: str) -> Coefficients:
    """Datasheet peaks without overhead: no implementation is faster."""
    return Coefficients(0.0, accelerator.peaks.at(dtype), accelerator.memory_bandwidth, "datasheet")


def operator_time(
    fit: Coefficients, flop: Number, moved: Number, *, items: Number = 0.0, steps: Number = 0.0, groups: Number = 0.0
) -> Number:
    """Seconds of one call that computes ``flop`` and moves ``moved`` bytes.

    >>> h100 = Coefficients(overhead=4e-6, flops=0.78 * 989e12, bandwidth=0.83 * 3.35e12, provenance="class default")
    >>> round(float(operator_time(h100, 2 * 4096**3, 3 * 2 * 4096**2)) * 1e6, 1)
    182.2
    >>> float(operator_time(Coefficients(1.0, 1.0, 1.0, "fitted", sharpness=2.0, item=0.5), 3.0, 4.0, items=2.0))
    7.0
    """
    busy = soft_maximum(flop / fit.flops, moved / fit.bandwidth, fit.sharpness)
    return fit.overhead + busy + fit.item * items + fit.depth * steps + fit.group * groups


def soft_maximum(one: Number, two: Number, sharpness: float) -> Number:
    """(a^s + b^s)^(1/s) of numbers >= 0: the greater one, and up to 2^(1/s) times it where both are alike."""
    high = np.maximum(one, two)
    if math.isinf(sharpness):
        return high
    ratio = np.minimum(one, two) / np.where(high > 0, high, 1.0)
    return high * (1.0 + ratio**sharpness) ** (1.0 / sharpness)
