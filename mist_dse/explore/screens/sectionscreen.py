"""Which way the designs of a section are screened, and what sections share: pools, services and the requests' visits.

Sections that differ only in their services have the same pools, which are worked out once for all of them.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from mist_dse.analytic.steady import in_pairs
from mist_dse.explore.errors import SpaceError, UnscreenableError
from mist_dse.explore.screens.pairscreen import PairScreen, Spreads, sum_of
from mist_dse.explore.screens.poolscreen import PoolScreen, first_fitting, pool_screen
from mist_dse.explore.screens.scene import PoolLowering, Scene, memoised_lowering
from mist_dse.explore.screens.stays import stage
from mist_dse.explore.screens.walkscreen import WalkScreen
from mist_dse.explore.spaces.table import DesignTable, Section
from mist_dse.perf.price import usd_per_hour_by_host
from mist_dse.rows import Floats, Ints, Requests
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.stages.balance import equal_shares
from mist_dse.stages.servers import memory_rates

MIDDLING = 0.6
"""Demand of the servers of the design around which a network of servers is worked out."""


class Figures(Protocol):
    """How the designs of some sections get their demand and latencies."""

    refused: tuple[Infeasible, ...]

    def demand(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Highest demand of all servers of each design; nan where a pool does not fit."""

    def latencies(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        """The latencies asked for, of each design."""


class SectionScreen:
    """One section: its `Figures`, and what its services add to devices and rent."""

    def __init__(self, figures: Figures, screens: Sequence[PoolScreen], services: tuple[float, float]) -> None:
        self.figures, self.screens = figures, tuple(screens)
        self.refused = figures.refused
        self._devices, self._rent = services

    def demand(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Highest demand of all servers of each design; nan where a pool does not fit."""
        return self.figures.demand(part, chosen)

    def latencies(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        """The latencies asked for, of each design."""
        return self.figures.latencies(part, chosen, wanted)

    def devices(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """Accelerators of each design."""
        every = [screen.devices[rows] for screen, rows in zip(self.screens, chosen, strict=True)]
        return np.asarray(sum_of(every, np.add) + self._devices)

    def rent(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        """USD per hour of each design."""
        every = [screen.usd_per_hour[rows] for screen, rows in zip(self.screens, chosen, strict=True)]
        return np.asarray(sum_of(every, np.add) + self._rent)


def section_screens(table: DesignTable, requests: Requests, prices: PriceBook) -> list[SectionScreen]:
    """The screen of each section of ``table``."""
    lowering = memoised_lowering()
    alike: dict[Any, list[Section]] = {}
    keys = [(tuple(id(pool) for pool in part.pools), _common(part.base)) for part in table.sections]
    for key, part in zip(keys, table.sections, strict=True):
        alike.setdefault(key, []).append(part)
    known = {key: _figures(parts, requests, prices, lowering) for key, parts in alike.items()}
    found: list[SectionScreen] = []
    for key, part in zip(keys, table.sections, strict=True):
        figures, screens, pools = known[key]
        found.append(SectionScreen(figures, screens, _services(replace(part.base, pools=pools), prices)))
    return found


def _figures(parts: Sequence[Section], requests: Requests, prices: PriceBook,
             lowering: PoolLowering) -> tuple[Figures, tuple[PoolScreen, ...], tuple[Pool, ...]]:  # fmt: skip
    """The figures of sections of one group, the screens of their pools, and pools that fit."""
    part = parts[0]
    chosen = [first_fitting(pool, part.base.topology, requests, lowering) for pool in part.pools]
    refused = tuple(each for each in chosen if isinstance(each, Infeasible))
    pools = tuple(own if isinstance(own, Pool) else part.pools[number].pool(0) for number, own in enumerate(chosen))
    nothing = tuple(_unfit(len(pool)) for pool in part.pools)
    if refused:
        return _Refused(refused), nothing, pools
    scene = Scene(replace(part.base, pools=pools), requests, lowering)
    if scene.refused is not None:
        return _Refused((scene.refused,)), nothing, pools
    pairs = in_pairs(scene.lowered.servers, scene.jobs)
    screens = tuple(pool_screen(pool, scene, prices, latencies=pairs) for pool in part.pools)
    return PairScreen(part, scene, screens) if pairs else _walk(parts, scene, screens), screens, pools


def _walk(parts: Sequence[Section], scene: Scene, screens: tuple[PoolScreen, ...]) -> Figures:
    """Any pipeline, around a reference of middling load."""
    _check_apart(scene.reference)
    part = parts[0]
    middle = tuple(pool.pool(_middling(screen.demand)) for pool, screen in zip(part.pools, screens, strict=True))
    centre = Scene(replace(part.base, pools=middle), scene.requests, scene.pool_row)
    return WalkScreen(parts, stage(scene if centre.refused is not None else centre), screens)


def _middling(demand: Floats) -> int:
    """The variant whose demand is nearest to `MIDDLING`."""
    return int(np.nanargmin(np.abs(demand - MIDDLING))) if np.isfinite(demand).any() else 0


def _check_apart(design: Design) -> None:
    """``UnscreenableError`` where what one server does depends on another's setting by more than the arrivals between them."""
    shared = [host.name for host in design.hosts if host.beside]
    tiers = [service.name for service in design.services if service.kind == "tiers"]
    if shared or tiers or memory_rates(design):
        held = f"{tiers[0]} holds KV blocks of engines" if tiers else "services share a host's memory"
        what = f"{shared[0]} shares a device" if shared else held
        raise UnscreenableError(f"a screen takes servers one by one, and {what}")
    if equal_shares(design.pipeline):
        raise UnscreenableError("a screen takes servers one by one, and the shares of a choice by load depend on all of them")


class _Refused:
    """Sections whose designs cannot be."""

    def __init__(self, refused: tuple[Infeasible, ...]) -> None:
        self.refused = refused

    def demand(self, part: Section, chosen: Sequence[Ints]) -> Floats:
        return np.full(len(chosen[0]), np.nan)

    def latencies(self, part: Section, chosen: Sequence[Ints], wanted: Set[str]) -> Spreads:
        raise AssertionError("no design of this section fits")


def _unfit(size: int) -> PoolScreen:
    nothing = np.full(size, np.nan)
    return PoolScreen(kinds=(), demand=nothing, usd_per_hour=nothing, devices=nothing, refused=())


def _common(base: Design) -> Any:
    """What sections of one group have in common beside their pools."""
    services = tuple((service.name, service.kind, service.stages) for service in base.services)
    return base.pipeline, base.topology, base.handoff, services, tuple(pool.stages for pool in base.pools)


def _services(design: Design, prices: PriceBook) -> tuple[float, float]:
    """Accelerators and USD per hour of the services of a design."""
    if not design.services:
        return 0.0, 0.0
    rents = usd_per_hour_by_host(design, prices)
    if isinstance(rents, Infeasible):
        raise SpaceError(rents.constraint)
    devices = sum(service.devices for service in design.services if service.accelerator is not None)
    return float(devices), sum(rents[service.name] for service in design.services)
