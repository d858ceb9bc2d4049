"""`sweep`: from a space and a workload to a front, and the run folder that records how it was found.

Enumerate, screen at fidelity steady, then simulate: the search is an Optuna study (`study`) whose default sampler follows
the screen. Ctrl-C ends it early with everything finished written; ``resume`` goes on where it stopped.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from mist_dse.catalog import Catalog
from mist_dse.catalog_errors import nearest
from mist_dse.explore.certificate import EPSILONS, Asked, Certificate, certificate, unscreened
from mist_dse.explore.errors import EmptySpaceError, LargeSpaceError, SpaceError
from mist_dse.explore.executor import executor, warming
from mist_dse.explore.goals import minimised, objective
from mist_dse.explore.manifest import head, identity, resolved
from mist_dse.explore.options import Options, Search
from mist_dse.explore.order import ALARM_SHARE, screen_order, with_alarms
from mist_dse.explore.outcome import front_table, named, nothing_feasible, random_hits, results_table, screen_counts
from mist_dse.explore.poolscreen import BAND
from mist_dse.explore.record import Evaluator, Row, warm_up
from mist_dse.explore.screening import METRICS, ScreenTable, screen
from mist_dse.explore.space import Space
from mist_dse.explore.stopping import Progress, Stopping
from mist_dse.explore.store import RunFolder
from mist_dse.explore.table import DesignTable
from mist_dse.metrics import Objective, parse_limit
from mist_dse.requests import realise
from mist_dse.rows import Ints
from mist_dse.specs.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from mist_dse.explore.study import Loop

EVERY = 256
"""Most designs that are all simulated, in their order, where no estimate puts them in a better one."""

UNCOUNTED = 1e5
"""Size of a space taken for the default budget where it is not enumerated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """``front``: the feasible designs that none dominates; ``results``: every simulated design; ``manifest``: how it went;
    ``folder``: the run folder, if one was written."""

    front: "pd.DataFrame"
    results: "pd.DataFrame"
    manifest: dict[str, Any]
    folder: Path | None


