"""Visits of all requests as columns, and their flattening to `rows.Jobs`.

A *slot* is the same visit of every request (or of those that make it); links join slots of one request. Slots are given
in the order in which a request meets them; flattening keeps that order and leaves absent visits out.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mist_dse.rows import NONE, ON_END, Bytes, Ints, Jobs


class Slot(NamedTuple):
    """One visit of each request; fields are scalars or one value per request, as in `rows.Jobs`.

    ``lease``, ``frees`` and ``beside`` name other slots by position (-1 = none). ``stage``: index of the pipeline's stage, -1 = a
    hand-off. ``present``: which requests make the visit.
    """

    server: int
    stage: int
    prompt: Ints | int = 0
    computed: Ints | int = 0
    emit: Ints | int = 0
    limit: Ints | int = 0
    handed: int = 0
    work: object = 0.0
    lease: int = -1
    keep: Bytes | int = 0
    frees: int = -1
    beside: int = -1
    answers: int = 0
    present: object = True


class Link(NamedTuple):
    """A signal from one slot to a later one, at its end or start."""

    source: int
    target: int
    on: int = ON_END


def jobs(slots: tuple[Slot, ...], links: tuple[Link, ...], requests: int) -> tuple[Jobs, Ints]:
    """The visit table and the pipeline stage of every visit. ``links`` are sorted by source."""
    present = _table([slot.present for slot in slots], requests, bool)
    index = np.cumsum(present.ravel()).reshape(present.shape) - 1
    first = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
    edge_source, edge_to, edge_on = _edges(links, present, index)
    visits = int(first[-1])
    need = np.bincount(edge_to, minlength=visits).astype(np.int64)
    edge_first = np.concatenate(([0], np.cumsum(np.bincount(edge_source, minlength=visits))))
    columns = {name: _table([getattr(slot, name) for slot in slots], requests, dtype)[present] for name, dtype in _COLUMNS}
    lease, frees, beside = (_references([getattr(slot, name) for slot in slots], present, index) for name in ("lease", "frees", "beside"))
    stage = columns.pop("stage")
    table = Jobs(first=first.astype(np.int64), need=need, lease=lease, frees=frees, edge_first=edge_first.astype(np.int64),
                 edge_to=edge_to, edge_on=edge_on, beside=beside if (beside >= 0).any() else NONE, **columns)  # fmt: skip
    return table, stage


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
    kinds = np.broadcast_to(np.array([link.on for link in links], np.int8), both.shape)
    return index[:, sources][both].astype(np.int64), index[:, targets][both].astype(np.int64), kinds[both].astype(np.int8)
