"""A space: a base design, what varies in it, static limits, and what the search is after (the space file of the interface)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mist_dse import metrics
from mist_dse.catalog import Catalog, build_design
from mist_dse.catalog_errors import nearest
from mist_dse.explore.amounts import Amounts
from mist_dse.explore.enumerate import Core, divisors, hosting, least_and_most, pool_cores, pool_variants, products, widest
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.goals import StaticLimit, distance, objective, static_limit
from mist_dse.explore.services import service_with
from mist_dse.explore.table import DesignTable, Section, Variants, section
from mist_dse.explore.variables import Variable, pool_with, variables
from mist_dse.metrics import Objective
from mist_dse.perf.price import usd_per_hour
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

KEYS = ("name", "base", "vary", "where", "objectives", "constraints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Designs to choose among. ``variables`` come in the order placement, topology, hand-off, services, then pool by pool.

    ``placement`` colocated: the first pool of ``base`` hosts every stage and the others drop out with their variables.
    """

    name: str
    base: Design
    variables: tuple[Variable, ...]
    where: tuple[StaticLimit, ...] = ()
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[str, ...] = ()

    @classmethod
    def from_yaml(cls, path: str | Path, catalog: Catalog | None = None) -> "Space":
        """The space of a YAML file; ``SpaceError`` with one line that names the file, the key and the value."""
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SpaceError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.YAMLError as error:
            raise SpaceError(f"{path}: is not YAML ({' '.join(str(error).split())})") from None
        return cls.from_dict(data, catalog, where=str(path), name=Path(path).stem)

    @classmethod
    def from_dict(cls, data: Any, catalog: Catalog | None = None, *, where: str = "space", name: str = "space") -> "Space":
        """The space of plain data with the keys base, vary, where, objectives, constraints (and name)."""
        try:
            return _space(cls, data, catalog or Catalog(), name)
        except SpaceError as error:
            raise SpaceError(f"{where}: {error}") from None

    def __post_init__(self) -> None:
        if "disaggregated" in self.placements and len(self.base.pools) == 1 and any(item.path == "placement" for item in self.variables):
            raise SpaceError("vary.placement has 'disaggregated', but the base design has one pool only: give it a pool for each side")

    @property
    def placements(self) -> tuple[str, ...]:
        """The placements in the space."""
        return next((item.values for item in self.variables if item.path == "placement"), ("as in the base",))

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all variables."""
        return tuple(item.path for item in self.variables)

    def values_of(self, variable: Variable) -> tuple[Any, ...]:
        """Every value that a variable can take anywhere in the space; ``divisors`` are united over models and accelerators."""
        if not variable.divisors:
            return variable.values
        pool = self.base.pool(variable.pool)
        models = self._entries(pool, "model")
        if variable.field == "pp":
            return tuple(sorted({d for model in models for d in divisors(model.layers, self.base.topology.devices)}))
        most = max(widest(kind, topology) for kind in self._entries(pool, "accelerator") for topology in self._topologies())
        return tuple(sorted({d for model in models for d in divisors(model.heads, most)}))

    def active(self, variable: Variable, values: Mapping[str, Any]) -> bool:
        """Whether a variable has any meaning under the placement in ``values``."""
        if values.get("placement") != "colocated":
            return True
        return variable.path != "handoff.mode" and variable.pool in ("", self.base.pools[0].name)

    def design(self, values: Mapping[str, Any]) -> Design:
        """The design at one value per active variable; ``SpecError`` where it cannot be."""
        base = self._base(values)
        pools = [pool_with(pool, *self._chosen(pool, values)) for pool in base.pools]
        return replace(base, pools=tuple(pools))

    def beyond(self, design: Design, prices: PriceBook | None) -> tuple[Infeasible, ...]:
        """The static limits that a design breaks, at its exact rent."""
        found = []
        for limit in (*self.where, _room(design)):
            amount = static_amount(design, limit.quantity, prices)
            if isinstance(amount, Infeasible):
                found.append(amount)
            elif limit.excess(amount) > 1e-9:
                text = f"{limit.quantity} is {amount:g}, required {limit}"
                found.append(Infeasible(kind="constraint", constraint=text, margin=limit.excess(amount)))
        return tuple(found)

    def table(self, prices: PriceBook | None = None) -> DesignTable:
        """Every design within the static limits, pool by pool; ``EmptySpaceError`` where none is, with the limit that removes all."""
        fixed = [item for item in self.variables if not item.pool]
        sections: list[Section] = []
        grid, cache = 0.0, _Cache({}, {})
        for values in _canonical(products(fixed), self):
            base = self._base(values)
            amounts = Amounts.needed(self.where, prices)
            part, size = self._section(base, values, amounts, cache)
            grid += size
            sections.append(part)
        table = DesignTable(sections=tuple(sections), grid=grid)
        if not len(table):
            raise EmptySpaceError(self._emptied(sections[0].base, prices))
        return table

    def _section(self, base: Design, values: Mapping[str, Any], amounts: Amounts, cache: "_Cache") -> tuple[Section, float]:
        limits = [(amounts.names.index(limit.quantity), limit) for limit in (*self.where, _room(base))]
        cores = [cache.cores_of(self, pool, base) for pool in base.pools]
        fields = [self.fields_of(pool) for pool in base.pools]
        ends = [least_and_most(core, field, amounts) for core, field in zip(cores, fields, strict=True)]
        pools, grid = [], 1.0
        for position, pool in enumerate(base.pools):
            others = [end for index, end in enumerate(ends) if index != position]
            budgets = [(col, limit, float(sum(end[0 if limit.upper else 1][col] for end in others))) for col, limit in limits]
            pools.append(cache.variants_of(cores[position], fields[position], role(base, pool), amounts, budgets))
            replicas = next((len(item.values) for item in fields[position] if item.field == "replicas"), 1)
            grid *= len(cores[position]) * replicas
        return section(base, values, pools, limits=limits), grid

    def _emptied(self, base: Design, prices: PriceBook | None) -> str:
        amounts = Amounts.needed(self.where, prices)
        ends = [least_and_most(pool_cores(pool, self.fields_of(pool), base.topology), self.fields_of(pool), amounts) for pool in base.pools]
        for limit in (*self.where, _room(base)):
            column = amounts.names.index(limit.quantity)
            best = float(sum(end[0 if limit.upper else 1][column] for end in ends))
            if limit.excess(best) > 0:
                word = "least" if limit.upper else "most"
                return (
                    f"where: {limit} removes every design: the {word} that any has is {best:g}{distance(limit.excess(best), limit.value)}"
                )
        if not self.where:
            return "no combination of the pools' values can be one design: pools that hand KV over need one model and one KV datatype"
        return f"where: no design meets {' and '.join(map(str, self.where))} together, though each limit alone leaves some"

    def _base(self, values: Mapping[str, Any]) -> Design:
        base = self.base
        for item in self.variables:
            if item.path == "topology" and "topology" in values:
                base = replace(base, topology=item.entry(values["topology"]))
        if base.handoff is not None and values.get("handoff.mode"):
            base = replace(base, handoff=replace(base.handoff, mode=values["handoff.mode"]))
        mine = {stage for pool in base.pools for stage in pool.stages}
        pools = hosting(base.pools, values.get("placement", ""), [stage.name for stage in base.pipeline.stages if stage.name in mine])
        services = tuple(service_with(service, self._asked(service.name, values)) for service in base.services)
        return replace(base, pools=tuple(pools), services=services, handoff=base.handoff if len(pools) > 1 else None, name="")

    def _asked(self, service: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """What ``values`` say of a service, by path below its name, catalogue entries in place of their names."""
        start = f"services.{service}."
        mine = [item for item in self.variables if item.path.startswith(start) and item.path in values]
        return {item.path.removeprefix(start): item.entry(values[item.path]) if item.entries else values[item.path] for item in mine}

    def fields_of(self, pool: Pool) -> list[Variable]:
        """The variables of one pool."""
        return [item for item in self.variables if item.pool == pool.name]

    def _chosen(self, pool: Pool, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        fields = [item for item in self.fields_of(pool) if values.get(item.path) is not None]
        chosen = {item.field: values[item.path] for item in fields}
        return chosen, {item.field: item.entry(values[item.path]) for item in fields if item.entries}

    def _entries(self, pool: Pool, field: str) -> tuple[Any, ...]:
        return next((item.entries for item in self.fields_of(pool) if item.field == field), (getattr(pool, field),))

    def _topologies(self) -> tuple[Any, ...]:
        return next((item.entries for item in self.variables if item.path == "topology"), (self.base.topology,))


@dataclass(frozen=True, slots=True)
class _Cache:
    cores: dict[tuple[Any, ...], list[Core]]
    variants: dict[tuple[Any, ...], Variants]

    def cores_of(self, space: Space, pool: Pool, base: Design) -> list[Core]:
        key = (pool.name, pool.stages, base.topology.name)
        if key not in self.cores:
            self.cores[key] = pool_cores(pool, space.fields_of(pool), base.topology)
        return self.cores[key]

    def variants_of(self, cores: list[Core], fields: Sequence[Variable], part: str, amounts: Amounts, budgets: Any) -> Variants:
        key = (id(cores), part, tuple(budgets))
        if key not in self.variants:
            self.variants[key] = pool_variants(cores, fields, role=part, amounts=amounts, budgets=budgets)
        return self.variants[key]


def static_amount(design: Design, quantity: str, prices: PriceBook | None) -> float | Infeasible:
    """One static quantity of a design: accelerators, accelerators of one kind, or USD per hour."""
    if quantity == "usd_per_hour":
        if prices is None:
            raise SpaceError("a limit on usd_per_hour needs a price book")
        return usd_per_hour(design, prices)
    kind = quantity.partition(".")[2]
    return float(sum(host.devices for host in design.hosts if not kind or (host.accelerator and host.accelerator.name == kind)))


def role(design: Design, pool: Pool) -> str:
    """What a pool does with a request: ``prefill``, ``decode`` or ``both``."""
    kinds = {design.pipeline.stage(stage).kind for stage in pool.stages} & {"prefill", "decode"}
    return kinds.pop() if len(kinds) == 1 else "both"


def _canonical(combinations: Any, space: Space) -> list[dict[str, Any]]:
    """Combinations of the design's own variables with inactive ones left out, each once."""
    found: list[dict[str, Any]] = []
    for values in combinations:
        kept = {item.path: values[item.path] for item in space.variables if not item.pool and space.active(item, values)}
        if kept not in found:
            found.append(kept)
    return found


