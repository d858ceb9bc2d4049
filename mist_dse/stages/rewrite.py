"""Rewrite: a language model turns the question into one that searches better (RAGO, arXiv 2503.14649: 32 tokens in and out).

A conversation of its own: it reads the request's input and adds nothing to the context of the answer.
"""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.specs._check import positive
from mist_dse.stages.work import Asked, Sequence, nothing, whole

KIND = "rewrite"
RUNS_ON = ("engine",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``prompt_tokens`` read (None: the request's input) and ``tokens`` written."""

    tokens: int = 32
    prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        positive(self, tokens=self.tokens, prompt_tokens=self.prompt_tokens)


def work(options: Options, asked: Asked) -> Sequence:
    """One short answer."""
    prompt = asked.requests.input_tokens if options.prompt_tokens is None else options.prompt_tokens
    return Sequence(whole(prompt, asked.context), whole(options.tokens, asked.context))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing: the answer reads what is found, not what was searched for."""
    return nothing(asked.context)
