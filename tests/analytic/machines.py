"""Machines built by hand: a roofline step cost, one or two pools, and the visits of a chat."""

from typing import Any

import numpy as np

from mist_dse.rows import CHUNKED, ON_END, ROUND_ROBIN, Engine, Jobs, Load, Requests, Servers, Station, StepCost

TOKENS, SEQUENCES = 8192, 256
BANDWIDTH, PEAK = 2.5e12, 600e12  # B/s, FLOP/s: about an H100 at fitted efficiency
WEIGHTS, FLOP, KV = 16e9, 16e9, 131072.0  # B, FLOP per token, B per token: an 8B model in bf16
PAIR = 4.0 * 32 * 4096 / PEAK  # s per attended pair: 4 FLOP, 32 layers, width 4096


def cost(**changes: Any) -> StepCost:
    """t0 + max(weights, FLOP) for tokens, KV bytes for contexts, constant host time; padding to 8 in pure decode."""
    t = np.arange(TOKENS + 1, dtype=float)
    token_time = np.where(t > 0, 5e-4 + np.maximum(WEIGHTS / BANDWIDTH, FLOP * t / PEAK), 0.0)
    s = np.arange(SEQUENCES + 1)
    knots = np.array([0.0, 1000.0, 10_000.0, 100_000.0])
    attention = s[:, None] * knots[None, :] * KV / BANDWIDTH
    padded = np.where(s > 4, -(-s // 8) * 8, s)
    sequence_time = 1e-4 + 1e-6 * s
    host = 1.5e-3 + 15e-6 * s
    step = (token_time[padded] + sequence_time + host)[:, None] + attention
    step[0] = 0.0
    row = StepCost(
        token_time=token_time, sequence_time=sequence_time, decode_attention=attention, decode_step=step, knots=knots, quad=PAIR / 2,
        window_quad=0.0, window=1e9, read=KV / BANDWIDTH, prefill_overhead=2e-4, mixing=1.2, host_step=1.5e-3, host_sequence=15e-6,
        host_prefill=8e-4, asynchronous=False, stage_share=1.0,
    )  # fmt: skip
    return row._replace(**changes)


def sharing(ranks: int) -> StepCost:
    """`cost` with half of the weights and FLOP in work that all ranks share."""
    row, tokens = cost(), np.arange(4 * TOKENS + 1, dtype=float)
    shared = np.where(tokens > 0, 2.5e-4 + 0.5 * np.maximum(WEIGHTS / BANDWIDTH, FLOP * tokens / ranks / PEAK), 0.0)
    own = np.where(row.token_time > 0, 0.5 * row.token_time, 0.0)
    s = np.arange(SEQUENCES + 1)
    step = np.where(s > 0, own[s] + row.sequence_time, 0.0)[:, None] + row.decode_attention
    return row._replace(token_time=own, decode_step=step, shared_time=np.stack([shared, 1.1 * shared]))


def load() -> Load:
    """Slopes of `cost` at speed of light (a third faster) and as charged."""
    return Load(
        flop_seconds_token=FLOP / 989e12, flop_seconds_pair=PAIR * PEAK / 989e12, byte_seconds_step=WEIGHTS / 3.35e12,
        byte_seconds_context=KV / 3.35e12, link_seconds_token=0.0, token_fit=FLOP / PEAK, pair_fit=PAIR, context_fit=KV / BANDWIDTH,
    )  # fmt: skip


def engine(**changes: Any) -> Engine:
    """One replica, chunked, round robin, no front end."""
    row = Engine(
        replicas=1, ranks=1, lanes=1, policy=CHUNKED, router=ROUND_ROBIN, max_num_seqs=SEQUENCES, max_num_batched_tokens=2048,
        long_prefill_threshold=0, blocks=25_000, block_size=16, watermark=0, reserve_full=True, max_model_len=131_072, front_end=0.0,
        front_end_token=0.0, client=0.0,
    )  # fmt: skip
    return row._replace(**changes)


def colocated(*, step: StepCost | None = None, **changes: Any) -> Servers:
    """One pool that prefills and decodes."""
    return Servers((engine(**changes),), (step or cost(),), (load(),), (), ("chat",))


def split(prefill: dict[str, Any], decode: dict[str, Any], link: float = 50e9) -> Servers:
    """A prefill pool and a decode pool over a shared link of bytes."""
    return Servers(
        (engine(**prefill), engine(**decode)), (cost(), cost()), (load(), load()), (Station(link, link, 2**31, 1e-3),),
        ("prefill", "decode", "handoff"),
    )  # fmt: skip


def requests(arrival: Any, prompt: Any, answer: Any, *, clients: int = 0) -> Requests:
    """Realised requests; scalars are repeated."""
    at = np.asarray(arrival, dtype=float)
    count = len(at)
    lengths = [np.broadcast_to(np.asarray(value, dtype=np.int64), count).copy() for value in (prompt, answer)]
    return Requests(at, *lengths, lengths[1], np.zeros(count, np.int64), np.zeros(count), clients, np.nan)


def drawn(count: int, rate: float, *, prompt: float = 1000.0, answer: float = 200.0, sigma: float = 0.8, seed: int = 1) -> Requests:
    """Poisson arrivals at a realised ``rate``, log-normal lengths."""
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.exponential(size=count))
    lengths = [np.clip(generator.lognormal(np.log(mean) - sigma**2 / 2, sigma, count), 2, 30_000) for mean in (prompt, answer)]
    return requests(times * count / times[-1] / rate, lengths[0].astype(np.int64), lengths[1].astype(np.int64))


def _jobs(count: int, slots: int, **columns: Any) -> Jobs:
    visits = count * slots
    needed = [name for name in Jobs._fields if name not in Jobs._field_defaults]
    defaults: dict[str, Any] = dict.fromkeys(needed, 0) | {"lease": -1, "frees": -1, "first": np.arange(0, visits + 1, slots)}
    defaults |= {"edge_first": np.zeros(visits + 1), "edge_to": np.zeros(0), "edge_on": np.zeros(0)}
    kinds = {"handed": np.int8, "keep": np.int8, "answers": np.int8, "work": np.float64, "edge_on": np.int8}
    table = defaults | columns
    whole = ("first", "edge_first", "edge_to", "edge_on")
    rows = {name: table[name] if name in whole else np.broadcast_to(table[name], visits) for name in needed}
    return Jobs(**{name: np.array(row, kinds.get(name, np.int64)) for name, row in rows.items()})


def chat(asked: Requests) -> Jobs:
    """One visit per request."""
    return _jobs(len(asked.arrival), 1, prompt=asked.input_tokens, computed=asked.cached_tokens, emit=asked.output_tokens,
                 limit=asked.max_tokens, answers=1)  # fmt: skip


def handed_chat(asked: Requests, *, first_token_from: str = "prefill") -> Jobs:
    """Prefill, transfer of the whole KV cache, decode; answers have at least two tokens."""
    count = len(asked.arrival)
    known = first_token_from == "prefill"
    zero = np.zeros(count, np.int64)
    base = 3 * np.arange(count)

    def woven(*columns: Any) -> Any:
        return np.stack([np.broadcast_to(column, count) for column in columns], axis=1).ravel()

    emit = asked.output_tokens - known
    return _jobs(
        count, 3, server=woven(0, 2, 1), prompt=woven(asked.input_tokens, zero, asked.input_tokens), emit=woven(1, 0, emit),
        limit=woven(1, 0, emit),
        computed=woven(0, 0, asked.input_tokens), handed=woven(0, 0, 1), work=woven(0, asked.input_tokens * KV, 0), need=woven(0, 1, 1),
        lease=woven(-1, base + 2, -1), keep=woven(1, 0, 0), frees=woven(-1, base, -1), answers=woven(int(known), 0, 1),
        edge_first=np.append(woven(2 * np.arange(count), 2 * np.arange(count) + 1, 2 * np.arange(count) + 2), 2 * count),
        edge_to=np.stack([base + 1, base + 2], axis=1).ravel(), edge_on=np.full(2 * count, ON_END),
    )  # fmt: skip
