"""Pipelines and their designs as a person writes them: what the files come to, and one clear line for each way to get them wrong."""

from pathlib import Path

import pytest

from mist_dse.app.main import main
from mist_dse.catalog import Catalog, CatalogError
from mist_dse.requests import realise
from mist_dse.specs._check import SpecError
from mist_dse.specs.pipeline import Repeat, When
from mist_dse.stages import lower

PIPELINE = """stages:
- {name: embed, kind: embed}
- {name: find, kind: retrieve, after: [embed], documents: 3}
- {name: call, kind: generate, after: [find], tokens: 20}
- {name: prefill, kind: prefill, after: [call]}
- {name: decode, kind: decode, after: [prefill]}
repeats:
- {name: steps, stages: [find, call], mode: loop, count: 2}
source: a test
"""
DESIGN = """pipeline: mine
topology: hgx_pair
services:
  vectors: {hosts: [embed], model: e5-base-v2, accelerator: l40s, batch: 4, wait: 2 ms}
  index: {hosts: [find], index: wiki_ivfpq, host: xeon_8480_plus, sockets: 1}
pools:
  serve: {hosts: [call, prefill, decode], model: llama-3.1-8b, accelerator: h100_sxm}
"""
CACHED = """stages:
- {name: fetch, kind: kv_fetch, hold: false}
- {name: prefill, kind: prefill, after: [fetch]}
- {name: decode, kind: decode, after: [prefill]}
source: a test
"""
TIERS = """pipeline: mine
topology: hgx_pair
services:
  cache:
    hosts: [fetch]
    tiers:
      dram: {tier: host_dram_to_gpu_over_pcie5_x16, capacity: 256 GB}
      nvme: {tier: nvme_gen5_x4, capacity: 4 TB, scope: node}
pools:
  serve: {hosts: [prefill, decode], model: llama-3.1-8b, accelerator: h100_sxm, replicas: 16}
"""
QUICK = ("workload.requests=20", "workload.rate=0.1", "fidelity=bound", "format=json")


def written(folder: Path, pipeline: str, design: str) -> Path:
    """A folder of configuration with one pipeline and one design named ``mine``."""
    for group, text in (("pipeline", pipeline), ("design", design)):
        (folder / group).mkdir(parents=True)
        (folder / group / "mine.yaml").write_text(text)
    return folder


def line(folder: Path, workload: str) -> str:
    """The one line that refuses the design, when it is read or when its requests are lowered."""
    catalog = Catalog((folder, *Catalog().directories))
    with pytest.raises((CatalogError, SpecError)) as caught:
        lower(catalog.design("mine"), realise(catalog.workload(workload, requests=20)))
    said = str(caught.value).replace(str(folder), "conf")
    assert "\n" not in said
    assert len(said) < 500
    return said


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_file_becomes_a_pipeline(tmp_path: Path) -> None:
    text = changed(PIPELINE, "after: [embed]", "after: [embed], when: {draw: a, below: 20%}, classes: [chat, code]")
    found = Catalog((written(tmp_path, text, DESIGN), *Catalog().directories)).pipeline("mine")
    assert [stage.name for stage in found.stages] == ["embed", "find", "call", "prefill", "decode"]
    find = found.stage("find")
    assert (find.kind, find.after, find.options) == ("retrieve", ("embed",), (("documents", 3),))
    assert (find.when, find.classes) == (When(draw="a", below=0.2), ("chat", "code"))
    assert found.repeats == (Repeat(name="steps", stages=("find", "call"), mode="loop", count=2),)


