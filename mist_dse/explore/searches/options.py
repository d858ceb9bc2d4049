"""How to search: the options of `sweep`, checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from typing import Any, TypedDict

from mist_dse.catalog import Catalog
from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.specs.hardware import PriceBook

SAMPLER_KEYS = ("name", "options", "batch", "share", "fronts", "least", "alarm", "refit", "certify", "fidelities", "warm_start")
"""Keys of a search configuration: options of Optuna's sampler, designs proposed at a time, the stopping rule, random share, whether
the order may be corrected, the epsilon at which the front is to be certified, shares of the requests of successive runs, another run's
folder to start from."""


WHEN = ("share", "fronts", "least", "certify")
"""Those that say when a search ends: a run may be resumed with others."""


class Options(TypedDict, total=False):
    """Keywords of `sweep`; see `Search`."""

    objectives: Sequence[str] | None
    constraints: Sequence[str] | None
    sampler: str | Mapping[str, Any]
    evaluations: int | None
    seconds: float | None
    executor: str | Mapping[str, Any]
    prices: PriceBook | str
    seed: int
    catalog: Catalog | None
    resolved: Mapping[str, Any] | None
    command: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How to search.

    ``objectives`` and ``constraints`` None: the space's own. ``sampler``: screen, or a name of `optuna_samplers.OTHERS`, or a mapping
    with the keys `SAMPLER_KEYS`. ``executor``: serial, loky, or ``{name, workers}``. ``evaluations`` and ``seconds`` are budgets,
    ``seed`` is the sampler's; ``resolved`` and ``command`` are recorded as they are.
    """

    objectives: Sequence[str] | None = None
    constraints: Sequence[str] | None = None
    sampler: str | Mapping[str, Any] = "screen"
    evaluations: int | None = None
    seconds: float | None = None
    executor: str | Mapping[str, Any] = "loky"
    prices: PriceBook | str = "default"
    seed: int = 0
    catalog: Catalog | None = None
    resolved: Mapping[str, Any] | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        for name, (fits, valid) in _OPTIONS.items():
            value = getattr(self, name)
            if not fits(value):
                raise SpaceError(f"{name} is {value!r}: must be {valid}")
        if isinstance(self.sampler, str):
            return
        for key, value in self.sampler.items():
            if key not in SAMPLER_KEYS:
                raise SpaceError(f"search: there is no option {key!r}; {nearest(key, SAMPLER_KEYS)}")
            fits, valid = _SAMPLER_OPTIONS[key]
            if not fits(value):
                raise SpaceError(f"search.{key} is {value!r}: must be {valid}")

    @property
    def tuning(self) -> dict[str, Any]:
        """The sampler as a mapping with its name."""
        return {"name": self.sampler} if isinstance(self.sampler, str) else {"name": "screen", **self.sampler}


def _whole(value: object, least: int, most: float = float("inf")) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and least <= int(value) <= most


def _number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def _texts(value: object) -> bool:
    return value is None or (isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(item, str) for item in value))


def _shares(value: object) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str) and 1 <= len(value) <= 2
    return (
        isinstance(value, Sequence) and listed and all(map(_number, value)) and value[-1] == 1 and all(0 < each < 1 for each in value[:-1])
    )


_Check = tuple[Callable[[Any], bool], str]
"""Whether a value fits, and in words what does."""

_SEED_END = 2**32
"""Seeds of NumPy's ``RandomState``, which Optuna's samplers draw from, lie below."""

_OPTIONS: Mapping[str, _Check] = {
    "objectives": (_texts, "a list of texts such as ['min usd_per_mtok', 'min ttft_p90'], or null for the space's own"),
    "constraints": (_texts, "a list of texts such as ['tpot_p90 <= 50 ms'], or null for the space's own"),
    "sampler": (
        lambda value: isinstance(value, str | Mapping),
        f"the name of a sampler or a mapping with the keys {', '.join(SAMPLER_KEYS)}",
    ),
    "evaluations": (lambda value: value is None or _whole(value, 1), "a whole number > 0, or null for no budget"),
    "seconds": (lambda value: value is None or (_number(value) and value > 0), "a number > 0, or null for no budget"),
    "seed": (lambda value: _whole(value, 0, _SEED_END - 1), f"a whole number >= 0 and < {_SEED_END}"),
}

_SAMPLER_OPTIONS: Mapping[str, _Check] = {
    "name": (lambda value: isinstance(value, str), "the name of a sampler"),
    "options": (lambda value: value is None or isinstance(value, Mapping), "a mapping of keywords of the sampler"),
    "batch": (lambda value: _whole(value, 1), "a whole number >= 1"),
    "share": (lambda value: _number(value) and 0 < value <= 1, "a number > 0 and <= 1"),
    "fronts": (lambda value: _number(value) and 0 <= value < float("inf"), "a number >= 0"),
    "least": (lambda value: _whole(value, 1), "a whole number >= 1"),
    "alarm": (lambda value: _number(value) and 0 <= value < 1, "a number >= 0 and < 1"),
    "refit": (lambda value: isinstance(value, bool), "true or false"),
    "certify": (lambda value: value is None or (_number(value) and value in (0, 0.02)), "the epsilon 0 or 0.02, or null"),
    "fidelities": (lambda value: _shares(value), "shares of the requests that end with 1, one of them before it at most, such as [0.1, 1]"),
    "warm_start": (lambda value: value is None or isinstance(value, str | PathLike), "the folder of another run, or null"),
}
