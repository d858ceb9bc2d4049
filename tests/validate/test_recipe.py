"""Load-generator recipes: what their files say, which rows they select, what wins."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.catalog_errors import CatalogError
from mist_dse.specs.design import STORAGE_BYTES, Batching
from mist_dse.specs.engine import EngineProfile
from mist_dse.specs.hardware import COMPUTE_DTYPES
from mist_dse.validate.measurements import measurements
from mist_dse.validate.recipe import ARRIVALS, FLAGS, STATISTICS, Recipe, Rule, amount, recipe, recipe_of, recipes

CATALOG = Catalog()
ALL = recipes(CATALOG)
FAMILIES = {CATALOG.engine(name).family for name in CATALOG.names("engine")}


def facts(**changes: Any) -> dict[str, Any]:
    return {"engine": "trtllm", "model": "llama-3.1-70b", "accelerator": "h200", "weight": "fp8", "isl": 1024.0, "osl": 1024.0,
            "tp": 4, "attention_dp": False, "mode": "agg", "built": "2025-10-29", "concurrency": 16.0,
            "source": "aic-silicon-sample/inferencex"} | changes  # fmt: skip


@pytest.mark.parametrize("name", CATALOG.names("benchmark"))
def test_every_recipe_names_its_source_and_only_known_keys(name: str) -> None:
    assert recipe(name, CATALOG).rules
    assert CATALOG.data("benchmark", name)["source"]


def test_a_row_chooses_its_recipe_by_its_source() -> None:
    assert recipe_of(facts(), ALL).name == "inferencex"
    assert recipe_of(facts(source="aic-silicon-sample/nvidia-internal"), ALL).name == "nvidia_internal"
    assert recipe_of(facts(source="aic-silicon-sample/nvidia-internal", model="kimi-k2.5"), ALL).name == "inferencex"
    assert recipe_of(facts(source="trtllm-perf-overview-v1.2"), ALL).name == "trtllm_offline"
    assert recipe_of(facts(source=None), ALL).name == "closed_loop"


def test_launch_flags_of_the_70b_scripts() -> None:
    """70b_fp8_h200_trt_slurm.sh: batch_wait 20 and 0.9 for 1k/1k below tp 8; fp8 KV; max_num_tokens = max_model_len."""
    one = recipe("inferencex", CATALOG)
    narrow, wide = one.settings(facts()), one.settings(facts(tp=8))
    assert (narrow["wait_steps"], narrow["wait_fraction"], narrow["kv"]) == (20, 0.9, "fp8")
    assert "wait_steps" not in wide
    assert amount(narrow["max_num_batched_tokens"], facts()) == 2248


def test_receive_interval_of_the_b200_scripts() -> None:
    """dsr1_fp4_b200.sh: recv every 30 steps from concurrency 16 on, every 10 below."""
    one = recipe("inferencex", CATALOG)
    row = facts(engine="sglang", model="deepseek-r1", accelerator="b200", weight="nvfp4", tp=8)
    assert one.settings(row)["receive_interval"] == 30
    assert one.settings(row | {"concurrency": 8.0})["receive_interval"] == 10
    assert "receive_interval" not in one.settings(row | {"accelerator": "h200"})


def test_a_rows_own_columns_win() -> None:
    own = recipe("inferencex", CATALOG).settings(facts(num_prompts=77, range_ratio=1.0, statistic="median"))
    assert (own["requests"], own["length_ratio"], own["statistic"]) == (77, 1.0, "median")


def test_later_rules_win_and_what_is_unknown_meets_no_condition() -> None:
    one = Recipe(
        "x", (Rule({}, {"kv": "bf16"}), Rule({"from": "2026-01-01"}, {"kv": "fp8"}), Rule({"concurrency_until": 8}, {"client": 1}))
    )
    assert one.settings({"built": "2026-02-01", "concurrency": 9.0})["kv"] == "fp8"
    assert one.settings({"built": "", "concurrency": float("nan")})["kv"] == "bf16"
    assert "client" not in one.settings({"built": "", "concurrency": float("nan")})
    assert one.settings({"concurrency": 8.0})["client"] == 1


@pytest.mark.parametrize(
    ("text", "key"), [("set: {kvv: fp8}\n", "kvv"), ("rules: [{when: {modle: x}}]\n", "modle"), ("sets: {}\n", "sets")]
)
def test_a_typo_is_named(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "mine.yaml").write_text(text + "source: me\n")
    with pytest.raises(CatalogError, match=key):
        recipe("mine", Catalog([tmp_path, conf_dir()]))


def test_every_field_of_a_profile_but_its_name_is_a_flag() -> None:
    assert set(EngineProfile.__dataclass_fields__) - set(FLAGS) == {"name", "source"}


def rules() -> list[tuple[str, Rule]]:
    return [(one.name, rule) for one in ALL for rule in (*one.rules, *(Rule(choice, {}) for choice in one.selects))]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    ("condition", "known"),
    [
        ("model", CATALOG.names("model")),
        ("accelerator", CATALOG.names("accelerator")),
        ("engine", FAMILIES),
        ("weight", STORAGE_BYTES),
        ("mode", ("agg", "disagg")),
        ("attention_dp", (True, False)),
    ],
)
def test_what_conditions_name_exists(condition: str, known: Any) -> None:
    """A condition that names nothing would never hold, and its flags would silently be left out."""
    named = [(name, value) for name, rule in rules() for value in listed(rule.when.get(condition, []))]
    assert named
    assert [pair for pair in named if pair[1] not in known] == []


@pytest.mark.parametrize(("name", "rule"), rules(), ids=lambda value: value if isinstance(value, str) else None)
def test_every_flag_is_one_that_an_engine_takes(name: str, rule: Rule) -> None:
    flags = {flag: amount(value, facts()) for flag, value in rule.set.items()}
    for spec in (EngineProfile(name=name), Batching()):
        for field in dataclasses.fields(spec):
            if field.name in flags:
                value, usual = flags[field.name], getattr(spec, field.name)
                assert getattr(dataclasses.replace(spec, **{field.name: value}), field.name) == value
                assert isinstance(value, int | float if isinstance(usual, float) or usual is None else type(usual))
    assert flags.get("profile", "vllm") in FAMILIES
    assert flags.get("kv", "fp8") in STORAGE_BYTES
    assert flags.get("compute", "bf16") in COMPUTE_DTYPES
    assert flags.get("arrivals", "closed") in ARRIVALS
    assert flags.get("statistic", "mean") in STATISTICS


@pytest.mark.skipif(not os.environ.get("MIST_DSE_DATA"), reason="MIST_DSE_DATA names no folder of reference data")
def test_every_measured_source_has_a_recipe_and_every_recipe_a_source() -> None:
    frame = measurements(Path(os.environ["MIST_DSE_DATA"]) / "measured" / "e2e.csv.gz", catalog=CATALOG)
    rows = frame.loc[frame["reason"] == "", ["source", "use_family", "use_model"]].drop_duplicates()
    known = [{"source": source, "engine": family, "model": model} for source, family, model in rows.itertuples(index=False)]
    assert {recipe_of(row, ALL).name for row in known} == {one.name for one in ALL} - {"closed_loop"}
    for row in known:
        settings = recipe_of(row, ALL).settings(row)
        assert settings.get("policy") == "static" or "max_num_seqs" in settings, row  # a batch that is given needs no limit
