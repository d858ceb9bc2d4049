"""What holds of the records of any run, whatever the input."""

import numpy as np

from mist_dse import rows


def broken_law(records: rows.Records) -> str:
    """The first law of records that these break, empty if none: times finite, in order and not negative; all that completed has them."""
    done = records.status == rows.COMPLETED
    chain = ("arrival", "admitted", "first_token", "last_token", "end")
    for name in (*chain, "visit_ready", "visit_start", "visit_end", "busy", "pairs", "contexts", "station_busy"):
        column = getattr(records, name)
        if np.isinf(column).any() or (column < 0).any():
            return f"{name} is negative or infinite"
    for name in ("preemptions", "steps", "tokens", "peak_seqs", "peak_blocks", "peak_tokens", "visit_cached"):
        if (getattr(records, name) < 0).any():
            return f"{name} is negative"
    if not np.isin(records.status, (rows.COMPLETED, rows.REJECTED, rows.UNFINISHED)).all():
        return "status is none of the three"
    if np.isnan(records.arrival[done]).any() or np.isnan(records.end[done]).any():
        return "a completed request has no arrival or no end"
    for i, name in enumerate(chain):
        for later in chain[i + 1 :]:
            if (getattr(records, later) < getattr(records, name)).any():
                return f"{later} is before {name}"
    if not (np.isfinite(records.makespan) and records.makespan >= 0):
        return f"makespan is {records.makespan}"
    return ""
