"""Bad input through the real command: one clear line that names the place, the value and the way out, and the exit status."""

import subprocess
from pathlib import Path

import pytest

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
QUICK = ("workload=poisson", "workload.requests=20", "fidelity=bound")


def one_line(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The only line on standard error, where the command ended with ``status`` and printed no result."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("mist-dse: ")
    return lines[0]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        # a misspelt key: of the verb, of a pool, of a workload
        (["evaluate", "acelerator=l40s"], ["acelerator", "did you mean 'accelerator'"]),
        (["evaluate", "pools.serv.accelerator=l40s"], ["pools.serv", "did you mean 'serve'"]),
        (["evaluate", "pools.serve.acelerator=l40s"], ["pools.serve", "acelerator", "did you mean 'accelerator'"]),
        (["evaluate", "design=rag_chat", "services.idx.host=grace", *QUICK], ["services.idx", "did you mean 'index'"]),
        (["evaluate", "design.pools.serve.replicsa=2", *QUICK], ["conf/design/tp4_colocated.yaml", "replicsa"]),
        (
            ["evaluate", "workload=poisson", "workload.arrivals.rte=2"],
            ["workload/poisson.yaml", "arrivals.rte", "did you mean 'rate'"],
        ),
        # unknown names, with the nearest
        (["evaluate", "accelerator=h100", *QUICK], ["accelerator", "'h100'", "h100_sxm"]),
        (["evaluate", "model=llama3.1-70b", *QUICK], ["model", "llama3.1-70b", "llama-3.1-70b"]),
        (["evaluate", "workload=poissn"], ["workload=poissn", "did you mean 'poisson'"]),
        (["evaluate", "design=tp4_collocated"], ["tp4_collocated", "did you mean 'tp4_colocated'"]),
        (["evaluate", "prices=defualt", *QUICK], ["defualt", "did you mean 'default'"]),
        (["evaluate", "fidelity=simulate"], ["fidelity=simulate", "did you mean 'simulated'"]),
        (["list", "accelerator"], ["accelerator", "did you mean 'accelerators'"]),
        (["sweep", "space=azure_cat"], ["azure_cat", "did you mean 'azure_chat'"]),
        # tp that does not divide the heads
        (["evaluate", "design.pools.serve.tp=3", *QUICK], ["tp", "3", "64", "heads"]),
        # rates that cannot be
        (["evaluate", "workload=poisson", "workload.rate=-2"], ["rate", "-2", "> 0"]),
        (["evaluate", "workload=poisson", "workload.rate=nan"], ["rate", "nan", "finite"]),
        (["evaluate", "workload=poisson", "workload.rate=inf"], ["rate", "inf", "finite"]),
        (["evaluate", "workload=poisson", "workload.rate='2 GB'"], ["rate", "2 GB", "1/s"]),
        # traces that are not there
        (["simulate", "workload=azure_trace"], ["path"]),
        (["simulate", "workload=azure_trace", "workload.path=no/such.csv"], ["no/such.csv"]),
        # a short name of the workload, misspelt; keys that are added or removed
        (["evaluate", "workload.rte=2"], ["workload.rte=2", "did you mean 'rate'"]),
        (["evaluate", "+wrokload.rate=9"], ["wrokload", "did you mean 'workload'"]),
        (["evaluate", "+foo.bar=1"], ["foo.bar=1", "no key 'foo'", "workload"]),
        (["evaluate", "~workload"], ["~workload", "cannot be removed"]),
        (["evaluate", "~prices"], ["~prices", "cannot be removed"]),
        # plain values where names or mappings are due
        (["evaluate", "workload=5"], ["workload=5", "name of a file", "poisson"]),
        (["evaluate", "workload=null"], ["workload=null", "name of a file"]),
        (["evaluate", "slo=3"], ["slo=3", "name of a file", "interactive_chat"]),
        (["evaluate", "pools=3"], ["pools is 3", "mapping"]),
        # options of a search
        (["sweep", "search.batch=0"], ["search.batch is 0", ">= 1"]),
        (["sweep", "seconds=abc"], ["seconds is 'abc'", "> 0"]),
        (["sweep", "evaluations=1.5"], ["evaluations is 1.5", "whole"]),
        (["sweep", "seed=-1"], ["seed is -1", ">= 0"]),
        (["sweep", "objectives=3"], ["objectives is 3", "list"]),
        (["sweep", "search=nsga2", "search.options.population_size=-4"], ["search.options.population_size is -4", ">= 1"]),
        (["sweep", "resume=notarun"], ["resume=notarun", "is not a run folder"]),
        # commands
        (["evalute"], ["evalute", "did you mean 'evaluate'"]),
        (["export"], ["export", "does not have it"]),
        (["validate", "data=no/such.csv"], ["data=no/such.csv", "no such file"]),
        (["validate", "operators=no/such.parquet"], ["operators=no/such.parquet", "no such file"]),
        (["validate", "part=tset"], ["part=tset", "did you mean 'test'"]),
        (["validate", "benchmark=inferencx"], ["inferencx", "did you mean 'inferencex'"]),
        (["validate", "limit_rows=0"], ["limit_rows=0", ">= 1"]),
        (["validate", "predictions=no/such/out.csv"], ["predictions=no/such/out.csv", "does not exist"]),
        (["calibrate", "out=x.yaml"], ["operators=FILES", "data=FILE", "log=FILE"]),
        (["calibrate", "out=x.yaml", "data=no/such.csv"], ["data=no/such.csv", "no such file"]),
        (["calibrate"], ["out is missing"]),
        (["evaluate", "--confg-dir", "x"], ["--confg-dir", "--config-dir"]),
        (["evaluate", "rate"], ["'rate'", "key=value"]),
        (["report", "no/such/run"], ["no/such/run", "no such folder"]),
        (["report"], ["run is missing"]),
        (["simulate", "timeline=t.txt", *QUICK[:2]], ["timeline=t.txt", ".json"]),
        (["simulate", "timeline=no/such/t.json", *QUICK[:2]], ["timeline=no/such/t.json", "does not exist"]),
        (["simulate", "timeline=t.json", "timeline_requests=0", *QUICK[:2]], ["timeline_requests=0", "1 or more"]),
        (["simulate", "records=out.xlsx", *QUICK[:2]], ["records=out.xlsx", ".parquet"]),
    ],
)
def test_one_line_and_status_2(mist_dse, words: list[str], says: list[str]) -> None:
    line = one_line(mist_dse(*words))
    assert [part for part in says if part not in line] == [], line


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("empty.csv", "", ["empty.csv"]),
        ("header_only.csv", AZURE, ["header_only.csv"]),
        (
            "malformed.csv",
            f"{AZURE}2023-11-16 18:15:46.6805900,374,44\nyesterday,1,2\n",
            ["malformed.csv", "3", "yesterday"],
        ),
        ("columns.csv", "when,how_long\n1,2\n", ["columns.csv", "when"]),
        ("broken.jsonl", '{"timestamp": 0, "input_length": 5, "output_length": 2}\n{"timestamp": \n', ["broken.jsonl", "2"]),
        ("negative.csv", "arrival_s,input_tokens,output_tokens\n0,10,5\n1,-3,5\n", ["negative.csv", "-3"]),
    ],
)
def test_a_bad_trace_names_file_and_row(mist_dse, tmp_path: Path, name: str, text: str, says: list[str]) -> None:
    (tmp_path / name).write_text(text)
    line = one_line(mist_dse("simulate", "workload=azure_trace", f"workload.path={name}"))
    assert [part for part in says if part not in line] == [], line


