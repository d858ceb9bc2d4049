"""When a search has seen enough, and how far it is.

Without a budget a search ends once it has simulated at least a share of the space and some multiple of its front, and the
hypervolume of the front then rested for twice as many simulations as the front has members; at the latest when ten times
that share is simulated. (A share alone is too little on small spaces: 2 to 3 simulations per front member give 0.997 of
the hypervolume.) Simulations are what counts: designs whose outcome was known already cost nothing, short runs their share.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mist_dse.explore.front import front_mask, hypervolume, reference_point
from mist_dse.rows import Floats, Ints

GAIN = 1e-4
"""Relative growth of the hypervolume below which a front rests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """``evaluations`` and ``seconds`` are budgets (None = the default rule): ``share`` of the space, ``fronts`` simulations
    per front member, ``least`` simulations in any case."""

    evaluations: int | None = None
    seconds: float | None = None
    share: float = 0.0025
    fronts: float = 3.0
    least: int = 64

    def budget(self, designs: float) -> int:
        """Most simulations of a search over so many designs."""
        return self.evaluations or int(max(10 * self.share * designs, 4 * self.least))

    def expected(self, seen: "Seen", designs: float) -> int:
        """Simulations after which the search ends if its front rests from now on."""
        if self.evaluations is not None:
            return self.evaluations
        rest = max(2 * len(seen.front), self.least // 2) - seen.resting
        return min(max(int(self._floor(seen, designs)), int(seen.spent) + max(rest, 0)), self.budget(designs))

    def _floor(self, seen: "Seen", designs: float) -> float:
        return max(self.share * designs, self.fronts * len(seen.front), self.least)

    def spent(self, seen: "Seen", flying: int = 0) -> bool:
        """Whether a budget that was given ends the search now, whatever it has found; ``flying`` simulations are under way."""
        if self.seconds is not None and time.monotonic() - seen.started >= self.seconds:
            return True
        return self.evaluations is not None and seen.spent + flying >= self.evaluations

    def enough(self, seen: "Seen", designs: float) -> bool:
        """Whether the default rule or a budget ends the search now."""
        return self.spent(seen) or seen.spent >= self.expected(seen, designs)


@dataclass(slots=True)
class Seen:
    """Objectives of what is known, in order, and the front among the feasible ones; ``free``: how many of them cost no simulation,
    ``short``: what short runs cost, in simulations."""

    started: float = field(default_factory=time.monotonic)
    points: list[Floats] = field(default_factory=list)
    feasible: list[bool] = field(default_factory=list)
    front: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hypervolume: float = 0.0
    resting: int = 0
    free: int = 0
    short: float = 0.0

    @property
    def count(self) -> int:
        """Designs simulated."""
        return len(self.points) - self.free

    @property
    def spent(self) -> float:
        """Simulations, short runs counted by their share of the requests."""
        return self.count + self.short

    def add(self, points: Sequence[Floats], feasible: Sequence[bool], free: int = 0) -> None:
        """Take in one batch, of which ``free`` designs cost nothing, move the front, and count how long it has rested."""
        before = self.front
        self.free += free
        self.points += [np.where(good, point, np.nan) for point, good in zip(points, feasible, strict=True)]
        self.feasible += feasible
        every = np.array(self.points)
        self.front = np.flatnonzero(front_mask(every))
        if not self.front.size:
            return
        reference = reference_point(every)
        self.hypervolume = hypervolume(every[self.front], reference)
        old = hypervolume(every[before], reference) if before.size else 0.0
        self.resting = 0 if self.hypervolume > old * (1 + GAIN) else self.resting + len(points) - free


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: designs done and planned, designs per second, seconds left, the front, the phase."""

    done: int
    total: int
    rate: float
    remaining_s: float
    front_size: int
    hypervolume: float
    phase: str = "simulate"
