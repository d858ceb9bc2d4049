"""Workers in processes of their own find what one process finds: the same designs, the same numbers, bit for bit."""

from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.cluster

SMALL = ("workload.requests=300", "evaluations=40", "report=false")


def swept(mist_dse, folder: Path, *words: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    done = mist_dse("sweep", *SMALL, f"folder={folder.name}", *words)
    assert done.returncode == 0, done.stderr
    results, front = (pd.read_parquet(folder / name) for name in ("results.parquet", "front.parquet"))
    return results.sort_values(["design_id", "fidelity"]).reset_index(drop=True), front


@pytest.mark.parametrize("search", ["screen", "nsga2"])
def test_more_workers_give_the_same_results(mist_dse, tmp_path: Path, search: str) -> None:
    alone = swept(mist_dse, tmp_path / "serial", "executor=serial", f"search={search}")
    assert len(alone[0]) >= 40
    assert len(alone[1]) > 1
    for name, workers in (("loky", 2), ("loky", 3), ("dask", 2)):
        words = (f"executor={name}", f"executor.workers={workers}", f"search={search}")
        together = swept(mist_dse, tmp_path / f"{name}{workers}", *words)
        for ours, theirs in zip(together, alone, strict=True):
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
