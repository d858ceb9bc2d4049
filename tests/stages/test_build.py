"""Visits of pipelines written out by hand: what each stage asks for, what the conversation is by then, who gives the answer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mist_dse.evaluation import evaluate
from mist_dse.perf.encoder import encoder_time
from mist_dse.rows import ON_END, ON_START, Jobs
from mist_dse.sim import simulate
from mist_dse.specs._check import SpecError
from mist_dse.specs.design import Batching, Handoff
from mist_dse.specs.pipeline import Pipeline, Repeat, Stage
from mist_dse.specs.workload import Workload
from mist_dse.stages import Lowered
from tests.perf.cases import L40S
from tests.stages.pipelines import ENCODER, QUIET, above, asked, below, edges, hosted, line, rows, signals, stage

KV = 131_072  # bytes per token of Llama-3.1-8B: 2 x 32 layers x 8 heads x 128 x 2 bytes
CHAT = (("prefill", "prefill", {}), ("decode", "decode", {}))


def prompts(found: Lowered, server: int = 0) -> list[int]:
    """Prompts of the visits to a server, in order."""
    return [int(found.jobs.prompt[v]) for v in np.flatnonzero(found.jobs.server == server)]


def emits(found: Lowered, server: int = 0) -> list[int]:
    return [int(found.jobs.emit[v]) for v in np.flatnonzero(found.jobs.server == server)]


def columns(jobs: Jobs, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(getattr(jobs, name).tolist() for name in names), strict=True))


def test_the_conversation_of_a_search_by_hand() -> None:
    """100 tokens in; the rewriter reads them and adds nothing; 3 documents of 50 join, of which the reranker keeps one."""
    pipeline = line(
        ("rewrite", "rewrite", {"tokens": 7}), ("embed", "embed", {}), ("retrieve", "retrieve", {"documents": 3, "document_tokens": 50}),
        ("rerank", "rerank", {"documents": 3, "document_tokens": 50, "keep": 1}), *CHAT,
    )  # fmt: skip
    found = rows(hosted(pipeline), asked(100, 10))
    assert prompts(found) == [100, 100 + 150 - 100]
    assert emits(found) == [7, 10]


def test_the_conversation_of_an_agent_grows_round_by_round() -> None:
    """Each call reads all that was said (and 5 tokens of instructions) and adds 20, its tool 30; the answer reads everything."""
    pipeline = line(
        ("call", "generate", {"tokens": 20, "prompt_tokens": 5}), ("tool", "tool", {"tokens": 30}), *CHAT,
        repeats=(Repeat(name="steps", stages=("call", "tool"), mode="loop", count=3),),
    )  # fmt: skip
    found = rows(hosted(pipeline), asked(100, 10))
    assert prompts(found) == [105, 160, 215, 265]
    assert emits(found) == [20, 20, 20, 10]


def test_a_round_that_is_not_made_adds_nothing() -> None:
    pipeline = line(
        ("call", "generate", {"tokens": 20}), *CHAT,
        repeats=(Repeat(name="steps", stages=("call",), mode="loop", count=2, law="geometric", most=4),),
    )  # fmt: skip
    found = rows(hosted(pipeline), asked(100, 10, count=30))
    last = found.jobs.first[1:] - 1
    calls = np.diff(found.jobs.first) - 1
    assert found.jobs.prompt[last].tolist() == (100 + 20 * calls).tolist()
    assert len(set(calls.tolist())) > 2


def test_an_image_joins_the_prompt() -> None:
    found = rows(hosted(line(("encode", "encode", {"items": 2}), *CHAT)), asked(100, 10))
    assert prompts(found) == [100 + 2 * 576]


def test_a_weak_answer_is_read_by_the_strong_model() -> None:
    found, _ = cascade(accepted=False)
    assert [prompts(found, server) for server in (0, 1)] == [[100], [100 + 10]]


def cascade(*, accepted: bool, count: int = 1) -> tuple[Lowered, Any]:
    strong = below(0.0 if accepted else 1.0)
    stages = (
        stage("weak_p", "prefill"), stage("weak_d", "decode", ["weak_p"]), stage("score", "tool", ["weak_d"], time=3, cv=0),
        stage("strong_p", "prefill", ["score"], when=strong), stage("strong_d", "decode", ["strong_p"], when=strong),
    )  # fmt: skip
    pools = {"weak": {"hosts": ["weak_p", "weak_d"]}, "strong": {"hosts": ["strong_p", "strong_d"]}}
    requests = asked(100, 10, count=count)
    found = rows(hosted(Pipeline(name="cascade", stages=stages), pools=pools), requests)
    return found, simulate(found.servers, found.jobs, requests)


def test_the_answer_of_a_cascade_is_the_last() -> None:
    """Escalated: the first token is the strong model's, 3 s and a weak answer after the arrival. Accepted: the weak model's, at once."""
    found, records = cascade(accepted=False)
    assert columns(found.jobs, "server", "answers") == [(0, 0), (2, 0), (1, 1)]
    assert records.first_token[0] > records.visit_end[1] >= records.visit_end[0] + 3
    found, records = cascade(accepted=True)
    assert columns(found.jobs, "server", "answers") == [(0, 1), (2, 0)]
    assert records.first_token[0] < records.visit_end[0] == records.last_token[0]
    assert records.end[0] == pytest.approx(records.last_token[0] + 3)


def test_the_answer_of_a_loop_is_its_last_round() -> None:
    """Drafts of an answer, each read and written anew: the user sees the last one that is made."""
    rounds = Repeat(name="drafts", stages=("prefill", "decode"), mode="loop", count=2, law="geometric", most=4)
    requests = asked(100, 10, count=30)
    found = rows(hosted(line(*CHAT, repeats=(rounds,))), requests)
    last = found.jobs.first[1:] - 1
    assert set(np.diff(found.jobs.first).tolist()) >= {1, 2, 3}
    assert np.flatnonzero(found.jobs.answers).tolist() == last.tolist()
    assert found.jobs.prompt[last].tolist() == (100 + 10 * (np.diff(found.jobs.first) - 1)).tolist()
    records = simulate(found.servers, found.jobs, requests)
    assert (records.first_token >= records.visit_start[last]).all()


def test_parallel_answers_all_count() -> None:
    """The first token of any of them is the user's first, the last of all the last."""
    paths = Repeat(name="paths", stages=("decode",), mode="parallel", count=3)
    found = rows(hosted(line(*CHAT, ("score", "tool", {}), repeats=(paths,))), asked(100, 10))
    assert found.jobs.answers.tolist() == [1, 1, 1, 0]
    assert signals(found.jobs) == {(0, 3), (1, 3), (2, 3)}


