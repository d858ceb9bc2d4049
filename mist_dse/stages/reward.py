"""Reward (or judge): a model reads a whole answer, or all of several paths, and gives a score (HERMES, arXiv 2504.09775, section 3)."""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs._check import positive
from mist_dse.stages.work import Asked, Passes, Sequence, nothing

KIND = "reward"
RUNS_ON = ("engine", "encoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``tokens`` of verdict on an engine: one for a score, more for a judgement in words."""

    tokens: int = 1

    def __post_init__(self) -> None:
        positive(self, tokens=self.tokens)


def work(options: Options, asked: Asked) -> Sequence | Passes:
    """All that was said so far."""
    if asked.host == "encoder":
        return Passes(np.ones_like(asked.context), asked.context)
    return Sequence(asked.context, np.full_like(asked.context, options.tokens))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
