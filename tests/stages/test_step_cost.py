"""Properties of the step tables that bounds and the simulator rely on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.analytic.step import line
from mist_dse.perf.operator import speed_of_light
from mist_dse.perf.step import mixture_time
from mist_dse.rows import StepCost
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Batching, Pool, Speculation
from mist_dse.specs.evaluation import Infeasible
from mist_dse.stages import PoolRow, lower_pool
from mist_dse.stages.step_cost import padded_sequences
from tests.perf.cases import DEEPSEEK, FP8, GPT_OSS, H100, H200, L40S, LLAMA_8B, LLAMA_70B, NODE, RACKS, VLLM, pool, pools


def row(served: Pool, longest: int = 2048) -> PoolRow:
    found = lower_pool(served, RACKS, role="both", longest=longest)
    assert not isinstance(found, Infeasible), found
    return found


@st.composite
def speculating(draw: st.DrawFn) -> Pool:
    """Any pool, half of them with speculation."""
    guesses = st.builds(Speculation, draft_tokens=st.integers(1, 4), acceptance=st.floats(0.1, 0.9),
                        draft_share=st.none() | st.floats(0, 0.3))  # fmt: skip
    return replace(draw(pools()), speculation=draw(st.none() | guesses))


def chunk(cost: StepCost, new: float, cached: float) -> float:
    def windowed(x: float) -> float:
        return x * x if x <= cost.window else cost.window * (2 * x - cost.window)

    total = cached + new
    product = cost.quad * (total**2 - cached**2) + cost.window_quad * (windowed(total) - windowed(cached))
    return max(product, cost.read * total)


@settings(max_examples=80, deadline=None)
@given(served=speculating())
def test_slopes_are_lower_envelopes_of_the_tables(served: Pool) -> None:
    found = row(served)
    cost, load = found.cost, found.load
    tokens = np.arange(len(cost.token_time))
    assert load.token_fit > 0
    assert np.all(load.token_fit * tokens <= cost.token_time * (1 + 1e-12))
    assert load.token_fit <= (cost.token_time[-1] - cost.token_time[-2]) * (1 + 1e-9)
    batch = np.arange(len(cost.decode_step))[:, None]
    contexts = batch * cost.knots[None, :]
    assert np.all(load.context_fit * contexts <= min(1.0, cost.mixing) * cost.decode_attention + 1e-15)
    assert np.all(load.token_fit * batch + load.context_fit * contexts <= cost.decode_step * (1 + 1e-12))
    for new, cached in ((1, 0), (7, 0), (64, 1000), (2048, 0), (5000, 60_000)):
        assert load.pair_fit * ((cached + new) ** 2 - cached**2) / 2 <= chunk(cost, new, cached) * (1 + 1e-12)


@settings(max_examples=80, deadline=None)
@given(served=speculating())
def test_tables_ascend_and_are_whole(served: Pool) -> None:
    cost = row(served).cost
    size = served.batching.max_num_seqs + 1
    assert len(cost.token_time) > served.batching.max_num_batched_tokens
    assert cost.sequence_time.shape == (size,)
    assert cost.decode_attention.shape == cost.decode_step.shape == (size, len(cost.knots))
    assert len(cost.knots) >= 8
    assert cost.knots[0] == 0
    assert np.all(np.diff(cost.knots) > 0)
    for table in (cost.token_time, cost.sequence_time, cost.decode_attention, cost.decode_step):
        assert np.all(np.isfinite(table))
        assert np.all(np.diff(table, axis=0) >= -1e-15)
    assert np.all(np.diff(cost.decode_step, axis=1) >= 0)
    assert 1 / served.parallelism.pp <= cost.stage_share <= 1


@settings(max_examples=40, deadline=None)
@given(served=speculating())
def test_speed_of_light_bounds_every_step(served: Pool) -> None:
    found = row(served)
    tokens = np.arange(1, len(found.cost.token_time))
    factor = min(served.engine.linear_factor, 1.0) * served.parallelism.pp
    ranks, cost = served.parallelism.dp, found.cost
    whole = cost.token_time[1:] + (line(cost.shared_time[1], ranks * tokens) if cost.shared_time.size else 0.0)
    assert np.all(found.load.flop_seconds_token * tokens * factor <= whole * (1 + 1e-12))
    batch = np.arange(len(found.cost.decode_step))[:, None]
    attention = (
        found.load.byte_seconds_context * batch * found.cost.knots * served.parallelism.pp * min(served.engine.attention_factor, 1.0)
    )
    assert np.all(attention <= found.cost.decode_attention * (1 + 1e-12))


def test_experts_of_attention_data_parallelism_are_shared_by_all_tokens() -> None:
    """The mixture's time stands apart, for the tokens of all ranks; balanced ranks pay what they would with their own share of it."""
    served = pool(model=DEEPSEEK, dp=8, ep=8, accelerator=H200, dtypes=FP8)
    cost = row(served).cost
    experts = np.asarray(mixture_time(served, np.arange(1.0, 4097.0)))
    np.testing.assert_allclose(cost.shared_time[0, 1:4097], served.engine.linear_factor * experts, rtol=1e-12)
    np.testing.assert_allclose(cost.shared_time[1, 1:4097], served.engine.prefill_factor * experts, rtol=1e-12)
    dense = replace(DEEPSEEK, name="dense", experts=0, top_k=0, expert_ffn=0, first_dense_layers=0)
    for other in (pool(model=DEEPSEEK, tp=8, ep=8, accelerator=H200, dtypes=FP8), pool(model=dense, dp=8, accelerator=H200, dtypes=FP8)):
        assert row(other).cost.shared_time.size == 0
    host = cost.host_step + 4 * cost.host_sequence
    assert cost.decode_step[4, 0] + cost.shared_time[0, 32] > host  # decode_step leaves the host's time to the simulator


