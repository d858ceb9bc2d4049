"""What a user types becomes Hydra's overrides, by a pure function."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, strategies as st

from mist_dse.app.errors import UsageError
from mist_dse.app.words import Words, command_line, heads, override, quoted


@pytest.mark.parametrize(
    ("typed", "rewritten"),
    [
        ("model=llama-3.1-70b", "every.model=llama-3.1-70b"),
        ("accelerator=h100_sxm", "every.accelerator=h100_sxm"),
        ("engine=vllm", "every.engine=vllm"),
        ("topology=hgx_pair", "every.topology=hgx_pair"),
        ("design=tp4_colocated", "design=tp4_colocated"),
        ("pools.decode.accelerator=l40s", "++pools.decode.accelerator=l40s"),
        ("services.index.host=epyc_9654", "++services.index.host=epyc_9654"),
        ("handoff.mode=whole", "++design.handoff.mode=whole"),
        ("workload=poisson", "workload=poisson"),
        ("workload.rate=2", "++workload.arrivals.rate=2"),
        ("workload.requests=100", "++workload.arrivals.requests=100"),
        ("workload.cv=2", "++workload.arrivals.cv=2"),
        ("workload.clients=8", "++workload.arrivals.clients=8"),
        ("workload.path=a/b.csv.gz", "++workload.arrivals.path=a/b.csv.gz"),
        ("workload.scale=2", "++workload.arrivals.scale=2"),
        ("workload.seed=3", "++workload.seed=3"),
        ("workload.input_tokens=512", "++workload.input_tokens=512"),
        ("workload.arrivals.rate=2", "++workload.arrivals.rate=2"),
        ("~workload.slo", "~workload.slo"),
        ("+slo=chat", "+slo=chat"),
        ("fidelity=bound", "fidelity=bound"),
    ],
)
def test_overrides_are_rewritten(typed: str, rewritten: str) -> None:
    assert override(typed) == rewritten


@pytest.mark.parametrize("word", ["rate", "=2", "", "1=2", "a b=3"])
def test_a_word_that_sets_nothing_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="not an override"):
        override(word)


def test_flags_stand_anywhere_and_take_their_value_either_way() -> None:
    assert command_line(["a=1", "--cfg", "job", "--config-dir=mine"]) == Words(("a=1",), cfg="job", config_dir="mine")
    assert command_line(["-c", "job", "-cd", "mine", "a=1"]) == Words(("a=1",), cfg="job", config_dir="mine")
    assert command_line(["-h"]).help


@pytest.mark.parametrize(("words", "says"), [(["--nope"], "no such flag"), (["--cfg"], "needs a value"), (["--cfg", "all"], "valid: job"),
                                              (["-cfg", "job"], "no such flag")])  # fmt: skip
def test_bad_flags_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        command_line(words)


def test_a_bare_word_is_the_value_of_the_key_of_its_verb() -> None:
    assert command_line(["runs/a b"], bare="run").overrides == ("run='runs/a b'",)
    with pytest.raises(UsageError):
        command_line(["runs/a"])


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"])))
def test_quoted_text_survives_hydras_grammar(text: str) -> None:
    parsed = OverridesParser.create().parse_override(f"key={quoted(text)}").value()
    assert str(parsed) == text


def test_heads_are_first_keys() -> None:
    assert set(heads(["++workload.arrivals.rate=2", "~slo", "design@x=y", "a/b=c"])) == {"workload", "slo", "design", "a"}


def test_bare_words_take_their_keys_in_order() -> None:
    assert command_line(["one", "two"], bare=("a", "b")).overrides == ("a='one'", "b='two'")
    assert command_line(["one", "two", "three"], bare=("a", "b")).overrides == ("a='one'", "b='two'", "b='three'")
    assert command_line(["one", "x=1"], bare="run").overrides == ("run='one'", "x=1")
