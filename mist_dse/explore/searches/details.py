"""What a run stores of each design on its front beside the results: ``details.json`` in the run folder.

Nothing is simulated again: a design is lowered to its rows once more and its operators are asked for FLOP, bytes and seconds at the
mean steps that its stored row tells of. From the stored tokens per step and what visits ask for follow the decodes and prompt tokens of a
mean step; each prompt is taken to have steps of its own, so that steps of decodes alone and steps with prompts are told apart. The
difference between the tables' step time and its operators is the host, launches, sampling and drafting, a part of its own.
"""

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse import metrics
from mist_dse.explore.runs.record import Evaluator, Row
from mist_dse.explore.searches.meansteps import MeanSteps, mean_pairs, mean_steps, step_seconds
from mist_dse.perf.network import fabric, spans
from mist_dse.perf.price import charges
from mist_dse.rows import Load, StepCost
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import Lowered, lower, lower_pool
from mist_dse.stages.servers import ENDLESS, INSTANT
from mist_dse.stages.step_parts import step_parts
from mist_dse.validate.residuals import COVERAGE, packaged
from mist_dse.validate.subjects import is_chat, subject_of

if TYPE_CHECKING:
    import pandas as pd

    from mist_dse.explore.searches.study import Loop

NAME = "details.json"

MOST = 200
"""Members of the front that details are stored of, the best in the first objective first."""

PATIENCE, HASTE = 4.0, 1.0
"""Seconds that they may take in all: 20 ms a design, and less where a search was interrupted."""

STATISTICS = ("mean", "p50", "p90", "p99")

REST = "host, launches, sampling"
"""The part of a step that is no operator's."""


def write_details(folder: Path, front: "pd.DataFrame", loop: "Loop", *, interrupted: bool) -> None:
    """Write ``details.json`` of the first `MOST` members of a front, whole or not at all; no failure of it ends a search."""
    until = time.monotonic() + (HASTE if interrupted else PATIENCE)
    found: dict[str, Any] = {}
    for key in list(front.get("design_id", []))[:MOST]:
        if time.monotonic() > until:
            break
        try:
            found[key] = design_details(loop.space.design(loop.variables[key]), loop.rows[key], loop.chunks.evaluator)
        except Exception as error:  # a page of a report is not worth a search
            _LOG.warning("%s: no details of design %s (%s: %s)", NAME, key, type(error).__name__, " ".join(str(error).split()))
    part = folder / f".{NAME}.tmp"
    try:
        part.write_text(json.dumps({"version": 1, "designs": found}, separators=(",", ":"), default=str), encoding="utf-8")
        part.replace(folder / NAME)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        _LOG.warning("%s: cannot be written (%s)", folder / NAME, error.strerror)


