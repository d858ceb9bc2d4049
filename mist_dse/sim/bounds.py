"""What the tables of a pool come to at the longest sequences, and how many steps a run takes one by one."""

from typing import Any

import numpy as np

from mist_dse.rows import Engine, Floats, Jobs, Servers, StepCost
from mist_dse.sim.state import TICK

MOST_SECONDS = 2.0**32
"""136 years: beyond it a float64 clock ticks in microseconds, and steps of milliseconds are no longer told apart well."""


def extended(table: Floats, at: Any, end: float) -> Any:
    """The values of ``table`` at ``end``, which lies beyond ``at``, along its last slope; else its last values."""
    last = table[..., -1]
    if len(at) < 2 or end <= at[-1]:
        return last
    return last + (last - table[..., -2]) / (at[-1] - at[-2]) * (end - at[-1])


def least_step(engine: Engine, cost: StepCost, longest: int) -> float:
    """No decode step of sequences of up to ``longest`` tokens is shorter (s)."""
    decodes = cost.decode_step[1 : engine.max_num_seqs + 1]
    return float(np.minimum(decodes.min(), extended(decodes, cost.knots, min(longest, engine.max_model_len)).min()))


def step_count(servers: Servers, jobs: Jobs, number: int) -> float:
    """Steps of pool ``number`` that are taken one by one, as if every visit were alone."""
    engine, tokens = servers.engines[number], jobs.prompt + jobs.handed + jobs.limit
    mine = (jobs.server == number) & (tokens <= min(engine.max_model_len, engine.blocks * engine.block_size + 1))
    part = min(engine.long_prefill_threshold or engine.max_num_batched_tokens, engine.max_num_batched_tokens)
    steps = float(((jobs.prompt + jobs.handed - jobs.computed)[mine] / part).sum()) if engine.splits_prompts else 0.0
    short = least_step(engine, servers.costs[number], int(tokens[mine].max(initial=0))) <= TICK * MOST_SECONDS
    return steps + (float(jobs.emit[mine].sum()) if engine.ranks * engine.lanes > 1 or short else 0.0)
