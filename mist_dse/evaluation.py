"""The one entrance from a design to its numbers: `evaluate` at three fidelities, and `simulate` for the records of a run.

A design is lowered to rows, the rows go to `analytic` or `sim` with the same realised requests, the outcome to `metrics`.
The verdict *saturated* comes from one demand function whatever the fidelity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse import metrics
from mist_dse.analytic import BoundArrays, SteadyResult, bound, offered_rate, saturated, steady
from mist_dse.analytic.demand import Demands
from mist_dse.catalog import Catalog
from mist_dse.metrics.pools import ResourceUse
from mist_dse.requests import paced, realise
from mist_dse.rows import Load, Records, Requests, Steps
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import FIDELITIES, Evaluation, Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Slo, Workload
from mist_dse.stages import Lowered, lower, lower_pool

if TYPE_CHECKING:
    import pandas as pd

Metrics = dict[str, float | None]

STATUS = ("completed", "rejected", "unfinished")
"""Names of the values of `Records.status`."""

_pool_row = lru_cache(maxsize=512)(lower_pool)


@lru_cache(maxsize=8)
def _packaged_prices(name: str) -> PriceBook:
    """The price book of the package, read once: reading takes as long as simulating a thousand requests."""
    return Catalog().prices(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One run: ``records`` (times in s), the ``requests`` that came, the ``lowered`` design that served them, ``steps`` if asked for."""

    records: Records
    requests: Requests
    lowered: Lowered
    design: Design
    steps: Steps | None = None
    classes: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        """A column of the records: ``simulation.first_token`` is ``simulation.records.first_token``."""
        if name in Records._fields:
            return getattr(self.records, name)
        raise AttributeError(f"Simulation has no attribute {name!r}")

    def to_pandas(self) -> "pd.DataFrame":
        """One row per request: times, tokens, preemptions, status, class, session and priority where there are any, prompt tokens
        found in a prefix cache where there is one, and when service at each stage started and ended (`metrics.stage_times`)."""
        import pandas as pd

        r, q = self.records, self.requests
        frame = pd.DataFrame(
            {"request": np.arange(len(r.arrival)), "arrival_s": r.arrival, "admitted_s": r.admitted, "first_token_s": r.first_token,
             "last_token_s": r.last_token, "end_s": r.end, "input_tokens": q.input_tokens, "output_tokens": q.output_tokens,
             "preemptions": r.preemptions, "status": np.array(STATUS)[r.status]}
        )  # fmt: skip
        if len(q.class_id) and self.classes:
            frame["class"] = np.array(self.classes)[q.class_id]
        for name in ("session", "priority"):
            if len(column := getattr(q, name)):
                frame[name] = column
        owner = np.repeat(np.arange(len(r.arrival)), np.diff(self.lowered.jobs.first))
        if any(engine.caching for engine in self.lowered.servers.engines):
            frame["found_tokens"] = np.bincount(owner, r.visit_cached, len(frame)).astype(np.int64)
        times = metrics.stage_times(r, self.lowered.jobs, self.lowered.stage_of_visit, self.lowered.later)
        for stage, start, end in zip(self.design.pipeline.stages, times.start, times.end, strict=True):
            frame[f"{stage.name}_start_s"], frame[f"{stage.name}_end_s"] = start, end
        return frame


def simulate(design: Design, workload: Workload, *, requests: Requests | None = None, skip: bool = True, steps: bool = False) -> Simulation:
    """Run a workload through a design, request by request, with the engines' ``steps`` where asked.

    Raises ``SpecError`` where the design cannot be lowered.
    """
    drawn = realise(workload) if requests is None else requests
    lowered = lower(design, drawn, pool_row=_pool_row)
    if isinstance(lowered, Infeasible):
        raise SpecError(f"the design cannot be simulated: {lowered.constraint}")
    records, taken = _run(lowered, drawn, skip=skip, steps=steps)
    names = tuple(one.name for one in workload.classes)
    return Simulation(records=records, requests=drawn, lowered=lowered, design=design, steps=taken, classes=names)


