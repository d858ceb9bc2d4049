"""From composed plain data to specs: the design, the workload and the space that a job names."""

import copy
from collections.abc import Mapping
from typing import Any

from mist_dse.app.config import Job
from mist_dse.app.errors import UsageError, nearest
from mist_dse.catalog import Catalog, build_design, build_workload
from mist_dse.specs.design import Design
from mist_dse.specs.workload import Workload


def catalog_of(job: Job) -> Catalog:
    """The catalogue over the package's folder and the user's."""
    return Catalog(directories=job.directories)


def design_of(job: Job) -> Design:
    """The design of ``job`` with what is set everywhere and in single pools."""
    where = job.file("design")
    data = {"name": job.choices.get("design", ""), **changed_design(job.config["design"], job.config, where)}
    return build_design(data, catalog_of(job), where=where)


def workload_of(job: Job) -> Workload:
    """The workload of ``job``, with the promises of ``slo`` where one is named."""
    data = {"name": job.choices.get("workload", "workload"), **job.config["workload"]}
    if job.config.get("slo") is not None:
        data["slo"] = job.config["slo"]
    return build_workload(data, where=job.file("workload"), catalog=catalog_of(job))


def changed_design(data: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Plain data of a design after ``every``, ``pools`` and ``services`` of ``config``.

    What is set everywhere is set in every pool, not in services; a single pool's setting outdoes it.

    >>> base = {"pools": {"a": {"tp": 2}, "b": {"tp": 4}}}
    >>> changed_design(base, {"every": {"accelerator": "l40s"}, "pools": {"b": {"tp": 8}}}, "design")["pools"]
    {'a': {'tp': 2, 'accelerator': 'l40s'}, 'b': {'tp': 8, 'accelerator': 'l40s'}}
    """
    design = copy.deepcopy(dict(data))
    everywhere = {key: value for key, value in config["every"].items() if value is not None}
    if "topology" in everywhere:
        design["topology"] = everywhere.pop("topology")
    parts = {part: _part(design, part, where) for part in PARTS}
    for name, pool in parts["pools"].items():
        parts["pools"][name] = {**pool, **everywhere}
    for part, members in parts.items():
        for name, fields in config.get(part, {}).items():
            if name not in members:
                raise UsageError(_no_such(part, name, parts, where))
            if not isinstance(fields, Mapping):
                raise UsageError(f"{part}.{name} is {fields!r}: must be a mapping; write {part}.{name}.KEY=VALUE")
            members[name] = _merged(members[name], fields)
    return design | {part: members for part, members in parts.items() if members}


PARTS = {"pools": "pool", "services": "service"}
"""What a design consists of, and one of each."""


def _part(design: Mapping[str, Any], part: str, where: str) -> dict[str, Any]:
    """The pools or services of a design; ``UsageError`` where they are no mappings."""
    value = design.get(part, {})
    if not isinstance(value, dict) or not all(isinstance(fields, Mapping) for fields in value.values()):
        raise UsageError(f"{where}: {part} is {value!r}: must be a mapping from names of {part} to their keys")
    return value


def _no_such(part: str, name: str, parts: Mapping[str, Mapping[str, Any]], where: str) -> str:
    """The line for a pool or service that the design does not have."""
    for other, noun in PARTS.items():
        if name in parts[other]:
            return f"{part}.{name}: {name} is a {noun} of {where}; write {other}.{name}"
    known = nearest(name, parts[part]) if parts[part] else f"it has no {part}"
    return f"{part}.{name}: {where} has no {PARTS[part]} of that name; {known}"


def _merged(data: Any, changes: Any) -> Any:
    """``data`` with ``changes``, mapping by mapping."""
    if not isinstance(data, Mapping) or not isinstance(changes, Mapping):
        return changes
    return {**data, **{key: _merged(data.get(key), value) for key, value in changes.items()}}
