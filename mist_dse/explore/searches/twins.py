"""Outcome classes: designs that differ only in batch limits that never bound have one outcome, and one of them is simulated.

A run records for each pool the most sequences that ran on a rank and the most tokens of a step. Where it stayed below its own limit and
did not exceed the other one, every step forms as before, so that every time is the same. What else the limits decide is compared row by
row as the simulator reads it (`sim`): engines and their KV blocks, step tables as far as the peaks reach, stations, visits. Demands
follow from the limits themselves and are taken anew, and so is the verdict. Not claimed: limits on tokens where whole prompts are
packed, several steps are in flight or ranks balance, since prompts may then wait for a limit that no step shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mist_dse import metrics
from mist_dse.analytic import saturated
from mist_dse.explore.runs.record import Evaluator, Row
from mist_dse.rows import CHUNKED, PREFILL_FIRST, Engine, Servers, StepCost
from mist_dse.specs.design import Design, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import Lowered, lower, lower_pool

LIMITS = {"max_num_seqs": "peak_seqs", "max_num_batched_tokens": "peak_step_tokens"}
"""Limits of a pool's batch, and what a run records of them."""

FITS = ("token_fit", "pair_fit", "context_fit")
"""Slopes of a pool's load that bounds alone read, over all of its tables."""

SEQUENCES = ("sequence_time", "decode_attention", "decode_step")
"""Tables of a step by its number of sequences; the others by name are by tokens, or no tables."""


class Twin(NamedTuple):
    """A design whose outcome may be that of ``like``, which was simulated with ``row``."""

    design: Design
    like: Design
    row: Row

    @property
    def design_id(self) -> str:
        """That of the design."""
        return self.design.design_id


Group = tuple[tuple[str, Any], ...]
"""The values of a design's variables without its batch limits."""


@dataclass(slots=True)
class Classes:
    """Simulated designs by all but their batch limits."""

    members: dict[Group, list[tuple[Design, Row]]] = field(default_factory=dict)

    def add(self, group: Group, design: Design, row: Row) -> None:
        """A design that was simulated, with its row."""
        if not row.get("same_as") and all(_peak(row, pool, peak) is not None for pool in design.pools for peak in LIMITS.values()):
            self.members.setdefault(group, []).append((design, row))

    def twin(self, group: Group, design: Design) -> Twin | None:
        """One whose limits were never reached, nor those of ``design`` exceeded."""
        for like, row in self.members.get(group, ()):
            if not any(_bound(row, mine, theirs) for mine, theirs in zip(design.pools, like.pools, strict=True)):
                return Twin(design, like, row)
        return None


class ClassedEvaluator(Evaluator):
    """An evaluator that also takes a `Twin`: it copies the row where the outcome is the same, and simulates where it is not."""

    def __call__(self, designs: Sequence[Design | Twin]) -> list[Row]:
        """One row per design, in order."""
        return [self.row(asked) if isinstance(asked, Design) else twin_row(self, asked) for asked in designs]


def group(values: Mapping[str, Any]) -> Group:
    """What designs that may differ in batch limits alone have in common.

    >>> group({"placement": "colocated", "pools.prefill.tp": 2, "pools.prefill.batching.max_num_seqs": 64})
    (('placement', 'colocated'), ('pools.prefill.tp', 2))
    """
    return tuple((path, value) for path, value in values.items() if not limits(path))


def limits(path: str) -> bool:
    """Whether a variable is a batch limit of a pool."""
    return path.rpartition(".")[2] in LIMITS


