"""Judged predictions made by hand, as `validate.run` and `validate.quality` leave them."""

from typing import Any

import pandas as pd

BASE = {
    "use_model": "llama-3.1-8b", "use_accelerator": "h100_sxm", "use_family": "vllm", "use_weight": "bf16", "use_mode": "agg", "use_dp": 1,
    "use_devices": 1, "kind": "dense", "recipe": "closed_loop", "isl": 1024, "osl": 101, "concurrency": 8.0, "ttft_ms": 100.0,
    "tpot_ms": 10.0, "pred_ttft_ms": 100.0, "pred_tpot_ms": 10.0, "pred_output_tok_s": 1.0, "covered": True, "borrowed": False,
    "duplicate": False, "quarantine": "", "part": "test", "configuration": "", "note": "", "model": "m", "hardware": "h",
    "precision": "bf16",
}  # fmt: skip


def judged_rows(*changes: dict[str, Any]) -> pd.DataFrame:
    """One row per dictionary of changes."""
    return pd.DataFrame([BASE | change for change in changes])
