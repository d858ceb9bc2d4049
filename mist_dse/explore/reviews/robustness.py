"""How sure a front is: the share of draws in which each design stays on it, as prices, predictions, load and seed change.

    prices      every price of the book drawn by itself, uniform within +- a share; and every packaged book that prices the design
    intervals   errors of prediction drawn from the validation's held-out residuals (`predictions`), shared by designs of one kind
                of engine, and apart
    load, seeds the designs nearest the front simulated again, at other rates and with other seeds of the same workload

Prices apply after a simulation and errors multiply latencies, so the first two need no run. Limits on metrics are judged again in every
draw; whether a design is saturated is not, except where it is simulated again. Only simulated designs take part: what the search
left out cannot take a member's place, so a share is an upper estimate for members.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.front import ranks
from mist_dse.explore.reviews.predictions import Predictions
from mist_dse.explore.reviews.standing import judged, members, regret
from mist_dse.explore.runs.record import Row
from mist_dse.explore.spaces.goals import StaticLimit, minimised
from mist_dse.metrics import Limit, Objective
from mist_dse.perf.price import billed_devices, usd_per_hour
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook

if TYPE_CHECKING:
    import pandas as pd

PRICED = ("usd_per_hour", "usd_per_mtok", "usd_per_mtok_at_max")
"""Metrics in proportion to the rent."""

SURE = 1e-9
"""Violation that sums in floating point may leave."""


class Standing(NamedTuple):
    """Per design: share of the draws in which it is on the front and in which it is feasible, and its mean regret where it is."""

    front: Floats
    feasible: Floats
    regret: Floats

    def columns(self, source: str) -> dict[str, Floats]:
        """Columns of a table: ``p_front_SOURCE, p_feasible_SOURCE, regret_SOURCE``."""
        return {f"p_front_{source}": self.front, f"p_feasible_{source}": self.feasible, f"regret_{source}": self.regret}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Designs that compete for a front: their metrics ``values`` by name [n], what counts, and which are ``able``: infeasible at
    most by ``limits``, the limits on metrics; ``where``: static limits on the rent."""

    designs: Sequence[Design]
    values: Mapping[str, Floats]
    goals: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    where: tuple[StaticLimit, ...] = ()
    able: NDArray[np.bool_]

    def points(self, changed: Mapping[str, Floats], able: NDArray[np.bool_] | None = None) -> Floats:
        """Objectives as points to minimise on log axes with some metrics ``changed``, nan where infeasible."""
        return judged({**self.values, **changed}, self.goals, self.limits, self.able if able is None else able)

    @property
    def priced(self) -> dict[str, Floats]:
        """The metrics among those needed that follow the rent."""
        return {name: self.values[name] for name in PRICED if name in self.values}

    def rented(self, rent: Floats) -> Floats:
        """Points at another ``rent`` [n] in USD/h, nan where a book has no price."""
        able = self.able & np.isfinite(rent)
        for limit in self.where:
            able &= limit.met(rent)
        ratio = rent / self.values["usd_per_hour"]
        return self.points({name: column * ratio for name, column in self.priced.items()}, able)


def contest(results: "pd.DataFrame", designs: Sequence[Design], goals: Sequence[Objective], limits: Sequence[Limit],
            where: Sequence[StaticLimit] = ()) -> Contest:  # fmt: skip
    """The contest of the rows of a run's results."""
    needed = dict.fromkeys([*(goal.metric for goal in goals), *(limit.metric for limit in limits), *PRICED])
    values = {name: results[name].to_numpy(dtype=float) for name in needed if name in results}
    return Contest(
        designs=designs, values=values, goals=tuple(goals), limits=tuple(limits), able=_able(results, values, limits),
        where=tuple(limit for limit in where if limit.quantity == "usd_per_hour"),
    )  # fmt: skip


def nearest(results: "pd.DataFrame", goals: Sequence[Objective], limits: Sequence[Limit], most: int) -> Ints:
    """At most ``most`` rows of the results by their non-dominated rank, feasible ones before those that only limits keep away."""
    values = {name: results[name].to_numpy(dtype=float) for name in results.columns if name in _needed(goals, limits)}
    points = minimised(values, goals, logarithmic=True)
    feasible = results["feasible"].to_numpy(dtype=bool)
    place = np.full(len(results), len(results), dtype=np.int64)
    for chosen in (feasible, _able(results, values, limits) & ~feasible):
        rows = np.flatnonzero(chosen & np.isfinite(points).all(axis=1))
        place[rows] = ranks(points[rows])
    order = np.lexsort((np.arange(len(results)), ~feasible, place))
    return np.sort(order[: min(most, int((place < len(results)).sum()))])


