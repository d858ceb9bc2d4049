"""Encode: a vision (or audio) encoder turns ``items`` into tokens that stand in the prompt.

CLIP ViT-L/14 at 336 pixels makes 576 patches of an image (LLaVA 1.5, arXiv 2310.03744), all of which enter the prompt.
"""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.specs._check import not_negative, positive
from mist_dse.stages.work import Asked, Passes, whole

KIND = "encode"
RUNS_ON = ("encoder",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``items`` a request, of ``tokens`` patches each in the encoder and ``prompt_tokens`` each in the prompt."""

    items: int = 1
    tokens: int = 577
    prompt_tokens: int = 576

    def __post_init__(self) -> None:
        positive(self, items=self.items, tokens=self.tokens)
        not_negative(self, prompt_tokens=self.prompt_tokens)


def work(options: Options, asked: Asked) -> Passes:
    """One pass an item."""
    return Passes(whole(options.items, asked.context), whole(options.tokens, asked.context))


def adds(options: Options, asked: Asked) -> Ints:
    """The items' tokens."""
    return whole(options.items, asked.context) * options.prompt_tokens
