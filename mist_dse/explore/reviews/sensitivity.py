"""Which variables move the front: exact variances over a screened space, and what is lost where a variable is held at one value.

The population is finite: the feasible designs of a screened table, each counted once. For an output Y and a variable X

    first = Var(E[Y | X]) / Var(Y)        total = E[Var(Y | all others)] / Var(Y)

(Sobol', Math. Comput. Simul. 55, 2001; Saltelli et al., Comput. Phys. Commun. 181(2), 2010), both exact sums over groups of designs
instead of samples. ``total`` below ``first`` is no error: limits tie variables to one another, so that the others tell some of what X
is (Kucherenko et al., Comput. Phys. Commun. 183(4), 2012). Outputs are each objective on a log axis, and ``near``: 1 where the regret
of a design against the front is at most `NEAR`.

Indices say what moves the *numbers*; ``loss`` says what moves the *choice*: the share of the front's hypervolume that is lost where a
variable is held at its best single value (designs in which it has no meaning stay).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.explore.errors import EmptySpaceError
from mist_dse.explore.front import front_mask
from mist_dse.explore.reviews.standing import Box, regret
from mist_dse.explore.screens.screening import ScreenTable
from mist_dse.explore.spaces.goals import minimised
from mist_dse.metrics import Objective
from mist_dse.rows import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

NEAR = 0.05
"""Regret up to which a design counts as near the front."""

SPAN = 1 << 17
"""Designs whose variables are read at once."""

FEWEST = 20
"""Fewest feasible simulated designs that importances are taken from."""


class Effect(NamedTuple):
    """One value of a variable: ``designs`` and front ``members`` that have it, the share of hypervolume ``kept`` if all must."""

    value: Any
    designs: int
    members: int
    kept: float


class Importance(NamedTuple):
    """One variable: indices by output, its values, the ``best`` of them to be held at and what is lost then; ``idle``: designs in
    which it has no meaning."""

    variable: str
    first: dict[str, float]
    total: dict[str, float]
    effects: tuple[Effect, ...]
    best: Any
    loss: float
    idle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Values of variables as numbers: ``codes`` [v, n] index ``values`` [v]; a value None has no meaning there."""

    paths: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    codes: Ints


def sensitivity(screened: ScreenTable, goals: Sequence[Objective], paths: Sequence[str]) -> list[Importance]:
    """Every variable of ``paths`` that takes more than one value, the greatest loss first.

    ``goals`` have to be among the screened metrics; ``EmptySpaceError`` where nothing is feasible.
    """
    points = minimised(screened.metrics, goals, logarithmic=True)
    rows = np.flatnonzero(screened.feasible & np.isfinite(points).all(axis=1))
    if not rows.size:
        raise EmptySpaceError("no design is feasible on the screen, so nothing moves its front")
    outputs = {goal.metric: points[rows, column] for column, goal in enumerate(goals)}
    return importances(table_codes(screened, rows, paths), points[rows], outputs)


def importances(codes: Codes, points: Floats, outputs: Mapping[str, Floats]) -> list[Importance]:
    """Every variable of ``codes``: its indices for each of ``outputs`` and for ``near``, and what its values keep of the front."""
    front = front_mask(points)
    close = regret(points, points[front]) <= np.log10(1 + NEAR)
    first, total = indices(codes.codes, {**outputs, "near": close.astype(float)})
    box = Box.of(points[front])
    found = []
    for number, path in enumerate(codes.paths):
        effects, idle = held(codes.codes[number], codes.values[number], points, front, box)
        best = max(effects, key=lambda effect: effect.kept)
        one, every = ({name: float(values[number]) for name, values in index.items()} for index in (first, total))
        found.append(Importance(path, one, every, effects, best.value, 1 - best.kept, idle))
    return sorted(found, key=lambda item: -item.loss)


