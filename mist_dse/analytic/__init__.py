"""Closed-form fidelities over the machine's rows: `demand`, the `bound` that no schedule beats, and the mean-field `steady`."""

from mist_dse.analytic.bound import BoundArrays, bound, bounds
from mist_dse.analytic.combine import DesignSteady, colocated, combine
from mist_dse.analytic.demand import demand, offered_rate, pool_demand, saturated
from mist_dse.analytic.pool import PoolSteady, Variants, pool_steady
from mist_dse.analytic.result import SteadyResult
from mist_dse.analytic.spread import Spread
from mist_dse.analytic.steady import steady
from mist_dse.analytic.traffic import Traffic, engine_traffic

__all__ = [
    "BoundArrays", "DesignSteady", "PoolSteady", "Spread", "SteadyResult", "Traffic", "Variants",
    "bound", "bounds", "colocated", "combine", "demand", "engine_traffic", "offered_rate", "pool_demand", "pool_steady", "saturated",
    "steady",
]  # fmt: skip
