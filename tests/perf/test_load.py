"""Loads against published KV sizes, published parameter counts and an operator-by-operator count."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.load import (
    Work,
    attended_pairs,
    distinct_experts,
    kv_bytes_per_token,
    linear_flop_per_token,
    stage_weight_bytes,
    step_load,
    weight_bytes,
)
from mist_dse.perf.shapes import attentions, experts, matrices
from mist_dse.specs.design import Datatypes, Parallelism
from mist_dse.specs.model import ModelSpec
from tests.perf.cases import DEEPSEEK, GPT_OSS, LLAMA_8B, LLAMA_70B, LLAMA_405B, MIXTRAL, MODELS, QWEN_LINEAR

ONE, BF16 = Parallelism(), Datatypes()


@pytest.mark.parametrize(("model", "published"), [(LLAMA_8B, 131_072), (LLAMA_70B, 327_680), (LLAMA_405B, 516_096), (DEEPSEEK, 70_272)])
def test_kv_bytes_per_token_are_the_published_ones(model: ModelSpec, published: int) -> None:
    assert kv_bytes_per_token(model, ONE, BF16) == published


def test_kv_heads_are_sharded_to_one_and_replicated_past_it() -> None:
    shards = [kv_bytes_per_token(LLAMA_70B, Parallelism(tp=tp), BF16) for tp in (1, 2, 8, 16)]
    assert shards == [327_680, 163_840, 40_960, 40_960]


def test_compressed_kv_is_replicated_over_tensor_ranks() -> None:
    assert kv_bytes_per_token(DEEPSEEK, Parallelism(tp=8), BF16) == 70_272
    assert kv_bytes_per_token(DEEPSEEK, ONE, Datatypes(kv="fp8")) == 70_272 / 2


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(LLAMA_8B, 8_030_261_248), (LLAMA_70B, 70_553_706_496), (LLAMA_405B, 405_853_388_800), (MIXTRAL, 46_702_792_704)],
)
def test_16_bit_weights_are_twice_the_published_parameters(model: ModelSpec, parameters: int) -> None:
    assert weight_bytes(model, ONE, BF16) == 2 * parameters


@given(layers=st.integers(1, 12), kv_heads=st.integers(1, 4), group=st.integers(1, 6), head_dim=st.sampled_from([32, 64, 128]),
       hidden=st.integers(64, 512), ffn=st.integers(64, 2048), gated=st.booleans(),
       steps=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 900)), min_size=1, max_size=6))  # fmt: skip
def test_dense_sums_equal_an_operator_by_operator_count(layers, kv_heads, group, head_dim, hidden, ffn, gated, steps) -> None:  # type: ignore[no-untyped-def]
    heads, vocab = kv_heads * group, 1000
    model = ModelSpec(name="dense", layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, vocab=vocab, ffn=ffn,
                      mlp_matrices=3 if gated else 2)  # fmt: skip
    flop = 0
    for new, cached in steps:
        for _ in range(layers):
            flop += 2 * new * hidden * heads * head_dim + 2 * 2 * new * hidden * kv_heads * head_dim  # queries, keys and values
            for token in range(new):  # scores and their product with the values, per head
                keys = cached + token + 1
                flop += heads * (2 * keys * head_dim + 2 * keys * head_dim)
            flop += 2 * new * heads * head_dim * hidden  # output projection
            flop += (2 if gated else 1) * 2 * new * hidden * ffn + 2 * new * ffn * hidden
        flop += 2 * hidden * vocab  # one row of logits each
    new, cached = (np.array(column, float) for column in zip(*steps, strict=True))
    work = Work(new.sum(), float(len(steps)), attended_pairs(new, cached).sum())
    assert float(step_load(model, ONE, BF16, work).flop) == flop


def test_decode_reads_every_key_and_value_once() -> None:
    load = step_load(LLAMA_8B, ONE, BF16, Work(4.0, 4.0, 0.0, 4 * 1000.0))
    assert float(load.kv_bytes) == 4000 * 131_072
    assert (
        float(load.weight_bytes) == 2 * (6_979_588_096 - (2 * 32 + 1) * 4096) + 2 * 128256 * 4096
    )  # matrices (published less norms), head


def test_windowed_pairs_by_hand() -> None:
    assert float(attended_pairs(5, 3, window=4)) == 4 + 4 + 4 + 4 + 4
    assert float(attended_pairs(5, 1, window=4)) == 2 + 3 + 4 + 4 + 4


@given(new=st.integers(1, 300), cached=st.integers(0, 300), window=st.integers(1, 400))
def test_windowed_pairs_are_the_sum_of_minima(new: int, cached: int, window: int) -> None:
    assert float(attended_pairs(new, cached, float(window))) == sum(min(cached + j, window) for j in range(1, new + 1))


def test_windowed_layers_stop_reading_at_the_window() -> None:
    near, far = (float(step_load(GPT_OSS, ONE, BF16, Work(1.0, 1.0, 0.0, context)).kv_bytes) for context in (1000.0, 2000.0))
    assert far - near == 1000 * 18 * 2 * 8 * 64 * 2  # 18 full layers grow, 18 windowed ones do not


def test_a_mixture_reads_the_distinct_experts_by_simulation() -> None:
    mixture = experts(GPT_OSS, ONE, BF16)
    assert mixture is not None
    generator = np.random.default_rng(0)
    drawn = [len({int(one) for _ in range(30) for one in generator.permutation(128)[:4]}) for _ in range(400)]
    assert float(distinct_experts(mixture, 30)) == pytest.approx(np.mean(drawn), rel=0.01)


def test_mixtral_active_parameters() -> None:
    # Mixtral's card: 12.9e9 active parameters, embeddings included.
    assert linear_flop_per_token(MIXTRAL, ONE, BF16) / 2 + 2 * 32000 * 4096 == pytest.approx(12.88e9, rel=0.01)


@given(model=st.sampled_from(MODELS), tp=st.sampled_from([1, 2, 4]))
def test_law_13_shards_of_sharded_tensors_sum_to_the_whole(model: ModelSpec, tp: int) -> None:
    split, whole = Parallelism(tp=tp), ONE
    for part, full in zip(matrices(model, split, BF16), matrices(model, whole, BF16), strict=True):
        if part.parameters != full.parameters:
            assert part.parameters * tp == pytest.approx(full.parameters, rel=1e-12)
    if not model.is_latent:
        assert kv_bytes_per_token(model, split, BF16) * tp == kv_bytes_per_token(model, whole, BF16)
    for part, full in zip(attentions(model, split, BF16), attentions(model, whole, BF16), strict=True):
        assert part.decode_flop * tp == pytest.approx(full.decode_flop, rel=1e-12)


@given(
    model=st.sampled_from([MIXTRAL, GPT_OSS, DEEPSEEK]),
    dp=st.sampled_from([1, 2, 4]),
    ep=st.sampled_from([1, 2, 4]),
    tp=st.sampled_from([1, 4]),
)
def test_law_13_experts_are_held_once_over_all_devices(model: ModelSpec, dp: int, ep: int, tp: int) -> None:
    if (tp * dp) % ep:
        return
    mixture = experts(model, Parallelism(tp=tp, dp=dp, ep=ep), BF16)
    assert mixture is not None
    assert mixture.local * mixture.values * tp * dp == pytest.approx(model.experts * 3 * model.hidden * model.expert_ffn, rel=1e-12)


@given(model=st.sampled_from(MODELS), pp=st.sampled_from([1, 2]))
def test_law_13_stages_hold_the_whole_model(model: ModelSpec, pp: int) -> None:
    if model.layers % pp:
        return
    fullest, whole = stage_weight_bytes(model, Parallelism(pp=pp), BF16), weight_bytes(model, ONE, BF16)
    assert whole / pp <= fullest <= whole
    assert pp > 1 or fullest == whole


def test_linear_attention_keeps_a_state_instead_of_a_cache() -> None:
    assert kv_bytes_per_token(QWEN_LINEAR, ONE, BF16) == 16 * 2 * 4 * 256 * 2
    state = 48 * (48 * 128 * 128 + (2 * 16 + 48) * 128 * 3) * 4
    assert float(step_load(QWEN_LINEAR, ONE, BF16, Work(1.0, 1.0)).kv_bytes) == 2 * state


def test_four_bit_mixtures_keep_attention_at_16_bit() -> None:
    stored = weight_bytes(GPT_OSS, ONE, Datatypes(weight="mxfp4", compute="bf16"))
    assert stored == pytest.approx(65.2e9, rel=0.03)  # the published checkpoint of gpt-oss-120b is 60.8 GiB
