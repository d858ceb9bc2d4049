"""``mist-dse evaluate``: the numbers of one design under one workload."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mist_dse.app.config import Job
from mist_dse.app.deployed import models_text, services_text
from mist_dse.app.errors import DONE, UNMET, UsageError, nearest
from mist_dse.app.inputs import catalog_of, design_of, workload_of
from mist_dse.app.measured import LATENCIES, STATISTICS, PredictionInterval, prediction_interval, with_intervals
from mist_dse.app.output import csv_text, format_of, json_text, say, show, table_text
from mist_dse.evaluation import replicate
from mist_dse.metrics import METRICS
from mist_dse.report.text import metric_text, value_text
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import FIDELITIES, Evaluation
from mist_dse.specs.workload import Workload


def status(job: Job) -> int:
    """Evaluate and show; 1 where a requirement is not met."""
    form, fidelity = format_of(job.config), str(job.config["fidelity"])
    if fidelity not in FIDELITIES:
        raise UsageError(f"fidelity={fidelity}: no such fidelity; {nearest(fidelity, FIDELITIES)}")
    design, workload = design_of(job), workload_of(job)
    prices = catalog_of(job).prices(str(job.config["prices"]))
    seeds = job.config["seeds"]
    if not isinstance(seeds, int) or seeds < 1:
        raise UsageError(f"seeds={seeds}: must be a whole number >= 1")
    search = job.config["max_goodput"]
    if not isinstance(search, bool):
        raise UsageError(f"max_goodput={search}: must be true or false")
    result = replicate(design, workload, seeds=seeds, fidelity=fidelity, prices=prices, max_goodput=search)
    found = prediction_interval(result, design, workload)
    if form == "table":
        show(table(result, design, workload, found))
    else:
        show(evaluation_json(result, found) if form == "json" else csv_text([evaluation_row(result)]))
    if not result.feasible:
        say(f"mist-dse: not feasible: {'; '.join(item.constraint for item in result.violations)}")
    return DONE if result.feasible else UNMET


def evaluation_json(result: Evaluation, found: PredictionInterval | None = None) -> str:
    """The evaluation as one JSON object with the keys of the interface, ``prediction_interval`` among them."""
    fields = with_intervals(asdict(result), found)
    order = ("design_id", "fidelity", "feasible", "violations")
    return json_text({**{name: fields.get(name, getattr(result, name)) for name in order}, **fields})


def evaluation_row(result: Evaluation) -> dict[str, Any]:
    """The evaluation as one row: identity, feasibility, every metric, the bottleneck."""
    reasons = "; ".join(item.constraint for item in result.violations)
    identity = {"design_id": result.design_id, "fidelity": result.fidelity, "feasible": result.feasible, "violations": reasons}
    counts = {"completed": result.completed, "rejected": result.rejected, "unfinished": result.unfinished}
    return {**identity, **result.metrics, **counts, "bottleneck": result.bottleneck}


def table(result: Evaluation, design: Design, workload: Workload, found: PredictionInterval | None = None) -> str:
    """The evaluation for people: what was evaluated, latencies, how far measurements lay from such, other metrics, breakdown."""
    pools = " + ".join(f"{pool.name} {pool.replicas} x {pool.parallelism.devices} {pool.accelerator.name}" for pool in design.pools)
    blocks = [f"{design.name or result.design_id}: {models_text(design)} on {pools}; workload {workload.name}; {result.fidelity}"]
    blocks += [f"services {services_text(design)}"] * bool(design.services)
    if result.violations:
        blocks.append(table_text([(item.kind, item.constraint) for item in result.violations], title="not feasible"))
    blocks += [latencies(result), measured(found), others(result), *classes(result), *servers(result), *remarks(result),
               *shares(result.breakdown)]  # fmt: skip
    return "\n".join(block for block in blocks if block)


def latencies(result: Evaluation) -> str:
    """TTFT, TPOT and E2E by statistic, with their intervals where there are any."""
    rows = [(name, *(_statistic(result, f"{name}_{kind}") for kind in STATISTICS)) for name in LATENCIES]
    return table_text(rows, header=("", *STATISTICS), numbers=range(1, 5))


def _statistic(result: Evaluation, name: str) -> str:
    text = metric_text(name, result.metrics.get(name))
    ends = result.interval.get(name)
    return text if ends is None else f"{text} ({' to '.join(metric_text(name, end) for end in ends)})"


def measured(found: PredictionInterval | None) -> str:
    """Where the measured means of such designs lay, and what that rests on."""
    if found is None:
        return ""
    ends = {name: found.metrics[f"{name}_mean"] for name in LATENCIES if f"{name}_mean" in found.metrics}
    said = ", ".join(f"{name} {' to '.join(metric_text(f'{name}_mean', end) for end in pair)}" for name, pair in ends.items())
    return f"  measured means: {said}\n  ({'; '.join(dict.fromkeys(found.basis.values()))})"


def others(result: Evaluation) -> str:
    """The metrics that are not latencies, two to a line, and what limits the design."""
    names = [name for name in METRICS if name.split("_")[0] not in LATENCIES and result.metrics.get(name) is not None]
    cells = [(name, metric_text(name, result.metrics[name])) for name in names]
    pairs = [(*left, *right) for left, right in zip(cells[::2], [*cells[1::2], ("", "")], strict=False)]
    bottleneck = [("bottleneck", result.bottleneck)] if result.bottleneck else []
    return "\n".join(part for part in (table_text(pairs, numbers=(1, 3)), table_text(bottleneck)) if part)


def classes(result: Evaluation) -> Sequence[str]:
    """One line per class of the workload."""
    counts, values = ("completed", "rejected", "unfinished"), ("ttft_p90", "tpot_p90", "e2e_p90", "slo_attainment", "goodput_rps")
    rows = [
        (name, *(str(row[kind]) for kind in counts), *(metric_text(kind, row[kind]) for kind in values))
        for name, row in result.classes.items()
    ]
    return [table_text(rows, header=("class", *counts, *values), numbers=range(1, 9))] if rows else []


def servers(result: Evaluation) -> Sequence[str]:
    """One line per server, where there are several: share of the time in use, demand over capacity (marked from 1 on), rent, power."""
    columns = {"utilisation": "", "demand": "", "usd_per_hour": "USD/h", "watts": "W"}
    rows = [
        (name, *(value_text(row[key], unit) if row.get(key) is not None else "" for key, unit in columns.items()), _mark(row))
        for name, row in result.pools.items()
    ]
    header = ("server", "in use", "demand", "rent", "power", "")
    return [table_text(rows, header=header, numbers=range(1, 5))] if len(rows) > 1 or any(row[-1] for row in rows) else []


def _mark(row: Mapping[str, Any]) -> str:
    return "! asked more than it can serve" if (row.get("demand") or 0.0) >= 1 else ""


def remarks(result: Evaluation) -> Sequence[str]:
    """What limits the rate, where it was searched, ways chosen by load, and whether the backlog grew: no verdicts."""
    limits, ways = result.provenance.get("max_goodput", ()), result.provenance.get("pools", {}).get("shares by load", {})
    rows = [("max_goodput_rps, limit or why not searched", text) for text in limits]
    rows += [(f"share of requests, {way}", f"{share:.1%}, by load") for way, share in ways.items()]
    if result.backlog.get("grew"):
        rows.append(("the backlog grew", f"by {result.backlog['growth']:.2g} requests per arrival in the second half of the run"))
    return [table_text(rows)] if rows else []


def shares(breakdown: Mapping[str, Mapping[str, float]]) -> Sequence[str]:
    """Where the mean request spends its time, by stage and cause."""
    rows = [(stage, cause, value_text(time, "s")) for stage, causes in breakdown.items() for cause, time in causes.items() if time > 0]
    return [table_text(rows, title="mean time of a request", numbers=(2,))] if rows else []
