"""Prompts that an engine lets gather while others decode, in the mean field: how long they wait, and for whom.

The simulator's `receive_interval`, `wait_steps` with `wait_tokens` and `balance_steps` (`docs/semantics.md`, Engines' own ways).
Let w be the time for which prompts gather at a rank and n = rate x w those that come meanwhile. Looks at fixed intervals: an arrival
waits w / 2. A wait that the first prompt begins: (w + n w / 2) / (1 + n) on average. Those that come together also share steps:
half of them are ahead of a prompt, and of those behind as many count as fit into its step.
"""

from typing import NamedTuple

import numpy as np

from mist_dse.analytic.queueing import Wait, added, fitting
from mist_dse.analytic.traffic import Traffic
from mist_dse.rows import Engine, Floats


class Gathering(NamedTuple):
    """What the wait depends on, per variant and rank."""

    rate: Floats  # prompts per second
    batch: Floats  # decoding sequences
    budget: Floats  # tokens of a step
    pure: Floats  # s, decode step
    mixed: Floats  # s, step with prompts
    each: Floats  # s that one more prompt adds to a step


def gathers(engine: Engine) -> bool:
    """Whether the engine lets prompts gather at all."""
    batches = engine.ranks == 1 and engine.wait_steps > 0 and engine.wait_tokens > 0
    return engine.receive_interval > 1 or batches or (engine.ranks > 1 and engine.balance_steps > 1)


def gathering_wait(engine: Engine, traffic: Traffic, found: Gathering) -> Wait:
    """Seconds that prompts wait unseen or postponed while their replica decodes, and for those that came meanwhile."""
    busy = 1 - np.exp(-found.batch * engine.ranks)
    unseen = (engine.receive_interval - 1) * found.pure * traffic.entering
    crowd = found.rate * unseen
    prompts = (1 - np.exp(-crowd)) * found.mixed
    late = 0.5 * unseen * unseen / np.maximum(unseen + prompts, 1e-12)
    window = _window(engine, traffic, found)
    n = found.rate * window
    first = (window + 0.5 * n * window) / (1 + n)
    look, together = (_uniform(busy, late, unseen), Wait(busy * first, busy * first * window, busy))
    crowd = np.maximum(crowd, n)
    beside = busy * found.each * (0.5 * crowd + np.minimum(0.5 * crowd, 0.5 * found.budget / traffic.tokens))
    return added(added(look, together), Wait(beside, 2 * beside**2, busy * (1 - np.exp(-crowd))))


def _uniform(busy: Floats, mean: Floats, longest: Floats) -> Wait:
    return Wait(busy * mean, busy * mean * longest * 2 / 3, busy)


def _window(engine: Engine, traffic: Traffic, found: Gathering) -> Floats:
    """Seconds from the first prompt to the end of its wait; with several ranks until the last of the others has one too."""
    rate = np.maximum(found.rate, 1e-12)
    if engine.ranks > 1:
        others = float((1 / np.arange(1, engine.ranks)).sum()) / rate
        return np.asarray(np.minimum(0.5 * max(engine.balance_steps - 1, 0) * found.pure, others))
    fresh = traffic.binned(traffic.fresh)[None, :]
    lacking = np.maximum(engine.wait_tokens - found.batch[:, None] - fresh, 0.0)
    spread = float((traffic.fresh**2).mean()) / (2 * traffic.tokens**2)  # renewals up to a level: level / mean + E[p^2] / 2 E[p]^2
    time = np.where(lacking > 0, lacking / traffic.tokens + spread, 1e-12) / rate[:, None]
    return np.asarray(fitting(time, engine.wait_steps * found.pure[:, None]).mean(axis=1))