ACCELERATOR = """
vendor: Mine
year: 2026
peaks: {bf16: 100 TFLOP/s}
memory: 80 GB/s
memory_bandwidth: 1 TB/s
scale_up: {link: nvlink4, domain: 8}
tdp: 300 W
source: a test
"""


def test_a_unit_of_the_wrong_kind_names_file_key_and_unit(mist_dse, tmp_path: Path) -> None:
    (tmp_path / "mine" / "accelerator").mkdir(parents=True)
    (tmp_path / "mine" / "accelerator" / "mine.yaml").write_text(ACCELERATOR)
    line = one_line(mist_dse("evaluate", "accelerator=mine", "--config-dir", "mine", *QUICK))
    assert [part for part in ("mine/accelerator/mine.yaml", "memory", "80 GB/s", "B") if part not in line] == [], line


@pytest.mark.parametrize("pools", ["7", "{serve: 7}"])
def test_a_users_design_whose_pools_are_no_mapping(mist_dse, tmp_path: Path, pools: str) -> None:
    (tmp_path / "mine" / "design").mkdir(parents=True)
    (tmp_path / "mine" / "design" / "mine.yaml").write_text(f"topology: hgx\npools: {pools}\n")
    line = one_line(mist_dse("evaluate", "design=mine", "--config-dir", "mine"))
    assert [part for part in ("mine/design/mine.yaml", "pools", "7", "mapping") if part not in line] == [], line


