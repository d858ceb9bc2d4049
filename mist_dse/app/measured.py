"""How far measurements lay from predictions of a design's kind: the 80% interval beside the numbers of one evaluation.

Residuals are those of benchmark means under the recipe of each row, so an interval tells of kernels, engine and load generator
as they ship; that of a percentile borrows the mean's. Other seeds of the same workload are ``seeds=``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mist_dse.specs.design import Design
from mist_dse.specs.evaluation import Evaluation
from mist_dse.specs.workload import Workload
from mist_dse.validate.residuals import COVERAGE, Interval, Subject, packaged
from mist_dse.validate.subjects import is_chat, subject_of

LATENCIES = ("ttft", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90", "p99")


class PredictionInterval(NamedTuple):
    """``metrics``: [low, high] in s by metric; ``basis``: by latency, the group of residuals that it comes from."""

    metrics: Mapping[str, tuple[float, float]]
    basis: Mapping[str, str]


def prediction_interval(result: Evaluation, design: Design, workload: Workload) -> PredictionInterval | None:
    """The interval of each latency of a simulated evaluation; None for other fidelities, whose residuals nobody has measured, and for
    pipelines of more than prefill and decode, which nobody has measured either."""
    if result.fidelity != "simulated" or not result.provenance or not is_chat(design):
        return None
    about = subject(result, design, workload)
    overloaded = any(item.kind == "saturated" for item in result.violations)
    claimed = ("tpot",) if overloaded else LATENCIES  # waits past saturation grow with the run: nothing to hold them against
    known = {name: found for name in claimed if (found := packaged().interval(about, name)) is not None}
    ends: dict[str, tuple[float, float]] = {}
    for name, found in known.items():
        for statistic in STATISTICS:
            value = result.metrics.get(f"{name}_{statistic}")
            if value is not None:
                ends[f"{name}_{statistic}"] = (value * found.low, value * found.high)
    return PredictionInterval(ends, {name: basis_text(found, about) for name, found in known.items()}) if ends else None


def subject(result: Evaluation, design: Design, workload: Workload) -> Subject:
    """The design of an evaluation in the terms of residual groups."""
    return subject_of(design, workload, result.metrics, result.provenance["pools"])


def basis_text(found: Interval, about: Subject) -> str:
    """What an interval rests on, in words.

    >>> basis_text(Interval(0.8, 1.3, "vllm h200 dense closed", 31), Subject("vllm", "h200", "dense"))
    '80% of 31 held-out rows: vllm h200 dense closed'
    """
    grade = {"class default": "datasheet and class defaults"}.get(about.grade, about.grade)
    wider = (
        f", {found.width:.2g} times as wide for {about.accelerator} on {about.family} ({grade}{', pooled profile' if about.pooled else ''})"
        if found.width > 1
        else ""
    )
    return f"{COVERAGE:.0%} of {found.rows} held-out rows: {found.group}{wider}"


def with_intervals(fields: Mapping[str, Any], found: PredictionInterval | None) -> dict[str, Any]:
    """Plain data of an evaluation with ``prediction_interval``, and what it rests on among the provenance."""
    if found is None:
        return dict(fields) | {"prediction_interval": {}}
    provenance = dict(fields["provenance"]) | {"prediction_interval": dict(found.basis)}
    return dict(fields) | {"prediction_interval": dict(found.metrics), "provenance": provenance}
