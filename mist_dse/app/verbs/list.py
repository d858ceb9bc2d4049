"""``mist-dse list [WHAT]``: what the catalogue holds, with units and sources."""

from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from mist_dse.app.config import Job
from mist_dse.app.deployed import models_text, services_text
from mist_dse.app.errors import DONE, UsageError, nearest
from mist_dse.app.inputs import catalog_of
from mist_dse.app.output import csv_text, format_of, json_text, show, table_text
from mist_dse.catalog import Catalog
from mist_dse.metrics import METRICS
from mist_dse.perf.retrieval import host_bytes, scanned_bytes
from mist_dse.report.text import value_text
from mist_dse.specs.design import Design
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.specs.workload import Lengths, Workload
from mist_dse.stages.kinds import KINDS, kind_of

Row = dict[str, Any]

UNITS: Mapping[str, str] = {
    **dict.fromkeys(("memory", "capacity", "scanned"), "B"),
    **dict.fromkeys(("bandwidth", "read", "write"), "B/s"),
    **dict.fromkeys(("fp32", "bf16", "fp8", "fp4"), "FLOP/s"),
    **dict.fromkeys(("latency", "host_step"), "s"),
    "tdp": "W",
    "rate": "1/s",
}
"""Units of the columns that have one; JSON and CSV hold the SI value."""


def status(job: Job) -> int:
    """Show one kind of thing, or how many there are of each."""
    form = format_of(job.config)
    catalog = catalog_of(job)
    kinds = rows_of_kinds(catalog)
    what = job.config["what"]
    if what is None:
        rows: list[Row] = [{"what": kind, "entries": len(source())} for kind, source in kinds.items()]
    elif str(what) in kinds:
        rows = kinds[str(what)]()
    else:
        raise UsageError(f"list {what}: no such list; {nearest(what, kinds)}")
    show({"json": json_text, "csv": csv_text, "table": _table}[form](rows))
    return DONE


def rows_of_kinds(catalog: Catalog) -> dict[str, Callable[[], list[Row]]]:
    """For each kind of thing a function that returns its rows."""
    groups = {"accelerators": ("accelerator", _accelerator), "hosts": ("host", _host), "links": ("link", _link), "tiers": ("tier", _tier),
              "topologies": ("topology", _topology), "models": ("model", _model), "engines": ("engine", _engine),
              "indexes": ("index", _index), "pipelines": ("pipeline", _pipeline),
              "prices": ("price", _prices), "workloads": ("workload", _workload),
              "slos": ("slo", _file), "designs": ("design", _design)}  # fmt: skip
    others = {"benchmarks": "benchmark", "spaces": "space", "searches": "search", "executors": "executor", "experiments": "experiment"}
    rows: dict[str, Callable[[], list[Row]]] = {
        kind: lambda group=group, row=row: [row(catalog, name) for name in catalog.names(group)]  # type: ignore[misc]
        for kind, (group, row) in groups.items()
    }
    rows |= {kind: lambda group=group: _files(catalog, group) for kind, group in others.items()}  # type: ignore[misc]
    return {**rows, "stages": _stages, "metrics": _metrics}


def _accelerator(catalog: Catalog, name: str) -> Row:
    item = catalog.accelerator(name)
    peaks = {dtype: getattr(item.peaks, dtype) for dtype in ("bf16", "fp8", "fp4")}
    return {"name": name, "vendor": item.vendor, "year": item.year, **peaks, "memory": item.memory, "bandwidth": item.memory_bandwidth,
            "tdp": item.tdp, "scale_up": f"{item.scale_up.name} x{item.scale_up_domain}", "source": item.source}  # fmt: skip


def _host(catalog: Catalog, name: str) -> Row:
    item = catalog.host(name)
    return {"name": name, "year": item.year, "cores": item.cores, "fp32": item.fp32, "memory": item.memory,
            "bandwidth": item.memory_bandwidth, "tdp": item.tdp, "source": item.source}  # fmt: skip


def _link(catalog: Catalog, name: str) -> Row:
    item = catalog.link(name)
    return {"name": name, "kind": item.kind, "bandwidth": item.bandwidth, "latency": item.latency, "efficiency": item.efficiency,
            "source": item.source}  # fmt: skip


def _tier(catalog: Catalog, name: str) -> Row:
    item = catalog.tier(name)
    return {"name": name, "scope": item.scope, "capacity": item.capacity, "read": item.read, "write": item.write, "latency": item.latency,
            "source": item.source}  # fmt: skip


def _topology(catalog: Catalog, name: str) -> Row:
    item = catalog.topology(name)
    tiers = " > ".join(f"{tier.name} {tier.size} ({tier.link.name if tier.link else 'scale-up'})" for tier in item.tiers)
    return {"name": name, "devices": item.devices, "tiers": tiers, "source": item.source}


def _model(catalog: Catalog, name: str) -> Row:
    item = catalog.model(name)
    return {"name": name, "parameters": item.parameters, "active": item.active_parameters, "layers": item.layers, "heads": item.heads,
            "kv_heads": item.kv_heads, "experts": item.experts, "context": item.max_context, "dtype": item.native_dtype}  # fmt: skip