def _room(design: Design) -> StaticLimit:
    return StaticLimit("accelerators", "<=", design.topology.devices)


def _space(cls: type[Space], data: Any, catalog: Catalog, name: str) -> Space:
    if not isinstance(data, Mapping):
        raise SpaceError(f"is {type(data).__name__}, expected a mapping with the keys {', '.join(KEYS[1:])}")
    for key in data:
        if key not in KEYS:
            raise SpaceError(f"there is no key {str(key)!r}; {nearest(key, KEYS)}")
    if "base" not in data or not data.get("vary"):
        raise SpaceError(f"{'base' if 'base' not in data else 'vary'} is missing: a space needs a base design and something to vary")
    base = _base_design(data["base"], catalog)
    found = variables(data["vary"], base=base, library=catalog)
    _check_degrees(found, base)
    kinds = [host.accelerator.name for host in base.hosts if host.accelerator] + [
        kind.name for item in found if item.field == "accelerator" for kind in item.entries
    ]
    return cls(
        name=str(data.get("name", name)),
        base=base,
        variables=found,
        where=tuple(static_limit(text, kinds=kinds) for text in _texts(data, "where")),
        objectives=tuple(objective(text) for text in _texts(data, "objectives")),
        constraints=tuple(_constraint(text) for text in _texts(data, "constraints")),
    )


