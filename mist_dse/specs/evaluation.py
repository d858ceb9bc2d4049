"""What an evaluation returns: metrics with their provenance, or the constraint that a design violates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mist_dse.specs._check import SpecError, one_of

FIDELITIES = ("bound", "steady", "simulated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Why a design cannot be: ``constraint`` in words with its numbers, ``margin`` > 0 relative excess over the limit.

    ``kind`` is a short name for tables: memory, topology, saturated, length, constraint, price.
    """

    kind: str
    constraint: str
    margin: float

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise SpecError(f"Infeasible.margin is {self.margin!r}: must be >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The numbers of one design under one workload at one fidelity; metrics are SI, None where undefined.

    ``violations`` is empty iff feasible. ``breakdown``: seconds of mean end-to-end latency by stage and cause.
    ``pools``: per pool utilisation, demand, occupancy. ``provenance``: where the numbers come from. ``classes``: of a simulated
    workload of several classes, by name: the metrics, counts and (of replications) ``interval`` of each. ``backlog``: a remark on a
    simulated open loop, ``growth`` (requests piled up per arrival) and whether the number in the system ``grew``.
    """

    design_id: str
    fidelity: str
    metrics: Mapping[str, float | None]
    violations: tuple[Infeasible, ...] = ()
    interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    completed: int = 0
    rejected: int = 0
    unfinished: int = 0
    bottleneck: str = ""
    breakdown: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    backlog: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of(self, FIDELITIES, fidelity=self.fidelity)

    @property
    def feasible(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    @property
    def violation(self) -> float:
        """Sum of the margins of all violations, 0 when feasible: what constrained samplers minimise."""
        return sum(item.margin for item in self.violations)
