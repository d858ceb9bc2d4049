"""Many designs: a space, its screen at fidelity steady, the search for its front, and the run folder that records it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mist_dse.explore.errors import SpaceError, StoreError
    from mist_dse.explore.screens.screening import ScreenTable, screen
    from mist_dse.explore.searches.samplers import ScreenSampler
    from mist_dse.explore.searches.search import SweepResult, sweep
    from mist_dse.explore.searches.stopping import Progress
    from mist_dse.explore.spaces.space import Space

__all__ = ["Progress", "ScreenSampler", "ScreenTable", "Space", "SpaceError", "StoreError", "SweepResult", "screen", "sweep"]

_HOMES = {"Progress": "searches.stopping", "ScreenSampler": "searches.samplers", "ScreenTable": "screens.screening",
          "Space": "spaces.space", "SpaceError": "errors", "StoreError": "errors", "SweepResult": "searches.search",
          "screen": "screens.screening", "sweep": "searches.search"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: optuna and numba stay out of a plain import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