def test_two_ways_answer_each_its_own_requests() -> None:
    stages = [stage(f"{way}_{part}", kind, [f"{way}_p"] if part == "d" else [], when=when)
              for way, when in (("a", below(0.5)), ("b", above(0.5))) for part, kind in (("p", "prefill"), ("d", "decode"))]  # fmt: skip
    pools = {"a": {"hosts": ["a_p", "a_d"]}, "b": {"hosts": ["b_p", "b_d"]}}
    found = rows(hosted(Pipeline(name="ways", stages=tuple(stages)), pools=pools), asked(100, 10, count=40))
    assert np.diff(found.jobs.first).tolist() == [1] * 40
    assert found.jobs.answers.tolist() == [1] * 40
    assert set(found.jobs.server.tolist()) == {0, 1}


def test_a_stage_before_a_hand_off_delays_the_prefill_alone() -> None:
    """Tool, prefill on p, transfer, decode on d, detokenise."""
    pipeline = line(("tool", "tool", {}), *CHAT, ("end", "detokenise", {}))
    pools = {"p": {"hosts": ["prefill"]}, "d": {"hosts": ["decode"]}}
    found = rows(hosted(pipeline, pools=pools, handoff=Handoff(source="p", target="d", mode="whole")), asked(64, 5))
    assert found.servers.names == ("p", "d", "handoff", "outside", "cores")
    assert found.jobs.server.tolist() == [3, 0, 2, 1, 4]
    assert found.stage_of_visit.tolist() == [0, 1, -1, 2, 3]
    assert found.jobs.work.tolist()[2] == 64 * KV
    assert columns(found.jobs, "lease", "frees", "keep", "need") == [
        (-1, -1, 0, 0), (-1, -1, 1, 1), (3, 1, 0, 1), (-1, -1, 0, 1), (-1, -1, 0, 1),
    ]  # fmt: skip
    assert signals(found.jobs) == {(0, 1), (1, 2), (2, 3), (3, 4)}


