"""Ways to set the parts of a design, by construction: each variable is chosen among the values that those before it allow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mist_dse.explore.errors import LargeSpaceError, SpaceError
from mist_dse.explore.spaces.amounts import Amounts
from mist_dse.explore.spaces.goals import StaticLimit
from mist_dse.explore.spaces.rules import current, has_meaning
from mist_dse.explore.spaces.setting import pool_with
from mist_dse.explore.spaces.table import Variants
from mist_dse.explore.spaces.values import divisors, widest
from mist_dse.explore.spaces.variables import Variable
from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Pool

MOST_CORES = 50_000
"""Most settings of one pool, replicas aside, that are enumerated (30 us each)."""


@dataclass(frozen=True, slots=True)
class Core:
    """A setting of a pool but its replicas, the values chosen by path, and how many replicas it may have."""

    pool: Pool
    values: Mapping[str, Any]
    replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """A pool in a section: ``base`` with the section's choices made, the pool's variables, and what is chosen (``fixed``) for the section.

    ``bound``: variables whose choice is the section's. ``fewest``: least replicas, those that the local groups of its hand-off need.
    """

    base: Design
    pool: Pool
    fields: tuple[Variable, ...]
    fixed: Mapping[str, Any]
    bound: frozenset[str]
    fewest: int = 1

    @property
    def replicas(self) -> str:
        """The path of its replicas."""
        return f"pools.{self.pool.name}.replicas"

    @property
    def key(self) -> tuple[Any, ...]:
        """What the pool's settings depend on: itself, the topology, and what is chosen of what its variables need."""
        pool = (self.pool.name, self.pool.stages, self.pool.beside, self.pool.accelerator.name, self.pool.parallelism, self.pool.replicas)
        asked = {need for item in self.fields for need in item.needs} | {item.path for item in self.fields if item.path in self.bound}
        fixed = tuple((path, self.fixed[path]) for path in sorted(asked) if path in self.fixed)
        return (pool, self.base.topology.name, self.fewest, fixed)

    def now(self, name: str, values: Mapping[str, Any]) -> Any:
        """What field ``name`` of the pool is, as chosen so far: the entry, where it names one."""
        path = f"pools.{self.pool.name}.{name}"
        if path not in values:
            return current(self.pool, name)
        item = next(each for each in self.fields if each.path == path)
        return item.entry(values[path]) if item.kind.entry else values[path]


def candidates(item: Variable, values: Mapping[str, Any], base: Design) -> tuple[Any, ...] | None:
    """What a variable may be where ``values`` are chosen; None where it has no meaning. ``base``: with its stages placed.

    ``SpecError`` where its formula has no value that it can take.
    """
    if not has_meaning(item.part or item.path, item.field, values, base) or (item.when is not None and not item.when.holds(values)):
        return None
    return item.values if item.formula is None else derived(item, values)


