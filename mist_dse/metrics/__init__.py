"""Metrics: judgement of what happened. Latency, rates, goodput, cost, energy, limits, breakdown and intervals."""

from mist_dse.metrics.backlog import backlog
from mist_dse.metrics.breakdown import breakdown
from mist_dse.metrics.cost import cost, price_provenance, usd_per_hour_by_host
from mist_dse.metrics.energy import energy, energy_provenance, watts_by_host
from mist_dse.metrics.goals import GoalError, Limit, Objective, parse_limit, parse_objective
from mist_dse.metrics.goodput import MaxGoodput, largest_factor, promises, saturating_factor, slo_missed
from mist_dse.metrics.intervals import intervals
from mist_dse.metrics.measure import (
    Latencies,
    Outcomes,
    class_metrics,
    completed_rates,
    counted_requests,
    latency_summary,
    least_rates,
    measure,
    outcomes,
    promises_met,
    request_latencies,
    slo_met,
)
from mist_dse.metrics.pools import PoolUsage, ResourceUse, limiting_resource, pool_usage, usage_metrics
from mist_dse.metrics.servers import (
    demand_columns,
    demands,
    highest,
    real_servers,
    saturation,
    service_use,
    shared_names,
    utilisations,
    with_shared,
)
from mist_dse.metrics.stage_times import StageTimes, stage_times
from mist_dse.metrics.table import METRICS, Metric

__all__ = [
    "METRICS",
    "GoalError",
    "Latencies",
    "Limit",
    "MaxGoodput",
    "Metric",
    "Objective",
    "Outcomes",
    "PoolUsage",
    "ResourceUse",
    "StageTimes",
    "backlog",
    "breakdown",
    "class_metrics",
    "completed_rates",
    "cost",
    "counted_requests",
    "demand_columns",
    "demands",
    "energy",
    "energy_provenance",
    "highest",
    "intervals",
    "largest_factor",
    "latency_summary",
    "least_rates",
    "limiting_resource",
    "measure",
    "outcomes",
    "parse_limit",
    "parse_objective",
    "pool_usage",
    "price_provenance",
    "promises",
    "promises_met",
    "real_servers",
    "request_latencies",
    "saturating_factor",
    "saturation",
    "service_use",
    "shared_names",
    "slo_met",
    "slo_missed",
    "stage_times",
    "usage_metrics",
    "usd_per_hour_by_host",
    "utilisations",
    "watts_by_host",
    "with_shared",
]
