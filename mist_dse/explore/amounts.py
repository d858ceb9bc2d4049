"""Static amounts of a pool that limits sum over pools: devices, devices of one kind, USD per hour.

Services add to both, and a book that bills by node can only cost more than devices do: no design within a limit is left out, and the exact
amounts of a design are held against the limit before it is simulated.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.goals import StaticLimit
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Pool
from mist_dse.specs.hardware import PriceBook


@dataclass(frozen=True, slots=True)
class Amounts:
    """The columns of amounts that the limits of a space need; ``accelerators`` always, for the room in the topology."""

    names: tuple[str, ...]
    prices: PriceBook | None

    @classmethod
    def needed(cls, limits: Sequence[StaticLimit], prices: PriceBook | None) -> "Amounts":
        """The columns for these limits."""
        return cls(tuple(dict.fromkeys(["accelerators", *(limit.quantity for limit in limits)])), prices)

    def caches(self, cores: Sequence[Pool], core: Ints) -> Floats:
        """A code of model and KV datatype: only pools of one code can hand a cache over."""
        codes = [float(zlib.crc32(f"{pool.model.name}/{pool.dtypes.kv}".encode())) for pool in cores]
        return np.array(codes)[core]

    def of(self, cores: Sequence[Pool], core: Ints, replicas: Ints) -> Floats:
        """Amounts [v, q] of ``replicas[v]`` engines of ``cores[core[v]]``."""
        devices = np.array([pool.parallelism.devices for pool in cores], dtype=np.int64)[core] * replicas
        return np.column_stack([self._column(name, cores, core, devices) for name in self.names]).astype(float)

    def _column(self, name: str, cores: Sequence[Pool], core: Ints, devices: Ints) -> Floats:
        if name == "accelerators":
            return devices.astype(float)
        if name == "usd_per_hour":
            return self._usd_per_hour(cores, core, devices)
        kind = name.removeprefix("accelerators.")
        return np.where(np.array([pool.accelerator.name == kind for pool in cores])[core], devices, 0).astype(float)

    def _usd_per_hour(self, cores: Sequence[Pool], core: Ints, devices: Ints) -> Floats:
        if self.prices is None:
            raise SpaceError("a limit on usd_per_hour needs a price book")
        return np.asarray(np.array([rate(pool, self.prices) for pool in cores])[core] * devices)


def pool_usd_per_hour(cores: Sequence[Pool], core: Ints, replicas: Ints, *, prices: PriceBook, node_size: int) -> Floats:
    """Rent of each variant by itself: its devices, or whole nodes where the book bills by node."""
    devices = np.array([pool.parallelism.devices for pool in cores], dtype=np.int64)[core] * replicas
    billed = np.ceil(devices / node_size) * node_size if prices.billing == "node" else devices
    return np.asarray(np.array([rate(pool, prices) for pool in cores])[core] * billed)


def rate(pool: Pool, book: PriceBook) -> float:
    """USD per hour of one device of a pool; ``SpaceError`` where the book has no price."""
    price = book.usd_per_hour(pool.accelerator.name)
    if price is None:
        raise SpaceError(f"price book {book.name} has no price for {pool.accelerator.name!r}, which a limit on usd_per_hour needs: "
                         "add one, leave the accelerator out of the space, or choose another book with prices=NAME")  # fmt: skip
    return price
