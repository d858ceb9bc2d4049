"""Static amounts of a design that limits are on: accelerators (of one kind), rent, TDP, nodes, sockets, of all or of one pool or service.

Each is a sum over pools and services, so that limits are decided while designs are put together. Two are sums only from below: nodes may
be left with devices that nobody uses, and a book that bills by node, hosts or tiers can only ask for more. No design within a limit is
left out for that, and the exact amounts of a design (`static_amount`) are held against its limits before it is simulated.
"""

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mist_dse.explore.errors import SpaceError
from mist_dse.explore.spaces.goals import StaticLimit, Term
from mist_dse.perf.network import nodes_of, placements
from mist_dse.perf.price import LOCAL_SCOPES, socket_price, usd_per_hour, usd_per_hour_by_host
from mist_dse.rows import Floats, Ints
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Accelerator, PriceBook, Topology
from mist_dse.specs.service import Service


@dataclass(frozen=True, slots=True)
class Amounts:
    """The columns of amounts that the limits of a space need; ``accelerators`` first and always, for the room in the topology."""

    limits: tuple[StaticLimit, ...]
    prices: PriceBook | None

    @classmethod
    def needed(cls, limits: Sequence[StaticLimit], prices: PriceBook | None) -> "Amounts":
        """The columns for these limits, the room of a topology among them."""
        every = {limit.quantity: limit for limit in (StaticLimit("accelerators", "<=", math.inf), *limits)}
        return cls(tuple(every.values()), prices)

    @property
    def names(self) -> tuple[str, ...]:
        """The quantity of each column."""
        return tuple(limit.quantity for limit in self.limits)

    def caches(self, cores: Sequence[Pool], core: Ints) -> Floats:
        """A code of model and KV datatype: only pools of one code can hand a cache over."""
        codes = [float(zlib.crc32(f"{pool.model.name}/{pool.dtypes.kv}".encode())) for pool in cores]
        return np.array(codes)[core]

    def of(self, cores: Sequence[Pool], core: Ints, replicas: Ints, node_size: int) -> Floats:
        """Amounts [v, q] of ``replicas[v]`` engines of ``cores[core[v]]``."""
        columns = [sum(term.factor * self._each(term, cores, node_size) for term in limit.terms) for limit in self.limits]
        return np.column_stack([np.asarray(column)[core] * replicas for column in columns]).astype(float)

    def of_services(self, base: Design) -> Floats:
        """Amounts [q] of all services of a design."""
        return np.array([sum(term.factor * self._of_services(term, base) for term in limit.terms) for limit in self.limits], dtype=float)

    def _of_services(self, term: Term, base: Design) -> float:
        mine = [service for service in base.services if term.part in ("", f"services.{service.name}")]
        return sum(service_amount(service, term, base.topology, self.prices) for service in mine)

    def _each(self, term: Term, cores: Sequence[Pool], node_size: int) -> Floats:
        """What one replica of each core adds to a term."""
        if term.part not in ("", f"pools.{cores[0].name}"):
            return np.zeros(len(cores))
        return np.array([_of_pool(pool, term, node_size, self.prices) for pool in cores], dtype=float)


def bounded(limit: StaticLimit, design: Design, prices: PriceBook | None) -> bool:
    """Whether sums decide a limit: those that may only be too small decide upper limits alone."""
    return all(_exact(term, design, prices) or (term.factor > 0) == limit.upper for term in limit.terms)


def static_amount(design: Design, limit: StaticLimit, prices: PriceBook | None) -> float | Infeasible:
    """The exact amount of a design that a limit is on; `Infeasible` where it has none, as without a price."""
    found = 0.0
    for term in limit.terms:
        amount = _amount(design, term, prices)
        if isinstance(amount, Infeasible):
            return amount
        found += term.factor * amount
    return found


def service_amount(service: Service, term: Term, topology: Topology, prices: PriceBook | None) -> float:
    """What a service adds to a term, at least."""
    devices = service.devices if not term.kind or (service.accelerator and service.accelerator.name == term.kind) else 0
    match term.quantity:
        case "accelerators":
            return float(devices)
        case "nodes":
            return devices / topology.node_size
        case "tdp":
            return devices * _tdp(service.accelerator) if devices else 0.0
        case "sockets":
            return float(service.sockets if service.accelerator is None else 0)
        case "usd_per_hour":
            return _service_usd(service, topology, _book(prices))
        case _:
            return float(service.replicas)


