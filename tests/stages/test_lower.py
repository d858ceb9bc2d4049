"""Visits of colocated and disaggregated designs, written out by hand."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.rows import ON_END, ON_START, PREFILL_FIRST, Jobs
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Batching, Design, Handoff
from mist_dse.specs.evaluation import Infeasible
from mist_dse.specs.pipeline import Pipeline, Stage
from mist_dse.stages import KINDS, Lowered, lower, lower_pool
from tests.perf.cases import FP8, H100, L40S, LLAMA_70B, RACKS, VLLM, colocated, disaggregated, requests

KV = 131_072  # bytes per token of Llama-3.1-8B


def lowered(design: Design, *args: Any) -> Lowered:
    found = lower(design, requests(*args))
    assert not isinstance(found, Infeasible), found
    return found


def edges(jobs: Jobs) -> set[tuple[int, int, int]]:
    sources = np.repeat(np.arange(len(jobs.server)), np.diff(jobs.edge_first))
    return set(zip(sources.tolist(), jobs.edge_to.tolist(), jobs.edge_on.tolist(), strict=True))


def test_one_pool_is_one_visit() -> None:
    found = lowered(colocated(), [100, 7], [5, 1], [32, 0])
    jobs = found.jobs
    assert jobs.first.tolist() == [0, 1, 2]
    assert jobs.prompt.tolist() == [100, 7]
    assert jobs.computed.tolist() == [32, 0]
    assert jobs.emit.tolist() == jobs.limit.tolist() == [5, 1]
    assert jobs.answers.tolist() == [1, 1]
    assert jobs.need.tolist() == jobs.keep.tolist() == jobs.handed.tolist() == [0, 0]
    assert jobs.lease.tolist() == jobs.frees.tolist() == [-1, -1]
    assert len(jobs.edge_to) == 0
    assert found.servers.stations == ()
    assert found.servers.names == ("chat",)


def test_the_profile_names_the_engines_own_ways() -> None:
    """The wait for tokens is a share of the budget, rounded up: 0.1 x 30 tokens are 3, a ninth of 2048 are 228."""
    ways = {
        "reserve_output": True,
        "whole_prompts": True,
        "stream_interval": 10,
        "receive_interval": 30,
        "wait_steps": 20,
        "balance_steps": 60,
    }
    for share, budget, tokens in ((0.1, 30, 3), (1 / 9, 2048, 228), (0.0, 2048, 0)):
        profile = replace(VLLM, **ways, wait_fraction=share)
        batching = Batching(policy="prefill_first", max_num_batched_tokens=budget)
        engine = lowered(colocated().with_pools(engine=profile, batching=batching), [20], [5]).servers.engines[0]
        assert {name: getattr(engine, name) for name in ways} == ways
        assert (engine.wait_tokens, engine.policy) == (tokens, PREFILL_FIRST)


def test_whole_hand_off_by_hand() -> None:
    found = lowered(disaggregated({}, {}, mode="whole"), [100, 50, 60], [5, 1, 2])
    jobs = found.jobs  # A B C of request 0, A of request 1, A B C of request 2
    assert found.servers.names == ("p", "d", "handoff")
    assert jobs.first.tolist() == [0, 3, 4, 7]
    assert jobs.server.tolist() == [0, 2, 1, 0, 0, 2, 1]
    assert found.stage_of_visit.tolist() == [0, -1, 1, 0, 0, -1, 1]
    assert jobs.prompt.tolist() == [100, 0, 100, 50, 60, 0, 60]
    assert jobs.computed.tolist() == [0, 0, 100, 0, 0, 0, 60]
    assert jobs.emit.tolist() == [1, 0, 4, 1, 1, 0, 1]
    assert jobs.handed.tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert jobs.answers.tolist() == [1, 0, 1, 1, 1, 0, 1]
    assert jobs.work.tolist() == [0, 100 * KV, 0, 0, 0, 60 * KV, 0]
    assert jobs.keep.tolist() == [1, 0, 0, 0, 1, 0, 0]
    assert jobs.lease.tolist() == [-1, 2, -1, -1, -1, 6, -1]
    assert jobs.frees.tolist() == [-1, 0, -1, -1, -1, 4, -1]
    assert jobs.need.tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert edges(jobs) == {(0, 1, ON_END), (1, 2, ON_END), (4, 5, ON_END), (5, 6, ON_END)}


def test_layerwise_hand_off_by_hand() -> None:
    jobs = lowered(disaggregated({}, {}), [64], [3]).jobs  # A, B1 (31 layers), B2 (1 layer), C
    assert jobs.server.tolist() == [0, 2, 2, 1]
    assert jobs.work.tolist() == [0, 64 * KV * 31 / 32, 64 * KV / 32, 0]
    assert jobs.need.tolist() == [0, 1, 2, 1]
    assert jobs.lease.tolist() == [-1, 3, -1, -1]
    assert jobs.frees.tolist() == [-1, -1, 0, -1]
    assert edges(jobs) == {(0, 1, ON_START), (0, 2, ON_END), (1, 2, ON_END), (2, 3, ON_END)}


def test_first_token_from_decode_computes_the_last_prompt_token_again() -> None:
    engine = replace(VLLM, first_token_from="decode")
    jobs = lowered(disaggregated({"engine": engine}, {"engine": engine}, mode="whole"), [100, 50], [5, 1]).jobs
    assert jobs.first.tolist() == [0, 3, 6]
    assert jobs.answers.tolist() == [0, 0, 1] * 2
    assert jobs.computed.tolist() == [0, 0, 99, 0, 0, 49]
    assert jobs.emit.tolist() == [1, 0, 5, 1, 0, 1]
    assert jobs.keep.tolist() == [1, 0, 0] * 2
    assert jobs.handed.tolist() == [0] * 6


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 5)), min_size=1, max_size=30),
    mode=st.sampled_from(["whole", "layerwise"]), side=st.sampled_from(["prefill", "decode"]),
)  # fmt: skip
def test_visits_are_well_formed_and_emit_every_token(lengths: list[tuple[int, int]], mode: str, side: str) -> None:
    engine = replace(VLLM, first_token_from=side)
    inputs, outputs = [one for one, _ in lengths], [two for _, two in lengths]
    jobs = lowered(disaggregated({"engine": engine}, {"engine": engine}, mode=mode), inputs, outputs).jobs
    owner = np.repeat(np.arange(len(lengths)), np.diff(jobs.first))
    answered = np.bincount(owner, weights=jobs.emit * jobs.answers)
    assert answered.tolist() == outputs
    assert np.bincount(owner, weights=jobs.work).tolist() == pytest.approx(
        [size * KV if side == "decode" or count > 1 else 0 for size, count in lengths]
    )
    sources = np.repeat(np.arange(len(jobs.server)), np.diff(jobs.edge_first))
    assert np.array_equal(owner[sources], owner[jobs.edge_to])
    assert np.all(sources < jobs.edge_to)
    assert np.array_equal(np.bincount(jobs.edge_to, minlength=len(owner)), jobs.need)
    freed = jobs.frees[jobs.frees >= 0]
    assert np.array_equal(np.sort(freed), np.flatnonzero(jobs.keep))
    assert np.all(jobs.limit >= jobs.emit)
    kinds = ("i8",) * 6 + ("i1", "f8", "i8", "i8", "i1", "i8", "i1", "i8", "i8", "i1", "i8", "i8", "f8", "i8", "i8", "i8")
    for column, kind in zip(jobs, kinds, strict=True):
        assert column.dtype == kind
        assert column.flags.c_contiguous


def test_law_15_one_request_alone_is_its_rows_among_many() -> None:
    design, inputs, outputs = disaggregated({}, {}), [64, 9, 30], [3, 1, 2]
    many = lowered(design, inputs, outputs).jobs
    for i, (size, count) in enumerate(zip(inputs, outputs, strict=True)):
        rows, alone = slice(many.first[i], many.first[i + 1]), lowered(design, [size], [count]).jobs
        for name in ("server", "prompt", "computed", "emit", "limit", "handed", "work", "need", "keep", "answers"):
            assert np.array_equal(getattr(many, name)[rows], getattr(alone, name)), name


def test_different_accelerators_give_each_side_its_own_step_times() -> None:
    prefill, decode = lowered(disaggregated({"accelerator": H100}, {"accelerator": L40S}), [64], [3]).servers.costs
    assert decode.token_time[4096] > 2 * prefill.token_time[4096]
    assert np.all(decode.decode_step[1:] > 2 * prefill.decode_step[1:])


def test_the_station_is_the_link_between_the_pools() -> None:
    stations = [
        lowered(disaggregated({"tp": 4, "node": 0}, {"tp": 4, "node": node, "replicas": 2}), [64], [3]).servers.stations[0]
        for node in (1, 4)
    ]
    near = lowered(disaggregated({"tp": 4}, {"tp": 4}), [64], [3]).servers.stations[0]
    assert near.cap > stations[0].cap > stations[1].cap
    assert stations[0].cap == pytest.approx(4 * 50e9 * 0.9)
    assert stations[0].rate == pytest.approx(4 * 50e9 * 0.9)  # one prefill engine feeds two decode engines
    assert stations[1].latency == 10e-6


def test_infeasible_designs_are_values_with_their_constraint() -> None:
    asked = requests([64], [3])
    for design, kind in (
        (colocated(model=LLAMA_70B), "memory"),
        (colocated(tp=8, replicas=9), "topology"),
        (disaggregated({}, {"dtypes": FP8}), "constraint"),
        (disaggregated({"model": LLAMA_70B, "tp": 8}, {}), "constraint"),
    ):
        found = lower(design, asked)
        assert isinstance(found, Infeasible)
        assert found.kind == kind
        assert found.margin > 0


def test_pipelines_of_other_shapes_are_refused_by_name() -> None:
    design = colocated()
    rerank = Pipeline(name="odd", stages=(Stage(name="prefill", kind="prefill"), Stage(name="decode", kind="rerank", after=("prefill",))))
    with pytest.raises(SpecError, match="of kind rerank and cannot run in pool chat, which has an engine: it needs encoder"):
        lower(replace(design, pipeline=rerank), requests([1], [1]))
    loose = Pipeline(name="loose", stages=(Stage(name="prefill", kind="prefill"), Stage(name="decode", kind="decode")))
    with pytest.raises(SpecError, match="Pipeline loose: stage 'decode' is of kind decode and must come right after one prefill stage"):
        lower(replace(design, pipeline=loose), requests([1], [1]))


def test_a_hand_off_that_runs_backwards_is_refused() -> None:
    design = replace(disaggregated({}, {}), handoff=Handoff(source="d", target="p"))
    with pytest.raises(SpecError, match="Handoff goes from d to p: the pipeline's goes from p to d"):
        lower(design, requests([1], [2]))


def test_every_kind_is_a_file_that_names_itself() -> None:
    from importlib import import_module

    for kind in KINDS:
        assert kind == import_module(f"mist_dse.stages.{kind}").KIND


def test_a_memoised_pool_row_is_used() -> None:
    seen = []

    def remembered(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs["role"])
        return lower_pool(*args, **kwargs)

    assert isinstance(lower(disaggregated({}, {}), requests([9], [2]), pool_row=remembered), Lowered)
    assert seen == ["prefill", "decode"]


@pytest.mark.bench
def test_lowering_ten_thousand_requests_takes_milliseconds() -> None:
    generator = np.random.default_rng(0)
    asked = requests(generator.integers(1, 4000, 10_000).tolist(), generator.integers(1, 400, 10_000).tolist())
    design = disaggregated({"model": LLAMA_70B, "tp": 8}, {"model": LLAMA_70B, "tp": 8}, topology=RACKS)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        lower(design, asked)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.015
