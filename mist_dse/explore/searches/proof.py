"""Going on until nothing is left that a bound does not exclude: the search that certifies its front."""

from dataclasses import dataclass

import numpy as np

from mist_dse.explore.proofs.bounds import Asked, Bounds
from mist_dse.explore.screens.screening import ScreenTable
from mist_dse.explore.searches.plan import Plan
from mist_dse.explore.searches.samplers import ScreenSampler
from mist_dse.explore.searches.study import Loop
from mist_dse.rows import Floats


@dataclass(slots=True)
class Proof:
    """Asked once a search would end: whether the front is certified at ``epsilon``; if not, ``sampler`` follows what is left."""

    asked: Asked
    screened: ScreenTable
    plan: Plan
    sampler: ScreenSampler
    epsilon: float
    bounds: Bounds | None = None

    def __call__(self, loop: Loop) -> bool:
        """True where nothing is left that can be simulated (designs set aside cannot), or no bounds can be taken."""
        self.bounds = self.bounds or Bounds.taken(self.asked, self.screened)
        if self.bounds is None:
            return True
        taken = self.plan.indices(self.sampler.taken, loop.variables)
        self.bounds, left = self.bounds.remaining(front_values(loop), taken, self.epsilon)
        place = np.full(len(self.screened), len(self.screened))
        place[self.plan.order] = np.arange(len(self.plan.order))
        self.sampler.follow(left[np.argsort(place[left], kind="stable")])
        return not left.size


def front_values(loop: Loop) -> Floats:
    """Objectives of the front as measured, [n, m]."""
    rows = list(loop.rows.values())
    found = [[float(rows[number][goal.metric]) for goal in loop.space.objectives] for number in loop.seen.front]
    return np.array(found).reshape(-1, len(loop.space.objectives))
