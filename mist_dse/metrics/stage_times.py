"""When each request was at each stage: from the start of its first visit there to the end of its last.

A visit that serves two stages (prefill and decode in one pool) is parted at the user's first token, as in `metrics.breakdown`; where it
gives no answer to the user (the weak model of a cascade that escalates), all of it is the first stage's.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.rows import Floats, Ints, Jobs, Records


class StageTimes(NamedTuple):
    """Seconds [stages, n] at which each request came to each stage and left it; nan where it never did."""

    start: Floats
    end: Floats


def stage_times(records: Records, jobs: Jobs, stage_of_visit: Ints, later: Ints) -> StageTimes:
    """First start and last end of service of every request at every stage; ``later`` [stages] as in `metrics.breakdown`."""
    requests = len(jobs.first) - 1
    owner = np.repeat(np.arange(requests), np.diff(jobs.first))
    begun, over = records.visit_start, records.visit_end
    parted = (stage_of_visit >= 0) & (later[stage_of_visit] != stage_of_visit) & (jobs.answers > 0)
    token = np.fmin(np.fmax(records.first_token[owner], begun), over)
    times = StageTimes(np.full((len(later), requests), np.nan), np.full((len(later), requests), np.nan))
    for stage, chosen, start, end in (
        (stage_of_visit, stage_of_visit >= 0, begun, np.where(parted, token, over)),
        (later[stage_of_visit], parted & (token < over), token, over),
    ):
        np.fmin.at(times.start, (stage[chosen], owner[chosen]), start[chosen])
        np.fmax.at(times.end, (stage[chosen], owner[chosen]), end[chosen])
    return times
