"""Speculative decoding lowered: visits by hand, step tables against those of plain pools, and runs at the three fidelities."""

from dataclasses import replace

import numpy as np
import pytest

import mist_dse as md
from mist_dse.rows import StepCost
from mist_dse.sim import simulate
from mist_dse.specs.design import Batching, Design, Pool, Speculation
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.model import ModelSpec
from mist_dse.stages import Lowered, context_lag, lower, lower_pool
from tests.evaluation.test_evaluation import bounded
from tests.perf.cases import DEEPSEEK, FP8, GPT_OSS, H200, LLAMA_70B, RACKS, VLLM, colocated, disaggregated, pool, requests

PAIRS = Speculation(draft_tokens=1, acceptance=0.8)  # 1.8 tokens a step
FREE = Speculation(draft_tokens=3, acceptance=0.5, draft_share=0.0)
BARE = replace(VLLM, graph_sizes=(), host_step=0.0, host_sequence=0.0, residue_sequence=0.0, front_end=0.0, front_end_token=0.0, client=0.0)


def lowered(design: Design, inputs: list[int], outputs: list[int]) -> Lowered:
    found = lower(design, requests(inputs, outputs))
    assert not isinstance(found, Infeasible), found
    return found


def cost_of(served: Pool, lag: float = 0.0) -> StepCost:
    found = lower_pool(served, RACKS, role="both", longest=2048, lag=lag)
    assert not isinstance(found, Infeasible), found
    return found.cost


def test_visits_count_steps_and_reserve_tokens() -> None:
    jobs = lowered(colocated(speculation=PAIRS), [100, 7, 9, 9], [10, 1, 2, 11]).jobs
    assert jobs.emit.tolist() == [1 + 5, 1, 1 + 1, 1 + 6]
    assert jobs.limit.tolist() == [10, 1, 2, 11]


@pytest.mark.parametrize(("side", "steps"), [("prefill", [5, 0]), ("decode", [6, 1])])
def test_a_decode_pool_speculates_after_a_hand_off(side: str, steps: list[int]) -> None:
    """The first token comes from the prefill pool, or from a first step that computes the last prompt token again."""
    engine = replace(VLLM, first_token_from=side)
    design = disaggregated({"engine": engine}, {"engine": engine, "speculation": PAIRS}, mode="whole")
    jobs = lowered(design, [100, 50], [10, 1]).jobs
    on_decode = jobs.emit[jobs.server == 1].tolist()
    assert on_decode == [count for count in steps if count]
    assert jobs.emit[jobs.server == 0].tolist() == [1, 1]
    assert jobs.limit[jobs.server == 1].max() == 10 - (side == "prefill")


def test_the_lag_is_the_mean_over_steps_of_tokens_less_steps() -> None:
    """9 tokens after the first in 5 steps: real contexts are ahead by 4 at the end, 2 in the mean; weighted by steps."""
    assert context_lag(requests([1], [10]), PAIRS) == 2.0
    assert context_lag(requests([1, 1], [10, 2]), PAIRS) == pytest.approx((5 * 2 + 1 * 0) / 6)
    assert context_lag(requests([1], [10]), None) == 0.0


@pytest.mark.parametrize("model", [LLAMA_70B, DEEPSEEK])
def test_free_drafts_make_a_step_of_four_rows_each(model: ModelSpec) -> None:
    """Beside attention, a step that verifies 3 guesses of 5 sequences is one of 20 sequences."""
    served = pool(model=model, tp=8, accelerator=H200, dtypes=FP8, engine=BARE, batching=Batching(max_num_seqs=32))
    plain, guessing = cost_of(served), cost_of(replace(served, speculation=FREE))
    rest = [cost.decode_step - cost.decode_attention for cost in (plain, guessing)]
    np.testing.assert_allclose(rest[1][5], rest[0][20], rtol=1e-12)
    np.testing.assert_allclose(guessing.token_time[1:257], plain.token_time[1:257], rtol=1e-12)


def test_a_cache_is_read_once_for_all_guesses() -> None:
    """Grouped attention is bound by its cache: four queries cost hardly more than one, and far less than four sequences."""
    served = pool(model=LLAMA_70B, tp=8, accelerator=H200, engine=BARE)
    plain, guessing = cost_of(served), cost_of(replace(served, speculation=FREE))
    long = plain.knots > 20_000
    one, four, others = plain.decode_attention[8, long], guessing.decode_attention[8, long], plain.decode_attention[32, long]
    assert np.all(four >= one)
    assert np.all(four < 1.5 * one)
    assert np.all(four < 0.5 * others)


