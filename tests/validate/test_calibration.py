"""What profiles are fitted on, and the files that come out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mist_dse.catalog import Catalog, conf_dir, load_design
from mist_dse.validate.calibration import case_latencies, log_cases, part_errors, profile_cases, profile_text, read_log
from mist_dse.validate.errors import MeasurementError
from mist_dse.validate.fit import median_errors
from mist_dse.validate.measurements import normalised
from mist_dse.validate.quality import judged
from tests.validate.rows_of import row

CATALOG = Catalog()


def request(k: int) -> dict[str, float]:
    return {"queued_ts": 100.0 + k, "arrival_time": 1e9, "first_token_ts": 100.2 + k, "last_token_ts": 100.2 + k + 0.01 * 20,
            "input_toks": 500, "output_toks": 21}  # fmt: skip


def written_log(path: Path, rows: list[dict[str, float]]) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(one) + "\n" for one in rows)
    return path


def test_only_the_calibration_part_of_one_profile_is_fitted_on() -> None:
    rows = [row(concurrency=c) for c in range(1, 21)] + [row(concurrency=c, engine="SGLang") for c in range(1, 21)]
    frame = judged(normalised(pd.DataFrame(rows), CATALOG), CATALOG)
    cases, measured = profile_cases(frame, "vllm", CATALOG)
    wanted = frame[(frame["part"] == "calibration") & (frame["use_family"] == "vllm")]
    assert [one.workload.arrivals.clients for one in cases] == list(wanted["concurrency"])
    assert measured == pytest.approx(np.tile([0.060, 0.0075], (len(wanted), 1)))
    held, _ = profile_cases(frame, "vllm", CATALOG, part="test")
    assert len(cases) + len(held) == 20
    assert part_errors(frame, CATALOG.engine("vllm"), CATALOG, part="test")[0] == len(held)
    assert part_errors(frame, CATALOG.engine("trtllm"), CATALOG, part="test")[0] == 0
    with pytest.raises(MeasurementError, match="no row"):
        profile_cases(frame, "trtllm", CATALOG)


def test_a_log_of_vllm_is_read_by_its_names(tmp_path: Path) -> None:
    log = read_log(written_log(tmp_path / "log.jsonl.gz", [request(k) for k in (3, 1, 2)]))
    assert list(log["arrival_s"]) == [0.0, 1.0, 2.0]
    assert log["first_token_s"].to_numpy() == pytest.approx([0.2, 1.2, 2.2])


def test_a_log_becomes_one_case_per_statistic(tmp_path: Path) -> None:
    path = written_log(tmp_path / "log.jsonl.gz", [request(k) for k in range(10)])
    cases, measured = log_cases(path, load_design("tp1_colocated"))
    assert [one.statistic for one in cases] == ["mean", "median", "p90", "p99"]
    assert measured == pytest.approx(np.tile([0.2, 0.01], (4, 1)))
    ttft, tpot = case_latencies((cases[0], cases[0].profile))
    assert 0.005 < ttft < 0.2
    assert 0.004 < tpot < 0.05


def test_a_log_without_a_column_is_told(tmp_path: Path) -> None:
    bad = [{key: value for key, value in request(0).items() if key != "first_token_ts"}]
    with pytest.raises(MeasurementError, match="no column first_token_s"):
        read_log(written_log(tmp_path / "log.jsonl.gz", bad))


def test_a_written_profile_reads_back_with_its_sources(tmp_path: Path) -> None:
    from dataclasses import replace

    profile = replace(CATALOG.engine("vllm"), client=0.0321, prefill_factor=1.25)
    text = profile_text(profile, CATALOG, fitted={"client": "fitted", "prefill_factor": "fitted; ended on its limit"}, about="a test")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "mine.yaml").write_text(text)
    mine = Catalog([tmp_path, conf_dir()])
    assert mine.engine("mine").client == pytest.approx(0.0321)
    assert replace(mine.engine("mine"), client=0.0321) == replace(profile, name="mine", source="a test")
    assert mine.data("engine", "mine")["source"]["prefill_factor"] == "fitted; ended on its limit"


def test_errors_are_medians_over_what_was_measured() -> None:
    assert median_errors([(1.1, 2.0), (0.7, 2.4)], np.array([[1.0, 2.0], [1.0, np.nan]])) == pytest.approx((0.2, 0.0))
