"""Constants of an engine profile from measured serving: robust non-linear least squares with priors.

Minimises sum rho((log predicted - log measured)/sigma) over the rows + sum ((constant - prior)/spread)^2 by a trust-region method
(`scipy.optimize.least_squares`, soft-L1 rho), where every prediction is a simulation under the row's own recipe. sigma is
the spread of repeated measurements: 3% of TPOT, 8% of TTFT. Simulations jump where a schedule changes, so slopes are taken
over a quarter of each constant's spread. Constants that end on a limit are reported.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mist_dse.rows import Floats
from mist_dse.specs.engine import EngineProfile

REPEAT_SPREAD = {"tpot": 0.03, "ttft": 0.08}
"""Spread of repeated measurements of one configuration (InferenceX, 154 repeats: about 3% and 6 to 8%)."""

START_SPREAD = 0.6
"""Standard deviation of further starts about the priors, in spreads."""

SLOPE_STEP = 0.25
"""Step of finite differences, in spreads."""


class Constant(NamedTuple):
    """One constant of a profile: its prior and the prior's spread, and the range that is physical."""

    field: str
    prior: float
    spread: float
    low: float
    high: float


CONSTANTS = (
    Constant("residue", 0.7e-3, 1.0e-3, 0.0, 6e-3),
    Constant("residue_sequence", 25e-6, 15e-6, 0.0, 150e-6),
    Constant("moe_layer_time", 8e-6, 8e-6, 0.0, 60e-6),
    Constant("linear_factor", 0.95, 0.06, 0.75, 1.25),
    Constant("prefill_factor", 1.0, 0.12, 0.75, 2.2),
    Constant("moe_factor", 0.85, 0.15, 0.5, 1.6),
    Constant("attention_factor", 1.15, 0.15, 0.8, 2.0),
    Constant("host_prefill", 1.5e-3, 3e-3, 0.0, 50e-3),
    Constant("front_end_token", 4e-6, 3e-6, 0.0, 15e-6),
    Constant("front_end_output", 15e-6, 15e-6, 0.0, 200e-6),
    Constant("client", 20e-3, 12e-3, 0.0, 150e-3),
)
"""What a serving benchmark can tell. Front end per request, mixing and overlap are not identifiable beside these."""

FUSED_SAVING = 8e-6
"""s per narrow product that fused quantisation saves, as far as it is known before a fit: 4 to 11 us (InferenceX, TensorRT-LLM)."""

FUSING = (*CONSTANTS, Constant("quantise_saving", FUSED_SAVING, 6e-6, 0.0, 30e-6))
"""The same for engines that fuse the quantisation of a product's input into the kernel before it (TensorRT-LLM)."""

Predicted = Callable[[tuple[Any, EngineProfile]], tuple[float, float]]
"""(case, profile) -> (TTFT, TPOT) in s; nan where a run gives none."""


