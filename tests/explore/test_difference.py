"""What two runs differ in: tables written by hand, whose every difference is known."""

from typing import Any

import pandas as pd
import pytest

from mist_dse.explore.front import front_mask
from mist_dse.explore.reviews.difference import Change, Difference, Moved, Recorded, difference
from mist_dse.explore.reviews.standing import Box
from mist_dse.explore.spaces.goals import objective

GOALS = (objective("min usd_per_hour"), objective("min ttft_p90"))
A = {"cheap": (1.0, 9.0), "middle": (2.0, 4.0), "fast": (4.0, 1.0), "poor": (5.0, 5.0)}
IDENTITY = {"space": "s", "workload": "w", "objectives": "o", "constraints": "c", "prices": "p", "search": "x", "version": "1"}


def recorded(points: dict[str, tuple[float, float]], *, infeasible: dict[str, str] | None = None, **manifest: Any) -> Recorded:
    bad = infeasible or {}
    table = pd.DataFrame([
        {"design_id": name, "fidelity": "simulated", "feasible": name not in bad, "violations": bad.get(name, ""),
         "usd_per_hour": rent, "ttft_p90": ttft} for name, (rent, ttft) in points.items()
    ])  # fmt: skip
    able = table[table["feasible"]]
    front = able[front_mask(able[["usd_per_hour", "ttft_p90"]].to_numpy())]
    resolved = manifest.pop("resolved", {"prices": "default"})
    return Recorded(table, front, {"identity": IDENTITY | manifest}, resolved, GOALS)


def found(changed: dict[str, tuple[float, float]], **manifest: Any) -> Difference:
    return difference(recorded(A), recorded(changed, **manifest))


def test_a_run_is_the_same_as_itself_however_it_was_run() -> None:
    one = recorded(A, resolved={"prices": "default", "executor": {"name": "loky"}, "folder": "x"})
    other = recorded(dict(reversed(A.items())), search="y", resolved={"prices": "default", "executor": {"name": "serial"}})
    both = difference(one, other)
    assert both.same
    assert [change.key for change in both.asked] == ["identity.search"]  # shown, and without weight
    assert both.front == ("cheap", "middle", "fast")
    assert both.hypervolume is not None
    assert both.hypervolume[0] == both.hypervolume[1]


def test_what_was_asked_is_compared_place_by_place() -> None:
    one = recorded(A, resolved={"workload": {"arrivals": {"rate": 2, "cv": 1}}, "objectives": None})
    other = recorded(A, workload="v", resolved={"workload": {"arrivals": {"rate": 3, "cv": 1}}, "seconds": 5})
    both = difference(one, other)
    assert both.asked == (Change("workload.arrivals.rate", 2, 3), Change("seconds", None, 5), Change("identity.workload", "w", "v"))
    assert (both.deciding, both.same) == (("workload",), False)


def test_counts_and_movements_of_shared_designs() -> None:
    both = found({"cheap": (1.5, 9.0), "middle": (2.0, 4.0), "fast": (4.4, 1.0), "new": (3.0, 3.0)})
    assert both.designs == {"a": 4, "b": 4, "both": 3}
    assert both.moved == (Moved("usd_per_hour", 2, pytest.approx(0.1), pytest.approx(0.5), "cheap"),)
    assert not both.same


def test_one_that_was_not_simulated_and_one_that_is_infeasible_now() -> None:
    both = found({name: A[name] for name in ("cheap", "middle", "poor")}, infeasible={"middle": "ttft_p90 is 4, required ttft_p90 <= 3 s"})
    gone = {item.design_id: item for item in both.gone}
    assert (gone["fast"].cause, gone["fast"].why) == ("designs", "b did not simulate it")
    assert gone["middle"].cause == "verdict"
    assert "required ttft_p90 <= 3 s" in gone["middle"].why
    (new,) = both.new
    assert (new.design_id, new.cause) == ("poor", "verdict")
    assert new.why == "in a dominated by middle, which is feasible only there (else ttft_p90 is 4, required ttft_p90 <= 3 s)"
    assert both.verdicts == ("middle",)


def test_a_price_that_pushes_a_member_out_is_named_with_its_ends() -> None:
    both = found({**A, "middle": (4.5, 4.0)})
    (gone,) = both.gone
    assert (gone.design_id, gone.cause) == ("middle", "price")
    assert gone.why == "in b dominated by fast: usd_per_hour 2 -> 4.5 against 4"


def test_a_latency_that_pushes_a_member_out_is_named() -> None:
    both = found({**A, "middle": (2.0, 9.5)})
    (gone,) = both.gone
    assert (gone.cause, gone.why) == ("metric", "in b dominated by cheap: ttft_p90 4 -> 9.5 against 9")


def test_a_newcomer_and_whom_it_beat_before() -> None:
    both = found({**A, "poor": (0.5, 0.5)})
    assert {item.design_id for item in both.gone} == {"cheap", "middle", "fast"}
    assert all(item.why.startswith("in b dominated by poor: ") for item in both.gone)
    (new,) = both.new
    assert (new.design_id, new.cause) == ("poor", "metric")
    assert new.why == "in a dominated by middle: usd_per_hour 5 -> 0.5 against 2; ttft_p90 5 -> 0.5 against 4"


def test_one_that_only_the_other_run_has_beats_it() -> None:
    (gone,) = found({**A, "better": (1.5, 4.0)}).gone
    assert (gone.design_id, gone.cause, gone.why) == ("middle", "designs", "in b dominated by better, which only b simulated")


def test_an_equal_stands_for_it() -> None:
    both = found({"twin": (2.0, 4.0), **A})
    (gone,) = both.gone
    assert (gone.design_id, gone.cause, gone.why) == ("middle", "equal", "equals twin, which stands for it in b")


def test_hypervolumes_are_shares_of_the_box_around_both() -> None:
    import numpy as np

    changed = {"cheap": (1.0, 9.0), "middle": (2.0, 5.0), "fast": (4.0, 1.0)}
    both = found(changed)
    points = [np.log10(np.array([table[name] for name in ("cheap", "middle", "fast")])) for table in (A, changed)]
    box = Box.of(np.concatenate(points))
    assert both.hypervolume == pytest.approx((box.volume(points[0]), box.volume(points[1])))
    assert both.hypervolume[0] > both.hypervolume[1]


def test_other_objectives_have_no_common_box() -> None:
    other = recorded(A)._replace(goals=(objective("min ttft_p90"),))
    both = difference(recorded({**A, "fast": (4.0, 0.5)}), other._replace(front=other.results[other.results["design_id"] == "fast"]))
    assert both.hypervolume is None
    assert {item.why for item in both.gone} == {"the runs have other objectives"}


def test_undefined_values_that_stay_undefined_are_no_change() -> None:
    nan = float("nan")
    assert difference(recorded({**A, "poor": (5.0, nan)}), recorded({**A, "poor": (5.0, nan)})).same
    (moved,) = difference(recorded({**A, "poor": (5.0, nan)}), recorded(A)).moved
    assert (moved.metric, moved.changed, moved.median) == ("ttft_p90", 1, 0.0)
