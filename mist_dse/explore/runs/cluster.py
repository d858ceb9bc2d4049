"""Workers of a Dask cluster: one of this machine's own, or one that runs already, by its scheduler's address or file.

Dask's scheduler hands the chunk of a worker that died to another one until it has failed too often; only then is the
chunk's future an error. A local cluster therefore gives up at the first death, and the crew runs the chunk again alone.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mist_dse.explore.errors import ExecutorError
from mist_dse.explore.runs.processes import interrupts_held, loaded
from mist_dse.explore.runs.timed import Timed

CONNECT = 10.0
"""Seconds in which a scheduler has to answer."""

START = 300.0
"""Seconds in which a first worker has to be there: a batch system may have a queue."""

RETURN = 60.0
"""Seconds in which a worker has to be back after a death."""

COMPILE = 600.0
"""Seconds in which a host's first worker has to have compiled what is simulated."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers behind one ``client`` of Dask's; ``count`` when it was connected."""

    client: Any
    count: int

    def submit(self, task: Timed, chunk: Any) -> Any:
        """A future; pure=False: a chunk that is sent again is run again."""
        try:
            return self.client.submit(task, chunk, pure=False, retries=0)
        except Exception as error:
            raise _gone(error) from None

    def died(self, error: BaseException) -> bool:
        """A worker's death; `ExecutorError` where the scheduler is gone."""
        from asyncio import CancelledError
        from concurrent.futures import CancelledError as Cancelled

        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        if not isinstance(error, KilledWorker | CancelledError | Cancelled | FutureCancelledError):
            return False
        if self.client.status != "running":
            raise _gone(error)
        return True

    def settle(self) -> None:
        """Returns once all workers are back, or one of them after a minute."""
        deadline = time.monotonic() + RETURN
        while time.monotonic() < deadline and len(self._workers()) < self.count:
            time.sleep(0.1)
        if not self._workers():
            raise ExecutorError(
                f"executor: no Dask worker is left (none came back within {RETURN:g} s): "
                "start workers with their nanny, which replaces one that dies, and go on with resume="
            )

    def stuck(self, futures: Sequence[Any]) -> bool:
        """Restart the workers that began with ``futures``; where none did, other work keeps them busy."""
        mine = {future.key for future in futures}
        try:
            silent = [address for address, keys in self.client.processing().items() if mine & set(keys)]
            if silent:
                self.client.restart_workers(silent, timeout=RETURN)
        except Exception as error:
            raise _gone(error) from None
        if not silent:
            self.settle()
        return bool(silent)

    def drop(self, futures: Sequence[Any]) -> None:
        """Take back what has not begun; a cluster of our own ends with what it runs."""
        if self.client.status == "running":
            self.client.cancel(list(futures), force=True)
        if self.client.cluster is not None:
            self.close()

    def close(self) -> None:
        """Leave; a cluster of our own ends."""
        cluster = self.client.cluster
        self.client.close(timeout=5)
        if cluster is not None:
            cluster.close(timeout=10)

    def warm(self, work: Callable[[], Any]) -> None:
        """One worker of each host alone does ``work``, so that what it compiles is compiled once; the others load meanwhile."""
        hosts: dict[str, str] = {}
        for address in self._workers():
            hosts.setdefault(address.rpartition(":")[0], address)
        first = [self.client.submit(work, pure=False, workers=[address]) for address in hosts.values()]
        rest = [self.client.submit(loaded, pure=False, workers=[address]) for address in set(self._workers()) - set(hosts.values())]
        deadline = time.monotonic() + COMPILE
        for future in [*first, *rest]:
            self._awaited(future, deadline)

    def _awaited(self, future: Any, deadline: float) -> None:
        """What goes wrong shows again with the first chunk, unless it is that the workers are not ours."""
        try:
            error = future.exception(timeout=max(deadline - time.monotonic(), 1.0))
        except Exception:
            return
        if isinstance(error, ImportError):
            raise ExecutorError(f"executor: the Dask workers cannot import what they need ({error}): install this package there too")

    def _workers(self) -> list[str]:
        try:
            return list(self.client.nthreads())
        except Exception as error:
            raise _gone(error) from None


def connected(*, workers: int, scheduler: str | None = None, scheduler_file: str | None = None) -> Cluster:
    """The cluster of a scheduler, or one of our own with so many workers; `ExecutorError` in one line where there is none."""
    if scheduler_file is not None and not Path(scheduler_file).is_file():
        raise ExecutorError(f"executor: scheduler_file is {scheduler_file}: no such file; dask scheduler --scheduler-file writes it")
    try:
        import distributed
    except ImportError:
        raise ExecutorError("executor: dask is not installed: pip install 'mist-dse[dask]', or use executor=loky") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what befalls a worker is told in the results
    if scheduler is None and scheduler_file is None:
        return Cluster(_own(distributed, workers), workers)
    client = _joined(distributed, scheduler, scheduler_file)
    return Cluster(client, sum(client.nthreads().values()))


def _own(distributed: Any, workers: int) -> Any:
    import dask

    with interrupts_held(), dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=logging.CRITICAL
        )
        return distributed.Client(cluster, set_as_default=False)


def _joined(distributed: Any, scheduler: str | None, scheduler_file: str | None) -> Any:
    place = scheduler or scheduler_file
    try:
        client = distributed.Client(address=scheduler, scheduler_file=scheduler_file, timeout=CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError):
        raise ExecutorError(f"executor: no Dask scheduler answers at {place} within {CONNECT:g} s: start one with dask scheduler") from None
    try:
        client.wait_for_workers(1, timeout=START)
    except TimeoutError:
        client.close(timeout=5)
        raise ExecutorError(f"executor: the Dask scheduler at {place} had no worker within {START:g} s: start dask worker there") from None
    return client


def _gone(error: BaseException) -> ExecutorError:
    return ExecutorError(f"executor: the Dask scheduler is gone ({type(error).__name__}): start it and its workers, go on with resume=")
