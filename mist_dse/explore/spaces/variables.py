"""Variables of a space: dotted paths into a design and the values that each may take.

``placement``, ``topology``, ``handoff.FIELD``, ``stages.NAME.OPTION`` and ``repeats.NAME.FIELD`` belong to the design, ``pools.NAME.FIELD``
to one pool, ``pools.*.FIELD`` to each, ``services.NAME.FIELD`` to a service (`fields`, `paths`). Values (`values`): a list, one value, a
range or, for ``tp`` and ``pp``, ``divisors`` (of the heads, within the scale-up domain and the node; of the layers); a mapping of
``values`` and ``when``, the condition under which the variable has any meaning; or a formula over others (`expressions`),
``"= 2 * pools.prefill.replicas"``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop
from itertools import product
from math import prod
from typing import Any, NamedTuple, Protocol

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.spaces.expressions import LITERALS, Expression, compared, expression
from mist_dse.explore.spaces.fields import NONE, WHOLE, Field, checked, meant
from mist_dse.explore.spaces.paths import OPTION, Place, expanded, spot
from mist_dse.explore.spaces.placements import placements
from mist_dse.explore.spaces.rules import FOLLOWED, NEEDS
from mist_dse.explore.spaces.values import divisors, value_list, widest
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.hardware import Topology
from mist_dse.stages.kinds import kind_of
from mist_dse.stages.work import options_of

__all__ = ["Library", "Variable", "value_list", "variables"]

_CHOSEN_AFTER = {
    "tp": ("model", "accelerator"),
    "pp": ("model",),
    "ep": ("model", "tp", "dp"),
    "batching.max_num_batched_tokens": ("batching.policy", "batching.max_num_seqs"),
    "batching.prefix_caching": ("batching.policy",),
}
"""Fields of the same pool that limit which values fit (`enumerate.allowed`)."""

MOST_COMBINATIONS = 10_000
"""Most combinations of others' values over which the values of a formula are listed."""


class Library(Protocol):
    """What a space needs of the catalogue: entries by name."""

    def accelerator(self, name: str) -> Any:
        """The accelerator of that name."""

    def model(self, name: str) -> Any:
        """The model of that name."""

    def engine(self, name: str) -> Any:
        """The engine profile of that name."""

    def topology(self, name: str) -> Topology:
        """The topology of that name."""

    def host(self, name: str) -> Any:
        """The host of that name."""

    def index(self, name: str) -> Any:
        """The vector index of that name."""

    def tier(self, name: str) -> Any:
        """The memory tier of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One varied path: ``field`` of ``pool`` (empty: of the design or of a service), with all ``values`` that it takes anywhere.

    ``entries``: what each value names (an entry of the catalogue, the base with its stages so placed, a node). ``divisors``: the values
    are limited further by what each accelerator and model allow. ``when``: it has a meaning only there. ``formula``: it has no values of
    its own. ``needs``: paths of variables that decide whether it has a meaning, or its value. ``kind``: what its field takes.
    """

    path: str
    pool: str
    field: str
    values: tuple[Any, ...]
    divisors: bool = False
    entries: tuple[Any, ...] = ()
    when: Expression | None = None
    formula: Expression | None = None
    needs: tuple[str, ...] = ()
    kind: Field = WHOLE

    @property
    def part(self) -> str:
        """The pool or service that it belongs to (``pools.NAME``, ``services.NAME``), empty for the design's own."""
        return self.path.removesuffix(f".{self.field}") if self.path != self.field else ""

    def entry(self, value: Any) -> Any:
        """What ``value`` names."""
        return self.entries[self.values.index(value)]

    def meaning(self, value: Any) -> Any:
        """What a design holds for ``value``: an entry, None for none, an amount in SI units, or the value itself."""
        if not self.entries:
            return meant(self.kind, value)
        if value not in self.values:
            raise SpecError(f"{self.path} is {value!r}, which is none of its values")
        return self.entry(value)

    @property
    def plain(self) -> Any:
        """What a space file would say of it."""
        if self.formula is not None:
            values: Any = f"= {self.formula}"
        else:
            values = "divisors" if self.divisors else list(self.values)
        return values if self.when is None else {"values": values, "when": str(self.when)}


