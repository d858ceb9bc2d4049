"""A design in the terms of residual groups: which measured servers it is most like."""

from collections.abc import Mapping
from typing import Any

from mist_dse.specs.design import Design
from mist_dse.specs.workload import Workload
from mist_dse.validate.kinds import kind_of, regime_of
from mist_dse.validate.residuals import Subject, grade_of


def is_chat(design: Design) -> bool:
    """Whether a request is one prompt and one answer: nobody has measured other pipelines."""
    return [stage.kind for stage in design.pipeline.stages] == ["prefill", "decode"]


def subject_of(design: Design, workload: Workload, metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> Subject:
    """The engine, accelerator and model of the pool that decodes; ``provenance`` is that of the pools as they were lowered."""
    pool = design.pools[-1]
    kind, several = kind_of(pool.model), len(design.pools) > 1
    regime = regime_of(kind, at_once(workload, metrics), attention_dp=pool.parallelism.dp > 1, disaggregated=several)
    family = pool.engine.family or pool.engine.name
    return Subject(family, pool.accelerator.name, kind, regime, grade_of(provenance), not pool.engine.accelerators)


def at_once(workload: Workload, metrics: Mapping[str, Any]) -> float:
    """Requests in the system: the clients of a closed loop, else by Little's law."""
    if workload.arrivals.kind == "closed" and workload.arrivals.clients:
        return float(workload.arrivals.clients)
    rate, time = metrics.get("throughput_rps"), metrics.get("e2e_mean")
    return float(rate * time) if rate and time else 0.0
