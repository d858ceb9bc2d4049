"""Packaged golden figures: held-out measured rows of every slice, with the peer's predictions, for a check without any file.

``mist_dse/data/golden.csv`` is a selection made by `selection` and nothing else: measured figures from public sources
(``golden.json`` names them, their licences and the hashes of the files that it was made from).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mist_dse.validate.slices import slice_names

COLUMNS = (
    "source", "engine", "engine_version", "model", "precision", "hardware", "mode", "n_gpus", "tp", "pp", "ep", "attention_dp", "isl",
    "osl", "concurrency", "batch", "request_rate", "output_tok_s", "total_tok_s", "ttft_ms", "tpot_ms", "note", "origin", "measured_on",
    "image", "gpus", "attention_dp_on", "moe_tp", "moe_ep", "multi_token_prediction", "p_workers", "p_tp", "p_dp", "d_workers", "d_tp",
    "d_dp", "prefill_workers", "prefill_worker_gpus", "prefill_ep", "prefill_attention_dp_on", "decode_workers", "decode_worker_gpus",
    "decode_ep", "decode_attention_dp_on", "decode_slots_per_worker",
)  # fmt: skip
"""Columns kept of a file of measurements."""

EACH = 30
"""Rows of one slice."""

ATTRIBUTION = (
    "Selected and filtered rows of aiconfigurator-core 0.12.0 (Apache-2.0, NVIDIA CORPORATION & AFFILIATES), which hold InferenceX runs "
    "(Apache-2.0, SemiAnalysis) and NVIDIA's own; and of the TensorRT-LLM documentation (Apache-2.0, NVIDIA)."
)


def golden_path() -> Path:
    """Where the packaged rows are."""
    return Path(__file__).resolve().parent.parent / "data" / "golden.csv"


def selection(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of judged predictions to package: of the test part, neither copies nor set apart, their layout recorded, `EACH` per slice in
    the order of a hash. Whether a row is covered makes no difference."""
    recorded = frame[[name for name in ("use_tp", "use_decode_tp") if name in frame]].notna().any(axis=1)
    rows = frame[(frame["part"] == "test") & ~frame["duplicate"] & (frame["quarantine"] == "") & recorded]
    rows = rows.assign(slice=slice_names(rows), order=[_order(name) for name in rows["configuration"]])
    kept = rows[rows["slice"] != ""].sort_values(["slice", "order"]).groupby("slice").head(EACH)
    peer = [name for name in ("peer_ttft_ms", "peer_tpot_ms") if name in kept]
    return kept[[*(name for name in COLUMNS if name in kept), *peer]].reset_index(drop=True)


def write_golden(frame: pd.DataFrame, sources: Sequence[Path], target: Path) -> int:
    """Write the selection and, beside it, where it comes from; the number of rows."""
    chosen = selection(frame)
    chosen.to_csv(target, index=False)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    about = {"attribution": ATTRIBUTION, "sha256": hashes, "rows": len(chosen), "made_by": "mist-dse validate data=FILE golden=FILE"}
    target.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return len(chosen)


def _order(name: str) -> str:
    return hashlib.blake2b(f"golden {name}".encode(), digest_size=8).hexdigest()
