"""Decode: produces the answer token by token.

On the pool that also prefills, one visit does both. On a pool of its own, a visit starts from a handed-over KV cache: with
the first token known (``first_token_from`` prefill) it emits the others; else its first step computes the last prompt token
again and emits them all.
"""

import numpy as np

from mist_dse.rows import Requests
from mist_dse.stages.visits import Slot

KIND = "decode"


def whole_slot(requests: Requests, *, server: int, stage: int) -> Slot:
    """The single visit of every request to a pool that prefills and decodes."""
    prompt, emit = requests.input_tokens, requests.output_tokens
    return Slot(server=server, stage=stage, prompt=prompt, computed=requests.cached_tokens, emit=emit, limit=requests.max_tokens, answers=1)


def decode_slot(requests: Requests, *, server: int, stage: int, first_token_known: bool) -> Slot:
    """The visit of every request to a pool that only decodes."""
    prompt, emit, limit = requests.input_tokens, requests.output_tokens, requests.max_tokens
    if first_token_known:
        return Slot(server=server, stage=stage, prompt=prompt, computed=prompt, emit=emit - 1, limit=limit - 1, handed=1, answers=1,
                    present=emit > 1)  # fmt: skip
    return Slot(server=server, stage=stage, prompt=prompt, computed=np.maximum(prompt - 1, 0), emit=emit, limit=limit, answers=1)
