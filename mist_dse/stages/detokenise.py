"""Detokenise: the last tokens of the answer become text, on one core a request; those before them were streamed meanwhile.

The rate is that of `tokenise`; engines do it step by step, which their profiles hold as host time already.
"""

from dataclasses import dataclass, field

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs._check import positive
from mist_dse.stages.work import Amount, Asked, nothing

KIND = "detokenise"
RUNS_ON = ("cores", "outside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``rate``: tokens per second of one core; ``tokens``: how many of them wait for the end of the answer."""

    rate: float = field(default=4e5, metadata={"unit": "token/s"})
    tokens: int = 16

    def __post_init__(self) -> None:
        positive(self, rate=self.rate, tokens=self.tokens)


def work(options: Options, asked: Asked) -> Amount:
    """Seconds of a core for the last tokens."""
    return Amount(np.minimum(asked.requests.output_tokens, options.tokens) / options.rate)


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
