"""From nouns to rows: a design and its requests become `Servers` and `Jobs`.

One pool that hosts prefill and decode: one visit per request. Two pools: a prefill visit, the hand-off over the link between
where they stand, a decode visit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mist_dse.perf.network import Placement, placements
from mist_dse.rows import Ints, Jobs, Requests, Servers, Station
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design, Handoff, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages.decode import context_lag, decode_slot, whole_slot
from mist_dse.stages.handoff import handoff_slots, handoff_station, mismatch
from mist_dse.stages.kinds import KINDS
from mist_dse.stages.names import described
from mist_dse.stages.pool import PoolRow, lower_pool
from mist_dse.stages.prefill import prefill_slot
from mist_dse.stages.visits import jobs


class Lowered(NamedTuple):
    """Rows of a design under its requests; ``stage_of_visit`` indexes ``design.pipeline.stages`` (-1 = a hand-off).

    A visit that prefills and decodes counts for the prefill stage.
    """

    servers: Servers
    jobs: Jobs
    stage_of_visit: Ints
    provenance: dict[str, Any]


class Roles(NamedTuple):
    """Which pools prefill and decode (the same one when colocated), and the pipeline's stage of each."""

    prefill: Pool
    decode: Pool
    prefill_stage: int
    decode_stage: int

    @property
    def colocated(self) -> bool:
        """Whether one pool does both."""
        return self.prefill.name == self.decode.name


def lower(design: Design, requests: Requests, *, pool_row: Callable[..., PoolRow | Infeasible] = lower_pool) -> Lowered | Infeasible:
    """Rows of a design, or the first constraint that it violates.

    ``pool_row``: `lower_pool` or a memoised form of it, since many designs share pools. ``SpecError`` for a pipeline that this
    version cannot lower.
    """
    roles = design_roles(design)
    stands = placements(design)
    if isinstance(stands, Infeasible):
        return stands
    differs = None if roles.colocated else mismatch(roles.prefill, roles.decode) or _too_many_groups(design, roles)
    if differs is not None:
        return differs
    longest = int(requests.input_tokens.max(initial=1))
    found: list[PoolRow] = []
    for pool in design.pools:
        role = _role(roles, pool)
        lag = 0.0 if role == "prefill" else context_lag(requests, pool.speculation)
        row = pool_row(pool, design.topology, role=role, longest=longest, lag=lag)
        if isinstance(row, Infeasible):
            return row
        found.append(row)
    stations = () if roles.colocated else (_station(design, roles, stands),)
    table, stage = visit_table(design, roles, requests)
    servers = _servers(design, found, stations)
    provenance = {pool.name: row.provenance for pool, row in zip(design.pools, found, strict=True)}
    return Lowered(servers, described(table, requests, servers.engines), stage, provenance)


def design_roles(design: Design) -> Roles:
    """The pools and stages that prefill and decode; ``SpecError`` unless the pipeline is one prefill followed by one decode."""
    stages = design.pipeline.stages
    for stage in stages:
        if stage.kind not in KINDS:
            raise SpecError(
                f"Pipeline {design.pipeline.name}: stage {stage.name!r} is of kind {stage.kind!r}, not one of {', '.join(KINDS)}"
            )
    if [stage.kind for stage in stages] != ["prefill", "decode"] or stages[1].after != (stages[0].name,):
        raise SpecError(f"Pipeline {design.pipeline.name} must be one prefill stage and one decode stage after it")
    return Roles(design.pool_of(stages[0].name), design.pool_of(stages[1].name), 0, 1)


def visit_table(design: Design, roles: Roles, requests: Requests) -> tuple[Jobs, Ints]:
    """Visits of all requests and the stage of each."""
    names, count = [pool.name for pool in design.pools], len(requests.input_tokens)
    first, second = names.index(roles.prefill.name), names.index(roles.decode.name)
    if roles.colocated:
        whole = whole_slot(requests, server=first, stage=roles.prefill_stage, speculation=roles.decode.speculation)
        return jobs((whole,), (), count)
    known = roles.prefill.engine.first_token_from == "prefill"
    start = prefill_slot(requests, server=first, stage=roles.prefill_stage, answers=known)
    end = decode_slot(requests, server=second, stage=roles.decode_stage, first_token_known=known, speculation=roles.decode.speculation)
    end = end._replace(beside=0 if _handoff(design, roles).groups > 1 else -1)
    moves, links = handoff_slots(roles.prefill, requests, server=len(names), mode=_handoff(design, roles).mode, present=end.present)
    return jobs((start, *moves, end), links, count)


def _role(roles: Roles, pool: Pool) -> str:
    if roles.colocated:
        return "both"
    return "prefill" if pool.name == roles.prefill.name else "decode"


def _handoff(design: Design, roles: Roles) -> Handoff:
    """The hand-off that the design names, or layer by layer from its prefill to its decode pool."""
    expected = (roles.prefill.name, roles.decode.name)
    handoff = design.handoff or Handoff(source=expected[0], target=expected[1])
    if (handoff.source, handoff.target) != expected:
        raise SpecError(f"Handoff goes from {handoff.source} to {handoff.target}: prefill is in {expected[0]} and decode in {expected[1]}")
    return handoff


def _too_many_groups(design: Design, roles: Roles) -> Infeasible | None:
    """Why the replicas of the two pools cannot be split into the local groups of their hand-off, None where they can."""
    groups, least = _handoff(design, roles).groups, min(roles.prefill.replicas, roles.decode.replicas)
    if groups <= least:
        return None
    text = f"handoff.groups is {groups}: the smaller of its pools has {least} replicas"
    return Infeasible(kind="constraint", constraint=text, margin=groups / least - 1)


def _station(design: Design, roles: Roles, stands: tuple[Placement, ...]) -> Station:
    where = {place.pool: place for place in stands}
    return handoff_station(design, where[roles.prefill.name], where[roles.decode.name])


def _servers(design: Design, found: list[PoolRow], stations: tuple[Station, ...]) -> Servers:
    names = tuple(pool.name for pool in design.pools) + ("handoff",) * len(stations)
    groups = 1 if len(found) == 1 or design.handoff is None else design.handoff.groups
    engines = tuple(row.engine._replace(groups=groups) for row in found)
    return Servers(engines, tuple(row.cost for row in found), tuple(row.load for row in found), stations, names)