def test_text_that_cannot_be_parsed_is_shown_as_typed(mist_dse) -> None:
    line = one_line(mist_dse("evaluate", "slo.limits=[ttft_p90<=1]"))
    assert "mist-dse: slo.limits=[ttft_p90<=1]: not an override" in line
    assert "++" not in line
    assert "Exception" not in line


def test_no_folder_without_an_errno(mist_dse, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, why in (("empty", "it has no manifest.json"), ("absent", "there is no such folder")):
        line = one_line(mist_dse("sweep", f"resume={folder}"))
        assert why in line
        assert "Errno" not in line


def test_no_verb_is_bad_input_and_prints_the_usage(mist_dse) -> None:
    done = mist_dse()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: mist-dse VERB")


def test_a_misspelt_key_in_a_users_file_names_the_file(mist_dse, tmp_path: Path) -> None:
    (tmp_path / "mine" / "workload").mkdir(parents=True)
    text = "arrivals: {kind: poisson, rate: 1, requests: 5}\ninput_tokns: 5\noutput_tokens: 5\n"
    (tmp_path / "mine" / "workload" / "mine.yaml").write_text(text)
    line = one_line(mist_dse("evaluate", "workload=mine", "--config-dir", "mine"))
    assert [part for part in ("mine/workload/mine.yaml", "input_tokns", "input_tokens") if part not in line] == [], line


def test_a_model_that_does_not_fit_ends_with_status_1(mist_dse) -> None:
    done = mist_dse("evaluate", "model=llama-3.1-405b", "design=tp1_colocated", "format=json", *QUICK)
    line = one_line(done, status=1)
    assert [part for part in ("llama-3.1-405b", "h100_sxm", "tp 1", "GB") if part not in line] == [], line
    assert '"feasible": false' in done.stdout


def test_a_space_without_a_feasible_design_ends_with_status_1(mist_dse, tmp_path: Path) -> None:
    done = mist_dse("sweep", 'space.where=["accelerators <= 0"]', "executor=serial")
    line = one_line(done, status=1)
    assert "accelerators" in line
    assert "removes every design" in line
    assert "%" not in line


def test_a_bug_is_one_line_too(mist_dse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import mist_dse.app.verbs.list as verb
    from mist_dse.app.main import main

    def broken(job: object) -> int:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(verb, "status", broken)
    assert main(["list"]) == 70
    assert capsys.readouterr().err == "mist-dse: a bug: RuntimeError: two lines; MIST_DSE_DEBUG=1 shows where\n"


def test_ctrl_c_ends_with_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import mist_dse.app.verbs.list as verb
    from mist_dse.app.main import main

    def interrupted(job: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "status", interrupted)
    assert main(["list"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1
