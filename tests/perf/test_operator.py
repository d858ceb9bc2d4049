"""Operator times against measured kernels, and what the coefficients promise."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.operator import FAMILIES, coefficients, operator_time, speed_of_light
from mist_dse.specs.hardware import Peaks
from tests.perf.cases import ACCELERATORS, H100, H200, L40S


def test_provenance_names_the_source_of_the_coefficients() -> None:
    assert coefficients(H200, "gemm", "fp8").provenance == "fitted"
    assert coefficients(H200, "gemm", "bf16").provenance == "class default"
    assert speed_of_light(H200, "fp8").provenance == "datasheet"


def test_a_datatype_without_units_computes_at_the_next_wider_one() -> None:
    ampere = replace(H100, peaks=Peaks(bf16=312e12))
    assert coefficients(ampere, "gemm", "fp8") == coefficients(ampere, "gemm", "bf16")


@given(
    accelerator=st.sampled_from(ACCELERATORS), family=st.sampled_from(FAMILIES), dtype=st.sampled_from(["bf16", "fp8"]),
    flop=st.floats(0, 1e15), moved=st.floats(0, 1e12), faster=st.floats(1, 10),
)  # fmt: skip
def test_light_is_fastest_and_a_faster_device_never_slower(accelerator, family, dtype, flop, moved, faster) -> None:  # type: ignore[no-untyped-def]
    light = operator_time(speed_of_light(accelerator, dtype), flop, moved)
    assert light <= operator_time(coefficients(accelerator, family, dtype), flop, moved)
    wide = replace(accelerator, memory_bandwidth=accelerator.memory_bandwidth * faster)
    assert operator_time(speed_of_light(wide, dtype), flop, moved) <= light


@given(flop=st.lists(st.floats(0, 1e15), min_size=1, max_size=20))
def test_law_15_an_array_answers_as_each_scalar(flop: list[float]) -> None:
    fit = coefficients(L40S, "gemm", "fp8")
    assert list(operator_time(fit, np.array(flop), 1e9)) == [operator_time(fit, one, 1e9) for one in flop]


_DATA = os.environ.get("MIST_DSE_DATA")


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_bf16_gemm_error_on_measured_h100_kernels() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(Path(str(_DATA)) / "silicon" / "gemm_h100_sxm.parquet")
    rows = table[(table.gemm_dtype == "bfloat16") & (table.backend == "vllm") & (table.n * table.k >= 1e6) & (table.m % 8 == 0)]
    flop, moved = 2.0 * rows.m * rows.n * rows.k, 2.0 * (rows.n * rows.k + rows.m * rows.k + rows.m * rows.n)
    error = np.abs(operator_time(coefficients(H100, "gemm", "bf16"), flop, moved) / (rows.latency_ms * 1e-3) - 1)
    assert len(rows) > 1000
    assert float(np.median(error)) <= 0.15


@pytest.mark.skipif(not _DATA, reason="MIST_DSE_DATA names no folder of reference data")
def test_decode_attention_error_on_measured_h100_kernels() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(Path(str(_DATA)) / "silicon" / "attn_generation.parquet")
    rows = table[
        (table.system == "h100_sxm") & (table.backend == "vllm") & (table.kv_cache_dtype == "bfloat16") & table.window_size.fillna(0).eq(0)
    ]
    context = rows.batch_size * (rows.kv_len_minus1 + 1.0)
    moved, flop = context * 2 * rows.num_key_value_heads * rows.head_dim * 2.0, 4.0 * context * rows.num_heads * rows.head_dim
    large = moved > 64e6
    error = operator_time(coefficients(H100, "attention_decode", "bf16"), flop, moved)[large] / (rows.latency_ms[large] * 1e-3) - 1
    assert large.sum() > 100
    assert float(np.median(np.abs(error))) <= 0.20
