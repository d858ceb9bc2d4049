"""A deterministic slice of the fuzzer, and what is known to have gone wrong once; the ten minutes of it are slow."""

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mist_dse import rows
from mist_dse.sim import RowError, simulate
from tests.builders import Call, Case, colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine
from tests.sim import fuzz, isolated

SLICE = {"rows": 300, "people": 150}
"""Cases of each level in a slice: five seconds each."""


@pytest.mark.parametrize("level", SLICE)
def test_wrong_inputs_end_in_a_clear_line_or_a_correct_result(level: str) -> None:
    counts, faults = fuzz.fuzzed(level, seed=4, seconds=300.0, most=SLICE[level])
    assert faults == []
    assert counts.total() == SLICE[level]
    assert counts["refused"] > SLICE[level] // 4
    assert counts.total() - counts["refused"] > SLICE[level] // 10  # and it does not refuse all there is


@pytest.mark.slow
@pytest.mark.parametrize("level", SLICE)
def test_ten_minutes_of_wrong_inputs(level: str) -> None:
    """New ones at each run, and the seed in the message."""
    seed = int.from_bytes(os.urandom(4), "big")
    counts, faults = fuzz.fuzzed(level, seed, seconds=600.0)
    assert faults == [], f"seed {seed}"
    assert counts.total() > 1000


def crashes(index: int) -> str:
    if index == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return "lives"


def hangs(index: int) -> str:
    while index == 1:
        pass
    return "lives"


def swallows(index: int) -> str:
    return f"{len(np.ones(2**40 if index == 1 else 1))} bytes"


@pytest.mark.parametrize(
    ("judge", "said"),
    [(crashes, "ends the process with status -15"), (hangs, "does not end within"), (swallows, "cannot be judged: MemoryError: Unable")],
)
def test_the_fuzzer_sees_a_child_die(judge: Callable[[int], str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "SECONDS", 1.0)
    found = dict(isolated.outcomes(judge, 0, seconds=60.0, most=3))
    assert said in found[1]
    assert list(found) == [0, 1, 2]
    assert found[0] == found[2]


def test_the_fuzzer_tells_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a simulator whose clock is one second ahead hardly a case that runs is right."""

    def late(*case: Any) -> rows.Records:
        records = simulate(*case)
        return records._replace(end=records.end + 1.0)

    monkeypatch.setattr(fuzz, "simulate", late)
    verdicts = [fuzz.row_verdict(f"4 {index}") for index in range(60)]
    told = sum("not as the twin" in verdict for verdict in verdicts)
    assert told > 10
    assert verdicts.count("as the twin") < told // 2  # where everything is rejected


def plain(**engine: Any) -> Case:
    """Two requests at one engine."""
    jobs = jobs_of([colocated(5, 3), colocated(4, 2)])
    return Case(servers_of([(simple_engine(**engine), simple_cost(base=1.0))]), jobs, requests_of([0.0, 1.0], [(5, 3), (4, 2)]))


def handed(**second: Any) -> Case:
    """One request handed from one engine to another."""
    calls = disaggregated(5, 3)
    calls[1] = calls[1]._replace(**second)
    pool = (simple_engine(), simple_cost(base=1.0))
    return Case(servers_of([pool, pool], [rows.Station(1.0, 1.0, 1, 0.0)]), jobs_of([calls]), requests_of([0.0], [(5, 3)]))


def looped() -> Case:
    """Two visits that wait for each other."""
    calls = [Call(1, need=1, edges=((1, rows.ON_END),)), Call(1, need=1, edges=((0, rows.ON_END),)), *colocated(5, 3)]
    servers = servers_of([(simple_engine(), simple_cost(base=1.0))], [rows.Station(1.0, 1.0, 1, 0.0)])
    return Case(servers, jobs_of([calls]), requests_of([0.0], [(5, 3)]))


def with_jobs(**columns: Any) -> Case:
    case = plain()
    return case._replace(jobs=case.jobs._replace(**columns))


def with_requests(**columns: Any) -> Case:
    case = plain()
    return case._replace(requests=case.requests._replace(**columns))


def with_cost(**columns: Any) -> Case:
    case = plain()
    return case._replace(servers=case.servers._replace(costs=(case.servers.costs[0]._replace(**columns),)))


def long(tokens: int, **engine: Any) -> Case:
    """One request of so many tokens where there is room for it."""
    pool = simple_engine(max_model_len=2**40, blocks=2**40, **engine)
    return Case(servers_of([(pool, simple_cost(base=1.0))]), jobs_of([colocated(tokens, 2)]), requests_of([0.0], [(tokens, 2)]))


REFUSED: dict[str, tuple[Case, str]] = {
    "a prompt of fractions": (with_jobs(prompt=np.array([5.5, 4.0])), "Jobs.prompt is an array of float64 in 1 dimensions"),
    "unsigned tokens, whose differences wrap around": (with_jobs(first=np.array([0, 1, 2], np.uint64)), "Jobs.first is an array of uint64"),
    "a list for a column": (with_jobs(need=[0, 0]), "Jobs.need is an array of list"),
    "times of two dimensions": (with_requests(arrival=np.zeros((2, 1))), "Requests.arrival is an array of float64 in 2 dimensions"),
    "a request without visits": (with_jobs(first=np.array([0, 2, 2])), "Jobs.first gives request 1 no visit"),
    "a signal that never comes": (with_jobs(need=np.array([0, 1])), "Jobs.need of visit 1"),
    "visits in a circle": (looped(), "visit 0 waits for itself"),
    "a lease of what runs already": (handed(edges=()), "Jobs.need of visit 2"),
    "KV that nobody frees": (handed(frees=-1), "Jobs.keep of visit 0 is set and no visit frees it"),
    "milliseconds since 1970": (with_requests(arrival=np.array([1.7e12, 1.7e12])), "Requests.arrival of known request 0"),
    "steps longer than time": (with_cost(decode_step=np.full((9, 4), 1e300)), "decode_step is not between"),
    "a table that falls below 0": (with_cost(token_time=np.array([9.0, 1.0])), "token_time leaves 0 to"),
    "more than a whole step": (with_cost(stage_share=2.0), "stage_share is 2.0"),
    "more replicas than memory": (plain(replicas=10**12), "GB of state"),
    "more blocks of tokens than memory": (plain(block_size=10**12), "GB of state"),
    "a step for every few tokens of very many": (long(2**39), "steps, more than 2\\^30"),
    "a clock that is not a number": (with_requests(arrival=np.array([0.0, np.nan])), "Requests.arrival of known request 1"),
    "a router by name": (plain(router="random"), "router is 'random'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    case, said = REFUSED[name]
    with pytest.raises(RowError, match=said) as caught:
        simulate(*case)
    assert "\n" not in str(caught.value)


def test_enormous_and_right() -> None:
    """2^30 tokens in one step of 2^30 tokens, and one more step: 1 s each."""
    case = long(2**30, max_num_batched_tokens=2**30)
    records = simulate(*case)
    assert records.end[0] == 2.0
