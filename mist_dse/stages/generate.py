"""Generate: a language model reads the conversation and continues it with tokens that the user does not see as the answer.

Reasoning before an answer, one of several paths, a call to a tool. ``tokens`` is a number, or ``scale`` times the request's output
(HERMES, arXiv 2504.09775: reasoning of 8 to 32 times the answer, lengths of parallel paths spread by ``cv`` 0.3).
"""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs._check import SpecError, at_most, not_negative, positive
from mist_dse.stages.work import Asked, Sequence, varied, whole

KIND = "generate"
RUNS_ON = ("engine",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``tokens`` written, or ``scale`` times the request's output tokens; ``cv``: log-normal spread; ``prompt_tokens`` read
    beside the context."""

    tokens: int | None = None
    scale: float | None = None
    cv: float = 0.0
    prompt_tokens: int = 0

    def __post_init__(self) -> None:
        positive(self, tokens=self.tokens, scale=self.scale)
        not_negative(self, cv=self.cv, prompt_tokens=self.prompt_tokens)
        at_most(self, 10.0, cv=self.cv)
        if (self.tokens is None) == (self.scale is None):
            raise SpecError("Options.tokens or scale: give one of the two")


def work(options: Options, asked: Asked) -> Sequence:
    """The conversation so far as prompt; its continuation."""
    mean = np.asarray(options.tokens if options.scale is None else options.scale * asked.requests.output_tokens, float)
    emit = whole(varied(mean, options.cv, asked.normal("tokens")), asked.context)
    return Sequence(asked.context + options.prompt_tokens, emit, own=False)


def adds(options: Options, asked: Asked) -> Ints:
    """What was read beside the context, and what was written."""
    return work(options, asked).emit + options.prompt_tokens
