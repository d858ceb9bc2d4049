"""Composition: files, overrides and a user's folder become plain data, mistakes one line."""

from pathlib import Path

import pytest
import yaml

from mist_dse.app.config import completions, composed, groups_of, job_text, top_keys
from mist_dse.app.errors import UsageError, one_line
from mist_dse.app.main import VERBS
from mist_dse.app.words import command_line
from mist_dse.catalog import conf_dir


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_file_that_starts_with_what_it_does(verb: str) -> None:
    text = (conf_dir() / f"{verb}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "format" in top_keys(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_group_that_a_verb_composes_has_its_default(verb: str) -> None:
    for group, name in groups_of(verb).items():
        assert name is None or (conf_dir() / group / f"{name}.yaml").is_file()


def test_overrides_reach_the_plain_data() -> None:
    words = command_line(["workload=poisson", "workload.rate=3", "accelerator=l40s", "pools.prefill.tp=2", "fidelity=bound"])
    config = composed("evaluate", words).config
    assert config["workload"]["arrivals"] == {"kind": "poisson", "rate": 3, "requests": 10000}
    assert (config["every"]["accelerator"], config["pools"], config["fidelity"]) == ("l40s", {"prefill": {"tp": 2}}, "bound")
    assert type(config["workload"]) is dict


def test_choices_are_kept() -> None:
    job = composed("evaluate", command_line(["workload=poisson"]))
    assert job.choices["workload"] == "poisson"
    assert job.file("workload") == "conf/workload/poisson.yaml"


def test_the_composed_job_reads_back_as_yaml() -> None:
    job = composed("list", command_line(["models"], bare="what"))
    assert yaml.safe_load(job_text(job)) == {"what": "models", "format": "table"}


def test_a_users_folder_goes_first(tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "mine.yaml").write_text("arrivals: {kind: batch, requests: 3}\ninput_tokens: 10\noutput_tokens: 5\n")
    (tmp_path / "workload" / "poisson.yaml").write_text("arrivals: {kind: batch, requests: 4}\ninput_tokens: 10\noutput_tokens: 5\n")
    mine = composed("evaluate", command_line(["workload=mine", f"--config-dir={tmp_path}"]))
    assert mine.config["workload"]["arrivals"]["requests"] == 3
    assert mine.directories == (tmp_path, conf_dir())
    assert mine.config["fidelity"] == "simulated"
    theirs = composed("evaluate", command_line(["workload=poisson", f"--config-dir={tmp_path}"]))
    assert theirs.config["workload"]["arrivals"]["requests"] == 4


def test_hydra_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    composed("list", command_line([]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        ("evaluate", ["acelerator=h100_sxm"], "did you mean 'accelerator'"),
        ("evaluate", ["workload=poissn"], "did you mean 'poisson'"),
        ("evaluate", ["every.modle=x"], "every.modle: no such key; --help"),
        ("report", [], "run is missing"),
        ("list", ["what=[a"], "what=\\[a: not an override"),
        ("list", ["what=a,b"], "what=a,b"),
        ("evaluate", ["--config-dir", "no/such/folder"], "no/such/folder: no such folder"),
        ("evaluate", ["fidelity.x=1"], "fidelity"),
    ],
)
def test_mistakes_are_one_line(verb: str, words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        composed(verb, command_line(words))
    assert "\n" not in one_line(caught.value)
    assert len(one_line(caught.value)) < 400


def test_completion_offers_groups_choices_and_keys() -> None:
    assert "workload=" in completions("evaluate", "work")
    assert "workload=poisson" in completions("evaluate", "workload=po")
    assert "accelerator=h100_sxm" in completions("evaluate", "accelerator=h100")
    assert "fidelity=" in completions("evaluate", "fid")
