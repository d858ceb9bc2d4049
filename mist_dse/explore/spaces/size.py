"""How large a space is, before any search and without listing it; and designs drawn from spaces too large to list.

The grid is the product of all values. Designs are counted section by section (`population.count`); where sections are many, some are
drawn, choice by choice, each standing for as many as its draw was improbable (Knuth's estimate, `population`), and an interval is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np

from mist_dse.explore.errors import LargeSpaceError
from mist_dse.explore.spaces.amounts import Amounts
from mist_dse.explore.spaces.frame import Frame
from mist_dse.explore.spaces.goals import StaticLimit
from mist_dse.explore.spaces.listing import limits_left
from mist_dse.explore.spaces.placements import crossing
from mist_dse.explore.spaces.population import Limits, Population, count, fitting_share, population, variant_of, walks, weighted_sample
from mist_dse.explore.spaces.variables import Variable
from mist_dse.rows import Floats
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

COUNTED = 500
"""Most sections that are all counted (some ms each)."""

DRAWN = 200
"""Sections drawn where there are more."""

WALKS = 2000
"""Designs drawn in all sections that are too large to count."""

MOST_SUMS = 2_000_000
"""Most sums looked at together while counting a section; a hundredth of it in each of many drawn ones."""

PATIENCE = 200
"""Draws in a row without a new design after which hardly any is left."""

OVERSAMPLED = 4
"""Designs drawn for each one kept, by weight."""

NORMAL_95 = 1.96
"""Standard errors on each side of a 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """``grid``: product of all values. ``designs``: those that can be within the static limits ``where``, with an ``interval`` (95%)
    where they were not all counted. ``fit``: the share of them whose engines' memory holds the weights. ``variables``: path and values.
    """

    grid: float
    designs: float
    fit: float
    where: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        """Some lines for people: what there is, and each variable with its values."""
        within = f" within {' and '.join(self.where)}" if self.where else ""
        sure = f" ({_number(self.interval[0])} to {_number(self.interval[1])})" if self.interval else ""
        head = (
            f"{'about ' if self.interval else ''}{_number(self.designs)} designs{sure}{within}, "
            f"{self.designs / self.grid:.2g} of a grid of {_number(self.grid)}; "
            f"{self.fit:.0%} of them fit their memory"
        )
        width = max(len(path) for path, _ in self.variables)
        return "\n".join([head, *(f"  {path:<{width}}  {text}" for path, text in self.variables)])


