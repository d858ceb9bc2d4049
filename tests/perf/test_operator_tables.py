"""Tables of measured products: corrections applied, interpolated, held at the ends, never faster for more rows."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from mist_dse.perf.operator import Coefficients
from mist_dse.perf.tables import product_time
from mist_dse.specs._check import SpecError
from mist_dse.specs.hardware import ProductTable

RATES = Coefficients(overhead=4e-6, flops=700e12, bandwidth=2.8e12, provenance="fitted", depth=0.2e-9)
AXES = {"n": (1024, 4096), "k": (512, 8192), "rows": (1, 16, 256, 4096)}


def table(hundredths: np.ndarray) -> ProductTable:
    return ProductTable(dtype="bf16", storage="", engine="vllm", hundredths=hundredths.astype(np.int8).tobytes(), **AXES)


def seconds(correction: ProductTable | None, rows: object, n: object = 2048, k: object = 2048) -> np.ndarray:
    return np.asarray(product_time(RATES, correction, rows, n, k, bytes_each=(2.0, 2.0)))


def test_without_a_table_the_fit_answers() -> None:
    # 4 us + 0.2 ns x 2048 + max(2 x 64 x 2048^2 / 700 TFLOP/s, (2048^2 + 2 x 64 x 2048) x 2 B / 2.8 TB/s)
    assert float(seconds(None, 64)) == pytest.approx(4e-6 + 0.2e-9 * 2048 + 2 * (2048**2 + 2 * 64 * 2048) / 2.8e12, rel=1e-12)


def test_a_constant_correction_scales_knots_and_what_lies_beyond() -> None:
    slower = table(np.full((2, 2, 4), 10))
    rows = np.array([1.0, 16.0, 256.0, 4096.0, 65536.0])
    assert seconds(slower, rows) == pytest.approx(seconds(None, rows) * np.exp(0.10), rel=1e-9)
    assert seconds(slower, 64.0, n=10**6, k=64) == pytest.approx(seconds(table(np.full((2, 2, 4), 10)), 64.0, n=10**6, k=64))


def test_between_shapes_the_logarithm_is_interpolated() -> None:
    grid = np.zeros((2, 2, 4))
    grid[1] = 40
    middle = seconds(table(grid), 16.0, n=2048, k=512) / seconds(None, 16.0, n=2048, k=512)
    assert float(middle) == pytest.approx(np.exp(0.20), rel=1e-9)  # 2048 is half way from 1024 to 4096 on a log scale


@given(values=st.lists(st.integers(-120, 120), min_size=16, max_size=16), rows=st.lists(st.floats(1, 1e5), min_size=2, max_size=30))
def test_more_rows_never_take_less_and_an_array_answers_as_each_scalar(values: list[int], rows: list[float]) -> None:
    correction = table(np.array(values).reshape(2, 2, 4))
    ordered = np.sort(np.array(rows))
    found = seconds(correction, ordered)
    assert np.all(np.diff(found) >= -1e-12 * found[:-1])
    assert found == pytest.approx([float(seconds(correction, one)) for one in ordered], rel=1e-12)


def test_a_table_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(SpecError, match="has 3 values for axes of"):
        ProductTable(dtype="bf16", storage="", engine="vllm", hundredths=b"abc", **AXES)
