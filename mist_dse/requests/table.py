"""A text table read whole: CSV with a header, or JSON Lines, plain or gzipped, with the line number of every record.

Which of the two it is, and whether it is compressed, is read from the first bytes and never from the name.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
_GZIP_MAGIC = b"\x1f\x8b"


class TraceError(ValueError):
    """A trace cannot be read: one line with the file, the row (line of the text, from 1) and what would be valid."""


class Table(NamedTuple):
    """Records of one file, each a mapping from column to value, and the line that each stands on."""

    path: Path
    lines: list[int]
    records: list[dict[str, Any]]

    def fail(self, line: int, message: str) -> TraceError:
        """The error for one row."""
        return TraceError(f"{self.path}, row {line}: {message}")

    def column(self, name: str, parsed: Callable[[Any], T], default: T | None = None) -> list[T]:
        """The values of column ``name``; empty or missing cells take ``default`` where there is one, and are errors otherwise."""
        values: list[T] = []
        for line, record in zip(self.lines, self.records, strict=True):
            cell = record.get(name)
            if cell is None or cell == "":
                if default is None:
                    raise self.fail(line, f"{name} is missing")
                values.append(default)
                continue
            try:
                values.append(parsed(cell))
            except (ValueError, TypeError, OverflowError) as error:
                raise self.fail(line, f"{name} is {str(cell)[:40]!r}: {error}") from None
        return values


def read_table(path: str | Path) -> Table:
    """The records of a CSV or JSON Lines file; ``TraceError`` where it is absent, empty or malformed."""
    path = Path(path)
    text = _text(path)
    start = text.lstrip()[:1]
    if not start:
        raise TraceError(f"{path}: is empty, a trace needs at least one request")
    rows = _json_rows(path, text) if start == "{" else _csv_rows(path, text)
    lines, records = [], []
    for line, record in rows:
        lines.append(line)
        records.append(record)
    if not records:
        raise TraceError(f"{path}: has a header and no requests, a trace needs at least one")
    return Table(path, lines, records)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if data[:2] == _GZIP_MAGIC else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: is not UTF-8 text (byte {error.start}), a trace is CSV or JSON Lines, plain or gzipped") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read, {getattr(error, 'strerror', None) or error}") from None


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if (whole := _one_object(text)) is not None:
        yield 1 + text[: text.index("{")].count("\n"), whole
        return
    for line, row in enumerate(text.split("\n"), start=1):
        if not row.strip():
            continue
        try:
            record = json.loads(row)
        except (ValueError, RecursionError):
            raise TraceError(f"{path}, row {line}: is not a JSON object: {row.strip()[:40]!r}") from None
        if not isinstance(record, dict):
            raise TraceError(f"{path}, row {line}: is not a JSON object: {row.strip()[:40]!r}")
        yield line, record


def _one_object(text: str) -> dict[str, Any] | None:
    """The only JSON object of ``text``, which may span lines; None where there are several or what there is is broken."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
            elif len(row) != len(header):
                raise TraceError(f"{path}, row {reader.line_num}: has {len(row)} cells, the header has {len(header)}")
            else:
                yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise TraceError(f"{path}, row {reader.line_num}: is not CSV: {error}") from None


def whole_tokens(value: Any, least: int = 0) -> int:
    """``value`` as a whole number of tokens from ``least`` to 2^31."""
    number = float(value)
    if isinstance(value, bool) or not number.is_integer() or not least <= number <= 2**31:
        raise ValueError(f"must be a whole number of tokens >= {least}")
    return int(number)


def finite_time(value: Any) -> float:
    """``value`` as a time, finite and >= 0."""
    number = float(value)
    if isinstance(value, bool) or not (np.isfinite(number) and number >= 0):
        raise ValueError("must be a finite time >= 0")
    return number
