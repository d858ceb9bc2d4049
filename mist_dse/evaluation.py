"""The one entrance from a design to its numbers: `evaluate` at three fidelities, and `simulate` for the records of a run.

A design is lowered to rows, the rows go to `analytic` or `sim` with the same realised requests, the outcome to `metrics`.
The verdict *saturated* comes from one demand function whatever the fidelity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse import metrics
from mist_dse.analytic import BoundArrays, SteadyResult, bound, demand, saturated, steady
from mist_dse.analytic.demand import Demands
from mist_dse.catalog import Catalog
from mist_dse.metrics.pools import ResourceUse
from mist_dse.requests import realise
from mist_dse.rows import Load, Records, Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import FIDELITIES, Evaluation, Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload
from mist_dse.stages import Lowered, lower, lower_pool

if TYPE_CHECKING:
    import pandas as pd

Metrics = dict[str, float | None]

STATUS = ("completed", "rejected", "unfinished")
"""Names of the values of `Records.status`."""

_pool_row = lru_cache(maxsize=512)(lower_pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One run: ``records`` (times in s), the ``requests`` that came, and the ``lowered`` design that served them."""

    records: Records
    requests: Requests
    lowered: Lowered
    design: Design

    def __getattr__(self, name: str) -> Any:
        """A column of the records: ``simulation.first_token`` is ``simulation.records.first_token``."""
        if name in Records._fields:
            return getattr(self.records, name)
        raise AttributeError(f"Simulation has no attribute {name!r}")

    def to_pandas(self) -> "pd.DataFrame":
        """One row per request: times, tokens, preemptions, status, and when each stage's visit started and ended."""
        import pandas as pd

        r, q = self.records, self.requests
        frame = pd.DataFrame(
            {"request": np.arange(len(r.arrival)), "arrival_s": r.arrival, "admitted_s": r.admitted, "first_token_s": r.first_token,
             "last_token_s": r.last_token, "end_s": r.end, "input_tokens": q.input_tokens, "output_tokens": q.output_tokens,
             "preemptions": r.preemptions, "status": np.array(STATUS)[r.status]}
        )  # fmt: skip
        owner = np.repeat(np.arange(len(r.arrival)), np.diff(self.lowered.jobs.first))
        for number, stage in enumerate(self.design.pipeline.stages):
            visits = np.flatnonzero(self.lowered.stage_of_visit == number)
            for column, times in (("start_s", r.visit_start), ("end_s", r.visit_end)):
                if len(visits):
                    frame[f"{stage.name}_{column}"] = pd.Series(times[visits], index=owner[visits]).groupby(level=0).max()
        return frame


def simulate(design: Design, workload: Workload, *, requests: Requests | None = None, skip: bool = True) -> Simulation:
    """Run a workload through a design, request by request. Raises ``SpecError`` where the design cannot be lowered."""
    from mist_dse.sim import simulate as run

    drawn = realise(workload) if requests is None else requests
    lowered = lower(design, drawn, pool_row=_pool_row)
    if isinstance(lowered, Infeasible):
        raise SpecError(f"the design cannot be simulated: {lowered.constraint}")
    return Simulation(records=run(lowered.servers, lowered.jobs, drawn, skip=skip), requests=drawn, lowered=lowered, design=design)


def evaluate(
    design: Design,
    workload: Workload,
    *,
    fidelity: str = "simulated",
    prices: PriceBook | str = "default",
    requests: Requests | None = None,
    seed: int | None = None,
) -> Evaluation:
    """Metrics of ``design`` under ``workload``, with what it violates, where its time goes and where its numbers come from.

    ``requests``: the realised workload where the caller has it already (all designs of a search share one); ``seed`` replaces
    the workload's. A violated constraint is a value (`Evaluation.violations`); an exception is bad input.
    """
    _check_fidelity(fidelity)
    book = Catalog().prices(prices) if isinstance(prices, str) else prices
    asked = workload if seed is None else workload.with_seed(seed)
    drawn = realise(asked) if requests is None else requests
    lowered = lower(design, drawn, pool_row=_pool_row)
    if isinstance(lowered, Infeasible):
        priced = metrics.cost(design, book, {})
        known = {} if isinstance(priced, Infeasible) else priced
        return Evaluation(design_id=design.design_id, fidelity=fidelity, metrics=_all(known), violations=(lowered,))
    outcome = {"bound": _bounded, "steady": _steady, "simulated": _simulated}[fidelity](design, asked, drawn, lowered)
    return _judged(outcome, design, asked, book)


