"""The metrics by name: unit, better direction, meaning, and what bounds them. A further metric is a further entry.

Times are those of a request as its user sees it (MODEL.md, section 10): TTFT from arrival to the first token, TPOT =
(last token - first token)/(n - 1) of a request of n >= 2 tokens, E2E from arrival to the end of its last stage. Statistics
are over the requests counted: completed ones among those that arrive after warm-up.

``bound`` says by what kind of argument no schedule can beat the metric's bound, None where there is none: ``unloaded`` (each
request alone on the fastest hardware of the design), ``demand`` (work over capacity, and what was offered), ``power`` (least
dynamic energy and idle power over the shortest makespan), ``exact`` (a property of the design alone).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Metric(NamedTuple):
    """One metric: ``unit`` of `units.quantity`, ``direction`` "min" or "max" = what is better, kind of ``bound`` or None."""

    name: str
    unit: str
    direction: str
    description: str
    bound: str | None = None


STATISTICS: Mapping[str, float | None] = MappingProxyType({"mean": None, "p50": 50.0, "p90": 90.0, "p99": 99.0})
"""Statistics of each latency; the value is the percentile (linear interpolation), None for the mean."""

LATENCIES: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "time to first token: arrival to the first token of the answer",
        "tpot": "time per output token after the first: (last - first) / (n - 1), requests of n >= 2 tokens",
        "e2e": "end-to-end latency: arrival to the end of the last stage",
    }
)
"""Latency of one request by name."""


def _metrics() -> dict[str, Metric]:
    latencies = [
        Metric(f"{name}_{statistic}", "s", "min", f"{statistic} of {text}", "unloaded")
        for name, text in LATENCIES.items()
        for statistic in STATISTICS
    ]
    others = [
        Metric("throughput_rps", "1/s", "max", "counted requests completed per second, from the first arrival to the last end", "demand"),
        Metric("output_tokens_per_s", "token/s", "max", "output tokens of the counted requests completed, per second", "demand"),
        Metric("total_tokens_per_s", "token/s", "max", "input and output tokens of the counted requests completed, per second", "demand"),
        Metric("goodput_rps", "1/s", "max", "requests per second that meet every per-request limit of the SLO", "unloaded"),
        Metric("slo_attainment", "1", "max", "share of the requests arrived that meet every per-request limit of the SLO", "unloaded"),
        Metric("max_goodput_rps", "1/s", "max", "largest arrival rate found that is served within the SLO (max_goodput=true)", None),
        Metric("usd_per_hour", "USD/h", "min", "price of everything provisioned, idle or not", "exact"),
        Metric("usd_per_mtok", "USD/Mtoken", "min", "price per million output tokens, at the load offered", "demand"),
        Metric("usd_per_mtok_at_max", "USD/Mtoken", "min", "price per million output tokens at max_goodput_rps", None),
        Metric("joules_per_token", "J/token", "min", "energy of the accelerators and host sockets per output token", "power"),
        Metric("watts", "W", "min", "mean power of the accelerators and host sockets over the run", None),
        Metric("accelerators", "1", "min", "accelerators over all pools", "exact"),
        Metric("preemptions", "1", "min", "preemptions per counted request", None),
        Metric("utilisation", "1", "max", "share of time with a step running, of the busiest pool", None),
        Metric("kv_occupancy", "1", "min", "highest share of KV blocks in use in any replica", None),
    ]
    return {metric.name: metric for metric in latencies + others}


METRICS: Mapping[str, Metric] = MappingProxyType(_metrics())
"""Every metric by name, in the order that tables show."""