def _run(lowered: Lowered, drawn: Requests, *, skip: bool, steps: bool) -> tuple[Records, Steps | None]:
    if steps:
        from mist_dse.sim import simulate_steps

        return simulate_steps(lowered.servers, lowered.jobs, drawn, skip=skip)
    from mist_dse.sim import simulate as run

    return run(lowered.servers, lowered.jobs, drawn, skip=skip), None


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
    book = _packaged_prices(prices) if isinstance(prices, str) else prices
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
    design: Design, workload: Workload, *, seeds: int = 4, fidelity: str = "simulated", prices: PriceBook | str = "default",
    max_goodput: bool = False,
) -> Evaluation:  # fmt: skip
    """`evaluate` at the workload's seed, with 95% intervals of every metric over as many seeds from it on (one seed: none).

    Seeds run in order; intervals are Student's, of the mean over seeds, and those of a class stand with it (``interval``).
    ``max_goodput`` adds the metrics of `max_goodput`, searched anew with each seed.
    """
    if max_goodput and fidelity != "simulated":
        raise SpecError(f"max_goodput is of simulated runs, not of fidelity {fidelity}: leave it out, or use fidelity simulated")
    runs = [_seeded(design, workload.with_seed(workload.seed + k), fidelity, prices, search=max_goodput) for k in range(seeds)]
    if seeds == 1:
        return runs[0]
    classes = {name: {**row, "interval": _intervals([run.classes[name] for run in runs])} for name, row in runs[0].classes.items()}
    return replace(runs[0], interval=_intervals([run.metrics for run in runs]), classes=classes)


