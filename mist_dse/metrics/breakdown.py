"""Where the time of a request goes: by stage and cause, along its critical path, so that the parts sum to its latency.

From the visit that ends last, walk back: its service, its queue, then the visit whose signal released it (the last one, sent
at its end or, for an edge ``ON_START``, at its start), and so on to the arrival. The pieces are consecutive, so they add up
to end - arrival exactly.

``queue`` lasts from the releasing signal until the visit is first served, an engine's serial front end and client constant
included; ``service`` is the rest, preempted time included. Where a stage of the pipeline has no visit of its own, because the
stage before it shares its visit (prefill and decode in one pool), it takes that visit's time after the first token.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import CANCEL, COMPLETED, ON_START, Floats, Ints, Jobs, Records

HANDOFF = "handoff"
"""Name of the stage of visits between stages."""


def breakdown(
    records: Records,
    jobs: Jobs,
    stage_of_visit: Ints,
    stage_names: Sequence[str],
    *,
    counted: NDArray[np.bool_] | None = None,
    later: Ints | None = None,
) -> dict[str, dict[str, float]]:
    """Mean seconds per completed request by stage and cause; the values sum to the mean end-to-end latency.

    ``stage_of_visit`` [v] indexes ``stage_names``, -1 = a hand-off; ``counted`` [n] picks requests (default: all).
    ``later`` [stages]: the stage that a visit's time after the user's first token belongs to (default: see the module). Causes that
    take no time are left out; no completed request, no stages.
    """
    request = np.flatnonzero((records.status == COMPLETED) & (True if counted is None else counted))
    seconds = np.zeros((len(stage_names) + 1, 2))  # the last row, index -1, is the hand-off
    after = _stage_after(stage_of_visit, len(stage_names)) if later is None else np.append(later, -1)
    signal, source = _releases(records, jobs)
    visit, until, count = _last_visits(records, jobs, request), records.end[request], len(request)
    while len(visit):
        start = np.minimum(records.visit_start[visit], until)
        seen = records.first_token[request] if later is None else np.where(jobs.answers[visit] > 0, records.first_token[request], start)
        first = np.clip(seen, start, until)
        released = np.where(source[visit] >= 0, signal[visit], records.arrival[request])
        stage, behind = stage_of_visit[visit], after[stage_of_visit[visit]]
        seconds[:, 0] += _by_stage(stage, start - released, len(seconds))
        seconds[:, 1] += _by_stage(stage, first - start, len(seconds)) + _by_stage(behind, until - first, len(seconds))
        further = source[visit] >= 0
        until, visit, request = released[further], source[visit[further]], request[further]
    rows = zip([*stage_names, HANDOFF], seconds / max(count, 1), strict=True)
    return {name: {cause: float(s) for cause, s in zip(("queue", "service"), row, strict=True) if s} for name, row in rows if row.any()}


def _by_stage(stage: Ints, seconds: Floats, rows: int) -> Floats:
    return np.asarray(np.bincount(stage % rows, seconds, rows), np.float64)  # the hand-off, -1, is the last row


def _stage_after(stage_of_visit: Ints, stages: int) -> Ints:
    """The stage that the time after the first token belongs to, per stage: the next one where that has no visits."""
    after = np.append(np.arange(stages), -1)
    for stage in range(stages - 1):
        if not np.any(stage_of_visit == stage + 1):
            after[stage] = stage + 1
    return after


def _last_visits(records: Records, jobs: Jobs, chosen: Ints) -> Ints:
    """The visit of each chosen request that ends last (the later one of equals)."""
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    order = np.lexsort((np.nan_to_num(records.visit_end, nan=-np.inf), owner))
    return np.asarray(order[jobs.first[chosen + 1] - 1], np.int64)


def _releases(records: Records, jobs: Jobs) -> tuple[Floats, Ints]:
    """Per visit: the time of the last signal that it waited for, and the visit that sent it (-1 = the arrival of the request)."""
    visits = len(jobs.server)
    signal, source = np.full(visits, np.nan), np.full(visits, -1, np.int64)
    sender = np.repeat(np.arange(visits), np.diff(jobs.edge_first))
    time = np.where(jobs.edge_on == ON_START, records.visit_start[sender], records.visit_end[sender])
    time = np.where((jobs.edge_on == CANCEL) | (time > records.visit_ready[jobs.edge_to]), np.nan, time)
    order = np.argsort(time, kind="stable")  # the last signal is written last
    order = order[~np.isnan(time[order])]
    signal[jobs.edge_to[order]], source[jobs.edge_to[order]] = time[order], sender[order]
    return signal, source