def test_layer_by_layer_behind_a_stage() -> None:
    pools = {"p": {"hosts": ["prefill"]}, "d": {"hosts": ["decode"]}}
    found = rows(hosted(line(("tool", "tool", {}), *CHAT), pools=pools), asked(64, 5))  # layer by layer where nothing is said
    assert found.jobs.server.tolist() == [3, 0, 2, 2, 1]
    assert found.jobs.work.tolist()[2:4] == [64 * KV * 31 / 32, 64 * KV / 32]
    assert edges(found.jobs) == {(0, 1, ON_END), (1, 2, ON_START), (1, 3, ON_END), (2, 3, ON_END), (3, 4, ON_END)}


def test_an_answer_of_one_token_is_not_handed_over() -> None:
    pools = {"p": {"hosts": ["prefill"]}, "d": {"hosts": ["decode"]}}
    found = rows(hosted(line(*CHAT, ("end", "detokenise", {})), pools=pools), asked(64, 1))
    assert found.jobs.server.tolist() == [0, 3]
    assert signals(found.jobs) == {(0, 1)}


def guarded(**options: Any) -> Pipeline:
    """An input guard beside the prefill that the decode waits for, and a guard of the output."""
    stages = (
        stage("guard", "guard", template=30), stage("prefill", "prefill"), stage("decode", "decode", ["prefill", "guard"]),
        stage("check", "guard", ["decode"], **({"what": "output", "template": 30} | options)),
    )  # fmt: skip
    return Pipeline(name="guarded", stages=stages)


TWO = {"serve": {"hosts": ["prefill", "decode"]}, "guards": {"hosts": ["guard", "check"]}}


def test_a_guard_that_blocks_holds_the_decode_where_it_is() -> None:
    """Prefill and decode of one pool are two visits then, handed over on the spot: no bytes move, the blocks stay.

    The user's first token waits, too: the decode computes the last of the prompt again and gives all five.
    """
    found = rows(hosted(guarded(), pools=TWO), asked(64, 5))
    assert found.servers.names == ("serve", "guards", "signals")
    assert found.jobs.server.tolist() == [1, 0, 2, 0, 1]
    assert found.jobs.prompt.tolist() == [64 + 30, 64, 0, 64, 5 + 30]
    assert found.jobs.emit.tolist() == [2, 1, 0, 5, 2]
    assert found.jobs.computed.tolist() == [0, 0, 0, 63, 0]
    assert found.jobs.work.tolist() == [0.0, 0, 0, 0, 0]
    assert columns(found.jobs, "lease", "frees", "keep", "beside", "answers")[1:4] == [
        (-1, -1, 1, -1, 0),
        (3, 1, 0, -1, 0),
        (-1, -1, 0, 1, 1),
    ]
    assert signals(found.jobs) == {(1, 2), (2, 3), (0, 3), (3, 4)}
    assert found.jobs.need.tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize("verdict", [1, 2000])
def test_the_longer_of_guard_and_prefill_counts(verdict: int) -> None:
    """The first token follows the later of the guard's verdict and the prefill, here on a slower device than the guard."""
    pipeline = guarded()
    slow = tuple(replace(one, options=(*one.options, ("tokens", verdict))) if one.name == "guard" else one for one in pipeline.stages)
    requests = asked(64, 5)
    pools = {name: fields | ({"accelerator": L40S} if name == "serve" else {}) for name, fields in TWO.items()}
    found = rows(hosted(replace(pipeline, stages=slow), pools=pools), requests)
    records = simulate(found.servers, found.jobs, requests)
    assert records.visit_ready[3] == max(records.visit_end[0], records.visit_end[1])
    assert (records.visit_end[0] > records.visit_end[1]) == (verdict > 1)
    assert records.first_token[0] > records.visit_ready[3]


def test_a_streaming_guard_reads_all_but_the_last_tokens_meanwhile() -> None:
    """200 tokens of answer, looked at every 64: 136 from the answer's start on, the last 64 when it is out; a short answer at the end."""
    found = rows(hosted(guarded(what="streaming", every=64), pools=TWO), asked(64, [200, 40]))
    guards = np.flatnonzero((found.jobs.server == 1) & (found.stage_of_visit == 3))
    assert [int(found.jobs.prompt[v]) for v in guards] == [136 + 30, 64 + 30, 40 + 30]
    first = int(found.jobs.first[1])
    decode = int(np.flatnonzero(found.stage_of_visit[:first] == 2)[0])
    assert {(kind, target) for source, target, kind in edges(found.jobs) if source == decode} == {
        (ON_START, int(guards[0])), (ON_END, int(guards[1])),
    }  # fmt: skip


