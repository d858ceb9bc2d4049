"""Sparse latent attention by hand, against measured kernels, and what its times promise."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.perf import shapes, sparse
from mist_dse.perf.kernels import kernel_time
from mist_dse.perf.launch import DENSE_LAYER, SPARSE_LAYER, launch_time
from mist_dse.perf.step import decode_attention_time, prefill_attention
from mist_dse.specs.design import Datatypes, Pool
from mist_dse.specs.model import ModelSpec
from tests.perf.cases import H100, pool

# Shape: config.json of deepseek-ai/DeepSeek-V3.2.
V32 = ModelSpec(
    name="deepseek-v3.2", layers=61, hidden=7168, heads=128, kv_heads=128, head_dim=192, v_head_dim=128, vocab=129280, ffn=18432,
    experts=256, top_k=8, shared_experts=1, expert_ffn=2048, shared_expert_ffn=2048, first_dense_layers=3, q_lora=1536, kv_lora=512,
    qk_nope=128, qk_rope=64, index_heads=64, index_dim=128, index_topk=2048,
)  # fmt: skip
NARROW = Datatypes(weight="fp8", kv="fp8", compute="fp8")
WIDE = Datatypes(weight="fp8", kv="bf16", compute="fp8")
H800 = replace(H100, name="h800", operators=())
"""NVIDIA H800: compute and memory of the H100."""

_DATA = os.environ.get("MIST_DSE_DATA")


def served(tp: int = 1, dtypes: Datatypes = WIDE, **changes: object) -> Pool:
    return pool(**{"model": V32, "accelerator": H800, "tp": tp, "dtypes": dtypes, **changes})


def halves(one: Pool) -> tuple[shapes.Attention, shapes.Attention]:
    core, indexer = shapes.attentions(one.model, one.parallelism, one.dtypes)
    return core, indexer


def test_the_core_of_a_prompt_by_hand() -> None:
    # Beyond the window W(x) = 2048 (2 x - 2048): a token more costs 2 x 2048 window_quad = 61 layers x 2 x 128 x 1088 x 2048 FLOP.
    found = prefill_attention(served())
    assert found.window == 2048
    assert 2 * 2048 * found.window_quad == pytest.approx(61 * 2 * 128 * 1088 * 2048 / (0.55 * 989.4e12), rel=1e-3)


def test_the_indexer_scores_the_whole_context_in_fp8() -> None:
    # 64 heads x 128 x 2 FLOP per pair at 0.84 of 1978.9e12, and 6 x 4 B of scores at 0.8 of the bandwidth; half of the square.
    pair = 2 * 64 * 128 / (0.84 * 1978.9e12) + 24 / (0.80 * H800.memory_bandwidth)
    assert prefill_attention(served()).quad == pytest.approx(61 * pair / 2, rel=1e-3)


def test_fewer_heads_than_a_tile_save_nothing() -> None:
    found = [prefill_attention(served(tp)).window_quad for tp in (1, 2, 8, 16)]
    assert found[0] / found[1] == pytest.approx(2)
    assert found[1] == pytest.approx(found[2]) == pytest.approx(found[3])


def test_blackwell_pads_prompts_with_a_wide_cache_to_twice_the_heads() -> None:
    blackwell = replace(H800, name="b200", peaks=replace(H800.peaks, fp4=9e15))
    narrow, wide = (prefill_attention(served(2, dtypes, accelerator=blackwell)).window_quad for dtypes in (NARROW, WIDE))
    assert wide == pytest.approx(2 * prefill_attention(served(2)).window_quad)
    assert narrow < wide


def test_decode_grows_with_the_context_by_the_index_alone() -> None:
    one = served()
    core, indexer = halves(one)
    assert core.window == 2048
    less, more = (float(decode_attention_time(one, 64.0, context)) for context in (4096.0, 8192.0))
    grown = (more - less) / one.engine.attention_factor
    index = [float(sparse.decode_time(one, indexer, 64.0, context)) for context in (4096.0, 8192.0)]
    assert grown == pytest.approx(index[1] - index[0], rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(sequences=st.integers(1, 256), context=st.integers(1, 100_000), more=st.integers(1, 4096))
def test_decode_never_gets_cheaper(sequences: int, context: int, more: int) -> None:
    one = served(tp=8, dtypes=NARROW)
    now = float(decode_attention_time(one, float(sequences), float(context)))
    assert now <= float(decode_attention_time(one, float(sequences), float(context + more)))
    assert now <= float(decode_attention_time(one, float(sequences + 1), float(context)))


def test_the_host_launches_sparse_layers_where_an_engine_captures_no_prompts() -> None:
    one = served(tp=8)
    assert list(launch_time(one, np.array([1.0, 2048.0, 2049.0]))) == pytest.approx([61 * DENSE_LAYER, 61 * DENSE_LAYER, 61 * SPARSE_LAYER])
    assert float(launch_time(replace(one, engine=replace(one.engine, family="trtllm")), 1.0)) == 0


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_the_core_of_prompts_on_measured_h800_kernels() -> None:
    rows = _rows("prefill", "attn-128-576-2048")
    each = 2 * 2048 * sparse.prompt_time(served(), halves(served())[0]).window_quad / 61
    error = np.abs(each * rows["s_q"] / (rows["latency_us"] * 1e-6) - 1)
    assert len(error) == 6
    assert np.median(error) <= 0.20


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_the_core_of_decode_on_measured_h800_kernels() -> None:
    one, rows = served(dtypes=NARROW), _rows("decode", "attn-128-576-2048")
    found = sparse.decode_time(one, halves(one)[0], rows["batch_size"], np.minimum(rows["kv_len"], 2048)) / 61
    error = np.abs(found / (rows["latency_us"] * 1e-6) - 1)[rows["kv_len"] >= 2048]  # below, the kernel computes its padding
    assert len(error) == 7
    assert np.median(error) <= 0.12


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_the_scores_of_prompts_on_measured_h800_kernels() -> None:
    # The reference stops at the scores: half of what they cost in memory is the selection's.
    rows = _rows("prefill", "logits-64-128")
    pairs = rows["s_q"] * (rows["s_kv"] - rows["s_q"] / 2)
    selection = sparse.SCORE_PASSES / 2 * 4 / sparse.indexer_fit(served()).bandwidth
    each = 2 * sparse.prompt_time(served(), halves(served())[1]).quad / 61 - selection
    error = np.abs(each * pairs / (rows["latency_us"] * 1e-6) - 1)
    assert len(error) == 12
    assert np.median(error) <= 0.12


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_the_scores_of_decode_on_measured_h800_kernels() -> None:
    one, rows = served(), _rows("decode", "logits-64-128")
    plain = (rows["next_n"] == 1) & (rows["s_kv"] <= 32768)
    fit = sparse.indexer_fit(one)._replace(overhead=8e-6, depth=0.0, item=0.0)  # what launches and selects is not in the reference
    work = sparse.decode_work(one, halves(one)[1], rows["batchsize"], rows["s_kv"])
    selection = sparse.SCORE_PASSES / 2 * 4 * rows["batchsize"] * rows["s_kv"]
    error = np.abs(kernel_time(fit, work._replace(moved=work.moved - selection)) / (rows["latency_us"] * 1e-6) - 1)[plain]
    assert len(error) == 6
    assert np.median(error) <= 0.15


def _rows(phase: str, name: str) -> np.ndarray:
    path = Path(str(_DATA)) / "profiles/infersim/bench_data/dsa" / phase / "h800" / f"{name}.csv"
    return np.genfromtxt(path, delimiter=",", names=True)