def constants_of(profile: EngineProfile) -> tuple[Constant, ...]:
    """What a fit of ``profile`` may change."""
    return FUSING if profile.quantise_saving > 0 else CONSTANTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted profile: its constants, those that ended on a limit, and median absolute relative errors (TTFT, TPOT) before and after."""

    profile: EngineProfile
    at_limit: tuple[str, ...]
    before: tuple[float, float]
    after: tuple[float, float]
    rows: int


def fitted_profile(
    cases: Sequence[Any],
    measured: Floats,
    start: EngineProfile,
    predicted: Predicted,
    *,
    constants: Sequence[Constant] | None = None,
    starts: int = 1,
    run: Callable[[Predicted, Iterable[tuple[Any, EngineProfile]]], Iterable[tuple[float, float]]] = map,
) -> Fit:
    """The profile whose predictions of ``cases`` come nearest to ``measured`` [n, 2] (TTFT, TPOT in s; nan = not measured).

    ``starts`` > 1: as many tries, the first from the priors, the others from points about them; the least sum wins (closed loops of
    fixed lengths lock into waves, which makes the sum rough).

    ``run`` maps ``predicted`` over pairs of case and profile, in order: give a parallel one for more than a few rows.
    """
    from scipy.optimize import least_squares

    constants = tuple(constants or constants_of(start))
    problem = _Problem(cases, measured, start, predicted, constants, run)
    origin = np.zeros(len(constants))
    around = np.random.default_rng(0).normal(0.0, START_SPREAD, (starts - 1, len(constants)))
    tries = [
        least_squares(problem.residuals, np.clip(x, *problem.inside), jac=problem.slopes, bounds=problem.bounds, loss="soft_l1", max_nfev=7,
                      xtol=0.03) for x in (origin, *around)
    ]  # fmt: skip
    found = min(tries, key=lambda one: float(one.cost))
    limits = zip(constants, found.x, *problem.bounds, strict=True)
    at_limit = tuple(c.field for c, x, low, high in limits if min(x - low, high - x) < 0.05)
    before, after = (median_errors(problem.predictions([x])[0], measured) for x in (origin, found.x))
    return Fit(profile=problem.profile(found.x), at_limit=at_limit, before=before, after=after, rows=len(cases))


def median_errors(predicted: ArrayLike, measured: Floats) -> tuple[float, float]:
    """Median absolute relative errors of TTFT and TPOT [n, 2]."""
    with np.errstate(invalid="ignore"):
        ttft, tpot = np.nanmedian(np.abs(np.asarray(predicted) / measured - 1), axis=0)
    return float(ttft), float(tpot)


class _Problem:
    """Residuals and slopes as functions of the constants in units of their spreads from their priors."""

    def __init__(self, cases: Sequence[Any], measured: Floats, start: EngineProfile, predicted: Predicted, constants: tuple[Constant, ...],
                 run: Callable[..., Iterable[tuple[float, float]]]) -> None:  # fmt: skip
        self.cases, self.measured, self.start, self.predicted, self.constants, self.run = cases, measured, start, predicted, constants, run
        self.sigma = np.array([REPEAT_SPREAD["ttft"], REPEAT_SPREAD["tpot"]])
        low, high = (np.array([(getattr(c, side) - c.prior) / c.spread for c in constants]) for side in ("low", "high"))
        self.bounds = (low, high)
        self.inside = (low + 1e-6, high - 1e-6)
        self.known: dict[bytes, Floats] = {}

    def profile(self, x: Floats) -> EngineProfile:
        values: dict[str, Any] = {c.field: float(c.prior + c.spread * at) for c, at in zip(self.constants, x, strict=True)}
        return replace(self.start, **values)

    def predictions(self, points: Sequence[Floats]) -> list[Floats]:
        new = [x for x in points if x.tobytes() not in self.known]
        answers = list(self.run(self.predicted, [(case, profile) for profile in map(self.profile, new) for case in self.cases]))
        for k, x in enumerate(new):
            self.known[x.tobytes()] = np.array(answers[k * len(self.cases) : (k + 1) * len(self.cases)], dtype=float)
        return [self.known[x.tobytes()] for x in points]

    def residuals(self, x: Floats) -> Floats:
        return np.concatenate([self._errors(self.predictions([x])[0]), x])

    def slopes(self, x: Floats) -> Floats:
        inward = np.where(x + SLOPE_STEP > self.bounds[1], -SLOPE_STEP, SLOPE_STEP)
        here, *there = self.predictions([x, *(x + inward[k] * np.eye(len(x))[k] for k in range(len(x)))])
        columns = [(self._errors(moved) - self._errors(here)) / inward[k] for k, moved in enumerate(there)]
        return np.vstack([np.stack(columns, axis=1), np.eye(len(x))])

    def _errors(self, answers: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            wrong: Floats = (np.log(answers / self.measured) / self.sigma).ravel()
        return np.where(np.isfinite(wrong), wrong, 0.0)
