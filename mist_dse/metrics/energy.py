"""Power and energy of the accelerators of a design, from what their resources were used for (`perf.power`)."""

from collections.abc import Mapping

from mist_dse.metrics.pools import ResourceUse
from mist_dse.perf import power
from mist_dse.specs.design import Design


def energy(design: Design, use: Mapping[str, ResourceUse], metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """``watts`` of all accelerators, idle ones too, and ``joules_per_token`` = watts / ``metrics["output_tokens_per_s"]``.

    ``use`` gives the mean use of each pool's devices by the pool's name (`pool_usage`, or a prediction). None where a pool's
    power is unknown.
    """
    watts = 0.0
    for pool in design.pools:
        busy = use[pool.name].busy
        shares = {part: getattr(use[pool.name], part) / busy if busy > 0 else 0.0 for part in ("compute", "memory")}
        device = power.energy(pool.accelerator, busy=busy, makespan=1.0, **shares)
        if device is None:
            return {"watts": None, "joules_per_token": None}
        watts += float(device) * pool.devices
    tokens = metrics.get("output_tokens_per_s")
    return {"watts": watts, "joules_per_token": watts / tokens if tokens else None}
