"""KV fetch: the leading blocks of the prompt that some tier still has are read from there instead of computed (`stages.tiers`).

Mooncake (arXiv 2407.00079) keeps such blocks in the memory and on the drives of the engines' hosts.
"""

from dataclasses import dataclass

from mist_dse.rows import Ints
from mist_dse.specs._check import SpecError, one_of
from mist_dse.stages.work import Amount, Asked, nothing

KIND = "kv_fetch"
RUNS_ON = ("tiers",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``recompute``: what a tier holds is computed again where reading it (alone) would take longer: auto, or never.

    ``hold``: the engine's blocks are taken when the fetch starts, as for a hand-off (the request then enters past the front end);
    otherwise when the prompt is admitted.
    """

    recompute: str = "auto"
    hold: bool = False

    def __post_init__(self) -> None:
        one_of(self, ("auto", "never"), recompute=self.recompute)
        if not isinstance(self.hold, bool):
            raise SpecError(f"Options.hold is {self.hold!r}: must be true or false")


def work(options: Options, asked: Asked) -> Amount:
    """Nothing by itself: tiers are visits of their own."""
    return Amount(nothing(asked.context).astype(float))


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)
