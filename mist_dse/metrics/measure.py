"""Records of a run become metrics.

The requests counted are those that arrive after warm-up (the first ``floor(warmup x n)`` are left out), each followed to its
completion. The window of rates opens at the first counted arrival and closes at the last counted end; attainment is over the
requests that arrived, so that a rejected or unfinished one counts as missed. What is undefined is None.

Arrivals are those of the records: when a closed loop or a session sends its next request is an outcome. A run has no horizon: it ends
when nothing is left to do, so that a request is unfinished only where the system can never finish it.

A workload of several classes is judged class by class with the same definitions and the same window, so that rates of classes add
up; each request is held to its class's SLO, or to the workload's where the class has none.
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


def outcomes(records: Records, *, chosen: NDArray[np.bool_] | None = None) -> Outcomes:
    """Completed, rejected and unfinished requests (among those ``chosen``); they sum to those that arrived."""
    among = True if chosen is None else chosen
    return Outcomes(*(int(np.count_nonzero((records.status == status) & among)) for status in (COMPLETED, REJECTED, UNFINISHED)))


def measure(records: Records, requests: Requests, workload: Workload) -> dict[str, float | None]:
    """Latency, rate, SLO and preemption metrics of one run, by the names of `METRICS`."""
    run = _judged(records, requests, workload)
    return _metrics(run, run.counted)


def class_metrics(records: Records, requests: Requests, workload: Workload) -> dict[str, dict[str, float | None]]:
    """`measure` and `outcomes` of each class of the workload by name; nothing where all requests are of one class."""
    if len(workload.classes) < 2:
        return {}
    run = _judged(records, requests, workload)
    found: dict[str, dict[str, float | None]] = {}
    for number, one in enumerate(workload.classes):
        mine = class_mask(requests, number)
        found[one.name] = _metrics(run, run.counted & mine) | outcomes(records, chosen=mine)._asdict()
    return found


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
    the latest arrival + e2e. A request that follows another may arrive later than its row says, so that only the others tell
    by when the window has opened.
    """
    done = counted & ~np.isnan(e2e)
    timed = counted & (requests.follows < 0) if len(requests.follows) else counted
    known = done.any() and timed.any()
    seconds = float((requests.arrival + e2e)[done].max() - requests.arrival[timed].min()) if known else 0.0
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


def promises_met(latencies: Latencies, requests: Requests, workload: Workload) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which requests meet every per-request limit of their class's SLO, and which are promised any (met without: completed)."""
    met, promised = ~np.isnan(latencies.e2e), np.zeros(len(latencies.e2e), bool)
    slos = [one.slo or workload.slo for one in workload.classes] or [workload.slo]
    for number, slo in enumerate(slos):
        if slo is not None and slo.per_request:
            mine = class_mask(requests, number) if len(slos) > 1 else np.ones(len(met), bool)
            met &= ~mine | slo_met(latencies, slo)
            promised |= mine
    return met, promised


def class_mask(requests: Requests, number: int) -> NDArray[np.bool_]:
    """Which requests are of class ``number``; where the table names no classes, all are of the first."""
    return requests.class_id == number if len(requests.class_id) else np.full(len(requests.arrival), number == 0)


class _Judged(NamedTuple):
    """A run, request by request: who counts, how long it took, whether its promise was met; ``seconds`` = the window of rates."""

    records: Records
    requests: Requests
    counted: NDArray[np.bool_]
    latencies: Latencies
    met: NDArray[np.bool_]
    promised: NDArray[np.bool_]
    seconds: float


def _judged(records: Records, requests: Requests, workload: Workload) -> _Judged:
    counted = counted_requests(len(records.arrival), workload.warmup)
    done = counted & (records.status == COMPLETED)
    latencies = request_latencies(records, requests.output_tokens)
    seconds = float(records.end[done].max() - np.nanmin(records.arrival[counted])) if done.any() else 0.0
    return _Judged(records, requests, counted, latencies, *promises_met(latencies, requests, workload), seconds)


def _metrics(run: _Judged, chosen: NDArray[np.bool_]) -> dict[str, float | None]:
    """The metrics of the requests ``chosen`` in the window of the run."""
    done = chosen & (run.records.status == COMPLETED)
    met = float((run.met & done).sum()) if (run.promised & chosen).any() else None
    count = float(chosen.sum())
    return {
        **latency_summary(*(latency[done] for latency in run.latencies)),
        **completed_rates(done, run.seconds, run.requests),
        "goodput_rps": None if met is None else _per(met, run.seconds),
        "slo_attainment": None if met is None else _per(met, count),
        "preemptions": _per(float(run.records.preemptions[chosen].sum()), count),
    }


def _per(amount: float, base: float) -> float | None:
    return amount / base if base > 0 else None
