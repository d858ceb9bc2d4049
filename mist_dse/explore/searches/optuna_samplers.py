"""Optuna's own samplers by name, and in one line why one of them cannot follow a search.

NSGA-II, NSGA-III, TPE, Gaussian processes, quasi-random and random points, and enumeration take any number of objectives and
categories; CMA-ES takes one objective, and samples categories at random.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError

KINDS: Mapping[str, Any] = {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "tpe": TPESampler, "gp": GPSampler, "cmaes": CmaEsSampler,
                            "qmc": QMCSampler, "brute": BruteForceSampler, "random": RandomSampler}  # fmt: skip
"""Optuna's samplers by the names that a search gives them."""

OTHERS = tuple(KINDS)
SAMPLERS = ("screen", *OTHERS)
"""Names of samplers; ``screen`` is the default."""

_NEEDS = {"gp": "torch", "cmaes": "cmaes"}
"""Packages beside Optuna that a sampler loads when it is first asked."""


class Enumeration(BruteForceSampler):
    """`BruteForceSampler` where trials are asked for and told: it notes its end, which Optuna's own reports to `Study.optimize` alone."""

    exhausted = False

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Note when every combination has been tried."""
        try:
            super().after_trial(study, trial, state, values)
        except RuntimeError:  # of `Study.stop`, outside an objective
            self.exhausted = True


def named_sampler(name: str, *, seed: int, options: Mapping[str, Any] | None = None, objectives: int = 2) -> BaseSampler:
    """Optuna's sampler of that name; ``options`` are its keywords.

    ``SpaceError`` for a name or keyword it does not have, and where it cannot follow so many objectives or lacks its package.
    """
    if name not in KINDS:
        raise SpaceError(f"search: there is no sampler {name!r}; {nearest(name, SAMPLERS)}")
    if name == "cmaes" and objectives > 1:
        raise SpaceError(f"search: cmaes follows one objective and this search has {objectives}: choose one of nsga2, nsga3, tpe, qmc")
    package = _NEEDS.get(name, "optuna")
    if find_spec(package) is None:
        raise SpaceError(
            f"search: {name} needs the package {package}, which is not installed: pip install {package}, or choose nsga2 or tpe"
        )
    kind = Enumeration if name == "brute" else KINDS[name]
    known = inspect.signature(KINDS[name]).parameters
    for key, value in (options or {}).items():
        if key not in known or key == "seed":
            raise SpaceError(f"search.options: {name} has no option {key!r}; {nearest(key, [item for item in known if item != 'seed'])}")
        _check_like(known[key].default, value, f"search.options.{key} is {value!r}: must be ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            quiet = {"warn_independent_sampling": False} if name in ("gp", "cmaes", "qmc") else {}
            sampler: BaseSampler = kind(seed=seed, **{**quiet, **(options or {})})
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
