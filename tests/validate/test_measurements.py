"""Files of measurements: every row in order, the reason where one cannot be used, one line where the file cannot."""

from pathlib import Path

import pandas as pd
import pytest

from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.measurements import REQUIRED, measurements
from tests.validate.rows_of import row, written


def test_rows_keep_their_order_and_columns(tmp_path: Path) -> None:
    path = written(tmp_path, row(note="a"), row(note="b", model="no/such"), row(note="c", engine="SGLang"))
    frame = measurements(path)
    assert list(frame["note"]) == ["a", "b", "c"]
    assert list(frame["use_family"]) == ["vllm", "vllm", "sglang"]
    assert [bool(reason) for reason in frame["reason"]] == [False, True, False]
    assert "no/such" in frame["reason"][1]
    assert list(frame["use_devices"].dropna()) == [1, 1]


def test_dates_come_from_the_day_else_the_source_else_the_version(tmp_path: Path) -> None:
    rows = [row(measured_on="2026-03-25"), row(source="trtllm-perf-overview-v1.0"), row(engine_version="0.12.0"), row()]
    blank = {"measured_on": None, "source": None, "engine_version": None}
    frame = measurements(written(tmp_path, *(blank | one for one in rows)))
    assert list(frame["use_built"]) == ["2026-03-25", "2025-09-24", "2025-12-03", ""]


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame([row()]).drop(columns=missing).to_csv(path, index=False)
    with pytest.raises(MeasurementError, match=f"no column {missing};"):
        measurements(path)


def test_something_must_say_how_much_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame([row()]).drop(columns="concurrency").to_csv(path, index=False)
    with pytest.raises(MeasurementError, match="how much is asked"):
        measurements(path)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame([row()])[:0].to_csv(path, index=False)
    with pytest.raises(MeasurementError, match="no rows"):
        measurements(path)


def test_lengths_must_be_tokens(tmp_path: Path) -> None:
    frame = measurements(written(tmp_path, row(isl=0)))
    assert "isl" in frame["reason"][0]


def test_one_bad_cell_costs_one_row_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    head = "model,hardware,engine,precision,mode,n_gpus,tp,isl,osl,concurrency"
    rows = [
        "Llama-3.1-8B,H100-SXM-80GB,vLLM,fp8,agg,1,1,{},128,{}".format(*cells) for cells in ((512, 4), ("abc", 4), (512, "inf"), (512, 8))
    ]
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    assert measurements(path)["reason"].tolist() == [
        "",
        "isl is abc: must be a finite number",
        "concurrency is inf: must be a finite number",
        "",
    ]


@pytest.mark.parametrize(
    ("tp", "gpus", "said"), [(0, 1, "tp is 0: must be at least 1"), (3, 4, "tp is 3 and n_gpus is 4: neither divides the other")]
)
def test_a_layout_that_cannot_be_is_not_covered(tmp_path: Path, tp: int, gpus: int, said: str) -> None:
    path = tmp_path / "rows.csv"
    head = "model,hardware,engine,precision,mode,n_gpus,tp,isl,osl,concurrency"
    path.write_text(f"{head}\nLlama-3.1-8B,H100-SXM-80GB,vLLM,fp8,agg,{gpus},{tp},512,128,4", encoding="utf-8")
    assert measurements(path)["reason"].tolist() == [said]
