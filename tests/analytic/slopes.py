"""Slopes that belong to a step cost: speed of light left at 0 (always a floor), fits read from the tables."""

import numpy as np

from mist_dse.rows import Load, Servers, StepCost


def slopes(cost: StepCost) -> Load:
    """A `Load` that no step undercuts."""
    tokens = np.arange(1, len(cost.token_time))
    fit = min(float((cost.token_time[1:] / tokens).min()), float(cost.token_time[-1] - cost.token_time[-2]))
    return Load(0.0, 0.0, 0.0, 0.0, 0.0, token_fit=max(fit, 0.0), pair_fit=2 * cost.quad, context_fit=0.0)


def with_slopes(servers: Servers) -> Servers:
    """The servers with such slopes for every pool."""
    return servers._replace(loads=tuple(slopes(cost) for cost in servers.costs))