def test_pure_decode_is_padded_to_the_next_graph() -> None:
    served = pool(engine=replace(VLLM, graph_sizes=(1, 2, 4, 8)), batching=Batching(max_num_seqs=11))
    assert list(padded_sequences(served)) == [0, 1, 2, 4, 4, 8, 8, 8, 8, 9, 10, 11]
    cost = row(served).cost
    device = cost.token_time[8] + cost.sequence_time[5] + cost.decode_attention[5]
    assert cost.decode_step[5] == pytest.approx(np.maximum(device, 0.5e-3 + 5 * 0.03e-3), rel=1e-12)


def test_without_asynchronous_scheduling_host_time_adds() -> None:
    both = [row(pool(engine=replace(VLLM, async_scheduling=flag))).cost.decode_step[4, 0] for flag in (False, True)]
    assert both[0] - both[1] == pytest.approx(0.5e-3 + 4 * 0.03e-3, rel=1e-9)


def test_overlap_hides_communication_behind_compute() -> None:
    none, half, full = (row(pool(tp=8, engine=replace(VLLM, overlap=share))).cost.token_time[4096] for share in (0.0, 0.5, 1.0))
    assert none > half > full
    assert half == pytest.approx((none + full) / 2, rel=1e-12)


def test_attention_factor_scales_decode_attention_alone() -> None:
    one, two = (row(pool(engine=replace(VLLM, attention_factor=factor))).cost for factor in (1.0, 2.0))
    assert two.decode_attention == pytest.approx(2 * one.decode_attention, rel=1e-12)
    assert np.array_equal(one.token_time, two.token_time)


def test_whole_prompt_policies_tabulate_the_longest_prompt() -> None:
    chunked, whole = (
        row(pool(batching=Batching(policy=policy, max_num_batched_tokens=512)), longest=20_000).cost for policy in ("chunked", "continuous")
    )
    assert (len(chunked.token_time), len(whole.token_time)) == (513, 20_001)
    endless = row(pool(batching=Batching(policy="continuous")), longest=100_000).cost
    assert len(endless.token_time) == 32_769


