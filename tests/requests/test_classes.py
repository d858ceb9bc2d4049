"""Classes of requests: shares, lengths and priorities of their own, and their names in a trace."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats

from mist_dse.requests import TraceError, realise
from mist_dse.specs._check import SpecError
from mist_dse.specs.workload import Arrivals, Lengths, Workload, WorkloadClass

FIXED = Lengths(kind="fixed", mean=50)


def mixed(*classes, seed=0, requests=30_000, **changes):
    given = {"input_tokens": Lengths(kind="lognormal", mean=400, cv=1.0), "output_tokens": FIXED} | changes
    return realise(Workload(name="m", arrivals=Arrivals(kind="poisson", rate=1.0, requests=requests), classes=classes, seed=seed, **given))


def of(name, share, **fields):
    return WorkloadClass(name=name, share=share, **fields)


def test_shares_are_relative_to_their_sum():
    found = mixed(of("a", 2.0), of("b", 5.0), of("c", 1.0), seed=4).class_id
    assert stats.chisquare(np.bincount(found), 30_000 * np.array([2, 5, 1]) / 8).pvalue > 0.001


@given(shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=5), seed=st.integers(0, 30), few=st.integers(1, 50))
def test_a_class_does_not_depend_on_how_many_requests_follow(shares, seed, few):
    classes = [of(str(number), share) for number, share in enumerate(shares)]
    short, long = mixed(*classes, seed=seed, requests=few), mixed(*classes, seed=seed, requests=few + 70)
    assert np.array_equal(short.class_id, long.class_id[:few])
    assert set(long.class_id) <= set(range(len(shares)))


def test_a_class_has_its_own_lengths_and_leaves_those_of_others_alone():
    plain = mixed(of("a", 1.0), of("b", 1.0))
    some = mixed(of("a", 1.0), of("b", 1.0, input_tokens=Lengths(kind="fixed", mean=9), output_tokens=Lengths(kind="geometric", mean=30)))
    mine = some.class_id == 1
    assert np.array_equal(plain.class_id, some.class_id)
    assert np.array_equal(plain.input_tokens[~mine], some.input_tokens[~mine])
    assert set(some.input_tokens[mine]) == {9}
    assert set(some.output_tokens[~mine]) == {50}
    assert some.output_tokens[mine].mean() == pytest.approx(30, abs=3.29 * (30 * 29 / mine.sum()) ** 0.5)
    assert np.array_equal(some.max_tokens, some.output_tokens)


def test_priorities_and_cached_shares_are_those_of_the_class():
    found = mixed(of("a", 1.0, priority=3), of("b", 1.0, priority=-1, cached_prompt_fraction=0.5), cached_prompt_fraction=0.1)
    mine = found.class_id == 1
    assert np.array_equal(found.priority, np.where(mine, -1, 3))
    assert np.array_equal(found.cached_tokens[mine], np.minimum(found.input_tokens[mine] // 2, found.input_tokens[mine] - 1))
    assert np.all(found.cached_tokens[~mine] <= found.input_tokens[~mine] * 0.1 + 1e-9)


def test_without_classes_nobody_has_one():
    found = mixed()
    assert (len(found.class_id), len(found.priority), len(found.session), len(found.hash_ids)) == (0, 0, 0, 0)


def test_lengths_may_come_from_classes_alone():
    both = {"input_tokens": FIXED, "output_tokens": FIXED}
    assert set(mixed(of("a", 1.0, **both), of("b", 2.0, **both), input_tokens=None, output_tokens=None).input_tokens) == {50}
    with pytest.raises(SpecError, match="has no lengths"):
        mixed(of("a", 1.0, **both), of("b", 2.0, input_tokens=FIXED), input_tokens=None, output_tokens=None)


def test_a_trace_names_classes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,max_tokens,class,priority\n0,10,5,9,chat,2\n1,20,6,9,batch,\n2,30,7,9,chat,1\n")

    def replay(*classes):
        return realise(Workload(name="r", arrivals=Arrivals(kind="trace", path=str(path)), classes=classes))

    found = replay(of("batch", 1.0, output_tokens=Lengths(kind="fixed", mean=4)), of("chat", 1.0))
    assert found.class_id.tolist() == [1, 0, 1]
    assert found.priority.tolist() == [2, 0, 1]
    assert found.output_tokens.tolist() == [5, 4, 7]
    assert found.max_tokens.tolist() == [9, 4, 9]
    assert len(replay().class_id) == 0
    with pytest.raises(TraceError, match=r"t\.csv: class 'chat' is not one of the workload: bulk, batch"):
        replay(of("bulk", 1.0), of("batch", 1.0))


WRONG = (
    ((("a", 1.0), ("a", 2.0)), r"Workload\.classes has 'a' twice"),
    ((("a", 0.0),), r"WorkloadClass\.share is 0\.0: must be finite and > 0"),
    ((("", 1.0),), r"WorkloadClass\.name is empty"),
)


@pytest.mark.parametrize(("classes", "says"), WRONG)
def test_what_cannot_be_is_refused_in_one_line(classes, says):
    with pytest.raises(SpecError, match=says):
        mixed(*(of(*each) for each in classes))
    with pytest.raises(SpecError, match=r"cached_prompt_fraction is 2: must lie between 0 and 1"):
        of("a", 1.0, cached_prompt_fraction=2)
