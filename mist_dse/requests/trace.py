"""Trace files: when requests came and how long they were.

Every format is a table (CSV or JSON Lines, plain or gzipped) with its own names of the columns:

* ``azure`` (Azure LLM inference traces 2023 and 2024): ``TIMESTAMP`` in ISO 8601, ``ContextTokens``, ``GeneratedTokens``; times count
  from the first request.
* ``mooncake`` (FAST'25 release): ``timestamp`` in ms, ``input_length``, ``output_length``, ``hash_ids`` of 512-token prefix blocks.
* ``vllm-bench`` (result of ``vllm bench serve --save-result --save-detailed``): one JSON object with the lists ``start_times`` (s of
  the client's clock, counted from the first), ``input_lens``, ``output_lens`` and ``errors``; requests that failed are left out.
* ``servegen`` (table of requests that ServeGen writes): ``timestamp`` in s, ``input_tokens``, ``output_tokens``.
* ``generic``: ``arrival_s``, ``input_tokens``, ``output_tokens``.

Optional columns of every format are in `mist_dse.requests.annotations`; others are ignored. Rows are sorted by time, equal times keep
their order. A request with zero output tokens counts as one: the step that completes a prompt emits a token in every engine. A prompt
has at least one token.
"""

import difflib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mist_dse.requests.annotations import Annotations, annotations
from mist_dse.requests.table import Table, TraceError, finite_time, read_table, whole_tokens
from mist_dse.rows import Floats, Ints

__all__ = ["TRACE_FORMATS", "TraceArrays", "TraceError", "TraceFormat", "read_trace"]


class TraceArrays(NamedTuple):
    """Requests of a trace in order of arrival, and what else the file says of them."""

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    max_tokens: Ints  # >= output_tokens, equal to them where the trace does not say
    notes: Annotations = Annotations()

    @property
    def hash_ids(self) -> tuple[tuple[int, ...], ...] | None:
        """Names of the prompt's prefix blocks, None where not given."""
        return self.notes.hash_ids

    def head(self, requests: int | None) -> "TraceArrays":
        """The first ``requests`` rows, all where None or more than there are."""
        return self if requests is None or requests >= len(self.arrival_s) else self.taken(np.arange(requests))

    def taken(self, rows: Ints) -> "TraceArrays":
        """Those ``rows``, in that order."""
        return TraceArrays(
            self.arrival_s[rows], self.input_tokens[rows], self.output_tokens[rows], self.max_tokens[rows], self.notes.taken(rows)
        )


class TraceFormat(NamedTuple):
    """Names of the columns of one format, and how its column of times becomes seconds."""

    name: str
    time: str
    input: str
    output: str
    seconds: Callable[[Table, str], Floats]

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that a file of this format must have."""
        return self.time, self.input, self.output


def _iso_times(table: Table, name: str) -> Floats:
    times = table.column(name, _utc)
    origin = min(times)
    return np.array([(time - origin).total_seconds() for time in times])


def _utc(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise ValueError("must be a time such as 2023-11-16 18:15:46.680") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _milliseconds(table: Table, name: str) -> Floats:
    return np.array(table.column(name, finite_time)) / 1e3


def _seconds(table: Table, name: str) -> Floats:
    return np.array(table.column(name, finite_time))


def _from_first(table: Table, name: str) -> Floats:
    times = _seconds(table, name)
    return np.asarray(times - times.min())


TRACE_FORMATS = (
    TraceFormat("azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _iso_times),
    TraceFormat("mooncake", "timestamp", "input_length", "output_length", _milliseconds),
    TraceFormat("vllm-bench", "start_times", "input_lens", "output_lens", _from_first),
    TraceFormat("servegen", "timestamp", "input_tokens", "output_tokens", _seconds),
    TraceFormat("generic", "arrival_s", "input_tokens", "output_tokens", _seconds),
)
"""The formats that `read_trace` knows; a further one is a further entry."""

MOONCAKE_BLOCK = 512
"""Tokens of a block named in ``hash_ids`` where the file does not say (Mooncake, FAST'25: blocks of 512 tokens)."""


def read_trace(path: str | Path, format: str = "auto") -> TraceArrays:
    """The requests of the trace file ``path``; ``auto`` knows the format by its columns.

    Raises ``TraceError``: no such file, empty, malformed, missing columns, a time that is negative or not finite, a count
    that is not a whole number of tokens.
    """
    if format not in ("auto", *(known.name for known in TRACE_FORMATS)):
        raise TraceError(f"trace format {format!r} is unknown{_nearest(format)}: must be auto or {_names()}")
    table = _unfolded(read_table(path))
    layout = _layout(table, format)
    arrival = layout.seconds(table, layout.time)
    output = np.maximum(np.array(table.column(layout.output, whole_tokens), np.int64), 1)
    order = np.argsort(arrival, kind="stable")
    return TraceArrays(
        arrival[order],
        np.array(table.column(layout.input, lambda value: whole_tokens(value, 1)), np.int64)[order],
        output[order],
        _max_tokens(table, output)[order],
        annotations(table, order, hash_tokens=MOONCAKE_BLOCK),
    )


def _unfolded(table: Table) -> Table:
    """A table of one request per record, where a record may be the result of a benchmark with lists of requests."""
    bench = next(layout for layout in TRACE_FORMATS if layout.name == "vllm-bench")
    if not isinstance(table.records[0].get(bench.input), list):
        return table
    line, result = table.lines[0], table.records[0]
    if len(table.records) > 1:
        raise table.fail(table.lines[1], "a second benchmark result: a trace is one run")
    if not isinstance(result.get(bench.time), list):
        raise table.fail(line, f"has no {bench.time}, the times at which requests were sent: vllm bench serve of an older release wrote it")
    errors = result.get("errors") or [""] * len(result[bench.input])
    lists = [result.get(name) or [] for name in bench.columns]
    if not all(isinstance(each, list) and len(each) == len(errors) for each in lists):
        raise table.fail(line, f"the lists {', '.join(bench.columns)} and errors differ in length")
    rows = [dict(zip(bench.columns, row, strict=True)) for *row, error in zip(*lists, errors, strict=True) if not error]
    if not rows:
        raise table.fail(line, "has no request that succeeded, a trace needs at least one")
    return Table(table.path, [line] * len(rows), rows)


def _layout(table: Table, name: str) -> TraceFormat:
    """The format of that name, or whose columns the first record has."""
    have = table.records[0]
    known = [layout for layout in TRACE_FORMATS if name in ("auto", layout.name)]
    for layout in known:
        if all(column in have for column in layout.columns):
            return layout
    wanted = "; ".join(f"{layout.name} needs {', '.join(layout.columns)}" for layout in known)
    raise table.fail(table.lines[0], f"has columns {', '.join(map(str, have))[:120]}: {wanted}")


def _max_tokens(table: Table, output: Ints) -> Ints:
    limits = np.array(table.column("max_tokens", lambda value: whole_tokens(value, 1), default=0), np.int64)
    limits = np.where(limits == 0, output, limits)
    short = np.flatnonzero(limits < output)
    if len(short):
        row = short[0]
        raise table.fail(table.lines[row], f"max_tokens is {limits[row]}: must be >= the {output[row]} output tokens")
    return limits


def _names() -> str:
    return ", ".join(layout.name for layout in TRACE_FORMATS)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, [layout.name for layout in TRACE_FORMATS], n=1)
    return f", did you mean {near[0]}" if near else ""
