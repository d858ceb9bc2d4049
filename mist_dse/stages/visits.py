"""Visits of all requests as columns, and their flattening to `rows.Jobs`.

A *slot* is the same visit of every request (or of those that make it); links join slots of one request. Slots are given
in the order in which a request meets them; flattening keeps that order and leaves absent visits out.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import CANCEL, NONE, ON_END, Bytes, Ints, Jobs
from mist_dse.specs.pipeline import JOINS


class Slot(NamedTuple):
    """One visit of each request; fields are scalars or one value per request, as in `rows.Jobs`.

    ``lease``, ``frees`` and ``beside`` name other slots by position (-1 = none). ``stage``: index of the pipeline's stage, -1 = a
    hand-off. ``present``: which requests make the visit. ``join``: signals it waits for (`specs.pipeline.JOINS`). ``branch``: the
    continuation of the request's conversation that it reads and writes, which has ``common`` tokens with the conversation itself (0: that
    itself; -1: a conversation of its own).
    """

    server: Ints | int
    stage: int
    prompt: Ints | int = 0
    computed: Ints | int = 0
    emit: Ints | int = 0
    limit: Ints | int = 0
    handed: Ints | int = 0
    work: object = 0.0
    lease: int = -1
    keep: Bytes | int = 0
    frees: int = -1
    beside: int = -1
    answers: Bytes | int = 0
    present: object = True
    join: str = "all"
    branch: int = 0
    common: Ints | int = 0


class Link(NamedTuple):
    """A signal from one slot to a later one, at its end or start, or the cancellation of an earlier one; ``present``: of which requests."""

    source: int
    target: int
    on: int = ON_END
    present: object = True


def jobs(slots: tuple[Slot, ...], links: tuple[Link, ...], requests: int) -> tuple[Jobs, Ints]:
    """The visit table and the pipeline stage of every visit."""
    links = tuple(sorted(links, key=lambda link: link.source))
    present = _table([slot.present for slot in slots], requests, bool)
    index = np.cumsum(present.ravel()).reshape(present.shape) - 1
    first = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    edge_source, edge_to, edge_on = _edges(links, present, index)
    visits = int(first[-1])
    need = np.bincount(edge_to[edge_on != CANCEL], minlength=visits).astype(np.int64)
    if any(slot.join != "all" for slot in slots):
        need = _joined(need, _table([JOINS.index(slot.join) for slot in slots], requests, np.int64)[present])
    edge_first = np.concatenate(([0], np.cumsum(np.bincount(edge_source, minlength=visits))))
    columns = {name: _table([getattr(slot, name) for slot in slots], requests, dtype)[present] for name, dtype in _COLUMNS}
    lease, frees, beside = (_references([getattr(slot, name) for slot in slots], present, index) for name in ("lease", "frees", "beside"))
    stage = columns.pop("stage")
    table = Jobs(first=first.astype(np.int64), need=need, lease=lease, frees=frees, edge_first=edge_first.astype(np.int64),
                 edge_to=edge_to, edge_on=edge_on, beside=beside if (beside >= 0).any() else NONE, **columns)  # fmt: skip
    return table, stage


def _joined(signals: Ints, join: Ints) -> Ints:
    """Signals to wait for: all, the first, or more than half."""
    return np.asarray(np.select([join == 0, join == 1], [signals, np.minimum(signals, 1)], signals // 2 + (signals > 0)))


_COLUMNS: tuple[tuple[str, type], ...] = (
    *((name, np.int64) for name in ("server", "stage", "prompt", "computed", "emit", "limit")),
    *((name, np.int8) for name in ("handed", "keep", "answers")),
    ("work", np.float64),
)


def _table(values: list[object], requests: int, dtype: type) -> NDArray[Any]:
    table: NDArray[Any] = np.empty((requests, len(values)), dtype)
    for column, value in enumerate(values):
        table[:, column] = value
    return table


def _references(targets: list[int], present: NDArray[Any], index: NDArray[Any]) -> Ints:
    table: Ints = np.full(present.shape, -1, np.int64)
    for column, target in enumerate(targets):
        if target >= 0:
            table[:, column] = np.where(present[:, target], index[:, target], -1)
    return np.asarray(table[present])


def _edges(links: tuple[Link, ...], present: NDArray[Any], index: NDArray[Any]) -> tuple[Ints, Ints, Bytes]:
    """Sources, targets and kinds of all edges, ascending by source because requests, slots and links are."""
    sources, targets = [link.source for link in links], [link.target for link in links]
    both = present[:, sources] & present[:, targets]
    if any(link.present is not True for link in links):
        both &= _table([link.present for link in links], len(present), bool)
    kinds = np.broadcast_to(np.array([link.on for link in links], np.int8), both.shape)
    return index[:, sources][both].astype(np.int64), index[:, targets][both].astype(np.int64), kinds[both].astype(np.int8)
