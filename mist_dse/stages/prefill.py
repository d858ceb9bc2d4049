"""Prefill: reads the prompt, fills its KV cache and, where the engine says so, gives the first token (the prompt phase of Splitwise,
arXiv 2311.18677).

Alone on its pool a prefill visit holds the prompt (less what a prefix cache has), emits one token and keeps its KV for the hand-off.
Sharing a pool with decode, both are one visit: see `decode`.
"""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints, Requests
from mist_dse.stages.visits import Slot
from mist_dse.stages.work import Asked, Sequence, nothing

KIND = "prefill"
RUNS_ON = ("engine",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Nothing to say: What a prefill reads is the conversation so far."""


def work(options: Options, asked: Asked) -> Sequence:
    """The prompt, and the token that ends it."""
    return Sequence(asked.context, np.ones_like(asked.context), own=False)


def adds(options: Options, asked: Asked) -> Ints:
    """Nothing."""
    return nothing(asked.context)


def prefill_slot(requests: Requests, *, server: int, stage: int, answers: bool) -> Slot:
    """The visit of every request to a pool that only prefills; requests of one answered token need no hand-off and keep nothing."""
    keep = (requests.output_tokens > 1) if answers else np.ones_like(requests.output_tokens)
    return Slot(server=server, stage=stage, prompt=requests.input_tokens, computed=requests.cached_tokens, emit=1, limit=1,
                keep=keep.astype(np.int8), answers=int(answers))  # fmt: skip
