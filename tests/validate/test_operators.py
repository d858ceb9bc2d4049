"""Predictions for tables of measured operators, against hand counts and against reference measurements left out of the fits."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mist_dse
from mist_dse.catalog import Catalog
from mist_dse.perf.fitting import Limits
from mist_dse.perf.operator import coefficients
from mist_dse.perf.tables import product_time
from mist_dse.specs.hardware import ProductTable
from mist_dse.validate.collective_fits import collective_rows, exchange_rows, held_out as held_out_sizes
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.kernel_rows import held_out, kernel_rows, kind_of
from mist_dse.validate.operator_fits import operator_fits, write_operator_fits
from mist_dse.validate.operators import operator_predictions, operator_scores
from mist_dse.validate.product_tables import product_tables

DATA = Path(mist_dse.__file__).parent / "data"

PRODUCTS = pd.DataFrame(
    {
        "system": ["h100_sxm", "nobody", "h100_sxm"],
        "backend": "vllm",
        "gemm_dtype": ["bfloat16", "bfloat16", "ternary"],
        "kernel_source": "torch.nn.functional.linear",
        "m": 64,
        "n": 4096,
        "k": 4096,
        "latency_ms": 0.0148,
    },
    index=[7, 3, 5],
)


def test_rows_keep_their_order_and_say_why_nothing_answers() -> None:
    found = operator_predictions(PRODUCTS)
    assert list(found.index) == [7, 3, 5]
    assert found["pred_latency_ms"].notna().tolist() == [True, False, False]
    assert found["provenance"].tolist() == ["fitted", "", ""]
    assert "'nobody' is not in the catalogue" in found["reason"].tolist()[1]
    assert found["reason"].tolist()[2] == "unknown datatype"


def test_a_product_by_hand() -> None:
    fit = coefficients(Catalog().accelerator("h100_sxm"), "gemm", "bf16", "", "vllm")
    compute, memory = 2 * 64 * 4096**2 / fit.flops, 2 * (4096**2 + 2 * 64 * 4096) / fit.bandwidth
    busy = (compute**fit.sharpness + memory**fit.sharpness) ** (1 / fit.sharpness)
    expected = fit.overhead + busy + fit.item * 64 + fit.depth * 4096
    assert operator_predictions(PRODUCTS)["pred_latency_ms"].iloc[0] == pytest.approx(1e3 * expected, rel=1e-12)


def test_work_of_attention_and_experts_by_hand() -> None:
    decode = pd.DataFrame(
        {
            "system": ["h100_sxm"],
            "kv_cache_dtype": ["fp8"],
            "batch_size": [4],
            "num_heads": [32],
            "num_key_value_heads": [8],
            "head_dim": [128],
            "window_size": [128.0],
            "kv_len_minus1": [1023],
            "latency_ms": [0.1],
        }
    )
    row = kernel_rows(decode).iloc[0]
    assert (row["family"], row["storage"], row["items"], row["steps"]) == ("attention_decode", "fp8", 32, 128)
    assert row["flop"] == 4 * 4 * 32 * 128 * 128
    assert row["moved"] == 4 * (128 * 2 * 8 * 128 * 1 + 2 * 32 * 128 * 2)
    experts = pd.DataFrame(
        {
            "system": ["h200_sxm"],
            "moe_dtype": ["fp8_block"],
            "num_tokens": [16],
            "hidden_size": [4096],
            "inter_size": [1536],
            "topk": [8],
            "num_experts": [128],
            "moe_tp_size": [2],
            "moe_ep_size": [4],
            "distribution": ["balanced"],
        }
    )
    row = kernel_rows(experts).iloc[0]
    assert (row["dtype"], row["storage"], row["groups"]) == ("fp8", "fp8_block", 32)  # 16 x 8 pairs dealt in turn reach all 128/4
    assert row["flop"] == 2 * 3 * 4096 * 768 * 8 * 32  # at least eight rows an expert
    assert np.isnan(row["seconds"])


def test_an_unknown_table_names_the_kinds() -> None:
    with pytest.raises(MeasurementError, match="no kind of operator has the columns system, colour; known kinds are gemm"):
        kind_of(pd.DataFrame({"system": ["h100_sxm"], "colour": ["blue"]}))


def test_where_no_fit_is_the_class_or_a_relative_answers() -> None:
    systems = PRODUCTS.iloc[[0, 0, 0]].assign(system=["gh200", "mi300x", "h200_sxm"], gemm_dtype="bfloat16")
    assert operator_predictions(systems)["provenance"].tolist() == ["borrowed from h200", "class default", "fitted"]
    assert operator_predictions(systems, Catalog(operators="light"))["provenance"].unique().tolist() == ["datasheet"]
    assert operator_predictions(systems, Catalog(operators="tables"))["provenance"].tolist()[2] == "table"


def test_collectives_and_exchanges_count_bytes_per_device() -> None:
    table = pd.DataFrame(
        {
            "system": ["h100_sxm"],
            "lib": ["nccl"],
            "lib_version": ["9.9"],
            "op_name": ["alltoall"],
            "kernel_source": ["NCCL"],
            "dtype": ["half"],
            "num_gpus": [8],
            "message_size": [1024],
            "latency_ms": [0.01],
        }
    )
    row = collective_rows(table).iloc[0]
    assert (row["kind"], row["size"], row["devices"]) == ("all_to_all", 2048.0, 8)
    assert operator_predictions(table)["provenance"].tolist() == ["fitted"]  # an unknown version answers with all versions' fit
    sent = pd.DataFrame(
        {
            "system": ["h100_sxm"],
            "comm_backend": ["deepep_ll"],
            "phase": ["dispatch"],
            "comm_dtype": ["fp8"],
            "ep_size": [8],
            "hidden_size": [7168],
            "topk": [8],
            "num_experts": [256],
            "num_tokens": [10],
            "latency_us": [70.0],
        }
    )
    assert exchange_rows(sent)["size"].iloc[0] == pytest.approx(10 * 7168 * 8 * (1 - (7 / 8) ** 8))
    assert exchange_rows(sent)["seconds"].iloc[0] == pytest.approx(70e-6)


def test_scores_count_rows_and_errors_by_hand() -> None:
    table = PRODUCTS.iloc[[0, 0, 0, 0]].assign(
        pred_latency_ms=[0.0148, 0.0074, 0.0222, np.nan], provenance=["fitted"] * 3 + [""], reason=""
    )
    score = operator_scores(table).iloc[0]
    assert (score["rows"], score["covered"], score["system"], score["operator"], score["dtype"]) == (4, 3, "h100_sxm", "gemm", "bfloat16")
    assert score[["mdape", "mape", "bias"]].tolist() == pytest.approx([0.5, 1 / 3, 0.0])


def test_fits_of_a_made_up_device_go_to_disk_with_their_hashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    m, n, k = (2 ** rng.integers(low, high, 2000) for low, high in ((0, 13), (8, 15), (8, 14)))
    seconds = 5e-6 + np.maximum(2.0 * m * n * k / (0.6 * 989.4e12), 2.0 * (n * k + m * k + m * n) / (0.7 * 3.35e12))
    table = pd.DataFrame(
        {
            "system": "h100_sxm",
            "backend": "vllm",
            "kernel_source": "one",
            "gemm_dtype": "bfloat16",
            "m": m,
            "n": n,
            "k": k,
            "latency_ms": 1e3 * seconds,
        }
    )
    path = tmp_path / "gemm.parquet"
    table.to_parquet(path)
    fits = operator_fits([path])
    row = fits.iloc[0]
    assert (len(fits), row["accelerator"], row["rows"]) == (1, "h100_sxm", 2000)
    assert [row["overhead"], row["compute"], row["memory"]] == pytest.approx([5e-6, 0.6, 0.7], rel=0.10)
    assert row["held_out_error"] < 0.02
    write_operator_fits(fits, [path], tmp_path / "out" / "operators.csv")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["operators.csv", "operators.json", "products.npz"]
    assert pd.read_csv(tmp_path / "out" / "operators.csv")["overhead"].iloc[0] == pytest.approx(row["overhead"], rel=1e-3)


_DATA = os.environ.get("MIST_DSE_DATA")
reference = pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")


def errors(name: str, **chosen: str) -> tuple[np.ndarray, float]:
    """|Error| of the rows of a reference table whose shapes stay out of fits, and the seconds that predictions took."""
    table = pd.read_parquet(Path(str(_DATA)) / "silicon" / f"{name}.parquet")
    for column, value in chosen.items():
        table = table[table[column] == value]
    started = time.perf_counter()
    found = operator_predictions(table)
    spent = time.perf_counter() - started
    out = held_out_sizes(collective_rows(table)) if kind_of(table) == "collective" else held_out(kernel_rows(table)["shape"])
    return np.abs(found["pred_latency_ms"] / found["latency_ms"] - 1.0).to_numpy()[out], spent


@reference
@pytest.mark.parametrize("system", ["h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200"])
def test_bf16_products_left_out_of_the_fit_are_within_eight_percent(system: str) -> None:
    error, _ = errors(f"gemm_{system}", gemm_dtype="bfloat16")
    assert len(error) > 5000
    assert np.median(error) <= 0.08


@reference
@pytest.mark.parametrize("name", ["attn_context", "attn_generation", "mla", "moe"])
def test_attention_and_experts_left_out_of_the_fit_are_within_twelve_percent(name: str) -> None:
    error, _ = errors(name)
    assert len(error) > 4000
    assert np.median(error) <= 0.12


@reference
@pytest.mark.parametrize("operator", ["all_reduce", "all_gather", "reduce_scatter", "alltoall"])
def test_collectives_left_out_of_the_fit_are_within_eight_percent(operator: str) -> None:
    error, _ = errors("comm_collectives", op_name=operator)
    assert np.median(error) <= 0.08


@reference
def test_two_hundred_thousand_rows_take_less_than_two_seconds() -> None:
    _, spent = errors("gemm_b200_sxm")
    assert spent < 2.0


@reference
@pytest.mark.parametrize("system", ["h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm", "gb200"])
def test_tables_of_other_shapes_bring_bf16_products_within_five_percent(system: str) -> None:
    """A table made without the shapes left out, on these: the packaged tables hold all shapes, so their own error would be none."""
    frame = pd.read_parquet(Path(str(_DATA)) / "silicon" / f"gemm_{system}.parquet")
    rows = kernel_rows(frame[frame["gemm_dtype"] == "bfloat16"])
    device = Catalog().accelerator(system)
    rows = rows[rows["aligned"] & (rows["engine"] == rows["engine"].mode()[0])].assign(accelerator=device.name)
    out, limits = held_out(rows["shape"]), Limits(device.peaks.at("bf16"), device.memory_bandwidth)
    fits = pd.read_csv(DATA / "operators.csv", keep_default_na=False)
    key = f"{device.name}|bf16||{rows['engine'].iloc[0]}|"
    kept = rows[~out].assign(shape=rows["shape"] // 1000)  # another split: whether a table helps is judged on shapes among these
    made = product_tables(kept, fits, {(device.name, "bf16"): limits})
    axes = {axis: tuple(made[key + axis].tolist()) for axis in ("n", "k", "rows")}
    engine = key.split("|")[3]
    table = ProductTable(dtype="bf16", storage="", engine=engine, hundredths=made[key + "hundredths"].tobytes(), **axes)
    rates = coefficients(device, "gemm", "bf16", "", engine)
    left = rows[out]
    each = (float(left["weight"].iloc[0]), float(left["taken"].iloc[0]))
    error = np.abs(product_time(rates, table, *(left[name].to_numpy() for name in "mnk"), bytes_each=each) / left["seconds"] - 1.0)
    assert len(left) > 1000
    assert np.median(error) <= 0.05, np.median(error)
