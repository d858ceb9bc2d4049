"""Parameter counts worked by hand from a model card, and shapes that cannot be."""

from dataclasses import replace

import pytest

from mist_dse.specs._check import SpecError
from mist_dse.specs.model import ModelSpec

LLAMA_2_7B = ModelSpec(name="llama-2-7b", layers=32, hidden=4096, heads=32, kv_heads=32, head_dim=128, vocab=32000, ffn=11008)
MIXTRAL = ModelSpec(
    name="mixtral-8x7b", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, vocab=32000, experts=8, top_k=2, expert_ffn=14336
)
LATENT = ModelSpec(
    name="latent",
    layers=2,
    hidden=64,
    heads=4,
    kv_heads=4,
    head_dim=24,
    v_head_dim=16,
    vocab=100,
    ffn=128,
    q_lora=32,
    kv_lora=48,
    qk_nope=16,
    qk_rope=8,
)


def test_dense_model_by_hand() -> None:
    attention = 4 * 4096 * 4096
    feed_forward = 3 * 4096 * 11008
    assert LLAMA_2_7B.attention_parameters == attention
    assert LLAMA_2_7B.mlp_parameters == feed_forward
    assert LLAMA_2_7B.embedding_parameters == LLAMA_2_7B.head_parameters == 32000 * 4096
    assert LLAMA_2_7B.parameters == 32 * (attention + feed_forward + 2 * 4096) + 2 * 32000 * 4096 + 4096 == 6_738_415_616
    assert LLAMA_2_7B.active_parameters == LLAMA_2_7B.parameters


def test_grouped_queries_shrink_keys_and_values_only() -> None:
    grouped = replace(LLAMA_2_7B, kv_heads=8)
    assert LLAMA_2_7B.attention_parameters - grouped.attention_parameters == 2 * 4096 * (32 - 8) * 128
    assert grouped.kv_values_per_token == 2 * 8 * 128
    assert grouped.kv_bytes_per_token_16bit == 2 * 32 * 2 * 8 * 128


def test_mixture_uses_top_k_of_its_experts() -> None:
    expert = 3 * 4096 * 14336
    assert MIXTRAL.expert_parameters == expert
    assert MIXTRAL.router_parameters == 8 * 4096
    assert MIXTRAL.parameters - MIXTRAL.active_parameters == 32 * (8 - 2) * expert
    assert MIXTRAL.mlp_parameters == 0
    assert (MIXTRAL.dense_layers, MIXTRAL.moe_layers) == (0, 32)


def test_latent_attention_by_hand() -> None:
    query = 64 * 32 + 32 + 32 * 4 * (16 + 8)
    down = 64 * (48 + 8) + 48
    up = 48 * 4 * (16 + 16)
    assert LATENT.attention_parameters == query + down + up + 4 * 16 * 64
    assert LATENT.kv_values_per_token == 48 + 8


def test_tied_head_has_no_tensor_but_makes_logits() -> None:
    tied = replace(LLAMA_2_7B, tied=True)
    assert tied.head_parameters == 0
    assert tied.head_matrix == 32000 * 4096
    assert LLAMA_2_7B.parameters - tied.parameters == 32000 * 4096


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, (32, 0, 0)),
        ({"sliding_window": 4096, "full_attention_layers": 8}, (8, 24, 0)),
        ({"sliding_window": 4096, "sliding_pattern": "all layers local"}, (0, 32, 0)),
        ({"lin_key_heads": 16, "lin_value_heads": 32, "full_attention_layers": 8}, (8, 0, 24)),
    ],
)
def test_every_layer_attends_in_one_way(changes: dict[str, object], layers: tuple[int, int, int]) -> None:
    model = replace(LLAMA_2_7B, **changes)
    assert (model.global_layers, model.window_layers, model.linear_layers) == layers


def test_defaults_are_filled_in() -> None:
    assert LLAMA_2_7B.v_head_dim == LLAMA_2_7B.head_dim
    assert LLAMA_2_7B.full_attention_layers == LLAMA_2_7B.layers


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kv_heads": 5}, "kv_heads of llama-2-7b is 5: must divide heads = 32"),
        ({"layers": 0}, "layers is 0: must be finite and > 0"),
        ({"hidden": -1}, "hidden is -1"),
        ({"ffn": 0}, "ffn of llama-2-7b is missing"),
        ({"vocab": float("nan")}, "vocab is nan"),
        ({"max_context": -1}, "max_context is -1: must be finite and >= 0"),
        ({"full_attention_layers": 40}, "must be <= layers = 32"),
        ({"full_attention_layers": 8}, "need sliding_window or lin_key_heads"),
        ({"experts": 8, "top_k": 9, "expert_ffn": 1}, "top_k of llama-2-7b is 9"),
        ({"first_dense_layers": 33}, "first_dense_layers of llama-2-7b is 33"),
        ({"kv_lora": 512}, "latent attention needs qk_nope and qk_rope"),
        ({"qk_norm": "heads"}, "qk_norm is 'heads': must be one of"),
        ({"norm": "batchnorm"}, "norm is 'batchnorm'"),
        ({"lin_key_heads": 16, "lin_value_heads": 24}, "must be a multiple of lin_key_heads = 16"),
    ],
)
def test_impossible_shapes_name_the_field_and_the_value(changes: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=r".+") as caught:
        replace(LLAMA_2_7B, **changes)
    assert says in str(caught.value)
