"""Pipelines at the command line: services are set like pools, evaluations and records show every stage, lists say what there is."""

import json
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from mist_dse.app.config import composed
from mist_dse.app.deployed import service_text, services_text
from mist_dse.app.errors import UsageError
from mist_dse.app.inputs import changed_design, design_of
from mist_dse.app.main import main
from mist_dse.app.words import command_line
from mist_dse.catalog import Catalog
from mist_dse.specs.design import Design
from mist_dse.stages.kinds import KINDS

FEW = ("workload=poisson", "workload.requests=60", "workload.rate=1")
RAG = ("tokenise", "rewrite", "embed", "retrieve", "rerank", "prefill", "decode", "detokenise")


def designed(*words: str) -> Design:
    return design_of(composed("evaluate", command_line(words)))


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(list(words))
    return capsys.readouterr().out


def test_a_service_is_set_like_a_pool() -> None:
    design = designed(
        "design=rag_rewrite_rerank", "services.index.host=epyc_9654", "services.index.sockets=2", "pools.rewriter.model=qwen3-8b"
    )
    (index,) = (service for service in design.services if service.name == "index")
    assert index.host is not None
    assert (index.host.name, index.hosts) == ("epyc_9654", 2)
    assert [pool.model.name for pool in design.pools] == ["qwen3-8b", "llama-3.1-70b"]
    (cache,) = designed("design=kv_retrieval_chat", "services.cache.tiers.dram.capacity=64 GB").services
    assert [tier.capacity for tier in cache.tiers] == [64e9, 4e12]


def test_what_is_set_everywhere_leaves_services_alone() -> None:
    usual, changed = designed("design=rag_rewrite_rerank"), designed("design=rag_rewrite_rerank", "accelerator=h200", "model=llama-3.1-8b")
    assert changed.services == usual.services
    assert {(pool.accelerator.name, pool.model.name) for pool in changed.pools} == {("h200", "llama-3.1-8b")}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("services.idx.host=grace", "services.idx: .* has no service of that name; did you mean 'index'"),
        ("services.serve.replicas=2", "serve is a pool of .*; write pools.serve"),
        ("pools.index.replicas=2", "index is a service of .*; write services.index"),
        ("services.index=3", "services.index is 3: must be a mapping"),
        ("pools.serve=3", "pools.serve is 3: must be a mapping"),
    ],
)
def test_a_service_that_is_none_is_refused(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        designed("design=rag_chat", words)


def test_a_design_without_services_says_so() -> None:
    with pytest.raises(UsageError, match="here has no service of that name; it has no services"):
        changed_design({"pools": {"serve": {}}}, {"every": {}, "pools": {}, "services": {"index": {"host": "grace"}}}, "here")
    with pytest.raises(UsageError, match="services is 3: must be a mapping"):
        changed_design({"pools": {}, "services": 3}, {"every": {}, "pools": {}}, "here")


def test_services_in_words() -> None:
    catalog = Catalog()
    texts = {service.name: service_text(service) for service in catalog.design("rag_rewrite_rerank").services}
    assert texts["text"] == "xeon_8480_plus"
    assert texts["encoders"] == "bge-reranker-v2-m3 on 2 x l40s"
    assert texts["index"] == "ivf_pq of 21,000,000 vectors on xeon_8480_plus"
    assert services_text(catalog.design("kv_retrieval_chat")) == "cache: dram 256 GB private, nvme 4 TB node"
    assert services_text(catalog.design("agentic_tools")) == "tools: outside"
    assert services_text(catalog.design("tp4_colocated")) == ""


def test_an_evaluation_shows_services_and_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "evaluate", "design=rag_rewrite_rerank", *FEW).splitlines()
    assert lines[1].startswith("services text: ")
    rows = lines[lines.index("mean time of a request") + 1 :]
    assert list(dict.fromkeys(row.split()[0] for row in rows if row.split()[0] in RAG)) == list(RAG)
    assert not [line for line in lines if "measured means" in line]  # nobody has measured such a system
    assert "measured means" in shown(capsys, "evaluate", "design=tp4_colocated", *FEW)


def test_the_parts_of_a_pipeline_sum_to_its_latency(capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(shown(capsys, "evaluate", "design=rag_rewrite_rerank", *FEW, "format=json"))
    parts = sum(seconds for causes in result["breakdown"].values() for seconds in causes.values())
    assert parts == pytest.approx(result["metrics"]["e2e_mean"], rel=1e-9)


def test_ways_chosen_by_load_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split("  ") for line in shown(capsys, "evaluate", "design=model_router_by_load", *FEW).splitlines() if "by load" in line]
    shares = [float(row[-1].split("%")[0]) for row in rows]
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(100, abs=0.11)


def test_records_have_the_times_of_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, timeline = tmp_path / "r.csv", tmp_path / "t.json"
    shown(capsys, "simulate", "design=rag_rewrite_rerank", *FEW, f"records={file}", f"timeline={timeline}")
    frame = pd.read_csv(file)
    for before, stage in pairwise(RAG):
        assert (frame[f"{stage}_start_s"] >= frame[f"{before}_end_s"] - 1e-9).all()
    assert (frame["decode_start_s"] == frame["first_token_s"]).all()
    assert (frame["detokenise_end_s"] == frame["end_s"]).all()
    events = json.loads(timeline.read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {"requests", "rewriter", "serve", "text", "encoders", "index"}
    batches = [event for event in events if event["ph"] == "X" and event["cat"] == "job"]
    assert len(batches) == 60 * 5  # text twice, encoders twice, the index once


def test_lists_say_what_pipelines_are_made_of(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(what: str) -> dict[str, dict[str, str]]:
        return {row["name"]: row for row in json.loads(shown(capsys, "list", what, "format=json"))}

    stages = rows("stages")
    assert tuple(stages) == KINDS
    assert stages["retrieve"]["runs_on"] == "index, outside"
    assert stages["tokenise"]["options"] == "rate = 400000 token/s"
    assert stages["kv_fetch"]["options"] == "recompute = auto, hold = false"
    pipelines = rows("pipelines")
    assert pipelines["chat"]["stages"] == "prefill > decode"
    assert "think (generate, parallel x 8)" in pipelines["reasoning_multi_path"]["stages"]
    assert "strong_prefill (prefill, 20%)" in pipelines["model_cascade"]["stages"]
    assert "small_prefill (prefill, by load)" in pipelines["model_router_by_load"]["stages"]
    assert rows("indexes")["small_flat"]["scanned"] == 1_000_000 * 768 * 4
    designs = rows("designs")
    assert designs["rag_chat"]["pipeline"] == "rag_chat"
    assert "index: ivf_pq" in designs["rag_chat"]["services"]
