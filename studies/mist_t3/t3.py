"""MIST's T3 in our language: the space, its two workloads, and every design of it simulated.

``chat``: the first 200 requests of its trace (prompt and answer equally long, as the trace has them) at 100 requests/s. ``codegen``: the
same with a prefix that a cache holds already, exponential of mean 27,099 tokens and cut at 120,000.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mist_dse.catalog import Catalog, conf_dir
from mist_dse.explore import Space
from mist_dse.explore.runs.executor import executor
from mist_dse.explore.runs.record import Evaluator, warm_up
from mist_dse.explore.spaces.table import DesignTable
from mist_dse.metrics import parse_limit
from mist_dse.requests import realise
from mist_dse.rows import Requests
from mist_dse.specs.design import Design
from mist_dse.specs.workload import Workload

HERE = Path(__file__).parent
RATE, SEED = 100.0, 259  # MIST's run_T3.py
PREFIX_MEAN, PREFIX_MOST = 27_099.0, 120_000  # MIST's docs/FINDINGS.md; MAX_CONTEXT_TOKENS of run_T3.py
SLO = {"chat": "ttft_p99 <= 200 ms", "codegen": "ttft_p99 <= 1.5 s"}
CHUNK = 16
__all__ = ["DesignTable", "Evaluator", "catalog", "limit", "requests_of", "simulated", "space_of", "warm_up"]


def space_of(catalog: Catalog) -> Space:
    """The designs."""
    return Space.from_yaml(HERE / "space.yaml", catalog)


def catalog() -> Catalog:
    """Ours, with the entries that only MIST has."""
    return Catalog((HERE / "conf", conf_dir()))


def requests_of(use: str, rate: float = RATE) -> tuple[Workload, Requests]:
    """One of the two workloads."""
    lengths = pd.read_csv(HERE / "tokens.csv")["tokens"].to_numpy(np.int64)
    workload = Workload.poisson(rate=rate, input_tokens=1, output_tokens=1, requests=len(lengths), seed=SEED)
    prefix = np.random.default_rng(SEED).exponential(PREFIX_MEAN, len(lengths)) if use == "codegen" else np.zeros(len(lengths))
    cached = np.minimum(prefix, PREFIX_MOST).astype(np.int64)
    drawn = realise(workload)._replace(input_tokens=lengths + cached, output_tokens=lengths, max_tokens=lengths, cached_tokens=cached)
    return workload, drawn


def limit(text: str) -> float:
    """The value of a limit, in SI units."""
    return parse_limit(text).value


def simulated(table: DesignTable, evaluator: Evaluator, *, workers: int) -> tuple[pd.DataFrame, float]:
    """Every design of ``table``, one row each in its order, evaluated by ``workers`` processes; the processor seconds that took."""
    designs = [table.design(index) for index in range(len(table))]
    chunks = [designs[start : start + CHUNK] for start in range(0, len(designs), CHUNK)]
    execute, _ = executor({"name": "loky", "workers": workers} if workers > 1 else "serial")
    found: dict[int, tuple[list[dict[str, Any]], float]] = dict(execute(Timed(evaluator), chunks))
    rows = pd.DataFrame([row for number in range(len(chunks)) for row in found[number][0]])
    return rows, sum(seconds for _, seconds in found.values())


@dataclass(frozen=True)
class Timed:
    """An evaluator, and the processor seconds that a chunk takes it."""

    evaluator: Evaluator

    def __call__(self, designs: Sequence[Design]) -> tuple[list[dict[str, Any]], float]:
        """Rows, and seconds."""
        started = time.process_time()
        rows = self.evaluator(designs)
        return rows, time.process_time() - started
