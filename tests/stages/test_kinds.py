"""Every stage kind keeps the contract of `mist_dse.stages.work`: one file, one set of options, hosts that can run it, a source."""

import dataclasses
import importlib
import pkgutil
import re
from typing import Any

import numpy as np
import pytest

import mist_dse.stages
from mist_dse.rows import Requests
from mist_dse.sim import simulate
from mist_dse.specs._check import SpecError
from mist_dse.specs.pipeline import Pipeline
from mist_dse.stages import KINDS
from mist_dse.stages.kinds import kind_of
from mist_dse.stages.work import HOSTS, Amount, Asked, Passes, Sequence, options_of
from tests.stages.pipelines import asked, hosted, line, rows, stage

NEEDED: dict[str, dict[str, Any]] = {"generate": {"tokens": 8}}
"""Options without which a kind has nothing to do."""

SOURCE = re.compile(r"arXiv\s\d{4}\.\d{4,5}|README|ISCA|FAST'25")
PLACES = [(kind, host) for kind in KINDS for host in kind_of(kind, "").RUNS_ON]


def pipeline_of(kind: str, **options: Any) -> Pipeline:
    """The smallest pipeline with a stage of that kind that gives an answer."""
    chat = (("prefill", "prefill", {}), ("decode", "decode", {}))
    if kind in ("prefill", "decode"):
        return line(*chat)
    return line(("it", kind, NEEDED.get(kind, {}) | options), *chat)


def named(count: int) -> Requests:
    """Requests of 1,024 tokens in two named blocks of 512, the first of which all have."""
    names = np.stack([np.zeros(count, np.int64), np.arange(1, count + 1)], axis=1).ravel()
    return asked(1024, 10, count=count, hash_first=2 * np.arange(count + 1), hash_ids=names, hash_tokens=512)


def told(host: str, context: Any = 100) -> Asked:
    requests = asked(100, 10, count=np.size(context))
    return Asked(requests, np.broadcast_to(np.asarray(context, np.int64), len(requests.arrival)), host,
                 lambda purpose: np.zeros(len(requests.arrival)))  # fmt: skip


def test_every_file_with_a_kind_is_in_the_list() -> None:
    files = [importlib.import_module(f"mist_dse.stages.{found.name}") for found in pkgutil.iter_modules(mist_dse.stages.__path__)]
    assert sorted(KINDS) == sorted(file.KIND for file in files if hasattr(file, "KIND"))
    assert len(set(KINDS)) == len(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_it_is(name: str) -> None:
    kind = kind_of(name, "here")
    assert name == kind.KIND == kind.__name__.rpartition(".")[2]
    assert kind.RUNS_ON
    assert set(kind.RUNS_ON) <= set(HOSTS)
    assert dataclasses.is_dataclass(kind.Options)
    options = kind.Options(**NEEDED.get(name, {}))
    for field in dataclasses.fields(kind.Options):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, field.name, None)
    assert all(getattr(kind, part).__doc__ for part in ("Options", "work", "adds"))


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_cites_its_source(name: str) -> None:
    """By itself, or by the file that it names."""
    text = str(kind_of(name, "").__doc__)
    files = {found.name for found in pkgutil.iter_modules(mist_dse.stages.__path__)}
    for other in files & set(re.findall(r"(?<!`)`(?:stages\.)?([a-z]\w*)`(?!`)", text)):
        text += str(importlib.import_module(f"mist_dse.stages.{other}").__doc__)
    assert SOURCE.search(text), text


