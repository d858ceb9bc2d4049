"""Metrics: judgement of what happened. Latency, rates, goodput, cost, energy, limits, breakdown and intervals."""

from mist_dse.metrics.backlog import backlog
from mist_dse.metrics.breakdown import breakdown
from mist_dse.metrics.cost import cost
from mist_dse.metrics.energy import energy
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
    "backlog",
    "breakdown",
    "class_metrics",
    "completed_rates",
    "cost",
    "counted_requests",
    "energy",
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
    "promises",
    "promises_met",
    "request_latencies",
    "saturating_factor",
    "slo_met",
    "slo_missed",
    "usage_metrics",
]