def derived(item: Variable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The value of a formula, None where it reads a variable without meaning; ``SpecError`` where it is none that the field takes."""
    assert item.formula is not None
    if any(values.get(name) is None for name in item.formula.names):
        return None
    try:
        found = item.formula.value(values)
        found = int(found) if isinstance(found, float) and found.is_integer() else found
    except (ArithmeticError, TypeError) as error:
        raise SpecError(f"{item.path}: '= {item.formula}' has no value ({error})") from None
    if (item.values and found not in item.values) or (not item.values and not _plausible(item, found)):
        at = ", ".join(f"{name} {values[name]}" for name in item.formula.names)
        raise SpecError(f"{item.path}: '= {item.formula}' is {found!r} at {at}, which it cannot be")
    return (found,)


def _plausible(item: Variable, value: Any) -> bool:
    return isinstance(value, int | float if item.kind.real else int) and not isinstance(value, bool) and value >= item.kind.least


def pool_cores(scope: Scope) -> list[Core]:
    """Every valid setting of a pool but its replicas, each once.

    ``SpaceError`` with the reason of the first if none is valid, ``LargeSpaceError`` where there are more than `MOST_CORES`.
    """
    most = prod(max(1 if item.divisors else len(item.values), 1) for item in scope.fields if item.field != "replicas")
    if most > MOST_CORES and not any(item.when or item.formula for item in scope.fields):
        raise LargeSpaceError(f"pool {scope.pool.name} has up to {most:.3g} settings, more than the {MOST_CORES:,} that are enumerated")
    found: list[Core] = []
    known: dict[Any, set[int]] = {}
    refused = ""
    for values, counts in _assignments(scope, scope.fields, {}, ()):
        try:
            pool = pool_with(scope.pool, meanings(scope.fields, values))
        except SpecError as error:
            refused = refused or str(error)
            continue
        seen = known.setdefault(_identity(pool), set())
        fresh = tuple(count for count in counts if count not in seen)
        seen.update(fresh)
        if fresh:
            found.append(Core(pool, values, fresh))
        if len(found) > MOST_CORES:
            raise LargeSpaceError(f"pool {scope.pool.name} has more settings than the {MOST_CORES:,} that are enumerated")
    if not found:
        raise SpaceError(f"pool {scope.pool.name} has no valid setting: {refused or 'its values exclude one another'}")
    return found


def meanings(fields: Sequence[Variable], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the chosen ``values`` set, by field."""
    return {item.field: item.meaning(values[item.path]) for item in fields if values.get(item.path) is not None}


def pool_variants(cores: Sequence[Core], *, role: str, amounts: Amounts, node_size: int,
                  budgets: Sequence[tuple[int, StaticLimit, float]]) -> Variants:  # fmt: skip
    """Cores times replicas, within each budget: (amount column, limit, what the other pools add at best)."""
    core, replicas = spread(cores)
    pools = [each.pool for each in cores]
    values = amounts.of(pools, core, replicas, node_size)
    keep = np.ones(len(core), dtype=bool)
    for column, limit, others in budgets:
        keep &= limit.met(values[:, column] + others)
    return Variants.grouped(name=pools[0].name, role=role, cores=[(each.pool, each.values) for each in cores], core=core[keep],
                            replicas=replicas[keep], amounts=values[keep], caches=amounts.caches(pools, core[keep]))  # fmt: skip


def spread(cores: Sequence[Core]) -> tuple[Ints, Ints]:
    """Core and replicas of every variant."""
    core = np.repeat(np.arange(len(cores)), [len(each.replicas) for each in cores])
    return core, np.concatenate([np.array(each.replicas, dtype=np.int64) for each in cores])


def least_and_most(cores: Sequence[Core], amounts: Amounts, node_size: int) -> tuple[Floats, Floats]:
    """The extremes of each static amount over all settings of a pool."""
    core, replicas = spread(cores)
    values = amounts.of([each.pool for each in cores], core, replicas, node_size)
    return values.min(axis=0), values.max(axis=0)


def allowed(item: Variable, values: Sequence[Any], scope: Scope, chosen: Mapping[str, Any]) -> Sequence[Any]:
    """Those of ``values`` that fit what is ``chosen`` already: divisors of heads, layers and devices, tokens >= sequences."""
    now = scope.now
    match item.field:
        case "tp":
            heads = now("model", chosen).heads
            most = widest(now("accelerator", chosen), scope.base.topology) if item.divisors else heads
            return [v for v in (divisors(heads, most) if item.divisors else values) if heads % v == 0 and v in values]
        case "pp":
            layers, most = now("model", chosen).layers, scope.base.topology.devices
            return [v for v in (divisors(layers, most) if item.divisors else values) if layers % v == 0 and v in values]
        case "ep":
            ranks = now("tp", chosen) * now("dp", chosen)
            return [v for v in values if ranks % v == 0 and (v == 1 or now("model", chosen).experts)]
        case "batching.max_num_batched_tokens":
            least = now("batching.max_num_seqs", chosen)
            return [v for v in values if v >= least or now("batching.policy", chosen) != "chunked"]
        case "batching.prefix_caching":
            return [v for v in values if not v or now("batching.policy", chosen) != "static"]
        case "replicas":
            return [v for v in values if v >= scope.fewest]
        case _:
            return values


def choices(item: Variable, scope: Scope, chosen: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What a variable of a pool may be, None where it has no meaning; nothing where its formula has no value."""
    try:
        values = candidates(item, chosen, scope.base)
    except SpecError:
        return ()
    if values is None:
        return None
    if item.path in scope.bound:
        values = tuple(value for value in values if value == scope.fixed.get(item.path))
    return tuple(allowed(item, values, scope, chosen))


def _assignments(scope: Scope, fields: Sequence[Variable], chosen: dict[str, Any],
                 counts: tuple[int, ...]) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:  # fmt: skip
    """Values by path and the replicas that they leave; ``chosen`` has None for replicas that vary."""
    if not fields:
        yield chosen, counts or ((scope.pool.replicas,) if scope.pool.replicas >= scope.fewest else ())
        return
    head, rest = fields[0], fields[1:]
    for values, left in _outcomes(head, scope, chosen, counts):
        if values is None:
            yield from _assignments(scope, rest, chosen, left)
        elif head.field == "replicas":
            if values:
                yield from _assignments(scope, rest, {**chosen, head.path: None}, values)
        else:
            for value in values:
                yield from _assignments(scope, rest, {**chosen, head.path: value}, left)


def _outcomes(head: Variable, scope: Scope, chosen: Mapping[str, Any],
              counts: tuple[int, ...]) -> list[tuple[tuple[Any, ...] | None, tuple[int, ...]]]:  # fmt: skip
    """What ``head`` may be, apart for numbers of replicas that decide it."""
    context = {**scope.fixed, **{path: value for path, value in chosen.items() if value is not None}}
    if not counts or scope.replicas not in head.needs:
        return [(choices(head, scope, context), counts)]
    found: dict[tuple[Any, ...] | None, list[int]] = {}
    for count in counts:
        found.setdefault(choices(head, scope, {**context, scope.replicas: count}), []).append(count)
    return [(values, tuple(numbers)) for values, numbers in found.items()]


def _identity(pool: Pool) -> tuple[Any, ...]:
    """What tells settings of one pool apart; entries of one catalogue are one object each."""
    entries = (id(pool.model), id(pool.accelerator), id(pool.engine))
    return (*entries, pool.parallelism, pool.dtypes, pool.batching, pool.router, pool.routing, pool.node, pool.speculation, pool.beside)
