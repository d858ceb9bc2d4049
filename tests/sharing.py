"""Chance for drawn cases, and step costs with work that ranks share."""

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