def test_decode_of_windowed_layers_flattens_at_a_knot() -> None:
    cost = row(pool(model=GPT_OSS, accelerator=H200, dtypes=FP8)).cost
    assert 128.0 in cost.knots
    slopes = np.diff(cost.decode_attention[1]) / np.diff(cost.knots)
    inside, outside = slopes[cost.knots[1:] <= 128], slopes[cost.knots[:-1] >= 128]
    assert inside == pytest.approx(2 * outside[0], rel=1e-9)  # 36 layers inside the window, 18 beyond


@pytest.mark.parametrize("context", [100.0, 20_000.0])
def test_different_accelerators_differ_where_their_datasheets_do(context: float) -> None:
    fast, slow = (row(pool(accelerator=device)).cost for device in (H100, L40S))
    steps = [float(np.interp(context, cost.knots, cost.decode_step[8])) for cost in (fast, slow)]
    assert 3 < steps[1] / steps[0] < 3350 / 864 * 1.2  # bandwidths differ 3.9 times
    assert slow.token_time[4096] / fast.token_time[4096] == pytest.approx(989.4 / 362.05, rel=0.1)  # compute bound


def test_light_of_a_decode_step_is_weights_and_cache_over_bandwidth() -> None:
    load = row(pool(model=LLAMA_8B)).load
    assert load.byte_seconds_step == pytest.approx(2 * (8_030_261_248 - 128256 * 4096 - 65 * 4096) / 3.35e12, rel=1e-12)
    assert load.byte_seconds_context == pytest.approx(131_072 / 3.35e12, rel=1e-12)
    assert load.flop_seconds_token == pytest.approx(2 * 32 * 218_103_808 / speed_of_light(H100, "bf16").flops, rel=1e-12)


def test_pipeline_stages_share_the_units_of_a_step() -> None:
    one, two = (row(pool(pp=pp)).load for pp in (1, 2))
    assert two.flop_seconds_token == one.flop_seconds_token / 2
    assert two.token_fit >= one.token_fit


def test_longest_sequence_is_what_fits() -> None:
    tight = row(pool(model=LLAMA_70B, accelerator=H100, tp=1, dtypes=FP8, engine=replace(VLLM, reserve=1e9, memory_fraction=0.95)))
    assert tight.engine.max_model_len == tight.engine.blocks * 16 < 131_072
    assert row(pool(engine=replace(VLLM, max_model_len=4096))).engine.max_model_len == 4096


def test_a_decode_pool_has_no_front_end() -> None:
    streaming = pool(engine=replace(VLLM, front_end_output=15e-6))
    fed, open_ = (lower_pool(streaming, NODE, role=role, longest=100) for role in ("decode", "prefill"))
    assert not isinstance(fed, Infeasible)
    assert not isinstance(open_, Infeasible)
    assert (fed.engine.front_end, fed.engine.front_end_token, fed.engine.client) == (0.0, 0.0, 0.0)
    assert (open_.engine.front_end, open_.engine.front_end_token, open_.engine.client) == (3e-3, 4e-6, 20e-3)
    assert (fed.engine.front_end_output, open_.engine.front_end_output) == (0.0, 15e-6)


def test_provenance_names_what_was_assumed() -> None:
    assert row(pool(accelerator=H200, dtypes=FP8)).provenance["gemm"] == "fitted"
    assert row(pool()).provenance["memory"] == "assumed 0.95 of nominal memory"
    bare = replace(L40S, peaks=replace(L40S.peaks, fp8=None))
    assert row(pool(accelerator=bare, dtypes=FP8)).provenance["compute"] == "fp8 computed in bf16: no native units"


def test_refusals_name_the_pool_and_the_way_out() -> None:
    with pytest.raises(SpecError, match=r"Pool chat: embedder has no output head"):
        lower_pool(pool(model=replace(LLAMA_8B, name="embedder", no_lm_head=True)), NODE, role="both", longest=10)
    with pytest.raises(SpecError, match=r"role is 'rerank': must be one of both, prefill, decode"):
        lower_pool(pool(), NODE, role="rerank", longest=10)
    wide = lower_pool(pool(tp=8, pp=2), NODE, role="both", longest=10)
    assert isinstance(wide, Infeasible)
    assert (wide.kind, wide.margin) == ("topology", 1.0)
