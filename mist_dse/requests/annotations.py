"""What a trace may say of a request besides its time and its lengths: optional columns of every format.

* ``session``: any text or number, the same for all turns of a conversation. ``think_s``: this request comes so many seconds after the
  answer to the one before it in its session, whatever its own time says; without it requests keep their times, of sessions as well.
* ``class``: the name of a class of the workload. ``priority``: a whole number, lower goes first.
* ``hash_ids``: names of the blocks of the prompt (a JSON list, or whole numbers separated by blanks): equal names are equal content
  from the first token on. ``hash_tokens``: tokens of such a block, the same in the whole file; 512 where it is not given.

Cells may be empty: a request without a session, class or priority has none, one without hash_ids shares nothing.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from mist_dse.requests.table import Table, finite_time, whole_tokens
from mist_dse.rows import Floats, Ints


class Annotations(NamedTuple):
    """Optional columns in order of arrival, None where the file has no such column."""

    hash_ids: tuple[tuple[int, ...], ...] | None = None
    hash_tokens: int = 0
    session: Ints | None = None  # numbered by first appearance, requests without one included
    think: Floats | None = None  # s, nan where the request does not wait for another
    class_names: tuple[str, ...] | None = None  # empty where not given
    priority: Ints | None = None

    def taken(self, rows: Ints) -> "Annotations":
        """Those of ``rows``, in that order."""
        return Annotations(
            hash_ids=None if self.hash_ids is None else tuple(self.hash_ids[row] for row in rows),
            hash_tokens=self.hash_tokens,
            session=None if self.session is None else self.session[rows],
            think=None if self.think is None else self.think[rows],
            class_names=None if self.class_names is None else tuple(self.class_names[row] for row in rows),
            priority=None if self.priority is None else self.priority[rows],
        )


def annotations(table: Table, order: Ints, *, hash_tokens: int) -> Annotations:
    """The optional columns of ``table``, its rows taken in ``order``; blocks of ``hash_tokens`` where the table does not say."""
    have = {name for record in table.records for name in record}
    none: tuple[int, ...] = ()
    names = table.column("hash_ids", _block_names, default=none) if "hash_ids" in have else None
    size = _block_size(table, hash_tokens)
    classes = table.column("class", str, default="") if "class" in have else None
    return Annotations(
        hash_ids=None if names is None or not any(names) else tuple(names[row] for row in order),
        hash_tokens=size if names is not None and any(names) else 0,
        session=_session(table, order) if "session" in have else None,
        think=np.array(table.column("think_s", finite_time, default=np.nan))[order] if "think_s" in have else None,
        class_names=None if classes is None else tuple(classes[row] for row in order),
        priority=np.array(table.column("priority", _whole, default=0), np.int64)[order] if "priority" in have else None,
    )


def previous_turn(session: Ints, think: Floats) -> Ints:
    """The request that each follows: the one before it in its session where it has a think time, else -1.

    >>> previous_turn(np.array([0, 1, 0, 0]), np.array([np.nan, 1.0, 2.0, np.nan])).tolist()
    [-1, -1, 0, -1]
    """
    order = np.lexsort((np.arange(len(session)), session))
    same = np.diff(session[order], prepend=-1) == 0
    before = np.full(len(session), -1)
    before[order[1:]] = np.where(same[1:], order[:-1], -1)
    return np.where(np.isnan(think), -1, before)


def _session(table: Table, order: Ints) -> Ints:
    """Numbers of sessions by first appearance in ``order``."""
    cells = table.column("session", str, default="")
    known: dict[str, int] = {}
    return np.array([known.setdefault(cells[row] or f"\n{row}", len(known)) for row in order], np.int64)


def _block_size(table: Table, usual: int) -> int:
    sizes = table.column("hash_tokens", lambda cell: whole_tokens(cell, 1), default=usual)
    other = next((place for place, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise table.fail(table.lines[other], f"hash_tokens is {sizes[other]}: must be {sizes[0]} as in the first row")
    return sizes[0]


def _block_names(cell: Any) -> tuple[int, ...]:
    names = cell
    if isinstance(cell, str):
        names = json.loads(cell) if cell.strip().startswith("[") else cell.split()
    if not isinstance(names, list):
        raise ValueError("must be a list of whole numbers")
    return tuple(_block_name(name) for name in names)


def _block_name(name: Any) -> int:
    number = int(name)
    if isinstance(name, bool | float) or not 0 <= number < 2**63:
        raise ValueError("must be a list of whole numbers from 0 to 2^63 - 1")
    return number


def _whole(cell: Any) -> int:
    number = float(cell)
    if isinstance(cell, bool) or not number.is_integer() or abs(number) > 2**31:
        raise ValueError("must be a whole number")
    return int(number)
