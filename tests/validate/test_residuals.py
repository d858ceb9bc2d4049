"""Intervals from residuals: order statistics by hand, where groups give way, how they widen, what a fold leaves out."""

import math

import numpy as np
import pytest

from mist_dse.validate.residuals import (
    FOLDS,
    GRADES,
    LEAST,
    UNKNOWN_ENGINE,
    WIDENING,
    Residuals,
    Subject,
    fold_of,
    grade_of,
    packaged,
    residuals_of,
)

H100 = Subject("vllm", "h100_sxm", "dense")


def table(*groups: tuple[dict[str, object], list[float]]) -> Residuals:
    """Residuals of TPOT by group, dealt into folds in turn."""
    base = {"family": "vllm", "accelerator": "h100_sxm", "kind": "dense", "regime": "closed"}
    return residuals_of([base | group | {"fold": k % FOLDS, "tpot": value} for group, values in groups for k, value in enumerate(values)])


def test_order_statistics_by_hand() -> None:
    """Of 39 residuals the 4th and the 36th: (39 + 1) 0.1 and (39 + 1) 0.9."""
    found = table(({}, [0.01 * k for k in range(1, 40)])).interval(H100, "tpot")
    assert found is not None
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((0.04, 0.36))
    assert (found.rows, found.group, found.width) == (39, "vllm h100_sxm dense closed", 1.0)


def test_a_small_group_gives_way_to_all_accelerators_with_it_among_them() -> None:
    known = table(({}, [0.1] * (LEAST - 1)), ({"accelerator": "b200"}, [0.3] * LEAST))
    found = known.interval(H100, "tpot")
    assert found is not None
    assert (found.rows, found.group, found.width) == (2 * LEAST - 1, "vllm dense closed", 1.0)
    other = known.interval(H100._replace(accelerator="b200"), "tpot")
    assert other is not None
    assert (other.rows, math.log(other.low)) == pytest.approx((LEAST, 0.3))


def test_a_regime_without_rows_falls_to_the_next() -> None:
    known = table(({}, [0.1] * LEAST), ({"regime": "disagg"}, [0.2] * LEAST))
    asked = [H100._replace(regime=regime) for regime in ("many", "disagg_many", "open_full")]
    found = [known.interval(about, "tpot") for about in asked]
    assert [round(math.log(one.high), 6) for one in found if one] == [0.1, 0.2, 0.1]
    assert known.interval(H100._replace(regime="offline"), "tpot") is None


@pytest.mark.parametrize("grade", GRADES)
def test_an_accelerator_without_rows_is_wider_by_where_its_coefficients_come_from(grade: str) -> None:
    known = table(({}, [0.01 * k for k in range(1, 40)]))
    own, other = known.interval(H100, "tpot"), known.interval(H100._replace(accelerator="a30", grade=grade), "tpot")
    assert own is not None
    assert other is not None
    assert other.width == WIDENING[grade]
    assert math.log(other.high / other.low) == pytest.approx(WIDENING[grade] * math.log(own.high / own.low))
    assert math.log(other.high * other.low) == pytest.approx(math.log(own.high * own.low))  # about the same middle


def test_grades_widen_in_order_and_an_unknown_engine_too() -> None:
    widths = [WIDENING[grade] for grade in GRADES]
    assert widths == sorted(widths)
    assert widths[0] >= 1
    found = table(({}, [0.1, 0.2] * LEAST)).interval(H100._replace(family="generic"), "tpot")
    assert found is not None
    assert found.width == UNKNOWN_ENGINE > 1


def test_a_fold_is_left_out() -> None:
    known = table(({}, [9.0 if k % FOLDS == 3 else 0.1 for k in range(2 * LEAST * 10)]))
    whole, without = known.interval(H100, "tpot"), known.interval(H100, "tpot", without=3)
    assert whole is not None
    assert without is not None
    assert (without.rows, math.log(without.high)) == pytest.approx((2 * LEAST * 10 * (1 - 1 / FOLDS), 0.1))


def test_folds_are_even_and_depend_on_the_configuration_only() -> None:
    folds = [fold_of(f"configuration {k}") for k in range(4000)]
    assert set(folds) == set(range(FOLDS))
    assert max(folds.count(fold) for fold in range(FOLDS)) < 1.6 * 4000 / FOLDS
    assert fold_of("a") == fold_of("a")


def test_the_worst_operator_grades_a_design() -> None:
    assert grade_of({"a": {"gemm": "fitted"}, "b": {"gemm": "class default", "moe": "borrowed from b200"}}) == "class default"
    assert grade_of({"a": {"gemm": "fitted", "power": "borrowed"}}) == "fitted"


def test_the_packaged_residuals_hold_every_engine_and_kind() -> None:
    for family in ("vllm", "sglang", "trtllm"):
        for kind in ("dense", "moe", "mla"):
            found = packaged().interval(Subject(family, "b200", kind), "tpot")
            assert found is not None
            assert 0.3 < found.low < found.high < 3


def test_packaged_intervals_hold_75_to_85_percent_of_every_kind_and_regime_of_50_rows() -> None:
    """Counted out of fold, metric by metric."""
    known, judged = packaged(), 0
    for kind, regime in sorted(set(zip(known.keys["kind"], known.keys["regime"], strict=True))):
        for metric, values in known.values.items():
            rows = np.flatnonzero((known.keys["kind"] == kind) & (known.keys["regime"] == regime) & ~np.isnan(values))
            if len(rows) >= 50:
                judged += 1
                inside = [_inside(known, row, metric) for row in rows]
                assert 0.75 <= np.mean(inside) <= 0.85, (kind, regime, metric, len(rows))
    assert judged >= 9  # three kinds in a closed loop, three metrics each


def _inside(known: Residuals, row: int, metric: str) -> bool:
    about = Subject(*(str(known.keys[name][row]) for name in ("family", "accelerator", "kind", "regime")))
    found = known.interval(about, metric, without=int(known.fold[row]))
    return found is not None and found.low <= math.exp(known.values[metric][row]) <= found.high
