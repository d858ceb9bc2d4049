from pathlib import Path

import pandas as pd

from mist_dse.report import front_table
from tests.report.runs import OBJECTIVES, front_of, results


def test_columns_and_cells_have_units_and_the_first_objective_orders_the_rows() -> None:
    frame = results(2).assign(usd_per_mtok=[0.9, 0.42], ttft_p90=[0.25, 1.234], accelerators=[8, 16], bottleneck=["prefill: compute", None])
    table = front_table(frame, OBJECTIVES)
    assert table.columns == ["design", "usd_per_mtok", "ttft_p90", "accelerators", "bottleneck"]
    assert [row[1:] for row in table.rows] == [["$0.42/Mtoken", "1.23 s", "16", ""], ["$0.9/Mtoken", "250 ms", "8", "prefill: compute"]]


def test_an_objective_to_maximise_puts_the_largest_first() -> None:
    frame = results(3).assign(throughput_rps=[1.0, 3.0, 2.0])
    assert [row[1] for row in front_table(frame, ["max throughput_rps"]).rows] == ["3 1/s", "2 1/s", "1 1/s"]


def test_a_long_front_is_thinned_with_both_ends_kept() -> None:
    front = front_of(results(3000), OBJECTIVES).sort_values("usd_per_mtok")
    assert len(front) > 20
    table = front_table(front, OBJECTIVES, limit=5)
    whole = front_table(front, OBJECTIVES, limit=None)
    assert len(table.rows) == 5
    assert table.omitted == len(front) - 5
    assert len(whole.rows) == len(front)
    assert table.rows[0] == whole.rows[0]
    assert table.rows[-1] == whole.rows[-1]


def test_an_empty_front_has_no_rows() -> None:
    assert front_table(results(1).head(0), OBJECTIVES).rows == []
    assert front_table(pd.DataFrame(), OBJECTIVES).rows == []


def test_extra_metrics_come_behind_the_objectives_and_missing_ones_are_left_out() -> None:
    table = front_table(results(1), OBJECTIVES, extra=["watts", "kv_occupancy"])
    assert table.columns == ["design", "usd_per_mtok", "ttft_p90", "watts", "accelerators", "bottleneck"]


def test_a_metric_without_a_value_is_shown_as_absent(tmp_path: Path) -> None:
    assert front_table(results(1).assign(ttft_p90=None), OBJECTIVES).rows[0][2] == "–"


def test_near_twins_are_left_out_up_to_a_tolerance_and_counted() -> None:
    frame = results(3).assign(usd_per_mtok=[1.0, 1.0001, 2.0], ttft_p90=[0.5, 0.3, 0.1])
    assert len(front_table(frame, OBJECTIVES).rows) == 3
    table = front_table(frame, OBJECTIVES, tolerance=1e-3)
    assert [row[2] for row in table.rows] == ["300 ms", "100 ms"]
    assert table.omitted == 1
    assert len(front_table(frame, OBJECTIVES, tolerance=1e-5).rows) == 3
