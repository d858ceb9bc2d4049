"""One pool as the machine sees it: its engine row, step tables and slopes, or why it cannot be.

``role``: ``both`` (prefill and decode), ``prefill`` or ``decode``. Requests enter through the front end of the pool that
prefills; a decode pool is fed by hand-offs and has none.
"""

import math
from typing import Any, NamedTuple

from mist_dse.perf.capacity import kv_blocks
from mist_dse.perf.step import provenance
from mist_dse.rows import Engine, Load, StepCost
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import BATCHING_POLICIES, PACKINGS, ROUTERS, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Topology
from mist_dse.stages.step_cost import step_cost, step_slopes

ROLES = ("both", "prefill", "decode")
"""What a pool does for a request."""

UNKNOWN_CONTEXT = 131_072
"""Longest sequence of a model whose card names none."""


class PoolRow(NamedTuple):
    """Rows of one engine pool, and where their numbers come from."""

    engine: Engine
    cost: StepCost
    load: Load
    provenance: dict[str, Any]


def lower_pool(pool: Pool, topology: Topology, *, role: str, longest: int, lag: float = 0.0) -> PoolRow | Infeasible:
    """The rows of one pool. ``longest``: longest prompt in the requests, which whole-prompt policies must tabulate; ``lag``:
    `stages.decode.context_lag` of its visits.

    `Infeasible` where weights leave no room for KV or one engine is larger than the topology; ``SpecError`` for a model that
    generates nothing or context parallelism, which has no model here.
    """
    _check(pool, role)
    if pool.parallelism.devices > topology.devices:
        text = f"pool {pool.name} needs {pool.parallelism.devices} devices for one engine, {topology.name} has {topology.devices}"
        return Infeasible(kind="topology", constraint=text, margin=pool.parallelism.devices / topology.devices - 1)
    blocks = kv_blocks(pool)
    if isinstance(blocks, Infeasible):
        return blocks
    limit = pool.engine.max_model_len or pool.model.max_context or UNKNOWN_CONTEXT
    held = min(limit, blocks * pool.engine.block_size)
    cost = step_cost(pool, topology, longest=longest, max_len=held, lag=lag)
    return PoolRow(_engine(pool, role, blocks, held), cost, step_slopes(pool, topology, cost), dict(provenance(pool)))


def _check(pool: Pool, role: str) -> None:
    if role not in ROLES:
        raise SpecError(f"role is {role!r}: must be one of {', '.join(ROLES)}")
    if pool.model.no_lm_head or pool.model.is_encoder:
        raise SpecError(
            f"Pool {pool.name}: {pool.model.name} has no output head, so it cannot {'prefill' if role == 'both' else role} for an answer"
        )
    if pool.parallelism.cp > 1:
        raise SpecError(f"Pool {pool.name}: cp is {pool.parallelism.cp}, and context parallelism is not modelled: must be 1")


def _engine(pool: Pool, role: str, blocks: int, held: int) -> Engine:
    profile, batching = pool.engine, pool.batching
    front_end, per_token, client = (0.0, 0.0, 0.0) if role == "decode" else (profile.front_end, profile.front_end_token, profile.client)
    return Engine(
        replicas=pool.replicas, ranks=pool.parallelism.dp, lanes=pool.parallelism.pp, policy=BATCHING_POLICIES.index(batching.policy),
        router=ROUTERS.index(pool.router), max_num_seqs=batching.max_num_seqs, max_num_batched_tokens=batching.max_num_batched_tokens,
        long_prefill_threshold=batching.long_prefill_threshold, blocks=blocks, block_size=profile.block_size,
        watermark=math.floor(profile.watermark * blocks), reserve_full=profile.reserve_full_isl, max_model_len=held,
        front_end=float(front_end), front_end_token=float(per_token), client=float(client),
        front_end_output=0.0 if role == "decode" else profile.front_end_output * _emitted(pool), reserve_output=profile.reserve_output,
        whole_prompts=profile.whole_prompts, stream_interval=profile.stream_interval, receive_interval=profile.receive_interval,
        wait_steps=profile.wait_steps, wait_tokens=_wait_tokens(pool), balance_steps=profile.balance_steps,
        packing=PACKINGS.index(batching.packing), caching=batching.prefix_caching, heavy_tokens=pool.routing.heavy_tokens,
        heavy_ranks=round(pool.routing.heavy_share * pool.replicas * pool.parallelism.dp), guard=float(pool.routing.guard),
        slack=pool.routing.slack,
    )  # fmt: skip


def _emitted(pool: Pool) -> float:
    """Tokens that a decode step emits per sequence."""
    return 1.0 if pool.speculation is None else pool.speculation.emitted


def _wait_tokens(pool: Pool) -> int:
    """The share of the token budget in tokens; the slack keeps 0.1 x 30 at 3."""
    return math.ceil(pool.engine.wait_fraction * pool.batching.max_num_batched_tokens - 1e-9)
