"""What runs in a worker process: a function that is unpickled once per process, under a time limit that nothing can evade.

The limit is on processor time, so that a busy machine sets no design aside; what waits for ever is ended after `PATIENCE` times as
long. The kernel and a C thread watch over them, since compiled code may never come back to Python.
"""

import faulthandler
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

PATIENCE = 5.0
"""Wall seconds that a chunk may take per second of its limit."""


@dataclass(frozen=True, slots=True)
class Timed:
    """``pickled`` function of one chunk, called in a worker; ends the worker where it takes more than ``limit`` s of its processor."""

    pickled: bytes = field(repr=False)
    limit: float = 0.0

    @classmethod
    def of(cls, work: Callable[[Any], Any]) -> "Timed":
        """``work`` pickled once for all its chunks: its requests are the bulk of what a chunk needs."""
        return cls(pickle.dumps(work, pickle.HIGHEST_PROTOCOL))

    def within(self, limit: float) -> "Timed":
        """The same under a time limit in s."""
        return replace(self, limit=limit)

    def __call__(self, chunk: Any) -> tuple[float, Any]:
        """Seconds that it took, and the result."""
        work = _unpickled(self.pickled)
        start = time.perf_counter()
        with _limited(self.limit):
            result = work(chunk)
        return time.perf_counter() - start, result


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Ends this process where the body takes longer; where no timer can be set, the parent still notices silence."""
    with Path(os.devnull).open("w") as nowhere:
        with suppress(RuntimeError):
            faulthandler.dump_traceback_later(PATIENCE * seconds, exit=True, file=nowhere)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF is not handled: the kernel ends the process
        try:
            yield
        finally:
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()


_unpickled = lru_cache(maxsize=2)(pickle.loads)
