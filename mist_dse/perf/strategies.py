"""What strategies of inference are worth on paper: speculation, parallel branches, routing and cascades, partly recomputed caches.

    speculation   speed-up E / (g c + v): E tokens out of a step, g guesses at c of a step each, the step that verifies v times as long
                  as a plain one (Leviathan et al. 2023, arXiv 2211.17192, theorem 3.8, with v = 1)
    branches      KV tokens P + B O where B branches of O tokens share a prompt of P, else B (P + O); the slowest of B normal lengths is
                  mean + sigma x E[max of B standard normals] (Tippett 1925)
    routing       c_r + p c_s + (1 - p) c_w: a router sends a share p to the strong model (RouteLLM, arXiv 2406.18665)
    cascade       c_w + c_score + p c_s: the weak model answers first and a share p goes on (FrugalGPT, arXiv 2305.05176)
    cache blend   a share max(15%, T_load / T_prefill) of a reused cache is computed again, hidden behind loading the rest
                  (Yao et al., CacheBlend, arXiv 2405.16444)

Costs are in any unit, money or device seconds. How often a model must escalate is the user's: quality is not predicted.
"""

import math

import numpy as np

from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Speculation

BLEND_LEAST = 0.15
"""Share of tokens that CacheBlend computes again at least, for the answer's quality."""

_GRID = np.linspace(-12.0, 12.0, 6001)


def speculative_speed_up(speculation: Speculation, *, verify: float = 1.0) -> float:
    """Tokens per second over those of plain decoding; ``verify``: a step of g + 1 tokens over a plain one, 1 while memory bound.

    Below 1 speculation loses.

    >>> round(speculative_speed_up(Speculation(draft_tokens=5, acceptance=0.8, draft_share=0.05)), 4)
    2.9514
    """
    if speculation.draft_share is None:
        raise SpecError("Speculation.draft_share is not given: the speed-up needs the seconds of a draft step over those of a plain step")
    return speculation.emitted / (speculation.draft_tokens * speculation.draft_share + verify)


def branch_kv_tokens(prompt: float, output: float, branches: int, *, shared: bool = True) -> float:
    """KV tokens of ``branches`` answers of ``output`` tokens to one prompt; ``shared``: its blocks are held once.

    >>> branch_kv_tokens(4096, 2000, 8), branch_kv_tokens(4096, 2000, 8, shared=False)
    (20096, 48768)
    """
    return (prompt if shared else branches * prompt) + branches * output


def normal_maximum(count: int) -> float:
    """Mean of the largest of ``count`` standard normals.

    >>> round(normal_maximum(2), 6), round(normal_maximum(8), 4)  # 1 / sqrt(pi), 1.4236
    (0.56419, 1.4236)
    """
    if count < 1:
        raise SpecError(f"count is {count}: must be at least 1")
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in _GRID]) ** count
    return float(_GRID[-1] - np.trapezoid(below, _GRID))


def routed_cost(weak: float, strong: float, share: float, *, router: float = 0.0) -> float:
    """Mean cost of a request where a router sends ``share`` of them to the strong model and the rest to the weak one."""
    return router + share * strong + (1 - share) * weak


def cascade_cost(weak: float, strong: float, share: float, *, score: float = 0.0) -> float:
    """Mean cost of a request that the weak model answers first; a judge of cost ``score`` sends ``share`` on to the strong one.

    >>> round(cascade_cost(0.1, 15.0, 0.2), 9)
    3.1
    """
    return weak + score + share * strong


def blend_share(load: float, prefill: float) -> float:
    """Share of a reused cache's tokens to compute again: what hides behind loading it, at least `BLEND_LEAST`, at most all.

    ``load``: seconds to load the cache; ``prefill``: seconds to compute all of it.

    >>> blend_share(0.2, 0.5), blend_share(0.01, 0.5), blend_share(2.0, 0.5)
    (0.4, 0.15, 1.0)
    """
    return min(max(BLEND_LEAST, load / prefill), 1.0)
