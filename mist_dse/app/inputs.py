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
    """Plain data of a design after ``every`` and ``pools`` of ``config``; a single pool's setting outdoes that of every pool.

    >>> base = {"pools": {"a": {"tp": 2}, "b": {"tp": 4}}}
    >>> changed_design(base, {"every": {"accelerator": "l40s"}, "pools": {"b": {"tp": 8}}}, "design")["pools"]
    {'a': {'tp': 2, 'accelerator': 'l40s'}, 'b': {'tp': 8, 'accelerator': 'l40s'}}
    """
    design = copy.deepcopy(dict(data))
    everywhere = {key: value for key, value in config["every"].items() if value is not None}
    if "topology" in everywhere:
        design["topology"] = everywhere.pop("topology")
    pools: Any = design.setdefault("pools", {})
    if not isinstance(pools, dict) or not all(isinstance(pool, Mapping) for pool in pools.values()):
        raise UsageError(f"{where}: pools is {pools!r}: must be a mapping from names of pools to their keys")
    for name, pool in pools.items():
        pools[name] = {**pool, **everywhere}
    for name, fields in config["pools"].items():
        if name not in pools:
            raise UsageError(f"pools.{name}: {where} has no pool of that name; {nearest(name, pools)}")
        pools[name] = _merged(pools[name], fields)
    return design


def _merged(data: Any, changes: Any) -> Any:
    """``data`` with ``changes``, mapping by mapping."""
    if not isinstance(data, Mapping) or not isinstance(changes, Mapping):
        return changes
    return {**data, **{key: _merged(data.get(key), value) for key, value in changes.items()}}
