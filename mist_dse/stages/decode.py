"""Decode: produces the answer token by token (the generation phase of Splitwise, arXiv 2311.18677).

On the pool that also prefills, one visit does both. On a pool of its own, a visit starts from a handed-over KV cache: with
the first token known (``first_token_from`` prefill) it emits the others; else its first step computes the last prompt token
again and emits them all.

With speculation a step emits m tokens in the mean, so a visit of n tokens takes ceil((n - 1)/m) steps after its first token: what
`Jobs` calls ``emit`` counts steps then, while ``limit``, what a scheduler may reserve, keeps counting tokens. A visit's context
grows by one a step instead of m, so it lags behind the real one by up to (n - 1)(1 - 1/m) tokens at the end and half of that in the mean
over its steps. Step tables are read `context_lag` further on, which makes the mean over all decode steps right; what is left at any
one step is at most half of (n - 1)(1 - 1/m), of opposite signs early and late in an output.
"""

from dataclasses import dataclass

import numpy as np

from mist_dse.rows import Ints, Requests
from mist_dse.specs.design import Speculation
from mist_dse.stages.visits import Slot
from mist_dse.stages.work import Asked, Sequence

KIND = "decode"
RUNS_ON = ("engine",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Nothing to say: The answer's length is the request's."""


def work(options: Options, asked: Asked) -> Sequence:
    """The whole answer."""
    return Sequence(asked.context, asked.requests.output_tokens, own=False)


def adds(options: Options, asked: Asked) -> Ints:
    """The answer."""
    return asked.requests.output_tokens


def whole_slot(requests: Requests, *, server: int, stage: int, speculation: Speculation | None = None) -> Slot:
    """The single visit of every request to a pool that prefills and decodes."""
    prompt, emit = requests.input_tokens, 1 + decode_steps(requests.output_tokens - 1, speculation)
    return Slot(server=server, stage=stage, prompt=prompt, computed=requests.cached_tokens, emit=emit, limit=requests.max_tokens, answers=1)


def decode_slot(requests: Requests, *, server: int, stage: int, first_token_known: bool, speculation: Speculation | None = None) -> Slot:
    """The visit of every request to a pool that only decodes."""
    prompt, limit, steps = requests.input_tokens, requests.max_tokens, decode_steps(requests.output_tokens - 1, speculation)
    if first_token_known:
        return Slot(server=server, stage=stage, prompt=prompt, computed=prompt, emit=steps, limit=limit - 1, handed=1, answers=1,
                    present=steps > 0)  # fmt: skip
    return Slot(server=server, stage=stage, prompt=prompt, computed=np.maximum(prompt - 1, 0), emit=1 + steps, limit=limit, answers=1)


def decode_steps(tokens: Ints, speculation: Speculation | None) -> Ints:
    """Steps in which ``tokens`` tokens come out, at the mean number per step.

    >>> decode_steps(np.array([0, 1, 9, 10]), Speculation(draft_tokens=1, acceptance=0.8)).tolist()
    [0, 1, 5, 6]
    """
    return tokens if speculation is None else np.ceil(tokens / speculation.emitted - 1e-9).astype(np.int64)


def context_lag(requests: Requests, speculation: Speculation | None) -> float:
    """Tokens by which contexts of visits lag behind the real ones, mean over all decode steps; 0 without speculation."""
    if speculation is None:
        return 0.0
    tokens = requests.output_tokens - 1
    steps = decode_steps(tokens, speculation)
    return float((steps * (tokens - steps)).sum() / 2 / max(steps.sum(), 1))
