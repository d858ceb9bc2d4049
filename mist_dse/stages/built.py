"""What becomes of an unrolled pipeline before servers have numbers: slots, the signals that join them, and who asked for what."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import ON_END, Batcher, Ints, Jobs, Requests
from mist_dse.specs.design import Design, Handoff, Pool
from mist_dse.specs.service import Service
from mist_dse.stages import tiers
from mist_dse.stages.kinds import kind_of
from mist_dse.stages.servers import ServiceRow
from mist_dse.stages.unroll import Copy, Mask
from mist_dse.stages.visits import Link, Slot, jobs
from mist_dse.stages.work import Passes, options_of

SIGNALS = -1
"""Server of visits where signals meet, until it has a number; services are -2, -3 and so on."""

Signals = dict[int, Mask]
"""Slots whose ends are waited for, and of which requests."""


class Layout(NamedTuple):
    """Hand-offs, whose links are the first stations, and plans of KV tiers by service, whose links follow."""

    pairs: tuple[Handoff, ...]
    plans: Mapping[str, tiers.Plan]


class Built:
    """All slots and links of a pipeline under its requests, services not yet numbered."""

    def __init__(self, design: Design, copies: tuple[Copy, ...], requests: Requests, layout: Layout) -> None:
        self.design, self.copies, self.requests, self.layout = design, copies, requests, layout
        self.slots: list[Slot] = []
        self.links: dict[tuple[int, int, int], Mask] = {}
        self.signals: list[Signals] = []
        self.roles: dict[int, set[str]] = {}
        self.choosing: set[str] = set()
        self.of_copy: dict[int, list[int]] = {}
        self._passes: dict[str, list[tuple[int, Passes]]] = {}
        self._fetched: dict[str, int] = {}
        self._common: dict[tuple[str, int], Ints] = {}
        self._kinds: dict[str, tuple[ModuleType, Any]] = {}
        self._engines = {pool.name: number for number, pool in enumerate(design.pools)}
        self._services = {service.name: -2 - number for number, service in enumerate(design.services)}
        self.later = np.arange(len(design.pipeline.stages))

    @property
    def meets(self) -> bool:
        """Whether some visits are signals alone."""
        return bool(self.at(SIGNALS))

    def at(self, server: int) -> list[int]:
        """The slots of one server; links of KV tiers, which differ by request, are nobody's."""
        return [place for place, slot in enumerate(self.slots) if isinstance(slot.server, int) and slot.server == server]

    def kind(self, copy: Copy) -> tuple[ModuleType, Any]:
        """The file of a copy's kind and its stage's options; ``SpecError`` where these are wrong."""
        stage = copy.stage
        if stage.name not in self._kinds:
            where = f"Pipeline {self.design.pipeline.name}: stage {stage.name!r}"
            found = kind_of(stage.kind, where)
            self._kinds[stage.name] = (found, options_of(found.Options, stage, where))
        return self._kinds[stage.name]

    def passes(self, service: Service) -> list[Passes]:
        """The encoder passes that its stages ask for."""
        return [passes for _, passes in self._passes.get(service.name, [])]

    def role(self, engine: int) -> str:
        """What a pool does: prefill or decode alone, or both."""
        roles = self.roles.get(engine, {"both"})
        return next(iter(roles)) if len(roles) == 1 else "both"

    def longest(self, engine: int) -> int:
        """Longest prompt of a pool's visits."""
        return int(max((np.max(self.slots[place].prompt, initial=1) for place in self.at(engine)), default=1))

    def queries(self, service: Service) -> int:
        """Most units that one visit asks of a service: queries of an index."""
        asked = (np.max(np.asarray(self.slots[place].work, float), initial=1.0) for place in self.at(self._services[service.name]))
        return int(max(asked, default=1))

    def add(self, slot: Slot, before: Signals, *, on: int = ON_END) -> int:
        """A new slot that waits for ``before``; its number."""
        self.slots.append(slot)
        for source, mask in before.items():
            self.join(source, len(self.slots) - 1, mask, on=on)
        return len(self.slots) - 1

    def join(self, source: int, target: int, mask: Mask, *, on: int = ON_END) -> None:
        """A signal from one slot to another, for some requests."""
        known = self.links.get((source, target, on))
        self.links[source, target, on] = mask if known is None else known | mask

    def waits(self, copy: Copy) -> Signals:
        """What a copy waits for, slot by slot."""
        found: Signals = {}
        for source, mask in copy.sources.items():
            for slot, held in self.signals[source].items():
                both = mask & held
                if both.any():
                    found[slot] = found[slot] | both if slot in found else both
        return found

    def parallel(self, index: int) -> bool:
        """Whether a copy is one of several side by side."""
        repeat = self.design.pipeline.repeat_of(self.copies[index].stage.name)
        return repeat is not None and repeat.mode == "parallel"

    def common(self, index: int, tokens: Ints) -> Ints:
        """Tokens that the conversation of a copy with ``tokens`` of it has in common with the copies beside: those before its repeat."""
        repeat = self.design.pipeline.repeat_of(self.copies[index].stage.name)
        if repeat is None or repeat.mode != "parallel":
            return tokens
        return self._common.setdefault((repeat.name, self.copies[index].number), tokens)

    def past(self, slot: int, before: Signals) -> Signals:
        """What waits for ``slot`` waits for: it, or what came before it where it is not visited."""
        present = np.broadcast_to(np.asarray(self.slots[slot].present, bool), (len(self.requests.arrival),))
        found = {slot: present}
        if not present.all():
            found |= {source: mask & ~present for source, mask in before.items() if (mask & ~present).any()}
        return found

    def engine(self, stage: str) -> tuple[int, Pool]:
        """Number and pool of the engines that run ``stage``."""
        pool = self.design.host_of(stage)
        assert isinstance(pool, Pool)
        return self._engines[pool.name], pool

    def service(self, stage: str) -> tuple[int, Service]:
        """Number, to be resolved, and service that runs ``stage``."""
        service = self.design.host_of(stage)
        assert isinstance(service, Service)
        return self._services[service.name], service

    def ask_passes(self, service: Service, passes: Passes) -> None:
        """Remember the passes that the next slot asks of an encoder."""
        self._passes.setdefault(service.name, []).append((len(self.slots), passes))

    def fetched(self, service: str, prefill: int) -> bool:
        """Whether ``prefill`` (a copy) is the first after a fetch from the tiers of ``service``: later ones find nothing in them."""
        fetches = (index for index, copy in enumerate(self.copies) if copy.stage.kind == "kv_fetch" and index in self.of_copy)
        here = any(self.design.host_of(self.copies[index].stage.name).name == service for index in fetches)
        return here and self._fetched.setdefault(service, prefill) == prefill

    def jobs(self, services: Mapping[str, ServiceRow], others: int) -> tuple[Jobs, Ints]:
        """The visit table, with services numbered: their stations after the links of tiers, their batchers from ``others`` on."""
        station = len(self.design.pools) + len(self.layout.pairs) + sum(plan.links for plan in self.layout.plans.values())
        number: dict[int, int] = {}
        batchers = others
        for service in self.design.services:
            if service.name not in services:
                continue
            if isinstance(services[service.name].server, Batcher):
                number[self._services[service.name]], batchers = batchers, batchers + 1
            else:
                number[self._services[service.name]], station = station, station + 1
        number[SIGNALS] = station
        units = {self._services[name]: row.unit for name, row in services.items()}
        works = {
            slot: work for name, row in services.items() for (slot, _), work in zip(self._passes.get(name, []), row.works, strict=False)
        }

        def numbered(place: int, slot: Slot) -> Slot:
            if not isinstance(slot.server, int) or slot.server >= 0:
                return slot
            work = works.get(place, np.asarray(slot.work, float) * units.get(slot.server, 1.0))
            return slot._replace(server=number[slot.server], work=work)

        links = tuple(Link(source, target, on, mask) for (source, target, on), mask in self.links.items())
        return jobs(tuple(numbered(*each) for each in enumerate(self.slots)), links, len(self.requests.arrival))

    def conversations(self) -> tuple[Ints, Ints] | None:
        """Branch and common tokens of every visit (`Slot`), None where no engine is visited twice in one conversation."""
        read = [[self.slots[place].branch for place in self.at(engine)] for engine in range(len(self.design.pools))]
        if all(branches.count(0) < 2 and max(branches, default=0) <= 0 for branches in read):
            return None
        n = len(self.requests.arrival)
        present = np.stack([np.broadcast_to(np.asarray(slot.present, bool), (n,)) for slot in self.slots], axis=1)
        columns = (np.stack([np.broadcast_to(getattr(slot, name), (n,)) for slot in self.slots], axis=1) for name in ("branch", "common"))
        branch, common = (np.asarray(column, np.int64)[present] for column in columns)
        return branch, common
