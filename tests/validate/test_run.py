"""A whole file: order, coverage, and the same answer however it is spread."""

from pathlib import Path

import numpy as np
import pandas as pd

from mist_dse.validate.measurements import measurements
from mist_dse.validate.run import CHUNK, Setup, predictions
from tests.validate.rows_of import row, written


def test_every_row_in_order_with_a_figure_or_a_reason(tmp_path: Path) -> None:
    rows = [row(isl=128, osl=8, concurrency=1 + k % 3, note=str(k)) for k in range(CHUNK + 3)] + [row(model="no/such", note="last")]
    frame = measurements(written(tmp_path, *rows))
    found = predictions(frame)
    assert list(found["note"].astype(str)) == [one["note"] for one in rows]
    assert list(found["covered"]) == [True] * (CHUNK + 3) + [False]
    assert (found["pred_ttft_ms"].notna() == found["covered"]).all()
    assert "no/such" in found["reason"].iloc[-1]
    backwards = predictions(frame, run=lambda function, chunks: [function(one) for one in list(chunks)[::-1]][::-1])
    pd.testing.assert_frame_equal(found, backwards)


def test_a_recipe_for_all_rows_and_other_operator_layers(tmp_path: Path) -> None:
    frame = measurements(written(tmp_path, row(isl=1024, osl=64)))
    jittered = predictions(frame, Setup(benchmark="inferencex"))
    assert list(jittered["recipe"]) == ["inferencex"]
    light = predictions(frame, Setup(operators="light"))
    plain = predictions(frame)
    assert light["pred_tpot_ms"][0] < plain["pred_tpot_ms"][0]
    assert not np.isnan(light["pred_ttft_ms"][0])


def test_a_device_known_by_its_datasheet_only_is_marked(tmp_path: Path) -> None:
    found = predictions(measurements(written(tmp_path, row(isl=64, osl=8), row(isl=64, osl=8, hardware="MI300X"))))
    assert list(found["borrowed"]) == [False, True]
