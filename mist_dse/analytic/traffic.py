"""Traffic of one server: what its visits ask for and how they arrive, taken from the realised requests.

Expectations are over the visits themselves. Service laws are kept on a grid of bins of equal count whose values are the
bins' means: quantile midpoints would lose the tail of heavy-tailed lengths.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mist_dse.rows import RANDOM, Engine, Floats, Ints, Jobs, Requests

BINS = 32


class Traffic(NamedTuple):
    """Visits (n) of one engine pool and their arrivals at the whole pool."""

    rate: Floats  # 1/s, scalar or one per variant
    scv: float  # squared coefficient of variation of the time between arrivals
    horizon: float  # s from the first to the last arrival, inf for ever
    fresh: Floats  # [n] prompt tokens to compute
    start: Floats  # [n] tokens that stand before the prompt is computed
    steps: Floats  # [n] decode steps
    entering: bool  # visits come from the user: through front end and client
    hold: float  # s that KV outlives a visit, mean
    order: Ints  # [n] visits by fresh tokens
    edges: Ints  # first place in ``order`` of each bin
    reserved: Floats  # [n] tokens that the visit may come to hold, as far as a scheduler knows
    gaps: Floats  # [n] intervals between output tokens that the decode steps stand for
    clump: float = 1.0  # sequences of one request that decode on a rank together, mean over visits

    @property
    def tokens(self) -> float:
        """Prompt tokens to compute per visit."""
        return float(self.fresh.mean())

    @property
    def decodes(self) -> float:
        """Decode steps per visit."""
        return float(self.steps.mean())

    @property
    def steps_per_gap(self) -> float:
        """Decode steps per interval between two output tokens, mean over visits: below 1 with speculation."""
        some = self.steps > 0
        return float((self.steps[some] / self.gaps[some]).mean()) if some.any() else 1.0

    @property
    def context(self) -> float:
        """Mean context of a decode step (tokens): E[D (P + (D + 1) / 2)] / E[D] with prompt P and D steps."""
        weight = self.steps.sum()
        prompt = self.fresh + self.start
        return float((self.steps * (prompt + 0.5 * (self.steps + 1))).sum() / weight) if weight > 0 else 0.0

    @property
    def context_variance(self) -> float:
        """Variance of the context of a sequence seen at a random time of its decoding (tokens^2)."""
        prompt, steps = self.fresh + self.start, self.steps
        square = (steps * (prompt**2 + prompt * (steps + 1) + (steps + 1) * (2 * steps + 1) / 6)).sum() / max(steps.sum(), 1e-300)
        return max(float(square) - self.context**2, 0.0)

    @property
    def overlap(self) -> float:
        """E[min(D, D')] / E[D] of two visits' decode steps: share of a stay for which another one that began with it is there too."""
        ranked = np.sort(self.steps)
        count = len(ranked)
        weight = (2 * (count - np.arange(count)) - 1) / count**2
        return float((weight * ranked).sum() / ranked.mean()) if ranked.size and ranked.mean() > 0 else 1.0

    @property
    def fading(self) -> float:
        """E|R - R'| of what is left of two visits' decode steps at random times."""
        ranked = np.sort(self.steps)
        if not ranked.size or ranked[-1] <= 0:
            return 0.0
        width = np.diff(ranked, prepend=0.0)
        tail = (len(ranked) - np.arange(len(ranked))) / len(ranked) * width
        left = np.append(np.cumsum(tail[::-1])[::-1], 0.0) / ranked.mean()
        high, low = left[:-1], left[1:]
        return float((width * (high + low - 2 * (high**2 + high * low + low**2) / 3)).sum())

    def binned(self, values: Floats) -> Floats:
        """Bin means of a value per visit."""
        counts = np.diff(np.append(self.edges, len(self.order)))
        return np.asarray(np.add.reduceat(values[self.order], self.edges) / counts)


def coarse(values: Floats) -> Floats:
    """Means of four bins [..., bins] each, where there are so many."""
    return values.reshape(*values.shape[:-1], -1, 4).mean(axis=-1) if values.shape[-1] % 4 == 0 else values


def engine_traffic(
    fresh: ArrayLike,
    steps: ArrayLike,
    *,
    start: ArrayLike = 0.0,
    rate: Floats | float = 1.0,
    scv: float = 1.0,
    horizon: float = np.inf,
    entering: bool = True,
    hold: float = 0.0,
    reserved: ArrayLike | None = None,
    gaps: ArrayLike | None = None,
) -> Traffic:
    """Traffic from arrays per visit: prompt tokens to compute, decode steps, and tokens that stand already.

    A visit that completes its prompt here has ``emit - 1`` decode steps; a handed one ``emit`` and no fresh tokens. ``reserved``:
    tokens that it may come to hold (None: those that it does), ``gaps``: intervals between output tokens (None: one a step).
    """
    new, taken = np.asarray(fresh, dtype=float), np.asarray(steps, dtype=float)
    order = np.argsort(new, kind="stable")
    sizes = [len(part) for part in np.array_split(order, min(BINS, len(new)))]
    edges = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    standing = np.broadcast_to(np.asarray(start, dtype=float), new.shape)
    most = new + standing + taken + 1 if reserved is None else np.asarray(reserved, dtype=float)
    spaces = taken if gaps is None else np.asarray(gaps, dtype=float)
    return Traffic(np.asarray(rate, dtype=float), scv, horizon, new, standing, taken, entering, hold, order, edges, most, spaces)


def visit_traffic(
    jobs: Jobs, visits: Ints, rate: Floats | float, *, scv: float, horizon: float, hold: float = 0.0, gaps: Floats | None = None
) -> Traffic:
    """Traffic of the engine visits numbered ``visits``; they enter from the user unless they wait for other visits.

    ``gaps`` [v of all visits]: intervals between output tokens per decode step (None: one).
    """
    handed = jobs.handed[visits] > 0
    fresh = np.where(handed, 0, np.maximum(jobs.prompt[visits] - jobs.computed[visits], 0))
    steps = np.maximum(jobs.emit[visits] - 1 + handed, 0)
    entering = bool((~handed).all())
    return engine_traffic(
        fresh, steps, start=jobs.prompt[visits] - fresh, rate=rate, scv=scv, horizon=horizon, entering=entering, hold=hold,
        reserved=jobs.prompt[visits] + jobs.handed[visits] + jobs.limit[visits], gaps=None if gaps is None else steps * gaps[visits],
    )  # fmt: skip


def gaps_per_step(jobs: Jobs, requests: Requests) -> Floats:
    """Intervals between output tokens per decode step, for every visit: those of its request; 1 without speculation."""
    owner = np.repeat(np.arange(len(jobs.first) - 1), np.diff(jobs.first))
    steps = np.bincount(owner, weights=jobs.emit * (jobs.answers > 0), minlength=len(jobs.first) - 1) - 1
    gaps = requests.output_tokens - 1.0
    return np.asarray(np.where((steps > 0) & (gaps > 0), gaps / np.maximum(steps, 1), 1.0)[owner])


def arrival_scv(engine: Engine, scv: float, servers: Floats) -> Floats:
    """Squared coefficient of variation of the gaps at each of ``servers`` servers that one stream is split over.

    In turn, every k-th arrival: scv / k. By independent draws, a geometric sum of gaps: 1 + (scv - 1) / k (Kuehn 1979).
    """
    return np.asarray(1 + (scv - 1) / servers if engine.router == RANDOM else scv / servers)


def realised_span(requests: Requests) -> float:
    """Seconds from the first arrival to the last."""
    return float(requests.arrival[-1] - requests.arrival[0]) if len(requests.arrival) else 0.0


def arrivals_known(requests: Requests) -> bool:
    """Whether all arrivals are known before a run: no closed loop, and no turn of a session that waits for the answer before it."""
    return requests.clients == 0 and not bool((requests.follows >= 0).any())


def realised_rate(requests: Requests) -> float:
    """Arrivals per second of an open loop: n - 1 gaps in the span; 0 for a single request, inf if all come at once.

    Turns of sessions come when the answers before them are out, but sessions start without regard to them: their rate is the nominal
    one, where the workload has one, else that of their earliest arrivals.
    """
    if not arrivals_known(requests) and np.isfinite(requests.nominal_rate):
        return requests.nominal_rate
    gaps = len(requests.arrival) - 1
    span = realised_span(requests)
    if gaps <= 0:
        return 0.0
    return gaps / span if span > 0 else np.inf


def realised_scv(requests: Requests) -> float:
    """Squared coefficient of variation of the times between arrivals; 1 where there are too few or no times to tell."""
    gaps = np.diff(requests.arrival)
    mean = gaps.mean() if len(gaps) else 0.0
    return float(gaps.var() / mean**2) if len(gaps) > 1 and mean > 0 else 1.0
