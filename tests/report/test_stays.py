"""How often designs stay on the front, from what a run folder stores: by design, by outcome, and when it is older than the results."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mist_dse.report import read_run
from mist_dse.report.page import notices
from mist_dse.report.shown import shown_rows
from mist_dse.report.stays import SOURCES, front_shares
from tests.report.runs import OBJECTIVES, front_of, results, write_run


def stored(folder: Path, frame: pd.DataFrame, **shares: object) -> Path:
    write_run(folder, frame)
    front = front_of(frame, OBJECTIVES)
    front[["design_id"]].assign(on_front=True, **shares).to_parquet(folder / "robustness.parquet")
    return folder


def test_shares_come_back_by_design(tmp_path: Path) -> None:
    frame = results(60)
    front = front_of(frame, OBJECTIVES)
    share = np.linspace(0, 1, len(front))
    run = read_run(stored(tmp_path / "run", frame, p_front_prices=share, p_front_load=np.nan, regret_prices=0.5))
    rows = shown_rows(run)
    found = front_shares(run, rows)
    assert list(found.columns) == ["p_front_prices"]
    expected = pd.Series(share, index=front["design_id"]).reindex(rows["design_id"])
    assert found["p_front_prices"].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
    assert found["p_front_prices"].isna().sum() == len(rows) - len(front)


def test_designs_of_one_outcome_stand_alike(tmp_path: Path) -> None:
    frame = results(60)
    twin = front_of(frame, OBJECTIVES).head(1).assign(design_id="twin", **{"pools.prefill.tp": 8})
    run = read_run(stored(tmp_path / "run", frame, p_front_seeds=0.4))
    whole = pd.concat([frame, twin], ignore_index=True)
    whole.to_parquet(tmp_path / "run" / "results.parquet")
    run = read_run(tmp_path / "run")
    rows = pd.concat([shown_rows(run), twin.assign(kind="front")], ignore_index=True)
    assert front_shares(run, rows)["p_front_seeds"].iloc[-1] == 0.4


@pytest.mark.parametrize("content", [None, b"no parquet"])
def test_a_run_without_shares_has_none(tmp_path: Path, content: bytes | None) -> None:
    folder = write_run(tmp_path / "run", results(20))
    if content is not None:
        (folder / "robustness.parquet").write_bytes(content)
    run = read_run(folder)
    rows = shown_rows(run)
    assert list(front_shares(run, rows).columns) == []
    assert len(front_shares(run, rows)) == len(rows)


def test_older_shares_are_named(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", results(20), p_front_prices=1.0)
    run = read_run(folder)
    assert not [text for text in notices(run, shown_rows(run)) if "robustness" in text]
    os.utime(folder / "robustness.parquet", (1, 1))
    assert [text for text in notices(run, shown_rows(run)) if f"mist-dse robustness {folder}" in text]


def test_every_source_is_one_that_the_verb_stores() -> None:
    from mist_dse.app.verbs import robustness

    assert {source.name: source.title for source in SOURCES} == {f"p_front_{name}": title for name, title in robustness.SOURCES.items()}