def replicate(
    design: Design, workload: Workload, *, seeds: int = 4, fidelity: str = "simulated", prices: PriceBook | str = "default"
) -> Evaluation:
    """`evaluate` at the workload's seed, with 95% intervals of every metric over as many seeds from it on (one seed: none)."""
    runs = [evaluate(design, workload, fidelity=fidelity, prices=prices, seed=workload.seed + k) for k in range(seeds)]
    return replace(runs[0], interval=metrics.intervals([run.metrics for run in runs]) if seeds > 1 else {})


def _check_fidelity(fidelity: str) -> None:
    if fidelity not in FIDELITIES:
        raise SpecError(f"fidelity is {fidelity!r}: must be one of {', '.join(FIDELITIES)}")


def _all(known: Mapping[str, float | None]) -> Metrics:
    """Every metric by name, None where undefined."""
    return {name: known.get(name) for name in metrics.METRICS}


def _simulated(design: Design, workload: Workload, drawn: Requests, lowered: Lowered) -> Evaluation:
    from mist_dse.sim import simulate as run

    records = run(lowered.servers, lowered.jobs, drawn)
    values = metrics.measure(records, drawn, workload)
    usage = metrics.pool_usage(records, lowered.servers)
    values |= metrics.usage_metrics(usage) | metrics.energy(design, {name: pool.use for name, pool in usage.items()}, values)
    asked = demand(lowered.servers, lowered.jobs, drawn, rate=_served_rate(records) if drawn.clients else None)
    counted = metrics.counted_requests(len(records.arrival), workload.warmup)
    names = [stage.name for stage in design.pipeline.stages]
    pools = {name: {key: value for key, value in pool._asdict().items() if key != "use"} for name, pool in usage.items()}
    for k, station in enumerate(lowered.servers.stations):
        share = float(records.station_busy[k]) / (station.rate * max(records.makespan, np.finfo(float).tiny))
        pools[lowered.servers.names[len(lowered.servers.engines) + k]] = {"utilisation": share}
    outcome = _outcome(design, "simulated", values, asked, drawn, lowered)
    server = _highest(asked, steps=True)[0]
    if server in usage:
        engine = lowered.servers.engines[lowered.servers.names.index(server)]
        outcome = replace(outcome, bottleneck=f"{server}: {metrics.limiting_resource(usage[server], engine)}")
    return replace(
        outcome,
        **metrics.outcomes(records)._asdict(),
        breakdown=metrics.breakdown(records, lowered.jobs, lowered.stage_of_visit, names, counted=counted),
        pools={name: row | _demand_columns(asked[name]) for name, row in pools.items()},
    )


def _served_rate(records: Records) -> float:
    """Requests completed per second of the run: the rate of a closed loop."""
    return float((records.status == 0).sum()) / max(records.makespan, np.finfo(float).tiny)


def _steady(design: Design, workload: Workload, drawn: Requests, lowered: Lowered) -> Evaluation:
    result = steady(lowered.servers, lowered.jobs, drawn)
    counted = metrics.counted_requests(len(drawn.arrival), workload.warmup)
    seconds = float(counted.sum()) / result.rate if result.completed and result.rate > 0 else 0.0
    values = _spread_metrics(result) | metrics.completed_rates(counted, seconds, drawn)
    names = lowered.servers.names[: len(lowered.servers.engines)]
    use = {name: _steady_use(result, name, load) for name, load in zip(names, lowered.servers.loads, strict=True)}
    values |= metrics.energy(design, use, values)
    values["utilisation"] = max(row["utilisation"] for row in result.pools.values())
    values["kv_occupancy"] = max(row["kv"] for row in result.pools.values())
    return replace(_outcome(design, "steady", values, result.demand, drawn, lowered), completed=result.completed, rejected=result.rejected,
                   bottleneck=result.bottleneck, pools=result.pools)  # fmt: skip


def _spread_metrics(result: SteadyResult) -> Metrics:
    return {
        f"{name}_{statistic}": None if np.isnan(value) else float(value)
        for name in ("ttft", "tpot", "e2e")
        for statistic, value in getattr(result, name)._asdict().items()
    }


def _steady_use(result: SteadyResult, name: str, load: Load) -> ResourceUse:
    """Seconds per second of each resource: demand, and the weights once per step that is really taken."""
    row = result.pools[name]
    moved = row["demand memory bandwidth"] + row["steps"] * load.byte_seconds_step
    return ResourceUse(min(row["utilisation"], 1.0), min(row["demand compute"], 1.0), min(moved, 1.0), min(row["demand interconnect"], 1.0))