def _check_degrees(found: Sequence[Variable], base: Design) -> None:
    """``SpaceError`` for a tp or pp that divides the heads or layers of no model of its pool."""
    for item in found:
        if item.field not in ("tp", "pp"):
            continue
        named = next((other.entries for other in found if (other.pool, other.field) == (item.pool, "model")), (base.pool(item.pool).model,))
        noun, counts = ("heads", [m.heads for m in named]) if item.field == "tp" else ("layers", [m.layers for m in named])
        for value in item.values:
            if all(count % value for count in counts):
                names = ", ".join(f"{model.name} has {count}" for model, count in zip(named, counts, strict=True))
                raise SpaceError(f"vary.{item.path}: {value} does not divide the {noun} ({names}); write divisors for every valid value")


def _base_design(spec: Any, catalog: Catalog) -> Design:
    try:
        return build_design(spec, catalog, where="base") if isinstance(spec, Mapping) else catalog.design(str(spec))
    except SpaceError:
        raise
    except ValueError as error:
        raise SpaceError(f"base: {error}") from None


def _texts(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key) or []
    if not isinstance(value, list | tuple):
        raise SpaceError(f"{key} is {value!r}: must be a list")
    return list(value)


def _constraint(text: Any) -> str:
    try:
        metrics.parse_limit(str(text))
    except ValueError as error:
        raise SpaceError(f"constraints: {error}") from None
    return str(text)
