"""How well the screen put designs in order: its figures against those simulated, objective by objective.

Spearman's rank correlation says whether the order was right, the median of |screened / simulated - 1| by how much figures are off.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mist_dse.rows import Floats

FEWEST = 3
"""Designs below which a rank correlation says nothing."""


class RankError(NamedTuple):
    """Of one metric over ``designs``: rank correlation (None for fewer than `FEWEST` or equal values) and median relative error (None
    where no simulated value differs from 0)."""

    spearman: float | None
    median_error: float | None
    designs: int

    def __str__(self) -> str:
        rank = "no rank correlation" if self.spearman is None else f"rank correlation {self.spearman:.3f}"
        error = "" if self.median_error is None else f", median error {self.median_error:.1%}"
        return f"{rank}{error} of {self.designs} designs"


def rank_error(screened: Mapping[str, Floats], simulated: Mapping[str, Floats]) -> dict[str, RankError]:
    """For each metric of both: how the ``screened`` values of designs stand to the ``simulated`` ones, design by design.

    Give the designs that were simulated and feasible; those with a nan on either side are left out.
    """
    return {
        name: _rank_error(np.asarray(screened[name], float), np.asarray(simulated[name], float)) for name in screened if name in simulated
    }


def _rank_error(screened: Floats, simulated: Floats) -> RankError:
    known = np.isfinite(screened) & np.isfinite(simulated)
    one, two = screened[known], simulated[known]
    some = two != 0
    error = float(np.median(np.abs(one[some] / two[some] - 1))) if some.any() else None
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(two) == 0:
        return RankError(None, error, len(one))
    import pandas as pd

    ranks = pd.DataFrame({"screened": one, "simulated": two}).rank()
    return RankError(float(ranks["screened"].corr(ranks["simulated"])), error, len(one))
