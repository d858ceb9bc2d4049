"""Tool: a call to something outside, in a log-normal time; its result joins the conversation.

Tools are never busy: they answer in a time that does not depend on the load. Measured agents wait from 10 ms to minutes (TraceLab, arXiv
2606.30560: 1.2 calls a step).
"""

from dataclasses import dataclass, field

from mist_dse.rows import Ints
from mist_dse.specs._check import at_most, not_negative
from mist_dse.stages.work import Amount, Asked, varied, whole

KIND = "tool"
RUNS_ON = ("outside",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``time``: mean seconds, with coefficient of variation ``cv``; ``tokens`` of its result."""

    time: float = field(default=1.0, metadata={"unit": "s"})
    cv: float = 1.0
    tokens: int = 0

    def __post_init__(self) -> None:
        not_negative(self, time=self.time, cv=self.cv, tokens=self.tokens)
        at_most(self, 10.0, cv=self.cv)


def work(options: Options, asked: Asked) -> Amount:
    """Seconds."""
    return Amount(varied(options.time, options.cv, asked.normal("time")))


def adds(options: Options, asked: Asked) -> Ints:
    """Its result."""
    return whole(1, asked.context) * options.tokens