def test_a_request_has_the_same_visits_alone_and_among_others() -> None:
    design = hosted(guarded(what="streaming", every=64), pools=TWO)
    many = rows(design, asked([64, 64, 9], [200, 40, 65])).jobs
    for request, (size, tokens) in enumerate([(64, 200), (64, 40), (9, 65)]):
        alone = rows(design, asked(size, tokens)).jobs
        visits = slice(many.first[request], many.first[request + 1])
        for name in ("server", "prompt", "computed", "emit", "work", "need", "answers"):
            assert np.array_equal(getattr(many, name)[visits], getattr(alone, name)), name


def test_what_an_encoder_is_asked_for() -> None:
    """Alone on it, a request takes as long as its passes do: one of its question, then one of 4 documents with it."""
    pipeline = line(
        ("embed", "embed", {}), ("rerank", "rerank", {"documents": 4, "document_tokens": 100, "query_tokens": None, "keep": 4}), *CHAT
    )
    requests = asked([40, 300], 10)
    found = rows(hosted(pipeline), requests)
    records = simulate(found.servers, found.jobs, requests)
    taken = (records.visit_end - records.visit_start).reshape(2, 3)[:, :2]
    expected = [[float(encoder_time(ENCODER, L40S, 1, n)), float(encoder_time(ENCODER, L40S, 4, n + 100))] for n in (40, 300)]
    np.testing.assert_allclose(taken, expected, rtol=1e-9)


def test_an_encoder_batches_what_waits_for_it() -> None:
    """Eight at one instant, batches of four: two batches, each the time of four passes."""
    requests = asked(100, 10, count=8, gap=0.0)
    found = rows(hosted(line(("embed", "embed", {"tokens": 64}), *CHAT), services={"encoder": {"batch": 4}}), requests)
    records = simulate(found.servers, found.jobs, requests)
    ends = np.sort(records.visit_end.reshape(8, 2)[:, 0])
    four = float(encoder_time(ENCODER, L40S, 4, 64))
    np.testing.assert_allclose(ends, [four] * 4 + [2 * four] * 4, rtol=1e-9)


def test_queries_of_an_index_and_seconds_of_a_core() -> None:
    """A flat index of 1e6 x 128 x 4 bytes is scanned whole by each query; 100 tokens at 4e5 tokens/s are 0.25 ms."""
    found = rows(hosted(line(("tok", "tokenise", {}), ("find", "retrieve", {"queries": 3}), *CHAT)), asked(100, 10))
    named = dict(zip(found.servers.names, range(9), strict=False))
    work = dict(zip(found.jobs.server.tolist(), found.jobs.work.tolist(), strict=True))
    assert work[named["index"]] == pytest.approx(3 * 1e6 * 128 * 4, rel=0.02)  # and its identifiers
    assert work[named["cores"]] == pytest.approx(100 / 4e5)


ONE_TOKEN_BLOCKS = replace(QUIET, block_size=1)


def shared_paths(*, caching: bool, kind: str) -> int:
    """Most KV tokens of eight continuations of 2,000 tokens of a prompt of 1,155, on a pool of their own."""
    batching = Batching(prefix_caching=caching, max_num_batched_tokens=16_384)
    pools: dict[str, dict[str, Any]] = {"paths": {"hosts": ["think"], "engine": ONE_TOKEN_BLOCKS, "batching": batching}, "serve": {}}
    if kind == "generate":
        paths = Repeat(name="paths", stages=("think",), mode="parallel", count=8)
        pipeline = line(("think", "generate", {"tokens": 2000}), *CHAT, repeats=(paths,))
        requests = asked(1155, 1)
    else:
        paths = Repeat(name="paths", stages=("decode",), mode="parallel", count=8)
        pipeline = line(*CHAT, repeats=(paths,))
        pools = {"paths": pools["paths"] | {"hosts": ["prefill", "decode"]}}
        requests = asked(1155, 2000)
    found = rows(hosted(pipeline, pools=pools), requests)
    records = simulate(found.servers, found.jobs, requests)
    assert records.status.tolist() == [0]
    return int(records.peak_blocks[0])


