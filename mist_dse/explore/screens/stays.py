"""What each variant of each server does to the visits of the scenarios: seconds before service, to the first message, and in service.

Laws are those of `analytic.network` under all requests, in arrivals as irregular as the reference design's servers make them; times are of
the scenarios' visits, waits drawn from the law in as many equal parts as there are scenarios.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.analytic.demand import batcher_demand, offered_rate, station_demand
from mist_dse.analytic.laws import EngineLaw, company_traffic, engine_laws
from mist_dse.analytic.network import Network, latencies, law_of, laws, network, offers, stays, visiting, walk_of
from mist_dse.analytic.pool import Variants as Arrays
from mist_dse.analytic.sharing import Offered
from mist_dse.analytic.spread import Spread
from mist_dse.explore.screens.poolscreen import BAND, EASED, Kind, PoolScreen
from mist_dse.explore.screens.sample import chosen_jobs, chosen_requests, scenarios
from mist_dse.explore.screens.scene import Scene
from mist_dse.rows import Floats, Ints, Jobs, Servers
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.service import Service

Singles = NDArray[np.float32]


@dataclass(slots=True)
class Stays:
    """Of one server: seconds [variants, visits] ``before`` service, to the first ``message`` and in service as a ``whole``; nan where
    a variant does not fit or is beyond what the screen takes. ``tpot``: time per token of its variants (engines)."""

    before: Singles
    message: Singles
    whole: Singles
    demand: Floats
    tpot: Spread | None = None

    @classmethod
    def empty(cls, variants: int, visits: int) -> "Stays":
        """None known yet."""
        before, message, whole = (np.full((variants, visits), np.nan, dtype=np.float32) for _ in range(3))
        return cls(before, message, whole, np.full(variants, np.nan))


class Stage(NamedTuple):
    """The reference design in load: all requests, and the scenarios among them."""

    scene: Scene
    whole: Network
    small: Network
    offered: list[Offered]
    chosen: Ints

    @property
    def servers(self) -> Servers:
        """The rows of the reference."""
        return self.scene.lowered.servers


def stage(scene: Scene) -> Stage:
    """The network of the reference and of its scenarios."""
    servers, requests = scene.lowered.servers, scene.requests
    whole, rate = network(servers, scene.jobs, requests), offered_rate(scene.requests)
    found = latencies(whole, walk_of(whole, laws(whole, rate))[0])
    kept = np.flatnonzero(found.kept)
    e2e = np.zeros(len(found.kept))
    e2e[whole.answered] = found.e2e
    chosen = kept[scenarios(np.column_stack([found.ttft, e2e[kept], found.interval / np.maximum(requests.output_tokens[kept] - 1, 1)]))]
    small = network(servers, chosen_jobs(scene.jobs, chosen), chosen_requests(requests, chosen))
    return Stage(scene, whole, small, offers(whole, rate), chosen)


def pool_stays(here: Stage, number: int, screen: PoolScreen) -> Stays:
    """The variants of engine pool ``number`` whose demand is up to `BAND`; in it at `EASED` of the load."""
    name = here.servers.names[number]
    found = Stays.empty(len(screen.demand), len(here.small.visits[number].number))
    found.demand[:] = screen.demand
    found.tpot = Spread(*(np.full(len(screen.demand), np.nan) for _ in Spread._fields))
    for kind in screen.kinds:
        with_kind = here.scene.lowered_with(name, kind.core)
        if isinstance(with_kind, Infeasible) or not len(here.whole.traffic[number].number):
            continue
        demand = screen.demand[kind.rows]
        for low, high, share in ((-np.inf, BAND[0], 1.0), (BAND[0], np.nextafter(BAND[1], 2), EASED)):
            some = kind.at(np.flatnonzero((demand >= low) & (demand < high)))
            if some.rows.size:
                _kind_stays(found, here, (number, with_kind[1]), some, share)
    return found


def _kind_stays(found: Stays, here: Stage, which: tuple[int, Jobs], kind: Kind, share: float) -> None:
    """Write the variants of one kind at ``share`` of the load."""
    (number, jobs), whole = which, here.whole
    offered = here.offered[number]._replace(rate=here.offered[number].rate * share)
    served = whole.jobs if jobs is here.scene.jobs else jobs
    traffic = company_traffic(served, whole.traffic[number], visiting(whole, number, offered), whole.holds[number])
    every = engine_laws(kind.engine, kind.cost, traffic, offered.bulk, kind.arrays)
    small = here.small._replace(cancels=chosen_jobs(jobs, here.chosen)) if jobs is not here.scene.jobs else here.small
    assert found.tpot is not None
    for level, values in zip(found.tpot, every.pool.tpot, strict=True):
        level[kind.rows] = values
    for place, variant in enumerate(kind.rows.tolist()):
        net = _with_engine(small, number, kind, place)
        before, times = stays(net, number, _law_at(every, place), luck=True)
        found.before[variant], found.message[variant], found.whole[variant] = before, times.message, times.whole


def service_stays(here: Stage, name: str, variants: list[Service]) -> Stays:
    """The variants of one service."""
    number = here.servers.names.index(name)
    found = Stays.empty(len(variants), len(here.small.visits[number].number))
    for place, service in enumerate(variants):
        own = next(each for each in here.scene.reference.services if each.name == name)
        services = tuple(service if each is own else each for each in here.scene.reference.services)
        found.demand[place] = 0.0 if not len(here.whole.traffic[number].number) else np.nan
        lowered = here.scene.lowered_as(replace(here.scene.reference, services=services))
        if not isinstance(lowered, Infeasible):
            _service_stays(found, here, place, (lowered.servers, lowered.jobs, number, name))
    return found


def _service_stays(found: Stays, here: Stage, place: int, what: tuple[Servers, Jobs, int, str]) -> None:
    servers, jobs, old, name = what
    number, visits = servers.names.index(name), here.whole.traffic[old].number
    if not len(visits):
        return
    found.demand[place] = server_demand(servers, jobs, number, here)
    if found.demand[place] > BAND[1]:
        return
    share = EASED if found.demand[place] >= BAND[0] else 1.0
    left = np.where(here.scene.jobs.work > 0, here.whole.jobs.work / np.where(here.scene.jobs.work > 0, here.scene.jobs.work, 1), 1.0)
    order = [here.servers.names.index(each) for each in servers.names]
    net = here.whole._replace(servers=servers, jobs=jobs._replace(work=jobs.work * left),
                              traffic=tuple(here.whole.traffic[each] for each in order))  # fmt: skip
    law = law_of(net, number, here.offered[old]._replace(rate=here.offered[old].rate * share))
    small = network(servers, chosen_jobs(jobs, here.chosen), chosen_requests(here.scene.requests, here.chosen))
    if law is not None:
        before, times = stays(small, number, law, luck=True)
        found.before[place], found.message[place], found.whole[place] = before, times.message, times.whole


def server_demand(servers: Servers, jobs: Jobs, number: int, here: Stage) -> float:
    """Highest demand on one station or batcher, as the demand function has it."""
    visits = np.flatnonzero(jobs.server == number)
    rate = offered_rate(here.scene.requests) * len(visits) / max(len(here.scene.requests.arrival), 1)
    other = number - len(servers.engines)
    if other >= len(servers.stations):
        row = batcher_demand(servers.batchers[other - len(servers.stations)], jobs.work[visits], rate)
    else:
        row = station_demand(servers.stations[other], jobs.work[visits], rate)
    return max(row.values())


def fixed_stays(here: Stage, number: int) -> Stays:
    """A server that is the same for all designs: where signals meet."""
    found = Stays.empty(1, len(here.small.visits[number].number))
    found.demand[0] = server_demand(here.servers, here.scene.jobs, number, here)
    law = law_of(here.whole, number, here.offered[number])
    if law is not None:
        before, times = stays(here.small, number, law, luck=True)
        found.before[0], found.message[0], found.whole[0] = before, times.message, times.whole
    return found


def _with_engine(small: Network, number: int, kind: Kind, place: int) -> Network:
    """The scenarios' network with one variant of an engine."""
    replicas, seqs, tokens, blocks = (int(value[place]) for value in kind.arrays)
    engine = kind.engine._replace(replicas=replicas, max_num_seqs=seqs, max_num_batched_tokens=tokens, blocks=blocks)
    servers = small.servers
    engines = tuple(engine if k == number else each for k, each in enumerate(servers.engines))
    costs = tuple(kind.cost if k == number else each for k, each in enumerate(servers.costs))
    return small._replace(servers=servers._replace(engines=engines, costs=costs))


def _law_at(laws: EngineLaw, place: int) -> EngineLaw:
    """One variant of a law."""
    at = slice(place, place + 1)
    op = laws.op._replace(variants=Arrays(*(value[at] for value in laws.op.variants)),
                          **{name: getattr(laws.op, name)[at] for name in laws.op._fields if name not in ("mean", "variants")})  # fmt: skip
    entering, wait = (type(each)(*(value[at] for value in each)) for each in (laws.entering, laws.wait))
    return laws._replace(op=op, pool=laws.pool.at(at), entering=entering, wait=wait)