def _engine(catalog: Catalog, name: str) -> Row:
    item = catalog.engine(name)
    return {"name": name, "host_step": item.host_step, "memory_fraction": item.memory_fraction, "block_size": item.block_size,
            "source": item.source}  # fmt: skip


def _index(catalog: Catalog, name: str) -> Row:
    item, said = catalog.index(name), catalog.data("index", name)["source"]
    return {"name": name, "kind": item.kind, "vectors": item.vectors, "dimensions": item.dimensions, "memory": float(host_bytes(item)),
            "scanned": float(scanned_bytes(item)), "lists": item.n_list or None, "probes": item.n_probe or None,
            "source": said["default"] if isinstance(said, dict) else said}  # fmt: skip


def _pipeline(catalog: Catalog, name: str) -> Row:
    item = catalog.pipeline(name)
    return {"name": name, "stages": " > ".join(_stage(stage, item) for stage in item.stages), "source": item.source}


def _stage(stage: Stage, pipeline: Pipeline) -> str:
    """A stage in a few words: its name, its kind where that is another word, which share of requests visit it and how often."""
    said = [stage.kind] * (stage.kind != stage.name)
    if stage.when is not None:
        said.append("by load" if stage.when.way else f"{stage.when.below - stage.when.above:.0%}")
    repeat = pipeline.repeat_of(stage.name)
    if repeat is not None:
        said.append(f"{repeat.mode} x {repeat.count:g}")
    return f"{stage.name} ({', '.join(said)})" if said else stage.name


def _stages() -> list[Row]:
    """The kinds of stage, what may host them, their options with defaults, and the first sentence of what their file says."""
    rows = []
    for name in KINDS:
        kind = kind_of(name, f"stage kind {name}")
        about = str(kind.__doc__).partition("\n\n")[0].partition(": ")[2].replace("`", "")
        rows.append(
            {"name": name, "runs_on": ", ".join(kind.RUNS_ON), "options": options_text(kind.Options), "about": " ".join(about.split())}
        )
    return rows


def options_text(options: type[Any]) -> str:
    """The options of a stage kind and their defaults, with units: ``"rate = 400000 token/s, tokens = 16"``."""
    return ", ".join(f"{item.name} = {_default(item)}" for item in fields(options))


def _default(item: "Field[Any]") -> str:
    if item.default is None:
        return "none"
    unit = item.metadata.get("unit")
    return f"{item.default:g} {unit}" if unit else str(item.default).lower() if isinstance(item.default, bool) else str(item.default)


def _prices(catalog: Catalog, name: str) -> Row:
    item = catalog.prices(name)
    return {"name": name, "items": len(item.prices), "billing": item.billing, "date": item.date, "source": item.source}


def _workload(catalog: Catalog, name: str) -> Row:
    try:
        item = catalog.workload(name)
    except ValueError:  # it waits for a value that only its user knows, such as the path of a trace
        return {"name": name, "arrivals": "needs workload.path=FILE", "source": catalog.data("workload", name).get("source", "")}
    return {"name": name, "arrivals": item.arrivals.kind, "rate": item.arrivals.rate, "requests": item.arrivals.requests,
            **_token_counts(item), "source": item.source}  # fmt: skip


def _token_counts(item: Workload) -> Row:
    def said(lengths: Lengths | None) -> str:
        if lengths is None:
            return item.joint or item.arrivals.path or ""
        return f"{lengths.low}-{lengths.high}" if lengths.mean is None else f"{lengths.kind} {lengths.mean:g}"

    return {"input_tokens": said(item.input_tokens), "output_tokens": said(item.output_tokens)}


def _design(catalog: Catalog, name: str) -> Row:
    item: Design = catalog.design(name)
    pools = " + ".join(f"{pool.name} {pool.replicas} x tp{pool.parallelism.tp} {pool.accelerator.name}" for pool in item.pools)
    return {
        "name": name,
        "pipeline": item.pipeline.name,
        "model": models_text(item),
        "pools": pools,
        "services": services_text(item),
        "topology": item.topology.name,
    }


def _file(catalog: Catalog, name: str) -> Row:
    return {"name": name, "about": _first_comment(catalog.path("slo", name))}


def _files(catalog: Catalog, group: str) -> list[Row]:
    """Files of a group that the catalogue does not read, and the comment that each starts with."""
    paths = {path.stem: path for folder in reversed(catalog.directories) for path in sorted((folder / group).glob("*.yaml"))}
    return [{"name": name, "about": _first_comment(path)} for name, path in sorted(paths.items())]


def _first_comment(path: Path) -> str:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")]
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""


def _metrics() -> list[Row]:
    return [{"name": name, "unit": item.unit, "better": item.direction, "about": item.description} for name, item in METRICS.items()]


WIDEST = 90
"""Characters that a column of a table may have; JSON and CSV hold whole texts."""


def _table(rows: list[Row]) -> str:
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key), UNITS.get(key, "")) for key in header] for row in rows]
    numbers = [index for index, key in enumerate(header) if any(isinstance(row.get(key), int | float) for row in rows)]
    return table_text(cells, header=header, numbers=numbers)


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not unit and value < 10_000:
        return str(value)
    text = value_text(value, unit) if isinstance(value, int | float) else str(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
