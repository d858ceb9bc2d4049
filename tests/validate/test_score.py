"""Scores against sums by hand."""

import numpy as np
import pandas as pd
import pytest

from mist_dse.validate.score import VERDICT, buckets, missed, scored, spearman, summary, with_e2e, with_peer
from mist_dse.validate.slices import SLICES, slice_names
from tests.validate.judged_rows import judged_rows


def scores_of(frame: pd.DataFrame, name: str, metric: str) -> dict[str, float]:
    table = scored(frame)
    return table[(table["slice"] == name) & (table["metric"] == metric)].to_dict("records")[0]


def test_summary_by_hand() -> None:
    found = summary(pd.Series([0.1, -0.3, 0.2, np.nan]))
    assert found == pytest.approx({"mdape": 0.2, "p90": 0.28, "mape": 0.2, "bias": 0.1})
    assert np.isnan(summary(pd.Series([], dtype=float))["mdape"])


def test_e2e_is_made_alike_on_both_sides() -> None:
    found = with_e2e(judged_rows({"pred_tpot_ms": 11.0}))
    assert found["e2e_ms"][0] == pytest.approx(100 + 10 * 100)
    assert found["pred_e2e_ms"][0] == pytest.approx(100 + 11 * 100)


def test_duplicates_and_quarantined_rows_do_not_count_but_are_told() -> None:
    frame = judged_rows({"pred_tpot_ms": 11.0}, {"pred_tpot_ms": 30.0, "duplicate": True}, {"pred_tpot_ms": 20.0, "quarantine": "stall"},
                        {"covered": False, "pred_tpot_ms": np.nan})  # fmt: skip
    found = scores_of(frame, "dense", "tpot")
    assert (found["rows"], found["counted"], found["quarantined"]) == (3, 1, 1)
    assert (found["mdape"], found["quarantined_mdape"], found["covered"]) == pytest.approx((0.1, 1.0, 2 / 3))


def test_buckets_hold_the_signed_error() -> None:
    frame = with_e2e(judged_rows(*({"concurrency": c, "pred_ttft_ms": p} for c, p in ((8, 110.0), (9, 80.0), (32, 60.0), (512, 100.0)))))
    found = buckets(frame, "ttft")
    assert found["1-8"] == pytest.approx((0.1, 1))
    assert found["9-32"] == pytest.approx((-0.3, 2))
    assert np.isnan(found["33-128"][0])
    assert found[">128"][1] == 1


def test_rank_correlation() -> None:
    frame = with_e2e(judged_rows(*({"tpot_ms": t, "pred_tpot_ms": p} for t, p in ((1, 10), (2, 20), (3, 15), (4, 90)))))
    assert spearman(frame, "tpot") == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert np.isnan(spearman(frame[:3], "tpot"))


def test_the_peer_is_judged_on_the_rows_of_both() -> None:
    frame = judged_rows({"note": "a", "pred_tpot_ms": 11.0}, {"note": "b", "pred_tpot_ms": 20.0})
    peer = pd.DataFrame({"id": ["a", "z"], "aic_ttft_ms": [150.0, 1.0], "aic_tpot_ms": [13.0, 1.0]})
    found = scores_of(with_peer(frame, peer), "dense", "tpot")
    assert (found["peer_rows"], found["ours_mdape"], found["peer_mdape"]) == pytest.approx((1, 0.1, 0.3))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "dense"),
        ({"kind": "moe", "concurrency": 256.0}, "moe"),
        ({"kind": "moe", "concurrency": 257.0}, "moe_many"),
        ({"kind": "mla", "concurrency": 64.0}, "mla"),
        ({"kind": "mla", "concurrency": 65.0}, "mla_many"),
        ({"kind": "mla", "concurrency": 8.0, "use_dp": 8}, "mla_many"),
        ({"use_mode": "disagg", "use_family": "trtllm", "kind": "mla", "concurrency": 512.0}, "disagg_trtllm"),
        ({"use_mode": "disagg", "use_family": "trtllm", "kind": "mla", "concurrency": 513.0}, "disagg_trtllm_many"),
        ({"use_mode": "disagg", "use_family": "sglang", "kind": "mla"}, "disagg_sglang"),
        ({"use_mode": "disagg", "kind": "mla"}, "disagg_other"),
        ({"concurrency": np.nan, "recipe": "trtllm_offline"}, "offline"),
        ({"concurrency": np.nan, "recipe": "trtllm_static"}, "static"),
        ({"concurrency": np.nan, "request_rate": -1.0}, "open_loop_full"),
        ({"use_model": ""}, ""),
    ],
)
def test_slices(changes: dict[str, object], name: str) -> None:
    assert list(slice_names(judged_rows(changes))) == [name]


def test_an_open_loop_is_light_below_80_percent_of_the_most_served() -> None:
    rows = [
        {"concurrency": np.nan, "request_rate": rate, "output_tok_s": served, "osl": 100}
        for rate, served in ((2, 200), (7, 700), (9, 880), (20, 1000))
    ]
    assert list(slice_names(judged_rows(*rows))) == ["open_loop", "open_loop", "open_loop_full", "open_loop_full"]


def test_limits_need_enough_rows_for_a_verdict() -> None:
    bad = [{"pred_tpot_ms": 12.0, "ttft_ms": 100.0 + k, "tpot_ms": 10.0 + k / 1000} for k in range(VERDICT)]
    lines = [str(miss) for miss in missed(scored(judged_rows(*bad)))]
    assert any(line.startswith("dense: tpot mdape is 0.199") for line in lines)
    assert any(line.startswith("dense: tpot p90") for line in lines)
    assert missed(scored(judged_rows(*bad[1:]))) == []


def test_a_bias_is_held_in_every_bucket_with_enough_rows() -> None:
    rows = [{"concurrency": 8.0, "pred_ttft_ms": 85.0}] * VERDICT + [{"concurrency": 64.0, "pred_ttft_ms": 112.0}] * (VERDICT + 5)
    found = [miss for miss in missed(scored(judged_rows(*rows))) if miss.statistic == "bias"]
    assert [(miss.bucket, round(miss.value, 2)) for miss in found] == [("1-8", -0.15), ("33-128", 0.12)]
    assert str(found[0]) == "dense: ttft bias at concurrency 1-8 is -0.15, the limit is 0.1"


def test_every_limit_names_a_figure_that_is_scored() -> None:
    table = scored(judged_rows({}, {"kind": "moe"}))
    for one in SLICES:
        for figure, _ in one.limits:
            statistic = figure.partition(":")[2] or "mdape"
            assert statistic in table.columns