def _bounded(design: Design, workload: Workload, drawn: Requests, lowered: Lowered) -> Evaluation:
    floor = bound(lowered.servers, lowered.jobs, drawn)
    counted = metrics.counted_requests(len(drawn.arrival), workload.warmup)
    served = ~np.isnan(floor.e2e)
    values = metrics.latency_summary(*(value[counted] for value in (floor.ttft, floor.tpot, floor.e2e)))
    values |= _best_rates(floor, drawn, counted)
    if workload.slo is not None and workload.slo.per_request:
        met = metrics.slo_met(metrics.Latencies(floor.ttft, floor.tpot, floor.e2e), workload.slo) & counted
        values["slo_attainment"] = float(met.sum() / max(counted.sum(), 1))
        if values["throughput_rps"] is not None:
            values["goodput_rps"] = values["throughput_rps"] * float(met.sum() / max((served & counted).sum(), 1))
    asked = demand(lowered.servers, lowered.jobs, drawn) if not drawn.clients else {}
    return replace(_outcome(design, "bound", values, asked, drawn, lowered), completed=int(served.sum()), rejected=int((~served).sum()))


def _best_rates(floor: BoundArrays, drawn: Requests, counted: Any) -> Metrics:
    """Rates that no schedule beats; none for a closed loop with warm-up, whose window opens when the system decides."""
    if not drawn.clients:
        return metrics.least_rates(floor.e2e, counted, drawn)
    served = ~np.isnan(floor.e2e)
    return metrics.completed_rates(served, floor.makespan, drawn) if counted.all() else {"throughput_rps": None}


def _outcome(design: Design, fidelity: str, values: Metrics, asked: Demands, drawn: Requests, lowered: Lowered) -> Evaluation:
    """The evaluation before cost and limits: metrics, the verdict of the demand function, provenance."""
    found: tuple[Infeasible, ...] = ()
    if asked and saturated(asked, drawn):
        server, resource, value = _highest(asked, steps=True)
        text = f"{server} is saturated: {value:.3g} of what its {resource} can serve is asked"
        found = (Infeasible(kind="saturated", constraint=text, margin=value - 1.0),)
    server, resource, _ = _highest(asked, steps=False) if asked else ("", "", 0.0)
    return Evaluation(
        design_id=design.design_id,
        fidelity=fidelity,
        metrics=_all(values),
        violations=found,
        bottleneck=f"{server}: {resource}" if server else "",
        provenance={"pools": lowered.provenance, "requests": len(drawn.arrival)},
    )


def _highest(asked: Demands, *, steps: bool) -> tuple[str, str, float]:
    """The server that is asked most of, the resource (other than its steps as such, unless ``steps``), and how much."""
    server = max(asked, key=lambda name: max(asked[name].values()))
    row = asked[server]
    named = {name: value for name, value in row.items() if name != "steps"} or row
    resource = max(row if steps else named, key=lambda name: row[name])
    return server, resource if resource != "steps" else "step time", row[resource]


def _demand_columns(asked: Mapping[str, float]) -> dict[str, float]:
    """Demands of one server by resource; ``demand`` is the highest."""
    return {"demand": max(asked.values())} | {f"demand {name}": value for name, value in asked.items() if name != "steps"}


def _judged(outcome: Evaluation, design: Design, workload: Workload, book: PriceBook) -> Evaluation:
    """Cost, and what the outcome breaks: prices, requests turned away, the workload's limits."""
    values = dict(outcome.metrics)
    found = list(outcome.violations)
    priced = metrics.cost(design, book, values)
    if isinstance(priced, Infeasible):
        found.append(priced)
        priced = {"accelerators": float(design.accelerators)}
    values |= priced
    arrived = outcome.completed + outcome.rejected + outcome.unfinished
    for count, what in ((outcome.rejected, "can never fit the KV cache or context length"), (outcome.unfinished, "never complete")):
        if count:
            found.append(Infeasible(kind="length", constraint=f"{count} of {arrived} requests {what}", margin=count / arrived))
    for text in workload.slo.limits if workload.slo else ():
        limit = metrics.parse_limit(text)
        if not limit.holds(values.get(limit.metric)):
            excess = float(limit.excess(values.get(limit.metric)))
            found.append(Infeasible(kind="constraint", constraint=f"{limit.metric} breaks {limit}", margin=excess))
    return replace(outcome, metrics=values, violations=tuple(found), provenance={**outcome.provenance, "prices": book.name})
