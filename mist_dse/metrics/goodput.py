"""The largest arrival rate that a design serves within its SLO: bisection with common random numbers.

The same requests come faster or slower (`requests.paced`; drawn sessions: the same draws at another rate) and every rate tried is a
whole run. A run meets the SLO if it is not saturated, keeps every limit on a latency or on attainment, of the workload and of each class,
and serves the target share of the requests that arrived within their per-request limits: 90% unless a limit on ``slo_attainment`` says
otherwise, the attainment goal that DistServe defines its goodput by (Zhong et al., OSDI 2024, section 1). With several classes each must
reach it. A request that is turned away is one missed; percentiles are over the others. Limits on other metrics (price, throughput) are no
part of the promise to users, and are judged at the rate asked alone.

The search starts between 1% of the rate that saturates the design, by the one demand function, and that rate itself, takes the geometric
middle of the two until their ratio is at most 1.01, and answers with the lower end. Both ends are runs: the lower one meets the SLO, the
upper one does not (or is where demand reaches 1). Nothing is assumed between and beyond them: where attainment is not monotone in the
rate, as with batching delays, a higher rate may meet the SLO again.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mist_dse.metrics.goals import Limit, parse_limit
from mist_dse.metrics.table import METRICS
from mist_dse.specs.evaluation import Evaluation
from mist_dse.specs.workload import Slo, Workload

TARGET = 0.9
"""Share of the requests that must meet their per-request limits where nothing else is said."""
TOLERANCE = 0.01
"""The rate found and the rate above that misses are at most this far apart, relative to the former."""
LOWEST = 0.01
"""Least rate that is tried, relative to the one that saturates the design: below it the answer is 0."""


class MaxGoodput(NamedTuple):
    """``rate`` (1/s): the largest found, 0 where none tried meets the SLO, None where there is nothing to search; the ``evaluation``
    of the run at that rate (None without one); ``limited_by``: what the next rate above misses, or why there is no rate.
    """

    rate: float | None
    evaluation: Evaluation | None
    limited_by: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float | None]:
        """``max_goodput_rps`` and ``usd_per_mtok_at_max``."""
        return {
            "max_goodput_rps": self.rate,
            "usd_per_mtok_at_max": None if self.evaluation is None else self.evaluation.metrics["usd_per_mtok"],
        }


def largest_factor(misses: Callable[[float], tuple[str, ...]], top: float, *, limit: str) -> tuple[float, tuple[str, ...]]:
    """Largest factor found in [1% of ``top``, ``top``] that misses nothing, and what the next one tried above it misses.

    0 where the lowest misses something; ``limit`` says why there is nothing above ``top``.

    >>> largest_factor(lambda factor: ("late",) if factor > 3.0 else (), 8.0, limit="saturated")
    (2.97..., ('late',))
    """
    missed = misses(top)
    if not missed:
        return top, (limit,)
    low, high = top * LOWEST, top
    least = misses(low)
    if least:
        return 0.0, least
    while high > low * (1 + TOLERANCE):
        middle = math.sqrt(low * high)
        found = misses(middle)
        low, high, missed = (low, middle, found) if found else (middle, high, missed)
    return low, missed


def saturating_factor(loaded: Callable[[float], tuple[float, float]]) -> tuple[float, str]:
    """Largest factor on the rate of an open loop, to 0.1%, at which demand stays below capacity, and what there is beyond it.

    ``loaded``: the rate and the highest demand at a factor. Turns of recorded sessions come no faster than their users think, however
    fast sessions start: the answer is then a factor that no longer adds a per cent to the rate.
    """
    low = high = 1.0
    while loaded(low)[1] >= 1 and low > 1e-9:
        low, high = low / 2, low
    while loaded(high)[1] < 1:
        low, high = high, high * 2
        if loaded(high)[0] < 1.01 * loaded(low)[0]:
            return low, "users send no faster"
    while high > low * 1.001:
        middle = (low + high) / 2
        low, high = (middle, high) if loaded(middle)[1] < 1 else (low, middle)
    return low, "demand reaches capacity"


def promises(workload: Workload) -> bool:
    """Whether the workload promises anything that a rate can break."""
    return any(slo.per_request or any(map(_served, _limits(slo))) for _, slo in _slos(workload))


def slo_missed(run: Evaluation, workload: Workload) -> tuple[str, ...]:
    """What a simulated ``run`` misses of the promises of its workload, in words; nothing if it meets them."""
    found = [item.constraint for item in run.violations if item.kind == "saturated"]
    for name, slo in _slos(workload):
        values = run.classes[name] if name else run.metrics
        of = f"class {name}: " if name else ""
        found += [f"{of}{limit}" for limit in filter(_served, _limits(slo)) if not limit.holds(values[limit.metric])]
    for name, target in _targets(workload, run.classes):
        share = (run.classes[name] if name else run.metrics)["slo_attainment"]
        if share is not None and share < target:
            found.append(f"{f'class {name}: ' if name else ''}slo_attainment >= {target:g}")
    return tuple(found)


def _slos(workload: Workload) -> Iterator[tuple[str, Slo]]:
    """The SLO of the whole workload (named "") and those that classes have of their own; a single class is the whole."""
    if workload.slo is not None:
        yield "", workload.slo
    for one in workload.classes:
        if one.slo is not None:
            yield one.name if len(workload.classes) > 1 else "", one.slo


def _targets(workload: Workload, classes: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Whose attainment must reach the default target: each class, or the whole; not those with a limit of their own on it."""
    stated = {name for name, slo in _slos(workload) if any(limit.metric == "slo_attainment" for limit in _limits(slo))}
    return ((name, TARGET) for name in (classes or ("",)) if name not in stated and "" not in stated)


def _limits(slo: Slo) -> list[Limit]:
    return [parse_limit(text) for text in slo.limits]


def _served(limit: Limit) -> bool:
    return METRICS[limit.metric].unit == "s" or limit.metric == "slo_attainment"
