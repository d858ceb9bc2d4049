"""What ``validate`` prints, from reports made by hand."""

from typing import Any

from mist_dse.app.validation import behind, markdown, operators_table, table
from mist_dse.validate.score import scored
from tests.validate.judged_rows import judged_rows

NOTHING = {"picks": 0}


def report(**changes: Any) -> dict[str, Any]:
    slices = scored(judged_rows({"pred_tpot_ms": 11.0}, {"concurrency": 64.0, "pred_ttft_ms": 80.0})).to_dict("records")
    return {"rows": 2, "covered": 2, "closed_loop": {"rows": 2, "covered": 1.0}, "part": "test", "slices": slices,
            "uncovered": {}, "decision": NOTHING, "decision_beside_peer": NOTHING, "peer_decision": NOTHING,
            "intervals": [], "missed": [], "broken": []} | changes  # fmt: skip


def test_scores_and_buckets() -> None:
    lines = table(report()).splitlines()
    assert lines[1].endswith("2 rows, 100% covered")
    assert any(line.split()[:4] == ["dense", "tpot", "2", "100%"] for line in lines)
    bias = next(line for line in lines if "(1)" in line)
    assert "0.0% (1)" in bias
    assert "-20.0% (1)" in bias


def test_decisions_intervals_and_reasons_where_there_are_any() -> None:
    made = {"picks": 3, "feasible": 2 / 3, "nearly_feasible": 1.0, "median_reached": 0.99, "p10_reached": float("nan")}
    inside = [{"slice": "dense", "metric": "tpot", "rows": 60, "contained": 0.83}]
    text = table(report(decision=made, intervals=inside, uncovered={"no such thing": 4}))
    assert "all rows      3     66.7%       100%            99.0%    -" in text
    tpot = next(line for line in text.splitlines() if line.split()[:2] == ["dense", "tpot"])
    assert "83%" in tpot
    assert "4  no such thing" in text
    assert "picked" not in table(report())


def test_a_figure_past_its_limit_is_marked() -> None:
    text = table(report(broken=[["dense", "tpot", "p90"]]))
    marked = [line.split()[:2] for line in text.splitlines() if "%*" in line]
    assert marked == [["dense", "tpot"]]


def test_lines_fit_a_wide_terminal_with_the_peer_beside() -> None:
    """Every cell at its longest: the widest slice, errors of four digits."""
    changes = {"use_mode": "disagg", "use_family": "trtllm", "kind": "mla", "concurrency": 900.0, "peer_ttft_ms": 9999.0,
               "peer_tpot_ms": 999.0, "pred_ttft_ms": 3599.0, "output_tok_s": 2.0}  # fmt: skip
    slices = scored(judged_rows(*[changes] * 9)).to_dict("records")
    text = table(report(slices=slices, broken=[["disagg_trtllm_many", "ttft", "mdape"]]))
    assert "disagg_trtllm_many" in text
    assert max(map(len, text.splitlines())) <= 140


def test_one_line_per_claimed_slice_as_markdown() -> None:
    made = scored(judged_rows(*[{"peer_ttft_ms": 150.0, "peer_tpot_ms": 20.0, "pred_tpot_ms": 11.0}] * 3, {"kind": "moe"}))
    lines = markdown(report(slices=made.to_dict("records"))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in cells}) == 1
    dense = dict(zip(cells[0], cells[2], strict=True))
    assert (dense["rows"], dense["TPOT"], dense["TPOT: ours, peer"]) == ("3", "10.0% (10.0%)", "10.0%, 100%")
    assert len(lines) == 4


def test_where_the_peer_is_nearer_is_said() -> None:
    made = scored(judged_rows(*[{"peer_ttft_ms": 150.0, "peer_tpot_ms": 10.1, "pred_tpot_ms": 11.0}] * 3)).to_dict("records")
    assert behind(report(slices=made)) == (
        "The peer is nearer in: dense models, closed loop: TPOT (3 rows); dense models, closed loop: E2E (3 rows)."
    )
    assert behind(report(slices=made)) in markdown(report(slices=made))
    assert behind(report()) == ""


def test_nothing_to_score_is_a_line() -> None:
    assert table(report(slices=[], closed_loop={"rows": 0, "covered": float("nan")})).count("\n") == 0


def test_operators_in_percent() -> None:
    text = operators_table([{"system": "h100", "rows": 12, "mdape": 0.0512, "bias": float("nan")}])
    assert text.split() == ["system", "rows", "mdape", "bias", "h100", "12", "5.1%", "-"]
