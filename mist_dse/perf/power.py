"""Electrical power of an accelerator from its utilisations: P/TDP = min(1, 0.29 + 1.22 u_compute + 0.73 u_memory) in steps.

u = FLOP or bytes over datasheet peak, over the time that steps run. Fitted on A100 SXM (Splitwise-sim data/perf_model.csv: llama-2-70b
at tp 2, 4, 8 and bloom-176b at tp 8, fp16), on prompts that fit the model's context: mean absolute error 2.3% on configurations left out
(studies/power). It is linear below the TDP, so the mean of many steps may stand for them. Between steps: idle power, 0.12 TDP
where unknown. No other accelerator's power was measured: every other answer borrows the A100's shares, and says so. A host socket:
idle + (TDP - idle) x utilisation, the linear law of servers (Fan, Weber, Barroso 2007, eq. 1), no host measured here.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.perf.load import Number
from mist_dse.specs.hardware import Accelerator, Host

IDLE_SHARE = 0.12
"""Idle over TDP where unknown (known ones: A100 63/400, H100 75/700, A10 20/150, RTX PRO 6000 35/600)."""

FITTED_ON = ("a100_sxm_80gb", "a100_sxm_40gb")
"""Accelerators whose chip the shares below were measured on."""

RUNNING_SHARE, COMPUTE_SHARE, MEMORY_SHARE = 0.29, 1.22, 0.73
"""Shares of the TDP: with steps running and nothing used, all of the peak FLOP/s (0.58 of it reaches the TDP), all of the bandwidth.
Links: no measurement tells their power from that of the rest."""


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
    """Watts while steps run, from the shares of peak FLOP/s and bandwidth in use; None without a TDP."""
    if accelerator.tdp is None:
        return None
    return accelerator.tdp * np.minimum(1.0, RUNNING_SHARE + COMPUTE_SHARE * compute + MEMORY_SHARE * memory)


def energy(accelerator: Accelerator, *, busy: Number, makespan: Number, compute: Number, memory: Number) -> Number | None:
    """Joules of one device over ``makespan`` s of which ``busy`` s run steps; utilisations are shares of the busy time."""
    idle, running = idle_power(accelerator), busy_power(accelerator, compute=compute, memory=memory)
    if idle is None or running is None:
        return None
    return running * busy + idle.watts * np.maximum(makespan - busy, 0.0)


def host_power(host: Host, utilisation: Number) -> Number | None:
    """Watts of one socket at a utilisation from 0 to 1, idle power assumed; None without a TDP."""
    return None if host.tdp is None else host.tdp * (IDLE_SHARE + (1 - IDLE_SHARE) * utilisation)


def host_provenance(host: Host) -> str:
    """Where the power of a host comes from."""
    return "unknown: no TDP" if host.tdp is None else f"linear from an assumed idle power of {IDLE_SHARE} TDP to the TDP at full use"


def provenance(accelerator: Accelerator) -> str:
    """Where the power of an accelerator comes from: ``fitted``, or ``borrowed`` from the A100; ``unknown`` without a TDP."""
    idle = idle_power(accelerator)
    if idle is None or accelerator.tdp is None:
        return "unknown: no TDP"
    fit = "fitted on A100 SXM" if accelerator.name in FITTED_ON else "borrowed: shares of TDP fitted on A100 SXM"
    return fit if idle.known else f"{fit}; idle power assumed {IDLE_SHARE} TDP"
