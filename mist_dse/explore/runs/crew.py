"""Chunks of work to worker processes and their results back, whatever happens to a worker: nothing is lost and nothing hangs.

At most two chunks per worker are out at a time. A worker ends when a chunk exceeds the time limit (`timed`). The chunks that
were out when a worker died are run once more, each alone; one whose worker dies again is yielded as `Lost`. A worker that says
nothing for longer than the limit and a grace allow is replaced.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any, NamedTuple, Protocol

from mist_dse.explore.runs.timed import PATIENCE, Timed

LEAST_LIMIT = 60.0
"""Processor seconds that a chunk may take at least, where no limit is asked for."""

LIMIT_MEDIANS = 50.0
"""A chunk may take so many times the median of those before it: designs near saturation take ten times the usual."""

FIRST_LIMIT = 600.0
"""Processor seconds that a chunk may take while none has come back: the longest simulation that is worth a place in a search."""

GRACE = 60.0
"""Seconds beyond the limit in which a worker that lives must have answered: to start it, and to send and fetch."""

LAST = 201
"""Chunks whose median is taken."""


class Staff(Protocol):
    """Worker processes of one kind."""

    @property
    def count(self) -> int:
        """Workers."""
        ...

    def submit(self, task: Timed, chunk: Any) -> Any:
        """A future of ``task(chunk)`` with ``result``, ``exception`` and ``add_done_callback``; `ExecutorError` where none can be."""
        ...

    def died(self, error: BaseException) -> bool:
        """Whether ``error``, of a future, says that its worker died; `ExecutorError` where all are gone for good."""
        ...

    def settle(self) -> None:
        """After a death: returns once workers are there again."""
        ...

    def stuck(self, futures: Sequence[Any]) -> bool:
        """Whether workers did not answer that had begun with ``futures``; they have been replaced then."""
        ...

    def drop(self, futures: Sequence[Any]) -> None:
        """Nobody waits for ``futures`` any more: what runs is ended at once."""
        ...


@dataclass(frozen=True, slots=True)
class Lost:
    """A chunk that ended its worker twice, the second time alone."""

    reason: str


class Session(Protocol):
    """Chunks go in, results come out in the order of completion. ``seconds``: what the last chunk took its worker."""

    seconds: float

    def add(self, number: int, chunk: Any, *, alone: bool = False) -> None:
        """One more chunk; the first ones start at once. ``alone``: while nothing else runs, and `Lost` at its first failure."""
        ...

    def next(self) -> tuple[int, Any]:
        """The number of a chunk that has ended, and its result or `Lost`."""
        ...

    def close(self) -> None:
        """End what is still running."""
        ...


class Executor(Protocol):
    """What runs chunks: call it with a function and all chunks, or open a session and add them as they come."""

    def open(self, work: Callable[[Any], Any]) -> Session:
        """A session that runs ``work`` over chunks."""
        ...

    def __call__(self, work: Callable[[Any], Any], chunks: Iterable[Any]) -> Generator[tuple[int, Any], None, None]:
        """(chunk number, result) as they complete."""
        ...


class Sent(NamedTuple):
    """A chunk that is out: alone or among others, since when, and its time limit in s of its processor."""

    number: int
    chunk: Any
    alone: bool
    since: float
    limit: float


@dataclass(frozen=True, slots=True)
class Crew:
    """An executor over worker processes. ``timeout``: a chunk's processor time in s, None = from what chunks take."""

    staff: Staff
    timeout: float | None = None
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))

    def open(self, work: Callable[[Any], Any]) -> "CrewSession":
        """A session on these workers."""
        return CrewSession(self, Timed.of(work))

    def __call__(self, work: Callable[[Any], Any], chunks: Iterable[Any]) -> Generator[tuple[int, Any], None, None]:
        """(chunk number, result) as they complete."""
        return _all(self.open(work), chunks)

    def limit(self) -> float:
        """Processor seconds that the next chunk may take."""
        if self.timeout is not None:
            return self.timeout
        return max(LEAST_LIMIT, LIMIT_MEDIANS * median(self.seconds)) if self.seconds else FIRST_LIMIT


