"""How to search: the options of `sweep`, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from mist_dse.catalog import Catalog
from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError
from mist_dse.specs.hardware import PriceBook

SAMPLER_KEYS = ("name", "options", "batch", "share", "fronts", "least", "alarm")
"""Keys of a search configuration: options of Optuna's sampler, designs proposed at a time, the stopping rule, random share."""


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

    ``objectives`` and ``constraints`` None: the space's own. ``sampler``: screen, nsga2, tpe, random, or a mapping with the
    keys `SAMPLER_KEYS`. ``executor``: serial, loky, or ``{name, workers}``. ``evaluations`` and ``seconds`` are budgets,
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
        for name in ("evaluations", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SpaceError(f"{name} is {value!r}: must be > 0")
        if not isinstance(self.sampler, str):
            for key in self.sampler:
                if key not in SAMPLER_KEYS:
                    raise SpaceError(f"search: there is no option {key!r}; {nearest(key, SAMPLER_KEYS)}")

    @property
    def tuning(self) -> dict[str, Any]:
        """The sampler as a mapping with its name."""
        return {"name": self.sampler} if isinstance(self.sampler, str) else {"name": "screen", **self.sampler}
