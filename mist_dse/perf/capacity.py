"""KV blocks of an engine: (fraction x visible memory - weights - reserve - recurrent states) / block bytes.

Engines that take a fraction of what is free once the weights are loaded (TensorRT-LLM: free_gpu_memory_fraction):
fraction x (visible memory - weights - reserve) - states. The fullest pipeline stage decides. ``reserve`` of the engine
profile holds activations, graphs and workspaces. A model that leaves no block is `Infeasible` with the missing bytes over
what is available.
"""

import math
from collections.abc import Sequence

from mist_dse.perf.load import kv_bytes_per_token, stage_weight_bytes, weight_bytes
from mist_dse.perf.shapes import linear_state_bytes
from mist_dse.specs.design import Datatypes, Parallelism, Pool
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.hardware import Accelerator
from mist_dse.specs.service import Service
from mist_dse.units import format_quantity

VISIBLE_SHARE = 0.95
"""Visible over nominal memory where an accelerator's driver figure is unknown."""


def usable_memory(accelerator: Accelerator) -> float:
    """Bytes that the driver reports, or 0.95 of nominal where unknown."""
    return accelerator.visible_memory if accelerator.visible_memory is not None else VISIBLE_SHARE * accelerator.memory


def kv_memory(pool: Pool) -> float:
    """Bytes left for KV blocks on a device of the fullest stage; negative when the weights do not fit."""
    states = pool.batching.max_num_seqs * linear_state_bytes(pool.model, pool.parallelism) / pool.parallelism.pp
    weights = stage_weight_bytes(pool.model, pool.parallelism, pool.dtypes)
    engine, usable = pool.engine, usable_memory(pool.accelerator)
    if engine.fraction_of_free:
        return engine.memory_fraction * (usable - weights - engine.reserve) - states
    return engine.memory_fraction * usable - weights - engine.reserve - states


def block_bytes(pool: Pool) -> float:
    """Bytes of one KV block on one device of one pipeline stage."""
    return pool.engine.block_size * kv_bytes_per_token(pool.model, pool.parallelism, pool.dtypes) / pool.parallelism.pp


def kv_blocks(pool: Pool) -> int | Infeasible:
    """KV blocks of one rank, or `Infeasible` of kind memory where not even one fits."""
    available = pool.engine.memory_fraction * usable_memory(pool.accelerator)
    missing = block_bytes(pool) - kv_memory(pool)
    if missing > 0:
        where = f"{pool.model.name} in {pool.dtypes.weight} on {pool.accelerator.name}, tp {pool.parallelism.tp}, pp {pool.parallelism.pp}"
        text = f"pool {pool.name}: {where}: {format_quantity(missing, 'B')} over the {format_quantity(available, 'B')} of each device"
        return Infeasible(kind="memory", constraint=text, margin=missing / available)
    return math.floor(kv_memory(pool) / block_bytes(pool))


def shared_reserve(pool: Pool, engines: Sequence[Pool], encoders: Sequence[Service]) -> float:
    """Bytes of a device that are not ``pool``'s KV where ``engines`` and ``encoders`` run on it, too, beside what its engine reserves.

    All weights come first; what is left of the pool's share is divided evenly among the engines.
    """
    taken = sum(stage_weight_bytes(other.model, other.parallelism, other.dtypes) for other in engines)
    taken += sum(weight_bytes(each.model, Parallelism(), Datatypes(weight=each.dtype)) for each in encoders if each.model is not None)
    left = kv_memory(pool) - taken
    return pool.engine.reserve + taken + max(left, 0.0) * len(engines) / (len(engines) + 1)
