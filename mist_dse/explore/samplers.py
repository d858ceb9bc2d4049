"""Optuna samplers: ours, which proposes designs in the order of the screen, and Optuna's own by name.

`ScreenSampler` is an `optuna.samplers.BaseSampler`: a relative sampler over all variables of a space. When its order is
exhausted it hands over to NSGA-II, which starts from the trials told so far.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.space import Space
from mist_dse.explore.table import DesignTable
from mist_dse.rows import Ints

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


def suggested(trial: optuna.Trial, space: Space, spreads: Mapping[str, BaseDistribution], *, inactive: bool) -> dict[str, Any]:
    """The values of a trial's active variables; ``inactive``: let the sampler choose (and record) the others as well."""
    values: dict[str, Any] = {}
    for variable in space.variables:
        active = space.active(variable, values)
        if active or inactive:
            value = _suggest(trial, variable.path, spreads[variable.path])
            if active:
                values[variable.path] = value
    return values


def named_sampler(name: str, *, seed: int, options: Mapping[str, Any] | None = None) -> BaseSampler:
    """Optuna's sampler of that name; ``options`` are its keywords. ``SpaceError`` for a name or keyword it does not have."""
    kinds: dict[str, Any] = {"nsga2": NSGAIISampler, "tpe": TPESampler, "random": RandomSampler}
    if name not in kinds:
        raise SpaceError(f"search: there is no sampler {name!r}; {nearest(name, SAMPLERS)}")
    try:
        sampler: BaseSampler = kinds[name](seed=seed, **(options or {}))
    except TypeError as error:
        raise SpaceError(f"search: {name} does not take these options ({error})") from None
    return sampler


class ScreenSampler(BaseSampler):
    """Proposes the designs of ``table`` in the order ``order``, then whatever ``after`` proposes."""

    def __init__(self, space: Space, table: DesignTable, order: Ints, after: BaseSampler) -> None:
        self._spreads = distributions(space)
        self._table, self._order, self._after = table, order, after
        self._next = 0

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
        return self._after.infer_relative_search_space(study, trial) if self.exhausted else dict(self._spreads)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """The next design of the order."""
        if self.exhausted:
            return self._after.sample_relative(study, trial, search_space)
        index = int(self._order[self._next])
        self._next += 1
        return self._table.values(index)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """A value for a variable that the design leaves open."""
        return self._after.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on once the order has ended."""
        if self.exhausted:
            self._after.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Passed on, so that the next sampler knows every trial."""
        self._after.after_trial(study, trial, state, values)


def _suggest(trial: optuna.Trial, path: str, spread: BaseDistribution) -> Any:
    if isinstance(spread, IntDistribution):
        return trial.suggest_int(path, spread.low, spread.high)
    assert isinstance(spread, CategoricalDistribution)
    return trial.suggest_categorical(path, spread.choices)
