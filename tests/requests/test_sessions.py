"""Sessions: a conversation worked out by hand, and the laws of turns, think times and starts; tolerances are 99.9% intervals."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from mist_dse.requests import realise
from mist_dse.requests.sessions import Sessions, conversation_names, conversation_prompts
from mist_dse.specs.workload import Arrivals, Lengths, Workload, WorkloadClass

Z = 3.29


def sessions(*, seed=0, nominal_rate=True, classes=(), new=None, answer=None, **arrivals):
    given = {"kind": "sessions", "rate": 2.0, "turns": 4.0, "think": 10.0, "requests": 2000} | arrivals
    return realise(Workload(name="s", arrivals=Arrivals(**given), seed=seed, nominal_rate=nominal_rate, classes=classes,
                            input_tokens=new or Lengths(kind="lognormal", mean=120, cv=1.0),
                            output_tokens=answer or Lengths(kind="geometric", mean=60)))  # fmt: skip


def turn_of(requests):
    """Which turn of its session each request is, from 0."""
    turn = np.zeros(len(requests.follows), int)
    for row, before in enumerate(requests.follows):
        turn[row] = turn[before] + 1 if before >= 0 else 0
    return turn


def names_of(requests, row):
    return requests.hash_ids[requests.hash_first[row] : requests.hash_first[row + 1]].tolist()


def test_two_conversations_by_hand():
    # session 0: turns 0, 2 and 3; session 1: turn 1 between them. A system prompt of 5 tokens, blocks of 4.
    turns = Sessions(np.array([0.0, 1.0, 2.0, 9.0]), np.zeros(4), np.array([0, 1, 0, 0]), np.array([-1, -1, 0, 2]), np.arange(4))
    new, answer = np.array([3, 10, 1, 2]), np.array([4, 6, 5, 7])
    prompts = conversation_prompts(turns, new, answer, 5)
    assert prompts.tolist() == [5 + 3, 5 + 10, 5 + 3 + 4 + 1, 5 + 3 + 4 + 1 + 5 + 2]
    names = conversation_names(turns, prompts + answer, 5, 4)
    # 12, 21, 18 and 27 tokens: 3, 5, 4 and 6 whole blocks; block 0 is of the system prompt alone, block 1 is not
    assert names.first.tolist() == [0, 3, 8, 12, 18]
    first, second = 1 << 32, 2 << 32
    assert names.ids.tolist() == [
        *(0, first + 1, first + 2),
        *(0, *(second + block for block in range(1, 5))),
        *(0, *(first + block for block in range(1, 4))),
        *(0, *(first + block for block in range(1, 6))),
    ]


shapes = st.fixed_dictionaries({
    "requests": st.integers(1, 120), "turns": st.integers(1, 8).map(float), "turns_law": st.sampled_from(["geometric", "fixed"]),
    "think": st.sampled_from([0.0, 1.0, 500.0]), "tool_share": st.sampled_from([0.0, 0.5]), "tool_time": st.sampled_from([0.0, 3.0]),
    "shared_prefix": st.integers(0, 70), "hash_tokens": st.integers(1, 40), "rate": st.floats(0.01, 50), "seed": st.integers(0, 50),
    "nominal_rate": st.booleans(),
})  # fmt: skip


@given(shape=shapes)
def test_columns_agree_with_one_another(shape):
    requests = sessions(**shape)
    count = shape["requests"]
    assert len(requests.arrival) == len(requests.think) == len(requests.session) == count
    assert np.all(np.diff(requests.arrival) >= 0)
    assert requests.clients == 0
    follows = requests.follows if len(requests.follows) else np.full(count, -1)
    later = np.flatnonzero(follows >= 0)
    assert np.all(follows < np.arange(count))
    assert len(set(follows[later])) == len(later)  # at most one follows another
    assert np.array_equal(requests.session[later], requests.session[follows[later]])
    assert len(set(requests.session[follows < 0])) == (follows < 0).sum()
    assert np.array_equal(requests.arrival[later], requests.arrival[follows[later]] + requests.think[later])
    assert not requests.think[follows < 0].any()
    added = requests.input_tokens[later] - (requests.input_tokens + requests.output_tokens)[follows[later]]
    assert np.all(added >= 1)
    assert np.all(requests.input_tokens[follows < 0] > shape["shared_prefix"])


@given(shape=shapes)
def test_names_say_what_two_requests_share(shape):
    requests = sessions(**shape)
    block, shared = shape["hash_tokens"], shape["shared_prefix"] // shape["hash_tokens"]
    sizes = (requests.input_tokens + requests.output_tokens) // block
    assert np.array_equal(np.diff(requests.hash_first), sizes)
    for row in range(0, len(sizes), 7):
        mine, other = names_of(requests, row), names_of(requests, len(sizes) - 1 - row)
        assert len(set(mine)) == len(mine)
        before = requests.follows[row] if len(requests.follows) else -1
        if before >= 0:
            assert mine[: sizes[before]] == names_of(requests, before)
        if requests.session[row] != requests.session[len(sizes) - 1 - row]:
            assert len(set(mine) & set(other)) == min(shared, len(mine), len(other))


@pytest.mark.parametrize(("law", "variance"), [("geometric", 4.0 * 3.0), ("fixed", 0.0)])
def test_mean_turns(law, variance):
    # long after the last start all turns are there: think times of nothing keep a session together
    requests = sessions(turns_law=law, think=0.0, requests=200_000, nominal_rate=False)
    turns = np.bincount(requests.session)[:-1]  # the last may be cut off
    assert turns.mean() == pytest.approx(4.0, abs=Z * (variance / len(turns)) ** 0.5 + 1e-12)
    assert turns.min() >= 1
    if law == "geometric":
        number = np.bincount(np.minimum(turns, 12), minlength=13)[1:]
        share = 0.25 * 0.75 ** np.arange(12)
        share[-1] = 0.75**11
        assert stats.chisquare(number, share * len(turns)).pvalue > 0.001


def test_think_times_are_exponential_and_some_are_tools():
    requests = sessions(think=30.0, tool_share=0.25, tool_time=2.0, requests=60_000)
    # those of sessions that started long before the end: late turns are cut off after long times
    early = (requests.follows >= 0) & (requests.session < requests.session.max() // 2)
    waits = requests.think[early]
    assert stats.kstest(waits, lambda x: 1 - 0.75 * np.exp(-x / 30.0) - 0.25 * np.exp(-x / 2.0)).pvalue > 0.001


def test_sessions_start_as_a_poisson_process_of_rate_over_turns():
    requests = sessions(requests=100_000, nominal_rate=False, seed=3)
    starts = requests.arrival[requests.follows < 0]
    assert stats.kstest(np.diff(starts) * 2.0 / 4.0, "expon").pvalue > 0.001


def test_the_rate_is_that_of_requests_in_the_long_run():
    found = []
    for seed in range(30):
        requests = sessions(requests=20_000, nominal_rate=False, seed=seed)
        settled = requests.arrival > 500  # 50 mean think times: sessions come and go in balance
        found.append((settled.sum() - 1) / (requests.arrival[-1] - 500))
    half = stats.t.ppf(0.9995, 29) * np.std(found, ddof=1) / 30**0.5
    assert half < 0.04
    assert np.mean(found) == pytest.approx(2.0, abs=half)


@given(seed=st.integers(0, 200), count=st.integers(1, 400), law=st.sampled_from(["geometric", "fixed"]))
def test_the_sessions_that_bring_so_many_requests_start_at_the_nominal_rate(seed, count, law):
    # without pauses a session's turns come together, and the last of them is the last start
    requests = sessions(seed=seed, requests=count, turns=3.0, turns_law=law, think=0.0)
    whole = sessions(seed=seed, requests=count + 200, turns=3.0, turns_law=law, think=0.0, nominal_rate=False)
    brought = (whole.session <= requests.session.max()).sum()  # the turns cut off included
    assert requests.arrival[-1] == pytest.approx(brought / 2.0, rel=1e-9)
    assert requests.nominal_rate == 2.0


def test_another_rate_only_moves_the_starts():
    slow, fast = sessions(rate=0.5, nominal_rate=False), sessions(rate=4.0, nominal_rate=False)

    def of(requests):
        keys = zip(requests.session.tolist(), turn_of(requests).tolist(), strict=True)
        return {key: (requests.input_tokens[row], requests.output_tokens[row], requests.think[row]) for row, key in enumerate(keys)}

    one, other = of(slow), of(fast)
    both = one.keys() & other.keys()
    assert len(both) > 1000
    assert all(one[key] == other[key] for key in both)
    starts = [requests.arrival[requests.follows < 0] for requests in (slow, fast)]
    same = min(map(len, starts))
    assert starts[0][:same] / 8 == pytest.approx(starts[1][:same], rel=1e-12)


def test_a_class_is_that_of_the_whole_session():
    classes = (WorkloadClass(name="a", share=1.0), WorkloadClass(name="b", share=3.0, input_tokens=Lengths(kind="fixed", mean=7)))
    requests = sessions(classes=classes, requests=8000)
    pairs = set(zip(requests.session.tolist(), requests.class_id.tolist(), strict=True))
    assert len(pairs) == len(set(requests.session))
    first = requests.follows < 0
    assert set(requests.input_tokens[first & (requests.class_id == 1)]) == {7}
    share, count = (requests.class_id[first] == 1).mean(), first.sum()
    assert share == pytest.approx(0.75, abs=Z * (0.75 * 0.25 / count) ** 0.5)


def test_a_seed_is_a_seed():
    first, again = sessions(seed=5), sessions(seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.arrival, sessions(seed=6).arrival)


def test_sessions_of_one_turn_are_poisson_arrivals():
    one = sessions(turns=1.0, requests=500)
    assert len(one.follows) == 0
    base = Workload(name="p", arrivals=Arrivals(kind="poisson", rate=2.0, requests=500), input_tokens=Lengths(kind="fixed", mean=9),
                    output_tokens=Lengths(kind="fixed", mean=9))  # fmt: skip
    assert one.arrival == pytest.approx(realise(dataclasses.replace(base)).arrival, rel=1e-12)
