"""The table of a run's robustness: every source of doubt over the designs nearest its front (`robustness`, `reruns`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.reviews.predictions import predictions
from mist_dse.explore.reviews.reruns import Reruns, newcomers
from mist_dse.explore.reviews.robustness import (
    Contest,
    Noise,
    Standing,
    book_draws,
    contest,
    interval_draws,
    nearest,
    price_draws,
    run_draws,
    seed_noise,
    standing,
)
from mist_dse.explore.runs.record import Row
from mist_dse.explore.spaces.space import Space
from mist_dse.metrics import METRICS, Limit, parse_limit
from mist_dse.perf.price import usd_per_hour
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

if TYPE_CHECKING:
    import pandas as pd

MOST = 5000
"""Most simulated designs, nearest the front, that prices and intervals are drawn for."""

AGREES = 1e-6
"""Relative difference up to which a design simulated again gives the numbers of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How much is drawn: ``draws`` of prices within 1 +- ``spread`` and of intervals, price ``books``, ``rates`` as multiples of the
    load, ``seeds`` of the workload; ``designs`` nearest the front and ``newcomers`` per rate are simulated again."""

    draws: int = 1000
    spread: float = 0.2
    books: Sequence[PriceBook] = ()
    rates: Sequence[float] = (0.8, 0.9, 1.1, 1.25)
    seeds: int = 4
    designs: int = 60
    newcomers: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("seeds", 1), ("designs", 1), ("newcomers", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SpaceError(f"{name} is {value!r}: must be a whole number >= {least}")
        if isinstance(self.spread, bool) or not isinstance(self.spread, int | float) or not 0 <= self.spread < 1:
            raise SpaceError(f"spread is {self.spread!r}: must be a number >= 0 and < 1, such as 0.2 for prices within 20%")
        for rate in self.rates:
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
                raise SpaceError(f"rates holds {rate!r}: must be multiples of the load > 0, such as 0.9 or 1.25")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """``table``: designs that are on some front, the run's members first; ``noise`` of the seeds;
    ``notes``: what could not be done and why."""

    table: "pd.DataFrame"
    noise: Noise | None
    notes: tuple[str, ...]


def confidence(space: Space, results: "pd.DataFrame", runs: Reruns, asked: Draws, *,
               told: Callable[[str], object] = lambda text: None) -> Confidence:  # fmt: skip
    """The robustness of the front of ``results`` (simulated designs of ``space``); ``told`` hears what is being done.

    Columns of the table: ``design_id``, ``on_front``, ``twins`` (designs of the same outcome, left out), the variables, the
    objectives, and for each of prices, books, intervals, apart (intervals drawn for each design by itself), load and seeds the
    columns of `Standing`.
    """
    slo = runs.evaluator.workload.slo
    limits = tuple(parse_limit(text) for text in (*runs.evaluator.constraints, *(slo.limits if slo else ())))
    simulated = results[results["fidelity"] == runs.evaluator.fidelity].drop_duplicates("design_id", keep="last")
    if not simulated["feasible"].any():
        raise SpaceError("no simulated design of the run is feasible, so it has no front to be sure of")
    simulated = outcomes(simulated)
    table = simulated.iloc[nearest(simulated, space.objectives, limits, MOST)].reset_index(drop=True)
    designs = [stored_design(space, row) for row in records(table)]
    told(f"prices and intervals of {len(designs):,} designs")
    sources = _Sources(space=space, runs=runs, asked=asked, table=table, designs=designs,
                       found=contest(table, designs, space.objectives, limits, space.where))  # fmt: skip
    columns = {"on_front": sources.now.front > 0} | sources.priced() | sources.predicted()
    whole, noise = sources.again(table.assign(**columns), limits, told)
    return Confidence(table=_shown(whole, space), noise=noise, notes=tuple(sources.notes))


def outcomes(results: "pd.DataFrame") -> "pd.DataFrame":
    """The first design of each outcome (all metrics equal), with how many others share it as ``twins``: they err and win together."""
    known = ["feasible", *(name for name in METRICS if name in results)]
    count = results.groupby(known, dropna=False, sort=False)["design_id"].transform("size")
    return results.assign(twins=count - 1).drop_duplicates(known)


def records(table: "pd.DataFrame") -> list[Row]:
    """Rows of a table as mappings."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def stored_design(space: Space, row: Mapping[str, Any]) -> Design:
    """The design of a row of results; ``SpaceError`` where the space makes another of its variables by now."""
    values = {path: _value(space, path, row.get(path)) for path in space.paths}
    design = space.design({path: value for path, value in values.items() if value is not None})
    if design.design_id != row["design_id"]:
        raise SpaceError(f"design {row['design_id']} is {design.design_id} by now: the catalogue has changed since the run, search anew")
    return design


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """The sources of doubt over one table of designs; ``notes`` collects what could not be done."""

    space: Space
    runs: Reruns
    asked: Draws
    table: "pd.DataFrame"
    designs: Sequence[Design]
    found: Contest
    notes: list[str] = field(default_factory=list)

    @property
    def now(self) -> Standing:
        """How designs stand by the numbers of the run."""
        return standing([self.found.points({})], len(self.designs))

    def priced(self) -> dict[str, Floats]:
        """Draws of the book's prices, and the other books that price every member of the front."""
        asked, count = self.asked, len(self.designs)
        book = self.runs.evaluator.prices
        columns = standing(price_draws(self.found, book, spread=asked.spread, count=asked.draws, seed=asked.seed), count).columns("prices")
        members = [self.designs[row] for row in np.flatnonzero(self.now.front > 0).tolist()]
        books = [one for one in asked.books if all(not isinstance(usd_per_hour(member, one), Infeasible) for member in members)]
        if books:
            columns |= standing(book_draws(self.found, books), count).columns("books")
        if len(books) < len(asked.books):
            self.notes.append(f"books: {len(books)} of {len(asked.books)} price every design on the front; the others say nothing")
        return columns

    def predicted(self) -> dict[str, Floats]:
        """Draws of the errors of prediction, shared by kind of engine and apart."""
        asked, given = self.asked, self.runs.evaluator
        errors = predictions(self.designs, records(self.table), given.workload, given.requests)
        if errors is None:
            self.notes.append("intervals: nobody has measured such pipelines, so their errors of prediction are not known")
            return {}
        found: dict[str, Floats] = {}
        for source, shared in (("intervals", True), ("apart", False)):
            draws = interval_draws(self.found, errors, count=asked.draws, seed=asked.seed, shared=shared)
            found |= standing(draws, len(self.designs)).columns(source)
        return found

    def again(self, table: "pd.DataFrame", limits: Sequence[Limit], told: Callable[[str], object]) -> tuple["pd.DataFrame", Noise | None]:
        """``table`` with designs that other loads bring up and the columns of what was simulated again, and the noise of the seeds."""
        import pandas as pd

        given = self.runs.evaluator
        rates = [] if given.requests.clients else list(self.asked.rates)
        if given.requests.clients and self.asked.rates:
            self.notes.append("load: a closed loop has no rate to change")
        designs, others = self._candidates(nearest(table, self.space.objectives, limits, self.asked.designs), rates, told)
        told(f"{len(designs)} designs at {len(rates) + 1} rates and with {self.asked.seeds} seeds")
        base, draws = self._simulated(list(designs.values()), rates)
        self._check(base)
        known = set(table["design_id"])
        added = [{**row, **others[row["design_id"]], "on_front": False, "twins": 0} for row in base if row["design_id"] not in known]
        whole = pd.concat([table, pd.DataFrame(added)], ignore_index=True) if added else table
        place = {key: number for number, key in enumerate(designs)}
        at = np.array([place.get(key, -1) for key in whole["design_id"]])
        columns = {
            name: np.where(at >= 0, values[at], np.nan)
            for source, points in draws.items()
            for name, values in standing(points, len(designs)).columns(source).items()
        }
        return whole.assign(**columns), seed_noise(draws.get("seeds", []))

    def _candidates(self, chosen: Ints, rates: Sequence[float], told: Callable[[str], object]) -> tuple[dict[str, Design], dict[str, Any]]:
        """Designs to simulate again by id, and the variables of those that the screen puts first at another rate."""
        designs = {self.designs[row].design_id: self.designs[row] for row in chosen}
        others: dict[str, Any] = {}
        for factor in rates:
            told(f"screen at {factor:g} x the load")
            for design, values in newcomers(self.space, self.runs.evaluator, factor, self.asked.newcomers):
                others |= {} if design.design_id in designs else {design.design_id: values}
                designs.setdefault(design.design_id, design)
        return designs, others

    def _simulated(self, designs: Sequence[Design], rates: Sequence[float]) -> tuple[list[Row], dict[str, list[Floats]]]:
        """Rows at the load and seed of the run, and the points of all rates and of all seeds, these among them."""
        first = self.runs.evaluator.workload.seed
        base = self.runs.with_seeds(designs, [first])[0]
        every = {
            "load": [base, *self.runs.at_rates(designs, rates)] if rates else [],
            "seeds": [base, *self.runs.with_seeds(designs, range(first + 1, first + self.asked.seeds))],
        }
        return base, {source: run_draws(rows, self.space.objectives) for source, rows in every.items() if len(rows) > 1}

    def _check(self, rows: Sequence[Row]) -> None:
        """A note where designs simulated again give other numbers than the run has."""
        stored = self.table.set_index("design_id")
        for row in rows:
            for goal in self.space.objectives:
                if row["design_id"] in stored.index:
                    before, now = float(stored[goal.metric][row["design_id"]]), row.get(goal.metric)
                    if now is not None and abs(now - before) > AGREES * abs(before):
                        self.notes.append(f"{row['design_id']} simulated again has {goal.metric} {now:.5g}, {before:.5g} in the run: "
                                          "the run is another version's")  # fmt: skip
                        return


def _value(space: Space, path: str, stored: Any) -> Any:
    """The value of a variable as the space has it; None where it has no meaning."""
    if stored is None or stored != stored or str(stored) == "<NA>":
        return None
    variable = next(item for item in space.variables if item.path == path)
    known = {str(value): value for value in space.values_of(variable)}
    text = str(int(stored)) if isinstance(stored, float) and stored.is_integer() and str(stored) not in known else str(stored)
    return known.get(text, stored)


def _shown(table: "pd.DataFrame", space: Space) -> "pd.DataFrame":
    """Designs that are on the front in some draw, the run's members first, by the first objective."""
    shares = [name for name in table if str(name).startswith("p_front_")]
    paths = [path for path in space.paths if path in table]
    first = [goal.metric for goal in space.objectives]
    heads = ["design_id", "on_front", "feasible", "twins", *paths, *first]
    rest = [name for name in table if str(name).startswith(("p_front_", "p_feasible_", "regret_"))]
    kept = table[table["on_front"].astype(bool) | (table[shares] > 0).any(axis=1)][[*heads, *rest]]
    return kept.sort_values(["on_front", first[0]], ascending=[False, True], kind="stable").reset_index(drop=True)
