"""Timelines of packaged pipelines, of several pools, batchers and links, against their records and in Perfetto."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import mist_dse as md
from mist_dse.evaluation import Simulation
from mist_dse.report.timeline import Replay, write_timeline
from tests.report.test_timeline import REQUESTS, Trace, ns, perfetto, valid

DESIGNS = ("disagg_2x4", "rag_rewrite_rerank", "reasoning_multi_path", "model_cascade", "agentic_tools", "guarded_chat")


def simulated(design: str, requests: int = 40) -> Simulation:
    workload = md.Workload.poisson(rate=2.0, input_tokens=300, output_tokens=24, requests=requests)
    return md.simulate(md.load_design(design), workload, steps=True)


def written(folder: Path, run: Simulation, name: str = "t.json") -> tuple[Path, Trace | None]:
    path = folder / name
    assert run.steps is not None
    write_timeline(path, Replay(run.lowered.servers, run.lowered.jobs, run.records, run.steps))
    return path, valid(path.read_text()) if name.endswith(".json") else None


def busy(run: Simulation) -> dict[str, float]:
    """Seconds of steps at every pool, and of service at every station and batcher, by name."""
    servers, records = run.lowered.servers, run.records
    found = {}
    for number, name in enumerate(servers.names):
        if number < len(servers.engines):
            found[name] = float(records.busy[records.pool == number].sum())
        else:
            here = run.lowered.jobs.server == number
            found[name] = float(np.nansum((records.visit_end - records.visit_start)[here]))
    return found


@pytest.mark.parametrize("design", DESIGNS)
def test_every_server_is_a_process_with_all_it_did(tmp_path: Path, design: str) -> None:
    run = simulated(design)
    _, trace = written(tmp_path, run)
    assert trace is not None
    assert len(run.lowered.servers.names) > 1
    assert tuple(trace.processes.values()) == ("requests", *run.lowered.servers.names)
    spent: dict[str, float] = defaultdict(float)
    for (pid, _), track in trace.slices.items():
        spent[trace.processes[pid]] += sum(one.end - one.start for one in track) / 1e9
    for name, seconds in busy(run).items():
        assert spent[name] == pytest.approx(seconds, rel=1e-6, abs=1e-6 * run.records.makespan), name
    for name in run.lowered.servers.names:
        pid = next(pid for pid, other in trace.processes.items() if other == name)
        assert any(key[0] == pid for key in trace.counts), name


@pytest.mark.parametrize("design", DESIGNS)
def test_the_arrows_of_a_request_pass_every_server_that_it_visits(tmp_path: Path, design: str) -> None:
    run = simulated(design)
    _, trace = written(tmp_path, run)
    assert trace is not None
    jobs, records = run.lowered.jobs, run.records
    for request, flow in trace.flows.items():
        visits = range(jobs.first[request], jobs.first[request + 1])
        served = {int(jobs.server[v]) + 2 for v in visits if not np.isnan(records.visit_start[v])}
        assert {event["pid"] for event in flow} == {REQUESTS} | served
        assert ns(flow[0]["ts"]) == round(records.arrival[request] * 1e9)
        assert ns(flow[-1]["ts"]) == round(records.end[request] * 1e9)


@pytest.mark.browser
@pytest.mark.parametrize("design", DESIGNS)
def test_perfetto_opens_it_without_a_complaint(tmp_path: Path, design: str) -> None:
    run = simulated(design)
    _, trace = written(tmp_path, run)
    assert trace is not None
    path, _ = written(tmp_path, run, "t.json.gz")
    problems, slices, processes, arrows, ends = perfetto(
        path,
        "select name, value from stats where value > 0 and severity != 'info'",
        "select count(*) from slice",
        "select p.name, sum(s.dur) from slice s join thread_track k on s.track_id = k.id join thread t using (utid) "
        "join process p using (upid) where s.category in ('step', 'job') group by 1",
        "select count(*) from flow",
        "select max(ts + dur) - min(ts) from slice",
    )
    assert problems == []
    assert slices == [[sum(event["ph"] in "Xb" for event in trace.events)]]
    assert arrows == [[sum(len(flow) - 1 for flow in trace.flows.values())]]
    spent = busy(run)
    found = {str(name): duration / 1e9 for name, duration in processes}
    visited = np.unique(run.lowered.jobs.server[~np.isnan(run.records.visit_start)])
    assert set(found) == {run.lowered.servers.names[server] for server in visited}
    assert found == pytest.approx({name: spent[name] for name in found}, rel=1e-6, abs=1e-6 * run.records.makespan)
    assert ends[0][0] / 1e9 <= run.records.makespan
