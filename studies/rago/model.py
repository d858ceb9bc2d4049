"""RAGO's cost model (Jiang et al., ISCA 2025, arXiv 2503.14649) on the package's own counts of FLOP, bytes, links and retrieval.

A step on n chips: FLOP over n x peak x efficiency or bytes over n x bandwidth, whichever is longer; linear layers and attention of a
decode step apart, and summed. Tensor parallelism over tp of them adds two ring all-reduces a layer. Weights are int8 and computed at
the peak that the paper lists; the 120M encoder counts 2 x 120e6 FLOP a token; searching one request's own document is left out.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from mist_dse.analytic.filling import last_ttft, throughput
from mist_dse.catalog import Catalog
from mist_dse.perf.collective import Hop, Span, ring_all_reduce_time
from mist_dse.perf.load import StepLoad, Work, attended_pairs, kv_bytes_per_token, step_load, weight_bytes
from mist_dse.perf.retrieval import batch_time, queries_per_second
from mist_dse.specs.design import Datatypes, Parallelism
from mist_dse.specs.hardware import Host
from mist_dse.specs.model import ModelSpec
from mist_dse.specs.retrieval import Index

BOOK = Catalog()
XPU = BOOK.accelerator("rago_xpu_c")
SMALL, LARGE, ENCODER = BOOK.model("llama-3-8b"), BOOK.model("llama-3-70b"), BOOK.model("encoder-120m")
INT8 = Datatypes(weight="int8", kv="bf16", compute="int8")
HOST = Host(name="RAGO host", vendor="AMD", year=2025, cores=96, fp32=8.1e12, memory=384e9, memory_bandwidth=460e9, pq_scan=18e9)
XPUS_PER_HOST = 4
CORPUS = Index(kind="scann", vectors=64 * 10**9, dimensions=768, code_bytes=96, n_list=10**6, n_probe=1000, imbalance=1, coarse="none")
"""64 billion vectors of 96 bytes, of which a query scans 0.1%: leaves of the tree only."""

PROMPT, ANSWER, QUESTION = 512, 256, 32
ENCODER_EFFICIENCY = 0.86
"""Share of the peak at which the encoder's 19.0 ms a pair of documents give Table 4."""

POWERS = tuple(2**i for i in range(8))


class Chips(NamedTuple):
    """``count`` chips in tensor-parallel rings of ``tp``; ``exposed``: the rings' bytes take time, and not their hops alone."""

    count: float
    tp: int = 1
    efficiency: float = 1.0
    exposed: bool = False


class Plan(NamedTuple):
    """A schedule of Case II as Table 4 prints it: batches of encoder, prefix and decode, and their chips."""

    batches: tuple[int, int, int]
    encode: Chips
    prefix: Chips
    decode: Chips
    collocated: bool = False


TABLE_4 = {
    "RAGO, most QPS/chip": Plan((2, 128, 1024), Chips(64, efficiency=ENCODER_EFFICIENCY), Chips(16), Chips(16)),
    "baseline, most QPS/chip": Plan((2, 128, 256), Chips(64, efficiency=ENCODER_EFFICIENCY), Chips(64, 64), Chips(64), collocated=True),
    "least TTFT": Plan((1, 1, 128), Chips(64, efficiency=ENCODER_EFFICIENCY), Chips(64, 64, exposed=True), Chips(64), collocated=True),
}


def work_of(model: ModelSpec, **work: float) -> StepLoad:
    """FLOP and bytes of a step of the whole model."""
    return step_load(model, Parallelism(), INT8, Work(**work))


def roofline(flop: float, moved: float, chips: Chips) -> float:
    """Seconds of FLOP and bytes spread over the chips."""
    return max(flop / (XPU.peaks.at("bf16") * chips.efficiency), moved / XPU.memory_bandwidth) / chips.count


def ring_time(model: ModelSpec, chips: Chips, tokens: float) -> float:
    """Seconds of all all-reduces of a step of ``tokens`` tokens, spread over the chips' rings; activations of one byte."""
    link = XPU.scale_up
    hop = Hop(link.name, link.bandwidth * link.efficiency if chips.exposed else np.inf, link.latency)
    size = tokens * chips.tp / chips.count * model.hidden
    return 2 * model.layers * float(ring_all_reduce_time(Span(chips.tp, hop), size))


def prefix_time(model: ModelSpec, chips: Chips, *, batch: int = 1, tokens: float = PROMPT, causal: bool = True) -> float:
    """Seconds to read ``batch`` prompts; each position attends to those before it, or (not ``causal``) to all."""
    pairs = attended_pairs(tokens, 0) if causal else tokens * tokens
    load = work_of(model, tokens=batch * tokens, sequences=batch, pairs=batch * pairs)
    return roofline(load.flop, load.weight_bytes, chips) + ring_time(model, chips, batch * tokens)