def design_details(design: Design, row: Row, evaluator: Evaluator) -> dict[str, Any]:
    """The details of one design from its row of results: ``stages``, ``pools``, ``links``, ``intervals``, ``charges``, ``sources``."""
    lowered = lower(design, evaluator.requests, pool_row=_pool_row)
    if isinstance(lowered, Infeasible):
        raise ValueError(lowered.constraint)
    found = {
        "stages": stage_order(design),
        "pools": dict(_pools(design, lowered, row)),
        "links": dict(_links(design, lowered, row)),
        "intervals": intervals(design, row, evaluator, lowered.provenance),
        "charges": _charges(design, evaluator),
        "sources": _sources(design, evaluator),
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def stage_order(design: Design) -> list[str]:
    """Stages as a request meets them, hand-offs after the last stage that prefills."""
    names = [stage.name for stage in design.pipeline.stages]
    last = max((at for at, stage in enumerate(design.pipeline.stages) if stage.kind == "prefill"), default=-1)
    return [*names[: last + 1], "handoff", *names[last + 1 :]]


def intervals(design: Design, row: Row, evaluator: Evaluator, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Where measurements lay that are like the latencies of a simulated ``row``: ``metrics`` [low, high] in s, and what that rests on.

    Nothing for pipelines of more than prefill and decode, which nobody has measured.
    """
    if evaluator.fidelity != "simulated" or not is_chat(design):
        return {}
    about = subject_of(design, evaluator.workload, row, provenance)
    ends: dict[str, list[float]] = {}
    basis: dict[str, dict[str, Any]] = {}
    for name in ("ttft", "tpot", "e2e"):
        found = packaged().interval(about, name)
        if found is None:
            continue
        known = {f"{name}_{kind}": value for kind in STATISTICS if (value := row.get(f"{name}_{kind}")) is not None}
        ends |= {metric: [value * found.low, value * found.high] for metric, value in known.items()}
        basis[name] = {"rows": found.rows, "group": found.group, "width": found.width}
    return {"coverage": COVERAGE, "metrics": ends, "basis": basis, "subject": about._asdict()} if ends else {}


def _pools(design: Design, lowered: Lowered, row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    servers = lowered.servers
    for number, pool in enumerate(design.pools):
        of, engine = (
            {key: row.get(f"pool/{pool.name}/{key}") for key in ("tokens_per_step", "step_seconds", "utilisation")},
            servers.engines[number],
        )
        if not of["tokens_per_step"] or not of["step_seconds"]:
            continue
        steps = mean_steps(lowered.jobs, number, engine, float(of["tokens_per_step"]))
        device = pool.accelerator
        asked, operators = _operators(design, pool, steps, servers.costs[number])
        yield (
            pool.name,
            {
                "accelerator": device.name,
                "model": pool.model.name,
                "engine": pool.engine.name,
                "replicas": pool.replicas,
                "devices": pool.parallelism.devices,
                "peaks": {dtype: device.peaks.at(dtype) for dtype in dict.fromkeys(str(item["dtype"]) for item in operators) if dtype},
                "bandwidth": device.memory_bandwidth,
                "tokens_per_step": of["tokens_per_step"],
                "step_seconds": of["step_seconds"],
                "steps": asked,
                "operators": operators,
                "use": _use(steps, servers.loads[number], of),
                "interconnect": _interconnect(design, pool, steps, servers.loads[number], of),
                "provenance": lowered.provenance[pool.name],
            },
        )


def _operators(design: Design, pool: Pool, steps: MeanSteps, cost: StepCost) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The kinds of steps, and the operators of each: seconds, FLOP and bytes of one such step, ``share`` of the pool's time."""
    levels = fabric(pool.accelerator, design.topology)
    kinds: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    for kind, share, asked in steps.kinds():
        whole = step_seconds(cost, pool.parallelism.dp, asked)
        found = step_parts(pool, levels, asked)
        kinds[kind] = {"share": share, "seconds": whole, "decodes": asked.decodes, "context": asked.context,
                       "prompt_tokens": asked.prompt_tokens}  # fmt: skip
        rest = max(whole - sum(part.seconds for part in found), 0.0)
        rows: list[dict[str, Any]] = [{"name": part.name, "kind": part.kind, "dtype": part.dtype, "flop": part.flop, "bytes": part.moved,
                 "seconds": part.seconds} for part in found]  # fmt: skip
        rows.append({"name": REST, "kind": "rest", "dtype": "", "flop": 0.0, "bytes": 0.0, "seconds": rest})
        parts += [{**item, "step": kind, "share": share * item["seconds"]} for item in rows if item["seconds"]]
    total = sum(item["share"] for item in parts)
    return kinds, [{**item, "share": item["share"] / total} for item in parts]


def _use(steps: MeanSteps, load: Load, of: Mapping[str, Any]) -> dict[str, float]:
    """Mean share of peak that each resource of a device is used for, over the run, as power is taken from (`metrics.pools`)."""
    rate = of["utilisation"] / of["step_seconds"]
    tokens = sum(share * (asked.decodes + asked.prompt_tokens) for _, share, asked in steps.kinds())
    contexts = sum(share * asked.decodes * asked.context for _, share, asked in steps.kinds())
    pairs = sum(share * asked.prompts * mean_pairs(asked) for _, share, asked in steps.kinds())
    return {
        "busy": of["utilisation"],
        "compute": rate * (tokens * load.flop_seconds_token + (pairs + contexts) * load.flop_seconds_pair),
        "memory bandwidth": rate * (load.byte_seconds_step + contexts * load.byte_seconds_context),
        "interconnect": rate * tokens * load.link_seconds_token,
    }


def _interconnect(design: Design, pool: Pool, steps: MeanSteps, load: Load, of: Mapping[str, Any]) -> dict[str, Any] | None:
    """The busiest link of a pool's all-reduces: bytes per second of one device and direction, mean over the run, and what it can carry."""
    slowest, busiest, inside = 0.0, None, 1
    for span in spans(fabric(pool.accelerator, design.topology), pool.parallelism.tp):
        each = 2 * (span.ways - 1) / span.ways / inside / span.hop.bandwidth
        if each > slowest:
            slowest, busiest = each, span.hop
        inside *= span.ways
    if busiest is None:
        return None
    return {"name": busiest.name, "bytes_per_s": _use(steps, load, of)["interconnect"] * busiest.bandwidth, "capacity": busiest.bandwidth}


def _links(design: Design, lowered: Lowered, row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stations that carry bytes: hand-offs, links of tiers, memory under scans."""
    servers, cores = lowered.servers, {service.name for service in design.services if service.kind in ("cores", "outside")}
    names = servers.names[len(servers.engines) :]
    for name, station in zip(names, servers.stations, strict=False):
        used = row.get(f"pool/{name}/utilisation")
        if used is not None and name not in cores and station != INSTANT and station.rate < ENDLESS * 1e6:
            yield name, {"utilisation": used, "bytes_per_s": used * station.rate, "capacity": station.rate}


def _charges(design: Design, evaluator: Evaluator) -> list[dict[str, Any]]:
    """What each pool and service pays for."""
    found = charges(design, evaluator.prices)
    if isinstance(found, Infeasible):
        return []
    return [{"payer": one.payer, "item": one.item, "amount": float(one.amount), "usd_per_hour": one.usd_per_hour} for one in found]


def _sources(design: Design, evaluator: Evaluator) -> dict[str, Any]:
    """Where datasheet figures, prices and power come from."""
    book, devices = evaluator.prices, {host.accelerator.name: host.accelerator for host in design.hosts if host.accelerator is not None}
    items = {price.item: f"{price.provider}, {price.kind}, {price.date}" for price in book.prices if price.item in devices}
    return {
        "accelerators": {name: device.source for name, device in devices.items()},
        "engines": {pool.engine.name: pool.engine.source for pool in design.pools},
        "prices": {"book": book.name, "source": book.source, "date": book.date, "items": items},
        "price rules": metrics.price_provenance(design, book),
        "power": metrics.energy_provenance(design),
    }


def _plain(value: Any) -> Any:
    """Data for JSON: five significant digits, undefined numbers None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.5g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


_pool_row = lru_cache(maxsize=512)(lower_pool)
_LOG = logging.getLogger(__name__)
