"""Gaps between arrivals at one server: when nothing comes, and how many do.

In units of the mean gap. Streams more even than Poisson are gamma renewal processes (a Poisson stream dealt out in turn to k servers is
one, with shape k), by Wilson and Hilferty's normal law of the cube root and Page's logistic form of the normal law (1977; within 2e-4).
Others have Weibull gaps of the right mean and variance: Poisson exactly, and bursts.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.queueing import weibull
from mist_dse.rows import Floats

_EVEN = 2 / 3
"""Squared coefficient of variation up to which gaps are gamma: nearer to Poisson, Wilson and Hilferty lose the shortest ones."""

_FEW = 1.2
"""Mean gaps within which a third arrival hardly comes."""


class Gaps(NamedTuple):
    """The stream at one server, per variant."""

    scv: Floats
    whole: tuple[Floats, Floats]  # Weibull (scale, shape) of a gap

    def empty(self, time: Floats) -> Floats:
        """Chance that nothing comes in ``time`` after an arrival."""
        even = self.scv <= _EVEN
        if even.all():
            return 1 - _within(1 / self.scv, time)
        scale, shape = self.whole
        tail = np.exp(-((time / scale) ** shape))
        return np.asarray(np.where(even, 1 - _within(1 / self.scv, time), tail) if even.any() else tail)

    def renewals(self, time: Floats) -> Floats:
        """Mean arrivals in ``time`` after one: the chance of the next two where it is short, time + (scv - 1) / 2 where it is long."""
        one = 1 - self.empty(time)
        late = time + 0.5 * (self.scv - 1)
        two = np.where(self.scv <= _EVEN, _within(2 / self.scv, 0.5 * time), 0.0) if (self.scv <= _EVEN).any() else 0.0
        even = np.where((time < _FEW) & (self.scv <= _EVEN), one + two, np.maximum(late, one + two))
        return np.asarray(np.where(self.scv <= 1, even, np.minimum(late, one / np.maximum(1 - one, 1e-12))))

    def mates(self, time: Floats) -> Floats:
        """Mean arrivals beside a given one in an interval of this length that it falls into somewhere."""
        return 2 * self.renewals(0.5 * time)

    def rows(self) -> "Gaps":
        """For arrays [v, bins]."""
        scale, shape = self.whole
        return Gaps(self.scv[:, None], (scale[:, None], shape[:, None]))


def gaps(scv: Floats) -> Gaps:
    """The gaps of a stream with this squared coefficient of variation [v]."""
    known = np.maximum(scv, 1e-4)
    return Gaps(known, weibull(np.ones_like(known), 1 + known))


def _within(shape: Floats, time: Floats) -> Floats:
    """Chance that a gamma variable of mean 1 is below ``time``."""
    normal = (np.cbrt(time) - 1 + 1 / (9 * shape)) * 3 * np.sqrt(shape)
    normal = np.clip(normal, -8.0, 8.0)
    return np.asarray(1 / (1 + np.exp(-(1.5976 + 0.070566 * normal**2) * normal)))