@dataclass(slots=True)
class CrewSession:
    """Chunks on their way through a crew."""

    crew: Crew
    task: Timed
    waiting: deque[tuple[int, Any]] = field(default_factory=deque)
    suspects: deque[tuple[int, Any]] = field(default_factory=deque)
    running: dict[Any, Sent] = field(default_factory=dict)
    ended: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    seconds: float = 0.0

    def add(self, number: int, chunk: Any, *, alone: bool = False) -> None:
        """One more chunk."""
        (self.suspects if alone else self.waiting).append((number, chunk))
        self._fill()

    def next(self) -> tuple[int, Any]:
        """The next chunk that ends, with its result or `Lost`."""
        while True:
            self._fill()
            future = self._next_ended()
            sent = self.running.pop(future, None)
            if sent is None:  # given up meanwhile
                continue
            error, found = _outcome(future)
            if error is None:
                self.seconds, result = found
                self.crew.seconds.append(self.seconds)
                return sent.number, result
            if not isinstance(error, MemoryError) and not self.crew.staff.died(error):
                raise error
            if sent.alone:
                return sent.number, Lost(_reason(sent, error))
            self.suspects.append((sent.number, sent.chunk))

    def close(self) -> None:
        """End what is still running."""
        futures, self.running = list(self.running), {}
        self.waiting.clear()
        self.suspects.clear()
        if futures:
            self.crew.staff.drop(futures)

    def _fill(self) -> None:
        """Keep the workers busy: with what waits, or with one suspect alone once nothing else runs."""
        if self.suspects:
            if not self.running:
                self.crew.staff.settle()
                self._send(*self.suspects.popleft(), alone=True)
            return
        if any(sent.alone for sent in self.running.values()):
            return
        while self.waiting and len(self.running) < 2 * self.crew.staff.count:
            self._send(*self.waiting.popleft())

    def _send(self, number: int, chunk: Any, *, alone: bool = False) -> None:
        limit = self.crew.limit()
        future = self.crew.staff.submit(self.task.within(limit), chunk)
        self.running[future] = Sent(number, chunk, alone, time.monotonic(), limit)
        future.add_done_callback(self.ended.put)

    def _next_ended(self) -> Any:
        """The next future to end; None where workers had to be replaced, and what was out is to be run again."""
        patience = PATIENCE * max(sent.limit for sent in self.running.values()) + GRACE
        while True:
            try:
                return self.ended.get(timeout=patience)
            except Empty:
                if self.crew.staff.stuck(list(self.running)):
                    for future, sent in list(self.running.items()):
                        if not sent.alone:
                            del self.running[future]
                            self.suspects.append((sent.number, sent.chunk))
                    return next(iter(self.running), None)


@dataclass(slots=True)
class InLine:
    """The executor without workers: one chunk after the other, in this process."""

    def open(self, work: Callable[[Any], Any]) -> "InLineSession":
        """A session in this process."""
        return InLineSession(work)

    def __call__(self, work: Callable[[Any], Any], chunks: Iterable[Any]) -> Generator[tuple[int, Any], None, None]:
        """(chunk number, result) in order."""
        for number, chunk in enumerate(chunks):
            yield number, work(chunk)


@dataclass(slots=True)
class InLineSession:
    """Chunks run when their results are asked for."""

    work: Callable[[Any], Any]
    waiting: deque[tuple[int, Any]] = field(default_factory=deque)
    seconds: float = 0.0

    def add(self, number: int, chunk: Any, *, alone: bool = False) -> None:
        """One more chunk."""
        self.waiting.append((number, chunk))

    def next(self) -> tuple[int, Any]:
        """The next chunk's result."""
        number, chunk = self.waiting.popleft()
        start = time.perf_counter()
        result = self.work(chunk)
        self.seconds = time.perf_counter() - start
        return number, result

    def close(self) -> None:
        """Forget what waits."""
        self.waiting.clear()


def _all(session: Session, chunks: Iterable[Any]) -> Generator[tuple[int, Any], None, None]:
    with closing(session):
        left = 0
        for number, chunk in enumerate(chunks):
            session.add(number, chunk)
            left += 1
        for _ in range(left):
            yield session.next()


def _outcome(future: Any) -> tuple[BaseException | None, Any]:
    """What went wrong with a future that has ended, and its result; that it was cancelled or cannot be fetched is wrong too."""
    try:
        error: BaseException | None = future.exception()
    except BaseException as cancelled:  # asyncio has a CancelledError of its own
        if isinstance(cancelled, KeyboardInterrupt | SystemExit):
            raise
        return cancelled, None
    if error is not None or future.cancelled():
        return error or CancelledError(), None
    try:
        return None, future.result()
    except Exception as unfetched:  # the work was done: its worker, or the scheduler, went before handing it over
        return CancelledError(str(unfetched)), None


def _reason(sent: Sent, error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "ran out of memory twice"
    if time.monotonic() - sent.since >= sent.limit:
        return f"took longer than the time limit of {sent.limit:g} s"
    return "its worker process died twice"
