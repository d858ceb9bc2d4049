"""The evaluating half of a search: designs to rows in chunks, through an executor, each design once.

Designs met before (in this run, or read from the parts of an earlier one) are not run again: resuming is a difference of sets.
A chunk that ended its worker twice is run design by design, each alone; a design that does so again is set aside as infeasible,
with the reason in its row. Designs may be handed in before earlier ones are finished, so that workers never wait for proposals.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mist_dse.explore.runs.executor import Executor, Lost, Session
from mist_dse.explore.runs.record import Evaluator, Row, set_aside
from mist_dse.specs.design import Design

CHUNK_SECONDS = 0.2
"""Work in one chunk: long against its dispatch, short against a batch."""

WRITING = 0.02
"""Share of the time that writing parts may take: rows wait until then, some tenths of a second, or until `Chunks.close`."""


@dataclass(slots=True, kw_only=True)
class Chunks:
    """``known``: every row there is, by design id; ``finished`` takes rows in the order in which they came.

    ``fresh`` designs were evaluated here, in ``spent`` seconds of workers' time.
    """

    evaluator: Evaluator
    execute: Executor
    workers: int
    known: dict[str, Row] = field(default_factory=dict)
    finished: Callable[[list[Row]], object] | None = None
    fresh: int = 0
    spent: float = 0.0
    seconds_each: float = 0.05
    _session: Session | None = None
    _out: dict[int, Sequence[Design]] = field(default_factory=dict)
    _flying: set[str] = field(default_factory=set)
    _number: int = 0
    _unwritten: list[Row] = field(default_factory=list)
    _write_after: float = 0.0
    _started: float = 0.0

    @property
    def working(self) -> float:
        """Wall seconds since the first designs were handed in."""
        return time.monotonic() - self._started if self._started else 0.0

    def take_in(self, designs: Mapping[str, Design], seen: Callable[[float], object] | None = None) -> None:
        """Evaluate those of ``designs``, by id, that are not known; ``seen`` hears the seconds worked after every chunk."""
        self.begin(designs)
        self.finish(designs, seen)

    def begin(self, designs: Mapping[str, Design]) -> None:
        """Hand in those of ``designs``, by id, that are neither known nor under way."""
        new = [key for key in designs if key not in self.known and key not in self._flying]
        if not new:
            return
        self._started = self._started or time.monotonic()
        self._session = self._session or self.execute.open(self.evaluator)
        self._flying.update(new)
        size = min(math.ceil(CHUNK_SECONDS / max(self.seconds_each, 1e-6)), math.ceil(len(new) / (2 * self.workers)))
        for start in range(0, len(new), size):
            self._add([designs[key] for key in new[start : start + size]])

    def finish(self, keys: Iterable[str], seen: Callable[[float], object] | None = None) -> None:
        """Returns once all designs of ``keys`` are known; an exception ends what else is under way."""
        missing = {key for key in keys if key not in self.known}
        try:
            while missing:
                for row in self._next():
                    missing.discard(row["design_id"])
                if seen is not None:
                    seen(self.working)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what is under way; what has come back is written."""
        session, self._session = self._session, None
        self._out.clear()
        self._flying.clear()
        try:
            self._write()
        finally:
            if session is not None:
                session.close()

    def _add(self, chunk: Sequence[Design], *, alone: bool = False) -> None:
        assert self._session is not None
        self._number += 1
        self._out[self._number] = chunk
        self._session.add(self._number, chunk, alone=alone)

    def _next(self) -> list[Row]:
        """The rows of the next chunk that ends; none where its designs are to be run again."""
        assert self._session is not None
        number, found = self._session.next()
        chunk = self._out.pop(number)
        if isinstance(found, Lost) and len(chunk) > 1:
            for design in chunk:
                self._add([design], alone=True)
            return []
        rows = [set_aside(self.evaluator, chunk[0].design_id, found.reason)] if isinstance(found, Lost) else found
        self._keep(rows)
        return rows

    def _keep(self, rows: list[Row]) -> None:
        assert self._session is not None
        self.known |= {row["design_id"]: row for row in rows}
        self._flying.difference_update(row["design_id"] for row in rows)
        self.fresh += len(rows)
        self.spent += self._session.seconds
        self.seconds_each = self.spent / self.fresh
        self._unwritten += rows
        if time.monotonic() >= self._write_after:
            self._write()

    def _write(self) -> None:
        rows, self._unwritten = self._unwritten, []
        if not rows or self.finished is None:
            return
        start = time.monotonic()
        self.finished(rows)
        self._write_after = time.monotonic() + (time.monotonic() - start) / WRITING