def test_the_files_of_these_tests_are_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (pipeline, design, workload) in enumerate(((PIPELINE, DESIGN, "poisson"), (CACHED, TIERS, "sessions"))):
        folder = written(tmp_path / str(number), pipeline, design)
        assert main(["evaluate", "design=mine", "--config-dir", str(folder), f"workload={workload}", *QUICK]) in (0, 1), capsys.readouterr()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # a stage: its kind, its keys, what stands before it
        ("kind: retrieve", "kind: retreive", "Pipeline mine: stage 'find' is of kind 'retreive', which does not exist; did you mean 'retr"),
        ("kind: retrieve", "kind: [retrieve]", "conf/pipeline/mine.yaml: stages.1.kind: ['retrieve']: should be a valid string"),
        ("name: find, ", "nam: find, ", "stages.1.name: missing key 'name'"),
        ("{name: embed, kind: embed}", "{name: embed, kind: embed}\n- {name: embed, kind: rewrite}", "mine has two stages named 'embed'"),
        ("after: [embed]", "after: [embd]", "stages.find.after: 'embd' is not a stage of pipeline mine; did you mean 'embed'?"),
        ("after: [embed]", "afer: [embed]", "stage 'find': unknown key 'afer' (value ('embed',)); did you mean 'after'?"),
        ("after: [embed]", "after: embed", "stages.1.after: 'embed': should be a valid list"),
        ("after: [embed]", "after: [find]", "'find' comes after 'find', which is not an earlier stage; a cycle has no exit: write what co"),
        ("after: [embed]", "after: [decode]", "'find' comes after 'decode', which is not an earlier stage; a cycle has no exit: write wha"),
        ("documents: 3", "documents: three", "Pipeline mine: stage 'find': documents is 'three': should be a whole number"),
        ("documents: 3", "documents: -3", "stage 'find': documents is -3: must be finite and >= 0"),
        ("documents: 3", "documents: 2.5", "stage 'find': documents is 2.5: should be a whole number"),
        ("documents: 3", "document: 3", "stage 'find': unknown key 'document' (value 3); did you mean 'document_tokens' or 'documents'?"),
        ("tokens: 20", "tokens: 20, scale: 2", "stage 'call': tokens or scale: give one of the two"),
        # choices and classes
        ("documents: 3", "when: {draw: a, below: 1.5}", "stages.find.below: When.below is 1.5: must lie between 0 and 1"),
        ("documents: 3", "when: {draw: a, above: 0.7, below: 0.5}", "stages.find.above: When.above is 0.7, more than below, 0.5"),
        ("documents: 3", "when: {below: 0.5}", "stages.1.when.draw: missing key 'draw'"),
        ("documents: 3", "when: {draw: a, belw: 0.5}", "stages.1.when.belw: unknown key 'belw' (value 0.5); did you mean 'below'?"),
        ("documents: 3", "when: 0.5", "stages.1.when: 0.5: should be a mapping"),
        ("documents: 3", "classes: [chat]", "stage 'find' is for class 'chat'; the workload's classes: none"),
        ("documents: 3", "join: first", "stage 'find' joins the first, so it must come after parallel repeats alone"),
        ("documents: 3", "join: frist", "stages.1.join: 'frist' is unknown; did you mean 'first'? valid: all, first, majority"),
        (
            "- {name: prefill, kind: prefill, after: [call]}",
            "- {name: prefill, kind: prefill, after: [call], when: {draw: a, below: 0.5}}",
            "stage 'decode' continues 'prefill', and both must have the same when and classes",
        ),
        # repeats
        ("[find, call], mode", "[fnd, call], mode", "repeats.steps.stages: 'fnd' is not a stage of pipeline mine; did you mean 'find'?"),
        ("[find, call], mode", "[], mode", "repeats: Repeat steps names no stages"),
        ("mode: loop", "mode: lop", "repeats.0.mode: 'lop' is unknown; did you mean 'loop'? valid: loop, parallel"),
        ("mode: loop, ", "", "repeats.0.mode: missing key 'mode'"),
        ("count: 2", "count: 0", "repeats.count: Repeat.count is 0.0: must be finite and > 0"),
        ("count: 2", "count: -2", "repeats.count: Repeat.count is -2.0: must be finite and > 0"),
        ("count: 2", "count: 2.5", "Repeat.count of steps is 2.5: must be whole, or have law geometric"),
        ("count: 2", "count: 2 s", "repeats.0.count: '2 s' is a quantity of s"),
        ("count: 2", "count: 400", "Repeat steps makes 400 copies: must be at most 64"),
        ("count: 2", "counts: 2", "repeats.0.counts: unknown key 'counts' (value 2); did you mean 'count'?"),
        ("count: 2", "count: 2, law: geometric", "Repeat.most of steps is missing: a loop of drawn length needs an exit; say how often"),
        ("count: 2", "count: 2, law: geometrc, most: 9", "repeats.0.law: 'geometrc' is unknown; did you mean 'geometric'?"),
        ("count: 2}", "count: 2}\n- {name: more, stages: [call], mode: loop, count: 2}", "stage 'call' is in repeats steps and more"),
        ("[find, call], mode", "[embed, call], mode", "stage 'find' follows 'embed' and must stand after all of steps"),
        ("[find, call], mode", "[decode], mode", "stage 'decode' continues 'prefill', and both must be in one repeat, or the decode alone"),
        ("[find, call], mode: loop", "[prefill], mode: parallel", "stage 'decode' continues 'prefill', and both must be in one repeat"),
        # prefills and decodes
        ("kind: generate, after: [find], tokens: 20", "kind: prefill, after: [find]", "'call' is of kind prefill and no decode comes righ"),
        ("kind: prefill, after: [call]", "kind: generate, tokens: 5, after: [call]", "'decode' is of kind decode and must come right afte"),
        ("source: a test", "sourc: a test", "unknown key 'sourc'"),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert says in line(written(tmp_path, changed(PIPELINE, old, new), DESIGN), "poisson")


