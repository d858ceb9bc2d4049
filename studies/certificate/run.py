"""What must be simulated before a front is certified: `python studies/certificate/run.py [SPACE ...]` (needs the truth tables)."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "search_quality"))
from spaces import OBJECTIVES, SPACES, TRUTH, space, truth, workload

from mist_dse.catalog import Catalog
from mist_dse.explore import screen
from mist_dse.explore.front import front_mask
from mist_dse.explore.proofs.bounds import Asked, Bounds
from mist_dse.explore.runs.executor import executor
from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.spaces.goals import minimised
from mist_dse.requests import realise

BATCH, NOTHING = 24, np.zeros(0, dtype=np.int64)


def certified(bounds: Bounds, order: np.ndarray, points: np.ndarray, epsilon: float) -> tuple[Bounds, np.ndarray]:
    """Designs simulated until nothing is left: two batches of the screen's order, then in that order what bounds leave."""
    done, place = order[: 2 * BATCH], np.full(len(points), len(points))
    place[order] = np.arange(len(order))
    while True:
        bounds, left = bounds.remaining(points[done], done, epsilon)
        if not left.size:
            return bounds, done
        done = np.append(done, left[np.argsort(place[left], kind="stable")][:BATCH])


def case(name: str, trace: str, count: int, router: str = "round_robin") -> None:
    """One space, trace and number of objectives: violations, what must be simulated though the front is known, what was."""
    goals = space(name, router=router, objectives=OBJECTIVES[:count])
    asked = Asked(goals, workload(name, trace), realise(workload(name, trace)), Catalog().prices("default"), executor(None)[0])
    names = [goal.metric for goal in goals.objectives]
    screened, table = screen(goals, asked.workload, prices=asked.prices, requests=asked.requests, metrics=names), truth(name, trace, router)
    points = np.where(table[["feasible"]], table[names], np.nan)
    front, every, size = points[front_mask(points)], np.flatnonzero(np.isfinite(points).all(axis=1)), len(points)
    taken = sharper = Bounds.taken(asked, screened)
    order = screen_order(minimised(screened.metrics, goals.objectives), screened.feasible, names)
    print(f"{name} {trace} {router}, {count} objectives, front {len(front)} of {size:,}", end="", flush=True)
    for epsilon in (0.02, 0.0):
        sharper, left = sharper.remaining(front, NOTHING, epsilon)
        sharper, done = certified(sharper, order, points, epsilon)
        found, true = (np.unique(values[front_mask(values)], axis=0) for values in (points[done], points))
        same = "the true" if found.shape == true.shape and np.allclose(found, true, rtol=1e-9) else "another"
        ran = np.unique(table["run"].to_numpy()[done])
        shares = [len(each) / size for each in (taken.left(front, NOTHING, epsilon), left, done, ran)]
        row = "\n  epsilon {:4g}: left by pools {:.2%}, by pairs {:.2%}, evaluated {:.2%}, simulated {:.2%}, {} front"
        print(row.format(epsilon, *shares, same), end="")
    wrong, pairs = sum(each.violated(every, points[every]).size for each in (taken, sharper)), int(sharper.sharp.sum())
    print(f"\n  violations: {wrong} of {len(every):,} feasible designs, {pairs:,} of them bounded pair by pair", flush=True)


if __name__ == "__main__":
    for chosen, path in ((name, path) for name in sys.argv[1:] or SPACES for path in sorted(TRUTH.glob(f"{name}_*.parquet"))):
        trace, *router = path.stem.removeprefix(f"{chosen}_").split("_", 1)
        for objectives in (2, 3) if truth(chosen, trace, *router)["feasible"].any() else ():
            case(chosen, trace, objectives, *router)