def indices(codes: Ints, outputs: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """First-order and total index [v] of every variable of ``codes`` [v, n] for each output [n]; nan for one that does not vary."""
    import pandas as pd

    centred = {name: values - values.mean() for name, values in outputs.items()}
    spread = {name: float((values**2).sum()) for name, values in centred.items()}
    first, total = ({name: np.full(len(codes), np.nan) for name in outputs} for _ in range(2))
    marks = _marks(codes)
    every = _sum(mark[code] for mark, code in zip(marks, codes, strict=True))
    for number, code in enumerate(codes):
        others = pd.factorize(every - marks[number][code])[0]
        for name, values in centred.items():
            if spread[name] > 0:
                first[name][number] = 1 - _within(values, code) / spread[name]
                total[name][number] = _within(values, others) / spread[name]
    return first, total


def held(code: Ints, values: Sequence[Any], points: Floats, front: NDArray[np.bool_], box: Box) -> tuple[tuple[Effect, ...], int]:
    """What each value keeps of the front's hypervolume, and how many designs have none."""
    whole = box.volume(points[front])
    fronts = {number: points[rows][front_mask(points[rows])] for number, rows in _groups(code, len(values))}
    counts, on_front = (np.bincount(chosen, minlength=len(values)) for chosen in (code, code[front]))
    absent = next((number for number, value in enumerate(values) if value is None), None)
    without = fronts.get(absent, points[:0]) if absent is not None else points[:0]
    effects = tuple(
        Effect(value, int(counts[number]), int(on_front[number]), box.volume(np.concatenate([fronts[number], without])) / whole)
        for number, value in enumerate(values)
        if value is not None
    )
    return effects, int(counts[absent]) if absent is not None else 0


def table_codes(screened: ScreenTable, rows: Ints, paths: Sequence[str]) -> Codes:
    """Variables of designs ``rows`` (ascending), those left out that take no second value; read in spans of bounded memory."""
    known: dict[str, dict[Any, int]] = {path: {} for path in paths}
    parts: dict[str, list[Ints]] = {path: [] for path in paths}
    for start in range(0, len(screened), SPAN):
        inside = rows[(rows >= start) & (rows < start + SPAN)] - start
        if inside.size:
            for path, column in screened.table.columns(paths, start, min(start + SPAN, len(screened))).items():
                parts[path].append(_numbered(column[inside], known[path]))
    return _varied(paths, known, {path: np.concatenate(found) for path, found in parts.items()})


def simulated_importances(results: "pd.DataFrame", goals: Sequence[Objective], paths: Sequence[str]) -> dict[str, dict[str, float]]:
    """Optuna's PED-ANOVA importances (Watanabe et al., IJCAI 2023) over the feasible simulated designs of a run, by objective.

    They tell what the best tenth of the *simulated* designs have in common: a search that follows a screen simulates good ones only,
    so the whole space is `sensitivity`'s. Empty for fewer than `FEWEST` designs.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    able = results[results["feasible"].astype(bool)]
    codes = frame_codes(able, paths)
    if len(able) < FEWEST or not codes.paths:
        return {}
    spreads = {
        path: optuna.distributions.CategoricalDistribution(range(len(values)))
        for path, values in zip(codes.paths, codes.values, strict=True)
    }
    found = {}
    for goal in goals:
        study = optuna.create_study(direction="minimize")
        worth = able[goal.metric].to_numpy(dtype=float) * goal.sign
        columns = codes.codes.T.tolist()
        study.add_trials([
            optuna.trial.create_trial(params=dict(zip(codes.paths, row, strict=True)), distributions=dict(spreads), value=float(value))
            for row, value in zip(columns, worth, strict=True) if np.isfinite(value)
        ])  # fmt: skip
        found[goal.metric] = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return found


def frame_codes(frame: "pd.DataFrame", paths: Sequence[str]) -> Codes:
    """Variables of the rows of a table of results."""
    import pandas as pd

    known: dict[str, dict[Any, int]] = {path: {} for path in paths}
    columns = {path: np.array([None if pd.isna(value) else value for value in frame[path]], dtype=object) for path in paths}
    return _varied(paths, known, {path: _numbered(column, known[path]) for path, column in columns.items()})


def _varied(paths: Sequence[str], known: Mapping[str, Mapping[Any, int]], codes: Mapping[str, Ints]) -> Codes:
    kept = tuple(path for path in paths if len(known[path]) > 1)
    stacked = np.array([codes[path] for path in kept], dtype=np.int64).reshape(len(kept), -1)
    return Codes(paths=kept, values=tuple(tuple(known[path]) for path in kept), codes=stacked)


def _numbered(column: NDArray[Any], known: dict[Any, int]) -> Ints:
    """Codes of values, new ones added to ``known`` in the order of their appearance."""
    import pandas as pd

    code, distinct = pd.factorize(column, use_na_sentinel=False)
    names = [None if value is None or value != value else value for value in distinct]
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)[code]


def _marks(codes: Ints) -> list[NDArray[np.uint64]]:
    """One random 64-bit mark per value: a design is the sum of its marks, and without one of them it is its group under the others
    (Zobrist, 1970). Two of a million groups meet by chance with probability 3e-8."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 2**64, size=int(code.max(initial=0)) + 1, dtype=np.uint64) for code in codes]


def _sum(parts: Any) -> NDArray[np.uint64]:
    whole: NDArray[np.uint64] = next(parts).copy()
    for part in parts:
        whole += part  # wraps around, as it should
    return whole


def _within(values: Floats, group: Ints) -> float:
    """Sum of squares around the means of groups."""
    count, total = np.bincount(group), np.bincount(group, weights=values)
    means = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return float(((values - means[group]) ** 2).sum())


def _groups(code: Ints, size: int) -> list[tuple[int, Ints]]:
    order = np.argsort(code, kind="stable")
    ends = np.searchsorted(code[order], np.arange(size + 1))
    return [(number, order[ends[number] : ends[number + 1]]) for number in range(size)]
