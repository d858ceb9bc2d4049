"""The front of the Azure conversation trace, hand arithmetic beside it, measured runs: see README.md.

Usage: ``MIST_DSE_DATA=/path/to/data python studies/azure_chat/run.py [low high]``; two minutes a price book; writes ``front.csv``.
"""

import os
import sys
from pathlib import Path
from typing import Any

import checks
import hand
import pandas as pd

import mist_dse as md
from mist_dse.catalog import Catalog, conf_dir
from mist_dse.report.text import design_label
from mist_dse.requests import realise

DATA, SPACE = Path(os.environ["MIST_DSE_DATA"]), md.Space.from_yaml(conf_dir() / "space" / "azure_chat.yaml")
TRACE = Catalog().workload("azure_trace", path=str(DATA / "traces/azure/AzureLLMInferenceTrace_conv.csv.gz"))
KEYS = ("accelerator", "tp", "replicas", "batching.max_num_seqs", "batching.max_num_batched_tokens")


def values(**pools: tuple[Any, ...]) -> dict[str, Any]:
    """A design of the space from `KEYS` of each pool."""
    placement = {"placement": "disaggregated" if len(pools) > 1 else "colocated"}
    return placement | {f"pools.{name}.{key}": value for name, pool in pools.items() for key, value in zip(KEYS, pool, strict=False)}


def row(book: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Model and hand in ms; ``7 links``: TTFT p90 were a group of MI300X to use all seven links."""
    design, asked = SPACE.design(chosen), realise(TRACE)
    wide, model = checks.pooled(design), md.evaluate(design, TRACE, prices=book, requests=asked)
    other = {} if wide == design else md.evaluate(wide, TRACE, requests=asked).metrics
    m, causes = model.metrics, {name: model.breakdown["prefill"][name] for name in ("queue", "service")}
    times = {"TTFT p50": m["ttft_p50"], "TTFT p90": m["ttft_p90"], "hand": hand.ttft_p90(design, asked), "7 links": other.get("ttft_p90"),
             "TPOT p90": m["tpot_p90"], "hand ": hand.tpot_p90(design, asked), **causes}  # fmt: skip
    return {"book": book, "design": design_label(chosen, SPACE.paths), "USD/h": m["usd_per_hour"], "USD/Mtok": m["usd_per_mtok"],
            **{name: value and value * 1e3 for name, value in times.items()},
            "busy": " + ".join(f"{model.pools[p.name]['utilisation']:.2f}" for p in design.pools),
            "bottleneck": model.bottleneck}  # fmt: skip


def ends(book: str) -> list[dict[str, Any]]:
    """The three cheapest and the three fastest designs of a front, one per rent."""
    front = md.sweep(SPACE, TRACE, prices=book).front.sort_values("ttft_p90").drop_duplicates("usd_per_hour").sort_values("usd_per_hour")
    found = front[[path for path in SPACE.paths if path in front]].iloc[[0, 1, 2, -3, -2, -1]].to_dict("records")
    return [row(book, {str(key): value for key, value in one.items() if pd.notna(value)}) for one in found]


if __name__ == "__main__":
    one, pair, four, two, three = (("mi300x", tp, n, 256, 8192) for tp, n in ((1, 1), (2, 1), (4, 1), (1, 2), (1, 3)))
    others = [values(prefill=chosen) for chosen in (pair, two, three, four)] + [values(prefill=pair, decode=one)]
    books = sys.argv[1:] or ["default"]
    table = pd.DataFrame([row("default", chosen) for chosen in others] + [line for book in books for line in ends(book)])
    table.to_csv(Path(__file__).parent / "front.csv", index=False, float_format="%.4g")
    for shown in (table, checks.measured(DATA / "measured/e2e.csv.gz", SPACE.design(others[0]))):
        print(shown.to_string(index=False, na_rep="", float_format="{:.4g}".format))
