"""KV store: blocks that a tier does not have yet are written to it over the link that reads use, too (`stages.tiers`)."""

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