def test_a_module_costs_a_layer_and_the_head_for_each_guess() -> None:
    served = pool(model=DEEPSEEK, tp=8, ep=8, accelerator=H200, dtypes=FP8, engine=BARE, batching=Batching(max_num_seqs=16))
    plain, free = cost_of(served), cost_of(replace(served, speculation=FREE))
    module = cost_of(replace(served, speculation=replace(FREE, draft_share=None)))
    head, step = plain.sequence_time[4], plain.decode_step[4]  # BARE has no residue beside the head
    np.testing.assert_allclose(module.decode_step[4] - free.decode_step[4], 3 * ((step - head) / 61 + head), rtol=1e-9)


def test_a_lag_reads_the_tables_further_on() -> None:
    served = pool(model=GPT_OSS, accelerator=H200, dtypes=FP8, engine=BARE, speculation=FREE)
    here, ahead = cost_of(served), cost_of(served, lag=28.0)
    assert 100.0 in ahead.knots  # the window of 128 is full there
    for x in (40.0, 100.0, 3000.0):
        value, wanted = (float(np.interp(at, cost.knots, cost.decode_step[4])) for cost, at in ((ahead, x), (here, x + 28.0)))
        assert value == pytest.approx(wanted, rel=1e-9)


def test_a_lone_request_takes_its_steps_and_its_contexts_right_in_the_mean() -> None:
    """101 tokens at 2 a step: 50 steps at mean real context 1000 + 1 + 2 x 24.5, each as long as the table says."""
    even = Speculation.of_length(3, 2.0, draft_share=0.0)
    found = lowered(colocated(engine=BARE, speculation=even), [1000], [101])
    records = simulate(found.servers, found.jobs, requests([1000], [101]))
    cost = cost_of(pool(engine=BARE, speculation=even))
    assert records.steps[0] == 51
    real = [float(np.interp(1001 + 2 * step, cost.knots, cost.decode_step[1])) for step in range(50)]
    assert float(records.last_token[0] - records.first_token[0]) == pytest.approx(sum(real), rel=1e-3)
    plain = lowered(colocated(engine=BARE), [1000], [101])
    alone = simulate(plain.servers, plain.jobs, requests([1000], [101]))
    assert records.first_token[0] == pytest.approx(alone.first_token[0], rel=5e-3)  # its last step counts as a verifying one


def served(name: str, speculation: Speculation | None) -> Design:
    return md.load_design(name, model="llama-3.1-70b").with_pools(speculation=speculation)


def asked(rate: float) -> md.Workload:
    lengths = md.Lengths(kind="lognormal", mean=800, cv=1.0), md.Lengths(kind="lognormal", mean=100, cv=1.0)
    return md.Workload.poisson(rate=rate, input_tokens=lengths[0], output_tokens=lengths[1], requests=500, seed=3)


@pytest.mark.parametrize("name", ["tp4_colocated", "disagg_2x4"])
def test_law_10_holds_with_speculation(name: str) -> None:
    """Bound never worse than simulated, for every metric that names one, where steps emit several tokens."""
    design = served(name, PAIRS)
    floor, found = (md.evaluate(design, asked(2.0), fidelity=fidelity).metrics for fidelity in ("bound", "simulated"))
    assert bounded(floor, found) >= 18
    assert floor["tpot_mean"] is not None
    assert found["tpot_mean"] is not None
    assert floor["tpot_mean"] > 0.5 * found["tpot_mean"]


@pytest.mark.parametrize("name", ["tp4_colocated", "disagg_2x4"])
def test_steady_follows_and_tokens_come_faster(name: str) -> None:
    guessing = served(name, PAIRS)
    steady, found = (md.evaluate(guessing, asked(0.5), fidelity=kind).metrics for kind in ("steady", "simulated"))
    plain = md.evaluate(served(name, None), asked(0.5)).metrics
    for metric in ("ttft_mean", "tpot_mean", "e2e_mean"):
        assert steady[metric] == pytest.approx(found[metric], rel=0.06), metric
    assert found["tpot_mean"] is not None
    assert plain["tpot_mean"] is not None
    assert 1 / 1.8 < found["tpot_mean"] / plain["tpot_mean"] < 0.75
    assert found["output_tokens_per_s"] == pytest.approx(plain["output_tokens_per_s"], rel=0.05)