class Plan(NamedTuple):
    """What the screen found and the order in which to simulate designs of ``table``; without a screen, the reason."""

    screened: ScreenTable | None = None
    order: Ints = np.zeros(0, dtype=np.int64)
    alarms: NDArray[Any] = np.zeros(0, dtype=bool)
    reason: str = ""
    table: DesignTable | None = None

    @property
    def complete(self) -> bool:
        """Whether the order holds every design that can be feasible, so that nothing is left to search after it."""
        if self.screened is None:
            return self.table is not None
        return len(self.order) == int((self.screened.demand < 1).sum())

    def indices(self, variables: Mapping[str, Mapping[str, Any]]) -> Ints:
        """Indices in the screened table of the designs simulated, whose variables are given in order of proposal."""
        if self.screened is None or len(variables) <= len(self.order):
            return self.order[: len(variables)]
        known = {named(values) for values in variables.values()}
        rest = np.setdiff1d(np.flatnonzero(self.screened.demand <= BAND[1]), self.order)
        later = [index for index in rest.tolist() if named(self.screened.table.values(index)) in known]
        return np.concatenate([self.order, np.array(later, dtype=np.int64)])


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall seconds per phase."""

    phases: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.phases[name] = round(self.phases.get(name, 0.0) + time.perf_counter() - start, 3)


def sweep(space: Space, workload: Workload, *, folder: str | Path | None = None, resume: str | Path | None = None,
          progress: Callable[[Progress], None] | None = None, **options: Unpack[Options]) -> SweepResult:  # fmt: skip
    """Search ``space`` for its front under ``workload``; ``options`` are the fields of `Search`.

    ``folder`` None: nothing is written; ``resume``: the folder of an earlier run of the same search; ``progress`` is called
    after every chunk. Raises ``SpaceError`` for a search that cannot be and ``StoreError`` for a folder that cannot be used.
    ``KeyboardInterrupt`` passes on once everything finished is written.
    """
    search, clock = _search(options), Clock()
    _sampler(search)
    space = replace(space, objectives=_objectives(space, search), constraints=_constraints(space, search))
    with clock.phase("requests"):
        book = (search.catalog or Catalog()).prices(search.prices) if isinstance(search.prices, str) else search.prices
        evaluator = Evaluator(workload=workload, requests=realise(workload), prices=book, constraints=space.constraints)
    hashes = identity(space, workload, search, book)
    store = RunFolder.existing(resume, hashes) if resume is not None else None
    with warming(search.executor, partial(warm_up, evaluator, space.base)) as warm:
        plan = _plan(space, evaluator, search, clock)
        if store is None and folder is not None:
            store = RunFolder.new(folder)
        manifest = head(space, workload, search, hashes)
        if store is not None:
            store.write_resolved(search.resolved if search.resolved is not None else resolved(space, workload, search))
            store.write_manifest({**manifest, "status": "running"})
        with clock.phase("start"):
            loop = _loop(space, evaluator, search, plan)
            loop.progress = progress
            if store is not None:
                loop.known, loop.finished = store.rows(), _parts(store, loop)
        with clock.phase("workers"):
            if progress is not None and loop.workers > 1:
                progress(Progress(0, 0, 0.0, math.inf, 0, 0.0, phase="start workers"))
            warm()
    status = "interrupted"
    try:
        with clock.phase("simulate"):
            loop.run()
        status = "done"
    finally:
        result = _result(loop, plan, {**manifest, "status": status}, clock, store)
    return result


def _search(options: Options) -> Search:
    names = [item.name for item in fields(Search)]
    for name in options:
        if name not in names:
            raise SpaceError(f"sweep has no option {name!r}; {nearest(name, names)}")
    return Search(**options)


def _sampler(search: Search) -> Any:
    """Optuna's sampler of a search: its own, or the one that follows the screen."""
    from mist_dse.explore.samplers import named_sampler

    name = search.tuning["name"]
    return named_sampler("nsga2" if name == "screen" else name, seed=search.seed, options=search.tuning.get("options"))


def _objectives(space: Space, search: Search) -> tuple[Objective, ...]:
    found = tuple(objective(text) for text in search.objectives) if search.objectives else space.objectives
    if not found:
        raise SpaceError("objectives is missing: give at least one, such as 'min usd_per_mtok'")
    if len({goal.metric for goal in found}) < len(found):
        raise SpaceError(f"objectives name one metric twice: {', '.join(map(str, found))}")
    return found


def _constraints(space: Space, search: Search) -> tuple[str, ...]:
    found = tuple(search.constraints) if search.constraints is not None else space.constraints
    try:
        return tuple(str(parse_limit(text)) for text in found)
    except ValueError as error:
        raise SpaceError(f"constraints: {error}") from None


def _plan(space: Space, evaluator: Evaluator, search: Search, clock: Clock) -> Plan:
    """The screen and its order, where the sampler follows a screen and there is one to follow."""
    tuning = search.tuning
    if tuning["name"] != "screen":
        return Plan(reason=f"search {tuning['name']} takes no screen")
    if evaluator.requests.clients:
        return Plan(reason="a closed loop has no rate to screen at: NSGA-II searches instead")
    goals = [goal for goal in space.objectives if goal.metric in METRICS]
    if not goals:
        return Plan(reason="no objective has an estimate to screen by: NSGA-II searches instead")
    with clock.phase("enumerate"):
        try:
            table = space.table(evaluator.prices)
        except LargeSpaceError as error:
            return Plan(reason=f"{error}: NSGA-II searches instead")
    if space.base.services:
        return _unscreened(table, search)
    with clock.phase("screen"):
        wanted = [goal.metric for goal in goals]
        screened = screen(space, evaluator.workload, prices=evaluator.prices, requests=evaluator.requests, metrics=wanted, table=table)
        order = screen_order(minimised(screened.metrics, goals), screened.feasible)
        if not order.size:
            raise EmptySpaceError(nothing_feasible(screened, space.constraints))
        return Plan(screened, *with_alarms(order, search.seed, tuning.get("alarm", ALARM_SHARE)), table=table)


