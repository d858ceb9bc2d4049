"""mist_dse: design-space exploration for multi-stage LLM inference.

>>> import mist_dse as md
>>> design = md.load_design("tp1_colocated")
>>> workload = md.Workload.poisson(rate=2.0, input_tokens=1024, output_tokens=256, requests=100)
>>> md.evaluate(design, workload, fidelity="steady").feasible
True

Names load their modules when they are first used, so that the import itself costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mist_dse.catalog import Catalog, load_design
    from mist_dse.evaluation import Simulation, evaluate, replicate, simulate
    from mist_dse.explore import Space, screen, sweep
    from mist_dse.metrics import METRICS
    from mist_dse.report import write_report
    from mist_dse.specs.design import Batching, Datatypes, Design, Handoff, Parallelism, Pool
    from mist_dse.specs.engine import EngineProfile
    from mist_dse.specs.evaluation import Evaluation, Infeasible
    from mist_dse.specs.workload import Arrivals, Lengths, Slo, Workload

__version__ = "0.1.0"

_HOMES = {
    "mist_dse.catalog": ("Catalog", "load_design"),
    "mist_dse.evaluation": ("Simulation", "evaluate", "replicate", "simulate"),
    "mist_dse.explore": ("Space", "screen", "sweep"),
    "mist_dse.metrics": ("METRICS",),
    "mist_dse.report": ("write_report",),
    "mist_dse.specs.design": ("Batching", "Datatypes", "Design", "Handoff", "Parallelism", "Pool"),
    "mist_dse.specs.engine": ("EngineProfile",),
    "mist_dse.specs.evaluation": ("Evaluation", "Infeasible"),
    "mist_dse.specs.workload": ("Arrivals", "Lengths", "Slo", "Workload"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "METRICS", "Arrivals", "Batching", "Catalog", "Datatypes", "Design", "EngineProfile", "Evaluation", "Handoff", "Infeasible", "Lengths",
    "Parallelism", "Pool", "Simulation", "Slo", "Space", "Workload", "evaluate", "load_design", "replicate", "screen", "simulate", "sweep",
    "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value  # a submodule of the same name (mist_dse.evaluation) must not shadow the function
        return value
    raise AttributeError(f"module 'mist_dse' has no attribute {name!r}")
