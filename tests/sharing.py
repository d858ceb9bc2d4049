"""Step costs with work that ranks share."""

import random

import numpy as np
from hypothesis import strategies as st

from mist_dse import rows


@st.composite
def shared_costs(draw: st.DrawFn, cost: rows.StepCost, *, exact: bool) -> rows.StepCost:
    """``cost`` as it is, or with a + b G s of shared work, other a and b in steps with prompts; ``exact``: sums without rounding."""
    if draw(st.booleans()):
        return cost
    tokens = np.arange(draw(st.sampled_from([3, 40])), dtype=float)
    if exact:
        pairs = [(draw(st.integers(0, 8)) / 4, draw(st.integers(0, 4)) / 4) for _ in range(2)]
    else:
        chance = random.Random(draw(st.integers(0, 2**32 - 1)))
        pairs = [(chance.uniform(0.0, 2.0), chance.uniform(0.0, 0.5)) for _ in range(2)]
    return cost._replace(shared_time=np.stack([start + slope * tokens for start, slope in pairs]))
