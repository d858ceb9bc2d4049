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
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from mist_dse.catalog import Catalog
from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.proofs.bounds import Asked
from mist_dse.explore.proofs.certificate import EPSILONS, Certificate, certificate, unscreened
from mist_dse.explore.runs.chunks import Chunks
from mist_dse.explore.runs.executor import executor, setting, warming
from mist_dse.explore.runs.record import Evaluator, Row, is_aside, warm_up
from mist_dse.explore.runs.store import RunFolder
from mist_dse.explore.screens.rankerror import rank_error
from mist_dse.explore.searches.details import write_details
from mist_dse.explore.searches.manifest import head, identity, resolved
from mist_dse.explore.searches.options import Options, Search
from mist_dse.explore.searches.outcome import front_table, labelled_rows, results_table
from mist_dse.explore.searches.plan import Plan, planned, screen_counts
from mist_dse.explore.searches.stopping import Progress, Stopping
from mist_dse.explore.searches.twins import ClassedEvaluator, Classes, limits
from mist_dse.explore.searches.warm import Warm, warm_start
from mist_dse.explore.spaces.goals import objective
from mist_dse.explore.spaces.space import Space
from mist_dse.metrics import Objective, parse_limit
from mist_dse.requests import realise
from mist_dse.specs.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from mist_dse.explore.searches.samplers import ScreenSampler
    from mist_dse.explore.searches.study import Loop

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
    space = replace(space, objectives=_objectives(space, search), constraints=_constraints(space, search))
    _sampler(search, len(space.objectives))
    with clock.phase("requests"):
        book = (search.catalog or Catalog()).prices(search.prices) if isinstance(search.prices, str) else search.prices
        evaluator = ClassedEvaluator(workload=workload, requests=realise(workload), prices=book, constraints=space.constraints)
    hashes = identity(space, workload, search, book, evaluator.requests)
    store = RunFolder.existing(resume, hashes) if resume is not None else None
    folder_before = search.tuning.get("warm_start")
    warm = warm_start(folder_before, space, hashes) if folder_before is not None else Warm()
    with warming(search.executor, partial(warm_up, evaluator, space.base)) as ready:
        plan = planned(space, evaluator, search, clock.phase)
        if store is None and folder is not None:
            store = RunFolder.new(folder)
        manifest = head(space, workload, search, hashes)
        manifest["warm_start"] = warm.as_manifest(str(folder_before)) if folder_before is not None else None
        if store is not None:
            store.write_resolved(search.resolved if search.resolved is not None else resolved(space, workload, search))
            store.write_manifest({**manifest, "status": "running"})
        with clock.phase("start"):
            loop = _loop(space, evaluator, search, plan)
            loop.progress = progress
            _begin_with(loop, warm)
            if store is not None:
                loop.chunks.known |= store.rows(retry=setting(search.executor).retry)
                loop.chunks.finished = _parts(store, loop)
        with clock.phase("workers"):
            if progress is not None and loop.chunks.workers > 1:
                progress(Progress(0, 0, 0.0, math.inf, 0, 0.0, phase="start workers"))
            ready()
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


def _sampler(search: Search, objectives: int) -> Any:
    """Optuna's sampler of a search: its own, or the one that follows the screen."""
    from mist_dse.explore.searches.samplers import named_sampler

    name = search.tuning["name"]
    return named_sampler(
        "nsga2" if name == "screen" else name, seed=search.seed, options=search.tuning.get("options"), objectives=objectives
    )


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


def _loop(space: Space, evaluator: Evaluator, search: Search, plan: Plan) -> "Loop":
    from mist_dse.explore.searches.fidelity import ShortRuns
    from mist_dse.explore.searches.samplers import ScreenSampler
    from mist_dse.explore.searches.study import Loop, new_study

    tuning = search.tuning
    execute, workers = executor(search.executor)
    sampler = _sampler(search, len(space.objectives))
    if tuning["name"] == "screen":
        refit = plan.refit(space) if tuning.get("refit", True) else None
        sampler = ScreenSampler(space, plan.table, plan.order, after=sampler, refit=refit)
    rules = {name: tuning[name] for name in ("share", "fronts", "least") if name in tuning}
    loop = Loop(
        space=space,
        study=new_study(space.objectives, sampler, f"{space.name} {evaluator.workload.name}"),
        chunks=Chunks(evaluator=evaluator, execute=execute, workers=workers),
        stopping=Stopping(evaluations=search.evaluations or plan.all_of, seconds=search.seconds, **rules),
        designs=float(len(plan.order)) or UNCOUNTED,
        batch=tuning.get("batch", 96),
        classes=Classes() if any(map(limits, space.paths)) else None,
        exhausted=lambda: getattr(sampler, "exhausted", False) and (plan.complete or not isinstance(sampler, ScreenSampler)),
        listed=lambda number: isinstance(sampler, ScreenSampler) and number in sampler.index_of,
        ahead=lambda: isinstance(sampler, ScreenSampler) and not sampler.exhausted,
    )
    shares = tuning.get("fidelities", (1,))
    if len(shares) > 1:
        loop.shorts = ShortRuns.over(float(shares[0]), space.objectives, evaluator, execute, workers)
    if tuning.get("certify") is not None and isinstance(sampler, ScreenSampler) and plan.screened is not None:
        from mist_dse.explore.searches.proof import Proof

        loop.proved = Proof(_asked(loop), plan.screened, plan, sampler, float(tuning["certify"]))
    return loop


