"""When two sets of records count as the same."""

from typing import Any

import numpy as np

from mist_dse import rows

WHOLE = ("status", "preemptions", "visit_replica", "visit_cached", "pool", "steps", "tokens", "peak_seqs", "peak_blocks", "peak_tokens")


def assert_agree(found: rows.Records, wanted: rows.Records) -> None:
    """Whole numbers are equal, times and sums to 1e-9 of themselves."""
    for name in rows.Records._fields:
        mine: Any = getattr(found, name)
        other: Any = getattr(wanted, name)
        if name == "visit_cached" and not len(mine):
            mine = np.zeros_like(other)  # left out: nothing was found
        if name in WHOLE:
            np.testing.assert_array_equal(mine, other, err_msg=name)
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12, equal_nan=True, err_msg=name)