def _unscreened(table: DesignTable, search: Search) -> Plan:
    """All designs in their order where they are few."""
    reason = "a screen covers engine pools alone, and these designs have services"
    if len(table) > (search.evaluations or EVERY):
        return Plan(reason=f"{reason}: NSGA-II searches instead")
    return Plan(order=np.arange(len(table)), reason=f"{reason}: all of them are simulated", table=table)


def _loop(space: Space, evaluator: Evaluator, search: Search, plan: Plan) -> "Loop":
    from mist_dse.explore.samplers import ScreenSampler
    from mist_dse.explore.study import Loop, new_study

    tuning = search.tuning
    execute, workers = executor(search.executor)
    sampler = _sampler(search)
    if tuning["name"] == "screen":
        sampler = ScreenSampler(space, plan.table, plan.order, after=sampler)
    rules = {name: tuning[name] for name in ("share", "fronts", "least") if name in tuning}
    return Loop(
        space=space,
        study=new_study(space.objectives, sampler, f"{space.name} {evaluator.workload.name}"),
        evaluator=evaluator,
        execute=execute,
        workers=workers,
        stopping=Stopping(evaluations=search.evaluations, seconds=search.seconds, **rules),
        designs=float(len(plan.order)) or UNCOUNTED,
        batch=tuning.get("batch", 96),
        exhausted=lambda: plan.complete and isinstance(sampler, ScreenSampler) and sampler.exhausted,
    )


def _parts(store: RunFolder, loop: "Loop") -> Callable[[list[Row]], object]:
    return lambda rows: store.write_part(results_table({row["design_id"]: row for row in rows}, loop.variables, loop.space.paths))


def _result(loop: "Loop", plan: Plan, manifest: dict[str, Any], clock: Clock, store: RunFolder | None) -> SweepResult:
    with clock.phase("write"):
        results = results_table(loop.rows, loop.variables, loop.space.paths)
        front = front_table(results, loop.space.objectives)
        if store is not None:
            store.write_tables(results, front)
            store.write_journal(loop.study)
    found = {
        **manifest,
        **screen_counts(plan.screened),
        "screen_note": plan.reason,
        "simulated": len(results),
        "feasible": int(results["feasible"].sum()) if len(results) else 0,
        "front": len(front),
        "hypervolume": loop.seen.hypervolume,
        "random_hits_on_front": None,
    }
    if store is not None:
        store.write_manifest({**found, "wall_s": dict(clock.phases)})
    with clock.phase("bounds"):
        found |= _certificate(loop, plan, front, interrupted=manifest["status"] != "done").as_manifest()
    found["wall_s"] = dict(clock.phases)
    if plan.screened is not None:
        drawn = plan.order[: len(results)][plan.alarms[: len(results)]]
        found["random_hits_on_front"] = random_hits(plan.screened, drawn, [loop.variables[key] for key in front.get("design_id", [])])
    if store is not None:
        store.write_manifest(found)
    return SweepResult(front=front, results=results, manifest=found, folder=store.path if store is not None else None)


def _certificate(loop: "Loop", plan: Plan, front: "pd.DataFrame", *, interrupted: bool) -> Certificate:
    if interrupted and plan.table is not None:
        return Certificate("none", "the search was interrupted")
    if plan.screened is None:
        if plan.table is not None and len(loop.rows) == len(plan.table):
            return Certificate("exact", "every design of the space was simulated", 0, dict.fromkeys(EPSILONS, 0))
        return unscreened(loop.space)
    asked = Asked(loop.space, loop.evaluator.workload, loop.evaluator.requests, loop.evaluator.prices, loop.execute)
    points = front[[goal.metric for goal in loop.space.objectives]].to_numpy(dtype=float)
    return certificate(asked, plan.screened, plan.indices(loop.variables), points)