def pool_usd_per_hour(cores: Sequence[Pool], core: Ints, replicas: Ints, *, prices: PriceBook, node_size: int) -> Floats:
    """Rent of each variant by itself: its devices, or whole nodes where the book bills by node."""
    devices = np.array([0 if pool.beside else pool.parallelism.devices for pool in cores], dtype=np.int64)[core] * replicas
    billed = np.ceil(devices / node_size) * node_size if prices.billing == "node" else devices
    return np.asarray(np.array([rate(pool.accelerator, prices) for pool in cores])[core] * billed)


def rate(accelerator: Accelerator, book: PriceBook) -> float:
    """USD per hour of one device; ``SpaceError`` where the book has no price."""
    price = book.usd_per_hour(accelerator.name)
    if price is None:
        raise SpaceError(f"price book {book.name} has no price for {accelerator.name!r}, which a limit on usd_per_hour needs: "
                         "add one, leave the accelerator out of the space, or choose another book with prices=NAME")  # fmt: skip
    return price


def _of_pool(pool: Pool, term: Term, node_size: int, prices: PriceBook | None) -> float:
    """What one replica adds to a term."""
    devices = 0 if pool.beside or (term.kind and pool.accelerator.name != term.kind) else pool.parallelism.devices
    match term.quantity:
        case "accelerators":
            return devices
        case "nodes":
            return devices / node_size
        case "tdp":
            return devices * _tdp(pool.accelerator)
        case "usd_per_hour":
            return devices * rate(pool.accelerator, _book(prices))
        case "replicas":
            return 1
        case _:
            return 0


def _service_usd(service: Service, topology: Topology, book: PriceBook) -> float:
    found = service.devices * rate(service.accelerator, book) if service.accelerator is not None and service.devices else 0.0
    if service.host is not None and service.accelerator is None and service.sockets:
        price = socket_price(service.host, book, topology)
        if price is not None:
            amount = service.sockets * price.amount
            found += price.usd_per_hour * (math.ceil(amount) if price.item == "cpu_machine" else float(amount))
    apart = [each for each in service.tiers if not each.resident and each.tier.scope not in LOCAL_SCOPES]
    return found + sum(book.usd_per_hour(each.tier.name) or 0.0 for each in apart)


def _exact(term: Term, design: Design, prices: PriceBook | None) -> bool:
    if term.quantity == "nodes":
        return False
    if term.quantity != "usd_per_hour" or prices is None:
        return True
    host = design.topology.host
    nodes_paid = host is not None and prices.usd_per_hour(host.name) is not None
    apart = any(service.node is not None or any(tier.scope != "shared" for tier in service.tiers) for service in design.services)
    return prices.billing == "device" and not nodes_paid and not apart


def _amount(design: Design, term: Term, prices: PriceBook | None) -> float | Infeasible:
    mine = [host for host in design.hosts if term.part in ("", _part(host))]
    if term.quantity == "usd_per_hour":
        return _usd(design, [host.name for host in mine], _book(prices))
    if term.quantity == "nodes":
        stands = placements(design)
        if isinstance(stands, Infeasible):
            return stands
        names = {host.name for host in mine}
        return float(len({node for place in stands if place.pool in names for node in nodes_of(place, design.topology)}))
    return sum(_of_host(host, term, design.topology) for host in mine)


def _usd(design: Design, names: Iterable[str], prices: PriceBook) -> float | Infeasible:
    names = set(names)
    if len(names) == len(design.hosts):
        return usd_per_hour(design, prices)
    shares = usd_per_hour_by_host(design, prices)
    return shares if isinstance(shares, Infeasible) else sum(shares[name] for name in names)


def _of_host(host: Pool | Service, term: Term, topology: Topology) -> float:
    if isinstance(host, Pool):
        return _of_pool(host, term, topology.node_size, None) * host.replicas
    return service_amount(host, term, topology, None)


def _part(host: Pool | Service) -> str:
    return f"{'pools' if isinstance(host, Pool) else 'services'}.{host.name}"


def _tdp(accelerator: Accelerator | None) -> float:
    if accelerator is None or accelerator.tdp is None:
        name = accelerator.name if accelerator else "host"
        raise SpaceError(f"the catalogue knows no TDP of {name!r}, which a limit on tdp needs: leave it out of the space, or add its tdp")
    return accelerator.tdp


def _book(prices: PriceBook | None) -> PriceBook:
    if prices is None:
        raise SpaceError("a limit on usd_per_hour needs a price book")
    return prices
