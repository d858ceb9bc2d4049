"""Loops, parallel copies, choices and joins become visits: by hand, by the laws of what is drawn, and as paths through random graphs."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mist_dse.rows import CANCEL, Requests
from mist_dse.sim import simulate
from mist_dse.specs._check import SpecError
from mist_dse.specs.pipeline import Pipeline, Repeat, Stage
from mist_dse.stages.unroll import Copy, unrolled
from tests.stages.pipelines import above, asked, below, edges, hosted, rows, stage

SIGMAS = 3.29
"""Of the normal law: 99.9% lie within."""


def copies(*stages: Stage, repeats: tuple[Repeat, ...] = (), requests: Requests | None = None) -> tuple[Copy, ...]:
    return unrolled(Pipeline(name="p", stages=stages, repeats=repeats), asked() if requests is None else requests)


def written(found: tuple[Copy, ...], request: int = 0) -> list[str]:
    """What a request visits and after what, in words: "b1 after a0 c0"."""
    names = [f"{copy.stage.name}{copy.number}" for copy in found]
    return [
        " ".join([name, *(["after"] if any(mask[request] for mask in copy.sources.values()) else []),
                  *(names[source] for source, mask in copy.sources.items() if mask[request])])
        for name, copy in zip(names, found, strict=True) if copy.present[request]
    ]  # fmt: skip


def loop(*names: str, **more: Any) -> Repeat:
    return Repeat(**({"name": "again", "stages": names, "mode": "loop", "count": 3} | more))


def test_a_line_is_itself() -> None:
    assert written(copies(stage("a"), stage("b", after=["a"]), stage("c", after=["b"]))) == ["a0", "b0 after a0", "c0 after b0"]


def test_a_fixed_loop_by_hand() -> None:
    found = copies(stage("s"), stage("a", after=["s"]), stage("b", after=["a"]), stage("e", after=["b"]), repeats=(loop("a", "b"),))
    assert written(found) == ["s0", "a0 after s0", "b0 after a0", "a1 after b0", "b1 after a1", "a2 after b1", "b2 after a2", "e0 after b2"]


def test_a_loop_with_two_ways_inside_waits_for_both() -> None:
    found = copies(stage("a"), stage("b"), stage("e", after=["a", "b"]), repeats=(loop("a", "b", count=2),))
    assert written(found) == ["a0", "b0", "a1 after a0 b0", "b1 after a0 b0", "e0 after a1 b1"]


def test_a_stage_beside_a_loop_is_visited_once() -> None:
    found = copies(
        stage("s"), stage("a", after=["s"]), stage("beside", after=["s"]), stage("e", after=["a", "beside"]), repeats=(loop("a"),)
    )
    assert written(found) == ["s0", "a0 after s0", "a1 after a0", "a2 after a1", "beside0 after s0", "e0 after beside0 a2"] or written(
        found
    ) == ["s0", "a0 after s0", "a1 after a0", "a2 after a1", "beside0 after s0", "e0 after a2 beside0"]


def test_parallel_copies_by_hand() -> None:
    both = Repeat(name="paths", stages=("a", "b"), mode="parallel", count=3)
    found = copies(stage("s"), stage("a", after=["s"]), stage("b", after=["a"]), stage("e", after=["b"]), repeats=(both,))
    assert written(found) == [
        "s0", "a0 after s0", "b0 after a0", "a1 after s0", "b1 after a1", "a2 after s0", "b2 after a2", "e0 after b0 b1 b2",
    ]  # fmt: skip


def test_a_loop_of_drawn_length_has_its_mean_and_its_exit() -> None:
    """1 + a geometric number of mean 4 stops with chance 1/4 a round; cut at 16, its mean is 4 (1 - (3/4)^16)."""
    requests = asked(count=40_000)
    found = copies(stage("a"), stage("e", after=["a"]), repeats=(loop("a", count=4, law="geometric", most=16),), requests=requests)
    rounds = np.sum([copy.present for copy in found if copy.stage.name == "a"], axis=0)
    assert (rounds.min(), rounds.max()) == (1, 16)
    spread = SIGMAS * rounds.std() / math.sqrt(len(rounds))
    assert rounds.mean() == pytest.approx(4 * (1 - 0.75**16), abs=spread)
    once = float((rounds == 1).mean())
    assert once == pytest.approx(0.25, abs=SIGMAS * math.sqrt(0.25 * 0.75 / len(rounds)))
    present = np.array([copy.present for copy in found if copy.stage.name == "a"])
    assert (present[1:] <= present[:-1]).all()  # no round without the one before it


def test_what_follows_a_drawn_loop_waits_for_the_last_round_alone() -> None:
    requests = asked(count=50)
    found = copies(stage("a"), stage("e", after=["a"]), repeats=(loop("a", count=2, law="geometric", most=5),), requests=requests)
    rounds = np.sum([copy.present for copy in found[:-1]], axis=0)
    for request, made in enumerate(rounds):
        assert written(found, request)[-1] == f"e0 after a{made - 1}"
    assert len(set(rounds.tolist())) > 2


def test_drawn_parallel_copies_are_as_many_as_drawn() -> None:
    paths = Repeat(name="paths", stages=("a",), mode="parallel", count=2, law="geometric", most=4)
    found = copies(stage("a"), stage("e", after=["a"]), repeats=(paths,), requests=asked(count=50))
    made = np.sum([copy.present for copy in found[:-1]], axis=0)
    for request in range(50):
        assert written(found, request)[-1] == "e0 after " + " ".join(f"a{k}" for k in range(made[request]))


def test_two_ways_share_a_draw() -> None:
    """Every request takes exactly one of them, a fifth the first; stages that name the same draw go together, others do not."""
    found = copies(
        stage("a", when=below(0.2)), stage("b", when=above(0.2)), stage("again", when=below(0.2)), stage("other", when=below(0.2, "o")),
        requests=asked(count=40_000),
    )  # fmt: skip
    a, b, again, other = (copy.present for copy in found)
    assert (a ^ b).all()
    assert (a == again).all()
    assert a.mean() == pytest.approx(0.2, abs=SIGMAS * 0.4 / 200)
    assert (a & other).mean() == pytest.approx(0.04, abs=SIGMAS * math.sqrt(0.04 * 0.96) / 200)


def test_a_wider_choice_keeps_who_was_chosen() -> None:
    narrow, wide = copies(stage("a", when=below(0.2)), stage("b", when=below(0.5)), requests=asked(count=1000))
    assert (narrow.present <= wide.present).all()


def test_a_stage_for_some_classes() -> None:
    requests = asked(count=6, class_id=np.array([0, 1, 2, 0, 1, 2]), class_names=("chat", "code", "batch"))
    found = copies(stage("a", classes=("chat", "batch")), stage("e", after=["a"]), requests=requests)
    assert found[0].present.tolist() == [True, False, True] * 2
    assert written(found, 1) == ["e0"]


def test_a_class_that_the_workload_does_not_have() -> None:
    requests = asked(count=2, class_id=np.array([0, 0]), class_names=("chat", "code"))
    with pytest.raises(SpecError, match="stage 'a' is for class 'chatt'; the workload's classes: chat, code"):
        copies(stage("a", classes=("chatt",)), requests=requests)
    with pytest.raises(SpecError, match="the workload's classes: none"):
        copies(stage("a", classes=("chat",)))


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("", ["a0", "b0 after a0", "c0 after b0", "d0 after c0"]),
        ("b", ["a0", "c0 after a0", "d0 after c0"]),
        ("c", ["a0", "b0 after a0", "d0 after b0"]),
        ("bc", ["a0", "d0 after a0"]),
        ("abc", ["d0"]),
        ("a", ["b0", "c0 after b0", "d0 after c0"]),
    ],
)
def test_absent_stages_are_passed_by(absent: str, expected: list[str]) -> None:
    never = below(0.0)
    stages = [stage(name, after=before, when=never if name in absent else None)
              for name, before in (("a", []), ("b", ["a"]), ("c", ["b"]), ("d", ["c"]))]  # fmt: skip
    assert written(copies(*stages)) == expected


def test_a_way_that_is_absent_on_one_side_of_a_diamond() -> None:
    found = copies(stage("a"), stage("b", after=["a"], when=below(0.0)), stage("c", after=["a"]), stage("d", after=["b", "c"]))
    assert written(found) == ["a0", "c0 after a0", "d0 after a0 c0"]  # a has ended before c, so it costs nothing to wait for it, too


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[float]]:
    """Stages with those before them, and shares of requests that take each."""
    size = draw(st.integers(2, 7))
    before = [sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(size)]
    return before, [draw(st.sampled_from([1.0, 1.0, 0.5, 0.0])) for _ in range(size)]


@settings(max_examples=80)
@given(graphs())
def test_a_stage_follows_exactly_those_visited_before_it(graph: tuple[list[list[int]], list[float]]) -> None:
    """Among the stages that a request visits, one comes after another if and only if a path of the pipeline leads there."""
    before, shares = graph
    stages = [stage(f"s{i}", after=[f"s{k}" for k in each], when=below(share, f"d{i}"))
              for i, (each, share) in enumerate(zip(before, shares, strict=True))]  # fmt: skip
    found = copies(*stages, requests=asked(count=8))
    reach: list[set[int]] = []
    for each in before:
        reach.append(set(each).union(*(reach[k] for k in each)))
    for request in range(8):
        visited = [i for i in range(len(before)) if found[i].present[request]]
        walked: dict[int, set[int]] = {}
        for i in visited:
            sources = [k for k, mask in found[i].sources.items() if mask[request]]
            assert all(k < i for k in sources)
            walked[i] = set(sources).union(*(walked[k] for k in sources))
            assert walked[i] == reach[i] & set(visited)


def paths(join: str, count: float = 5, **more: Any) -> Pipeline:
    """Calls side by side, of different lengths, then the answer."""
    stages = (
        stage("call", "tool", time="20 s", cv=0.5), stage("meet", "tool", ["call"], join=join, time=0, cv=0),
        stage("prefill", "prefill", ["meet"]), stage("decode", "decode", ["prefill"]),
    )  # fmt: skip
    return Pipeline(name="paths", stages=stages, repeats=(Repeat(name="r", stages=("call",), mode="parallel", count=count, **more),))


@pytest.mark.parametrize(
    ("join", "count", "need"), [("all", 5, 5), ("first", 5, 1), ("majority", 5, 3), ("majority", 4, 3), ("majority", 2, 2)]
)
def test_joins_wait_for_so_many_and_cancel_the_rest(join: str, count: int, need: int) -> None:
    found = rows(hosted(paths(join, count)), asked())
    meet = count  # the visit after the calls
    assert found.jobs.need[meet] == need
    cancelled = {target for source, target, kind in edges(found.jobs) if kind == CANCEL and source == meet}
    assert cancelled == (set() if join == "all" else set(range(count)))
    assert {kind for source, _, kind in edges(found.jobs) if source != meet} == {0}


def test_a_join_takes_the_order_statistic_of_its_branches() -> None:
    """All: the longest of five calls, majority: the third, first: the shortest, of the same draws."""
    requests = asked(count=40)
    starts, ends = {}, None
    for join in ("all", "majority", "first"):
        found = rows(hosted(paths(join)), requests)
        records = simulate(found.servers, found.jobs, requests)
        assert (records.status == 0).all()
        by_request = records.visit_end.reshape(40, -1)
        starts[join] = records.visit_ready.reshape(40, -1)[:, 5]
        ends = by_request[:, :5] if join == "all" else ends
    assert ends is not None
    ordered = np.sort(ends, axis=1)
    np.testing.assert_allclose(starts["all"], ordered[:, 4])
    np.testing.assert_allclose(starts["majority"], ordered[:, 2])
    np.testing.assert_allclose(starts["first"], ordered[:, 0])


def test_a_majority_of_drawn_copies_is_that_of_those_made() -> None:
    requests = asked(count=60)
    found = rows(hosted(paths("majority", 2, law="geometric", most=5)), requests).jobs
    made = np.diff(found.first) - 2  # prefill and decode are one visit
    assert sorted(set(made.tolist())) == [1, 2, 3, 4, 5]
    meets = found.first[:-1] + made
    assert found.need[meets].tolist() == [copies // 2 + 1 for copies in made]


def test_more_requests_change_no_draw_of_the_first() -> None:
    """A loop, a choice, drawn times and drawn lengths; stages that others leave alone keep theirs as well."""
    stages = (
        stage("call", "generate", tokens=100, cv=0.5), stage("tool", "tool", ["call"], time=5, cv=1.0),
        stage("maybe", "tool", ["tool"], when=below(0.4), time=1, cv=1.0), stage("prefill", "prefill", ["maybe"]),
        stage("decode", "decode", ["prefill"]),
    )  # fmt: skip
    again = loop("call", "tool", count=3, law="geometric", most=20)
    pipeline = Pipeline(name="agent", stages=stages, repeats=(again,))
    design = hosted(pipeline, pools={"serve": {"replicas": 3, "router": "random"}})
    few, many = (rows(design, asked(count=count)).jobs for count in (20, 200))
    visits = int(few.first[-1])
    assert np.diff(many.first).max() > np.diff(few.first).max()
    assert many.first[:21].tolist() == few.first.tolist()
    for name in ("server", "prompt", "emit", "work", "need", "draw"):
        assert np.array_equal(getattr(many, name)[:visits], getattr(few, name)), name


def test_other_stages_change_no_draw() -> None:
    chat = (stage("prefill", "prefill", ["tool"]), stage("decode", "decode", ["prefill"]))
    plain = Pipeline(name="a", stages=(stage("tool", time=5), *chat))
    more = Pipeline(name="b", stages=(stage("other", time=7), stage("tool", time=5, after=["other"]), *chat))
    one, two = (rows(hosted(pipeline), asked(count=30)).jobs for pipeline in (plain, more))
    assert np.array_equal(one.work.reshape(30, -1)[:, 0], two.work.reshape(30, -1)[:, 1])
    assert len(np.unique(one.work.reshape(30, -1)[:, 0])) == 30


def test_another_seed_draws_anew() -> None:
    choose = stage("a", when=below(0.5))
    one, same, other = (copies(choose, requests=asked(count=100, seed=seed))[0].present for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
