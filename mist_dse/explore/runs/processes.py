"""Worker processes of joblib's loky on this machine: they start once, stay warm between searches and never outlive their parent."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mist_dse.explore.runs.timed import Timed

IDLE = 300
"""Seconds after which an idle worker ends."""


@dataclass(frozen=True, slots=True)
class Processes:
    """``count`` worker processes."""

    count: int

    def submit(self, task: Timed, chunk: Any) -> Any:
        """A future; starts workers where there are none."""
        with interrupts_held():  # Ctrl-C in a terminal tells the whole group: it is for the parent alone
            return pool(self.count).submit(task, chunk)

    def died(self, error: BaseException) -> bool:
        """A death breaks the whole pool: every chunk that is out says so."""
        from concurrent.futures import CancelledError

        from joblib.externals.loky.process_executor import BrokenProcessPool, ShutdownExecutorError

        return isinstance(error, BrokenProcessPool | ShutdownExecutorError | CancelledError)

    def settle(self) -> None:
        """A new pool that has loaded what it needs."""
        with interrupts_held():
            ready = [pool(self.count).submit(loaded) for _ in range(self.count)]
        for future in ready:
            future.exception()

    def stuck(self, futures: Sequence[Any]) -> bool:
        """Workers that do not answer are killed."""
        self.drop(futures)
        return True

    def drop(self, futures: Sequence[Any]) -> None:
        """End the workers at once and silently."""
        handed_out(futures)
        pool(self.count).shutdown(wait=True, kill_workers=True)


def pool(workers: int) -> Any:
    """Loky's pool of so many workers, the one there is or a new one.

    Loky keeps one pool per process and joblib believes that it is its own: told that its settings were others, a later ``Parallel`` makes
    its own instead of failing on ours.
    """
    from joblib import executor
    from joblib.externals.loky import get_reusable_executor

    executor._executor_args = {"initializer": _join}
    return get_reusable_executor(max_workers=workers, timeout=IDLE, initializer=_join)


def loaded() -> None:
    """The imports that a worker needs, without a compilation."""
    import mist_dse.evaluation
    import mist_dse.sim  # noqa: F401


def handed_out(futures: Sequence[Any]) -> None:
    """Wait a moment until workers have been given everything: loky cannot be stopped cleanly before."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not all(future.running() or future.done() for future in futures):
        time.sleep(0.01)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end; processes started meanwhile never hear of it (their mask is inherited)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _join() -> None:
    """A worker starts: interrupts are its parent's business, and it does not outlive a parent that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
