"""KV store: blocks that a tier does not have yet are written to it over the link that reads use, too (`stages.tiers`).

Beside the answer, as Mooncake (arXiv 2407.00079) does: nobody waits for it, and it delays reads on the same link.
"""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.stages.work import Amount, Asked, nothing

KIND = "kv_store"
RUNS_ON = ("tiers",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Nothing to say."""


def work(options: Options, asked: Asked) -> Amount:
    """Nothing by itself: tiers are visits of their own."""
    return Amount(nothing(asked.context).astype(float))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