def standing(draws: Iterable[Floats], size: int) -> Standing:
    """How each of ``size`` designs stands over ``draws`` of points [n, m] on log10 axes, nan where infeasible."""
    on_front, feasible, total, count = np.zeros(size), np.zeros(size), np.zeros(size), 0
    for points in draws:
        able = np.isfinite(points).all(axis=1)
        front = members(points)
        on_front += front
        feasible += able
        total[able] += 10 ** regret(points[able], points[front]) - 1
        count += 1
    share = 1 / count if count else np.nan
    return Standing(on_front * share, feasible * share, np.divide(total, feasible, out=np.full(size, np.nan), where=feasible > 0))


def price_draws(found: Contest, book: PriceBook, *, spread: float, count: int, seed: int) -> Iterator[Floats]:
    """Points under ``count`` draws of the prices of ``book``, each item uniform within 1 +- ``spread``."""
    billed = [billed_devices(design, book) for design in found.designs]
    items = sorted({item for amounts in billed if not isinstance(amounts, Infeasible) for item in amounts})
    rate = np.array([book.usd_per_hour(item) for item in items], dtype=float)
    amount = np.array([[_amount(each, item) for item in items] for each in billed]).reshape(len(billed), len(items))
    factor = np.random.default_rng(seed).uniform(1 - spread, 1 + spread, size=(count, len(items)))
    for row in factor:
        yield found.rented(amount @ (rate * row))


def book_draws(found: Contest, books: Sequence[PriceBook]) -> Iterator[Floats]:
    """Points under each of ``books``; a design that a book cannot price is infeasible under it."""
    for book in books:
        rent = [usd_per_hour(design, book) for design in found.designs]
        yield found.rented(np.array([np.nan if isinstance(each, Infeasible) else each for each in rent], dtype=float))


def interval_draws(found: Contest, errors: Predictions, *, count: int, seed: int, shared: bool) -> Iterator[Floats]:
    """Points under ``count`` draws of the errors of prediction."""
    latencies = {name: name.partition("_")[0] for name in found.values}
    for factors in errors.draws(count, seed, shared=shared):
        yield found.points({name: found.values[name] * factors[kind] for name, kind in latencies.items() if kind in factors})


def run_draws(runs: Sequence[Sequence[Row]], goals: Sequence[Objective]) -> list[Floats]:
    """Points of designs simulated again: one draw per run, whose rows come in the order of the designs."""
    found = []
    for rows in runs:
        values = {goal.metric: np.array([row.get(goal.metric) for row in rows], dtype=float) for goal in goals}
        found.append(judged(values, goals, (), np.array([row["feasible"] for row in rows], dtype=bool)))
    return found


class Noise(NamedTuple):
    """How far fronts of one question fall short of one another: the median and the worst over ordered pairs of runs."""

    median: float
    worst: float


def seed_noise(draws: Sequence[Floats]) -> Noise | None:
    """How far the front of one run falls short of that of another *in* the other (additive epsilon on log axes).

    Distances below it mean nothing at this number of requests. None without two fronts.
    """
    import moocore

    fronts = [members(points) for points in draws]
    found = []
    for mine in fronts:
        for points, theirs in zip(draws, fronts, strict=True):
            kept = points[mine][np.isfinite(points[mine]).all(axis=1)]
            if mine is not theirs and theirs.any() and len(kept):
                found.append(10 ** max(float(moocore.epsilon_additive(kept, ref=points[theirs])), 0.0) - 1)
    return Noise(float(np.median(found)), max(found)) if found else None


def _amount(billed: Mapping[str, float] | Infeasible, item: str) -> float:
    return np.nan if isinstance(billed, Infeasible) else billed.get(item, 0.0)


def _needed(goals: Sequence[Objective], limits: Sequence[Limit]) -> set[str]:
    return {goal.metric for goal in goals} | {limit.metric for limit in limits}


def _able(results: "pd.DataFrame", values: Mapping[str, Floats], limits: Sequence[Limit]) -> NDArray[np.bool_]:
    """Rows that break nothing but ``limits``: what these exceed, taken off their violation, leaves nothing."""
    left: Any = results["violation"].to_numpy(dtype=float).copy()
    for limit in limits:
        column = values[limit.metric]
        left -= np.where(np.isnan(column), 0.0, limit.excess(column))
    return np.asarray(left <= SURE)
