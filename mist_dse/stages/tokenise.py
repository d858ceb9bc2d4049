"""Tokenise: the text of the prompt becomes tokens, on one core a request.

The default rate is that of Hugging Face's tokenizers (README: less than 20 s for a gigabyte of text on a server's processor), at 4 bytes
a token and 32 threads: 0.4 million tokens/s a core.
"""

from dataclasses import dataclass, field

from mist_dse.rows import Ints
from mist_dse.specs._check import positive
from mist_dse.stages.work import Amount, Asked, nothing

KIND = "tokenise"
RUNS_ON = ("cores", "outside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``rate``: tokens per second of one core."""

    rate: float = field(default=4e5, metadata={"unit": "token/s"})

    def __post_init__(self) -> None:
        positive(self, rate=self.rate)


def work(options: Options, asked: Asked) -> Amount:
    """Seconds of a core for the context so far."""
    return Amount(asked.context / options.rate)


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