def twin_row(evaluator: Evaluator, twin: Twin) -> Row:
    """The row of ``like`` with what follows from the limits of the design (``same_as`` names ``like``), or that of a run of its own."""
    requests = evaluator.requests
    mine, theirs = (lower(design, requests, pool_row=_pool_row) for design in (twin.design, twin.like))
    if isinstance(mine, Infeasible) or isinstance(theirs, Infeasible) or not same_outcome(mine, theirs, twin):
        return evaluator.row(twin.design)
    shared = metrics.shared_names(twin.design)
    asked, before = (metrics.demands(lowered, shared, requests) for lowered in (mine, theirs))
    full = saturated(asked, requests) or saturated(before, requests)
    if requests.clients or full or metrics.highest(asked, steps=True)[0] != metrics.highest(before, steps=True)[0]:
        return evaluator.row(twin.design)
    columns = {f"pool/{name}/{key}": value for name, row in asked.items() for key, value in metrics.demand_columns(row).items()}
    return {**twin.row, **{key: value for key, value in columns.items() if key in twin.row}, "bottleneck": _bottleneck(twin),
            "design_id": twin.design_id, "same_as": twin.like.design_id}  # fmt: skip


def _bottleneck(twin: Twin) -> str:
    """That of the run, unless a pool is short of sequences now: its limit may be what the run just reached."""
    name, _, resource = str(twin.row["bottleneck"]).partition(": ")
    pool = next((pool for pool in twin.design.pools if pool.name == name), None)
    if pool is None or resource == "KV blocks" or float(_peak(twin.row, pool, "peak_seqs") or 0) < pool.batching.max_num_seqs:
        return str(twin.row["bottleneck"])
    return f"{name}: sequences"


def same_outcome(mine: Lowered, theirs: Lowered, twin: Twin) -> bool:
    """Whether the simulator cannot tell two designs apart up to the peaks of the one that was run."""
    a, b = mine.servers, theirs.servers
    rest = ("stations", "names", "shared")
    if any(getattr(a, name) != getattr(b, name) for name in rest) or not (
        _equal(a.batchers, b.batchers) and _equal(mine.jobs, theirs.jobs)
    ):
        return False
    return all(_same_pool(a, b, number, twin) for number in range(len(a.engines)))


def _same_pool(a: Servers, b: Servers, number: int, twin: Twin) -> bool:
    pool = twin.like.pool(b.names[number])
    seqs, tokens = (int(_peak(twin.row, pool, peak) or 0) for peak in LIMITS.values())
    mine, theirs = a.engines[number], b.engines[number]
    if mine._replace(**{name: getattr(theirs, name) for name in LIMITS}) != theirs or not _shows_peaks(mine, theirs):
        return False
    loads = (a.loads[number]._replace(**dict.fromkeys(FITS, 0.0)), b.loads[number]._replace(**dict.fromkeys(FITS, 0.0)))
    return loads[0] == loads[1] and _same_steps(a.costs[number], b.costs[number], seqs=seqs, tokens=tokens)


def _shows_peaks(mine: Engine, theirs: Engine) -> bool:
    """Whether a limit that binds is reached by some step of the run."""
    if mine.max_num_batched_tokens == theirs.max_num_batched_tokens:
        return not (mine.wait_steps or mine.balance_steps)
    return mine.policy in (CHUNKED, PREFILL_FIRST) and mine.lanes == 1 and not (mine.whole_prompts or mine.wait_steps or mine.balance_steps)


def _same_steps(mine: StepCost, theirs: StepCost, *, seqs: int, tokens: int) -> bool:
    for name in StepCost._fields:
        one, other = getattr(mine, name), getattr(theirs, name)
        if name in SEQUENCES:
            one, other = one[: seqs + 1], other[: seqs + 1]
        elif name == "token_time" and min(len(one), len(other)) > tokens:
            one, other = one[: tokens + 1], other[: tokens + 1]
        if not _equal(one, other):
            return False
    return True


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _bound(row: Row, mine: Pool, theirs: Pool) -> bool:
    """Whether a limit in which two pools differ was reached in the run of ``theirs``, or would be exceeded by it in ``mine``."""
    for limit, peak in LIMITS.items():
        one, other = getattr(mine.batching, limit), getattr(theirs.batching, limit)
        most = float(_peak(row, theirs, peak) or 0)
        if one != other and (most >= other or most > one):
            return True
    return False


def _peak(row: Mapping[str, Any], pool: Pool, peak: str) -> Any:
    value = row.get(f"pool/{pool.name}/{peak}")
    return None if value is None or value != value else value


_pool_row = lru_cache(maxsize=512)(lower_pool)
