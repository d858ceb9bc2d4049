"""A case run and read the way its benchmark reads a server: the mean or the median over its requests.

TPOT of a request = (last token - first token)/(n - 1), n >= 2. Throughput counts all tokens from the first request to the last
completion. Times are in ms, as in the files of measurements. Where lengths or arrivals are drawn and requests are few, a
measurement is one draw of many: the prediction is the mean over a few.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mist_dse.analytic import demand, saturated
from mist_dse.evaluation import Simulation, simulate
from mist_dse.rows import COMPLETED
from mist_dse.sim.simulate import LivelockError
from mist_dse.specs._check import SpecError
from mist_dse.validate.case import Case
from mist_dse.validate.recipe import STATISTICS

MILLI = 1e-3

FIGURES = ("ttft_ms", "tpot_ms", "e2e_ms", "output_tok_s", "total_tok_s")
"""What a load generator reports."""

BUSY = 0.97
"""Share of a run that a prefill pool is busy past which waiting times hang on small errors of its rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a load generator would report; nan where a row has no such figure (TPOT of one token).

    ``saturated``: an open loop asks for more than a server can serve, or the prefill pool of a disaggregated design never rests: waits
    then hang on small errors of a rate, so TTFT is no claim.
    """

    ttft_ms: float
    tpot_ms: float
    e2e_ms: float
    output_tok_s: float
    total_tok_s: float
    saturated: bool
    provenance: Mapping[str, Any]


DRAWS, FEW = 3, 2000
"""Draws that a prediction is the mean of, and the requests from which on one is enough (seed noise of a mean wait is then below 2%)."""


def prediction(case: Case) -> Prediction | str:
    """The figures of one case, mean over draws, or why it gives none."""
    draws = DRAWS if _drawn(case) and (case.workload.arrivals.requests or 0) < FEW else 1
    found = []
    for seed in range(case.workload.seed, case.workload.seed + draws):
        one = drawn_prediction(replace(case, workload=case.workload.with_seed(seed)))
        if isinstance(one, str):
            return one
        found.append(one)
    means: dict[str, Any] = {name: float(np.mean([getattr(one, name) for one in found])) for name in FIGURES}
    return replace(found[0], **means, saturated=any(one.saturated for one in found))


def _drawn(case: Case) -> bool:
    """Whether the load has anything random."""
    load = case.workload
    kinds = [lengths.kind for lengths in (load.input_tokens, load.output_tokens) if lengths is not None]
    return case.requests is None and (load.arrivals.kind in ("poisson", "gamma") or any(kind != "fixed" for kind in kinds))


def drawn_prediction(case: Case) -> Prediction | str:
    """The figures of one draw of a case, or why it gives none."""
    try:
        run = simulate(case.design, case.workload, requests=case.requests)
    except (SpecError, LivelockError) as error:
        return str(error).removeprefix("the design cannot be simulated: ")
    done = run.records.status == COMPLETED
    if not done.all():
        lost = int((~done).sum())
        return f"{lost} of {len(done)} requests can never fit the KV cache, the context length or the token budget"
    return _reported(run, STATISTICS[case.statistic])


def latencies(case: Case) -> tuple[float, float]:
    """TTFT and TPOT of a case in s, nan where it gives none: what a fit of profiles compares."""
    found = prediction(case)
    return (np.nan, np.nan) if isinstance(found, str) else (found.ttft_ms * MILLI, found.tpot_ms * MILLI)


def _reported(run: Simulation, statistic: Any) -> Prediction:
    records, requests = run.records, run.requests
    sent = records.arrival  # in a closed loop the records hold when a client really sent
    many = requests.output_tokens > 1
    gaps = (records.last_token - records.first_token)[many] / (requests.output_tokens[many] - 1)
    span = max(float(records.last_token.max() - sent.min()), np.finfo(float).tiny)
    out, total = float(requests.output_tokens.sum()), float((requests.output_tokens + requests.input_tokens).sum())
    return Prediction(
        ttft_ms=float(statistic(records.first_token - sent)) / MILLI,
        tpot_ms=float(statistic(gaps)) / MILLI if len(gaps) else np.nan,
        e2e_ms=float(statistic(records.last_token - sent)) / MILLI,
        output_tok_s=out / span,
        total_tok_s=total / span,
        saturated=_busiest(run) > BUSY or _overloaded(run),
        provenance=run.lowered.provenance,
    )


def _overloaded(run: Simulation) -> bool:
    """Whether an open loop asks for more than some server can serve."""
    requests = run.requests
    if requests.clients or len(requests.arrival) < 2 or requests.arrival[-1] <= requests.arrival[0]:
        return False
    return bool(saturated(demand(run.lowered.servers, run.lowered.jobs, requests), requests))


def _busiest(run: Simulation) -> float:
    """Share of the run that the busiest replica of a pool that only prefills has a step running; 0 where none does."""
    if len(run.design.pools) < 2:
        return 0.0
    records = run.records
    first = records.pool == 0
    return float(records.busy[first].max() / records.makespan) if first.any() and records.makespan > 0 else 0.0
