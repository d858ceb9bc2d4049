"""The mean steps of an engine pool, from the tokens per step that a run stored and what the visits of its requests ask for.

Tokens of prompts and of decodes come in the proportion in which visits ask for them. Each prompt is taken to have steps of its own, as
many as its tokens need, so that steps of decodes alone and steps with prompts are told apart: their seconds differ by far, and so does
what limits them. What caching and preemption change in that proportion is not known here.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.step import chunk_time, combined, decode_time, line, plane, shared_time, together
from mist_dse.rows import CONTINUOUS, PREFILL_FIRST, STATIC, Engine, Floats, Jobs, StepCost
from mist_dse.stages.step_parts import StepAsked

APART = (STATIC, CONTINUOUS, PREFILL_FIRST)
"""Policies under which decodes wait while prompts are computed."""


class MeanSteps(NamedTuple):
    """The steps of one rank: ``decode``, those without prompts, ``prompts``, those with them, and the ``share`` of the latter."""

    decode: StepAsked
    prompts: StepAsked
    share: float

    def kinds(self) -> Iterator[tuple[str, float, StepAsked]]:
        """Name, share of all steps, and work, of each kind of step that there is."""
        if self.share < 1:
            yield "decode", 1 - self.share, self.decode
        if self.share > 0:
            yield "prompts", self.share, self.prompts


def mean_steps(jobs: Jobs, number: int, engine: Engine, tokens: float) -> MeanSteps:
    """The mean steps of engine pool ``number``, whose steps compute ``tokens`` tokens in the mean, all ranks together."""
    visits = np.flatnonzero(jobs.server == number)
    prompt, handed = jobs.prompt[visits], jobs.handed[visits] != 0
    new = np.where(handed, 0, prompt - jobs.computed[visits]).astype(float)
    emitted = np.maximum(jobs.emit[visits] - ~handed, 0).astype(float)
    context = float((emitted * (prompt + (emitted + 1) / 2)).sum() / max(emitted.sum(), 1.0))
    mine = new > 0
    each, prompts = tokens / engine.ranks, float(new.sum() / max(new.sum() + emitted.sum(), 1.0))
    step = StepAsked((1 - prompts) * each, context, prompts * each, new[mine], jobs.computed[visits][mine].astype(float))
    if step.prompt_tokens * engine.ranks < 1 <= step.decodes:  # decodes, some of which compute their last prompt token again
        return MeanSteps(step._replace(decodes=each, prompt_tokens=0.0), step, 0.0)
    if step.decodes * engine.ranks < 1e-9:
        return MeanSteps(step, step, 1.0)
    share = _share(step, engine)
    apart = engine.policy in APART and share < 1
    alone = step.decodes / (1 - share) if apart else step.decodes
    beside = step._replace(decodes=0.0 if apart else step.decodes, prompt_tokens=step.prompt_tokens / share)
    return MeanSteps(step._replace(decodes=alone, prompt_tokens=0.0), beside, share)


def _share(step: StepAsked, engine: Engine) -> float:
    """The share of steps that compute prompts, one prompt at a time as far as the steps suffice."""
    needed = float(np.ceil(step.new / engine.max_num_batched_tokens).mean()) if engine.splits_prompts else 1.0
    return min(step.prompts * needed, 1.0)


def mean_pairs(step: StepAsked) -> float:
    """Attended pairs of a mean prompt."""
    return float((step.new * (step.standing + (step.new + 1) / 2)).mean()) if len(step.new) else 0.0


def step_seconds(cost: StepCost, ranks: int, step: StepAsked) -> float:
    """Seconds of a whole step by the pool's tables, host included; prompts are taken whole."""
    alike = _alone(cost, ranks)
    if step.prompt_tokens <= 0:
        return float(decode_time(alike, max(step.decodes, 1.0), step.context))
    device = (
        line(alike.token_time, step.decodes + step.prompt_tokens)
        + line(alike.sequence_time, min(step.decodes + step.prompts, len(alike.sequence_time) - 1))
        + alike.mixing * plane(alike.decode_attention, alike.knots, step.decodes, step.context)
        + alike.prefill_overhead
        + step.prompts * float(chunk_time(alike, step.new, step.standing).mean())
    )
    host = alike.host_step + alike.host_sequence * (step.decodes + step.prompts) + alike.host_prefill
    return float(combined(alike, device, host))


def _alone(cost: StepCost, ranks: int) -> StepCost:
    """``cost`` where each rank's tokens stand for those of all."""
    tokens: Floats = ranks * np.arange(max(len(cost.token_time), len(cost.decode_step)), dtype=float)
    return together(cost, np.stack([shared_time(cost, tokens, prompts=prompts) for prompts in (False, True)]))
