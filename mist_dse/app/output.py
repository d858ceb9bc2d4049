"""Results on standard output: a table for people, JSON or CSV for programs. Numbers are SI and whole in JSON and CSV."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mist_dse.app.errors import UsageError, nearest

FORMATS = ("table", "json", "csv")
"""What ``format=`` takes."""


def format_of(config: Mapping[str, Any], valid: Sequence[str] = FORMATS) -> str:
    """The value of ``format``; ``UsageError`` where it is none of ``valid``."""
    name = str(config["format"])
    if name not in valid:
        raise UsageError(f"format={name}: no such format; {nearest(name, valid)}")
    return name


def json_text(value: Any) -> str:
    """``value`` as JSON; a number that is not finite becomes null.

    >>> json_text({"ttft_p50": float("nan"), "accelerators": 4})
    '{"ttft_p50": null, "accelerators": 4}'
    """
    return json.dumps(_plain(value), ensure_ascii=False)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """``rows`` as CSV with the union of their keys as the header, undefined values empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if _plain(value) is None else _plain(value) for key, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")


def table_text(rows: Iterable[Sequence[str]], *, title: str = "", header: Sequence[str] = (), numbers: Iterable[int] = ()) -> str:
    """Aligned columns without frames, ``numbers`` flushed right; the same in a terminal, a file and a README.

    >>> print(table_text([("tp", "8"), ("replicas", "16")], title="pool", numbers=[1]))
    pool
      tp         8
      replicas  16
    """
    body = [[str(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    widths = [max((len(row[index]) for row in body), default=0) for index in range(max(map(len, body), default=0))]
    right = set(numbers)
    lines = ["  ".join(_aligned(cell, widths[index], index in right) for index, cell in enumerate(row)) for row in body]
    return "\n".join([title] * bool(title) + [f"  {line}".rstrip() for line in lines])


def _aligned(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def show(text: str) -> None:
    """Write a result."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Write a line beside the result: progress, notes, reasons."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _plain(value: Any) -> Any:
    """``value`` as what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
