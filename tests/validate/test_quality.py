"""Duplicates, the split by configuration, and what is set apart, on rows made by hand."""

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, strategies as st

from mist_dse.catalog import Catalog
from mist_dse.validate.measurements import normalised
from mist_dse.validate.quality import judged
from tests.validate.rows_of import row

CATALOG = Catalog()


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return judged(normalised(pd.DataFrame(list(rows)), CATALOG), CATALOG)


def test_a_copy_under_another_name_is_a_duplicate() -> None:
    one = row(model="deepseek-ai/DeepSeek-R1", hardware="B200-180GB", precision="fp8", n_gpus=8, tp=8, ttft_ms=200.0)
    found = table(one, one | {"model": "deepseek-ai/DeepSeek-V3", "ttft_ms": 200.00001}, one | {"ttft_ms": 230.0})
    assert list(found["duplicate"]) == [False, True, False]
    assert found["part"].nunique() == 1


@given(st.lists(st.integers(1, 512), min_size=2, max_size=20))
def test_all_rows_of_a_configuration_stand_on_one_side(clients: list[int]) -> None:
    found = table(*(row(concurrency=c, ttft_ms=float(50 + k), image=f"build {k}") for k, c in enumerate(clients)))
    assert found.groupby("configuration")["part"].nunique().max() == 1
    assert found["configuration"].nunique() == len(set(clients))


def test_the_split_is_about_even() -> None:
    found = table(*(row(concurrency=c) for c in range(1, 401)))
    assert 0.4 < (found["part"] == "test").mean() < 0.6


def test_prompts_faster_than_the_device_are_a_warm_cache_for_the_whole_installation() -> None:
    """64 prompts of 4,000 tokens x 16 GFLOP each in 1.3 s on 989 TFLOP/s would be 3.2 times the peak."""
    warm = row(isl=4000, osl=100, concurrency=64, ttft_ms=50.0, tpot_ms=12.0)
    found = table(warm, warm | {"concurrency": 2}, warm | {"concurrency": 2, "model": "meta-llama/Llama-3.1-70B", "n_gpus": 8, "tp": 8})
    assert [("warm" in text) for text in found["quarantine"]] == [True, True, False]


def test_seconds_of_first_token_at_few_clients_are_a_stall() -> None:
    slow = row(ttft_ms=9000.0)
    assert "stall" in table(slow)["quarantine"][0]
    assert table(row(ttft_ms=900.0))["quarantine"][0] == ""
    assert table(slow | {"concurrency": 512, "ttft_ms": 90_000.0})["quarantine"][0] == ""


def test_repeats_that_disagree_are_set_apart_together() -> None:
    found = table(row(image="a", tpot_ms=7.0), row(image="a", tpot_ms=9.0), row(image="b", tpot_ms=12.0))
    assert ["repeats" in text for text in found["quarantine"]] == [True, True, False]


def test_a_server_that_slows_as_clients_come_is_set_apart() -> None:
    found = table(*(row(concurrency=c, tpot_ms=t) for c, t in ((1, 8.0), (2, 21.0), (8, 50.0))), row(concurrency=1, isl=999, tpot_ms=8.0))
    assert ["falls" in text for text in found["quarantine"]] == [True, True, True, False]


def test_multi_token_prediction_is_set_apart() -> None:
    found = table(*(row(multi_token_prediction=value, concurrency=k + 1) for k, value in enumerate(("no", "yes", "ambiguous", "unknown"))))
    assert list(found["quarantine"]) == [
        "", "multi-token prediction", "multi-token prediction unclear", "multi-token prediction unknown",
    ]  # fmt: skip


def test_rows_without_what_a_flag_needs_are_not_flagged() -> None:
    found = table(row(ttft_ms=np.nan, tpot_ms=np.nan, model="no/such"), row(concurrency=None))
    assert list(found["quarantine"]) == ["", ""]
