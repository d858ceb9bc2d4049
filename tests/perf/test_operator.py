"""Operator times against measured kernels, and what the coefficients promise."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.operator import Coefficients, coefficients, operator_fit, operator_time, soft_maximum, speed_of_light
from mist_dse.specs._check import SpecError
from mist_dse.specs.hardware import OPERATOR_FAMILIES, OperatorFit, Peaks
from tests.perf.cases import ACCELERATORS, H100, H200, L40S


def test_provenance_names_the_source_of_the_coefficients() -> None:
    assert coefficients(H200, "gemm", "fp8").provenance == "fitted"
    assert coefficients(H200, "gemm", "bf16").provenance == "class default"
    assert speed_of_light(H200, "fp8").provenance == "datasheet"


def test_a_datatype_without_units_computes_at_the_next_wider_one() -> None:
    ampere = replace(H100, peaks=Peaks(bf16=312e12))
    assert coefficients(ampere, "gemm", "fp8") == coefficients(ampere, "gemm", "bf16")


@given(
    accelerator=st.sampled_from(ACCELERATORS), family=st.sampled_from(OPERATOR_FAMILIES), dtype=st.sampled_from(["bf16", "fp8"]),
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


def test_every_term_by_hand() -> None:
    # C = 30 s, M = 40 s: sharpness 2 makes 50 s of them; + 1 + 2 x 3 + 0.5 x 4 + 0.25 x 8 s
    fit = Coefficients(overhead=1.0, flops=10.0, bandwidth=5.0, provenance="fitted", sharpness=2.0, item=3.0, depth=0.5, group=0.25)
    assert operator_time(fit, 300.0, 200.0, items=2.0, steps=4.0, groups=8.0) == pytest.approx(50 + 1 + 6 + 2 + 2, rel=1e-12)


@given(one=st.floats(0, 1e6), two=st.floats(0, 1e6), more=st.floats(1, 10), sharpness=st.floats(1, 50))
def test_soft_maximum_lies_between_the_maximum_and_the_sum_and_never_falls(one, two, more, sharpness) -> None:  # type: ignore[no-untyped-def]
    found = soft_maximum(one, two, sharpness)
    assert max(one, two) <= found * (1 + 1e-12)
    assert found <= (one + two) * (1 + 1e-12)
    assert found <= soft_maximum(one * more, two, sharpness) * (1 + 1e-12)
    assert soft_maximum(one, two, np.inf) == max(one, two)


def test_the_best_match_answers_storage_before_engine_before_kernel() -> None:
    def fit(overhead: float, **key: str) -> OperatorFit:
        return OperatorFit(family="gemm", dtype="fp8", overhead=overhead, compute=0.5, memory=0.5, source="test", **key)

    fits = (fit(1e-6, engine="vllm"), fit(2e-6, engine="trtllm"), fit(3e-6, engine="vllm", storage="fp8_block"),
            fit(4e-6, engine="vllm", kernel="cutlass"))  # fmt: skip
    device = replace(H100, operators=fits)
    assert operator_fit(device, "gemm", "fp8").overhead == 1e-6
    assert operator_fit(device, "gemm", "fp8", "", "trtllm").overhead == 2e-6
    assert operator_fit(device, "gemm", "fp8", "", "sglang").overhead == 1e-6
    assert operator_fit(device, "gemm", "fp8", "fp8_block", "trtllm").overhead == 3e-6
    assert operator_fit(device, "gemm", "fp8", "", "vllm", kernel="cutlass").overhead == 4e-6
    assert operator_fit(device, "gemm", "fp8", "int4").overhead == 1e-6
    assert operator_fit(device, "moe", "fp8").provenance == "class default"


def test_a_sharpness_below_one_is_refused() -> None:
    with pytest.raises(SpecError, match=r"sharpness is 0\.5: must be >= 1"):
        OperatorFit(family="gemm", dtype="bf16", overhead=0.0, compute=1.0, memory=1.0, sharpness=0.5, source="test")


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
