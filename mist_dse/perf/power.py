"""Electrical power of an accelerator from its utilisations.

Two forms. `busy_power`: P/TDP = 0.29 + 0.77 max(u), least squares on 260 measured A100 rows (Splitwise traces), median error 3.9%;
measured on the A100 only. `component_power`: idle + (TDP - idle) min(1, a u_compute + b u_memory + c u_link) for devices whose idle
power is known. Unknown idle power is taken as 0.12 TDP and flagged.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.specs.hardware import Accelerator

IDLE_SHARE = 0.12
"""Idle over TDP where unknown (known ones: A100 63/400, H100 75/700, A10 20/150, RTX PRO 6000 35/600)."""

A100_OFFSET, A100_SLOPE = 0.29, 0.77
COMPONENT_WEIGHTS = (1.0, 0.75, 0.0)
"""a, b, c: prefill saturates the device, memory alone reaches three quarters; no measurement isolates links."""


class IdlePower(NamedTuple):
    """Watts, and whether they are a figure of the device or the assumed share."""

    watts: float
    known: bool


def idle_power(accelerator: Accelerator) -> IdlePower | None:
    """Idle power; None where neither it nor the TDP is known."""
    if accelerator.idle_power is not None:
        return IdlePower(accelerator.idle_power, True)
    return None if accelerator.tdp is None else IdlePower(IDLE_SHARE * accelerator.tdp, False)


def busy_power(accelerator: Accelerator, *, compute: Number, memory: Number) -> Number | None:
    """Watts while a step runs, from the shares of peak FLOP/s and bandwidth in use (A100 fit); None without a TDP."""
    if accelerator.tdp is None:
        return None
    return accelerator.tdp * np.minimum(1.0, A100_OFFSET + A100_SLOPE * np.maximum(compute, memory))


def component_power(accelerator: Accelerator, *, compute: Number, memory: Number, link: Number = 0.0) -> Number | None:
    """Watts averaged over time, from time-averaged utilisations; None without a TDP."""
    idle = idle_power(accelerator)
    if accelerator.tdp is None or idle is None:
        return None
    a, b, c = COMPONENT_WEIGHTS
    return idle.watts + (accelerator.tdp - idle.watts) * np.minimum(1.0, a * compute + b * memory + c * link)


def energy(accelerator: Accelerator, *, busy: Number, makespan: Number, compute: Number, memory: Number) -> Number | None:
    """Joules of one device over ``makespan`` s of which ``busy`` s run steps; utilisations are shares of the busy time."""
    idle, running = idle_power(accelerator), busy_power(accelerator, compute=compute, memory=memory)
    if idle is None or running is None:
        return None
    return running * busy + idle.watts * np.maximum(makespan - busy, 0.0)
