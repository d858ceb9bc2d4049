"""Chance for drawn cases, and what its servers share: work of ranks, rates of stations, devices."""

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from mist_dse import rows

T = TypeVar("T")


class Dice:
    """Choices read off a string of bytes, one each; the first of the options when it has run out."""

    def __init__(self, rolls: bytes) -> None:
        self.rolls = iter(rolls)

    def __call__(self, options: Sequence[T]) -> T:
        return options[next(self.rolls, 0) % len(options)]

    def whole(self, low: int, high: int) -> int:
        return low + self(range(high - low + 1))

    def exact(self, low: int, high: int, per: int) -> float:
        """A multiple of 1/per, from low/per to high/per."""
        return self.whole(low, high) / per

    def rough(self) -> random.Random:
        """A source of numbers with full mantissas."""
        return random.Random(self.whole(0, 255) * 256 + self.whole(0, 255))


def shared_cost(cost: rows.StepCost, dice: Dice, *, exact: bool) -> rows.StepCost:
    """``cost`` as it is, or with a + b G s of shared work, other a and b in steps with prompts; ``exact``: sums without rounding."""
    if dice((True, False)):
        return cost
    tokens = np.arange(dice((3, 40)), dtype=float)
    if exact:
        pairs = [(dice.exact(0, 8, 4), dice.exact(0, 4, 4)) for _ in range(2)]
    else:
        chance = dice.rough()
        pairs = [(chance.uniform(0.0, 2.0), chance.uniform(0.0, 0.5)) for _ in range(2)]
    return cost._replace(shared_time=np.stack([start + slope * tokens for start, slope in pairs]))


def coupled(station: rows.Station, dice: Dice, *, exact: bool) -> tuple[list[rows.Station], tuple[float, ...]]:
    """A station, another one and perhaps a third, and the rates that some of them draw from together.

    ``exact``: two of one slot each whose paces stay powers of two; else any number of slots, and sums that are not round.
    """
    if exact:
        rates = [dice((0.5, 1.0, 4.0)) for _ in range(2)]
        stations = [station._replace(rate=rate, cap=dice((0.5, 1.0, 4.0)), slots=1, shared=0) for rate in rates]
        least = min(min(station.rate, station.cap) for station in stations)
        return stations, (least * dice((2.0, 1.0, 0.5)),)
    chance = dice.rough()
    stations = [
        station._replace(rate=chance.uniform(0.5, 4.0), cap=chance.uniform(0.5, 4.0), slots=dice((1, 2, 1000)), shared=dice((0, 0, 1, -1)))
        for _ in range(dice((2, 3)))
    ]
    return stations, (chance.uniform(0.2, 4.0), chance.uniform(0.2, 4.0))


def on_devices(
    engines: Sequence[rows.Engine], batchers: Sequence[rows.Batcher], dice: Dice
) -> tuple[list[rows.Engine], list[rows.Batcher]]:
    """Engines of one lane and batchers, most of them on one of few devices."""
    placed = [engine._replace(device=dice((0, 0, 0, 1, -1)) if engine.lanes == 1 else -1) for engine in engines]
    beside = [batcher._replace(device=dice((0, 0, 1, 2, -1))) for batcher in batchers]
    return placed, [batcher._replace(slots=1) if batcher.device >= 0 else batcher for batcher in beside]
