"""A ``map`` over processes with progress on standard error, for work that comes in chunks and whose order counts."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

LINE_PERIOD = 5.0
"""Least seconds between two lines of progress."""


def spread(jobs: int, noun: str, total: int, chunks: int, *, stream: TextIO | None = None) -> Callable[..., Iterator[Any]]:
    """``map`` over ``jobs`` processes (1: here), in order; says how many of ``total`` things in ``chunks`` chunks are done."""

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        work = list(items)
        started, said = time.monotonic(), time.monotonic()
        for done, result in enumerate(_results(function, work, jobs), start=1):
            yield result
            if time.monotonic() - said > LINE_PERIOD:
                said = time.monotonic()
                left = (said - started) * (len(work) - done) / done
                share = math.floor(total * min(done / max(chunks, 1), 1))
                print(f"{share:,} of {total:,} {noun}, about {left:.0f} s left", file=stream or sys.stderr, flush=True)

    return run


def _results(function: Callable[[Any], Any], work: Sequence[Any], jobs: int) -> Iterator[Any]:
    if jobs <= 1 or len(work) <= 1:
        return map(function, work)
    from joblib import Parallel, delayed

    found: Iterator[Any] = Parallel(n_jobs=jobs, return_as="generator")(delayed(function)(item) for item in work)
    return found
