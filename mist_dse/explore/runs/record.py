"""One flat row per evaluated design: what parts, results and front hold."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mist_dse.catalog import load_design
from mist_dse.evaluation import evaluate
from mist_dse.metrics import METRICS, parse_limit
from mist_dse.rows import Requests
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Evaluation, Infeasible
from mist_dse.specs.hardware import PriceBook
from mist_dse.specs.workload import Workload

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Designs to rows, in any process: the same requests for each."""

    workload: Workload
    requests: Requests
    prices: PriceBook
    constraints: tuple[str, ...] = ()
    fidelity: str = "simulated"

    def __call__(self, designs: Sequence[Design]) -> list[Row]:
        """One row per design, in order."""
        return [self.row(design) for design in designs]

    def row(self, design: Design) -> Row:
        """The row of one design: bookkeeping, metrics, violations, breakdown, pools; a refusal for what cannot be."""
        try:
            evaluation = evaluate(design, self.workload, fidelity=self.fidelity, prices=self.prices, requests=self.requests)
        except SpecError as error:
            return self.refusal(1.0, " ".join(str(error).split()), design.design_id)
        violations = (*evaluation.violations, *broken(self.constraints, evaluation.metrics, bool(evaluation.violations)))
        return {
            **verdict(violations, design_id=evaluation.design_id, fidelity=self.fidelity, seed=self.workload.seed),
            "completed": evaluation.completed,
            "rejected": evaluation.rejected,
            "unfinished": evaluation.unfinished,
            **{name: evaluation.metrics.get(name) for name in METRICS},
            "bottleneck": evaluation.bottleneck,
            **_details(evaluation),
        }

    def refusal(self, violation: float, text: str, design_id: str = "") -> Row:
        """The row of a design that is not evaluated: infeasible by ``violation``, with the reason."""
        row = verdict((), design_id=design_id, fidelity=self.fidelity, seed=self.workload.seed)
        return {**row, "feasible": False, "violation": violation, "violations": text}


def warm_up(evaluator: Evaluator, base: Design) -> None:
    """Simulate once, so that everything is imported and compiled: ``base``, or the packaged design where that serves nothing."""
    with suppress(ValueError):
        if evaluator.row(base)["completed"]:
            return
    evaluator.row(load_design("tp4_colocated"))


def verdict(violations: Sequence[Infeasible], *, design_id: str, fidelity: str, seed: int) -> Row:
    """The columns that say whether a design counts, and if not by how much and why."""
    return {
        "design_id": design_id,
        "fidelity": fidelity,
        "seed": seed,
        "feasible": not violations,
        "violation": float(sum(item.margin for item in violations)),
        "violations": "; ".join(item.constraint for item in violations),
    }


def broken(constraints: Sequence[str], values: Mapping[str, Any], infeasible: bool) -> tuple[Infeasible, ...]:
    """The constraints that metrics break; undefined metrics of an already infeasible design are not held against it twice."""
    found = []
    for text in constraints:
        limit = parse_limit(text)
        value = values.get(limit.metric)
        excess = float(limit.excess(value))
        if excess > 0 and not (value is None and infeasible):
            shown = "undefined" if value is None else f"{value:.4g}"
            found.append(Infeasible(kind="constraint", constraint=f"{limit.metric} is {shown}, required {limit}", margin=excess))
    return tuple(found)


ASIDE = "set aside: "
"""How the violations of a design begin that could not be evaluated."""


def set_aside(evaluator: Evaluator, design_id: str, reason: str) -> Row:
    """The row of a design that ended its worker: infeasible, with the reason."""
    return evaluator.refusal(1.0, f"{ASIDE}{reason}", design_id)


def is_aside(row: Mapping[str, Any]) -> bool:
    """Whether a row is that of a design set aside."""
    return str(row["violations"]).startswith(ASIDE)


def chunk_id(designs: Sequence[str]) -> str:
    """The name of a part: a hash of the design ids in it, in order."""
    return hashlib.blake2b("".join(designs).encode(), digest_size=8).hexdigest()


def _details(evaluation: Evaluation) -> Row:
    breakdown = {f"breakdown/{stage}/{cause}": value for stage, causes in evaluation.breakdown.items() for cause, value in causes.items()}
    pools = {
        f"pool/{name}/{key}": value
        for name, quantities in evaluation.pools.items()
        for key, value in quantities.items()
        if isinstance(value, int | float | str)
    }
    return breakdown | pools