def decode_time(model: ModelSpec, chips: Chips, *, batch: int, context: float) -> float:
    """Seconds of one token of ``batch`` sequences; the efficiency is that of arithmetic alone."""
    load = work_of(model, tokens=batch, sequences=batch, contexts=batch * context)
    linear = roofline(load.linear_flop + load.head_flop, load.weight_bytes, chips)
    return linear + roofline(load.attention_flop, load.kv_bytes, chips) + ring_time(model, chips, batch)


def encode_time(chips: Chips, *, batch: int, tokens: float) -> float:
    """Seconds to encode ``batch`` documents of ``tokens`` tokens; every chip takes its own passages."""
    return roofline(2.0 * ENCODER.published_total * batch * tokens, 0.0, chips)


def answers_per_second(model: ModelSpec, chips: Chips, *, batch: int, prompt: float = PROMPT, answer: float = ANSWER) -> float:
    """Sequences of ``answer`` tokens that decode at ``batch`` gives per second, at their mean context."""
    return batch / (answer * decode_time(model, chips, batch=batch, context=prompt + answer / 2))


def figures(plan: Plan, document: float = 1e6) -> tuple[float, float]:
    """(TTFT of the last request of the largest batch, QPS per chip) of a plan of Case II."""
    encode, prefix, decode = plan.batches
    times = np.array([encode_time(plan.encode, batch=encode, tokens=document), prefix_time(LARGE, plan.prefix, batch=prefix)])
    groups = [0, 0] if plan.collocated else None
    chips = plan.decode.count + plan.encode.count + (0 if plan.collocated else plan.prefix.count)
    rate = min(float(throughput(np.array([encode, prefix]), times, groups)), answers_per_second(LARGE, plan.decode, batch=decode))
    return float(last_ttft(np.array([encode, prefix]), times, groups)), rate / chips


def allocations(groups: int, budget: int = 128) -> list[tuple[int, ...]]:
    """Powers of two per group that sum to at most ``budget``."""
    return [counts for counts in product(POWERS, repeat=groups) if sum(counts) <= budget]


def best_decode(chips: int) -> float:
    """Most answers per second over batches of powers of two whose weights and KV cache the chips hold."""
    free = chips * XPU.memory - weight_bytes(LARGE, Parallelism(), INT8)
    each = (PROMPT + ANSWER) * kv_bytes_per_token(LARGE, Parallelism(), INT8)
    return max(answers_per_second(LARGE, Chips(chips), batch=2**i) for i in range(11) if 2**i * each <= free)


def sensitivity(*, collocated: bool) -> float:
    """Case II at 1M tokens: best QPS per chip over the worst, over all allocations, each with its best batches."""
    encode = encode_time(Chips(1, efficiency=ENCODER_EFFICIENCY), batch=1, tokens=1e6)  # chip-seconds of a request
    prefix = prefix_time(LARGE, Chips(1), batch=128) / 128
    decode = {chips: best_decode(chips) for chips in POWERS}
    if collocated:
        rates = [min(first / (encode + prefix), decode[last]) / (first + last) for first, last in allocations(2)]
    else:
        rates = [min(a / encode, b / prefix, decode[c]) / (a + b + c) for a, b, c in allocations(3)]
    return max(rates) / min(rates)


def search_time(queries: int = 1, hosts: int = 32) -> float:
    """Seconds until the last of ``queries`` is answered by the corpus."""
    return float(batch_time(CORPUS, HOST, queries, hosts=hosts))


def search_rate(hosts: int = 32) -> float:
    """Queries per second at most."""
    return float(queries_per_second(CORPUS, HOST, hosts=hosts))


def search_chip_time(hosts: int = 32) -> float:
    """Seconds of a chip that one query costs, as hosts come with four chips each."""
    return XPUS_PER_HOST * hosts / search_rate(hosts)


def chip_time(model: ModelSpec, prompt: float, answer: float, efficiency: tuple[float, float] = (1.0, 1.0)) -> float:
    """Seconds of a chip that one answer costs in large batches; ``efficiency`` of prefix and decode."""
    read = prefix_time(model, Chips(1, efficiency=efficiency[0]), batch=128, tokens=prompt) / 128
    return read + 1 / answers_per_second(model, Chips(1, efficiency=efficiency[1]), batch=512, prompt=prompt, answer=answer)


def search_share(
    model: ModelSpec, prompt: float, answer: float, *, queries: int = 1, efficiency: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Share of time x chips that retrieval takes (Figure 7)."""
    search = queries * search_chip_time()
    return search / (search + chip_time(model, prompt, answer, efficiency))


def rewriter_factor(model: ModelSpec) -> float:
    """Case IV: least TTFT with an 8B rewriter (reads 32 tokens, writes 32) over that without, each at the best tensor parallelism."""
    rings = [Chips(2**i, 2**i) for i in range(7)]
    rest = search_time() + min(prefix_time(model, ring) for ring in rings)
    rewrite = min(prefix_time(SMALL, ring, tokens=QUESTION) for ring in rings)
    write = QUESTION * min(decode_time(SMALL, ring, batch=1, context=1.5 * QUESTION) for ring in rings)
    return (rest + rewrite + write) / rest
