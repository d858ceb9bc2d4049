"""Ways to set one pool, by construction: each field is chosen among the values that the fields before it allow."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mist_dse.explore.amounts import Amounts
from mist_dse.explore.errors import LargeSpaceError, SpaceError
from mist_dse.explore.goals import StaticLimit
from mist_dse.explore.table import Variants
from mist_dse.explore.variables import ENTRIES, Variable, pool_with
from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import Accelerator, Topology
from mist_dse.specs.model import ModelSpec

Core = tuple[Pool, Mapping[str, Any]]

MOST_CORES = 50_000
"""Most settings of one pool, replicas aside, that are enumerated (30 us each)."""


def pool_cores(pool: Pool, fields: Sequence[Variable], topology: Topology) -> list[Core]:
    """Every valid setting of ``pool`` but its replicas, with the values chosen by path.

    ``SpaceError`` with the reason of the first if none is valid, ``LargeSpaceError`` where more than `MOST_CORES` may be.
    """
    most = math.prod(max(len(field.values), 1) for field in fields if field.field != "replicas")
    if most > MOST_CORES:
        raise LargeSpaceError(f"pool {pool.name} has up to {most:.3g} settings, more than the {MOST_CORES:,} that are enumerated")
    found: list[Core] = []
    refused = ""
    for values in _assignments([field for field in fields if field.field != "replicas"], {}, pool, topology):
        try:
            found.append((_set(pool, fields, values), {f"pools.{pool.name}.{name}": value for name, value in values.items()}))
        except SpecError as error:
            refused = refused or str(error)
    if not found:
        raise SpaceError(f"pool {pool.name} has no valid setting: {refused or 'its values exclude one another'}")
    return found


def pool_variants(cores: Sequence[Core], fields: Sequence[Variable], *, role: str, amounts: Amounts,
                  budgets: Sequence[tuple[int, StaticLimit, float]]) -> Variants:  # fmt: skip
    """Cores times replicas, within each budget: (amount column, limit, what the other pools add at best)."""
    counts, routers = _replicas(fields, cores), _later_router(fields, cores)
    core = np.repeat(np.arange(len(cores)), len(counts))
    replicas = np.tile(counts, len(cores))
    pools = [pool for pool, _ in cores]
    values = amounts.of(pools, core, replicas)
    ranks = np.array([pool.parallelism.dp for pool in pools])[core]
    keep = (replicas * ranks > 1) | ~routers[core]
    for column, limit, others in budgets:
        keep &= limit.met(values[:, column] + others)
    pool = cores[0][0]
    varied = f"pools.{pool.name}.replicas" if any(field.field == "replicas" for field in fields) else None
    named = [(item, {**chosen, varied: None} if varied else chosen) for item, chosen in cores]
    return Variants.grouped(name=pool.name, role=role, cores=named, core=core[keep], replicas=replicas[keep],
                            amounts=values[keep], caches=amounts.caches(pools, core[keep]))  # fmt: skip


def least_and_most(cores: Sequence[Core], fields: Sequence[Variable], amounts: Amounts) -> tuple[Floats, Floats]:
    """The extremes of each static amount over all settings of a pool."""
    counts = _replicas(fields, cores)
    ends = np.array([counts.min(), counts.max()])
    values = amounts.of([pool for pool, _ in cores], np.repeat(np.arange(len(cores)), 2), np.tile(ends, len(cores)))
    return values.min(axis=0), values.max(axis=0)


def divisors(number: int, most: int) -> list[int]:
    """Divisors of ``number`` up to ``most``.

    >>> divisors(12, 6)
    [1, 2, 3, 4, 6]
    """
    return [value for value in range(1, min(number, most) + 1) if number % value == 0]


def widest(accelerator: Accelerator, topology: Topology) -> int:
    """Most devices of one engine that ``divisors`` uses: the scale-up domain (a node, where devices have none), within the node."""
    return min(topology.node_size, accelerator.scale_up_domain if accelerator.scale_up_domain > 1 else topology.node_size)


def allowed(variable: Variable, chosen: Mapping[str, Any], pool: Pool, topology: Topology) -> Sequence[Any]:
    """Values of ``variable`` that fit what is ``chosen`` already: divisors of heads, layers and devices, tokens >= sequences."""
    model: ModelSpec = chosen.get("model entry", pool.model)
    match variable.field:
        case "tp":
            most = widest(chosen.get("accelerator entry", pool.accelerator), topology)
            return [v for v in _degrees(variable, model.heads, most) if model.heads % v == 0]
        case "pp":
            return [v for v in _degrees(variable, model.layers, topology.devices) if model.layers % v == 0]
        case "ep":
            ranks = chosen.get("tp", pool.parallelism.tp) * chosen.get("dp", pool.parallelism.dp)
            return [v for v in variable.values if ranks % v == 0 and (v == 1 or model.experts)]
        case "batching.max_num_batched_tokens":
            least = chosen.get("batching.max_num_seqs", pool.batching.max_num_seqs)
            return [v for v in variable.values if v >= least or chosen.get("batching.policy", pool.batching.policy) != "chunked"]
        case _:
            return variable.values


def _degrees(variable: Variable, number: int, most: int) -> Sequence[int]:
    return divisors(number, most) if variable.divisors else variable.values


def _assignments(fields: Sequence[Variable], chosen: dict[str, Any], pool: Pool, topology: Topology) -> Iterator[dict[str, Any]]:
    if not fields:
        yield {name: value for name, value in chosen.items() if not name.endswith(" entry")}
        return
    head = fields[0]
    for value in allowed(head, chosen, pool, topology):
        entry = {f"{head.field} entry": head.entry(value)} if head.field in ENTRIES else {}
        yield from _assignments(fields[1:], {**chosen, head.field: value, **entry}, pool, topology)


def _set(pool: Pool, fields: Sequence[Variable], values: Mapping[str, Any]) -> Pool:
    chosen = {field.field: field.entry(values[field.field]) for field in fields if field.field in ENTRIES}
    return pool_with(pool, values, chosen)


def _replicas(fields: Sequence[Variable], cores: Sequence[Core]) -> Ints:
    varied = next((field.values for field in fields if field.field == "replicas"), (cores[0][0].replicas,))
    return np.array(varied, dtype=np.int64)


def _later_router(fields: Sequence[Variable], cores: Sequence[Core]) -> Any:
    """Which cores differ from another only in a router: with one rank all routers are one design, so only the first counts."""
    router = next((field for field in fields if field.field == "router"), None)
    return np.array([router is not None and pool.router != router.values[0] for pool, _ in cores], dtype=bool)


def hosting(pools: Sequence[Pool], placement: str, stages: Sequence[str]) -> list[Pool]:
    """The pools of a placement: all as they are, or the first one hosting every stage."""
    return [replace(pools[0], stages=tuple(stages))] if placement == "colocated" else list(pools)


def products(variables: Sequence[Variable]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a few variables, by path."""
    for values in itertools.product(*(variable.values for variable in variables)):
        yield {variable.path: value for variable, value in zip(variables, values, strict=True)}
