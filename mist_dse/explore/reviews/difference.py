"""What differs between two runs: what was asked, the designs, their metrics, the fronts, and why a design joined or left one.

Designs are the same where their ids are. Two runs are *the same* where what decides results was asked alike and designs, verdicts,
metrics and fronts agree to the last digit; how they were run (executor, budgets, folders) does not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mist_dse.explore.reviews.robustness import PRICED
from mist_dse.explore.reviews.standing import Box
from mist_dse.explore.spaces.goals import minimised
from mist_dse.metrics import METRICS, Objective
from mist_dse.rows import Floats

if TYPE_CHECKING:
    import pandas as pd

DECIDING = ("space", "workload", "objectives", "constraints", "prices", "calibration", "version")
"""Parts of a manifest's identity that decide what a run finds."""

FREE = ("executor", "folder", "resume", "report", "plot", "format", "run")
"""Parts of a resolved configuration that say how a run is done, not what is asked."""


class Recorded(NamedTuple):
    """A run as its folder keeps it."""

    results: "pd.DataFrame"
    front: "pd.DataFrame"
    manifest: Mapping[str, Any]
    resolved: Mapping[str, Any]
    goals: tuple[Objective, ...]


class Change(NamedTuple):
    """One thing that the runs were asked, or ran with: its place and both values (None: absent)."""

    key: str
    a: Any
    b: Any


class Moved(NamedTuple):
    """A metric over the designs that both runs hold: how many ``changed``, the median and the ``largest`` of b/a - 1, and its design."""

    metric: str
    changed: int
    median: float | None
    largest: float | None
    design_id: str


class Mover(NamedTuple):
    """A design that is on one front only, and why; ``cause``: designs, verdict, price, metric or equal."""

    design_id: str
    cause: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """All that differs. ``designs``: counts in a, in b and in both; ``verdicts``: designs feasible in one only; ``front``: members kept;
    ``gone``: on a's front only; ``new``: on b's only; ``hypervolume`` of each in the box of both, None without common objectives."""

    asked: tuple[Change, ...]
    deciding: tuple[str, ...]
    designs: Mapping[str, int]
    verdicts: tuple[str, ...]
    moved: tuple[Moved, ...]
    front: tuple[str, ...]
    gone: tuple[Mover, ...]
    new: tuple[Mover, ...]
    hypervolume: tuple[float, float] | None

    @property
    def same(self) -> bool:
        """Whether nothing that counts differs."""
        alike = self.designs["a"] == self.designs["b"] == self.designs["both"]
        return alike and not (self.deciding or self.verdicts or self.moved or self.gone or self.new)


def difference(a: Recorded, b: Recorded) -> Difference:
    """What differs between run ``a`` and run ``b``."""
    one, other = _by_id(a.results), _by_id(b.results)
    both = one.index.intersection(other.index)
    feasible = [frame.loc[both, "feasible"].to_numpy(dtype=bool) for frame in (one, other)]
    fronts = [list(run.front["design_id"]) if len(run.front) else [] for run in (a, b)]
    goals = a.goals if {goal.metric for goal in a.goals} == {goal.metric for goal in b.goals} else ()
    here, there = _Side(one, fronts[0], goals), _Side(other, fronts[1], goals)
    return Difference(
        asked=tuple(_asked(a, b)),
        deciding=tuple(name for name in DECIDING if _identity(a).get(name) != _identity(b).get(name)),
        designs={"a": len(one), "b": len(other), "both": len(both)},
        verdicts=tuple(both[feasible[0] != feasible[1]]),
        moved=tuple(_moved(one.loc[both], other.loc[both])),
        front=tuple(key for key in fronts[0] if key in set(fronts[1])),
        gone=tuple(_mover(key, here, there, "b") for key in fronts[0] if key not in set(fronts[1])),
        new=tuple(_mover(key, there, here, "a") for key in fronts[1] if key not in set(fronts[0])),
        hypervolume=_volumes(a.front, b.front, goals),
    )


class _Side(NamedTuple):
    """One run: results by design id, the ids of its front, the objectives that both runs share."""

    results: "pd.DataFrame"
    front: Sequence[str]
    goals: Sequence[Objective]

    def points(self, keys: Sequence[str]) -> Floats:
        return minimised({goal.metric: self.results.loc[list(keys), goal.metric] for goal in self.goals}, self.goals, logarithmic=False)


def _by_id(results: "pd.DataFrame") -> "pd.DataFrame":
    """The last row of every design at its finest fidelity."""
    return results.drop_duplicates("design_id", keep="last").set_index("design_id")


