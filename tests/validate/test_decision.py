"""Decisions on configurations whose best is known by hand."""

import pytest

from mist_dse.validate.decision import decision_error
from tests.validate.judged_rows import judged_rows

CHOICES = [
    {"concurrency": clients, "tpot_ms": tpot, "ttft_ms": 0.0, "pred_ttft_ms": 0.0, "osl": 2}
    for clients, tpot in ((8, 10.0), (16, 12.0), (32, 16.0), (64, 40.0))
]


def test_a_perfect_prediction_picks_the_best() -> None:
    found = decision_error(judged_rows(*(choice | {"pred_tpot_ms": choice["tpot_ms"]} for choice in CHOICES)))
    assert (found.problems, found.picks) == (3, 3)
    assert (found.feasible, found.median_reached, found.p10_reached) == (1.0, 1.0, 1.0)


def test_an_optimist_breaks_limits_and_a_pessimist_leaves_throughput() -> None:
    """Limits at 11.5, 14 and 22 ms; throughput per ms of TPOT: 0.8, 1.33, 2, 1.6."""
    halved = decision_error(judged_rows(*(choice | {"pred_tpot_ms": 0.5 * choice["tpot_ms"]} for choice in CHOICES)))
    assert halved.feasible == pytest.approx(1 / 3)
    late = decision_error(judged_rows(*(choice | {"pred_tpot_ms": 1.3 * choice["tpot_ms"]} for choice in CHOICES)))
    assert late.feasible == 1.0
    assert late.picks == 2  # at 11.5 ms no configuration looks feasible
    assert late.p10_reached == pytest.approx(0.6 + 0.1 * 0.4)


def test_few_configurations_are_no_choice_and_no_columns_no_decision() -> None:
    assert decision_error(judged_rows(*CHOICES[:3])).problems == 0
    assert decision_error(judged_rows(*CHOICES), "peer_").picks == 0
