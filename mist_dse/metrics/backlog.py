"""Whether the number of requests in an open system grew through a run: a remark beside the verdict, never the verdict.

The number in the system is taken at each arrival of the second half of the run. ``growth`` is its least-squares slope per arrival:
what part of the arrivals piles up, in the long run 1 - capacity/offered rate of an overloaded system and 0 of a stable one. ``grew`` is
Kendall's trend test (Kendall, Biometrika 30, 1938; Mann, Econometrica 13, 1945) on the means of eight blocks of equal count: S, rising
pairs less falling ones of the 28, is 20 or more by chance in 0.7% of orders. Blocks of a system near saturation are not independent,
and a short run of an overloaded one shows no trend: of M/M/1 runs of 10,000, 0.5% seem to grow at a load of 0.8, 10% at 0.98, and 85%
at 1.05. That is why demand decides (`analytic.demand`).
"""

from collections.abc import Mapping

import numpy as np

from mist_dse.rows import REJECTED, Records

BLOCKS = 8
RISING = 20
"""Least S of eight blocks that counts as growth."""
FEWEST = 8 * BLOCKS
"""Arrivals in the second half below which nothing is said."""


def backlog(records: Records) -> Mapping[str, float | bool]:
    """``growth`` (requests added per arrival) and ``grew`` of an open loop's run; nothing where too few requests arrived."""
    came = (records.status != REJECTED) & ~np.isnan(records.arrival)
    arrival, gone = np.sort(records.arrival[came]), np.sort(records.end[came])  # nan, never, sorts last
    inside = np.arange(1, len(arrival) + 1) - np.searchsorted(gone, arrival, side="right")
    later = inside[len(inside) // 2 :].astype(np.float64)
    if len(later) < FEWEST or arrival[0] == arrival[-1]:
        return {}
    place = np.arange(len(later)) - (len(later) - 1) / 2
    means = np.array([block.mean() for block in np.array_split(later, BLOCKS)])
    rising = float(np.sign(means[None, :] - means[:, None])[np.triu_indices(BLOCKS, 1)].sum())
    return {"growth": float(place @ later / (place @ place)), "grew": rising >= RISING}
