"""Where an accelerator's operator times come from: own fits, a relative's, class defaults, datasheet, tables."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings, strategies as st

import mist_dse
from mist_dse.catalog import Catalog, CatalogError, conf_dir
from mist_dse.perf.collective import Hop, Span, all_reduce_time, measured_time
from mist_dse.perf.operator import coefficients, operator_fit, operator_time
from mist_dse.perf.tables import product_table
from mist_dse.specs.hardware import OPERATOR_FAMILIES

CATALOG = Catalog()
DATA = Path(mist_dse.__file__).parent / "data"


def test_provenance_runs_from_own_fits_to_a_relative_to_the_class_to_the_datasheet() -> None:
    assert coefficients(CATALOG.accelerator("h200"), "gemm", "bf16").provenance == "fitted"
    assert coefficients(CATALOG.accelerator("gh200"), "gemm", "bf16").provenance == "borrowed from h200"
    assert coefficients(CATALOG.accelerator("gb300"), "attention_decode", "bf16").provenance == "borrowed from gb200"
    assert coefficients(CATALOG.accelerator("b300"), "moe", "fp4").provenance == "borrowed from b200"
    assert coefficients(CATALOG.accelerator("mi300x"), "gemm", "bf16").provenance == "class default"
    assert coefficients(CATALOG.accelerator("h200"), "elementwise", "bf16").provenance == "class default"
    assert coefficients(Catalog(operators="class").accelerator("h200"), "gemm", "bf16").provenance == "class default"
    light = coefficients(Catalog(operators="light").accelerator("h200"), "gemm", "bf16")
    assert light == (0.0, 989.4e12, 4.8e12, "datasheet", np.inf, 0.0, 0.0, 0.0)


def test_an_unknown_layer_is_one_line_with_the_choices() -> None:
    with pytest.raises(CatalogError, match=r"operators='table' is unknown; did you mean 'tables'"):
        Catalog(operators="table")


def test_fits_in_a_users_own_file_come_first(tmp_path: Path) -> None:
    entry = yaml.safe_load((conf_dir() / "accelerator" / "h100_sxm.yaml").read_text())
    own = {"family": "gemm", "dtype": "bf16", "overhead": "9 us", "compute": 0.5, "memory": 0.6, "source": "measured here"}
    (tmp_path / "accelerator").mkdir()
    (tmp_path / "accelerator" / "h100_sxm.yaml").write_text(yaml.safe_dump(entry | {"operators": [own]}))
    device = Catalog([tmp_path, conf_dir()]).accelerator("h100_sxm")
    assert operator_fit(device, "gemm", "bf16").source == "measured here"
    assert operator_fit(device, "gemm", "fp8").source.startswith("fit to aiconfigurator 0.12")


def test_single_kernels_are_for_comparisons_only() -> None:
    assert not any(fit.kernel for fit in CATALOG.accelerator("h200").operators)
    assert any(fit.kernel for fit in Catalog(kernels=True).accelerator("h200").operators)


def test_block_scaled_products_timed_launch_by_launch_never_answer_for_an_engine() -> None:
    for name in ("h100_sxm", "h200", "b200", "rtx_pro_6000"):
        fit = operator_fit(CATALOG.accelerator(name), "gemm", "fp8", "fp8_block", "vllm")
        assert fit.overhead < 20e-6


@settings(max_examples=60)
@given(
    name=st.sampled_from(CATALOG.names("accelerator")), family=st.sampled_from(OPERATOR_FAMILIES), dtype=st.sampled_from(["bf16", "fp8"]),
    flop=st.floats(0, 1e15), moved=st.floats(0, 1e12), count=st.floats(0, 1e6), more=st.floats(1, 10),
)  # fmt: skip
def test_more_work_never_takes_less_time(name, family, dtype, flop, moved, count, more) -> None:  # type: ignore[no-untyped-def]
    fit = coefficients(CATALOG.accelerator(name), family, dtype)
    time = operator_time(fit, flop, moved, items=count, steps=count, groups=count)
    assert time <= operator_time(fit, flop * more, moved, items=count, steps=count, groups=count) * (1 + 1e-12)
    assert time <= operator_time(fit, flop, moved * more, items=count, steps=count, groups=count) * (1 + 1e-12)
    assert time <= operator_time(fit, flop, moved, items=count * more, steps=count * more, groups=count * more) * (1 + 1e-12)


def test_tables_answer_only_where_they_are_asked_for() -> None:
    device = Catalog(operators="tables").accelerator("h100_sxm")
    assert product_table(device, operator_fit(device, "gemm", "bf16")) is not None
    assert product_table(device, operator_fit(device, "attention_decode", "bf16")) is None
    assert CATALOG.accelerator("h100_sxm").tables == ()
    assert hash(device) == hash(Catalog(operators="tables").accelerator("h100_sxm"))


def test_measured_all_reduces_answer_within_a_scale_up_domain() -> None:
    # vLLM in graphs on eight H100, aiconfigurator 0.12: 4.6 us floor, 469 GB/s of bus bandwidth at 512 MB (2 x 7/8 of it crosses).
    fits = CATALOG.accelerator("h100_sxm").collectives
    span = Span(8, Hop("nvlink4", 355e9, 5e-6, fits=fits))
    assert float(all_reduce_time((span,), 256.0)) == pytest.approx(4.6e-6, rel=0.15)
    assert float(all_reduce_time((span,), 536870912.0)) == pytest.approx(2 * 7 / 8 * 536870912 / 469e9, rel=0.10)
    assert measured_time(Span(5, span.hop), "all_reduce", 1e6) is None


def test_packaged_files_are_small_and_say_where_they_come_from() -> None:
    files = [DATA / name for name in ("operators.csv", "operators.json", "collectives.csv", "products.npz")]
    assert sum(file.stat().st_size for file in files) <= 2_000_000
    about = json.loads((DATA / "operators.json").read_text())
    assert "Apache-2.0" in about["attribution"]
    assert "aiconfigurator-core 0.12.0" in about["source"]
    assert all(len(digest) == 64 for digest in about["sha256"].values())
    assert len(about["sha256"]) == 15
