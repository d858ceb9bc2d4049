"""Step times against served models, and laws of the parts of a step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.perf import shapes
from mist_dse.perf.network import fabric
from mist_dse.perf.operator import Coefficients
from mist_dse.perf.step import (
    communication_time,
    decode_attention_time,
    expert_time,
    head_time,
    linear_time,
    prefill_attention,
    stage_hop_time,
    stage_share,
)
from mist_dse.specs.design import Parallelism, Pool
from tests.perf.cases import DEEPSEEK, FP8, GPT_OSS, H200, LLAMA_8B, LLAMA_70B, MIXTRAL, NODE, RACKS, pool, pools


def decode_seconds(served: Pool, sequences: int, context: float) -> float:
    levels = fabric(served.accelerator, NODE)
    parts = (
        served.engine.linear_factor * linear_time(served, float(sequences)), communication_time(served, levels, float(sequences)),
        head_time(served, levels, float(sequences)), decode_attention_time(served, float(sequences), context),
    )  # fmt: skip
    return float(sum(parts))


# Served by vLLM with fp8 weights and cache at concurrency 4, lengths uniform in [0.8, 1] x 1024 (InferenceX): a decode step
# meets a context of 0.9 x 1024 input and half of as many output tokens. Class-default coefficients, nothing fitted.
@pytest.mark.parametrize(("tp", "measured"), [(1, 21.5e-3), (8, 7.9e-3)])
def test_llama_70b_on_h200_at_concurrency_four(tp: int, measured: float) -> None:
    served = pool(model=LLAMA_70B, accelerator=replace(H200, operators=()), tp=tp, dtypes=FP8)
    assert decode_seconds(served, 4, 0.9 * 1024 * 1.5) == pytest.approx(measured, rel=0.10)


def test_prefill_attention_of_a_long_prompt_by_hand() -> None:
    # 8192 tokens: 32 layers x 4 x 4096 x 8192^2/2 FLOP at 0.55 x 989.4e12.
    assert prefill_attention(pool()).quad * 8192**2 == pytest.approx(32 * 4 * 4096 * 8192**2 / 2 / (0.55 * 989.4e12), rel=1e-12)


def test_windowed_and_full_layers_of_gpt_oss_are_apart() -> None:
    found = prefill_attention(pool(model=GPT_OSS))
    assert found.window == 128
    assert found.quad == found.window_quad  # 18 layers of each


def test_expert_time_follows_distinct_experts_and_not_tokens() -> None:
    mixture = shapes.experts(MIXTRAL, Parallelism(), pool().dtypes)
    assert mixture is not None
    fit = Coefficients(0.0, 1e20, 1e12, "by hand")
    # two or all eight experts of 3 x 4096 x 14336 values; per routed pair 16-bit input, output and three intermediates, and
    # per token its input and output
    one, activations = 3 * 4096 * 14336 * 2 / 1e12, (2 * (4096 * 4 + 14336 * 6) + 4096 * 4) / 1e12
    assert float(expert_time(mixture, fit, 1.0)) == pytest.approx(2 * one + activations)
    assert float(expert_time(mixture, fit, 1000.0)) == pytest.approx(8 * one + 1000 * activations)


def test_all_reduces_per_step_of_a_dense_model() -> None:
    served = pool(tp=8)
    one = float(communication_time(served, fabric(served.accelerator, NODE), 1.0))
    assert one == pytest.approx((2 * 32 + 1) * (5e-6 + 7 * 4096 * 2 / (450e9 * 0.79)), rel=1e-9)


def test_attention_data_parallelism_dispatches_instead_of_reducing() -> None:
    tensor, data = (pool(model=DEEPSEEK, dtypes=FP8, **degrees) for degrees in ({"tp": 8}, {"tp": 1, "dp": 8, "ep": 8}))
    levels = fabric(tensor.accelerator, NODE)
    # 58 mixture layers: two all-to-alls each of 8 copies of 7168 values, one byte there and two back, 7/8 of them over the link.
    tokens = 512.0
    by_hand = 58 * (2 * 5e-6 + tokens * 8 * 7168 * 3 * 7 / 8 / (450e9 * 0.79))
    assert float(communication_time(data, levels, tokens)) == pytest.approx(by_hand, rel=1e-9)
    assert float(communication_time(tensor, levels, tokens)) != pytest.approx(by_hand, rel=1e-2)


@settings(max_examples=60, deadline=None)
@given(served=pools(), tokens=st.integers(1, 4096), faster=st.floats(1, 8))
def test_a_faster_device_is_never_slower(served: Pool, tokens: int, faster: float) -> None:
    device = served.accelerator
    better = replace(
        device, memory_bandwidth=device.memory_bandwidth * faster, peaks=replace(device.peaks, bf16=device.peaks.at("bf16") * faster)
    )
    sped = replace(served, accelerator=better)
    assert linear_time(sped, float(tokens)) <= linear_time(served, float(tokens))
    assert np.all(decode_attention_time(sped, 4.0, 1000.0) <= decode_attention_time(served, 4.0, 1000.0))


@settings(max_examples=40, deadline=None)
@given(served=pools(), tokens=st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_law_15_arrays_answer_as_each_scalar(served: Pool, tokens: list[int]) -> None:
    levels, column = fabric(served.accelerator, RACKS), np.array(tokens, float)
    for part in (lambda t: linear_time(served, t), lambda t: communication_time(served, levels, t), lambda t: head_time(served, levels, t)):
        assert part(column) == pytest.approx(
            [float(part(float(one))) for one in tokens], rel=1e-13
        )  # vector pow may differ in the last bit


@settings(max_examples=40, deadline=None)
@given(served=pools())
def test_law_13_one_device_communicates_nothing(served: Pool) -> None:
    alone = replace(served, parallelism=Parallelism())
    assert float(communication_time(alone, fabric(alone.accelerator, RACKS), 100.0)) == 0
    assert stage_share(alone, fabric(alone.accelerator, RACKS), 512, 8) == 1.0


def test_pipeline_share_by_hand() -> None:
    served = pool(pp=2)
    levels = fabric(served.accelerator, NODE)
    layers, head, hop = (
        float(linear_time(served, 512.0)),
        float(head_time(served, levels, 4.0)),
        float(stage_hop_time(served, levels, 512.0)),
    )
    assert hop == pytest.approx(5e-6 + 512 * 4096 * 2 / (450e9 * 0.79))
    assert stage_share(served, levels, 512, 4) == pytest.approx((layers / 2 + max(head, hop)) / (layers + head + hop))


def test_a_narrow_weight_moves_fewer_bytes_where_the_units_are_missing() -> None:
    ampere = replace(H200, peaks=replace(H200.peaks, fp8=None, int8=None), operators=())
    wide, narrow = (pool(model=LLAMA_8B, accelerator=ampere, dtypes=dtypes) for dtypes in (pool().dtypes, FP8))
    assert 0.5 < float(linear_time(narrow, 1.0)) / float(linear_time(wide, 1.0)) < 0.6
    assert float(linear_time(narrow, 8192.0)) == pytest.approx(float(linear_time(wide, 8192.0)), rel=0.02)
