"""Measured rows made by hand, as plain dictionaries and as files."""

from pathlib import Path
from typing import Any

import pandas as pd

ROW = {"model": "meta-llama/Llama-3.1-8B-Instruct", "hardware": "H100-SXM-80GB", "engine": "vLLM", "precision": "bf16", "mode": "agg",
       "n_gpus": 1, "tp": 1, "isl": 1000, "osl": 100, "concurrency": 8, "ttft_ms": 60.0, "tpot_ms": 7.5}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    """One row with the given columns changed."""
    return ROW | changes


def written(folder: Path, *rows: dict[str, Any], name: str = "rows.csv") -> Path:
    """A file of rows."""
    path = folder / name
    pd.DataFrame(list(rows)).to_csv(path, index=False)
    return path
