"""A step taken apart, held against the tables of whole steps, the device's roofs, and counts of FLOP and bytes from model cards."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mist_dse import load_design
from mist_dse.catalog import Catalog
from mist_dse.explore.searches.meansteps import step_seconds
from mist_dse.perf import step
from mist_dse.perf.network import fabric
from mist_dse.specs.design import Datatypes, Parallelism, Pool
from mist_dse.specs.hardware import Topology
from mist_dse.stages import lower_pool
from mist_dse.stages.pool import PoolRow
from mist_dse.stages.step_parts import StepAsked, StepPart, step_parts

MODELS = ("llama-3.1-70b", "mixtral-8x7b", "deepseek-v3", "gemma-3-27b", "gpt-oss-120b", "qwen3-235b-a22b")
LAUNCHED = ("deepseek-v3.2", "qwen3.5-397b-a17b")
"""Models whose prompts may wait for the host to launch many small kernels."""

STEPS = [(1, 0), (16, 0), (64, 0), (16, 1250), (0, 1250), (100, 4000)]
NEW, STANDING = np.array([500.0, 2000.0]), np.array([0.0, 100.0])


@cache
def catalog() -> Catalog:
    return Catalog()


def pool_of(model: str, accelerator: str = "b200", engine: str = "vllm", dp: int = 1) -> tuple[Pool, Topology]:
    design, spec = load_design("tp8_colocated"), catalog().model(model)
    layout = Parallelism(tp=8 // dp, dp=dp, ep=dp if spec.experts else 1)
    narrow = Datatypes(weight="fp8", kv="fp8", compute="fp8")
    pool = replace(design.pools[0], model=spec, accelerator=catalog().accelerator(accelerator), engine=catalog().engine(engine),
                   parallelism=layout, dtypes=narrow)  # fmt: skip
    return pool, design.topology


def asked(decodes: float, prompt_tokens: float) -> StepAsked:
    return StepAsked(float(decodes), 1500.0, float(prompt_tokens), NEW, STANDING)


def taken_apart(pool: Pool, topology: Topology, work: StepAsked) -> tuple[tuple[StepPart, ...], float]:
    """The parts of a step, and its seconds by the tables."""
    row = lower_pool(pool, topology, role="both", longest=8192)
    assert isinstance(row, PoolRow)
    return step_parts(pool, fabric(pool.accelerator, topology), work), step_seconds(row.cost, pool.parallelism.dp, work)


def fixed(pool: Pool, topology: Topology, work: StepAsked, parts: tuple[StepPart, ...]) -> float:
    """Seconds of a step that no operator takes, by the engine's profile: host, residue, sampling and the logits' gather."""
    rows, engine = (work.decodes + work.prompts) * pool.verified, pool.engine
    product = sum(part.seconds for part in parts if part.name.startswith("output head"))
    head = float(step.head_time(pool, fabric(pool.accelerator, topology), rows)) - product
    host = engine.host_step + engine.host_sequence * (work.decodes + work.prompts) + (engine.host_prefill if work.prompt_tokens else 0.0)
    return head + engine.residue + engine.residue_sequence * rows + (0.0 if engine.async_scheduling else host)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("dp", [1, 8])
@pytest.mark.parametrize("model", MODELS)
def test_operators_and_fixed_times_make_the_step_of_the_tables(model: str, dp: int, engine: str) -> None:
    pool, topology = pool_of(model, engine=engine, dp=dp)
    for decodes, prompt_tokens in STEPS:
        work = asked(decodes, prompt_tokens)
        parts, whole = taken_apart(pool, topology, work)
        assert sum(part.seconds for part in parts) + fixed(pool, topology, work, parts) == pytest.approx(whole, rel=0.02)


@pytest.mark.parametrize("accelerator", ["h200", "b200", "mi300x"])
@pytest.mark.parametrize("model", [*MODELS, *LAUNCHED])
def test_no_operator_is_above_a_roof(model: str, accelerator: str) -> None:
    pool, topology = pool_of(model, accelerator, dp=8 if model == "qwen3-235b-a22b" else 1)
    device = pool.accelerator
    for decodes, prompt_tokens in STEPS:
        for part in step_parts(pool, fabric(device, topology), asked(decodes, prompt_tokens)):
            assert part.seconds > 0
            if part.flop:
                assert part.flop / part.seconds <= device.peaks.at(part.dtype)
            assert part.moved / part.seconds <= device.memory_bandwidth


@pytest.mark.parametrize("model", LAUNCHED)
def test_operators_take_no_longer_than_a_step_that_waits_for_launches(model: str) -> None:
    pool, topology = pool_of(model)
    for decodes, prompt_tokens in STEPS:
        parts, whole = taken_apart(pool, topology, asked(decodes, prompt_tokens))
        assert sum(part.seconds for part in parts) <= whole * (1 + 1e-9)


def test_products_of_a_dense_model_count_two_flop_per_parameter_and_row() -> None:
    """Llama-3.1-70B: 70.55e9 parameters, of which 128,256 x 8,192 embed tokens and add nothing up (its model card)."""
    pool, topology = pool_of("llama-3.1-70b")
    parts = step_parts(pool, fabric(pool.accelerator, topology), asked(64, 0))
    flop = sum(part.flop for part in parts if part.kind == "product")
    assert flop * 8 == pytest.approx(2 * 64 * (70.55e9 - 128_256 * 8_192), rel=2e-3)
    weights = sum(part.moved for part in step_parts(pool, fabric(pool.accelerator, topology), asked(1, 0)) if part.kind == "product")
    head = 128_256 * 8_192
    assert weights * 8 == pytest.approx((70.55e9 - 2 * head) + 2 * head, rel=5e-3)  # one byte per weight, two in the output head


def test_attention_of_decodes_reads_the_cache_once() -> None:
    """Llama-3.1-70B: 80 layers, 8 key-value heads of 128, keys and values, one byte each; 64 heads share 4 FLOP a value pair."""
    pool, topology = pool_of("llama-3.1-70b")
    part = next(part for part in step_parts(pool, fabric(pool.accelerator, topology), asked(10, 0)) if part.name == "decode attention")
    assert part.moved * 8 == pytest.approx(10 * 1500 * 80 * 2 * 8 * 128)
    assert part.flop * 8 == pytest.approx(10 * 1500 * 80 * 4 * 64 * 128)


def test_attention_of_prompts_is_causal() -> None:
    pool, topology = pool_of("llama-3.1-70b")
    work = StepAsked(0.0, 0.0, 3000.0, np.array([1000.0]), np.array([0.0]))
    part = next(part for part in step_parts(pool, fabric(pool.accelerator, topology), work) if part.name == "prompt attention")
    assert part.flop * 8 == pytest.approx(3 * 80 * 4 * 64 * 128 * 1000**2 / 2)


def test_collectives_hide_behind_computing_as_far_as_the_engine_says() -> None:
    pool, topology = pool_of("llama-3.1-70b")
    sent = {}
    for overlap in (0.0, 1.0):
        engine = replace(pool.engine, overlap=overlap)
        parts = step_parts(replace(pool, engine=engine), fabric(pool.accelerator, topology), asked(16, 0))
        sent[overlap] = sum(part.seconds for part in parts if part.kind == "collective")
    assert sent[0.0] == pytest.approx(float(step.communication_time(pool, fabric(pool.accelerator, topology), 16.0)))
    assert sent[1.0] == 0.0


@pytest.mark.parametrize("prompt_tokens", [0, 1250])
def test_partly_hidden_collectives_leave_the_step_of_the_tables(prompt_tokens: float) -> None:
    pool, topology = pool_of("llama-3.1-70b", "h200")
    pool = replace(pool, engine=replace(pool.engine, overlap=0.8, linear_factor=0.02, prefill_factor=2.0))
    work = asked(16, prompt_tokens)
    parts, whole = taken_apart(pool, topology, work)
    assert sum(part.seconds for part in parts) + fixed(pool, topology, work, parts) == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("dp", [1, 8])
def test_experts_count_their_active_parameters_and_read_each_that_is_hit_once(dp: int) -> None:
    """Mixtral 8x7B: 32 layers, 8 experts of three 4,096 x 14,336 matrices, of which a token takes two (arXiv 2401.04088); fp8 weights."""
    pool, topology = pool_of("mixtral-8x7b", dp=dp)
    part = next(part for part in step_parts(pool, fabric(pool.accelerator, topology), asked(64, 0)) if part.kind == "experts")
    expert, tokens = 3 * 4_096 * 14_336, 64 * dp  # of all ranks together
    assert part.flop * 8 == pytest.approx(2 * 32 * 2 * expert * tokens)
    assert part.moved * 8 == pytest.approx(32 * 8 * expert, rel=1e-3)
