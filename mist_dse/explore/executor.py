"""Executors: run one function over chunks of work, here or in worker processes, and hand each result over as it is ready.

An executor is called as ``execute(f, chunks)`` and yields ``(chunk number, result)`` in the order of completion. Chunks
should take 0.2 to 2 s. A chunk whose worker dies (out of memory, killed) is run once more, alone; if the worker dies
again the chunk is yielded as `Lost`.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mist_dse.catalog_errors import nearest
from mist_dse.explore.errors import SpaceError

EXECUTORS = ("serial", "loky")
LATER = {"dask": "the dask executor comes with the extra 'dask' of a later release"}

Execute = Callable[[Callable[[Any], Any], Sequence[Any]], Generator[tuple[int, Any], None, None]]
"""``(f, chunks)`` -> (chunk number, result) as they complete."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A chunk that killed its worker twice."""

    reason: str


@contextmanager
def warming(spec: str | Mapping[str, Any] | None, work: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Worker processes that start while the body runs; the function given waits until they are ready.

    One worker alone does ``work``, so that what it compiles and caches is compiled once; the others meanwhile load their
    libraries. A body that fails ends the workers at once: a compilation under way would hold up the exit.
    """
    count = executor(spec)[1]
    if count == 1:
        yield lambda: None
        return
    pool, started = _warm_pool(work, count)
    try:
        yield lambda: _finished(started)
    except BaseException:
        _handed_out(started)
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _handed_out(futures: Sequence[Any]) -> None:
    """Wait a moment until workers have been given everything: loky cannot be stopped cleanly before."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not all(future.running() or future.done() for future in futures):
        time.sleep(0.01)


def _finished(futures: Sequence[Any]) -> None:
    """Wait; what went wrong in them shows again, and is told, with the first chunk."""
    for future in futures:
        future.exception()


def _warm_pool(work: Callable[[], Any], workers: int) -> tuple[Any, list[Any]]:
    with _interrupts_held():
        pool = _pool(workers)
        return pool, [pool.submit(work), *(pool.submit(_loaded) for _ in range(workers - 1))]


def _loaded() -> None:
    """The imports that a worker needs, without a compilation."""
    import mist_dse.evaluation
    import mist_dse.sim  # noqa: F401


def _pool(workers: int) -> Any:
    from joblib.externals.loky import get_reusable_executor

    return get_reusable_executor(max_workers=workers, timeout=300, initializer=_join)


def executor(spec: str | Mapping[str, Any] | None) -> tuple[Execute, int]:
    """The executor of a name, or of ``{name, workers}``, and its number of workers (None: all cores)."""
    options = {"name": spec} if isinstance(spec, str) else dict(spec or {"name": "loky"})
    name, workers = options.pop("name", "loky"), options.pop("workers", None)
    if options:
        raise SpaceError(f"executor: there is no option {next(iter(options))!r}; {nearest(next(iter(options)), ('name', 'workers'))}")
    if name not in EXECUTORS:
        raise SpaceError(f"executor: {LATER.get(name) or f'there is no executor {name!r}'}; {nearest(name, EXECUTORS)}")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise SpaceError(f"executor: workers is {workers!r}, expected an integer >= 1 or null for all cores")
    count = 1 if name == "serial" else workers or _cores()
    return (serial, 1) if count == 1 else (lambda work, chunks: loky(work, chunks, workers=count), count)


def serial(work: Callable[[Any], Any], chunks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
    """One chunk after the other, in this process."""
    for number, chunk in enumerate(chunks):
        yield number, work(chunk)


def loky(work: Callable[[Any], Any], chunks: Sequence[Any], *, workers: int) -> Generator[tuple[int, Any], None, None]:
    """Chunks in ``workers`` processes that stay warm between calls; an interrupt ends them at once and silently."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    waiting = dict(enumerate(chunks))
    try:
        for number, result in _parallel(work, dict(waiting), workers):
            del waiting[number]
            yield number, result
    except BrokenProcessPool:
        for number, chunk in waiting.items():
            try:
                yield from _parallel(work, {number: chunk}, workers)
            except BrokenProcessPool as error:
                yield number, Lost(str(error).splitlines()[0])


def _parallel(work: Callable[[Any], Any], chunks: Mapping[int, Any], workers: int) -> Generator[tuple[int, Any], None, None]:
    from joblib.externals.loky import wait

    left, pool = list(chunks.items()), None
    running: dict[Any, int] = {}
    try:
        while left or running:
            with _interrupts_held():  # Ctrl-C in a terminal tells the whole group: it is for the parent alone
                pool = _pool(workers)
                while left and len(running) < 2 * workers:  # loky cannot be stopped cleanly with work that it has not handed out
                    number, chunk = left.pop(0)
                    running[pool.submit(work, chunk)] = number
            for future in wait(running, return_when="FIRST_COMPLETED").done:
                yield running.pop(future), future.result()
    except (KeyboardInterrupt, GeneratorExit):
        if pool is not None and running:
            pool.shutdown(wait=True, kill_workers=True)
        raise


def _join() -> None:
    """A worker starts: interrupts are its parent's business, and it does not outlive a parent that is killed."""
    _ignore_interrupts()
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end; processes started meanwhile never hear of it (their mask is inherited)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())
