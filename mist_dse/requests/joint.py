"""Packaged joint histograms of prompt and output lengths of published traces, and draws from them.

A table (``mist_dse/data/workloads/NAME.json``, made by ``studies/workload_tables/run.py``) lists the non-empty bins of a grid
that is even in the logarithm of both lengths; each bin keeps its count and, per side, the least, the sum and the greatest
length in it, so that the bins reproduce the mean of the trace exactly.

A draw takes a bin by its share, then a length inside the bin on each side independently: uniform on [low, mean] with
probability (high - mean)/(high - low), else uniform on [mean, high]. That law fills the bin and its mean is the mean of the
bin; rounding up or down at random keeps it.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mist_dse.rows import Floats, Ints
from mist_dse.specs._check import SpecError

JOINTS = ("azure_conv", "azure_code", "mooncake_conversation", "mooncake_synthetic")
"""Names of the packaged tables."""


class Side(NamedTuple):
    """Lengths of one side in each bin: least, mean and greatest."""

    low: Ints
    mean: Floats
    high: Ints


class JointTable(NamedTuple):
    """Bins of a joint histogram, shares of requests and ``facts``: source, licence, sha256, arrival statistics, means."""

    name: str
    share: Floats
    input: Side
    output: Side
    facts: Mapping[str, Any]


def joint_path(name: str) -> Path:
    """The file of the packaged table ``name``."""
    return Path(__file__).parent.parent / "data" / "workloads" / f"{name}.json"


@cache
def joint_table(name: str) -> JointTable:
    """The packaged table ``name``; ``SpecError`` where there is none."""
    if name not in JOINTS:
        raise SpecError(f"Workload.joint is {name!r}: must be one of {', '.join(JOINTS)}")
    facts = json.loads(joint_path(name).read_text())
    bins = np.array(facts.pop("bins"), np.int64)
    count = bins[:, 0]
    return JointTable(name, count / count.sum(), _side(bins[:, 1:4], count), _side(bins[:, 4:7], count), facts)


def _side(columns: Ints, count: Ints) -> Side:
    return Side(columns[:, 0], columns[:, 1] / count, columns[:, 2])


def joint_bins(input_tokens: Ints, output_tokens: Ints, *, per_octave: int = 4) -> Sequence[tuple[int, ...]]:
    """Non-empty bins of a grid with ``per_octave`` bins per doubling on each side, ordered by input, then output length.

    Each is (requests, input low, input sum, input high, output low, output sum, output high).
    """
    cells = np.stack([np.floor(np.log2(side) * per_octave + 1e-9) for side in (input_tokens, output_tokens)])
    _, cell = np.unique(cells, axis=1, return_inverse=True)
    members = [np.flatnonzero(cell.ravel() == k) for k in range(int(cell.max()) + 1)]
    sides = (input_tokens, output_tokens)
    return [(len(rows), *(int(f(side[rows])) for side in sides for f in (np.min, np.sum, np.max))) for rows in members]


def bin_index(table: JointTable, count: int, generator: np.random.Generator) -> Ints:
    """The bin of each of ``count`` requests, by inversion of the cumulative shares."""
    cumulative = np.cumsum(table.share)
    return np.searchsorted(cumulative / cumulative[-1], generator.random(count), side="right").astype(np.int64)


def bin_lengths(side: Side, index: Ints, generator: np.random.Generator) -> Ints:
    """Whole lengths inside the bins ``index``, whose expectation is the mean of each bin."""
    low, mean, high = (column[index].astype(np.float64) for column in side)
    jitter, rounding = generator.random((len(index), 2)).T
    width = np.maximum(high - low, 1.0)
    below = np.where(high > low, (high - mean) / width, 1.0)
    lower = low + (mean - low) * jitter / np.maximum(below, 1e-300)
    upper = mean + (high - mean) * (jitter - below) / np.maximum(1 - below, 1e-300)
    return np.asarray(np.floor(np.where(jitter < below, lower, upper) + rounding), np.int64)
