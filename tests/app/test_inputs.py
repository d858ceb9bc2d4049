"""What is set everywhere and in single pools, and what becomes of it."""

import pytest

from mist_dse.app.config import composed
from mist_dse.app.errors import UsageError
from mist_dse.app.inputs import changed_design, design_of, workload_of
from mist_dse.app.words import command_line

BASE = {"topology": "hgx", "pools": {"prefill": {"tp": 2, "batching": {"policy": "chunked", "max_num_seqs": 8}}, "decode": {"tp": 4}}}
NOTHING = {"every": {"model": None, "accelerator": None, "engine": None, "topology": None}, "pools": {}}


def test_nothing_set_changes_nothing() -> None:
    assert changed_design(BASE, NOTHING, "here") == BASE


def test_one_pool_outdoes_every_pool_and_the_base_is_left_alone() -> None:
    config = {
        "every": {"accelerator": "l40s", "topology": "rack"},
        "pools": {"prefill": {"accelerator": "h100_sxm", "batching": {"max_num_seqs": 4}}},
    }
    changed = changed_design(BASE, config, "here")
    assert changed["topology"] == "rack"
    assert changed["pools"]["prefill"] == {"tp": 2, "accelerator": "h100_sxm", "batching": {"policy": "chunked", "max_num_seqs": 4}}
    assert changed["pools"]["decode"] == {"tp": 4, "accelerator": "l40s"}
    assert "accelerator" not in BASE["pools"]["prefill"]  # type: ignore[index]


def test_the_hand_off_of_the_design_is_set_by_its_short_name() -> None:
    for verb in ("evaluate", "simulate"):
        handoff = design_of(composed(verb, command_line(["design=disagg_2x4", "handoff.mode=whole"]))).handoff
        assert handoff is not None
        assert handoff.mode == "whole"


def test_an_unknown_pool_is_named() -> None:
    with pytest.raises(UsageError, match=r"pools.decod: here has no pool of that name; did you mean 'decode'"):
        changed_design(BASE, {**NOTHING, "pools": {"decod": {"tp": 8}}}, "here")


def test_a_workload_keeps_its_name_and_takes_another_promise() -> None:
    workload = workload_of(composed("evaluate", command_line(["workload=poisson", "workload.rate=7", "workload.seed=5"])))
    assert (workload.name, workload.arrivals.rate, workload.seed) == ("poisson", 7.0, 5)


def test_entries_set_everywhere_are_specs_of_the_catalogue() -> None:
    design = design_of(composed("evaluate", command_line(["accelerator=l40s", "model=llama-3.1-8b", "design=tp2_colocated"])))
    assert {(pool.accelerator.name, pool.model.name) for pool in design.pools} == {("l40s", "llama-3.1-8b")}