INDEX = "index: wiki_ivfpq, host: xeon_8480_plus, sockets: 1"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # who hosts what
        ("hosts: [find]", "hosts: [fnd]", "conf/design/mine.yaml: services.index.hosts: 'fnd' is not a stage of pipeline mine; did you me"),
        ("hosts: [find]", "hosts: []", "services.index: Service index hosts no stage"),
        ("hosts: [find]", "hosts: [find, embed]", "Design hosts stage 'embed' in more than one pool"),
        (f"  index: {{hosts: [find], {INDEX}}}\n", "", "Design hosts no pool for stage 'find' of pipeline mine"),
        (INDEX, "host: xeon_8480_plus", "'find' is of kind retrieve and cannot run in service index, which is cores: it needs index or ou"),
        ("hosts: [embed]", "hosts: [decode]", "Design hosts"),
        ("pipeline: mine", "pipeline: mien", "pipeline: pipeline 'mien' is not in the catalogue; did you mean 'mine'"),
        ("services:", "service:", "service: unknown key 'service'"),
        # what a service is
        (INDEX, "index: wiki_ivfpq", "Service index has an index and neither a host nor an accelerator to keep it"),
        (INDEX, "index: wiki_ivf, host: xeon_8480_plus", "services.index.index: index 'wiki_ivf' is not in the catalogue; did you mean"),
        ("sockets: 1", "sockets: 0", "services.index.sockets: 0: should be greater than or equal to 1"),
        ("sockets: 1", "at: {nod: 0}", "services.index.at.nod: unknown key 'nod' (value 0); did you mean 'node'?"),
        ("sockets: 1", "at: {node: -1}", "services.index.at.node: -1: should be a whole number from 0 on"),
        ("wait: 2 ms", "wait: 2 GB", "services.vectors.wait: '2 GB' is a quantity of B, expected s"),
        ("wait: 2 ms", "wait: -2 ms", "services.vectors.wait: Service.wait is -0.002: must be finite and >= 0"),
        ("wait: 2 ms", "wiat: 2 ms", "services.vectors.wiat: unknown key 'wiat' (value '2 ms'); did you mean 'wait'"),
        ("batch: 4", "batch: 0", "services.vectors.batch: Service.batch is 0: must be finite and > 0"),
        ("batch: 4", "replicas: -1", "services.vectors.replicas: Service.replicas is -1: must be finite and > 0"),
        ("model: e5-base-v2, ", "", "Service vectors has an accelerator and neither a model nor an index to use it for"),
        ("accelerator: l40s, ", "", "Service vectors runs e5-base-v2 on nothing: give it an accelerator or a host"),
        ("model: e5-base-v2", "model: e5-base-v2, index: wiki_ivfpq", "Service vectors must be one thing: an encoder (model), an index or"),
        # devices together
        ("batch: 4", "beside: serv", "Pool vectors is beside 'serv', which is no pool with devices of its own (serve)"),
        ("batch: 4", "beside: index", "Pool vectors is beside 'index', which is no pool with devices of its own (serve)"),
        ("batch: 4", "beside: serve", "Pool vectors is beside serve and must have its accelerator, h100_sxm"),
        ("l40s, batch: 4", "h100_sxm, replicas: 2, beside: serve", "Service vectors is beside pool serve: it must be an encoder of one re"),
        ("accelerator: h100_sxm", "accelerator: h100_sxm, beside: serve", "Pool serve is beside 'serve', which is no pool with devices of"),
        ("model: llama-3.1-8b", "model: e5-base-v2", "Pool serve: e5-base-v2 has no output head, so it cannot prefill for an answer"),
        # YAML itself
        ("batch: 4", "batch: 4, batch: 5", "conf/design/mine.yaml: line 4: the key 'batch' is written twice"),
        ("hosts: [find]", "hosts: [find", "conf/design/mine.yaml: line "),
    ],
)  # fmt: skip
def test_a_wrong_design_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert says in line(written(tmp_path, PIPELINE, changed(DESIGN, old, new)), "poisson")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hold: false", "hold: 3", "Pipeline mine: stage 'fetch': hold is 3: should be true or false"),
        ("hold: false", "recompute: sometimes", "stage 'fetch': recompute is 'sometimes': must be one of auto, never"),
        ("nvme_gen5_x4", "nvme_gen5", "services.cache.tiers.nvme.tier: tier 'nvme_gen5' is not in the catalogue; did you mean 'nvme_gen5_"),
        ("capacity: 4 TB", "capacity: 4 TB/s", "services.cache.tiers.nvme.capacity: '4 TB/s' is a quantity of B/s, expected B"),
        ("capacity: 4 TB", "capacity: 0", "services.cache.tiers.nvme.capacity: KvTier.capacity is 0.0: must be finite and > 0"),
        (", capacity: 256 GB", "", "services.cache.tiers.dram: missing key 'capacity': tier host_dram_to_gpu_over_pcie5_x16 has none of i"),
        ("scope: node", "scope: rack", "services.cache.tiers.nvme.scope: 'rack' is unknown; valid: node, private, shared"),
        ("capacity: 256 GB", "capacity: 256 GB, scope: shared", "Service cache: its tiers must go from private to shared, nearest first"),
        ("replicas: 16", "router: jsq", "Pool serve: router is jsq; what tiers hold is known before a run only with a router that does no"),
        ("replicas: 16", "batching: {prefix_caching: true}", "Service cache: pool serve has prefix_caching, too; a resident tier stands f"),
        (TIERS[TIERS.index("    tiers:"):TIERS.index("pools:")], "", "'fetch' is of kind kv_fetch and cannot run in service cache, which"),
        (TIERS[TIERS.index("    tiers:"):TIERS.index("pools:")], "    tiers: [dram]\n", "services.cache.tiers: ['dram']: should be a mapp"),
    ],
)  # fmt: skip
def test_wrong_tiers_are_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    texts = [text.replace(old, new) for text in (CACHED, TIERS)]
    assert texts != [CACHED, TIERS]
    assert says in line(written(tmp_path, *texts), "sessions")


def test_tiers_need_content_that_has_names(tmp_path: Path) -> None:
    assert "use a trace with hash_ids, or sessions" in line(written(tmp_path, CACHED, TIERS), "poisson")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: retrieve", "kind: retreive", "stage 'find' is of kind 'retreive', which does not exist; did you mean 'retrieve'"),
        ("after: [embed]", "after: [call]", "a cycle has no exit"),
        ("hosts: [find]", "hosts: [fnd]", "mine.yaml: services.index.hosts: 'fnd' is not a stage of pipeline mine"),
        ("batch: 4", "batch: 4, batch: 5", "design/mine.yaml, line 4: "),
        ("hosts: [find]", "hosts: [find", "design/mine.yaml, line "),
    ],
)
def test_the_command_says_it_and_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    folder = written(tmp_path, PIPELINE.replace(old, new), DESIGN.replace(old, new))
    assert main(["evaluate", "design=mine", "--config-dir", str(folder), "workload=poisson", *QUICK]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("mist-dse: ")
    assert says in shown.err
