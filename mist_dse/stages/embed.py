"""Embed: an encoder turns the question (or several) into vectors to search with (RAGO, arXiv 2503.14649: 120M parameters)."""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.specs._check import positive
from mist_dse.stages.work import Asked, Passes, nothing, whole

KIND = "embed"
RUNS_ON = ("encoder",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``queries`` of ``tokens`` each (None: the request's input)."""

    queries: int = 1
    tokens: int | None = None

    def __post_init__(self) -> None:
        positive(self, queries=self.queries, tokens=self.tokens)


def work(options: Options, asked: Asked) -> Passes:
    """One pass a query."""
    tokens = asked.requests.input_tokens if options.tokens is None else options.tokens
    return Passes(whole(options.queries, asked.context), whole(tokens, asked.context))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
