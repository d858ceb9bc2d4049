"""What aiconfigurator lists for the case, as listed.csv: run where ``aiconfigurator==0.12.0`` is installed (a minute).

It runs ``aiconfigurator cli default --model-path Qwen/Qwen3-32B-FP8 --total-gpus 32 --system h200_sxm --isl 4000 --osl 500 --ttft 1000
--tpot 20`` for two of its backends and writes down every candidate that its two sweeps return and every worker that they are made of.
"""

import sys
from pathlib import Path

import aiconfigurator.sdk.sweep as sweeps
import aiconfigurator.sdk.task_v2 as tasks
import pandas as pd
from aiconfigurator.main import main

CASE = ["--model-path", "Qwen/Qwen3-32B-FP8", "--total-gpus", "32", "--system", "h200_sxm", "--isl", "4000", "--osl", "500",
        "--ttft", "1000", "--tpot", "20"]  # fmt: skip
KEPT = {"tp": "tp", "pp": "pp", "dp": "dp", "bs": "bs", "(p)tp": "prefill_tp", "(p)pp": "prefill_pp", "(p)dp": "prefill_dp",
        "(p)bs": "prefill_bs", "(p)workers": "prefill_workers", "(d)tp": "tp", "(d)pp": "pp", "(d)dp": "dp", "(d)bs": "bs",
        "(d)workers": "workers", "num_total_gpus": "devices", "ctx_tokens": "ctx_tokens", "concurrency": "concurrency", "ttft": "ttft_ms",
        "tpot": "tpot_ms", "tokens/s/gpu": "tokens_per_s_per_device", "tokens/s/user": "tokens_per_s_per_user"}  # fmt: skip
NAMES = {"sweep_agg": "colocated", "sweep_disagg": "disaggregated", "_get_disagg_worker_candidates": ""}


def listening(name: str, found: list[pd.DataFrame], backend: str) -> None:
    """Have one of its functions write down what it returns."""
    original = getattr(sweeps, name)

    def wrapped(*args, **options):
        frame = original(*args, **options)
        mode = NAMES[name] or f"{options['role']} worker"
        kept = frame[[column for column in KEPT if column in frame]].rename(columns=KEPT)
        found.append(kept.assign(backend=backend, mode=mode))
        return frame

    for module in (sweeps, tasks):
        if hasattr(module, name):
            setattr(module, name, wrapped)


if __name__ == "__main__":
    found: list[pd.DataFrame] = []
    originals = {name: getattr(sweeps, name) for name in NAMES}
    for backend in ("trtllm", "vllm"):
        for name, original in originals.items():
            setattr(sweeps, name, original)
            listening(name, found, backend)
        sys.argv = ["aiconfigurator", "cli", "default", *CASE, "--backend", backend]
        main()
    whole = pd.concat(found, ignore_index=True)
    columns = ["backend", "mode", *dict.fromkeys(name for name in KEPT.values() if name in whole)]
    counts = [name for name in columns[2:] if not name.endswith("ms") and "_per_" not in name]
    whole[counts] = whole[counts].astype("Int64")
    whole[columns].to_csv(Path(__file__).with_name("listed.csv"), index=False)