class _Draft(NamedTuple):
    """What a space file says of one full path; ``wild``: under which path."""

    wild: str
    place: Place
    spec: Any
    when: Any


def variables(vary: Mapping[str, Any], *, base: Design, library: Library) -> tuple[Variable, ...]:
    """All variables of a ``vary`` mapping, wildcards expanded (the specific path wins), each after those that it needs.

    Raises ``SpaceError`` for a path, field, name, value, condition or formula that cannot be.
    """
    if not isinstance(vary, Mapping):
        raise SpaceError(f"vary is {vary!r}: must map paths to values, such as pools.*.replicas: 1..16")
    drafts: dict[str, _Draft] = {}
    for path in sorted(map(str, vary), key=lambda item: "*" not in item.split(".")):
        spec, when = _parts(vary[path], f"vary.{path}")
        drafts |= {full: _Draft(path, place, spec, when) for full, place in expanded(path, base).items()}
    found = [_variable(full, draft, drafts, base=base, library=library) for full, draft in drafts.items()]
    found = _ordered([_with_needs(item, drafts) for item in found], drafts)
    done: dict[str, Variable] = {}
    for item in found:
        done[item.path] = _with_values(item, done, drafts[item.path], base=base, library=library)
    for item in done.values():
        _check_words(item, done, drafts[item.path])
    return tuple(done.values())


def hoisted(items: Sequence[Variable], base: Design) -> frozenset[str]:
    """Variables of pools and services that something outside their part needs: they are chosen with the design's own."""
    by_path = {item.path: item for item in items}
    found = {need for item in items for need in item.needs if by_path[need].part and by_path[need].part != item.part}
    owners = {each.beside for each in base.hosts} | {value for item in items if item.field == "beside" for value in item.values}
    found |= {path for owner in owners for name in FOLLOWED if (path := f"pools.{owner}.{name}") in by_path}
    found |= {item.path for item in items if item.field == "beside" and item.pool}
    left = list(found)
    while left:
        more = {need for need in by_path[left.pop()].needs if by_path[need].part} - found
        found |= more
        left += more
    return frozenset(found)


def _parts(spec: Any, where: str) -> tuple[Any, Any]:
    """Values (or a formula) and condition of what a space file says of a path."""
    if not isinstance(spec, Mapping):
        return spec, None
    for key in spec:
        if key not in ("values", "when"):
            raise SpaceError(f"{where}: there is no key {str(key)!r}; {nearest(key, ('values', 'when'))}")
    if "values" not in spec:
        raise SpaceError(f"{where} is {dict(spec)!r}: values is missing: give a list of values, 1..16, powers 1..64 or divisors")
    return spec["values"], spec.get("when")


def _is_formula(spec: Any) -> bool:
    return isinstance(spec, str) and spec.lstrip().startswith("=")


def _variable(full: str, draft: _Draft, known: Mapping[str, _Draft], *, base: Design, library: Library) -> Variable:
    """A variable as far as it can be read without others."""
    where, place = f"vary.{draft.wild}", draft.place
    pool = place.part.removeprefix("pools.") if place.part.startswith("pools.") else ""
    common: dict[str, Any] = {"path": full, "pool": pool, "field": place.name, "kind": place.field}
    if draft.when is not None:
        common["when"] = _expression(draft.when, place, known, where)
    if _is_formula(draft.spec):
        if full in ("placement", "topology"):
            raise SpaceError(f"{where} is {draft.spec!r}: {full} is chosen first, it has no formula")
        return Variable(values=(), formula=_expression(draft.spec.lstrip()[1:], place, known, where), **common)
    if draft.spec == "divisors":
        if place.name not in ("tp", "pp"):
            raise SpaceError(f"{where} is 'divisors': only tp and pp have divisors; give a list, 1..16 or powers 1..64")
        return Variable(values=(), divisors=True, **common)
    if full == "placement":
        values, entries = placements(draft.spec, base, where)
        return Variable(values=values, entries=entries, **common)
    if place.name.startswith("at.") and place.name != "at.node" and "topology" in known:
        raise SpaceError(f"{where}: the topology varies, so name nodes (at.node) instead")
    values = _checked_values(draft, value_list(_without_null(draft.spec, place.field), where), base, where)
    values, entries = _meanings(place, values, base=base, library=library, where=where)
    return Variable(values=values, entries=entries, **common)


