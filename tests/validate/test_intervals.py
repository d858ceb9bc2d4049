"""Intervals of a file's predictions: honest counts on fresh rows, which residuals are used, what is left out."""

import math

import numpy as np
import pandas as pd
import pytest

from mist_dse.validate.intervals import ENOUGH, contained, residual_rows, residuals, with_intervals, write_residuals
from mist_dse.validate.residuals import packaged
from mist_dse.validate.slices import REGIMES, SLICES
from tests.validate.judged_rows import judged_rows

GENERATOR = np.random.default_rng(2)


def spread_rows(count: int, sigma: float, **changes: object) -> list[dict[str, object]]:
    values = GENERATOR.normal(0, sigma, count)
    return [{"tpot_ms": 10.0 * math.exp(e), "configuration": f"{k}"} | changes for k, e in enumerate(values)]


def inside(frame: pd.DataFrame, metric: str = "tpot") -> float:
    return float(contained(frame).set_index("metric")["contained"][metric])


def test_fresh_rows_fall_inside_eight_times_in_ten() -> None:
    table = residuals(judged_rows(*spread_rows(2000, 0.1)))
    assert 0.77 < inside(with_intervals(judged_rows(*spread_rows(4000, 0.1)), table)) < 0.83


def test_the_rows_that_made_the_residuals_are_not_flattered() -> None:
    """Rows that share a configuration are one fold: a model that is off by its own amount in each configuration is told so."""
    offsets = GENERATOR.normal(0, 0.1, 60)
    frame = judged_rows(*({"tpot_ms": 10.0 * math.exp(offsets[k % 60]), "configuration": f"{k % 60}"} for k in range(600)))
    assert 0.7 < inside(with_intervals(frame, residuals(frame))) < 0.9


def test_only_held_out_rows_that_count_make_residuals() -> None:
    frame = judged_rows({}, {"part": "calibration"}, {"duplicate": True}, {"quarantine": "stall"}, {"covered": False}, {"use_model": ""},
                        {"tpot_ms": np.nan, "ttft_ms": np.nan})  # fmt: skip
    found = residual_rows(frame)
    assert len(found) == 1
    assert found.loc[0, ["family", "accelerator", "kind", "regime"]].tolist() == ["vllm", "h100_sxm", "dense", "closed"]


def test_a_small_file_takes_the_packaged_residuals() -> None:
    assert residuals(judged_rows(*spread_rows(ENOUGH - 1, 0.1))) is packaged()
    own = residuals(judged_rows(*spread_rows(ENOUGH, 0.1)))
    assert len(own.fold) == ENOUGH


def test_what_is_written_is_what_is_read(tmp_path, monkeypatch) -> None:
    frame = judged_rows(*spread_rows(ENOUGH, 0.1))
    assert write_residuals(frame, tmp_path / "made.csv") == ENOUGH
    from mist_dse.validate import residuals as module

    monkeypatch.setattr(module, "PACKAGED", tmp_path / "made.csv")
    packaged.cache_clear()
    try:
        read = packaged()
        about = module.Subject("vllm", "h100_sxm", "dense")
        assert read.interval(about, "tpot")[:2] == pytest.approx(residuals(frame).interval(about, "tpot")[:2], abs=2e-4)
        assert np.isnan(read.values["output_tok_s"]).all()
    finally:
        packaged.cache_clear()


def test_rows_without_a_prediction_have_no_interval() -> None:
    frame = with_intervals(judged_rows({"covered": False, "pred_tpot_ms": np.nan, "grade": ""}), packaged())
    assert frame["low_tpot_ms"].isna().all()
    assert contained(frame).empty


def test_every_slice_has_a_regime() -> None:
    assert set(REGIMES) == {one.name for one in SLICES}
