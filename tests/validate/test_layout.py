"""Parallel layouts, by examples from rows whose scripts are published: what the columns say and what really ran."""

import pytest

from mist_dse.validate.layout import Layout, aggregated, number, truth, worker


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        ({"tp": 4, "n_gpus": 4}, Layout(1, 4, 1, 1, 1)),
        ({"tp": 8, "ep": 8, "attention_dp": 1, "n_gpus": 8}, Layout(1, 8, 1, 1, 8)),
        ({"tp": 64, "ep": 8, "attention_dp": 1, "n_gpus": 64}, Layout(1, 8, 1, 1, 8)),
        ({"tp": 16, "ep": 4, "attention_dp": 1, "n_gpus": 16}, Layout(1, 4, 1, 1, 4)),
        ({"tp": 4, "ep": 2, "attention_dp": 1, "n_gpus": 4, "origin": "0406"}, Layout(1, 2, 1, 1, 2)),
        ({"tp": 4, "ep": 16, "attention_dp": 4}, Layout(1, 4, 1, 1, 4)),
        ({"tp": 1, "ep": 8, "attention_dp": 64}, Layout(1, 1, 1, 8, 8)),
        ({"tp": 1, "ep": 8, "attention_dp": 8}, Layout(1, 1, 1, 8, 8)),
        ({"tp": 1, "ep": 4, "attention_dp": 4, "n_gpus": 4}, Layout(1, 1, 1, 4, 4)),
        ({"tp": 64, "ep": 8, "gpus": 8, "moe_ep": 8, "attention_dp_on": False}, Layout(1, 8, 1, 1, 8)),
        ({"tp": 1, "ep": 8, "attention_dp": 64, "gpus": 8, "moe_ep": 8, "attention_dp_on": True}, Layout(1, 1, 1, 8, 8)),
        ({"tp": 1, "pp": 8, "n_gpus": 8}, Layout(1, 1, 8, 1, 1)),
        ({"tp": 2, "n_gpus": 8}, Layout(4, 2, 1, 1, 1)),
    ],
)
def test_devices_of_a_mixture(row: dict[str, object], layout: Layout) -> None:
    assert aggregated(row, mixture=True) == layout


def test_a_dense_model_has_no_experts_to_spread() -> None:
    assert aggregated({"tp": 8, "ep": 8, "n_gpus": 8}, mixture=False) == Layout(1, 8, 1, 1, 1)


def test_a_whole_deployment_is_no_engine() -> None:
    said = aggregated({"tp": 36, "n_gpus": 36}, mixture=True)
    assert isinstance(said, str)
    assert "36 devices" in said


def test_a_worker_is_tensor_or_data_parallel_over_all_its_devices() -> None:
    row = {
        "decode_workers": 3.0,
        "decode_worker_gpus": 8.0,
        "decode_ep": 8.0,
        "decode_attention_dp_on": "True",
        "decode_slots_per_worker": 512.0,
    }
    assert worker(row, "decode", mixture=True) == Layout(3, 1, 1, 8, 8, 512)
    assert worker(row | {"decode_attention_dp_on": "False"}, "decode", mixture=True) == Layout(3, 8, 1, 1, 8, 512)


def test_workers_of_the_raw_columns_are_taken_where_the_others_are_empty() -> None:
    assert worker({"p_workers": 2.0, "p_tp": 1.0, "p_dp": 4.0}, "prefill", mixture=True) == Layout(2, 1, 1, 4, 1)


def test_unrecorded_workers_are_a_reason() -> None:
    said = worker({"p_tp": 4.0, "p_dp": 1.0}, "prefill", mixture=True)
    assert isinstance(said, str)
    assert "prefill_workers" in said


def test_cells() -> None:
    assert number({"a": "x"}, "a", 2.0) == number({}, "a", 2.0) == number({"a": float("nan")}, "a", 2.0) == 2.0
    assert [truth({"a": value}, "a") for value in ("True", "0", "", None, True)] == [True, False, None, None, True]
