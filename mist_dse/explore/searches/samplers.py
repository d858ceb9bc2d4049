"""The sampler that proposes designs in the order of the screen; Optuna's own by name are in `optuna_samplers`.

`ScreenSampler` is an `optuna.samplers.BaseSampler`: a relative sampler over all variables of a space. It learns from what its trials
are told (`refit`), and its order can be replaced while it runs (`ScreenSampler.follow`). When the order has ended it hands over to
NSGA-II, whose generation 0 is every trial told until then: the first children descend from the best of them. An empty order
hands over at once; trials that were enqueued take nothing from the order. In a script of one's own:

    sampler = ScreenSampler.over(space, workload)
    optuna.create_study(directions=["minimize", "minimize"], sampler=sampler).optimize(objective, n_trials=200)

where ``objective(trial)`` takes its values from ``suggested(trial, space)`` and its design from ``space.design(values)``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.samplers._ga import BaseGASampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mist_dse.explore.screens.screening import METRICS, screen
from mist_dse.explore.searches.optuna_samplers import OTHERS, SAMPLERS, named_sampler
from mist_dse.explore.searches.order import screen_order
from mist_dse.explore.searches.refit import Refit
from mist_dse.explore.spaces.space import Space
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.rows import Ints
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

__all__ = ["OTHERS", "SAMPLERS", "ScreenSampler", "distributions", "named_sampler", "suggested"]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """One Optuna distribution per variable: integers without gaps as a range, anything else as categories."""
    found: dict[str, BaseDistribution] = {}
    for variable in space.free:
        values = space.values_of(variable)
        whole = len(values) > 1 and all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        if whole and list(values) == list(range(values[0], values[0] + len(values))):
            found[variable.path] = IntDistribution(values[0], values[-1])
        else:
            found[variable.path] = CategoricalDistribution(values)
    return found


def suggested(trial: optuna.Trial, space: Space, spreads: Mapping[str, BaseDistribution] | None = None) -> dict[str, Any]:
    """The values of a trial's active variables. The others are suggested too, since NSGA-II crosses whole sets of variables."""
    values: dict[str, Any] = {}
    every = distributions(space) if spreads is None else spreads
    for variable in space.free:
        value = _suggest(trial, variable.path, every[variable.path])
        if space.active(variable, values):
            values[variable.path] = value
    return space.completed(values)


class ScreenSampler(BaseSampler):
    """Proposes the designs of ``table`` in the order ``order``, then what ``after`` proposes (None: NSGA-II with ``seed``).

    ``refit`` (None: never) is told what the trials of the order were told, and may replace what is left of it. ``index_of``: which
    design of the table each trial of the order has, by its number, pruned and failed ones left out.
    """

    def __init__(self, space: Space, table: DesignTable | None, order: Sequence[int] | Ints, *, after: BaseSampler | None = None,
                 seed: int = 0, refit: Refit | None = None) -> None:  # fmt: skip
        self._spreads, self._table, self._refit = distributions(space), table, refit
        self._left = np.asarray(order, dtype=np.int64) if table is not None else np.zeros(0, dtype=np.int64)
        self._next, self._learning = 0, refit is not None
        self.index_of: dict[int, int] = {}
        self.after = NSGAIISampler(seed=seed) if after is None else after

    @classmethod
    def over(cls, space: Space, workload: Workload, *, prices: PriceBook | str = "default", seed: int = 0) -> "ScreenSampler":
        """The sampler of a space screened under ``workload`` for the objectives of the space."""
        goals = [goal for goal in space.objectives if goal.metric in METRICS]
        found = screen(space, workload, prices=prices, metrics=[goal.metric for goal in goals])
        refit = Refit(found.table, goals, found.metrics, found.feasible)
        order = screen_order(refit.estimates, found.feasible, [goal.metric for goal in goals])
        return cls(space, found.table, order, seed=seed, refit=refit if len(goals) == len(space.objectives) else None)

    @property
    def taken(self) -> Ints:
        """Indices of the designs proposed from the order and not pruned, in order of proposal."""
        return np.fromiter(self.index_of.values(), dtype=np.int64)

    @property
    def refits(self) -> int:
        """How often the order was replaced because the screen could be corrected."""
        return self._refit.adopted if self._refit is not None else 0

    @property
    def exhausted(self) -> bool:
        """Whether the order has ended."""
        return self._next >= len(self._left)

    def follow(self, order: Ints) -> None:
        """From now on the designs of ``order`` that have not been proposed yet, in its order, whatever else is learned."""
        self._learning = False
        self._replace(order)

    def _replace(self, order: Ints) -> None:
        self._left, self._next = order[~np.isin(order, self.taken)], 0

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All variables while the order lasts."""
        return self.after.infer_relative_search_space(study, trial) if self.exhausted else dict(self._spreads)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The next design of the order; nothing for a trial whose values were enqueued."""
        if self.exhausted:
            return self.after.sample_relative(study, trial, search_space)
        if isinstance(self.after, BaseGASampler):  # the mark by which a genetic sampler knows its generation 0
            study._storage.set_trial_system_attr(trial._trial_id, self.after._get_generation_key(), 0)
        if "fixed_params" in trial.system_attrs:
            return {}
        assert self._table is not None
        index = int(self._left[self._next])
        self._next += 1
        self.index_of[trial.number] = index
        return self._table.values(index)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A value for a variable that the design leaves open, as the decode pool of a colocated one."""
        return self.after.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on once the order has ended."""
        if self.exhausted:
            self.after.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Learn from a design of the order; passed on, so that the next sampler knows every trial."""
        if state != TrialState.COMPLETE:
            self.index_of.pop(trial.number, None)
        elif self._learning and self._refit is not None and values is not None and trial.number in self.index_of:
            self._learn(self._refit, self.index_of[trial.number], values)
        self.after.after_trial(study, trial, state, values)

    def _learn(self, refit: Refit, index: int, values: Sequence[float]) -> None:
        refit.learn(index, values)
        if refit.due and not self.exhausted:
            order = refit.order()
            if order is not None:
                self._replace(order)


def _suggest(trial: optuna.Trial, path: str, spread: BaseDistribution) -> Any:
    if isinstance(spread, IntDistribution):
        return trial.suggest_int(path, spread.low, spread.high)
    assert isinstance(spread, CategoricalDistribution)
    return trial.suggest_categorical(path, spread.choices)
