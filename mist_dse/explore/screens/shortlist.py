"""The designs of a space that may be on its first fronts, found in bounded memory: for spaces too large for a table of figures.

Chunk after chunk, designs that a member of the last front kept dominates are dropped, the others are ranked with those kept so far, and the
first ``fronts`` fronts stay. A rank among some designs is at most that among all, so what is dropped could never have come back: the
designs kept are exactly those of the first fronts of the whole space, fewer fronts where they would hold more than ``most`` designs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.catalog import Catalog
from mist_dse.explore.errors import EmptySpaceError, SpaceError
from mist_dse.explore.front import ranks
from mist_dse.explore.screens.poolscreen import BAND
from mist_dse.explore.screens.screening import METRICS, Chunk, Reached, Screener, nothing_fits
from mist_dse.explore.spaces.goals import minimised
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.requests import realise
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

FRONTS = 64
"""Fronts kept at most: a search simulates the designs of a few."""

MOST = 200_000
"""Designs kept at most, twins of equal figures counted each."""

DRAWN = 10_000
"""Feasible designs drawn at random, for alarms and for a look at the whole."""

BUFFER = 1 << 16
"""Designs gathered before they are ranked with those kept."""

GUARDS = 48
"""Members of a front that designs are held against where there are more than two objectives."""


class Counts(NamedTuple):
    """Designs screened, and of these: those that fit, that are saturated, that are uncertain, that are feasible."""

    screened: int = 0
    fits: int = 0
    saturated: int = 0
    uncertain: int = 0
    feasible: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """Designs ``index`` (ascending) of ``screener.table``: all feasible ones of the first ``fronts`` fronts of the screened objectives.

    ``points`` [n, m]: their objectives to minimise, on log axes; ``rank`` [n]: their front, 0 = the first. To simulate them in order:
    ``shortlist.index[screen_order(shortlist.points, np.ones(len(shortlist), bool))]``. ``drawn``: feasible designs at random, of all of
    the space. ``complete``: every feasible design is kept. Figures of any other design: ``screener.part(start, stop)``, and of all of them
    again, chunk by chunk (as a certificate needs them): ``screener.chunks()``.
    """

    screener: Screener
    index: Ints
    points: Floats
    rank: Ints
    fronts: int
    drawn: Ints
    counts: Counts

    def __len__(self) -> int:
        return len(self.index)

    @property
    def table(self) -> DesignTable:
        """All designs."""
        return self.screener.table

    @property
    def refused(self) -> tuple[Infeasible, ...]:
        """Why pools do not fit."""
        return self.screener.refused

    @property
    def complete(self) -> bool:
        """Whether every feasible design is kept."""
        return len(self.index) == self.counts.feasible


def shortlist(space: Space, workload: Workload, *, prices: PriceBook | str = "default", requests: Requests | None = None,
              table: DesignTable | None = None, progress: Reached | None = None) -> Shortlist:  # fmt: skip
    """The designs of the first fronts of ``space`` at fidelity steady, for its objectives, however many designs it has.

    ``EmptySpaceError`` where no design fits, ``SpaceError`` where no objective has an estimate or `Screener` refuses.
    """
    goals = [goal for goal in space.objectives if goal.metric in METRICS]
    if not goals:
        raise SpaceError("no objective has an estimate to screen by")
    book = Catalog().prices(prices) if isinstance(prices, str) else prices
    asked = requests if requests is not None else realise(workload)
    screener = Screener(space, asked, prices=book, metrics=[goal.metric for goal in goals], table=table)
    kept, lottery, counts = Kept(len(goals), FRONTS, MOST), Lottery(DRAWN), Counts()
    for chunk in screener.chunks(progress):
        counts = _counted(counts, chunk)
        rows = np.flatnonzero(chunk.feasible)
        lottery.add(rows + chunk.start)
        kept.add(rows + chunk.start, minimised({name: column[rows] for name, column in chunk.columns.items()}, goals, logarithmic=True))
    if not counts.fits:
        raise EmptySpaceError(nothing_fits(screener.refused))
    kept.settle()
    order = np.argsort(kept.index, kind="stable")
    return Shortlist(screener=screener, index=kept.index[order], points=kept.points[order], rank=kept.rank[order], fronts=kept.fronts,
                     drawn=lottery.drawn, counts=counts)  # fmt: skip


@dataclass(slots=True)
class Kept:
    """The first fronts of the points added so far, in ``axes`` dimensions, all to minimise."""

    axes: int
    fronts: int = FRONTS
    most: int = MOST
    index: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    points: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    rank: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    waiting: list[tuple[Ints, Floats]] = field(default_factory=list)

    def add(self, index: Ints, points: Floats) -> None:
        """Takes designs in as far as they can be on a front that is kept."""
        inside = np.isfinite(points).all(axis=1)
        if self.rank.size and self.rank.max() >= self.fronts - 1:
            inside &= ~dominated(points, self.points[self.rank == self.fronts - 1])
        if inside.any():
            self.waiting.append((index[inside], points[inside]))
        if sum(len(each) for each, _ in self.waiting) >= BUFFER:
            self.settle()

    def settle(self) -> None:
        """Ranks what waits together with what is kept."""
        if not self.waiting:
            return
        index = np.concatenate([self.index, *(each for each, _ in self.waiting)])
        points = np.concatenate([self.points.reshape(-1, self.axes), *(each for _, each in self.waiting)])
        self.waiting = []
        rank = ranks(points)
        sizes = np.cumsum(np.bincount(rank, minlength=1))
        self.fronts = max(min(self.fronts, int(np.searchsorted(sizes, self.most, side="right"))), 1)
        stays = rank < self.fronts
        self.index, self.points, self.rank = index[stays], points[stays], rank[stays]


@dataclass(slots=True)
class Lottery:
    """``most`` of the numbers added, each with the same chance: those with the smallest random keys."""

    most: int
    drawn: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    keys: Floats = field(default_factory=lambda: np.zeros(0))
    source: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(self, numbers: Ints) -> None:
        """Takes numbers in."""
        keys = self.source.random(len(numbers))
        if len(self.keys) >= self.most:
            lucky = keys < self.keys.max()
            numbers, keys = numbers[lucky], keys[lucky]
        drawn, keys = np.concatenate([self.drawn, numbers]), np.concatenate([self.keys, keys])
        if len(keys) > self.most:
            least = np.argpartition(keys, self.most - 1)[: self.most]
            drawn, keys = drawn[least], keys[least]
        self.drawn, self.keys = drawn, keys


def dominated(points: Floats, front: Floats) -> NDArray[np.bool_]:
    """Which points some member of ``front`` beats in an axis and in none is beaten by; in more than two axes only some of it is asked.

    >>> dominated(np.array([[2.0, 2.0], [1.0, 2.0], [0.0, 9.0]]), np.array([[1.0, 2.0], [3.0, 0.0]])).tolist()
    [True, False, False]
    """
    if not len(front):
        return np.zeros(len(points), dtype=bool)
    if points.shape[1] == 2:
        return _beyond_stairs(points, front)
    found = np.zeros(len(points), dtype=bool)
    for member in front[np.linspace(0, len(front) - 1, min(len(front), GUARDS)).astype(np.int64)]:
        found |= (member <= points).all(axis=1) & (member < points).any(axis=1)
    return found


def _beyond_stairs(points: Floats, front: Floats) -> NDArray[np.bool_]:
    """The same in two axes: the least second value of the members whose first is at most, or less than, each point's."""
    order = np.lexsort((front[:, 1], front[:, 0]))
    first, least = front[order, 0], np.minimum.accumulate(front[order, 1])
    lowest = np.concatenate([[np.inf], least])
    upto = lowest[np.searchsorted(first, points[:, 0], side="right")]
    before = lowest[np.searchsorted(first, points[:, 0], side="left")]
    return np.asarray((upto < points[:, 1]) | (before <= points[:, 1]))


def _counted(counts: Counts, chunk: Chunk) -> Counts:
    fits = np.isfinite(chunk.demand)
    uncertain = (chunk.demand >= BAND[0]) & (chunk.demand <= BAND[1])
    more: Sequence[int] = (len(fits), int(fits.sum()), int((chunk.demand >= 1).sum()), int(uncertain.sum()), int(chunk.feasible.sum()))
    return Counts(*(old + new for old, new in zip(counts, more, strict=True)))