class Asked(Protocol):
    """What is asked of a space here (`space.Space`)."""

    @property
    def frame(self) -> Frame:
        """What is chosen before pools are."""

    @property
    def where(self) -> tuple[StaticLimit, ...]:
        """Its static limits."""

    @property
    def free(self) -> tuple[Variable, ...]:
        """Variables with values of their own."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables."""

    def design(self, values: Mapping[str, Any]) -> Design:
        """The design at some values."""

    def completed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of that design, as tables hold them."""

    def beyond(self, design: Design, prices: PriceBook | None) -> tuple[Infeasible, ...]:
        """The limits that it breaks."""


class Place(NamedTuple):
    """A section: values, base, pools, limits on their sums, pairs that hand caches over, and how many sections it stands for."""

    values: Mapping[str, Any]
    base: Design
    pools: tuple[Population, ...]
    limits: Limits
    weight: float


def size(space: Asked, prices: PriceBook | None, rng: np.random.Generator) -> Size:
    """The size of a space, counted or estimated."""
    places = _Places(space, prices, rng)
    sections = list(places.listed() if places.few else places.drawn(DRAWN))
    effort = {"number": max(WALKS // max(len(sections), 1), 10), "most": MOST_SUMS // (1 if places.few else 100)}
    found = [(place.weight, *_counted(place, rng, **effort)) for place in sections]
    exact = places.few and all(sure for *_, sure in found) and places.sure
    draws = 1 if places.few else DRAWN
    total, fitting, error = _added(found, draws)
    interval = None if exact else (max(total - NORMAL_95 * error, 0.0), total + NORMAL_95 * error)
    return Size(
        grid=prod(float(len(item.values)) for item in space.free),
        designs=total,
        fit=fitting / total if total else 0.0,
        where=tuple(map(str, space.where)),
        variables=tuple((item.path, _in_words(item)) for item in space.variables),
        interval=interval,
    )


def drawn(space: Asked, number: int, rng: np.random.Generator, prices: PriceBook | None = None) -> list[dict[str, Any]]:
    """Values of up to ``number`` distinct designs within the static limits; fewer where hardly more exist.

    Every choice of placement, services and stages is as likely as its alternatives, whatever the number of designs behind it (else nearly
    all would have the most pools); within one, designs are near to equally likely.
    """
    places = _Places(space, prices, rng)
    found: dict[str, dict[str, Any]] = {}
    idle = 0
    while len(found) < number and idle < PATIENCE:
        idle += 1
        for place in places.drawn(1):
            for values in _designs(place, max(number // DRAWN, 1), rng):
                try:
                    design = space.design(values)
                except SpecError:
                    continue
                if design.design_id not in found and not space.beyond(design, prices):
                    found[design.design_id] = space.completed(values)
                    idle = 0
    return list(found.values())[:number]


@dataclass(slots=True)
class _Places:
    """The sections of a space: listed, or drawn."""

    space: Asked
    prices: PriceBook | None
    rng: np.random.Generator
    known: dict[Any, Population | None] = field(default_factory=dict)
    sure: bool = True
    few: bool = field(init=False)
    amounts: Amounts = field(init=False)

    def __post_init__(self) -> None:
        self.amounts = Amounts.needed(self.space.where, self.prices)
        self.few = True
        try:
            for number, _ in enumerate(self.space.frame.choices()):
                if number >= COUNTED:
                    self.few = False
                    break
        except LargeSpaceError:
            self.few = False

    def listed(self) -> Iterator[Place]:
        """Every section."""
        for values, base in self.space.frame.choices():
            place = self._place(values, base, 1.0)
            if place is not None:
                yield place

    def drawn(self, number: int) -> Iterator[Place]:
        """``number`` draws, less those that end nowhere: each standing for as many sections as its draw was improbable."""
        frame = self.space.frame
        for _ in range(number):
            values: dict[str, Any] = {}
            weight = 1.0
            for item in frame.fields:
                options = frame.options(item, values)
                if options is None:
                    continue
                weight *= len(options)
                if not options:
                    break
                values[item.path] = options[int(self.rng.integers(len(options)))]
            try:
                place = self._place(values, frame.made(values), weight) if weight else None
            except SpecError:
                continue
            if place is not None:
                yield place

    def _place(self, values: Mapping[str, Any], base: Design, weight: float) -> Place | None:
        pools: list[Population] = []
        for scope in self.space.frame.scopes(base, values):
            key = scope.key
            if key not in self.known:
                self.known[key] = population(scope, self.amounts, self.rng)
            found = self.known[key]
            if found is None:
                return None
            self.sure &= all(each.weight == 1 for each in found.settings)
            pools.append(found)
        return Place(values, base, tuple(pools), limits_left(base, self.space.where, self.amounts), weight)


def _counted(place: Place, rng: np.random.Generator, *, number: int, most: int) -> tuple[float, float, float, bool]:
    """Designs of a section, those that fit, the variance of their number, and whether all were counted."""
    pairs = crossing(place.base)
    found = count(place.pools, place.limits, pairs, most=most)
    if found is not None:
        return (*found, 0.0, True)
    ways = walks(place.pools, place.limits, pairs, number=number, rng=rng)
    fitting = ways.ways * fitting_share(place.pools, ways)
    return float(ways.ways.mean()), float(fitting.mean()), float(ways.ways.var() / number), False


def _added(found: Sequence[tuple[float, float, float, float, bool]], draws: int) -> tuple[float, float, float]:
    """All designs, those that fit, and the standard error of the first; of ``draws`` those not found count as empty."""
    rows = np.array([each[:4] for each in found]) if found else np.zeros((1, 4))
    weight, designs, fitting, variance = rows.T
    if draws == 1:
        return float((weight * designs).sum()), float((weight * fitting).sum()), float(np.sqrt((weight**2 * variance).sum()))
    each = np.concatenate([weight * designs, np.zeros(max(draws - len(rows), 0))])
    return float(each.mean()), float((weight * fitting).sum() / draws), float(each.std(ddof=1) / np.sqrt(draws))


def _designs(place: Place, number: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Values of designs of a section, drawn by weight among several times as many."""
    ways = walks(place.pools, place.limits, crossing(place.base), number=OVERSAMPLED * number, rng=rng)
    for row in weighted_sample(_shares(ways.ways), number, rng):
        values = dict(place.values)
        for pool, group in zip(place.pools, ways.groups[row], strict=True):
            values |= pool.values(variant_of(pool, int(group), rng))
        yield values


def _shares(ways: Floats) -> Floats:
    most = float(ways.max(initial=0.0))
    return ways / most if most else ways


def _in_words(item: Variable) -> str:
    """The values of a variable, and when it has a meaning."""
    if item.formula is not None:
        text = f"= {item.formula}"
    else:
        shown = [str(value) for value in item.values]
        listed = ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-2:]])
        text = f"{len(shown)}: {'divisors: ' if item.divisors else ''}{listed}"
    return text if item.when is None else f"{text}, when {item.when}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value < 1e7 else f"{value:.2g}"
