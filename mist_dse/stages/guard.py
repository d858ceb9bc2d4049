"""Guard: a model judges the input or the output, on an engine (a few tokens of verdict) or an encoder (one pass).

``what`` input reads the conversation so far. ``streaming`` (of an output): all but the last ``every`` tokens were read while they came, so
that one more look at the end is left; the engine reads them all either way (Llama Guard, arXiv 2312.06674: a template of some 200
tokens before them). A guard that blocks is one that the answer comes ``after``; one beside the prefill costs the longer of the two.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import Ints
from mist_dse.specs._check import not_negative, one_of, positive
from mist_dse.stages.work import Asked, Passes, Sequence, nothing

KIND = "guard"
RUNS_ON = ("engine", "encoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``what``: input, output or streaming; ``template`` tokens read before it, ``tokens`` of verdict, ``every`` tokens looked at again."""

    what: str = "input"
    template: int = 200
    tokens: int = 2
    every: int = 128

    def __post_init__(self) -> None:
        one_of(self, ("input", "output", "streaming"), what=self.what)
        not_negative(self, template=self.template)
        positive(self, tokens=self.tokens, every=self.every)


def work(options: Options, asked: Asked) -> Sequence | Passes:
    """Template and text, then a verdict."""
    text = asked.requests.input_tokens if options.what == "input" else asked.requests.output_tokens
    return _judgement(options, asked, np.minimum(text, options.every) if options.what == "streaming" else text)


def meanwhile(options: Options, asked: Asked) -> tuple[Sequence | Passes, NDArray[np.bool_]] | None:
    """What is judged while the answer is still being written, and of which requests: of a streaming guard, all but the last tokens."""
    before = asked.requests.output_tokens - options.every
    if options.what != "streaming" or not (before > 0).any():
        return None
    return _judgement(options, asked, np.maximum(before, 0)), before > 0


def _judgement(options: Options, asked: Asked, text: Ints) -> Sequence | Passes:
    read = text + options.template
    if asked.host == "encoder":
        return Passes(np.ones_like(read), read)
    return Sequence(np.maximum(read, 1), np.full_like(read, options.tokens))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