def _identity(run: Recorded) -> Mapping[str, Any]:
    found = run.manifest.get("identity")
    return found if isinstance(found, Mapping) else {}


def _asked(a: Recorded, b: Recorded) -> Iterator[Change]:
    """Every place of the resolved configurations and of the manifests' hashes and versions that differs."""
    pairs = [({key: value for key, value in run.resolved.items() if key not in FREE}) for run in (a, b)]
    parts = [(pairs[0], pairs[1]), *(({key: a.manifest.get(key)}, {key: b.manifest.get(key)}) for key in ("identity", "versions"))]
    for one, other in parts:
        left, right = dict(_flat(one)), dict(_flat(other))
        for key in dict.fromkeys([*left, *right]):
            if left.get(key) != right.get(key):
                yield Change(key, left.get(key), right.get(key))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}" if place else str(key))
    else:
        yield place, value


def _moved(one: "pd.DataFrame", other: "pd.DataFrame") -> Iterator[Moved]:
    """Metrics that changed, in the order of `METRICS`."""
    for name in METRICS:
        if name not in one or name not in other:
            continue
        a, b = one[name].to_numpy(dtype=float), other[name].to_numpy(dtype=float)
        changed = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if not changed.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = b / a - 1
        known = np.isfinite(ratio)
        worst = int(np.argmax(np.where(known, np.abs(ratio), -1.0)))
        if known.any():
            yield Moved(name, int(changed.sum()), float(np.median(ratio[known])), float(ratio[worst]), str(one.index[worst]))
        else:
            yield Moved(name, int(changed.sum()), None, None, str(one.index[int(np.argmax(changed))]))


def _mover(key: str, mine: _Side, theirs: _Side, their_name: str) -> Mover:
    """Why ``key``, on the front of ``mine``, is not on that of ``theirs``."""
    if key not in theirs.results.index:
        return Mover(key, "designs", f"{their_name} did not simulate it")
    row = theirs.results.loc[key]
    if not bool(row["feasible"]):
        return Mover(key, "verdict", f"infeasible in {their_name}: {row.get('violations') or 'no reason kept'}")
    if not theirs.goals:
        return Mover(key, "metric", "the runs have other objectives")
    point = theirs.points([key])
    front = theirs.points(theirs.front)
    better = np.flatnonzero((front <= point).all(axis=1))
    if not better.size:
        return Mover(key, "designs", f"no member of {their_name}'s front is as good: that front is not of all its results")
    rival = theirs.front[int(better[0])]
    if (front[better[0]] == point).all():
        return Mover(key, "equal", f"equals {rival}, which stands for it in {their_name}")
    return _beaten(key, rival, mine, theirs, their_name)


def _beaten(key: str, rival: str, mine: _Side, theirs: _Side, their_name: str) -> Mover:
    if rival not in mine.results.index:
        return Mover(key, "designs", f"in {their_name} dominated by {rival}, which only {their_name} simulated")
    before = mine.results.loc[rival]
    if not bool(before["feasible"]):
        return Mover(
            key, "verdict", f"in {their_name} dominated by {rival}, which is feasible only there (else {before.get('violations')})"
        )
    turned = mine.points([key])[0] < mine.points([rival])[0]
    names = [goal.metric for goal, was in zip(mine.goals, turned, strict=True) if was]
    sides = (mine, theirs) if their_name == "b" else (theirs, mine)
    said = [f"{name} {_ends(name, key, *sides)} against {_ends(name, rival, *sides)}" for name in names]
    cause = "price" if names and all(name in PRICED for name in names) else "metric"
    return Mover(key, cause, f"in {their_name} dominated by {rival}: {'; '.join(said) or 'equal elsewhere'}")


def _ends(name: str, key: str, a: _Side, b: _Side) -> str:
    """The value of a metric, from run a to run b where it changed."""
    before, after = (float(side.results[name][key]) for side in (a, b))
    return f"{before:.5g}" if before == after else f"{before:.5g} -> {after:.5g}"


def _volumes(a: "pd.DataFrame", b: "pd.DataFrame", goals: Sequence[Objective]) -> tuple[float, float] | None:
    """Share of the box around both fronts, on log axes, that each dominates."""
    if not goals or not len(a) or not len(b):
        return None
    first, second = (minimised({goal.metric: front[goal.metric] for goal in goals}, goals, logarithmic=True) for front in (a, b))
    box = Box.of(np.concatenate([first, second]))
    return box.volume(first), box.volume(second)
