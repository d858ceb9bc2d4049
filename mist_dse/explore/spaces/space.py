"""A space: a base design, what varies in it, static limits, and what the search is after (the space file of the interface)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mist_dse import metrics
from mist_dse.catalog import Catalog, build_design
from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.spaces.amounts import Amounts, static_amount
from mist_dse.explore.spaces.enumerate import Scope, allowed, candidates, meanings
from mist_dse.explore.spaces.frame import Frame
from mist_dse.explore.spaces.goals import StaticLimit, Term, objectives_of, static_limit, static_names
from mist_dse.explore.spaces.listing import Listing, room
from mist_dse.explore.spaces.setting import pool_with
from mist_dse.explore.spaces.size import Size, drawn, size
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.explore.spaces.variables import Variable, hoisted, variables
from mist_dse.metrics import Objective
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

KEYS = ("name", "base", "vary", "where", "objectives", "constraints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Designs to choose among. ``variables`` come in the order placement, topology, hand-off, stages, services, then pool by pool, but
    each after those that decide whether it has a meaning; those with a formula are among them. ``frame``: what is chosen before pools are.
    """

    name: str
    base: Design
    variables: tuple[Variable, ...]
    where: tuple[StaticLimit, ...] = ()
    objectives: tuple[Objective, ...] = ()
    constraints: tuple[str, ...] = ()
    frame: Frame = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", Frame(self.base, self.variables, hoisted(self.variables, self.base)))

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

    @property
    def placements(self) -> tuple[str, ...]:
        """The placements in the space."""
        return next((item.values for item in self.variables if item.path == "placement"), ("as in the base",))

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all variables."""
        return tuple(item.path for item in self.variables)

    @property
    def free(self) -> tuple[Variable, ...]:
        """The variables that have values of their own; those of the others follow from them."""
        return tuple(item for item in self.variables if item.formula is None)

    def values_of(self, variable: Variable) -> tuple[Any, ...]:
        """Every value that a variable can take anywhere in the space; ``divisors`` are united over models and accelerators."""
        return variable.values

    def active(self, variable: Variable, values: Mapping[str, Any]) -> bool:
        """Whether a variable has values of its own and any meaning under ``values``, those of the active variables before it."""
        if variable.formula is not None:
            return False
        known = self.completed(values, before=variable) if any(item.formula for item in self.variables) else values
        return candidates(variable, known, self.frame.placed(known)) is not None

    def completed(self, values: Mapping[str, Any], *, before: Variable | None = None) -> dict[str, Any]:
        """``values`` by path less those of variables without meaning, and with those that formulas give (of variables ``before`` one).

        One design, one set of values: these are the ones that tables and results hold. A formula without a value is left out.
        """
        found: dict[str, Any] = {}
        for item in self.variables:
            if before is not None and item.path == before.path:
                break
            value = values.get(item.path)
            if item.formula is None and (value is None or value != value):
                continue
            try:
                options = candidates(item, found, self.frame.placed(found))
            except SpecError:
                continue
            if options is not None:
                found[item.path] = value if item.formula is None else options[0]
        return found

    def design(self, values: Mapping[str, Any]) -> Design:
        """The design at one value per active variable; ``SpecError`` where it cannot be."""
        known, frame = self.completed(values), self.frame
        placed = frame.placed(known)
        for item in self.variables:
            if item.formula is not None:
                candidates(item, known, placed)
        base = frame.made(known)
        return replace(base, pools=tuple(self._pool(scope, known) for scope in frame.scopes(base, known)))

    def beyond(self, design: Design, prices: PriceBook | None) -> tuple[Infeasible, ...]:
        """The static limits that a design breaks, by its exact amounts."""
        found = []
        for limit in (*self.where, room(design)):
            amount = static_amount(design, limit, prices)
            if isinstance(amount, Infeasible):
                found.append(amount)
            elif limit.excess(amount) > 1e-9:
                text = f"{limit.quantity} is {amount:g}, required {limit}"
                found.append(Infeasible(kind="constraint", constraint=text, margin=limit.excess(amount)))
        return tuple(found)

    def table(self, prices: PriceBook | None = None) -> DesignTable:
        """Every design within the static limits, pool by pool; ``EmptySpaceError`` where none is, with the limit that removes all."""
        listing = self.listing(prices)
        sections = list(listing.sections())
        table = DesignTable(sections=tuple(part for part, _ in sections), grid=sum(size for _, size in sections))
        if not len(table):
            raise EmptySpaceError(listing.emptied(self.base))
        return table

    def listing(self, prices: PriceBook | None = None) -> Listing:
        """The sections of the space, to go through one by one."""
        return Listing(self.frame, self.where, Amounts.needed(self.where, prices))

    def size(self, prices: PriceBook | None = None, *, seed: int = 0) -> Size:
        """How many designs there are, without listing them: counted where that is quick, else estimated from designs drawn at random."""
        return size(self, prices, np.random.default_rng(seed))

    def sampled(self, count: int, rng: np.random.Generator, prices: PriceBook | None = None) -> list[dict[str, Any]]:
        """Values of about ``count`` distinct designs within the static limits, drawn by construction (`size.drawn`)."""
        return drawn(self, count, rng, prices)

    def fields_of(self, pool: Pool) -> list[Variable]:
        """The variables of one pool."""
        return [item for item in self.variables if item.pool == pool.name]

    @staticmethod
    def _pool(scope: Scope, values: Mapping[str, Any]) -> Pool:
        for item in scope.fields:
            value = values.get(item.path)
            if value is not None and value not in allowed(item, (value,), scope, values):
                raise SpecError(f"{item.path} is {value!r}, which does not fit the other values of pool {scope.pool.name}")
        pool = pool_with(scope.pool, meanings(scope.fields, values))
        if pool.replicas < scope.fewest:
            raise SpecError(f"Pool {pool.name} has {pool.replicas} replicas, fewer than the {scope.fewest} groups of its hand-off")
        return pool


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
    known = _known(found, base)
    texts = [str(text) for text in _texts(data, "constraints")]
    static = [text for text in texts if _is_static(text, known)]
    return cls(
        name=str(data.get("name", name)),
        base=base,
        variables=found,
        where=(
            *(static_limit(text, known=known) for text in _texts(data, "where")),
            *(static_limit(text, known=known, where="constraints") for text in static),
        ),
        objectives=objectives_of(_texts(data, "objectives")),
        constraints=tuple(_constraint(text) for text in texts if text not in static),
    )


def _known(found: Sequence[Variable], base: Design) -> dict[str, Term]:
    """The static quantities of a space by name."""
    kinds = [host.accelerator.name for host in base.hosts if host.accelerator]
    kinds += [entry.name for item in found if item.kind.entry == "accelerator" for entry in item.entries if entry is not None]
    parts = [f"pools.{pool.name}" for pool in base.pools] + [f"services.{service.name}" for service in base.services]
    return static_names(kinds=kinds, parts=parts)


def _is_static(text: str, known: Mapping[str, Term]) -> bool:
    """Whether a constraint is on a static quantity that is no metric, and so is known before evaluation."""
    words = re.findall(r"[A-Za-z_][\w.\-]*", re.split("[<>]", text)[0])
    return bool(words) and all(word in known for word in words) and not (len(words) == 1 and words[0] in metrics.METRICS)


def _check_degrees(found: Sequence[Variable], base: Design) -> None:
    """``SpaceError`` for a tp or pp that divides the heads or layers of no model of its pool."""
    for item in found:
        if item.field not in ("tp", "pp") or not item.pool:
            continue
        named = next((other.entries for other in found if (other.pool, other.field) == (item.pool, "model")), (base.pool(item.pool).model,))
        noun, counts = ("heads", [m.heads for m in named]) if item.field == "tp" else ("layers", [m.layers for m in named])
        for value in item.values if item.formula is None else ():
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
