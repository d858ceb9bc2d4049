"""Five places for the KV cache of 128 clients (HERMES, arXiv 2504.09775v2, figure 15; MIST, table T4), as rows of the simulator.

A client is two H100 with Llama-3.1-70B that compute one prompt after another at 0.6 of their peak. The KV cache of a request's context lies
in the unit that its home client belongs to, and comes over that unit's link, one transfer after another; then the least loaded client of
the unit computes the rest. Without contention every transfer has the link to itself. With capacity, contexts of one corpus of 10^10 tokens
are asked for by Zipf's law (exponent 1) and found as often as an LRU store of the unit's size finds them; the others are computed.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from mist_dse import rows
from mist_dse.catalog import Catalog
from mist_dse.perf.load import linear_flop_per_token
from mist_dse.perf.shapes import head_matrix
from mist_dse.perf.tiers import block_bytes, lru_hit_rate, utilisation, whole_blocks, zipf
from mist_dse.requests import realise
from mist_dse.sim import simulate
from mist_dse.specs.design import Datatypes, Parallelism
from mist_dse.stages.visits import Link, Slot, jobs

CLIENTS, REQUESTS, SEEDS = 128, 15_000, (1, 2)
CORPUS, MEMORY = 10**10, 1e12
"""Tokens of all contexts together, and bytes that each client brings."""

MODEL, CHIP = Catalog().model("llama-3.1-70b"), Catalog().accelerator("h100_sxm")
DTYPES = Datatypes()
SPEED = 2 * CHIP.peaks.at("bf16") * 0.6
"""FLOP/s of a client: 0.6 is what the differences between E and A in T4 imply (0.58 to 0.66)."""

ENDLESS = 2**40


class Store(NamedTuple):
    """``clients`` share one link of ``rate`` B/s; who reads over it finds what ``reach`` clients keep; 0 clients: nothing is kept."""

    clients: int
    rate: float = 1.0
    latency: float = 0.0
    reach: int = 0


HERMES = {"A": Store(1, 128e9, 0.0, 1), "B": Store(4, 32e9, 0.0, 4), "C": Store(32, 2e9, 0.0, 32),
          "C+DCN": Store(32, 128e9, 20e-3, 128), "recompute": Store(0)}  # fmt: skip
"""The paper's second version. C+DCN: a rack reads what the whole fleet keeps over its port of the data-centre network."""

MIST = {"A": Store(1, 128e9, 0.6e-3, 1), "B": Store(4, 16e9, 1.1e-3, 4), "C": Store(32, 8e9, 7e-3, 32),
        "C+DCN": Store(32, 1e9, 22e-3, 128), "recompute": Store(0)}  # fmt: skip
"""T4 as its code has it, latencies of memory and link added: the data-centre network at 1 GB/s, though the paper says 128."""


class World(NamedTuple):
    """What is modelled beside the bare links."""

    contention: bool
    capacity: bool


def context_bytes(tokens: int) -> float:
    """KV cache of a context."""
    return float(block_bytes(MODEL, DTYPES, tokens))


@cache
def hit_rate(store: Store, tokens: int, *, capacity: bool) -> float:
    """Chance that a context is found."""
    if store.clients == 0 or not capacity:
        return float(store.clients > 0)
    return lru_hit_rate(zipf(CORPUS // tokens, 1.0), whole_blocks(store.reach * MEMORY, context_bytes(tokens)))


def link_load(store: Store, tokens: int, rate: float, *, capacity: bool) -> float:
    """Share of time that a link is busy at ``rate`` requests/s of all clients; from 1 on it never catches up."""
    asked = rate * store.clients / CLIENTS * hit_rate(store, tokens, capacity=capacity)
    return float(utilisation(asked, context_bytes(tokens) / store.rate))


def first_tokens(store: Store, tokens: int, rate: float, world: World, seed: int) -> rows.Floats:
    """Time to first token of every request."""
    asked = arrivals(rate, seed)
    draw = np.random.default_rng(seed)
    home, luck = draw.integers(CLIENTS, size=REQUESTS), draw.random(REQUESTS)
    found = luck < hit_rate(store, tokens, capacity=world.capacity)
    unit = home // store.clients if store.clients else 0 * home
    servers = _servers(store, world)
    prompt = asked.input_tokens + tokens
    fetch = Slot(server=len(servers.engines) + unit, stage=0, work=context_bytes(tokens), present=found)
    compute = Slot(server=unit, stage=1, prompt=prompt, computed=np.where(found, tokens, 0), emit=1, limit=1, answers=1)
    table, _ = jobs((fetch, compute), (Link(0, 1),), REQUESTS)
    one = asked._replace(input_tokens=prompt, output_tokens=np.ones(REQUESTS, np.int64), max_tokens=np.ones(REQUESTS, np.int64))
    records = simulate(servers, table, one)
    return np.asarray(records.first_token - records.arrival)


@cache
def arrivals(rate: float, seed: int) -> rows.Requests:
    """Poisson arrivals with prompts as in the Azure conversation trace, the same for all architectures."""
    return realise(Catalog().workload("azure_conv", kind="poisson", rate=rate, requests=REQUESTS, cv=1.0).with_seed(seed))


@cache
def p90(store: Store, tokens: int, rate: float, world: World) -> float:
    """90th percentile of the time to first token, averaged over `SEEDS`."""
    return float(np.mean([np.percentile(first_tokens(store, tokens, rate, world, seed), 90) for seed in SEEDS]))


def prefill_seconds() -> tuple[float, float, float]:
    """Seconds of a client for one output head, for a token through the linear layers, and for a squared token of attention."""
    head = 2.0 * head_matrix(MODEL, Parallelism(), DTYPES).parameters / SPEED
    linear = float(linear_flop_per_token(MODEL, Parallelism(), DTYPES)) / SPEED
    return head, linear, 2.0 * MODEL.heads * MODEL.head_dim * MODEL.layers / SPEED


def _servers(store: Store, world: World) -> rows.Servers:
    """One pool of clients and one link for each unit."""
    size = store.clients or CLIENTS
    units = CLIENTS // size
    head, linear, quad = prefill_seconds()
    engine = rows.Engine(replicas=size, ranks=1, lanes=1, policy=rows.CONTINUOUS, router=rows.LEAST_TOKENS, max_num_seqs=1,
                         max_num_batched_tokens=2**20, long_prefill_threshold=0, blocks=4, block_size=2**17, watermark=0,
                         reserve_full=False, max_model_len=2**18, front_end=0.0, front_end_token=0.0, client=0.0)  # fmt: skip
    flat = np.full((2, 2), head)
    cost = rows.StepCost(token_time=head + linear * np.arange(3.0), sequence_time=np.zeros(2), decode_attention=np.zeros((2, 2)),
                         decode_step=flat, knots=np.array([0.0, 1.0]), quad=quad, window_quad=0.0, window=0.0, read=0.0,
                         prefill_overhead=0.0, mixing=1.0, host_step=0.0, host_sequence=0.0, host_prefill=0.0, asynchronous=False,
                         stage_share=1.0)  # fmt: skip
    rate, slots = (store.rate, 1) if world.contention else (store.rate * ENDLESS, ENDLESS)
    link = rows.Station(rate=rate, cap=store.rate, slots=slots, latency=store.latency)
    idle = rows.Load(*[0.0] * len(rows.Load._fields))
    names = tuple(f"{kind} {unit}" for kind in ("clients", "link") for unit in range(units))
    return rows.Servers((engine,) * units, (cost,) * units, (idle,) * units, (link,) * units, names)
