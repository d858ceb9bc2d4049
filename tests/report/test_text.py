import math

import pandas as pd
import pytest

from mist_dse.metrics import METRICS
from mist_dse.report.text import ABSENT, axis_title, design_label, metric_text, plain, value_text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("ttft_p90", 1.2345, "1.23 s"),
        ("tpot_p90", 0.05, "50 ms"),
        ("usd_per_hour", 98.32, "$98.3/h"),
        ("accelerators", 16.0, "16"),
        ("output_tokens_per_s", 12345.6, "12,346 token/s"),
        ("watts", 11_200.0, "11.2 kW"),
        ("ttft_p90", None, ABSENT),
        ("ttft_p90", math.nan, ABSENT),
        ("ttft_p90", math.inf, ABSENT),
        ("ttft_p90", pd.NA, ABSENT),
        ("no_such_metric", 0.125, "0.125"),
    ],
)
def test_a_value_has_its_unit(metric: str, value: object, text: str) -> None:
    assert metric_text(metric, value) == text


def test_cost_per_token_is_written_with_a_dollar() -> None:
    assert value_text(0.4189, "USD/Mtoken") == "$0.419/Mtoken"


@pytest.mark.parametrize("name", METRICS)
def test_every_axis_of_a_metric_with_a_unit_says_it(name: str) -> None:
    unit = METRICS[name].unit
    assert axis_title(name) == (name if unit == "1" else f"{name} ({unit})")


def test_a_label_names_each_pool_with_count_device_and_degrees() -> None:
    design = {
        "placement": "disaggregated",
        "pools.prefill.accelerator": "h100_sxm",
        "pools.prefill.tp": 4.0,
        "pools.prefill.replicas": 2.0,
        "pools.decode.accelerator": "l40s",
        "pools.decode.tp": 4,
        "pools.decode.replicas": 4,
        "pools.decode.pp": 2,
        "pools.decode.dp": 1,
    }
    assert design_label(design) == "prefill 2 x h100_sxm tp4 + decode 4 x l40s tp4 pp2"


def test_a_colocated_label_drops_the_inactive_pool() -> None:
    design = {
        "placement": "colocated",
        "pools.prefill.accelerator": "l40s",
        "pools.prefill.replicas": 3,
        "pools.prefill.dtype": "fp8",
        "pools.decode.accelerator": None,
        "pools.decode.replicas": math.nan,
    }
    assert design_label(design) == "colocated 3 x l40s fp8"


def test_designs_that_differ_in_batching_have_different_labels() -> None:
    base = {"pools.decode.replicas": 1, "pools.decode.accelerator": "l40s"}
    labels = {design_label({**base, "pools.decode.batching.max_num_seqs": seqs}) for seqs in (64, 256)}
    assert labels == {"decode 1 x l40s seqs 64", "decode 1 x l40s seqs 256"}


def test_without_variables_the_label_is_the_id() -> None:
    assert design_label({"design_id": "ab12"}, ()) == "ab12"


def test_values_of_a_table_become_plain_data() -> None:
    column = pd.Series([1.0, 2.5, None, math.inf])
    assert [plain(value) for value in column] == [1, 2.5, None, None]
    assert plain(pd.NaT) is None
    assert plain(pd.Series([True])[0]) is True
