"""Optuna samplers: ours, which proposes designs in the order of the screen, and Optuna's own by name.

`ScreenSampler` is an `optuna.samplers.BaseSampler`: a relative sampler over all variables of a space. When its order is
exhausted it hands over to NSGA-II, whose generation 0 is every trial told until then: the first children descend from the
best of them. An empty order hands over at once. In a script of one's own:

    sampler = ScreenSampler.over(space, workload)
    optuna.create_study(directions=["minimize", "minimize"], sampler=sampler).optimize(objective, n_trials=200)

where ``objective(trial)`` takes its values from ``suggested(trial, space)`` and its design from ``space.design(values)``.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.samplers._ga import BaseGASampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.goals import minimised
from mist_dse.explore.order import screen_order
from mist_dse.explore.screening import METRICS, screen
from mist_dse.explore.space import Space
from mist_dse.explore.table import DesignTable
from mist_dse.rows import Ints
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

OTHERS = ("nsga2", "tpe", "random")
SAMPLERS = ("screen", *OTHERS)
"""Names of samplers; ``screen`` is the default."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """One Optuna distribution per variable: integers without gaps as a range, anything else as categories."""
    found: dict[str, BaseDistribution] = {}
    for variable in space.variables:
        values = space.values_of(variable)
        whole = len(values) > 1 and all(isinstance(value, int) for value in values)
        if whole and list(values) == list(range(values[0], values[0] + len(values))):
            found[variable.path] = IntDistribution(values[0], values[-1])
        else:
            found[variable.path] = CategoricalDistribution(values)
    return found


def suggested(trial: optuna.Trial, space: Space, spreads: Mapping[str, BaseDistribution] | None = None) -> dict[str, Any]:
    """The values of a trial's active variables. The others are suggested too, since NSGA-II crosses whole sets of variables."""
    values: dict[str, Any] = {}
    every = distributions(space) if spreads is None else spreads
    for variable in space.variables:
        value = _suggest(trial, variable.path, every[variable.path])
        if space.active(variable, values):
            values[variable.path] = value
    return values


def named_sampler(name: str, *, seed: int, options: Mapping[str, Any] | None = None) -> BaseSampler:
    """Optuna's sampler of that name; ``options`` are its keywords. ``SpaceError`` for a name or keyword it does not have."""
    kinds: dict[str, Any] = {"nsga2": NSGAIISampler, "tpe": TPESampler, "random": RandomSampler}
    if name not in kinds:
        raise SpaceError(f"search: there is no sampler {name!r}; {nearest(name, SAMPLERS)}")
    known = inspect.signature(kinds[name]).parameters
    for key, value in (options or {}).items():
        if key not in known or key == "seed":
            raise SpaceError(f"search.options: {name} has no option {key!r}; {nearest(key, [item for item in known if item != 'seed'])}")
        _check_like(known[key].default, value, f"search.options.{key} is {value!r}: must be ")
    try:
        sampler: BaseSampler = kinds[name](seed=seed, **(options or {}))
    except (TypeError, ValueError) as error:
        raise SpaceError(f"search.options: {name} does not take {dict(options or {})} ({' '.join(str(error).split())})") from None
    return sampler


def _check_like(default: object, value: object, line: str) -> None:
    """``SpaceError`` for a value that is no bool, whole number or number where the sampler's default is one: Optuna would meet it late."""
    if isinstance(default, bool) and not isinstance(value, bool):
        raise SpaceError(f"{line}true or false")
    if type(default) is int and (type(value) is not int or value < 1):
        raise SpaceError(f"{line}a whole number >= 1")
    if type(default) is float and type(value) not in (int, float):
        raise SpaceError(f"{line}a number")


class ScreenSampler(BaseSampler):
    """Proposes the designs of ``table`` in the order ``order``, then what ``after`` proposes (None: NSGA-II with ``seed``)."""

    def __init__(self, space: Space, table: DesignTable | None, order: Sequence[int] | Ints, *, after: BaseSampler | None = None,
                 seed: int = 0) -> None:  # fmt: skip
        self._spreads = distributions(space)
        self._table, self._order = table, order if table is not None else ()
        self.after = NSGAIISampler(seed=seed) if after is None else after
        self._next = 0

    @classmethod
    def over(cls, space: Space, workload: Workload, *, prices: PriceBook | str = "default", seed: int = 0) -> "ScreenSampler":
        """The sampler of a space screened under ``workload`` for the objectives of the space."""
        goals = [goal for goal in space.objectives if goal.metric in METRICS]
        found = screen(space, workload, prices=prices, metrics=[goal.metric for goal in goals])
        return cls(space, found.table, screen_order(minimised(found.metrics, goals), found.feasible), seed=seed)

    @property
    def proposed(self) -> int:
        """How many designs of the order have been proposed."""
        return self._next

    @property
    def exhausted(self) -> bool:
        """Whether the order has ended."""
        return self._next >= len(self._order)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All variables while the order lasts."""
        return self.after.infer_relative_search_space(study, trial) if self.exhausted else dict(self._spreads)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The next design of the order."""
        if self.exhausted:
            return self.after.sample_relative(study, trial, search_space)
        if isinstance(self.after, BaseGASampler):  # the mark by which a genetic sampler knows its generation 0
            study._storage.set_trial_system_attr(trial._trial_id, self.after._get_generation_key(), 0)
        assert self._table is not None
        values = self._table.values(int(self._order[self._next]))
        self._next += 1
        return values

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A value for a variable that the design leaves open, as the decode pool of a colocated one."""
        return self.after.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on once the order has ended."""
        if self.exhausted:
            self.after.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Passed on, so that the next sampler knows every trial."""
        self.after.after_trial(study, trial, state, values)


def _suggest(trial: optuna.Trial, path: str, spread: BaseDistribution) -> Any:
    if isinstance(spread, IntDistribution):
        return trial.suggest_int(path, spread.low, spread.high)
    assert isinstance(spread, CategoricalDistribution)
    return trial.suggest_categorical(path, spread.choices)
