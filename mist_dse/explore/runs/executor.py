"""Executors by name: serial here, loky on this machine's cores, dask on a cluster; the same results from each.

An executor is called as ``execute(f, chunks)`` and yields ``(chunk number, result)`` in the order of completion, or it opens
a session to which chunks are added as they come. Chunks should take 0.2 to 2 s. What happens to a worker is `crew`'s matter.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from mist_dse.catalog_errors import nearest
from mist_dse.explore.runs.cluster import Cluster, connected
from mist_dse.explore.runs.crew import Crew, Executor, InLine, Lost, Session
from mist_dse.explore.errors import SpaceError
from mist_dse.explore.runs.processes import Processes, handed_out, interrupts_held, loaded, pool

__all__ = ["EXECUTORS", "Execute", "Executor", "Lost", "Session", "Setting", "executor", "serial", "setting", "warming"]

EXECUTORS = ("serial", "loky", "dask")

Execute = Executor
"""``(f, chunks)`` -> (chunk number, result) as they complete."""

serial: Executor = InLine()
"""One chunk after the other, in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Which executor: ``workers`` None = all cores (dask: of its own cluster); ``timeout``: processor seconds that a chunk may
    take, None = `crew.Crew.limit`; ``scheduler`` and ``scheduler_file`` of a Dask cluster that runs; ``retry``: try again on resume what an
    earlier run set aside."""

    name: str = "loky"
    workers: int | None = None
    timeout: float | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    retry: bool = False

    def __post_init__(self) -> None:
        if self.name not in EXECUTORS:
            raise SpaceError(f"executor: there is no executor {self.name!r}; {nearest(self.name, EXECUTORS)}")
        if self.workers is not None and (isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1):
            raise SpaceError(f"executor: workers is {self.workers!r}, expected an integer >= 1 or null for all cores")
        timed = self.timeout is None or (isinstance(self.timeout, int | float) and not isinstance(self.timeout, bool))
        if not timed or (self.timeout is not None and not 1 <= self.timeout < math.inf):
            raise SpaceError(f"executor: timeout is {self.timeout!r}, expected seconds >= 1, or null to take it from what chunks take")
        if not isinstance(self.retry, bool):
            raise SpaceError(f"executor: retry is {self.retry!r}, expected true or false")
        for name in ("scheduler", "scheduler_file"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or self.name != "dask"):
                raise SpaceError(f"executor: {name} is {value!r}: it is a text, and of the executor dask alone")
        if self.scheduler and self.scheduler_file:
            raise SpaceError(f"executor: scheduler is {self.scheduler!r} and scheduler_file {self.scheduler_file!r}: give one of them")

    @property
    def count(self) -> int:
        """Workers asked for on this machine."""
        return 1 if self.name == "serial" else self.workers or _cores()


def setting(spec: str | Mapping[str, Any] | None) -> Setting:
    """The executor of a name, or of a mapping with the fields of `Setting`; ``SpaceError`` in one line."""
    options = {"name": spec} if isinstance(spec, str) else dict(spec or {})
    known = [item.name for item in fields(Setting)]
    for name in options:
        if name not in known:
            raise SpaceError(f"executor: there is no option {name!r}; {nearest(name, known)}")
    return Setting(**options)


def executor(spec: str | Mapping[str, Any] | None) -> tuple[Executor, int]:
    """The executor of `setting` and its number of workers; those of loky and dask stay warm between calls."""
    asked = setting(spec)
    if asked.name == "dask":
        staff = _cluster(asked)
        return Crew(staff, asked.timeout), staff.count
    return (serial, 1) if asked.count == 1 else (Crew(Processes(asked.count), asked.timeout), asked.count)


@contextmanager
def warming(spec: str | Mapping[str, Any] | None, work: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Worker processes that start while the body runs; the function given waits until they are ready.

    One worker alone does ``work``, so that what it compiles and caches is compiled once; the others meanwhile load their
    libraries. A body that fails ends the workers at once: a compilation under way would hold up the exit.
    """
    asked = setting(spec)
    if asked.name == "dask":
        staff = _cluster(asked)
        yield lambda: staff.warm(work)
        return
    if asked.count == 1:
        yield lambda: None
        return
    workers, started = _warm_pool(work, asked.count)
    try:
        yield lambda: _finished(started)
    except BaseException:
        handed_out(started)
        workers.shutdown(wait=True, kill_workers=True)
        raise


def _finished(futures: Sequence[Any]) -> None:
    """Wait; what went wrong in them shows again, and is told, with the first chunk."""
    for future in futures:
        future.exception()


def _warm_pool(work: Callable[[], Any], workers: int) -> tuple[Any, list[Any]]:
    with interrupts_held():
        started = pool(workers)
        return started, [started.submit(work), *(started.submit(loaded) for _ in range(workers - 1))]


def _cluster(asked: Setting) -> Cluster:
    """The cluster of a setting, connected once and kept while it lives."""
    place = {"workers": asked.count, "scheduler": asked.scheduler, "scheduler_file": asked.scheduler_file}
    found = _connected(**place)
    if found.client.status == "running":
        return found
    _connected.cache_clear()
    return _connected(**place)


_connected = lru_cache(maxsize=1)(connected)


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())