def _expression(text: Any, place: Place, known: Mapping[str, _Draft], where: str) -> Expression:
    return expression(str(text).replace("pools.*.", f"{place.part}."), known, where)


def _without_null(spec: Any, field: Field) -> Any:
    """``spec`` with none written out, where it may be missing."""
    if not field.optional:
        return spec
    return [NONE if value is None else value for value in (spec if isinstance(spec, list | tuple) else [spec])]


def _checked_values(draft: _Draft, values: Sequence[Any], base: Design, where: str) -> tuple[Any, ...]:
    place = draft.place
    if place.field is OPTION:
        for value in values:
            _check_option(place.name, value, base, where)
        return tuple(values)
    if place.name == "beside":
        pools = [pool.name for pool in base.pools if f"pools.{pool.name}" != place.part]
        for value in values:
            if value != NONE and value not in pools:
                raise SpaceError(f"{where}: {value!r} is not a pool to stand beside; {nearest(value, [*pools, NONE])}")
        return tuple(values)
    return tuple(checked(place.field, place.name, value, where) for value in values)


def _check_option(path: str, value: Any, base: Design, where: str) -> None:
    """``SpaceError`` for an option that a stage's kind does not take."""
    stage = next(each for each in base.pipeline.stages if path.startswith(f"stages.{each.name}."))
    options = {**dict(stage.options), path.removeprefix(f"stages.{stage.name}."): value}
    try:
        options_of(kind_of(stage.kind, where).Options, replace(stage, options=tuple(options.items())), where)
    except SpecError as error:
        raise SpaceError(str(error)) from None