@pytest.mark.parametrize("kind", ["generate", "decode"])
def test_parallel_paths_keep_their_prompt_once_with_prefix_caching(kind: str) -> None:
    """HERMES: P + B x O = 17,155 tokens instead of B x (P + O) = 25,240. Here the last token of an answer is never kept, and the
    last one of a prompt is computed by each path for itself, so that it is found in no cache: (P - 1) + B x O, and B x (P + O - 1)."""
    prompt, out, paths = 1155, 2000, 8
    assert (prompt + paths * out, paths * (prompt + out)) == (17_155, 25_240)
    assert shared_paths(caching=True, kind=kind) == (prompt - 1) + paths * out == pytest.approx(17_155, rel=1e-4)
    assert shared_paths(caching=False, kind=kind) == paths * (prompt + out - 1) == pytest.approx(25_240, rel=4e-4)


def test_a_path_does_not_find_what_another_wrote() -> None:
    """Two rounds of two paths: the second round finds the prompt and what its own path said before, nothing of the other's."""
    batching = Batching(prefix_caching=True)
    pools: dict[str, dict[str, Any]] = {"paths": {"hosts": ["one", "two"], "engine": ONE_TOKEN_BLOCKS, "batching": batching}, "serve": {}}
    paths = Repeat(name="paths", stages=("one", "two"), mode="parallel", count=2)
    pipeline = line(("one", "generate", {"tokens": 40}), ("two", "generate", {"tokens": 5}), *CHAT, repeats=(paths,))
    requests = asked(100, 1)
    found = rows(hosted(pipeline, pools=pools), requests)
    records = simulate(found.servers, found.jobs, requests)
    here = found.jobs.server == 0
    assert found.jobs.prompt[here].tolist() == [100, 140, 100, 140]
    # the prompt less its last token; then the prompt and 39 tokens of the path's own: the last one's KV was never computed
    assert sorted(records.visit_cached[here].tolist()) == [0, 99, 139, 139]


def test_a_conversation_that_comes_back_finds_itself() -> None:
    """A call of 20 tokens, a tool's 30, the answer: the engine finds 100 + 19 tokens of what it read and wrote."""
    batching = Batching(prefix_caching=True)
    pipeline = line(("call", "generate", {"tokens": 20}), ("tool", "tool", {"tokens": 30}), *CHAT)
    requests = asked(100, 10)
    found = rows(hosted(pipeline, pools={"serve": {"engine": ONE_TOKEN_BLOCKS, "batching": batching}}), requests)
    records = simulate(found.servers, found.jobs, requests)
    assert found.jobs.prompt[[0, 2]].tolist() == [100, 150]
    assert records.visit_cached[2] == 119


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ((stage("prefill", "prefill"),), "'prefill' is of kind prefill and no decode comes right after it"),
        ((stage("decode", "decode"),), "'decode' is of kind decode and must come right after one prefill stage"),
        (
            (stage("a", "prefill"), stage("b", "prefill"), stage("decode", "decode", ["a", "b"])),
            "'decode' is of kind decode and must come right after one prefill stage",
        ),
        (
            (stage("prefill", "prefill"), stage("tool", "tool", ["prefill"]), stage("decode", "decode", ["tool"])),
            "'decode' is of kind decode and must come right after one prefill stage",
        ),
    ],
)
def test_a_prompt_without_its_answer_is_refused(stages: tuple[Stage, ...], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        rows(hosted(Pipeline(name="odd", stages=stages)), asked())
    assert "\n" not in str(caught.value)


def test_a_pipeline_without_a_decode_has_an_end_and_no_first_token() -> None:
    design = hosted(line(("tool", "tool", {"cv": 0.0}), ("think", "generate", {"tokens": 5})))
    found = [evaluate(design, Workload.poisson(rate=0.01, input_tokens=100, output_tokens=10, requests=50), fidelity=fidelity).metrics
             for fidelity in ("bound", "steady", "simulated")]  # fmt: skip
    assert [one["ttft_mean"] for one in found] == [None] * 3
    assert [one["e2e_mean"] for one in found] == [pytest.approx(found[0]["e2e_mean"], rel=0.05)] * 3
