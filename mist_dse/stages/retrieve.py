"""Retrieve: search a vector index; what is found joins the prompt (RAGO, arXiv 2503.14649: five passages of 100 tokens)."""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints
from mist_dse.specs._check import not_negative, positive
from mist_dse.stages.work import Amount, Asked, whole

KIND = "retrieve"
RUNS_ON = ("index", "outside")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``queries`` a request; ``documents`` found, of ``document_tokens`` each."""

    queries: int = 1
    documents: int = 5
    document_tokens: int = 100

    def __post_init__(self) -> None:
        positive(self, queries=self.queries)
        not_negative(self, documents=self.documents, document_tokens=self.document_tokens)


def work(options: Options, asked: Asked) -> Amount:
    """Queries (of an index), or nothing where the search is somebody else's."""
    return Amount(np.full(asked.context.shape, float(options.queries if asked.host == "index" else 0)))


def adds(options: Options, asked: Asked) -> Ints:
    """The documents."""
    return whole(1, asked.context) * options.documents * options.document_tokens
