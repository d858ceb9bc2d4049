"""The packaged golden figures: what they are, and that they say where they come from."""

import json

import pandas as pd

from mist_dse.catalog import Catalog
from mist_dse.validate.golden import EACH, golden_path, selection
from mist_dse.validate.measurements import measurements
from mist_dse.validate.quality import judged
from tests.validate.judged_rows import judged_rows

CATALOG = Catalog()


def test_only_held_out_rows_that_count_are_chosen_whether_covered_or_not() -> None:
    rows = [{"use_tp": 1, "configuration": f"c{k}", "tpot_ms": float(k)} for k in range(EACH + 9)]
    rows += [
        {"use_tp": 1, "configuration": "x", "tpot_ms": -1.0} | change
        for change in ({"part": "calibration"}, {"duplicate": True}, {"quarantine": "stall"})
    ]
    rows += [{"use_tp": None, "configuration": "y", "tpot_ms": -1.0}]
    frame = judged_rows(*rows)
    chosen = selection(frame)
    assert len(chosen) == EACH
    assert (chosen["tpot_ms"] >= 0).all()
    pd.testing.assert_frame_equal(chosen, selection(frame.assign(covered=False)))


def test_packaged_rows_are_held_out_and_no_copies() -> None:
    frame = judged(measurements(golden_path(), catalog=CATALOG), CATALOG)
    assert set(frame["part"]) == {"test"}
    assert not frame["duplicate"].any()
    assert (frame["reason"] == "").all()


def test_packaged_rows_carry_their_attribution() -> None:
    about = json.loads(golden_path().with_suffix(".json").read_text())
    assert "Apache-2.0" in about["attribution"]
    assert all(len(digest) == 64 for digest in about["sha256"].values())
    assert about["rows"] == len(pd.read_csv(golden_path()))