def _asked(loop: "Loop") -> Asked:
    given = loop.chunks.evaluator
    return Asked(loop.space, given.workload, given.requests, given.prices, loop.chunks.execute)


def _begin_with(loop: "Loop", warm: Warm) -> None:
    """Designs of another run come first, known ones for nothing."""
    for values in warm.first:
        loop.study.enqueue_trial(values)
    loop.chunks.known |= warm.known
    loop.given = frozenset(warm.known)


def _parts(store: RunFolder, loop: "Loop") -> Callable[[list[Row]], object]:
    return lambda rows: store.write_part(labelled_rows(rows, loop.variables, loop.space.paths))


def _result(loop: "Loop", plan: Plan, manifest: dict[str, Any], clock: Clock, store: RunFolder | None) -> SweepResult:
    with clock.phase("write"):
        results = results_table(loop.rows, loop.variables, loop.space.paths)
        front = front_table(results, loop.space.objectives)
        if store is not None:
            store.write_tables(results, front)
            store.write_journal(loop.study)
    found = {**manifest, **screen_counts(plan), "screen_note": plan.reason, **_counts(loop), "front": len(front)}
    if store is not None:
        with clock.phase("details"):
            write_details(store.path, front, loop, interrupted=manifest["status"] != "done")
        store.write_manifest({**found, "wall_s": dict(clock.phases)})
    with clock.phase("bounds"):
        found |= _certificate(loop, plan, front, interrupted=manifest["status"] != "done").as_manifest()
    found["wall_s"] = dict(clock.phases)
    if plan.table is not None:
        found["share_simulated"] = loop.seen.count / len(plan.table)
    found |= _screened_well(loop, plan, front)
    if store is not None:
        store.write_manifest(found)
    return SweepResult(front=front, results=results, manifest=found, folder=store.path if store is not None else None)


def _counts(loop: "Loop") -> dict[str, Any]:
    """What the manifest says of the simulations, and of what spared some."""
    return {
        "simulated": loop.seen.count,
        "copied_from_class": loop.copied,
        "set_aside": sum(is_aside(row) for row in loop.rows.values()),
        "short_runs": loop.shorts.chunks.fresh if loop.shorts is not None else 0,
        "discarded_by_short_runs": len(loop.shorts.dropped) if loop.shorts is not None else 0,
        "refits": getattr(loop.study.sampler, "refits", 0),
        "feasible": sum(bool(row["feasible"]) for row in loop.rows.values()),
        "hypervolume": loop.seen.hypervolume,
    }


def _screened_well(loop: "Loop", plan: Plan, front: "pd.DataFrame") -> dict[str, Any]:
    """How the screen's figures stand to those simulated, and how many designs drawn at random are on the front."""
    if not len(plan.order):
        return {"random_hits_on_front": None, "rank_error": None}
    index_of = _indices(loop)
    members = [index_of[key] for key in front.get("design_id", []) if key in index_of]
    found: dict[str, Any] = {"random_hits_on_front": int(np.isin(members, plan.drawn).sum()), "rank_error": None}
    if plan.screened is not None:
        known = {key: index for key, index in index_of.items() if loop.rows[key]["feasible"]}
        at = np.array(list(known.values()), dtype=np.int64)
        names = [goal.metric for goal in loop.space.objectives if goal.metric in plan.screened.metrics]
        measured = {name: np.array([loop.rows[key][name] for key in known], dtype=float) for name in names}
        errors = rank_error({name: plan.screened.metrics[name][at] for name in names}, measured)
        found["rank_error"] = {name: error._asdict() for name, error in errors.items()}
    return found


def _indices(loop: "Loop") -> dict[str, int]:
    """Index in the screened table of each design that came from the order, by its id."""
    index_of: Mapping[int, int] = getattr(loop.study.sampler, "index_of", {})
    trials = loop.study.get_trials(deepcopy=False)
    found = {trials[number].user_attrs.get("design_id", ""): index for number, index in index_of.items()}
    return {key: index for key, index in found.items() if key in loop.rows}


def _certificate(loop: "Loop", plan: Plan, front: "pd.DataFrame", *, interrupted: bool) -> Certificate:
    if interrupted and plan.table is not None:
        return Certificate("none", "the search was interrupted")
    if plan.listed is not None:
        return Certificate("none", f"{plan.reason}: nothing is known of the others")
    if plan.screened is None:
        if plan.table is not None and sum(not is_aside(row) for row in loop.rows.values()) == len(plan.table):
            return Certificate("exact", "every design of the space was simulated", 0, dict.fromkeys(EPSILONS, 0))
        return unscreened(loop.space, enumerated=plan.table is not None)
    goals = [goal.metric for goal in loop.space.objectives]
    sampler: ScreenSampler = loop.study.sampler  # type: ignore[assignment]
    bounds = getattr(loop.proved, "bounds", None)
    points = front[goals].to_numpy(dtype=float)
    at = _indices(loop)
    aside = {key for key, row in loop.rows.items() if is_aside(row)}  # a bound must exclude them like any that was not simulated
    simulated = plan.indices(sampler.taken, {key: values for key, values in loop.variables.items() if key not in aside})
    simulated = np.setdiff1d(simulated, [at[key] for key in aside & at.keys()])
    rows = {index: loop.rows[key] for key, index in at.items() if loop.rows[key]["feasible"]}
    measured = np.array([[rows.get(index, {}).get(goal) for goal in goals] for index in simulated.tolist()], dtype=float)
    measured = measured.reshape(-1, len(goals))
    return certificate(_asked(loop), plan.screened, simulated, points, measured=measured, bounds=bounds)
