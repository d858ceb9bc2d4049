"""Rerank: a cross-encoder reads the question with each document found, and the best are kept.

RAGO (arXiv 2503.14649): sixteen passages of 100 tokens, of which five stay.
"""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.specs._check import SpecError, not_negative, positive
from mist_dse.stages.work import Asked, Passes, whole

KIND = "rerank"
RUNS_ON = ("encoder",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``documents`` of ``document_tokens`` read beside ``query_tokens`` of question each (None: the request's input);
    ``keep`` of them stay."""

    documents: int = 16
    document_tokens: int = 100
    query_tokens: int | None = 32
    keep: int = 5

    def __post_init__(self) -> None:
        positive(self, documents=self.documents, document_tokens=self.document_tokens, query_tokens=self.query_tokens)
        not_negative(self, keep=self.keep)
        if self.keep > self.documents:
            raise SpecError(f"Options.keep is {self.keep}: must be at most documents, {self.documents}")


def work(options: Options, asked: Asked) -> Passes:
    """One pass a document."""
    query = asked.requests.input_tokens if options.query_tokens is None else options.query_tokens
    return Passes(whole(options.documents, asked.context), whole(query + options.document_tokens, asked.context))


def adds(options: Options, asked: Asked) -> Ints:
    """Less the documents that are dropped."""
    return -whole(1, asked.context) * (options.documents - options.keep) * options.document_tokens
