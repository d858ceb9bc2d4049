"""What a search says of itself: every line from a manifest written by hand, and nothing from one that says nothing."""

from mist_dse.report.proof import proof_lines

MANIFEST = {
    "certificate": "epsilon", "certificate_reason": "every one of the 900 designs left is excluded by its bound at epsilon 0.02",
    "simulated": 50, "designs_in_space": 20000, "share_simulated": 0.0025, "copied_from_class": 7, "set_aside": 0, "short_runs": 3,
    "left_unsimulated": 900, "excluded_by_bound": {"0": 880, "0.02": 900}, "refits": 1, "random_hits_on_front": 2,
    "rank_error": {"ttft_p90": {"spearman": 0.9912, "median_error": 0.031, "designs": 50}, "usd_per_mtok": {"spearman": None}},
}  # fmt: skip


def test_every_line() -> None:
    lines = dict(proof_lines(MANIFEST))
    assert lines["certificate"] == "epsilon: every one of the 900 designs left is excluded by its bound at epsilon 0.02"
    assert lines["simulated"] == "50 of 20,000 designs, 0.25%, 7 of the same outcome copied, 3 short runs"
    assert lines["by bound"] == "of the 900 designs left 880 are excluded at epsilon 0 and 900 are excluded at epsilon 0.02"
    assert lines["screen"].startswith("ttft_p90 rank correlation 0.991, median error 3.1%; 1 refit of the order; 2 random draws")
    assert "usd_per_mtok" not in lines["screen"]


def test_bounds_that_were_not_taken_are_not_counted() -> None:
    lines = dict(proof_lines({**MANIFEST, "excluded_by_bound": {"0": None, "0.02": None}, "rank_error": None}))
    assert "by bound" not in lines
    assert "rank" not in lines["screen"]


def test_a_manifest_that_says_nothing_or_nonsense() -> None:
    assert proof_lines({}) == []
    assert proof_lines({"certificate": "<b>", "simulated": "many", "rank_error": {"x": 3}, "excluded_by_bound": 4}) == [
        ("certificate", "<b>")
    ]


def test_a_run_that_ended_before_its_bounds_says_so() -> None:
    lines = dict(proof_lines({"status": "done", "simulated": 50}))
    assert lines["certificate"].startswith("none: the search ended before its bounds were taken")
    assert "certificate" not in dict(proof_lines({"status": "running", "simulated": 50}))
