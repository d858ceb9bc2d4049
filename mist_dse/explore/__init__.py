"""Many designs: a space, its screen at fidelity steady, the search for its front, and the run folder that records it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mist_dse.explore.errors import SpaceError, StoreError
    from mist_dse.explore.samplers import ScreenSampler
    from mist_dse.explore.screening import ScreenTable, screen
    from mist_dse.explore.search import SweepResult, sweep
    from mist_dse.explore.space import Space
    from mist_dse.explore.stopping import Progress

__all__ = ["Progress", "ScreenSampler", "ScreenTable", "Space", "SpaceError", "StoreError", "SweepResult", "screen", "sweep"]

_HOMES = {"Progress": "stopping", "ScreenSampler": "samplers", "ScreenTable": "screening", "Space": "space", "SpaceError": "errors",
          "StoreError": "errors", "SweepResult": "search", "screen": "screening", "sweep": "search"}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: optuna and numba stay out of a plain import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