def _intervals(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    return metrics.intervals([{name: row[name] for name in metrics.METRICS if name in row} for row in rows])


def _seeded(design: Design, workload: Workload, fidelity: str, prices: PriceBook | str, *, search: bool) -> Evaluation:
    run = evaluate(design, workload, fidelity=fidelity, prices=prices)
    if not search:
        return run
    found = max_goodput(design, workload, prices=prices)
    return replace(run, metrics={**run.metrics, **found.metrics}, provenance={**run.provenance, "max_goodput": list(found.limited_by)})


def max_goodput(
    design: Design, workload: Workload, *, prices: PriceBook | str = "default", requests: Requests | None = None
) -> metrics.MaxGoodput:
    """Largest arrival rate (1/s) that simulated runs of ``design`` serve within the workload's SLO, to 1%: see `metrics.goodput`.

    The same requests come at each rate tried, about eleven. Without a rate to change (closed loops, batches) or a promise to keep
    there is none. Raises ``SpecError`` as `evaluate` does.
    """
    drawn = realise(workload) if requests is None else requests
    offered = offered_rate(drawn)
    if not (0 < offered < np.inf and metrics.promises(workload)):
        why = "has no arrival rate to change" if metrics.promises(workload) else "promises nothing: give it an slo"
        return metrics.MaxGoodput(None, None, (f"workload {workload.name} {why}",))
    if isinstance(refused := lower(design, drawn, pool_row=_pool_row), Infeasible):
        return metrics.MaxGoodput(None, None, (refused.constraint,))

    def at(factor: float) -> Requests:
        arrivals = workload.arrivals
        if arrivals.kind == "sessions" and arrivals.rate and requests is None:  # how many are under way depends on the rate
            return realise(replace(workload, arrivals=replace(arrivals, rate=arrivals.rate * factor)))
        return paced(drawn, factor)

    def loaded(factor: float) -> tuple[float, float]:
        table = at(factor)
        lowered = lower(design, table, pool_row=_pool_row)
        asked = {} if isinstance(lowered, Infeasible) else metrics.demands(lowered, shared, table)
        return offered_rate(table), metrics.highest(asked, steps=True)[2] if asked else np.inf

    def run(factor: float) -> Evaluation:
        return evaluate(design, workload, prices=prices, requests=at(factor))

    shared = metrics.shared_names(design)
    top, limit = metrics.saturating_factor(loaded)
    factor, limited = metrics.largest_factor(lambda factor: metrics.slo_missed(run(factor), workload), top, limit=limit)
    if factor == 0:
        return metrics.MaxGoodput(0.0, None, limited)
    found = run(factor)
    table = at(factor)
    rate = found.metrics["throughput_rps"] if len(table.follows) else offered_rate(table)  # turns wait for answers: fewer come
    return metrics.MaxGoodput(rate, found, limited)


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
    shared = metrics.shared_names(design)
    used = metrics.utilisations(records, lowered.servers, shared)
    use = {name: pool.use for name, pool in usage.items()} | metrics.service_use(design, used)
    values |= metrics.usage_metrics(usage) | metrics.energy(design, use, values)
    asked = metrics.demands(lowered, shared, drawn, rate=_served_rate(records) if drawn.clients else None)
    counted = metrics.counted_requests(len(records.arrival), workload.warmup)
    names = [stage.name for stage in design.pipeline.stages]
    pools = {name: {key: value for key, value in pool._asdict().items() if key != "use"} for name, pool in usage.items()}
    pools |= {name: {"utilisation": used[name]} for name in metrics.real_servers(lowered.servers, shared) if name in used}
    outcome = _outcome(design, "simulated", values, asked, drawn, lowered)
    server = metrics.highest(asked, steps=True)[0]
    if server in usage:
        engine = lowered.servers.engines[lowered.servers.names.index(server)]
        outcome = replace(outcome, bottleneck=f"{server}: {metrics.limiting_resource(usage[server], engine)}")
    return replace(
        outcome,
        **metrics.outcomes(records)._asdict(),
        classes=metrics.class_metrics(records, drawn, workload),
        backlog={} if drawn.clients else metrics.backlog(records),
        breakdown=metrics.breakdown(records, lowered.jobs, lowered.stage_of_visit, names, counted=counted, later=lowered.later),
        pools=_with_watts({name: row | metrics.demand_columns(asked[name]) for name, row in pools.items()}, design, use),
    )


def _with_watts(pools: Mapping[str, Mapping[str, Any]], design: Design, use: Mapping[str, ResourceUse]) -> dict[str, dict[str, Any]]:
    """Rows of ``pools`` with the power of each pool and service, which get a row where they have none and draw some."""
    return _with_column(pools, "watts", metrics.watts_by_host(design, use))


def _with_column(pools: Mapping[str, Mapping[str, Any]], column: str, values: Mapping[str, float | None]) -> dict[str, dict[str, Any]]:
    found = {name: dict(row) for name, row in pools.items()}
    for name, value in values.items():
        if name in found or value:
            found.setdefault(name, {})[column] = value
    return found


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
    shared = metrics.shared_names(design)
    asked = metrics.with_shared(result.demand, lowered.servers, shared)
    real = metrics.real_servers(lowered.servers, shared)
    pools = {name: result.pools[name] if name in result.pools else _predicted_row(asked[name]) for name in real}
    use |= metrics.service_use(design, {name: min(float(row["utilisation"]), 1.0) for name, row in pools.items()})
    values |= metrics.energy(design, use, values)
    values["utilisation"] = max((result.pools[name]["utilisation"] for name in names), default=None)
    values["kv_occupancy"] = max((result.pools[name].get("kv", 0.0) for name in names), default=None)
    outcome = _outcome(design, "steady", values, asked, drawn, lowered)
    bottleneck = outcome.bottleneck if metrics.highest(asked, steps=True)[0] in shared else result.bottleneck
    return replace(outcome, completed=result.completed, rejected=result.rejected, bottleneck=bottleneck,
                   pools=_with_watts(pools, design, use))  # fmt: skip


def _predicted_row(asked: Mapping[str, float]) -> dict[str, float]:
    """A server of which the mean field knows the demand alone."""
    return {"utilisation": min(max(asked.values()), 1.0)} | metrics.demand_columns(asked)


def _spread_metrics(result: SteadyResult) -> Metrics:
    return {
        f"{name}_{statistic}": None if np.isnan(value) else float(value)
        for name in ("ttft", "tpot", "e2e")
        for statistic, value in getattr(result, name)._asdict().items()
    }


def _steady_use(result: SteadyResult, name: str, load: Load) -> ResourceUse:
    """Seconds per second of each resource: demand, and the weights once per step that is really taken."""
    row = result.pools[name]
    compute, memory, link = (row.get(f"demand {name}", 0.0) for name in ("compute", "memory bandwidth", "interconnect"))
    moved = memory + row.get("steps", 0.0) * load.byte_seconds_step
    return ResourceUse(min(row["utilisation"], 1.0), min(compute, 1.0), min(moved, 1.0), min(link, 1.0))


def _bounded(design: Design, workload: Workload, drawn: Requests, lowered: Lowered) -> Evaluation:
    floor = bound(lowered.servers, lowered.jobs, drawn)
    counted = metrics.counted_requests(len(drawn.arrival), workload.warmup)
    served = ~np.isnan(floor.e2e)
    values = metrics.latency_summary(*(value[counted] for value in (floor.ttft, floor.tpot, floor.e2e)))
    values |= _best_rates(floor, drawn, counted)
    kept, promised = metrics.promises_met(metrics.Latencies(floor.ttft, floor.tpot, floor.e2e), drawn, workload)
    if (promised & counted).any():
        met = kept & counted
        values["slo_attainment"] = float(met.sum() / max(counted.sum(), 1))
        if values["throughput_rps"] is not None:
            values["goodput_rps"] = values["throughput_rps"] * float(met.sum() / max((served & counted).sum(), 1))
    shared = metrics.shared_names(design)
    asked = metrics.demands(lowered, shared, drawn) if not drawn.clients else {}
    pools = {name: metrics.demand_columns(asked[name]) for name in metrics.real_servers(lowered.servers, shared) if name in asked}
    return replace(_outcome(design, "bound", values, asked, drawn, lowered), completed=int(served.sum()), rejected=int((~served).sum()),
                   pools=pools)  # fmt: skip


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
        found = (metrics.saturation(asked),)
    server, resource, _ = metrics.highest(asked, steps=False) if asked else ("", "", 0.0)
    return Evaluation(
        design_id=design.design_id,
        fidelity=fidelity,
        metrics=_all(values),
        violations=found,
        bottleneck=f"{server}: {resource}" if server else "",
        provenance={"pools": lowered.provenance, "requests": len(drawn.arrival), "power": metrics.energy_provenance(design)},
    )


def _judged(outcome: Evaluation, design: Design, workload: Workload, book: PriceBook) -> Evaluation:
    """Cost, and what the outcome breaks: prices, requests turned away, the workload's limits."""
    values = dict(outcome.metrics)
    found = list(outcome.violations)
    priced = metrics.cost(design, book, values)
    if isinstance(priced, Infeasible):
        found.append(priced)
        priced = {"accelerators": float(design.accelerators)}
    values |= priced
    rent = metrics.usd_per_hour_by_host(design, book)
    pools = outcome.pools if isinstance(rent, Infeasible) else _with_column(outcome.pools, "usd_per_hour", rent)
    arrived = outcome.completed + outcome.rejected + outcome.unfinished
    for count, what in ((outcome.rejected, "can never fit the KV cache or context length"), (outcome.unfinished, "never complete")):
        if count:
            found.append(Infeasible(kind="length", constraint=f"{count} of {arrived} requests {what}", margin=count / arrived))
    found += _broken(workload.slo, values, "")
    for one in workload.classes:
        found += _broken(one.slo, outcome.classes.get(one.name, values if len(workload.classes) == 1 else None), f"class {one.name}: ")
    said = {**outcome.provenance, "prices": book.name, "price rules": metrics.price_provenance(design, book)}
    return replace(outcome, metrics=values, violations=tuple(found), pools=pools, provenance=said)


def _broken(slo: Slo | None, values: Mapping[str, float | None] | None, of: str) -> list[Infeasible]:
    """The limits of ``slo`` that ``values`` break; none where the fidelity has no values."""
    found: list[Infeasible] = []
    if slo is None:
        return found
    if values is None:
        for text in slo.limits:
            metrics.parse_limit(text)
        return found
    for text in slo.limits:
        limit = metrics.parse_limit(text)
        if limit.metric not in values:
            raise SpecError(f"{of}limit {text!r}: {limit.metric} is not told apart by class; it belongs into the slo of the workload")
        value = values[limit.metric]
        if not limit.holds(value):
            found.append(Infeasible(kind="constraint", constraint=f"{of}{limit.metric} breaks {limit}", margin=float(limit.excess(value))))
    return found
