"""The importer on the public file of measurements: counts that its README states or that were counted by other means."""

import os
from pathlib import Path

import pandas as pd
import pytest

from mist_dse.catalog import Catalog
from mist_dse.validate.measurements import measurements
from mist_dse.validate.quality import judged

DATA = os.environ.get("MIST_DSE_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="MIST_DSE_DATA names no folder of reference data")
CATALOG = Catalog()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return judged(measurements(Path(str(DATA)) / "measured" / "e2e.csv.gz", catalog=CATALOG), CATALOG)


def test_devices_are_those_of_the_normalised_column_but_for_six_rows(frame: pd.DataFrame) -> None:
    """The six give 16 devices for an engine of tp 4, ep 4, as their own notes say."""
    known = frame[(frame["use_mode"] == "agg") & (frame["reason"] == "") & frame["gpus"].notna()]
    differ = known[known["use_devices"] != known["gpus"]]
    assert len(known) > 1400
    assert (differ["note"].str.contains("tp4_ep4")).all()
    assert len(differ) == 6


def test_the_rules_of_the_dumps_give_the_normalised_devices(frame: pd.DataFrame) -> None:
    from mist_dse.validate.measurements import normalised

    raw = normalised(frame.drop(columns=["gpus", "attention_dp_on", "moe_tp", "moe_ep"]), CATALOG)
    columns = ["use_tp", "use_dp", "use_ep", "use_replicas"]
    agg = (frame["use_mode"] == "agg") & (frame["reason"] == "")
    pd.testing.assert_frame_equal(raw.loc[agg, columns], frame.loc[agg, columns])


def test_at_least_the_stated_duplicates_are_found(frame: pd.DataFrame) -> None:
    """264 rows equal another in every value; the same run under two names of DeepSeek comes on top."""
    assert frame["duplicate"].sum() >= 264
    assert frame[~frame["duplicate"]]["model"].nunique() == frame["model"].nunique()


def test_the_known_artefacts_are_set_apart(frame: pd.DataFrame) -> None:
    assert frame[(frame["model"] == "nvidia/Llama-3.1-8B-Instruct-FP8")]["quarantine"].str.contains("warm").all()
    fp4 = frame[(frame["engine"] == "SGLang") & (frame["precision"] == "fp4") & (frame["ttft_ms"] > 5000)]
    young = fp4[fp4["measured_on"] == "2025-11-10"]
    assert young["quarantine"].str.contains("stall").mean() > 0.9
    stalled = frame["quarantine"].str.contains("stall")
    assert stalled.mean() < 0.05


def test_nearly_all_rows_of_known_models_with_known_layouts_are_usable(frame: pd.DataFrame) -> None:
    agg = frame[(frame["mode"] == "agg") & frame["regime"].eq("closed_loop_concurrency")]
    assert (agg["reason"] == "").mean() > 0.95
