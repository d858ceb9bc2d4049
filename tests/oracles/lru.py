"""LRU caches as ordered dictionaries, one request after another: what stack distances must agree with."""

from collections import OrderedDict
from collections.abc import Sequence


class Cascade:
    """Exclusive tiers, nearest first: the last to be touched is in the first tier, and what overflows goes one further."""

    def __init__(self, capacities: Sequence[int]) -> None:
        self.capacities = capacities
        self.tiers: list[OrderedDict[int, None]] = [OrderedDict() for _ in capacities]

    def found(self, name: int) -> int:
        """The tier of a block, as many as there are where it is in none."""
        return next((tier for tier, cache in enumerate(self.tiers) if name in cache), len(self.tiers))

    def touched(self, name: int) -> None:
        """The block becomes the most recent one of the first tier."""
        for cache in self.tiers:
            cache.pop(name, None)
        self.tiers[0][name] = None

    def shrunk(self) -> list[int]:
        """Blocks that overflowed from each tier, which move on."""
        out = [0] * len(self.tiers)
        for tier, cache in enumerate(self.tiers):
            while len(cache) > self.capacities[tier]:
                name, _ = cache.popitem(last=False)
                out[tier] += 1
                if tier + 1 < len(self.tiers):
                    self.tiers[tier + 1][name] = None
        return out

    def served(self, names: Sequence[int]) -> tuple[list[int], list[int]]:
        """A whole request: where its blocks are found, and the blocks written into each tier."""
        where = [self.found(name) for name in names]
        for name in reversed(names):
            self.touched(name)
        return where, [sum(tier != 0 for tier in where), *self.shrunk()[:-1]]

    def looked_up(self, names: Sequence[int]) -> list[int]:
        """Block by block, each touched as it is looked up: where they are found."""
        where = []
        for name in names:
            where.append(self.found(name))
            self.touched(name)
            self.shrunk()
        return where