@pytest.mark.parametrize(("name", "host"), PLACES)
def test_a_kind_asks_for_what_its_host_has(name: str, host: str) -> None:
    """Engines are asked for tokens, encoders for passes, all else for amounts; whole tokens for every request."""
    kind = kind_of(name, "")
    options, about = kind.Options(**NEEDED.get(name, {})), told(host, np.array([100, 7, 1]))
    work, added = kind.work(options, about), kind.adds(options, about)
    assert isinstance(work, {"engine": Sequence, "encoder": Passes}.get(host, Amount))
    for column in (*([work.units] if isinstance(work, Amount) else work[:2]), added):
        assert column.shape == (3,)
    if not isinstance(work, Amount):
        assert (np.stack(work[:2]) >= 1).all()
    else:
        assert np.isfinite(work.units).all()
        assert (work.units >= 0).all()
    assert added.dtype == np.int64


@pytest.mark.parametrize(("name", "host"), PLACES)
def test_a_kind_runs_on_each_of_its_hosts(name: str, host: str) -> None:
    pipeline = pipeline_of(name)
    place = name if name in ("prefill", "decode") else "it"
    requests = named(3)
    found = rows(hosted(pipeline, {place: host}), requests)
    number = [one.name for one in pipeline.stages].index(place)
    answered = number if name != "decode" else 0  # prefill and decode of one pool are one visit
    assert (found.stage_of_visit == answered).any()
    records = simulate(found.servers, found.jobs, requests)
    assert records.status.tolist() == [0, 0, 0]
    assert np.isfinite(records.first_token).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_refuses_every_other_host(name: str) -> None:
    if name in ("prefill", "decode"):
        return  # there is nowhere else to put the answer: `test_an_answer_needs_an_engine`
    for host in set(HOSTS) - set(kind_of(name, "").RUNS_ON):
        with pytest.raises(SpecError, match=f"'it' is of kind {name} and cannot run in .*it needs") as caught:
            rows(hosted(pipeline_of(name), {"it": host}), named(2))
        assert "\n" not in str(caught.value)


def test_an_answer_needs_an_engine() -> None:
    pipeline = line(("guard", "guard", {}), ("prefill", "prefill", {}), ("decode", "decode", {}))
    with pytest.raises(SpecError, match="'decode' is of kind decode and cannot run in service outside, which is outside: it needs engine"):
        rows(hosted(pipeline, {"decode": "outside"}), asked())


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_option_is_one_line_with_the_nearest(name: str) -> None:
    kind = kind_of(name, "")
    known = [field.name for field in dataclasses.fields(kind.Options)]
    for typed, meant in [("afer", "after"), *((f"{key}s", key) for key in known)]:
        with pytest.raises(SpecError) as caught:
            options_of(kind.Options, stage("it", name, **NEEDED.get(name, {}), **{typed: 3}), "stage 'it'")
        text = str(caught.value)
        assert text.startswith("stage 'it': unknown key")
        assert repr(typed) in text
        assert meant in text
        assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "key", "unit"), [("tokenise", "rate", "token/s"), ("detokenise", "rate", "token/s"), ("tool", "time", "s")]
)
def test_a_quantity_of_the_wrong_kind_names_the_right_one(name: str, key: str, unit: str) -> None:
    with pytest.raises(SpecError, match=f"stage 'it': {key}: '5 GB' is a quantity of B, expected {unit}"):
        options_of(kind_of(name, "").Options, stage("it", name, **{key: "5 GB"}), "stage 'it'")


BAD = [(kind, field.name, value)
       for kind in KINDS for field in dataclasses.fields(kind_of(kind, "").Options)
       for value in (-1, "much", [1], {"a": 1}, float("nan"), float("inf"), 3 if field.type is bool else True)]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "value"), BAD)
def test_a_bad_value_is_one_line_that_names_the_key(name: str, key: str, value: object) -> None:
    kind = kind_of(name, "")
    options = {key: value} if {key} == NEEDED.get(name, {}).keys() or key == "scale" else NEEDED.get(name, {}) | {key: value}
    with pytest.raises(SpecError) as caught:
        options_of(kind.Options, stage("it", name, **options), "stage 'it'")
    text = str(caught.value)
    assert text.startswith("stage 'it': ")
    assert key in text
    assert "\n" not in text
