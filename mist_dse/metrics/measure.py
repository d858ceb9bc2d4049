"""Records of a run become metrics.

The requests counted are those that arrive after warm-up (the first ``floor(warmup x n)`` are left out), each followed to its
completion. The window of rates opens at the first counted arrival and closes at the last counted end; attainment is over the
requests that arrived, so that a rejected or unfinished one counts as missed. What is undefined is None.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.metrics.table import STATISTICS
from mist_dse.rows import COMPLETED, REJECTED, UNFINISHED, Floats, Records, Requests
from mist_dse.specs.workload import Slo, Workload


class Latencies(NamedTuple):
    """Latencies of n requests (s); nan where undefined (not completed; TPOT of a single token)."""

    ttft: Floats
    tpot: Floats
    e2e: Floats


class Outcomes(NamedTuple):
    """How many requests of the whole run, warm-up included, ended how."""

    completed: int
    rejected: int
    unfinished: int


def outcomes(records: Records) -> Outcomes:
    """Completed, rejected and unfinished requests; they sum to those that arrived."""
    return Outcomes(*(int(np.count_nonzero(records.status == status)) for status in (COMPLETED, REJECTED, UNFINISHED)))


def measure(records: Records, requests: Requests, workload: Workload) -> dict[str, float | None]:
    """Latency, rate, SLO and preemption metrics of one run, by the names of `METRICS`."""
    counted = counted_requests(len(records.arrival), workload.warmup)
    done = counted & (records.status == COMPLETED)
    latencies = request_latencies(records, requests.output_tokens)
    seconds = float(records.end[done].max() - records.arrival[counted].min()) if done.any() else 0.0
    met = None if workload.slo is None or not workload.slo.per_request else slo_met(latencies, workload.slo) & done
    return {
        **latency_summary(*(latency[done] for latency in latencies)),
        **completed_rates(done, seconds, requests),
        "goodput_rps": None if met is None else _per(float(met.sum()), seconds),
        "slo_attainment": None if met is None else _per(float(met.sum()), float(counted.sum())),
        "preemptions": _per(float(records.preemptions[counted].sum()), float(counted.sum())),
    }


def completed_rates(done: NDArray[np.bool_], seconds: float, requests: Requests) -> dict[str, float | None]:
    """Requests, output tokens and all tokens per second where the requests ``done`` complete in ``seconds``."""
    output, total = (float(side[done].sum()) for side in (requests.output_tokens, requests.input_tokens + requests.output_tokens))
    return {
        "throughput_rps": _per(float(done.sum()), seconds),
        "output_tokens_per_s": _per(output, seconds),
        "total_tokens_per_s": _per(total, seconds),
    }


def least_rates(e2e: Floats, counted: NDArray[np.bool_], requests: Requests) -> dict[str, float | None]:
    """`completed_rates` that none can beat whose requests take at least ``e2e`` s each (nan: rejected), in an open loop.

    The window of `measure` opens at the first counted arrival and closes at the last counted end, which is no earlier than
    the latest arrival + e2e.
    """
    done = counted & ~np.isnan(e2e)
    seconds = float((requests.arrival + e2e)[done].max() - requests.arrival[counted].min()) if done.any() else 0.0
    return completed_rates(done, seconds, requests)


def counted_requests(count: int, warmup: float) -> NDArray[np.bool_]:
    """Which of ``count`` requests are counted: all but the first ``floor(warmup x count)``."""
    return np.arange(count) >= int(warmup * count + 1e-9)


def request_latencies(records: Records, output_tokens: NDArray[np.int64]) -> Latencies:
    """TTFT, TPOT and E2E of each request."""
    done = records.status == COMPLETED
    gaps = np.where(done & (output_tokens >= 2), output_tokens - 1.0, np.nan)
    ttft, decode, e2e = records.first_token - records.arrival, records.last_token - records.first_token, records.end - records.arrival
    return Latencies(np.where(done, ttft, np.nan), decode / gaps, np.where(done, e2e, np.nan))


def latency_summary(ttft: Floats, tpot: Floats, e2e: Floats) -> dict[str, float | None]:
    """Mean and percentiles of the three latencies; nan values are left out, None where nothing is left.

    The same function serves bound, steady and simulated values. A pointwise smaller sample has smaller statistics.

    >>> latency_summary(np.array([1.0, 3.0]), np.array([np.nan]), np.array([2.0]))["ttft_p50"]
    2.0
    """
    percentiles = [p for p in STATISTICS.values() if p is not None]
    summary: dict[str, float | None] = {}
    for name, values in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
        defined = values[~np.isnan(values)]
        numbers = [float(defined.mean()), *map(float, np.percentile(defined, percentiles))] if len(defined) else [None] * len(STATISTICS)
        summary |= {f"{name}_{statistic}": number for statistic, number in zip(STATISTICS, numbers, strict=True)}
    return summary


def slo_met(latencies: Latencies, slo: Slo) -> NDArray[np.bool_]:
    """Which requests meet every per-request limit; a single-token request has no TPOT to miss."""
    met = np.ones(len(latencies.e2e), bool)
    for name, limit in slo.per_request:
        met &= ~(getattr(latencies, name) > limit)
    return met & ~np.isnan(latencies.e2e)


def _per(amount: float, base: float) -> float | None:
    return amount / base if base > 0 else None
