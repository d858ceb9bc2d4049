"""Runs in a child process that may crash, hang or ask for all the memory there is, without harm to the one that asks.

One child takes one case after another and reports each in a line; when it dies or is late, the case it was at is to blame and a new
child goes on.
"""

import json
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from time import monotonic

SECONDS = 30.0
"""Most that one case may take: the simulator's share of it is milliseconds, the twin's at most two seconds."""
MEMORY = 4 * 2**30
"""Most bytes of address space."""


def outcomes(judge: Callable[[int], str], first: int, *, seconds: float, most: int = 2**62) -> Iterator[tuple[int, str]]:
    """(index, ``judge(index)``) of ``most`` indices from ``first`` on, until the time is up; how it died of it where a child did."""
    end, at, last = monotonic() + seconds, first, first + most
    while monotonic() < end and at < last:
        for found in _child(judge, at, last, end):
            yield at, found
            at += 1


def _child(judge: Callable[[int], str], first: int, last: int, end: float) -> Iterator[str]:
    """What `outcomes` gives, up to the first index that kills the child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _report(judge, range(first, last), end, write)
    os.close(write)
    rest = b""
    while select.select([read], [], [], SECONDS)[0]:
        said = os.read(read, 2**16)
        *lines, rest = (rest + said).split(b"\n")
        yield from map(json.loads, lines)
        if not said:
            break
    else:
        os.kill(child, signal.SIGKILL)
    os.close(read)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        yield f"does not end within {SECONDS:g} s" if status == -signal.SIGKILL else f"ends the process with status {status}"


def _report(judge: Callable[[int], str], indices: range, end: float, write: int) -> None:
    """The life of the child, which ends with the first case that cannot be judged."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for index in indices:
            if monotonic() >= end:
                break
            os.write(write, json.dumps(judge(index)).encode() + b"\n")
        status = 0
    except Exception as error:
        os.write(write, json.dumps(f"cannot be judged: {type(error).__name__}: {error}").encode() + b"\n")
        status = 0
    finally:
        os._exit(status)
