"""A trace condensed to the small table that ships: joint bins, means, arrival statistics and provenance."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mist_dse.requests.joint import joint_bins
from mist_dse.requests.statistics import arrival_statistics
from mist_dse.requests.trace import read_trace

PER_OCTAVE = 4
"""Bins per doubling of a length: 19% wide each."""


class Source(NamedTuple):
    """A published trace: ``name`` of its table, ``file`` under the folder of traces, where it comes from, under what licence."""

    name: str
    file: str
    origin: str
    licence: str
    description: str


def workload_table(source: Source, path: Path, *, script: str) -> dict[str, Any]:
    """The table of one trace, ready for JSON; ``script`` is named as its maker. Raises ``TraceError``."""
    trace = read_trace(path)
    statistics = arrival_statistics(trace.arrival_s)
    return {
        "name": source.name,
        "description": source.description,
        "source": source.origin,
        "licence": source.licence,
        "file": source.file,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "script": script,
        "requests": len(trace.arrival_s),
        "input_mean": float(trace.input_tokens.mean()),
        "output_mean": float(trace.output_tokens.mean()),
        "arrivals": {key: round(value, 6) for key, value in statistics.items()},
        "bins_per_octave": PER_OCTAVE,
        "columns": ["requests", "input_low", "input_sum", "input_high", "output_low", "output_sum", "output_high"],
        "bins": [list(row) for row in joint_bins(trace.input_tokens, trace.output_tokens, per_octave=PER_OCTAVE)],
    }


def table_text(table: Mapping[str, Any]) -> str:
    """``table`` as JSON, one line per fact and per bin."""
    facts = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in table.items() if key != "bins"]
    bins = ",\n".join("    " + json.dumps(row, separators=(",", ":")) for row in table["bins"])
    return "{\n" + ",\n".join(facts) + ',\n  "bins": [\n' + bins + "\n  ]\n}\n"