def _meanings(
    place: Place, values: tuple[Any, ...], *, base: Design, library: Library, where: str
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The values that mean something different each, and what they name in the catalogue or the topology."""
    if place.field.entry:
        entries = [None if value == NONE else _entry(library, place.field.entry, value, where) for value in values]
    elif place.name.startswith("at."):
        entries = [spot(place.name, value, base) for value in values]
    else:
        seen: dict[str, Any] = {}
        for value in values:
            seen.setdefault(repr(meant(place.field, value)), value)
        kept = tuple(seen.values())
        if len({isinstance(value, str) for value in kept}) > 1:  # one column of a table holds text or numbers, not both
            return tuple(map(str, kept)), tuple(meant(place.field, value) for value in kept)
        return kept, ()
    first = [position for position, entry in enumerate(entries) if entry not in entries[:position]]
    return tuple(values[position] for position in first), tuple(entries[position] for position in first)


def _entry(library: Library, kind: str, name: Any, where: str) -> Any:
    try:
        return getattr(library, kind)(str(name))
    except ValueError as error:
        raise SpaceError(f"{where}: {error}") from None


def _with_needs(item: Variable, known: Mapping[str, _Draft]) -> Variable:
    part = item.part
    names = [f"{part}.{name}" for name in NEEDS.get("at.node" if item.field.startswith("at.") else item.field, ())] if part else []
    if item.pool or item.path.startswith("handoff."):
        names.append("placement")
    for text in (item.when, item.formula):
        names += text.names if text else ()
    return replace(item, needs=tuple(dict.fromkeys(name for name in names if name in known)))


def _ordered(items: Sequence[Variable], drafts: Mapping[str, _Draft]) -> list[Variable]:
    """The variables in their canonical order, each after those that it needs; ``SpaceError`` for a cycle."""
    by_path = {item.path: item for item in items}
    before = {item.path: set(item.needs) | _earlier(item, by_path) for item in items}
    ready = [(drafts[path].place.rank, path) for path, needs in before.items() if not needs]
    heapify(ready)
    found: list[Variable] = []
    while ready:
        _, path = heappop(ready)
        found.append(by_path[path])
        for other, needs in before.items():
            if path in needs:
                needs.remove(path)
                if not needs:
                    ready.append((drafts[other].place.rank, other))
        heapify(ready)
    left = [path for path, needs in before.items() if needs]
    if left:
        raise SpaceError(f"vary: {_cycle(left, before)} need one another: break the cycle, one of them must have values of its own")
    return found


def _earlier(item: Variable, by_path: Mapping[str, Variable]) -> set[str]:
    """What must be chosen before, since it limits which values fit."""
    names = {f"{item.part}.{name}" for name in _CHOSEN_AFTER.get(item.field, ())} if item.pool else set()
    return {name for name in (names | {"topology"} if item.divisors else names) if name in by_path}


def _cycle(left: Sequence[str], before: Mapping[str, set[str]]) -> str:
    path, seen = left[0], list[str]()
    while path not in seen:
        seen.append(path)
        path = min(before[path] & set(left))
    return " and ".join(sorted(seen[seen.index(path) :]))


def _with_values(item: Variable, done: Mapping[str, Variable], draft: _Draft, *, base: Design, library: Library) -> Variable:
    """``item`` with the values that follow from others: of divisors and of formulas."""
    if item.divisors:
        return replace(item, values=_degrees(item, done, base))
    if item.formula is None:
        return item
    where, kept, refused = f"vary.{draft.wild}", dict[Any, None](), ""
    others = [done[name] for name in item.formula.names]
    if prod(len(other.values) for other in others) > MOST_COMBINATIONS:
        if item.kind.entry:
            raise SpaceError(f"{where}: {item.formula} has more than {MOST_COMBINATIONS:,} combinations")
        return item
    for combination in product(*(other.values for other in others)):
        chosen = dict(zip(item.formula.names, combination, strict=True))
        try:
            kept[_formula_value(item, chosen, draft, base)] = None
        except SpaceError as error:
            refused = refused or str(error)
    if not kept:
        raise SpaceError(f"{where}: '= {item.formula}' has no value that {item.path} can take: {refused.removeprefix(where).lstrip(': ')}")
    values, entries = _meanings(draft.place, tuple(kept), base=base, library=library, where=where)
    return replace(item, values=values, entries=entries)


def _formula_value(item: Variable, values: Mapping[str, Any], draft: _Draft, base: Design) -> Any:
    assert item.formula is not None
    where, at = f"vary.{draft.wild}", ", ".join(f"{name} {value}" for name, value in values.items())
    there = f" at {at}" if at else ""
    try:
        found = item.formula.value(values)
    except (ArithmeticError, TypeError) as error:
        raise SpaceError(f"{where}: no value{there} ({error})") from None
    found = int(found) if isinstance(found, float) and found.is_integer() else found
    return _checked_values(draft, [found], base, f"{where}{there and ':'}{there}")[0]


def _degrees(item: Variable, done: Mapping[str, Variable], base: Design) -> tuple[int, ...]:
    """Divisors of the heads or layers, united over models and accelerators."""
    pool = base.pool(item.pool)
    entries = {name: _entries(done, f"{item.part}.{name}", getattr(pool, name)) for name in ("model", "accelerator")}
    topologies = _entries(done, "topology", base.topology)
    if item.field == "pp":
        most = max(topology.devices for topology in topologies)
        return tuple(sorted({degree for model in entries["model"] for degree in divisors(model.layers, most)}))
    most = max(widest(kind, topology) for kind in entries["accelerator"] for topology in topologies)
    return tuple(sorted({degree for model in entries["model"] for degree in divisors(model.heads, most)}))


def _entries(done: Mapping[str, Variable], path: str, own: Any) -> tuple[Any, ...]:
    return done[path].entries if path in done else (own,)


def _check_words(item: Variable, known: Mapping[str, Variable], draft: _Draft) -> None:
    """``SpaceError`` for a condition that compares a variable with a word that it never is."""
    if item.when is None:
        return
    for path, value in compared(item.when):
        words = [other for other in known[path].values if isinstance(other, str)]
        if isinstance(value, str) and value not in words and value.lower() not in LITERALS:
            clause = nearest(value, words) if words else "its values are numbers"
            raise SpaceError(f"vary.{draft.wild}: when: {path} is never {value!r}; {clause}")
